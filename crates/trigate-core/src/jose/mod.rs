//! Was this statement signed by that key, and what does it say? The only code in the project that signs or verifies.
//!
//! Trusts the keys it is handed and nothing in a token. Never reads a key, an address or a choice of algorithm from a
//! header (`embedded.rs` says who showed a key, and trusts it for nothing), never guesses among keys, and has no clock, no network and no encryption (JWE).
//!
//! ```text
//! Compact::parse(text) -> Compact --verify(&VerifyingKey)--> Payload --claims()--> Claims -> check_times, check_audience …
//! ```
//! Only [`Compact::verify`] makes a [`Payload`]: whoever holds one holds verified bytes.

mod algorithm;
mod claims;
mod compact;
mod der;
mod embedded;
mod error;
mod jwk;
mod jwks;
mod roca;
mod signing;
mod spki;
pub mod strict_json;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use claims::{
    ClaimError, Claims, MAX_IDENTIFIER_BYTES, MAX_LEEWAY_S, TimeRules, Times, check_audience, check_issuer,
    check_subject, check_times,
};
pub use compact::{Compact, MAX_HEADER_BYTES, MAX_TOKEN_BYTES, Payload};
pub use embedded::verify_embedded;
pub use error::JoseError;
pub use jwk::{MAX_KID_BYTES, VerifyingKey};
pub use jwks::{Jwks, LeftOut, MAX_JWKS_BYTES};
pub use signing::{RsaSize, SigningKey};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Canonical unpadded base64url: padding, the other alphabet, blanks and non-zero trailing bits are refused, so that
/// one value has one spelling and a token has one text. // RFC 7515 §2, RFC 4648 §3.5
fn base64url_decode(text: &[u8]) -> Result<Vec<u8>, JoseError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JoseError::Base64)
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
