//! What is a public key as certificates write it? Its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), so that a certificate can be
//! compared with a registered JWK (RFC 8705 §2.2).
//!
//! Writes the one encoding that RFC 3279, RFC 5480 and RFC 8410 allow for each kind of key; reads nothing.

use super::{algorithm::Curve, jwk::Material};

const RSA: [u8; 13] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const EC: [u8; 9] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: [u8; 5] = [6, 3, 0x2b, 0x65, 0x70];

pub(super) fn encode(material: &Material) -> Vec<u8> {
    let (algorithm, key) = match material {
        Material::Rsa { n, e } => (RSA.to_vec(), tlv(0x30, &[integer(n), integer(e)].concat())),
        Material::Ec { curve, x, y } => ([&EC[..], curve_oid(*curve)].concat(), [&[4], x.as_slice(), y].concat()),
        Material::Ed25519 { x } => (ED25519.to_vec(), x.clone()),
    };
    let key = [vec![0], key].concat();
    tlv(0x30, &[tlv(0x30, &algorithm), tlv(3, &key)].concat())
}

const fn curve_oid(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        Curve::P384 => &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
        Curve::P521 => &[6, 5, 0x2b, 0x81, 4, 0, 0x23],
    }
}

/// Positive, whatever its first bit.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { &[0][..] } else { &[] };
    tlv(2, &[sign, bytes].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let head = match (length.as_slice(), u8::try_from(length.len())) {
        ([], _) => vec![tag, 0],
        ([short @ 0..=0x7f], _) => vec![tag, *short],
        (long, count) => [&[tag, 0x80 | count.unwrap_or_default()], long].concat(),
    };
    [head, content.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, SigningKey};
    use aws_lc_rs::{
        encoding::{AsDer, PublicKeyX509Der},
        rsa, signature,
    };

    #[test]
    fn rfc5280_4_1_2_7_as_another_library_writes_it() {
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
            let key = SigningKey::generate(algorithm, "k").unwrap();
            let pkcs8 = key.to_pkcs8().unwrap();
            let der: PublicKeyX509Der<'_> = match algorithm {
                Algorithm::ES256 => {
                    let pair = signature::EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
                        .unwrap();
                    signature::KeyPair::public_key(&pair).as_der().unwrap()
                }
                Algorithm::EdDSA => {
                    let pair = signature::Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
                    signature::KeyPair::public_key(&pair).as_der().unwrap()
                }
                _ => {
                    let pair = rsa::KeyPair::from_pkcs8(&pkcs8).unwrap();
                    signature::KeyPair::public_key(&pair).as_der().unwrap()
                }
            };
            let expected = crate::credential::Digest::of_bytes(der.as_ref());
            assert_eq!(key.verifying_key().spki_digest(), expected, "{algorithm:?}");
        }
    }
}
