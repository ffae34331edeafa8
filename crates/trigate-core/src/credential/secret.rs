//! The secrets that are only ever compared: 256 random bits behind a prefix that scanners and people recognise.

use super::Digest;
use crate::{base62, port::Rng};
use std::fmt;
use zeroize::Zeroizing;

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// Mints a new secret of 256 random bits.
            pub fn mint(rng: &dyn Rng) -> Self {
                Self(Zeroizing::new(format!(
                    "{}{}{}",
                    $prefix,
                    base62::encode(rng.bits128(), base62::WIDTH_128),
                    base62::encode(rng.bits128(), base62::WIDTH_128),
                )))
            }

            /// Takes a presented text that has the form of this kind of secret.
            pub fn parse(text: &str) -> Option<Self> {
                let body = text.strip_prefix($prefix)?;
                (body.len() == 2 * base62::WIDTH_128 && body.bytes().all(|b| b.is_ascii_alphanumeric()))
                    .then(|| Self(Zeroizing::new(text.to_owned())))
            }

            /// What the store keeps.
            pub fn digest(&self) -> Digest {
                Digest::of(&self.0)
            }

            /// SECURITY: for the one answer that hands the secret to its owner; never for a log.
            pub fn reveal(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

secrets! {
    /// A refresh token (RFC 6749 §1.5).
    RefreshToken, "tgr_";
    /// An authorization code (RFC 6749 §1.3.1).
    AuthorizationCode, "tgc_";
    /// The value of the session cookie.
    SessionCookie, "tgs_";
    /// A client secret (RFC 6749 §2.3.1).
    ClientSecret, "tgx_";
    /// Ties a form to the browser that it was shown to.
    CsrfToken, "tgf_";
    /// The operator's own key: what the command line proves itself with when no other way is set.
    OperatorKey, "tgo_";
}
