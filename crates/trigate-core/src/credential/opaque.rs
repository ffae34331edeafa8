//! An opaque access token. Its keyed checksum lets a gate refuse garbage without a look-up, so that random tokens
//! cannot be used to keep the store busy.

use super::Digest;
use crate::{base62, port::Rng};
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Known to the issuer and to its gates. Whoever has it can cause look-ups, not pass them.
#[derive(Clone, Serialize, Deserialize)]
pub struct ChecksumKey(Zeroizing<Vec<u8>>);

impl ChecksumKey {
    pub fn mint(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new(vec![0; 32]);
        rng.fill(&mut bytes);
        Self(bytes)
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn checksum(&self, body: &str) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), body.as_bytes());
        let bits = tag.as_ref().iter().take(8).fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        base62::encode(bits, CHECKSUM)
    }
}

impl fmt::Debug for ChecksumKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChecksumKey(…)")
    }
}

const BODY: usize = 2 * base62::WIDTH_128;
/// Digits of 64 bits.
const CHECKSUM: usize = 11;

/// An opaque access token: `tga_`, 256 random bits, 64 bits of keyed checksum.
#[derive(Clone)]
pub struct OpaqueToken(Zeroizing<String>);

impl OpaqueToken {
    pub const PREFIX: &'static str = "tga_";

    pub fn mint(rng: &dyn Rng, key: &ChecksumKey) -> Self {
        let body = Zeroizing::new(format!(
            "{}{}{}",
            Self::PREFIX,
            base62::encode(rng.bits128(), base62::WIDTH_128),
            base62::encode(rng.bits128(), base62::WIDTH_128)
        ));
        Self(Zeroizing::new(format!("{}{}", *body, key.checksum(&body))))
    }

    /// Takes a presented text whose form and keyed checksum are right; it may still be unknown or revoked.
    pub fn parse(text: &str, key: &ChecksumKey) -> Option<Self> {
        let rest = text.strip_prefix(Self::PREFIX)?;
        if rest.len() != BODY + CHECKSUM || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (body, sum) = text.split_at_checked(text.len() - CHECKSUM)?;
        bool::from(key.checksum(body).as_bytes().ct_eq(sum.as_bytes())).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// SECURITY: for the one answer that hands the token to its client; never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueToken(…)")
    }
}
