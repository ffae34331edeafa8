//! What is it called? One type per kind of thing, so that a user's id is never taken for a client's.

use crate::{base62, port::Rng};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// The text is not usable as an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{kind}` id must be 1 to 128 visible ASCII characters without quotes, blanks or backslashes")]
pub struct BadId {
    pub kind: &'static str,
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'<' | b'>' | b'`')
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Mints a new id: the kind's prefix and 128 random bits.
            pub fn mint(rng: &dyn Rng) -> Self {
                let mut text = String::with_capacity($prefix.len() + base62::WIDTH_128);
                text.push_str($prefix);
                base62::push(rng.name_bits(), base62::WIDTH_128, &mut text);
                Self(text.into())
            }

            /// Reads an id. Imported ids keep the form that they had, hence no prefix is demanded.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                if (1..=128).contains(&text.len()) && text.bytes().all(is_id_byte) {
                    Ok(Self(text.into()))
                } else {
                    Err(BadId { kind: $kind })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A host name with its own issuer, keys, applications and users.
    TenantId, "tenant", "ten_";
    /// Registered software, whoever wrote it.
    AppId, "application", "app_";
    /// An application's OAuth face (RFC 6749 §2.2).
    ClientId, "client", "cli_";
    /// A person. Imported `sub` values stay what they were.
    UserId, "user", "usr_";
    /// An API key's public part.
    KeyId, "key", "key_";
    /// One login of one person in one browser: the claim `sid`.
    SessionId, "session", "ses_";
    /// What one person allowed one client, from one authorization: the claim `gid`.
    GrantId, "grant", "grt_";
    /// One act in the audit trail.
    ActId, "act", "act_";
    /// One passage through the gates.
    RequestId, "request", "req_";
}

impl TenantId {
    /// The only tenant until the configuration names more.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

/// A token's 128-bit identity: `jti` of our own tokens, a digest for foreign ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(u128);

impl TokenId {
    pub fn mint(rng: &dyn Rng) -> Self {
        Self(rng.bits128())
    }

    /// Reads the `jti` of a token that we minted.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if text.len() != base62::WIDTH_128 {
            return Err(BadId { kind: "token" });
        }
        base62::decode(text).map(Self).ok_or(BadId { kind: "token" })
    }

    /// A foreign issuer's `jti` means something only beside its issuer; both are folded into 128 bits.
    pub fn foreign(issuer: &str, jti: &str) -> Self {
        Self::digest(&[b"jti", issuer.as_bytes(), jti.as_bytes()])
    }

    /// For a token that has no `jti`, or that is not a JWT: the token itself.
    pub fn of_text(token: &str) -> Self {
        Self::digest(&[b"tok", token.as_bytes()])
    }

    fn digest(parts: &[&[u8]]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in parts {
            // Lengths first: ("ab","c") and ("a","bc") must not meet.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let digest = context.finish();
        let bits = digest.as_ref().iter().take(16).fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        Self(bits)
    }

    pub const fn bits(self) -> u128 {
        self.0
    }

    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(base62::Text::of(self.0, base62::WIDTH_128).as_str())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TokenId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
