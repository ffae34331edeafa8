//! Which JWK is this `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7)? Only a change of form: whether the key is any good is
//! for the JWK's reader to say.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use x509_parser::{
    oid_registry::{OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS},
    prelude::FromDer as _,
    public_key::PublicKey,
    x509::{AlgorithmIdentifier, SubjectPublicKeyInfo},
};

const ED25519: &str = "1.3.101.112";
const CURVES: [(&str, &str, usize); 3] =
    [("1.2.840.10045.3.1.7", "P-256", 32), ("1.3.132.0.34", "P-384", 48), ("1.3.132.0.35", "P-521", 66)];

pub struct Key {
    pub jwk: Value,
    /// The key says of itself that it is for PSS alone. // RFC 4055 §1.2
    pub pss_only: bool,
}

pub fn read(der: &[u8]) -> Option<Key> {
    let (rest, mut spki) = SubjectPublicKeyInfo::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let pss_only = spki.algorithm.algorithm == OID_PKCS1_RSASSAPSS;
    if pss_only {
        spki.algorithm = AlgorithmIdentifier { algorithm: OID_PKCS1_RSAENCRYPTION, parameters: None };
    }
    to_jwk(&spki).map(|jwk| Key { jwk, pss_only })
}

fn to_jwk(spki: &SubjectPublicKeyInfo<'_>) -> Option<Value> {
    if spki.algorithm.algorithm.to_id_string() == ED25519 {
        return Some(json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(spki.subject_public_key.data.as_ref()) }));
    }
    match spki.parsed().ok()? {
        PublicKey::RSA(key) => {
            let unsigned = |bytes: &[u8]| base64url(bytes.strip_prefix(&[0]).unwrap_or(bytes));
            Some(json!({ "kty": "RSA", "n": unsigned(key.modulus), "e": unsigned(key.exponent) }))
        }
        PublicKey::EC(point) => {
            let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string();
            let (_, name, size) = CURVES.into_iter().find(|(oid, ..)| *oid == curve)?;
            let (x, y) = point.data().strip_prefix(&[4])?.split_at_checked(size)?;
            Some(json!({ "kty": "EC", "crv": name, "x": base64url(x), "y": base64url(y) }))
        }
        _ => None,
    }
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
