//! What does each secret that we mint look like? Prefix, random part, checksum; hashed at rest, redacted in `Debug`,
//! wiped from memory. Nothing here decides whether a secret is accepted.

mod api_key;
mod opaque;
mod secret;

pub use api_key::{ApiKey, Environment};
pub use opaque::{ChecksumKey, OpaqueToken};
pub use secret::{AuthorizationCode, ClientSecret, CsrfToken, OperatorKey, RefreshToken, SessionCookie};

use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;

/// SHA-256 of a secret of at least 128 random bits: what the store keeps instead of it. (A password is no such
/// secret: it goes through `port::Hasher`.)
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(secret: &str) -> Self {
        Self::of_bytes(secret.as_bytes())
    }

    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref()) {
            *to = *from;
        }
        Self(out)
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Lower-case hexadecimal, 64 characters: the form that `key import` reads.
    pub fn hex(&self) -> String {
        use std::fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Reads 64 hexadecimal characters of either case.
    pub fn parse_hex(text: &str) -> Option<Self> {
        let mut out = [0u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, slot) in out.iter_mut().enumerate() {
            *slot = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(out))
    }
}

/// SECURITY: constant time, so that no one learns a digest byte by byte.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl std::hash::Hash for Digest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.hex()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse_hex(&text).ok_or("a digest is 64 hexadecimal characters")
    }
}

/// Masks whatever looks like one of our secrets in a text that is about to be logged or recorded.
/// SECURITY: a key in a URL must not live on in a log (catalogue K01, T33).
pub fn mask_secrets(text: &str) -> String {
    if !may_hold_secret(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = find_prefix(rest) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(from.len());
        let (secret, after) = from.split_at(end);
        out.push_str(secret.get(..4).unwrap_or_default());
        out.push_str("[masked]");
        rest = after;
    }
    out.push_str(rest);
    mask_jwts(&out)
}

/// Does a mark of ours, or of a JWT, stand anywhere? One look, since nearly every text has none.
pub fn may_hold_secret(text: &str) -> bool {
    text.as_bytes().windows(3).any(|mark| matches!(mark, [b't', b'g', _] | [b'e', b'y', b'J']))
}

const PREFIXES: [&str; 8] = ["tgk_", "tga_", "tgr_", "tgc_", "tgs_", "tgx_", "tgo_", "tgf_"];

fn find_prefix(text: &str) -> Option<usize> {
    PREFIXES.iter().filter_map(|prefix| text.find(prefix)).min()
}

/// Every JWT's header begins with `{"`, which is `eyJ` in base64url.
fn mask_jwts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("eyJ") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end =
            from.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(from.len());
        let (token, after) = from.split_at(end);
        out.push_str(if token.len() > 20 { "[masked token]" } else { token });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
