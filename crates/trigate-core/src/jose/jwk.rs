//! Which key is this, and for which one algorithm? A public JWK (RFC 7517), checked once and kept ready to verify.
//!
//! Trusts whoever handed it the JWK to speak for the signer. The algorithm is fixed here, by the key and never by a
//! token's header (RFC 8725 §3.1). Never takes private or symmetric keys.

use super::algorithm::{Algorithm, Curve, Family};
use super::{JoseError, base64url, base64url_decode};
use crate::credential::Digest;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents};
use serde_json::{Map, Value, json};
use std::fmt;

/// The longest `kid` that is read, in bytes.
pub const MAX_KID_BYTES: usize = 256;

/// Members that only a private or a symmetric key has. // RFC 7518 §6.2.2, §6.3.2, §6.4; RFC 8037 §2
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// A public key with its one algorithm, parsed and ready. Cloning copies names, not the parsed key.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    /// The name that the JWK gives its algorithm; a token must use the same. `None`: it is silent.
    named: Option<&'static str>,
    kid: Option<String>,
    material: Material,
    thumbprint: String,
    signature_bytes: usize,
    parsed: ParsedPublicKey,
}

impl VerifyingKey {
    /// Reads a JWK that came out of a strict parser (a duplicated member is invisible here).
    ///
    /// The algorithm is the JWK's `alg`; without one, it is the only one of an EC or OKP key, and RS256 for RSA.
    ///
    /// # Errors
    /// The `Key…`, `Kid…` and `Base64` variants of [`JoseError`].
    pub fn from_jwk(jwk: &Value) -> Result<Self, JoseError> {
        Self::read(jwk, None)
    }

    /// As [`Self::from_jwk`], for one algorithm that the caller has on record (a client's registered signing
    /// algorithm, an issuer's setting): the JWK may be silent about it, but not contradict it.
    ///
    /// # Errors
    /// As [`Self::from_jwk`], and `KeyAlgorithmMismatch`.
    pub fn from_jwk_pinned(jwk: &Value, algorithm: Algorithm) -> Result<Self, JoseError> {
        Self::read(jwk, Some(algorithm))
    }

    fn read(jwk: &Value, pinned: Option<Algorithm>) -> Result<Self, JoseError> {
        let jwk = jwk.as_object().ok_or(JoseError::KeyMalformed)?;
        check_public(jwk)?;
        check_purpose(jwk)?;
        let kid = read_kid(jwk)?;
        let material = Material::read(jwk)?;
        let algorithm = choose_algorithm(jwk, &material, pinned)?;
        let named = jwk.get("alg").and_then(Value::as_str).map(|name| algorithm.spelled(name));
        Self::with_name(algorithm, named, kid, material)
    }

    pub(super) fn new(algorithm: Algorithm, kid: Option<String>, material: Material) -> Result<Self, JoseError> {
        Self::with_name(algorithm, Some(algorithm.as_str()), kid, material)
    }

    fn with_name(
        algorithm: Algorithm,
        named: Option<&'static str>,
        kid: Option<String>,
        material: Material,
    ) -> Result<Self, JoseError> {
        let parsed = material.parse(algorithm)?;
        Ok(Self {
            algorithm,
            named,
            kid,
            thumbprint: material.thumbprint(),
            signature_bytes: material.signature_bytes(),
            material,
            parsed,
        })
    }

    /// The key's name in its set.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Is this the key's algorithm, under the name that the key has for it?
    // RFC 7517 §4.4, RFC 9864 §2.2: `EdDSA` and `Ed25519` are one algorithm with two names.
    pub(super) fn is_for(&self, algorithm: Algorithm, spelled: &str) -> bool {
        self.algorithm == algorithm && self.named.is_none_or(|named| named == spelled)
    }

    /// RFC 7638 thumbprint with SHA-256, base64url: 43 characters. It is also DPoP's `jkt`. // RFC 9449 §6.1
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// SHA-256 of the key as certificates write it.
    #[must_use]
    pub fn spki_digest(&self) -> Digest {
        Digest::of_bytes(&super::spki::encode(&self.material))
    }

    /// The JWK as we publish it: public members, `use`, `alg`, and `kid` if it has one.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.material.required_members();
        jwk.insert("use".to_owned(), json!("sig"));
        jwk.insert("alg".to_owned(), json!(self.named.unwrap_or(self.algorithm.as_str())));
        if let Some(kid) = &self.kid {
            jwk.insert("kid".to_owned(), json!(kid));
        }
        Value::Object(jwk)
    }

    /// Is it a signature of `message` by this key under this algorithm, in the form that JWS has? No parsing, no
    /// allocation of ours.
    ///
    /// # Errors
    /// `SignatureInvalid`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        // The exact length, so that no second encoding of one signature passes: DER for ECDSA, padded or
        // shortened RSA. // RFC 7518 §3.4, RFC 8017 §8.2.2 step 1, RFC 8032 §5.1.7
        if signature.len() != self.signature_bytes {
            return Err(JoseError::SignatureInvalid);
        }
        self.parsed.verify_sig(message, signature).map_err(|_| JoseError::SignatureInvalid)
    }

    /// The same public key for the same algorithm, whatever it is called.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.thumbprint == other.thumbprint
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

/// A published private key is no secret any more: its signatures prove nothing, so it is refused, not trimmed.
fn check_public(jwk: &Map<String, Value>) -> Result<(), JoseError> {
    if jwk.get("kty").and_then(Value::as_str) == Some("oct") {
        return Err(JoseError::KeyPrivate);
    }
    if PRIVATE_MEMBERS.iter().any(|member| jwk.contains_key(*member)) {
        return Err(JoseError::KeyPrivate);
    }
    Ok(())
}

// RFC 7517 §4.2, §4.3
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), JoseError> {
    match jwk.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(_) => return Err(JoseError::KeyNotForVerifying),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        // A public key that signs, or anything named twice, is nobody's key.
        Some(Value::Array(ops)) if matches!(ops.as_slice(), [op] if op == "verify") => Ok(()),
        Some(_) => Err(JoseError::KeyNotForVerifying),
    }
}

fn read_kid(jwk: &Map<String, Value>) -> Result<Option<String>, JoseError> {
    match jwk.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) => check_kid(kid).map(|()| Some(kid.clone())),
        Some(_) => Err(JoseError::KidInvalid),
    }
}

/// A `kid` is compared with what is in memory and shown in logs: short, and without control characters (an attacker
/// would forge log lines with CRLF, or cut them with NUL). // RFC 8725 §3.10
pub(super) fn check_kid(kid: &str) -> Result<(), JoseError> {
    if kid.is_empty() || kid.len() > MAX_KID_BYTES || kid.chars().any(char::is_control) {
        return Err(JoseError::KidInvalid);
    }
    Ok(())
}

fn choose_algorithm(
    jwk: &Map<String, Value>,
    material: &Material,
    pinned: Option<Algorithm>,
) -> Result<Algorithm, JoseError> {
    let named = match jwk.get("alg") {
        None => None,
        Some(Value::String(name)) => Some(name.parse::<Algorithm>().map_err(|_| JoseError::KeyAlgorithmMismatch)?),
        Some(_) => return Err(JoseError::KeyMalformed),
    };
    match (named, pinned) {
        (Some(named), Some(pinned)) if named != pinned => Err(JoseError::KeyAlgorithmMismatch),
        (Some(chosen), _) | (None, Some(chosen)) => Ok(chosen),
        (None, None) => Ok(material.default_algorithm()),
    }
}

/// The members that make the key, decoded and within bounds.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

impl Material {
    fn read(jwk: &Map<String, Value>) -> Result<Self, JoseError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).ok_or(JoseError::KeyMalformed);
        let bytes = |name: &str| base64url_decode(text(name)?.as_bytes());
        match text("kty")? {
            "RSA" => Self::rsa(bytes("n")?, bytes("e")?),
            "EC" => match text("crv")? {
                "P-256" => Self::ec(Curve::P256, bytes("x")?, bytes("y")?),
                "P-384" => Self::ec(Curve::P384, bytes("x")?, bytes("y")?),
                "P-521" => Self::ec(Curve::P521, bytes("x")?, bytes("y")?),
                _ => Err(JoseError::KeyTypeUnsupported),
            },
            "OKP" => match text("crv")? {
                "Ed25519" => Self::ed25519(bytes("x")?),
                _ => Err(JoseError::KeyTypeUnsupported),
            },
            _ => Err(JoseError::KeyTypeUnsupported),
        }
    }

    pub(super) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, JoseError> {
        // RFC 7518 §6.3.1: no leading zero octets, so that one key has one thumbprint.
        let (Some(&n_first), Some(&n_last)) = (n.first(), n.last()) else {
            return Err(JoseError::KeyMalformed);
        };
        let (Some(&e_first), Some(&e_last)) = (e.first(), e.last()) else {
            return Err(JoseError::KeyMalformed);
        };
        if n_first == 0 || e_first == 0 {
            return Err(JoseError::KeyMalformed);
        }
        // RFC 7518 §3.3: 2048 bits or more; above 8192 one verification costs milliseconds.
        let bits = n.len().saturating_mul(8).saturating_sub(n_first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) || n_last % 2 == 0 {
            return Err(JoseError::KeyWeak);
        }
        if super::roca::is_marked(&n) {
            return Err(JoseError::KeyWeak);
        }
        // e = 1 verifies anything, an even e is no RSA, a huge e is an attack on our time.
        if e.len() > 4 || e_last % 2 == 0 || e == [1] {
            return Err(JoseError::KeyWeak);
        }
        Ok(Self::Rsa { n, e })
    }

    pub(super) fn ec(curve: Curve, x: Vec<u8>, y: Vec<u8>) -> Result<Self, JoseError> {
        // RFC 7518 §6.2.1.2: the full size of a coordinate. That the point is on the curve is checked by `parse`.
        if x.len() != curve.size() || y.len() != curve.size() {
            return Err(JoseError::KeyMalformed);
        }
        Ok(Self::Ec { curve, x, y })
    }

    pub(super) fn ed25519(x: Vec<u8>) -> Result<Self, JoseError> {
        let raw = <[u8; 32]>::try_from(x.as_slice()).map_err(|_| JoseError::KeyMalformed)?;
        if ed25519_small_order(raw) {
            return Err(JoseError::KeyPointInvalid);
        }
        Ok(Self::Ed25519 { x })
    }

    fn default_algorithm(&self) -> Algorithm {
        match self {
            // The one RSA algorithm that every issuer without `alg` uses; PS256 must be said. // RFC 8725 §3.1
            Self::Rsa { .. } => Algorithm::RS256,
            Self::Ec { curve, .. } => curve.algorithm(),
            Self::Ed25519 { .. } => Algorithm::EdDSA,
        }
    }

    fn parse(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, JoseError> {
        let invalid = |_| JoseError::KeyPointInvalid;
        match (self, algorithm.family()) {
            (Self::Rsa { n, e }, Family::Rsa(parameters, _)) => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| JoseError::KeyMalformed)
            }
            (Self::Ec { curve, x, y }, Family::Ec(wanted)) if *curve == wanted => {
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(curve.verification(), point).map_err(invalid)
            }
            (Self::Ed25519 { x }, Family::Ed25519) => ParsedPublicKey::new(&ED25519, x).map_err(invalid),
            _ => Err(JoseError::KeyAlgorithmMismatch),
        }
    }

    fn signature_bytes(&self) -> usize {
        match self {
            Self::Rsa { n, .. } => n.len(),
            Self::Ec { curve, .. } => 2 * curve.size(),
            Self::Ed25519 { .. } => 64,
        }
    }

    fn required_members(&self) -> Map<String, Value> {
        let members = match self {
            Self::Rsa { n, e } => vec![("e", base64url(e)), ("kty", "RSA".to_owned()), ("n", base64url(n))],
            Self::Ec { curve, x, y } => vec![
                ("crv", curve.name().to_owned()),
                ("kty", "EC".to_owned()),
                ("x", base64url(x)),
                ("y", base64url(y)),
            ],
            Self::Ed25519 { x } => {
                vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", base64url(x))]
            }
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }

    // RFC 7638 §3: the required members, sorted, without blanks.
    fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, base64url(e), base64url(n)),
            Self::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, curve.name(), base64url(x), base64url(y))
            }
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(x)),
        };
        base64url(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
    }
}

/// The y-coordinates of the eight points of small order, with the encodings that exceed p. Under such a key anybody
/// can write a signature that holds for many messages. // RFC 8032 §5.1.7 leaves this to the verifier
fn ed25519_small_order(mut key: [u8; 32]) -> bool {
    const ORDER_8: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const ORDER_8_NEGATIVE: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    let [first, middle @ .., last] = &mut key;
    *last &= 0x7f; // the sign of x does not change the order
    let zero_or_one = *first <= 1 && *last == 0 && middle.iter().all(|byte| *byte == 0);
    // p - 1, p and p + 1
    let around_p = matches!(*first, 0xec..=0xee) && *last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    zero_or_one || around_p || key == ORDER_8 || key == ORDER_8_NEGATIVE
}
