//! Proofs as an attacker would bend them, the normal form of addresses, the life of nonces.

use super::*;
use crate::{
    credential::Digest,
    jose::{Algorithm, SigningKey},
    port::testing::SeededRng,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const NOW: i64 = 1_795_000_000;
const TOKEN: &str = "the.access.token";
const URL: &str = "https://api.test/orders";

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let input = format!("{}.{}", encode(header), encode(claims));
    let der = key.to_pkcs8().unwrap();
    let (foreign, algorithm) = match key.algorithm() {
        Algorithm::EdDSA => (jsonwebtoken::EncodingKey::from_ed_der(&der), jsonwebtoken::Algorithm::EdDSA),
        Algorithm::ES256 => (jsonwebtoken::EncodingKey::from_ec_der(&der), jsonwebtoken::Algorithm::ES256),
        other => panic!("{other} is not needed here"),
    };
    format!("{input}.{}", jsonwebtoken::crypto::sign(input.as_bytes(), &foreign, algorithm).unwrap())
}

fn header(key: &SigningKey) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.algorithm(), "jwk": key.public_jwk() })
}

fn claims() -> Value {
    json!({ "jti": "j-1", "htm": "GET", "htu": URL, "iat": NOW, "ath": URL_SAFE_NO_PAD.encode(Digest::of(TOKEN).bytes()) })
}

fn judge(text: &str) -> Result<Proof, ProofError> {
    let targets = [Target::parse(URL).unwrap()];
    let expected =
        Expected { method: "GET", targets: &targets, now_s: NOW, token: Some(TOKEN), algorithms: &DEFAULT_ALGORITHMS };
    check(text, &expected)
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    if to.is_null() {
        value.as_object_mut().unwrap().remove(name);
    } else {
        value[name] = to;
    }
    value
}

#[test]
fn rfc9449_4_3_a_good_proof_tells_key_and_jti() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let key = SigningKey::generate(algorithm, "k").unwrap();
        let proof = judge(&signed(&key, &header(&key), &claims())).unwrap();
        assert_eq!((proof.jkt.as_str(), proof.jti.as_str()), (key.verifying_key().thumbprint(), "j-1"));
        assert_eq!((proof.iat_s, proof.nonce), (NOW, None));
    }
}

#[test]
fn rfc9449_4_3_each_claim_is_needed_and_judged() {
    let key = SigningKey::generate(Algorithm::ES256, "k").unwrap();
    let long = "j".repeat(MAX_JTI_BYTES + 1);
    for (name, to, expected) in [
        ("jti", json!(null), Err(ProofError::Claim("jti"))),
        ("jti", json!(""), Err(ProofError::Claim("jti"))),
        ("jti", json!(long), Err(ProofError::Claim("jti"))),
        ("jti", json!(7), Err(ProofError::Claim("jti"))),
        ("htm", json!(null), Err(ProofError::Claim("htm"))),
        ("htm", json!("POST"), Err(ProofError::Method)),
        ("htm", json!("get"), Err(ProofError::Method)),
        ("htu", json!(null), Err(ProofError::Claim("htu"))),
        ("htu", json!("https://api.test/other"), Err(ProofError::Address)),
        ("htu", json!("http://api.test/orders"), Err(ProofError::Address)),
        ("htu", json!("https://evil.test/orders"), Err(ProofError::Address)),
        ("htu", json!("https://api.test:8443/orders"), Err(ProofError::Address)),
        ("htu", json!("/orders"), Err(ProofError::Claim("htu"))),
        ("htu", json!("https://u@api.test/orders"), Err(ProofError::Claim("htu"))),
        ("htu", json!("https://api.test/orders?a=b#c"), Ok(())),
        ("htu", json!("HTTPS://API.test:443/%6frders"), Ok(())),
        ("iat", json!(null), Err(ProofError::Claim("iat"))),
        ("iat", json!("now"), Err(ProofError::Claim("iat"))),
        ("iat", json!(NOW - 3600), Err(ProofError::Time)),
        ("iat", json!(NOW + 3600), Err(ProofError::Time)),
        ("iat", json!(NOW - WINDOW_S - 1), Err(ProofError::Time)),
        ("iat", json!(NOW + WINDOW_S + 1), Err(ProofError::Time)),
        ("iat", json!(NOW - 10), Ok(())),
        ("iat", json!(NOW + 10), Ok(())),
        ("ath", json!(null), Err(ProofError::Claim("ath"))),
        ("ath", json!("x"), Err(ProofError::Token)),
        ("nonce", json!(5), Err(ProofError::Claim("nonce"))),
        ("exp", json!(1), Ok(())),
        ("nbf", json!(NOW + 9_999), Ok(())),
        ("extra", json!({ "a": [1] }), Ok(())),
    ] {
        let text = signed(&key, &header(&key), &with(claims(), name, to.clone()));
        assert_eq!(judge(&text).map(|_| ()), expected, "{name} {to}");
    }
}

#[test]
fn rfc9449_4_3_the_header_shows_one_public_key_and_no_more() {
    let key = SigningKey::generate(Algorithm::ES256, "k").unwrap();
    let other = SigningKey::generate(Algorithm::ES256, "k").unwrap();
    let mut private = key.public_jwk();
    private["d"] = json!("AAAA");
    for (name, to) in [
        ("typ", json!(null)),
        ("typ", json!("JWT")),
        ("typ", json!("at+jwt")),
        ("alg", json!(null)),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("RS256")),
        ("alg", json!("ES384")),
        ("alg", json!("EdDSA")),
        ("jwk", json!(null)),
        ("jwk", json!("key")),
        ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("jwk", private),
        ("crit", json!(["x"])),
        ("b64", json!(false)),
    ] {
        let text = signed(&key, &with(header(&key), name, to.clone()), &claims());
        assert!(matches!(judge(&text), Err(ProofError::Malformed(_))), "{name} {to}");
    }
    let text = signed(&key, &header(&other), &claims());
    assert_eq!(judge(&text), Err(ProofError::Signature), "the key in it is another's");
    for text in ["", "x", "a.b.c", "a.b", "...."] {
        assert!(matches!(judge(text), Err(ProofError::Malformed(_))), "{text}");
    }
    let long = "a".repeat(MAX_PROOF_BYTES + 1);
    assert_eq!(judge(&long), Err(ProofError::Malformed(crate::jose::JoseError::TokenTooLong)));
}

#[test]
fn rfc3986_6_2_addresses_have_one_spelling() {
    for (text, normal) in [
        ("https://API.Test", "https://api.test/"),
        ("HTTPS://api.test:443/a", "https://api.test/a"),
        ("http://api.test:80/a?b#c", "http://api.test/a"),
        ("http://api.test:/a", "http://api.test/a"),
        ("http://api.test:443/a", "http://api.test:443/a"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("https://[::1]/a", "https://[::1]/a"),
        ("https://api.test/%7euser/%c3%a4", "https://api.test/~user/%C3%A4"),
        ("https://api.test/a/./b/../c", "https://api.test/a/c"),
        ("https://api.test/a/%2e%2e/c", "https://api.test/c"),
        ("https://api.test/a/..", "https://api.test/"),
        ("https://api.test/a//b/", "https://api.test/a//b/"),
        ("https://api.test?x", "https://api.test/"),
    ] {
        assert_eq!(Target::parse(text).map(|target| target.as_str().to_owned()).as_deref(), Some(normal), "{text}");
    }
    for bad in [
        "",
        "api.test/a",
        "ftp://api.test/",
        "https:///a",
        "https://u@a/",
        "https://a:b/",
        "https://a/%zz",
        "https://a/\\b",
        "https://a/ b",
    ] {
        assert_eq!(Target::parse(bad), None, "{bad}");
    }
}

#[test]
fn rfc9449_8_a_nonce_is_ours_and_young() {
    let nonces = Nonces::mint(&SeededRng::new(1));
    let nonce = nonces.issue(NOW);
    assert_eq!(nonces.judge(&nonce, NOW), Freshness::Good);
    assert_eq!(nonces.judge(&nonce, NOW + 60), Freshness::Aging);
    assert_eq!(nonces.judge(&nonce, NOW + NONCE_LIFE_S), Freshness::Bad);
    assert_eq!(Nonces::mint(&SeededRng::new(2)).judge(&nonce, NOW), Freshness::Bad, "another node's");
    for bad in ["", "x", &nonce[1..], &format!("{nonce}A")] {
        assert_eq!(nonces.judge(bad, NOW), Freshness::Bad, "{bad}");
    }
}
