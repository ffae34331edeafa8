//! Is this key, and this signature algorithm, strong enough? // SP 800-131A
//!
//! Verification itself is webpki's, by algorithms that are named in the code and not by what a certificate says.

use crate::{
    Fault,
    der::{self, Reader},
};
use rustls_pki_types::SignatureVerificationAlgorithm;

const RSA: [u8; 13] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const P256: [u8; 19] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: [u8; 16] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
const P521: [u8; 16] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x23];
const ED25519: [u8; 5] = [6, 3, 0x2b, 0x65, 0x70];

/// Bits of an RSA modulus: below it is breakable, above it costs us more than it gives.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    webpki::ALL_VERIFICATION_ALGS
}

/// A subject public key info, taken apart.
fn parts(spki: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mut reader = Reader::new(der::only(spki, der::SEQUENCE)?);
    let algorithm = reader.expect(der::SEQUENCE)?.content;
    let key = der::whole_bits(reader.expect(der::BIT_STRING)?.content)?;
    reader.end()?;
    Ok((algorithm, key))
}

/// RSA of 2048 to 8192 bits with a real exponent, P-256, P-384, P-521 or Ed25519 (M08).
pub(crate) fn check_key(spki: &[u8]) -> Result<(), Fault> {
    let (algorithm, key) = parts(spki)?;
    if algorithm == RSA {
        return check_rsa(key);
    }
    let known = algorithm == P256 || algorithm == P384 || algorithm == P521 || algorithm == ED25519;
    if known { Ok(()) } else { Err(Fault::WeakKey) }
}

fn check_rsa(key: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader::new(der::only(key, der::SEQUENCE)?);
    let modulus = positive(reader.expect(der::INTEGER)?.content)?;
    let exponent = positive(reader.expect(der::INTEGER)?.content)?;
    reader.end()?;
    let top = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - top;
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    // SECURITY: with an exponent of 1 every number is its own signature; a long one makes each check costly.
    let real = odd(exponent) && exponent != [1] && exponent.len() <= 5;
    if RSA_BITS.contains(&bits) && odd(modulus) && real { Ok(()) } else { Err(Fault::WeakKey) }
}

/// The bytes of a positive integer without its sign byte.
fn positive(content: &[u8]) -> Result<&[u8], Fault> {
    match content {
        [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Ok(rest),
        [first, ..] if *first & 0x80 == 0 && *first != 0 => Ok(content),
        _ => Err(Fault::WeakKey),
    }
}

/// Is the algorithm one that is verified here at all? SHA-1 and MD5 are not.
pub(crate) fn check_algorithm(algorithm: &[u8]) -> Result<(), Fault> {
    let known = algorithms().iter().any(|known| known.signature_alg_id().as_ref() == algorithm);
    if known { Ok(()) } else { Err(Fault::WeakSignature) }
}

/// Did the holder of the key in `spki` sign `message`?
pub(crate) fn verifies(spki: &[u8], algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok((key_algorithm, key)) = parts(spki) else { return false };
    let fits = |known: &&&dyn SignatureVerificationAlgorithm| {
        known.signature_alg_id().as_ref() == algorithm && known.public_key_alg_id().as_ref() == key_algorithm
    };
    algorithms().iter().filter(fits).any(|known| known.verify_signature(key, message, signature).is_ok())
}
