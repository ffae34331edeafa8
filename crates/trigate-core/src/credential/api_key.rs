//! An API key: `tgk_<env>_<key id><secret><checksum>`. It identifies an application; it never authenticates a user.

use super::Digest;
use crate::{base62, id::KeyId, port::Rng};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// What the key may be used for; shown in its text so that a test key in production is seen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    Live,
    Test,
}

impl Environment {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

const ID: usize = base62::WIDTH_128;
const SECRET: usize = 2 * base62::WIDTH_128;
const CHECKSUM: usize = 6;

/// A whole API key, shown once. 128 bits of id, 256 bits of secret, 32 bits of checksum.
#[derive(Clone)]
pub struct ApiKey {
    text: Zeroizing<String>,
    id: KeyId,
}

impl ApiKey {
    pub fn mint(rng: &dyn Rng, environment: Environment) -> Self {
        let id = base62::encode(rng.bits128(), ID);
        let secret = Zeroizing::new(format!(
            "{}{}",
            base62::encode(rng.bits128(), base62::WIDTH_128),
            base62::encode(rng.bits128(), base62::WIDTH_128)
        ));
        let body = Zeroizing::new(format!("tgk_{}_{id}{}", environment.as_str(), *secret));
        let text = Zeroizing::new(format!("{}{}", *body, checksum(&body)));
        Self { text, id: key_id(&id) }
    }

    /// Takes a presented text apart. `None` when it is not of this form or its checksum is wrong: refused without
    /// any look-up, and recognisable by a scanner that has no access to Trigate.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("tgk_live_").or_else(|| text.strip_prefix("tgk_test_"))?;
        if rest.len() != ID + SECRET + CHECKSUM || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (body, sum) = text.split_at_checked(text.len() - CHECKSUM)?;
        if checksum(body) != sum {
            return None;
        }
        Some(Self { text: Zeroizing::new(text.to_owned()), id: key_id(rest.get(..ID)?) })
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.text)
    }

    /// SECURITY: for the one answer that hands the key to its owner; never for a log.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

fn key_id(body: &str) -> KeyId {
    // INVARIANT: `body` is alphanumeric by construction, so the id always parses.
    KeyId::parse(&format!("key_{body}")).unwrap_or_else(|_| unreachable!("an alphanumeric body is an id"))
}

/// CRC-32 (ISO-HDLC) in base 62, as public key formats with checksums do. It finds typing errors and lets a scanner
/// drop false finds; it is no protection, which is the digest's part.
fn checksum(body: &str) -> String {
    let crc = body.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    });
    base62::encode(u128::from(!crc), CHECKSUM)
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", self.id)
    }
}
