//! Which keys sign the cases? Seven that everybody has, of each kind that JWS knows.

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::sync::LazyLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

pub struct Pair {
    pub kind: Kind,
    pub name: &'static str,
    private: Private,
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    vec![
        Pair::rsa("rsa-1", include_bytes!("../keys/rsa-1.der")),
        Pair::ec("p256-1", Kind::P256, include_bytes!("../keys/p256-1.der")),
        Pair::ed("ed25519", include_bytes!("../keys/ed25519.der")),
        Pair::ec("p384", Kind::P384, include_bytes!("../keys/p384.der")),
        Pair::ec("p521", Kind::P521, include_bytes!("../keys/p521.der")),
        Pair::rsa("rsa-2", include_bytes!("../keys/rsa-2.der")),
        Pair::ec("p256-2", Kind::P256, include_bytes!("../keys/p256-2.der")),
    ]
});

pub fn pairs() -> &'static [Pair] {
    &PAIRS
}

impl Pair {
    fn rsa(name: &'static str, der: &[u8]) -> Self {
        let private = Private::Rsa(RsaKeyPair::from_pkcs8(der).expect("an RSA key"));
        Self { kind: Kind::Rsa, name, private }
    }

    fn ec(name: &'static str, kind: Kind, der: &[u8]) -> Self {
        let algorithm = match kind {
            Kind::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            Kind::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
            _ => &ECDSA_P256_SHA256_FIXED_SIGNING,
        };
        let private = Private::Ec(EcdsaKeyPair::from_pkcs8(algorithm, der).expect("an EC key"));
        Self { kind, name, private }
    }

    fn ed(name: &'static str, der: &[u8]) -> Self {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).expect("an Ed25519 key");
        Self { kind: Kind::Ed25519, name, private: Private::Ed25519(pair) }
    }

    /// What this key can honestly sign with.
    pub const fn algorithms(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Rsa => &["RS256", "PS256", "RS384", "RS512", "PS384", "PS512"],
            Kind::P256 => &["ES256"],
            Kind::P384 => &["ES384"],
            Kind::P521 => &["ES512"],
            Kind::Ed25519 => &["EdDSA"],
        }
    }

    /// Signs with `algorithm`, which is one of [`Self::algorithms`].
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match &self.private {
            Private::Ec(pair) => pair.sign(&rng, message).expect("signed").as_ref().to_vec(),
            Private::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                pair.sign(encoding, &rng, message, &mut signature).expect("signed");
                signature
            }
        }
    }

    /// The members of its public JWK, in the order that they are written in.
    pub fn jwk(&self) -> Vec<(&'static str, Vec<u8>)> {
        match &self.private {
            Private::Rsa(pair) => {
                let key = pair.public_key();
                let trimmed = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
                vec![
                    ("n", trimmed(key.modulus().big_endian_without_leading_zero())),
                    ("e", trimmed(key.exponent().big_endian_without_leading_zero())),
                ]
            }
            Private::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                vec![("x", x.to_vec()), ("y", y.to_vec())]
            }
            Private::Ed25519(pair) => vec![("x", pair.public_key().as_ref().to_vec())],
        }
    }

    /// `kty` and `crv`.
    pub const fn type_and_curve(&self) -> (&'static str, Option<&'static str>) {
        match self.kind {
            Kind::Rsa => ("RSA", None),
            Kind::P256 => ("EC", Some("P-256")),
            Kind::P384 => ("EC", Some("P-384")),
            Kind::P521 => ("EC", Some("P-521")),
            Kind::Ed25519 => ("OKP", Some("Ed25519")),
        }
    }

    /// Its public part in each form that somebody might take for a shared secret. // RFC 8725 §2.1
    pub fn public_forms(&self) -> Vec<Vec<u8>> {
        let der = |key: Result<PublicKeyX509Der<'static>, _>| {
            let _: &Result<_, aws_lc_rs::error::Unspecified> = &key;
            key.expect("a public key").as_ref().to_vec()
        };
        let spki = match &self.private {
            Private::Rsa(pair) => der(pair.public_key().as_der()),
            Private::Ec(pair) => der(pair.public_key().as_der()),
            Private::Ed25519(pair) => der(pair.public_key().as_der()),
        };
        let text = base64::engine::general_purpose::STANDARD.encode(&spki);
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
        let parts = self.jwk();
        let raw: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let first = parts.first().map_or_else(Vec::new, |(_, bytes)| URL_SAFE_NO_PAD.encode(bytes).into_bytes());
        vec![spki, pem.clone().into_bytes(), format!("{pem}\n").into_bytes(), raw, first, vec![]]
    }
}
