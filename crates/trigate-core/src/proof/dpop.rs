//! Is this DPoP proof good for this request? (RFC 9449 §4.3, its checks in an order that does the cheap ones first.)
//!
//! Trusts the clock, the method and the target that it is handed. Whether the key is the right one, the nonce fresh and
//! the proof unused is for the caller: the answer carries what it takes. Members that nobody asked for are ignored.

use super::htu::Target;
use crate::{
    credential::Digest,
    jose::{Algorithm, Claims, JoseError, verify_embedded},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// The longest proof that is read, in bytes. An RSA-8192 key and signature fit.
pub const MAX_PROOF_BYTES: usize = 6 * 1024;
/// The longest `jti`; it is remembered as a hash, but a header is no place for a document.
pub const MAX_JTI_BYTES: usize = 256;
/// Seconds that `iat` may lie back or ahead.
pub const WINDOW_S: i64 = 60;
/// What proofs may be signed with where nothing else is said. // FAPI 2.0 SP §5.4.1
pub const DEFAULT_ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS256];

/// May proofs be signed with it at all? PKCS#1 v1.5 signatures may not. // FAPI 2.0 SP §5.4.1
pub const fn is_algorithm(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512)
}

/// The request that the proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub method: &'a str,
    /// The request's own URL in each spelling of our origin that clients may use.
    pub targets: &'a [Target],
    pub now_s: i64,
    /// The access token beside it; none at the token endpoint.
    pub token: Option<&'a str>,
    pub algorithms: &'a [Algorithm],
}

/// A proof that is good for this request, as far as it can be told without memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// RFC 7638 thumbprint of the key that signed it.
    pub jkt: String,
    pub jti: String,
    pub iat_s: i64,
    pub nonce: Option<String>,
}

impl Proof {
    /// What a memory of used proofs keeps: one key's `jti` says nothing about another key's.
    pub fn id(&self) -> Digest {
        Digest::of(&format!("{}.{}", self.jkt, self.jti))
    }

    /// Until when it must be remembered: then its `iat` alone refuses it.
    pub const fn usable_until_s(&self) -> i64 {
        self.iat_s.saturating_add(WINDOW_S)
    }
}

/// Why a proof is not good. Outside all of them are `invalid_dpop_proof`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the proof is malformed: {0}")]
    Malformed(JoseError),
    #[error("the proof's claim `{0}` is missing or has the wrong form")]
    Claim(&'static str),
    #[error("the proof's signature is not that of the key in it")]
    Signature,
    #[error("the proof is for another method")]
    Method,
    #[error("the proof is for another address")]
    Address,
    #[error("the proof was made too long ago or in the future")]
    Time,
    #[error("the proof is for another token")]
    Token,
}

/// Judges one proof. That there was exactly one `DPoP` header is the caller's to see. // RFC 9449 §4.3 item 1
///
/// # Errors
/// See [`ProofError`].
pub fn check(text: &str, expected: &Expected<'_>) -> Result<Proof, ProofError> {
    // RFC 9449 §4.3 items 2, 4, 5, 6, 7: form, `typ`, algorithm, key, signature.
    let (key, payload) =
        verify_embedded(text, MAX_PROOF_BYTES, "dpop+jwt", expected.algorithms).map_err(|error| match error {
            JoseError::SignatureInvalid => ProofError::Signature,
            error => ProofError::Malformed(error),
        })?;
    let claims = payload.claims();
    let jti = read_jti(claims)?;
    check_method(claims, expected.method)?;
    check_address(claims, expected.targets)?;
    let iat_s = check_time(claims, expected.now_s)?;
    if let Some(token) = expected.token {
        check_token(claims, token)?;
    }
    let nonce = claims.text("nonce").map_err(|_| ProofError::Claim("nonce"))?;
    Ok(Proof { jkt: key.thumbprint().to_owned(), jti, iat_s, nonce: nonce.map(str::to_owned) })
}

fn read_jti(claims: Claims<'_>) -> Result<String, ProofError> {
    let jti = claims.required_text("jti").map_err(|_| ProofError::Claim("jti"))?;
    // Judged by its hash, it cannot flood a memory; bounded all the same.
    if jti.len() > MAX_JTI_BYTES { Err(ProofError::Claim("jti")) } else { Ok(jti.to_owned()) }
}

/// RFC 9449 §4.3 item 8. Methods have a case. // RFC 9110 §9.1
fn check_method(claims: Claims<'_>, method: &str) -> Result<(), ProofError> {
    let htm = claims.required_text("htm").map_err(|_| ProofError::Claim("htm"))?;
    if htm == method { Ok(()) } else { Err(ProofError::Method) }
}

/// RFC 9449 §4.3 item 9: without query and fragment, both in normal form.
fn check_address(claims: Claims<'_>, targets: &[Target]) -> Result<(), ProofError> {
    let htu = claims.required_text("htu").map_err(|_| ProofError::Claim("htu"))?;
    let htu = Target::parse(htu).ok_or(ProofError::Claim("htu"))?;
    if targets.contains(&htu) { Ok(()) } else { Err(ProofError::Address) }
}

/// RFC 9449 §4.3 item 11; `nbf` and `exp` of a proof mean nothing.
fn check_time(claims: Claims<'_>, now_s: i64) -> Result<i64, ProofError> {
    let iat = claims.required_time("iat").map_err(|_| ProofError::Claim("iat"))?;
    if now_s.abs_diff(iat) > WINDOW_S.unsigned_abs() { Err(ProofError::Time) } else { Ok(iat) }
}

/// RFC 9449 §4.3 item 12: a stolen proof is no good beside another token.
fn check_token(claims: Claims<'_>, token: &str) -> Result<(), ProofError> {
    let ath = claims.required_text("ath").map_err(|_| ProofError::Claim("ath"))?;
    let hash = URL_SAFE_NO_PAD.encode(Digest::of(token).bytes());
    if ath == hash { Ok(()) } else { Err(ProofError::Token) }
}
