//! A signature outside of JOSE: ECDSA over P-256 in DER, by a key in PEM's form, as secret scanners sign what they report.
//!
//! Trusts nothing of the form: one signature has one spelling here, and a key of any other kind is none.

use super::{Algorithm, JoseError, VerifyingKey, algorithm::Curve, jwk::Material};

/// `SubjectPublicKeyInfo` of an uncompressed point on P-256, up to the point. // RFC 5480 §2.1.1, §2.2
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

impl VerifyingKey {
    /// Reads a P-256 key that is no JWK: the DER of its `SubjectPublicKeyInfo`. It verifies ES256.
    ///
    /// # Errors
    /// `KeyTypeUnsupported` for any other kind of key or spelling, `KeyPointInvalid`.
    pub fn from_p256_spki(der: &[u8], kid: &str) -> Result<Self, JoseError> {
        let point = der.strip_prefix(&P256_SPKI).ok_or(JoseError::KeyTypeUnsupported)?;
        let (x, y) = point.split_at_checked(Curve::P256.size()).ok_or(JoseError::KeyMalformed)?;
        let material = Material::ec(Curve::P256, x.to_vec(), y.to_vec())?;
        Self::new(Algorithm::ES256, Some(kid.to_owned()), material)
    }

    /// As [`Self::verify`], of an ECDSA signature as X9.62 writes it: a sequence of two integers in DER.
    ///
    /// # Errors
    /// `SignatureInvalid`, also for a second spelling of the same integers, and for keys that are not on P-256.
    pub fn verify_p256_der(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        let fixed = (self.algorithm() == Algorithm::ES256).then(|| fixed(signature)).flatten();
        self.verify(message, &fixed.ok_or(JoseError::SignatureInvalid)?)
    }
}

/// r and s side by side. // RFC 3279 §2.2.3, RFC 7518 §3.4
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let (body, rest) = element(0x30, der)?;
    let (r, body) = element(0x02, body)?;
    let (s, end) = element(0x02, body)?;
    let mut out = Vec::with_capacity(2 * Curve::P256.size());
    for integer in [r, s] {
        let bytes = unsigned(integer)?;
        out.resize(out.len() + Curve::P256.size().checked_sub(bytes.len())?, 0);
        out.extend_from_slice(bytes);
    }
    (rest.is_empty() && end.is_empty()).then_some(out)
}

/// A value with a length of one byte, and what follows. Nothing longer belongs into such a signature.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [found, length, rest @ ..] = der else { return None };
    (*found == tag && *length < 0x80).then(|| rest.split_at_checked(usize::from(*length))).flatten()
}

/// Neither negative nor longer than need be. // X.690 §8.3.2
fn unsigned(integer: &[u8]) -> Option<&[u8]> {
    match integer {
        [0, second, ..] if *second < 0x80 => None,
        // Of nothing but a zero nothing is left; no signature holds with it.
        [0, rest @ ..] => Some(rest),
        [1..0x80, ..] => Some(integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
    };

    fn pair() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
    }

    fn spki(pair: &EcdsaKeyPair) -> Vec<u8> {
        let (before, _) = P256_SPKI.split_at(26);
        [before, pair.public_key().as_ref()].concat()
    }

    fn sign(pair: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
        pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    #[test]
    fn a_signature_has_one_spelling_and_one_signer() {
        let (pair, other) = (pair(), pair());
        let key = VerifyingKey::from_p256_spki(&spki(&pair), "k").unwrap();
        // Long and short integers, with and without a leading zero.
        for n in 0..200u32 {
            let message = n.to_be_bytes();
            let good = sign(&pair, &message);
            assert_eq!(key.verify_p256_der(&message, &good), Ok(()));
            assert!(key.verify_p256_der(b"another", &good).is_err());
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert!(key.verify_p256_der(&message, &bad).is_err(), "byte {at}");
                assert!(key.verify_p256_der(&message, &good[..at]).is_err(), "cut at {at}");
            }
            let behind = [good.as_slice(), &[0]].concat();
            // The same integers with a zero before the first.
            let padded = [&[0x30, good[1] + 1, 0x02, good[3] + 1, 0], &good[4..]].concat();
            // A length in two bytes. // X.690 §10.1
            let long = [&[0x30, 0x81], &good[1..]].concat();
            for bad in [behind, padded, long] {
                assert!(key.verify_p256_der(&message, &bad).is_err());
            }
        }
        assert!(key.verify_p256_der(b"x", &sign(&other, b"x")).is_err());
        // In the form of JWS it is another statement's signature, and none here.
        let fixed = fixed(&sign(&pair, b"x")).unwrap();
        assert!(key.verify_p256_der(b"x", &fixed).is_err() && key.verify(b"x", &fixed).is_ok());
        for zero in [[0x30, 6, 2, 1, 0, 2, 1, 0].as_slice(), &[0x30, 0], &[]] {
            assert!(key.verify_p256_der(b"x", zero).is_err());
        }
    }

    #[test]
    fn no_other_key_is_read() {
        let good = spki(&pair());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(VerifyingKey::from_p256_spki(&bad, "k").is_err(), "byte {at}");
            assert!(VerifyingKey::from_p256_spki(&good[..at], "k").is_err());
        }
        assert!(VerifyingKey::from_p256_spki(&[good.as_slice(), &[0]].concat(), "k").is_err());
        let wide = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        assert!(VerifyingKey::from_p256_spki(wide.public_key().as_ref(), "k").is_err());
    }
}
