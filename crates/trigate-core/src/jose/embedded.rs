//! Which key did the sender of this statement show, and does it hold that key? For DPoP proofs alone (RFC 9449 §4.2).
//!
//! Trusts nothing: the key in the header says who signed, never that the signer may do anything. Whoever calls this must
//! compare the key's thumbprint with one that was known before. Never takes a symmetric or a private key.

use super::{Algorithm, Compact, JoseError, Payload, VerifyingKey};

/// The key that stands in the header, and what that very key has signed. `typ` is exact; `algorithms` are those that
/// the header may name, and the key's type must fit.
///
/// # Errors
/// `TypInvalid`, `AlgorithmNotAllowed`, what is wrong with the form or with the key, `SignatureInvalid`.
pub fn verify_embedded(
    text: &str,
    max_bytes: usize,
    typ: &str,
    algorithms: &[Algorithm],
) -> Result<(VerifyingKey, Payload), JoseError> {
    let (compact, header) = Compact::parse_with_header(text, max_bytes)?;
    if !compact.typ_is(typ) {
        return Err(JoseError::TypInvalid);
    }
    if !algorithms.contains(&compact.algorithm()) {
        return Err(JoseError::AlgorithmNotAllowed);
    }
    let jwk = header.get("jwk").ok_or(JoseError::KeyMalformed)?;
    // RFC 9449 §4.3: an RSA key without `alg` is of the algorithm that its holder names; any other type has but one.
    let key = VerifyingKey::from_jwk_pinned(jwk, compact.algorithm())?;
    let payload = compact.verify(&key)?;
    Ok((key, payload))
}
