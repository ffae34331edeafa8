//! Does the module refuse each forgery of the catalogue (names begin with its line), and agree with a foreign library?
//! Forged tokens are signed with the right key wherever that is possible, so that only the form can be what is refused.

use super::strict_json::{self, Limits};
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

const NOW_S: i64 = 1_795_000_000;
const OURS: &str = "https://api.example.com";
const ISSUER: &str = "https://issuer.example.com";

static RS256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::RS256, "rs").unwrap());
static PS256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::PS256, "ps").unwrap());
static ES256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::ES256, "es").unwrap());
static ES384: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::ES384, "es384").unwrap());
static EDDSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::EdDSA, "ed").unwrap());

fn all_keys() -> [&'static SigningKey; 5] {
    [&RS256, &PS256, &ES256, &ES384, &EDDSA]
}

fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "usr_alice", "aud": OURS, "iat": NOW_S, "exp": NOW_S + 600, "jti": "t1",
        "scope": "orders:read", "roles": ["customer"],
    })
}

fn good_token(key: &SigningKey) -> String {
    key.sign_jws("at+jwt", &good_claims()).unwrap()
}

/// Any header and payload text, correctly signed.
fn forge(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", base64url(header), base64url(payload));
    let signature = key.sign_bytes(input.as_bytes()).unwrap();
    format!("{input}.{}", base64url(&signature))
}

fn with_header(key: &SigningKey, header: &str) -> String {
    forge(key, header.as_bytes(), good_claims().to_string().as_bytes())
}

fn with_payload(key: &SigningKey, payload: &[u8]) -> String {
    let header = json!({ "alg": key.algorithm(), "kid": key.kid(), "typ": "at+jwt" });
    forge(key, header.to_string().as_bytes(), payload)
}

fn with_signature(token: &str, signature: &[u8]) -> String {
    let (input, _) = token.rsplit_once('.').unwrap();
    format!("{input}.{}", base64url(signature))
}

fn signature_of(token: &str) -> Vec<u8> {
    base64url_decode(token.rsplit_once('.').unwrap().1.as_bytes()).unwrap()
}

fn verify(token: &str, key: &VerifyingKey) -> Result<Payload, JoseError> {
    Compact::parse(token, MAX_TOKEN_BYTES)?.verify(key)
}

#[track_caller]
fn refused(token: &str, key: &SigningKey, why: JoseError) {
    let answer = verify(token, key.verifying_key()).err();
    assert_eq!(answer, Some(why), "{}", token.chars().take(400).collect::<String>());
}

/// As a gate does it: look the key up by `kid`, verify, then judge the claims.
fn judge(token: &str, keys: &Jwks) -> Result<String, String> {
    let compact = Compact::parse(token, MAX_TOKEN_BYTES).map_err(|error| error.code().to_owned())?;
    let key = keys.find(compact.kid()).ok_or("no_key")?;
    let payload = compact.verify(key).map_err(|error| error.code().to_owned())?;
    judge_claims(payload.claims(), TimeRules::default()).map_err(|error| error.code().to_owned())
}

fn judge_claims(claims: Claims<'_>, rules: TimeRules) -> Result<String, ClaimError> {
    check_issuer(claims, ISSUER)?;
    check_audience(claims, &[OURS])?;
    check_times(claims, NOW_S, rules)?;
    check_subject(claims).map(str::to_owned)
}

/// The good claims with one of them replaced (or removed, by `None`), through text, as a token brings them.
fn judge_with(name: &str, value: Option<&str>) -> Result<String, ClaimError> {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(name);
    let mut text = claims.to_string();
    if let Some(value) = value {
        text.truncate(text.len() - 1);
        text.push_str(&format!(",\"{name}\":{value}}}"));
    }
    let payload = verify(&with_payload(&EDDSA, text.as_bytes()), EDDSA.verifying_key()).unwrap();
    judge_claims(payload.claims(), TimeRules::default())
}

fn parse_json(text: &[u8]) -> Result<serde_json::Map<String, Value>, JoseError> {
    strict_json::parse_object(text, Limits::TOKEN)
}

// ---- what must work

#[test]
fn good_tokens_of_every_algorithm_are_accepted() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm, "key-2026-11").unwrap();
        let token = good_token(&key);
        let compact = Compact::parse(&token, MAX_TOKEN_BYTES).unwrap();
        assert_eq!((compact.algorithm(), compact.kid()), (algorithm, Some("key-2026-11")));
        assert_eq!(compact.typ(), Some("at+jwt"));
        assert_eq!(compact.peek_issuer().as_deref(), Some(ISSUER));
        let payload = compact.verify(key.verifying_key()).unwrap();
        assert_eq!(Value::Object(payload.object().clone()), good_claims());
        assert_eq!(serde_json::from_slice::<Value>(payload.bytes()).unwrap(), good_claims());
        assert_eq!(judge_claims(payload.claims(), TimeRules::default()).unwrap(), "usr_alice");
        let published = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
        assert!(verify(&token, &published).is_ok());
    }
}

#[test]
fn what_is_exactly_as_long_as_allowed_is_read() {
    let sized = |padding: usize| EDDSA.sign_jws("logout+jwt", &json!({ "x": "x".repeat(padding) }));
    let longest = (12_100..12_200).filter_map(|padding| sized(padding).ok()).max_by_key(String::len).unwrap();
    assert_eq!(longest.len(), MAX_TOKEN_BYTES);
    assert!(verify(&longest, EDDSA.verifying_key()).is_ok());
    // 3,072 bytes are 4,096 characters.
    let header = |bytes: usize| format!(r#"{{"alg":"EdDSA","x":"{}"}}"#, "x".repeat(bytes - 22));
    assert_eq!(header(3_072).len(), 3_072);
    assert!(verify(&with_header(&EDDSA, &header(3_072)), EDDSA.verifying_key()).is_ok());
    refused(&with_header(&EDDSA, &header(3_073)), &EDDSA, JoseError::HeaderTooLong);
    let signed = |chars: usize| {
        let token = good_token(&EDDSA);
        Compact::parse(&with_signature(&token, &vec![0; chars * 3 / 4]), MAX_TOKEN_BYTES).map(drop)
    };
    // 1,024 bytes, of RSA-8192.
    assert_eq!(signed(1_366), Ok(()));
    assert_eq!((signed(1_367), signed(1_400)), (Err(JoseError::SignatureInvalid), Err(JoseError::SignatureInvalid)));
    let object = format!(r#"{{"x":"{}"}}"#, "x".repeat(16 * 1024 - 8));
    assert_eq!(object.len(), Limits::TOKEN.bytes);
    assert!(parse_json(object.as_bytes()).is_ok());
    assert_eq!(parse_json(format!("{object} ").as_bytes()).err(), Some(JoseError::JsonTooLong));
    let number = format!("0.{}", "1".repeat(62));
    assert!(parse_json(format!(r#"{{"x":{number}}}"#).as_bytes()).is_ok());
    assert_eq!(parse_json(format!(r#"{{"x":{number}1}}"#).as_bytes()).err(), Some(JoseError::JsonNumber));
    let list = |count: usize| format!(r#"{{"x":[{}0]}}"#, "0,".repeat(count - 2));
    let document = |count: usize| strict_json::parse_object(list(count).as_bytes(), Limits::DOCUMENT).map(drop);
    assert_eq!((document(16 * 1024), document(16 * 1024 + 1)), (Ok(()), Err(JoseError::JsonTooManyValues)));
    let many = |count: usize| format!(r#"{{"keys":[{}null]}}"#, "null,".repeat(count - 1));
    assert_eq!(Jwks::parse(many(512).as_bytes()).unwrap().1.len(), 512);
}

#[test]
fn rfc7515_5_2_bytes_that_are_no_claims_are_verified_all_the_same() {
    for payload in [&b""[..], b"no JSON", b"\xff\0"] {
        let token = with_payload(&ES256, payload);
        let compact = Compact::parse(&token, MAX_TOKEN_BYTES).unwrap();
        assert_eq!(compact.verify_bytes(ES256.verifying_key()).as_deref(), Ok(payload));
        let other = SigningKey::generate(Algorithm::ES256, "es").unwrap();
        assert_eq!(compact.verify_bytes(other.verifying_key()), Err(JoseError::SignatureInvalid));
        assert_eq!(compact.verify_bytes(EDDSA.verifying_key()), Err(JoseError::AlgorithmMismatch));
    }
}

#[test]
fn keys_survive_export_and_import() {
    for key in all_keys() {
        let again = SigningKey::from_pkcs8(key.algorithm(), key.kid(), &key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.public_jwk(), key.public_jwk());
        assert!(verify(&good_token(&again), key.verifying_key()).is_ok());
        let published = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
        assert!(verify(&good_token(key), &published).is_ok());
        assert_eq!(published.thumbprint(), key.verifying_key().thumbprint());
    }
    let rsa_3072 = SigningKey::generate_sized(Algorithm::RS256, "big", RsaSize::Bits3072).unwrap();
    assert_eq!(signature_of(&good_token(&rsa_3072)).len(), 384);
    assert!(verify(&good_token(&rsa_3072), rsa_3072.verifying_key()).is_ok());
    let wrong_type = SigningKey::from_pkcs8(Algorithm::ES256, "x", &EDDSA.to_pkcs8().unwrap());
    assert_eq!(wrong_type.err(), Some(JoseError::PrivateKeyInvalid));
    let wrong_curve = SigningKey::from_pkcs8(Algorithm::ES384, "x", &ES256.to_pkcs8().unwrap());
    assert_eq!(wrong_curve.err(), Some(JoseError::PrivateKeyInvalid));
}

#[test]
fn debug_shows_no_private_key_and_no_claims() {
    for key in all_keys() {
        let shown = format!("{key:?}");
        assert!(shown.contains("redacted") && shown.len() < 120, "{shown}");
    }
    let token = good_token(&EDDSA);
    let compact = Compact::parse(&token, MAX_TOKEN_BYTES).unwrap();
    let payload = compact.verify(EDDSA.verifying_key()).unwrap();
    let shown = format!("{compact:?} {payload:?} {:?}", EDDSA.verifying_key());
    assert!(!shown.contains("usr_alice") && !shown.contains(token.rsplit_once('.').unwrap().1));
}

#[test]
fn we_do_not_sign_what_we_would_refuse() {
    let deep = (0..20).fold(json!(1), |inner, _| json!({ "a": inner }));
    for claims in [json!([1]), json!("text"), json!(null), deep] {
        assert_eq!(EDDSA.sign_jws("at+jwt", &claims).err(), Some(JoseError::ClaimsInvalid));
    }
    let twice = Twice { sub: "a", more: json!({ "sub": "b" }) };
    assert_eq!(EDDSA.sign_jws("at+jwt", &twice).err(), Some(JoseError::ClaimsInvalid));
    let long = json!({ "a": "x".repeat(13_000) });
    assert_eq!(EDDSA.sign_jws("at+jwt", &long).err(), Some(JoseError::TokenTooLong));
}

#[derive(serde::Serialize)]
struct Twice {
    sub: &'static str,
    #[serde(flatten)]
    more: Value,
}

#[test]
fn rfc7638_3_1_thumbprint_of_the_example() {
    let jwk = json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
              hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q\
              MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awa\
              pJzKnqDKgw",
    });
    let key = VerifyingKey::from_jwk(&jwk).unwrap();
    assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

/// RFC 8037 §A.1-A.4: the thumbprint of the example key and a signature by it.
#[test]
fn rfc8037_a_ed25519_example() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let key = VerifyingKey::from_jwk(&jwk).unwrap();
    assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(key.verify(input, &base64url_decode(signature.as_bytes()).unwrap()).is_ok());
}

#[test]
fn rfc9068_4_typ_is_compared_as_a_media_type() {
    for (typ, same) in [
        ("at+jwt", true),
        ("AT+JWT", true),
        ("application/at+jwt", true),
        ("Application/At+Jwt", true),
        ("JWT", false),
        ("at+jwt ", false),
        ("application/", false),
        ("application/application/at+jwt", false),
        ("ä+jwt", false),
    ] {
        let token = EDDSA.sign_jws(typ, &good_claims()).unwrap();
        assert_eq!(Compact::parse(&token, MAX_TOKEN_BYTES).unwrap().typ_is("at+jwt"), same, "{typ}");
    }
    let without = with_header(&EDDSA, r#"{"alg":"EdDSA"}"#);
    assert!(!Compact::parse(&without, MAX_TOKEN_BYTES).unwrap().typ_is("at+jwt"));
    for typ in ["5", "null", "[\"at+jwt\"]", r#""a\nb""#, &format!("\"{}\"", "x".repeat(65))] {
        refused(&with_header(&EDDSA, &format!(r#"{{"alg":"EdDSA","typ":{typ}}}"#)), &EDDSA, JoseError::TypInvalid);
    }
}

// ---- the catalogue

#[test]
fn rfc9864_2_2_ed25519_is_eddsa_by_its_full_name_where_the_key_says_no_other() {
    let token = with_header(&EDDSA, r#"{"alg":"Ed25519","kid":"ed"}"#);
    let named = |name: Option<&str>| {
        let mut jwk = EDDSA.public_jwk();
        match name {
            Some(name) => jwk["alg"] = json!(name),
            None => drop(jwk.as_object_mut().unwrap().remove("alg")),
        }
        VerifyingKey::from_jwk(&jwk).unwrap()
    };
    let judge = |token: &str, key: &VerifyingKey| Compact::parse(token, MAX_TOKEN_BYTES).unwrap().verify(key).map(drop);
    assert_eq!(judge(&token, &named(None)), Ok(()));
    assert_eq!(judge(&token, &named(Some("Ed25519"))), Ok(()));
    assert_eq!(named(Some("Ed25519")).to_jwk()["alg"], "Ed25519");
    // RFC 7517 §4.4: a key that names its algorithm is for that name.
    assert_eq!(judge(&token, &named(Some("EdDSA"))), Err(JoseError::AlgorithmMismatch));
    assert_eq!(judge(&good_token(&EDDSA), &named(Some("Ed25519"))), Err(JoseError::AlgorithmMismatch));
    assert_eq!(judge(&good_token(&EDDSA), &named(None)), Ok(()));
    refused(&with_header(&ES256, r#"{"alg":"Ed25519"}"#), &ES256, JoseError::AlgorithmMismatch);
}

#[test]
fn t01_alg_none_is_refused() {
    for alg in [r#""none""#, r#""None""#, r#""NONE""#, r#""nOnE""#, r#""none ""#, r#""""#, r#""rs256""#, r#""RS256 ""#]
    {
        let real = with_header(&RS256, &format!(r#"{{"alg":{alg},"kid":"rs"}}"#));
        refused(&real, &RS256, JoseError::AlgorithmNotAllowed);
        let (input, _) = real.rsplit_once('.').unwrap();
        refused(&format!("{input}."), &RS256, JoseError::NotThreeParts);
        refused(input, &RS256, JoseError::NotThreeParts);
    }
    for alg in ["null", r#"["none"]"#, r#"["RS256"]"#, "0", "{}", "true"] {
        refused(&with_header(&RS256, &format!(r#"{{"alg":{alg}}}"#)), &RS256, JoseError::AlgorithmInvalid);
    }
    refused(&with_header(&RS256, r#"{"typ":"at+jwt"}"#), &RS256, JoseError::AlgorithmInvalid);
}

#[test]
fn t02_hmac_with_a_public_key_as_secret_is_refused() {
    use aws_lc_rs::hmac;
    for key in all_keys() {
        let secrets = public_key_texts(key);
        let kinds = [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)];
        for (name, algorithm) in kinds {
            for secret in &secrets {
                let header = format!(r#"{{"alg":"{name}","kid":"{}"}}"#, key.kid());
                let token = with_header(key, &header);
                let (input, _) = token.rsplit_once('.').unwrap();
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
                refused(&with_signature(&token, tag.as_ref()), key, JoseError::AlgorithmNotAllowed);
                // The same tag under the key's own algorithm.
                let honest = good_token(key);
                refused(&with_signature(&honest, tag.as_ref()), key, JoseError::SignatureInvalid);
            }
        }
    }
    assert!("HS256".parse::<Algorithm>().is_err());
}

/// All the texts in which an attacker finds a public key.
fn public_key_texts(key: &SigningKey) -> Vec<Vec<u8>> {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
    use base64::engine::general_purpose::STANDARD;
    let pem = |label: &str, der: &[u8]| {
        let lines: Vec<String> =
            STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", lines.join("\n"))
    };
    let pkcs8 = key.to_pkcs8().unwrap();
    // `raw` is PKCS#1 for RSA, the point for EC, the 32 bytes for Ed25519.
    let (spki, raw): (PublicKeyX509Der<'_>, Vec<u8>) = match key.algorithm().family() {
        algorithm::Family::Rsa(..) => {
            let pair = RsaKeyPair::from_pkcs8(&pkcs8).unwrap();
            (pair.public_key().as_der().unwrap(), pair.public_key().as_ref().to_vec())
        }
        algorithm::Family::Ec(curve) => {
            let pair = EcdsaKeyPair::from_pkcs8(curve.signing(), &pkcs8).unwrap();
            (pair.public_key().as_der().unwrap(), pair.public_key().as_ref().to_vec())
        }
        algorithm::Family::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
            (pair.public_key().as_der().unwrap(), pair.public_key().as_ref().to_vec())
        }
    };
    let spki_pem = pem("PUBLIC KEY", spki.as_ref());
    let pkcs1_pem = pem("RSA PUBLIC KEY", &raw);
    vec![
        format!("{spki_pem}\n").into_bytes(),
        spki_pem.into_bytes(),
        format!("{pkcs1_pem}\n").into_bytes(),
        pkcs1_pem.into_bytes(),
        spki.as_ref().to_vec(),
        raw,
        key.public_jwk().to_string().into_bytes(),
        Vec::new(),
    ]
}

#[test]
fn t03_the_key_fixes_the_algorithm() {
    for signer in all_keys() {
        for named in all_keys() {
            if signer.kid() == named.kid() {
                continue;
            }
            // The `kid` of another key, under the signer's algorithm and under the named key's.
            let honest = with_header(signer, &format!(r#"{{"alg":"{}","kid":"{}"}}"#, signer.algorithm(), named.kid()));
            refused(&honest, named, JoseError::AlgorithmMismatch);
            let bent = with_header(signer, &format!(r#"{{"alg":"{}","kid":"{}"}}"#, named.algorithm(), named.kid()));
            refused(&bent, named, JoseError::SignatureInvalid);
        }
    }
    // One RSA key under two algorithms: a PSS signature is no RS256 signature, nor the other way round.
    let twin = SigningKey::from_pkcs8(Algorithm::PS256, "rs", &RS256.to_pkcs8().unwrap()).unwrap();
    refused(&good_token(&twin), &RS256, JoseError::AlgorithmMismatch);
    refused(&with_header(&twin, r#"{"alg":"RS256"}"#), &RS256, JoseError::SignatureInvalid);
    refused(&with_header(&RS256, r#"{"alg":"PS256"}"#), &twin, JoseError::SignatureInvalid);
    let longer_hash = SigningKey::from_pkcs8(Algorithm::RS512, "rs", &RS256.to_pkcs8().unwrap()).unwrap();
    refused(&with_header(&longer_hash, r#"{"alg":"RS256"}"#), &RS256, JoseError::SignatureInvalid);
}

#[test]
fn t03_a_jwk_whose_alg_does_not_fit_it_is_refused() {
    for (key, alg) in [
        (&RS256, "ES256"),
        (&RS256, "EdDSA"),
        (&RS256, "RSA-OAEP"),
        (&RS256, "none"),
        (&RS256, "HS256"),
        (&ES256, "ES384"),
        (&ES256, "RS256"),
        (&ES384, "ES256"),
        (&EDDSA, "ES256"),
        (&EDDSA, "Ed448"),
    ] {
        let mut jwk = key.public_jwk();
        jwk["alg"] = json!(alg);
        assert_eq!(VerifyingKey::from_jwk(&jwk).err(), Some(JoseError::KeyAlgorithmMismatch), "{alg}");
    }
    let mut silent = PS256.public_jwk();
    silent.as_object_mut().unwrap().remove("alg");
    assert_eq!(VerifyingKey::from_jwk(&silent).unwrap().algorithm(), Algorithm::RS256);
    let pinned = VerifyingKey::from_jwk_pinned(&silent, Algorithm::PS256).unwrap();
    assert!(verify(&good_token(&PS256), &pinned).is_ok());
    for (jwk, pin) in [(PS256.public_jwk(), Algorithm::RS256), (silent, Algorithm::ES256)] {
        assert_eq!(VerifyingKey::from_jwk_pinned(&jwk, pin).err(), Some(JoseError::KeyAlgorithmMismatch));
    }
}

#[test]
fn t04_hostile_kids_find_no_key() {
    let keys = Jwks::from_keys([RS256.verifying_key().clone(), EDDSA.verifying_key().clone()]).unwrap();
    let huge = format!("\"{}\"", "k".repeat(100 * 1024));
    let long = format!("\"{}\"", "k".repeat(257));
    for (kid, code) in [
        (r#""../../../../dev/null""#, "no_key"),
        (r#""' OR '1'='1""#, "no_key"),
        (r#""RS""#, "no_key"),
        (r#""rs ""#, "no_key"),
        (r#""rs\u0000""#, "kid_invalid"),
        (r#""rs\r\nlevel=info""#, "kid_invalid"),
        (r#""""#, "kid_invalid"),
        (&long, "kid_invalid"),
        (&huge, "token_too_long"),
        ("5", "kid_invalid"),
        ("null", "kid_invalid"),
        (r#"["rs"]"#, "kid_invalid"),
    ] {
        let token = with_header(&RS256, &format!(r#"{{"alg":"RS256","kid":{kid}}}"#));
        assert_eq!(judge(&token, &keys).err().as_deref(), Some(code), "{}", kid.get(..20).unwrap_or(kid));
    }
    // As long as may be.
    let longest = "k".repeat(256);
    let key = SigningKey::generate(Algorithm::EdDSA, &longest).unwrap();
    let keys_of_one = Jwks::from_keys([key.verifying_key().clone()]).unwrap();
    assert!(judge(&good_token(&key), &keys_of_one).is_ok());
    assert!(SigningKey::generate(Algorithm::EdDSA, &format!("{longest}k")).is_err());
    // No `kid`: only where there is no choice.
    let nameless = with_header(&RS256, r#"{"alg":"RS256"}"#);
    assert_eq!(judge(&nameless, &keys).err().as_deref(), Some("no_key"));
    assert!(judge(&nameless, &Jwks::from_keys([RS256.verifying_key().clone()]).unwrap()).is_ok());
}

#[test]
fn t06_keys_in_the_header_are_never_used() {
    let attacker = SigningKey::generate(Algorithm::ES256, "es").unwrap();
    let jwk = attacker.public_jwk();
    for extra in [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"https://evil.example/jwks""#.to_owned(),
        r#""x5u":"https://evil.example/cert""#.to_owned(),
        r#""x5c":["MIIB"]"#.to_owned(),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"es",{extra}}}"#);
        refused(&with_header(&attacker, &header), &ES256, JoseError::SignatureInvalid);
        // Ignored, not refused: some issuers send them, and they change nothing.
        assert!(verify(&with_header(&ES256, &header), ES256.verifying_key()).is_ok());
    }
}

#[test]
fn t08_crit_in_any_form_is_refused() {
    for crit in [r#"["x"]"#, "[]", r#""exp""#, r#"["exp","exp"]"#, r#"["exp"]"#, r#"["absent"]"#, "null", "{}", "0"] {
        let header = format!(r#"{{"alg":"ES256","kid":"es","exp":1,"x":1,"crit":{crit}}}"#);
        refused(&with_header(&ES256, &header), &ES256, JoseError::CriticalHeader);
    }
    let twice = r#"{"alg":"ES256","crit":[],"crit":[]}"#;
    refused(&with_header(&ES256, twice), &ES256, JoseError::JsonDuplicateMember);
}

#[test]
fn t09_unencoded_payload_is_refused() {
    let both = r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#;
    refused(&with_header(&ES256, both), &ES256, JoseError::CriticalHeader);
    for value in ["false", "true", "null"] {
        let header = format!(r#"{{"alg":"ES256","b64":{value}}}"#);
        refused(&with_header(&ES256, &header), &ES256, JoseError::UnencodedPayload);
    }
}

#[test]
fn t10_duplicate_members_are_refused() {
    for header in [
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","\u0061lg":"none"}"#,
        r#"{"alg":"ES256","kid":"es","kid":"other"}"#,
        r#"{"alg":"ES256","x":{"a":1,"a":2}}"#,
    ] {
        refused(&with_header(&ES256, header), &ES256, JoseError::JsonDuplicateMember);
    }
    for name in ["sub", "aud", "exp", "iss", "\\u0073ub"] {
        let mut text = good_claims().to_string();
        text.truncate(text.len() - 1);
        let payload = format!("{text},\"{name}\":\"x\"}}");
        refused(&with_payload(&ES256, payload.as_bytes()), &ES256, JoseError::JsonDuplicateMember);
    }
    let nested = br#"{"act":[{"sub":"a","deep":{"x":1,"x":1}}]}"#;
    refused(&with_payload(&ES256, nested), &ES256, JoseError::JsonDuplicateMember);
}

#[test]
fn t11_bad_exp_is_refused() {
    for (exp, code) in [
        (None, "claim_missing"),
        (Some(r#""9999999999""#), "claim_wrong_type"),
        (Some("true"), "claim_wrong_type"),
        (Some("null"), "claim_wrong_type"),
        (Some("[9999999999]"), "claim_wrong_type"),
        (Some("{}"), "claim_wrong_type"),
        (Some("-1"), "claim_out_of_range"),
        (Some("-0.5"), "claim_out_of_range"),
        (Some("-1e300"), "claim_out_of_range"),
        (Some("0"), "expired"),
        (Some("-0"), "expired"),
        (Some("0.1"), "expired"),
        (Some("1794999699"), "expired"), // 301 s ago
        (Some("1794999990"), "expired"), // exactly the leeway ago
    ] {
        assert_eq!(judge_with("exp", exp).unwrap_err().code(), code, "{exp:?}");
    }
    for exp in ["1794999991", "1795000600", "1795000600.75", "1.7950006e9", "1795000600E0"] {
        assert!(judge_with("exp", Some(exp)).is_ok(), "{exp}");
    }
}

#[test]
fn t12_huge_exp_neither_wraps_nor_passes() {
    for (exp, code) in [
        ("9007199254740992", "life_too_long"),          // 2^53
        ("9007199254740993", "claim_out_of_range"),     // 2^53 + 1
        ("9223372036854775807", "claim_out_of_range"),  // 2^63 - 1
        ("9223372036854775808", "claim_out_of_range"),  // 2^63
        ("18446744073709551615", "claim_out_of_range"), // 2^64 - 1
        ("18446744075504551616", "claim_out_of_range"), // 2^64 + now
        ("1e300", "claim_out_of_range"),
        ("9.1e15", "claim_out_of_range"),
        ("1795086401", "life_too_long"), // one second over a day
    ] {
        assert_eq!(judge_with("exp", Some(exp)).unwrap_err().code(), code, "{exp}");
    }
    assert!(judge_with("exp", Some("1795086400")).is_ok());
    refused(&with_payload(&ES256, br#"{"exp":1e999}"#), &ES256, JoseError::JsonNumber);
    // Extreme clocks do not wrap either.
    let object = parse_json(br#"{"iat":0,"exp":9007199254740992}"#).unwrap();
    for now_s in [i64::MIN, i64::MAX] {
        assert!(check_times(Claims::new(&object), now_s, TimeRules::default()).is_err());
    }
}

#[test]
fn t12_without_iat_the_remaining_life_is_judged() {
    let judge = |text: String| {
        let object = parse_json(text.as_bytes()).unwrap();
        check_times(Claims::new(&object), NOW_S, TimeRules::new(10, 3600).unwrap()).map_err(|error| error.code())
    };
    assert!(judge(format!(r#"{{"exp":{}}}"#, NOW_S + 3600)).is_ok());
    assert_eq!(judge(format!(r#"{{"exp":{}}}"#, NOW_S + 3601)), Err("life_too_long"));
    assert_eq!(judge(format!(r#"{{"iat":{},"exp":{}}}"#, NOW_S - 3000, NOW_S + 601)), Err("life_too_long"));
    for (leeway_s, max_life_s) in [(-1, 60), (61, 60), (10, 0), (10, i64::MAX)] {
        assert_eq!(TimeRules::new(leeway_s, max_life_s), None);
    }
}

#[test]
fn t13_nbf_and_iat_in_the_future() {
    for (name, code) in [("nbf", "not_yet_valid"), ("iat", "issued_in_future")] {
        assert!(judge_with(name, Some(&(NOW_S + 8).to_string())).is_ok());
        assert!(judge_with(name, Some(&(NOW_S + 10).to_string())).is_ok());
        assert!(judge_with(name, None).is_ok());
        for ahead_s in [11, 61, 3600] {
            let answer = judge_with(name, Some(&(NOW_S + ahead_s).to_string()));
            assert_eq!(answer.unwrap_err().code(), code, "{name} {ahead_s}");
        }
        for wrong in [r#""1795000000""#, "true", "null", "[]"] {
            assert_eq!(judge_with(name, Some(wrong)).unwrap_err().code(), "claim_wrong_type", "{name} {wrong}");
        }
    }
}

#[test]
fn t14_only_our_exact_audience_is_accepted() {
    for (aud, code) in [
        (None, "claim_missing"),
        (Some(r#""https://other.example.com""#), "wrong_audience"),
        (Some("[]"), "claim_wrong_type"),
        (Some(r#""https://api.example""#), "wrong_audience"),
        (Some(r#""https://api.example.com/""#), "wrong_audience"),
        (Some(r#""HTTPS://API.EXAMPLE.COM""#), "wrong_audience"),
        (Some(r#"["https://api.example.com",5]"#), "claim_wrong_type"),
        (Some(r#"["https://api.example.com",null]"#), "claim_wrong_type"),
        (Some(r#"[["https://api.example.com"]]"#), "claim_wrong_type"),
        (Some(r#""*""#), "wrong_audience"),
        (Some(r#""""#), "wrong_audience"),
        (Some("null"), "claim_wrong_type"),
        (Some(r#"{"https://api.example.com":1}"#), "claim_wrong_type"),
        (Some(r#""https://other.example.com https://api.example.com""#), "wrong_audience"),
    ] {
        assert_eq!(judge_with("aud", aud).unwrap_err().code(), code, "{aud:?}");
    }
    assert!(judge_with("aud", Some(r#"["https://other.example.com","https://api.example.com"]"#)).is_ok());
    let object = parse_json(br#"{"aud":"x"}"#).unwrap();
    assert!(check_audience(Claims::new(&object), &[] as &[&str]).is_err());
}

#[test]
fn t15_only_the_exact_issuer_is_accepted() {
    for (iss, code) in [
        (None, "claim_missing"),
        (Some(r#""https://issuer.example.com/""#), "wrong_issuer"),
        (Some(r#""https://ISSUER.example.com""#), "wrong_issuer"),
        (Some(r#""https://issuer.example.com.evil.test""#), "wrong_issuer"),
        (Some(r#""http://issuer.example.com""#), "wrong_issuer"),
        (Some(r#"["https://issuer.example.com"]"#), "claim_wrong_type"),
        (Some("null"), "claim_wrong_type"),
        (Some(r#""""#), "claim_wrong_type"),
    ] {
        assert_eq!(judge_with("iss", iss).unwrap_err().code(), code, "{iss:?}");
    }
    let array = with_payload(&ES256, br#"{"iss":["a"]}"#);
    assert_eq!(Compact::parse(&array, MAX_TOKEN_BYTES).unwrap().peek_issuer(), None);
}

#[test]
fn t17_sub_must_be_an_identifier() {
    let long = format!("\"{}\"", "u".repeat(513));
    for (sub, code) in [
        (None, "claim_missing"),
        (Some(r#""""#), "claim_wrong_type"),
        (Some("5"), "claim_wrong_type"),
        (Some(r#"["usr_alice"]"#), "claim_wrong_type"),
        (Some("null"), "claim_wrong_type"),
        (Some(r#""usr_alice\u0000""#), "claim_wrong_type"),
        (Some(r#""a\r\nX-Trigate-User: root""#), "claim_wrong_type"),
        (Some(&long), "claim_wrong_type"),
    ] {
        assert_eq!(judge_with("sub", sub).unwrap_err().code(), code, "{sub:?}");
    }
    assert!(judge_with("sub", Some(&format!("\"{}\"", "u".repeat(512)))).is_ok());
}

#[test]
fn t18_ecdsa_zero_and_der_signatures_are_refused() {
    let n_256 = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let n_384 = hex(concat!(
        "ffffffffffffffffffffffffffffffffffffffffffffffff",
        "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ));
    for (key, n) in [(&ES256, n_256), (&ES384, n_384)] {
        let token = good_token(key);
        let good = signature_of(&token);
        let (r, s) = good.split_at(n.len());
        let zero = vec![0; n.len()];
        let above = vec![0xff; n.len()];
        let bad: [&[u8]; 3] = [&zero, &n, &above];
        for bad in bad {
            for forged in [[bad, s].concat(), [r, bad].concat(), [bad, bad].concat(), [r, r].concat()] {
                refused(&with_signature(&token, &forged), key, JoseError::SignatureInvalid);
            }
        }
        let integer = |value: &[u8]| [&[2, n.len() as u8 + 1, 0], value].concat();
        let body = [integer(r), integer(s)].concat();
        let der = [&[0x30, body.len() as u8], body.as_slice()].concat();
        let wide = [&[0], r, &[0], s].concat();
        for forged in [&der, &good[1..].to_vec(), &good[..good.len() - 1].to_vec(), &wide, &[&good[..], &[0]].concat()]
        {
            refused(&with_signature(&token, forged), key, JoseError::SignatureInvalid);
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn t19_bent_rsa_signatures_are_refused() {
    for key in [&RS256, &PS256] {
        let token = good_token(key);
        let good = signature_of(&token);
        let n = base64url_decode(key.public_jwk()["n"].as_str().unwrap().as_bytes()).unwrap();
        let forged = [
            add(&good, &n), // s + n is the same signature to a careless modular power
            [&good[..], &[0]].concat(),
            [&[0], &good[..]].concat(),
            good[1..].to_vec(),
            vec![0; good.len()],
            vec![0xff; good.len()],
            n.clone(),
            [&vec![0; good.len() - 1][..], &[1]].concat(),
            vec![1],
        ];
        for signature in forged {
            refused(&with_signature(&token, &signature), key, JoseError::SignatureInvalid);
        }
    }
}

/// A key whose s + n fits into as many bytes as n is searched for, so that not only the length refuses it.
#[test]
fn t19_signature_plus_n_of_equal_length_is_refused() {
    let mut tried = 0;
    for count in 0..64 {
        let token = RS256.sign_jws("at+jwt", &json!({ "count": count })).unwrap();
        let n = base64url_decode(RS256.public_jwk()["n"].as_str().unwrap().as_bytes()).unwrap();
        let sum = add(&signature_of(&token), &n);
        if sum.len() == n.len() {
            tried += 1;
            refused(&with_signature(&token, &sum), &RS256, JoseError::SignatureInvalid);
        }
    }
    assert!(tried > 0);
}

/// Big-endian sum.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum = Vec::new();
    for (x, y) in a.iter().rev().zip(b.iter().rev()) {
        let digit = u16::from(*x) + u16::from(*y) + carry;
        sum.push(digit as u8);
        carry = digit >> 8;
    }
    if carry > 0 {
        sum.push(carry as u8);
    }
    sum.reverse();
    sum
}

/// Both made by OpenSSL with one key over `eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9`; only the hash differs.
#[test]
fn t19_sha1_inside_an_rs256_signature_is_refused() {
    let n = "0J5fzLcZHqD_TGy9Ilaw9XrJjenTHx5QgURcvJcdAQqh2CsxoTFYjDUPAnsL7LGkS0zZGmtjJInZptANMgBMx4qBdXafn3-COrr4UekxMefKYQ7y\
             wKee2lwqYY8HiQuF9V8xzXi4hyUucbSUHuWppL1i3cJajzjksGDgFooEQO-KN0torU6dNhfJsrrs30q0O-1i12E9iXHDCJldDnJTfJWE_e3MYQ7fiKkL\
             8wsMCvr2E0ssZ-PUvaa_GASTqEEtwKNKeuucM4Z_vchAiA9cUS1njwOULjm3Z8U0l7a71GcwzIS1OXjkv6xufckGi8MWEYmqDDQEa22OKeTFDnLsZw";
    let sha1 = "XcuVT6A2IVilXMGhvkE1rCC2ZQzBK7l2zXn3mAErvm6-9H7gXi4lJDNuGlNI7q9zj9vu5ojuYz2KIeYkIG3RqV1s9-lKEYy_x6v-yccUq5-IEvQq\
                7Ar_xVi0-Oilmhnd7LN7yitCEhaTbuulBkvuhz7Wuuv8Cj1NtPvFqGKs5zVcfkoJB4f-X4TmhQIb6yRN_zuyNGMCrKIEs_Yikqrn6GQwssxQW6-d\
                7tOpROAtH3S3kdmT2qbhE68pLLeQ8Dno3h3dhwxLyCEblRQuukrQLN8Lf0lnT9QZCIPEsh1U4iiM9KaM0iFcbg-vL_pPKOC8X_ephJoemKXFqgui\
                8m8tFQ";
    let sha256 = "U1sOf5KNUVZInFWtBN9qDiQK72SbB_8kRXN6GZBPwGbJXA7KL6GufmMkGUy0isvWkUYqKZF638SPOjmLJLm5Z4qr6o5B4xP8y8JX-H5HVY9BC4Sg\
                  ldK7Hm-JdTSDj0E80XlmpVs9TP6dcKG5eZeAMw-vEO-o94Qc28-jE1hQeeCyaNr4R9ZBLnR--hplytWeNZZvfUoIaV9z6Dj-wiz5CjOPNsZb-UIN\
                  XvWVDSj5-mESphodjhXiSpU49b5_czpW9PSWDaxe3LYyxTboVOMXSU2o9ozqJp6fiADTLFYG6ZeafiLvFoRIiy_UNRfgGm3-39Go3vvRjE-3-_bm\
                  gcLR9g";
    let key = VerifyingKey::from_jwk(&json!({ "kty": "RSA", "n": n, "e": "AQAB" })).unwrap();
    let input = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9";
    assert!(verify(&format!("{input}.{sha256}"), &key).is_ok());
    assert_eq!(verify(&format!("{input}.{sha1}"), &key).err(), Some(JoseError::SignatureInvalid));
}

#[test]
fn t20_other_base64_is_refused() {
    let token = good_token(&ES256);
    let parts: Vec<&str> = token.split('.').collect();
    for index in 0..3 {
        for bad in ["=", "==", "+", "/", " ", "\n", "\r\n", "%3D", "\0", "ä"] {
            let changed = [format!("{}{bad}", parts[index]), format!("{bad}{}", parts[index])];
            for part in changed {
                let mut forged: Vec<&str> = parts.clone();
                forged[index] = &part;
                let answer = verify(&forged.join("."), ES256.verifying_key()).err();
                // A changed payload fails its signature before it is decoded.
                let expected = if index == 1 { JoseError::SignatureInvalid } else { JoseError::Base64 };
                assert_eq!(answer, Some(expected), "{bad:?} in part {index}");
            }
        }
    }
    for whole in [format!(" {token}"), format!("{token}\n"), format!("Bearer {token}")] {
        refused(&whole, &ES256, JoseError::Base64);
    }
    // Signed by the right key over a text that is not canonical.
    let header = base64url(br#"{"alg":"ES256"}"#);
    for payload in ["e30=", "e31", "e3 0", "e30\n"] {
        let input = format!("{header}.{payload}");
        let signature = base64url(&ES256.sign_bytes(input.as_bytes()).unwrap());
        refused(&format!("{input}.{signature}"), &ES256, JoseError::Base64);
    }
}

#[test]
fn t20_non_zero_trailing_bits_are_refused() {
    // 64 bytes end in a character of which only two bits count: 15 other characters say the same to a lax decoder.
    let token = good_token(&ES256);
    let last = token.chars().last().unwrap();
    let others =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars().filter(|other| *other != last);
    for other in others {
        let forged = format!("{}{other}", &token[..token.len() - 1]);
        assert!(verify(&forged, ES256.verifying_key()).is_err(), "{other}");
    }
}

#[test]
fn t21_only_three_parts_are_a_token() {
    let token = good_token(&ES256);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let json = format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#);
    let general =
        format!(r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#);
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!(".{payload}.{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{token}.{payload}.{signature}"),
        json,
        general,
    ] {
        refused(&text, &ES256, JoseError::NotThreeParts);
    }
    refused(&format!("{header}..{signature}"), &ES256, JoseError::SignatureInvalid);
    // Compact and JSON at once (CVE-2022-39227).
    let both = format!(r#"{{"x":"{header}.{payload}.{signature}","payload":"e30"}}"#);
    refused(&both, &ES256, JoseError::Base64);
}

#[test]
fn t22_jwe_is_refused() {
    let none = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), base64url(b"{}"));
    let header = base64url(br#"{"alg":"RSA-OAEP","enc":"A256GCM","cty":"JWT"}"#);
    let jwe = format!("{header}.AAAA.AAAA.{}.AAAA", base64url(none.as_bytes()));
    refused(&jwe, &RS256, JoseError::NotThreeParts);
    refused(&with_header(&RS256, r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#), &RS256, JoseError::AlgorithmNotAllowed);
}

#[test]
fn t24_oversized_tokens_are_refused_early() {
    let claims = |text: String| with_payload(&EDDSA, text.as_bytes());
    let members = (0..100_000).map(|index| format!("\"c{index}\":1")).collect::<Vec<_>>().join(",");
    let deep = format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    for token in [
        "a".repeat(2 * 1024 * 1024),
        ".".repeat(1_000_000),
        "a.".repeat(1_000_000),
        claims(format!("{{{members}}}")),
        claims(deep.clone()),
        claims(format!("{{\"exp\":{}}}", "9".repeat(100_000))),
        with_header(&EDDSA, &format!(r#"{{"alg":"EdDSA","x":"{}"}}"#, "x".repeat(200 * 1024))),
    ] {
        refused(&token, &EDDSA, JoseError::TokenTooLong);
    }
    refused(&".".repeat(1000), &EDDSA, JoseError::NotThreeParts);
    refused(
        &with_header(&EDDSA, &format!(r#"{{"alg":"EdDSA","x":"{}"}}"#, "x".repeat(5000))),
        &EDDSA,
        JoseError::HeaderTooLong,
    );
    // Within the token's size, the JSON limits hold.
    let members = |count: usize| (0..count).map(|index| format!("\"c{index}\":1")).collect::<Vec<_>>().join(",");
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(verify(&claims(format!("{{{}}}", members(512))), EDDSA.verifying_key()).is_ok());
    refused(&claims(format!("{{{}}}", members(513))), &EDDSA, JoseError::JsonTooManyValues);
    refused(&claims(format!("{{\"a\":[{}0]}}", "0,".repeat(600))), &EDDSA, JoseError::JsonTooManyValues);
    assert!(verify(&claims(nested(16)), EDDSA.verifying_key()).is_ok());
    refused(&claims(nested(17)), &EDDSA, JoseError::JsonTooDeep);
    refused(&claims(nested(1500)), &EDDSA, JoseError::JsonTooDeep);
    refused(&claims(format!("{{\"a\":{}}}", "[".repeat(5000))), &EDDSA, JoseError::JsonTooDeep);
    for number in
        ["9".repeat(65), format!("0.{}", "1".repeat(100)), "1e400".to_owned(), format!("1e{}", "9".repeat(60))]
    {
        refused(&claims(format!("{{\"exp\":{number}}}")), &EDDSA, JoseError::JsonNumber);
    }
    // A caller that allows longer tokens still has bounded JSON.
    let long = claims(deep);
    assert_eq!(Compact::parse(&long, usize::MAX).unwrap().peek_issuer(), None);
}

#[test]
fn t25_payloads_that_are_no_strict_object_are_refused() {
    let header = base64url(br#"{"alg":"EdDSA"}"#);
    let signature = base64url(&EDDSA.sign_bytes(format!("{header}.").as_bytes()).unwrap());
    refused(&format!("{header}..{signature}"), &EDDSA, JoseError::JsonNotObject);
    for (payload, why) in [
        (&b"[]"[..], JoseError::JsonNotObject),
        (b"null", JoseError::JsonNotObject),
        (b"\"text\"", JoseError::JsonNotObject),
        (b"1", JoseError::JsonNotObject),
        (b" ", JoseError::JsonNotObject),
        (b"\xef\xbb\xbf{}", JoseError::JsonNotObject), // byte order mark
        (b"{\"a\":\"\xff\"}", JoseError::JsonMalformed),
        (b"{\"a\":\"\xed\xa0\x80\"}", JoseError::JsonMalformed), // a surrogate in UTF-8
        (b"{\"a\":\"\xc0\xaf\"}", JoseError::JsonMalformed),     // overlong
        (b"{\"a\":\"\x01\"}", JoseError::JsonMalformed),
        (b"{\"a\":\"\n\"}", JoseError::JsonMalformed),
        (b"{\"a\":1}x", JoseError::JsonMalformed),
        (b"{\"a\":1}{}", JoseError::JsonMalformed),
        (b"{\"a\":1}\0", JoseError::JsonMalformed),
        (b"\0{}", JoseError::JsonNotObject),
    ] {
        refused(&with_payload(&EDDSA, payload), &EDDSA, why);
        // The same in the header.
        assert_eq!(verify(&forge(&EDDSA, payload, b"{}"), EDDSA.verifying_key()).err(), Some(why));
    }
    // White space around is JSON. // RFC 8259 §2
    assert!(verify(&with_payload(&EDDSA, b" \t\r\n{ \"a\" : [ 1 , 2 ] } \n"), EDDSA.verifying_key()).is_ok());
}

#[test]
fn t25_malformed_json_is_refused() {
    for text in [
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{1:1}",
        "{\"a\":[1,]}",
        "{\"a\":[,]}",
        "{\"a\":[1 2]}",
        "{\"a\":[1}",
        "{\"a\":[1}}",
        "{\"a\":1]",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":0x10}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":tru}",
        "{\"a\":True}",
        "{\"a\":nul}",
        "{\"a\":truefalse}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800x\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\":1}//",
        "{/**/\"a\":1}",
        "{\"a\":--1}",
        "{\"a\":1-}",
        "{\"a\":\"\\u+123\"}",
    ] {
        assert_eq!(parse_json(text.as_bytes()).err(), Some(JoseError::JsonMalformed), "{text}");
    }
    let escapes = parse_json(br#"{"a":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00","b":-1.5e+3,"c":-7}"#).unwrap();
    assert_eq!(escapes["a"], json!("\"\\/\u{8}\u{c}\n\r\t\u{e4}\u{1f600}"));
    assert_eq!((&escapes["b"], &escapes["c"]), (&json!(-1500.0), &json!(-7)));
    // There is no integer of this value.
    assert!(parse_json(br#"{"a":-0}"#).unwrap()["a"].is_f64());
    // Side by side is not inside one another.
    let beside = format!("{{\"a\":[{}[],{{}}]}}", "[],{},".repeat(20));
    assert!(parse_json(beside.as_bytes()).is_ok());
}

#[test]
fn t29_bad_keys_are_left_out_and_the_others_go_on() {
    let rsa = |bits: usize, e: &str| {
        let mut n = vec![0xff; bits / 8];
        n[1] = 0x5a;
        json!({ "kty": "RSA", "n": base64url(&n), "e": e })
    };
    let with = |key: &SigningKey, name: &str, value: Value| {
        let mut jwk = key.public_jwk();
        jwk[name] = value;
        jwk
    };
    let mut off_curve = base64url_decode(ES256.public_jwk()["y"].as_str().unwrap().as_bytes()).unwrap();
    off_curve[31] ^= 1;
    let short = base64url(&off_curve[1..]);
    let leading_zero =
        [&[0], &base64url_decode(RS256.public_jwk()["n"].as_str().unwrap().as_bytes()).unwrap()[..]].concat();
    let even_n = {
        let mut n = vec![0xff; 256];
        n[255] = 0xfe;
        n
    };
    let bad = [
        (rsa(1024, "AQAB"), JoseError::KeyWeak),
        (rsa(2040, "AQAB"), JoseError::KeyWeak),
        (rsa(8200, "AQAB"), JoseError::KeyWeak),
        (rsa(2048, "AQ"), JoseError::KeyWeak),          // 1
        (rsa(2048, "Ag"), JoseError::KeyWeak),          // 2
        (rsa(2048, "AQAA"), JoseError::KeyWeak),        // 65536
        (rsa(2048, "AQAAAAE"), JoseError::KeyWeak),     // 2^32 + 1
        (rsa(2048, "AAEAAQ"), JoseError::KeyMalformed), // leading zero
        (rsa(2048, ""), JoseError::KeyMalformed),
        (rsa(2048, "AQAB="), JoseError::Base64),
        (with(&RS256, "n", json!(base64url(&leading_zero))), JoseError::KeyMalformed),
        (with(&RS256, "n", json!(base64url(&even_n))), JoseError::KeyWeak),
        (with(&RS256, "n", json!(base64url(&hex(ROCA)))), JoseError::KeyWeak),
        (with(&RS256, "n", json!(5)), JoseError::KeyMalformed),
        (with(&ES256, "y", json!(base64url(&off_curve))), JoseError::KeyPointInvalid),
        (with(&ES256, "y", json!(short)), JoseError::KeyMalformed),
        (with(&ES256, "x", json!(base64url(&[0; 32]))), JoseError::KeyPointInvalid),
        (with(&ES256, "crv", json!("P-384")), JoseError::KeyMalformed),
        (with(&ES256, "crv", json!("secp256k1")), JoseError::KeyTypeUnsupported),
        (with(&EDDSA, "crv", json!("X25519")), JoseError::KeyTypeUnsupported),
        (with(&EDDSA, "x", json!(base64url(&[0; 32]))), JoseError::KeyPointInvalid),
        (with(&EDDSA, "x", json!(base64url(&[0; 31]))), JoseError::KeyMalformed),
        (with(&EDDSA, "kty", json!("EdDSA")), JoseError::KeyTypeUnsupported),
        (with(&EDDSA, "d", json!("AAAA")), JoseError::KeyPrivate),
        (with(&RS256, "oth", json!([])), JoseError::KeyPrivate),
        (json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "es" }), JoseError::KeyPrivate),
        (json!({ "kty": "oct" }), JoseError::KeyPrivate),
        (with(&RS256, "use", json!("enc")), JoseError::KeyNotForVerifying),
        (with(&RS256, "use", json!(["sig"])), JoseError::KeyNotForVerifying),
        (with(&RS256, "key_ops", json!(["encrypt"])), JoseError::KeyNotForVerifying),
        (with(&RS256, "key_ops", json!([])), JoseError::KeyNotForVerifying),
        (with(&RS256, "key_ops", json!(["verify", "verify"])), JoseError::KeyNotForVerifying),
        (with(&RS256, "key_ops", json!(["sign", "verify"])), JoseError::KeyNotForVerifying),
        (with(&RS256, "key_ops", json!("verify")), JoseError::KeyNotForVerifying),
        (with(&RS256, "kid", json!(7)), JoseError::KidInvalid),
        (with(&RS256, "kid", json!("a\nb")), JoseError::KidInvalid),
        (with(&RS256, "alg", json!(null)), JoseError::KeyMalformed),
        (json!({}), JoseError::KeyMalformed),
        (json!("key"), JoseError::KeyMalformed),
        (json!(null), JoseError::KeyMalformed),
    ];
    let good = all_keys().map(SigningKey::public_jwk);
    let document = json!({ "keys": bad.iter().map(|(jwk, _)| jwk).chain(&good).collect::<Vec<_>>(), "other": true });
    let (keys, left_out) = Jwks::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(keys.len(), good.len());
    let reasons: Vec<_> = left_out.iter().map(|left| (left.index, left.reason)).collect();
    let expected: Vec<_> = bad.iter().enumerate().map(|(index, (_, reason))| (index, *reason)).collect();
    assert_eq!(reasons, expected);
    for key in all_keys() {
        assert!(judge(&good_token(key), &keys).is_ok());
    }
}

/// CVE-2017-15361: k·M + (65537^a mod M), of 2048 bits; M is the product of 2 and the primes to 167.
const ROCA: &str = concat!(
    "b89c4e56261c374ba07657d61404ab1ecc7c6d812d6f2efc4e613a365119cdccaf9b74f84ffcbf4217921e6c8b8e8f4e",
    "b3de08f9ec9837044692ba035707967025f02628eb07c30d5cd5061c9c5f319e834c1b69573ac59a355f2af41757905e",
    "fa749692f21ff5eb6ed78f5d0960afe94bbdbb01dc14ed575e0730b3cc170c31c7eec61bbf9703c096fabb7b1ba95a54",
    "767d5274c68deb5d403a960a8652dbd0e488b6c85ad3ba328332f05a5829681876531737f129c8c6d1ca4dc4edfde416",
    "3eff8b3fc177f1131e782196324f3e81f453324ef486ab739faba8272e50bd4eb52fa53c11e603dcbb86cfba837a5b0a",
    "2ff1c018ecd126575400d623ba229fcb",
);

#[test]
fn t29_rsa_integers_have_one_spelling_and_honest_ones_are_taken() {
    let (n, e) = (vec![0xff; 256], vec![1, 0, 1]);
    let zero = |bytes: &[u8]| [&[0], bytes].concat();
    let read = |n: &[u8], e: &[u8]| jwk::Material::rsa(n.to_vec(), e.to_vec()).err();
    assert_eq!(read(&n, &e), None);
    // Before the library is asked, which refuses them, too.
    assert_eq!(read(&zero(&n), &e), Some(JoseError::KeyMalformed));
    assert_eq!(read(&n, &zero(&e)), Some(JoseError::KeyMalformed));
    assert_eq!(read(&n, &[1, 0, 0, 1]), None, "an exponent of four bytes");
    // One away from the marked one.
    let mut unmarked = hex(ROCA);
    unmarked[255] ^= 2;
    assert_eq!((read(&hex(ROCA), &e), read(&unmarked, &e)), (Some(JoseError::KeyWeak), None));
}

/// Under `e` = 1 the padded hash is its own signature: anybody could write it.
#[test]
fn t29_a_token_under_e_1_has_no_key() {
    let mut weak = RS256.public_jwk();
    weak["e"] = json!("AQ");
    weak["kid"] = json!("weak");
    let document = json!({ "keys": [weak, RS256.public_jwk()] }).to_string();
    let (keys, left_out) = Jwks::parse(document.as_bytes()).unwrap();
    let why = LeftOut { index: 0, kid: Some("weak".to_owned()), reason: JoseError::KeyWeak };
    assert_eq!(left_out, [why]);
    let token = with_header(&RS256, r#"{"alg":"RS256","kid":"weak"}"#);
    let (input, _) = token.rsplit_once('.').unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, input.as_bytes());
    let info = hex("3031300d060960864801650304020105000420");
    let padding = vec![0xff; 256 - 3 - info.len() - 32];
    let padded = [&[0, 1], padding.as_slice(), &[0], &info, hash.as_ref()].concat();
    let forged = with_signature(&token, &padded);
    assert_eq!(judge(&forged, &keys).err().as_deref(), Some("no_key"));
    refused(&forged, &RS256, JoseError::SignatureInvalid);
    assert!(judge(&good_token(&RS256), &keys).is_ok());
}

#[test]
fn t29_key_ops_with_verify_and_foreign_members_are_fine() {
    let mut jwk = RS256.public_jwk();
    jwk["key_ops"] = json!(["verify"]);
    jwk["x5c"] = json!(["MIIB"]);
    jwk["x5t#S256"] = json!("AAAA");
    jwk.as_object_mut().unwrap().remove("use");
    assert!(VerifyingKey::from_jwk(&jwk).is_ok());
}

/// Under the identity as public key, R = identity and S = 0 sign every message: the library itself accepts it.
#[test]
fn t29_ed25519_points_of_small_order_are_refused() {
    let identity = hex("0100000000000000000000000000000000000000000000000000000000000000");
    let parsed = aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ED25519, &identity).unwrap();
    let forged = [identity.as_slice(), &[0; 32]].concat();
    assert!(parsed.verify_sig(b"anything", &forged).is_ok(), "if the library refuses it now, so much the better");
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ] {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(&hex(point)) });
        assert_eq!(VerifyingKey::from_jwk(&jwk).err(), Some(JoseError::KeyPointInvalid), "{point}");
    }
    // Points of the curve that look a little like them.
    for point in [
        "0101000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000001",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff01",
        "ed04ffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(&hex(point)) });
        assert!(VerifyingKey::from_jwk(&jwk).is_ok(), "{point}");
    }
}

#[test]
fn key_sets_with_one_kid_twice_leave_both_out() {
    let renamed = |key: &SigningKey, kid: &str| {
        let mut jwk = key.public_jwk();
        jwk["kid"] = json!(kid);
        jwk
    };
    let encryption = {
        let mut jwk = renamed(&RS256, "ed");
        jwk["use"] = json!("enc");
        jwk
    };
    let document = json!({ "keys": [
        renamed(&RS256, "same"), EDDSA.public_jwk(), renamed(&ES256, "same"), renamed(&ES384, "same"),
        EDDSA.public_jwk(), encryption,
    ] });
    let (keys, left_out) = Jwks::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(keys.iter().map(VerifyingKey::kid).collect::<Vec<_>>(), [Some("ed")]);
    let reasons: Vec<_> = left_out.iter().map(|left| (left.index, left.reason.code())).collect();
    let duplicate = "key_duplicate_kid";
    assert_eq!(reasons, [(0, duplicate), (2, duplicate), (3, duplicate), (5, "key_not_for_verifying")]);
    // Of one kind; and one key for two algorithms.
    let another = SigningKey::generate(Algorithm::ES256, "es").unwrap();
    let twin = SigningKey::from_pkcs8(Algorithm::PS256, "rs", &RS256.to_pkcs8().unwrap()).unwrap();
    for (one, other) in [(&*ES256, &another), (&*RS256, &twin)] {
        let document = json!({ "keys": [one.public_jwk(), other.public_jwk()] }).to_string();
        let (keys, left_out) = Jwks::parse(document.as_bytes()).unwrap();
        assert!(keys.is_empty() && left_out.len() == 2);
    }
    assert!(!keys.is_empty());
    let twice = [EDDSA.verifying_key().clone(), EDDSA.verifying_key().clone()];
    assert_eq!(Jwks::from_keys(twice).err(), Some(JoseError::KeyDuplicateKid));
}

#[test]
fn key_sets_that_are_none_are_refused() {
    let many = format!(r#"{{"keys":[{}null]}}"#, "null,".repeat(512));
    let long = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(MAX_JWKS_BYTES));
    for (document, why) in [
        ("", JoseError::JsonNotObject),
        ("<html>", JoseError::JsonNotObject),
        ("[]", JoseError::JsonNotObject),
        ("{}", JoseError::JwksMalformed),
        (r#"{"keys":{}}"#, JoseError::JwksMalformed),
        (r#"{"keys":[],"keys":[]}"#, JoseError::JsonDuplicateMember),
        (r#"{"keys":[{"kty":"oct","kty":"RSA"}]}"#, JoseError::JsonDuplicateMember),
        (&many, JoseError::JwksTooManyKeys),
        (&long, JoseError::JsonTooLong),
    ] {
        assert_eq!(Jwks::parse(document.as_bytes()).err(), Some(why));
    }
    let (empty, _) = Jwks::parse(br#"{"keys":[]}"#).unwrap();
    assert!(empty.is_empty() && empty.find(None).is_none() && empty.find(Some("x")).is_none());
}

#[test]
fn published_sets_hold_public_members_only_and_read_back() {
    let keys = Jwks::from_keys(all_keys().map(|key| key.verifying_key().clone())).unwrap();
    let document = keys.to_json();
    for jwk in document["keys"].as_array().unwrap() {
        for name in jwk.as_object().unwrap().keys() {
            assert!(["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid"].contains(&name.as_str()), "{name}");
        }
    }
    let (again, left_out) = Jwks::parse(document.to_string().as_bytes()).unwrap();
    assert!(left_out.is_empty());
    assert_eq!(again.to_json(), document);
}

#[test]
fn claims_of_the_wrong_type_are_not_taken_for_absent() {
    let text =
        br#"{"s":"x","n":5,"f":1.5,"b":true,"l":["a","b"],"e":[],"m":["a",1],"o":{"jkt":"k"},"z":null,"neg":-1}"#;
    let object = parse_json(text).unwrap();
    let claims = Claims::new(&object);
    assert_eq!(claims.text("s"), Ok(Some("x")));
    assert_eq!(claims.text("absent"), Ok(None));
    assert_eq!(claims.integer("n"), Ok(Some(5)));
    assert_eq!(claims.boolean("b"), Ok(Some(true)));
    assert_eq!(claims.text_list("e"), Ok(Some(vec![])));
    assert_eq!(claims.text_or_list("s"), Ok(Some(vec!["x".to_owned()])));
    assert_eq!(claims.text_or_list("l"), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
    assert_eq!(claims.object("o").unwrap().unwrap().required_text("jkt"), Ok("k"));
    let wrong = |name: &str| Err(ClaimError::WrongType(name.to_owned()));
    for name in ["n", "z", "l", "b"] {
        assert_eq!(claims.text(name), wrong(name));
        assert_eq!(claims.required_text(name), Err(ClaimError::WrongType(name.to_owned())));
    }
    for name in ["f", "neg", "s", "z"] {
        assert_eq!(claims.integer(name).err(), Some(ClaimError::WrongType(name.to_owned())));
    }
    for name in ["e", "m", "z", "n"] {
        assert_eq!(claims.text_or_list(name).err(), Some(ClaimError::WrongType(name.to_owned())));
    }
    assert!(claims.boolean("n").is_err() && claims.object("l").is_err() && claims.text_list("s").is_err());
}

// ---- agreement with a foreign library

mod oracle {
    use super::*;
    use jsonwebtoken as foreign;

    fn algorithm(key: &SigningKey) -> foreign::Algorithm {
        key.algorithm().as_str().parse().unwrap()
    }

    fn foreign_private(key: &SigningKey) -> foreign::EncodingKey {
        let der = key.to_pkcs8().unwrap();
        match key.algorithm() {
            // That library reads PKCS#1: the last member of PKCS#8, after 26 bytes for a key of 2048 bits.
            Algorithm::RS256 | Algorithm::PS256 => foreign::EncodingKey::from_rsa_der(&der[26..]),
            Algorithm::EdDSA => foreign::EncodingKey::from_ed_der(&der),
            _ => foreign::EncodingKey::from_ec_der(&der),
        }
    }

    #[test]
    fn our_tokens_verify_there() {
        for key in all_keys() {
            let jwk: foreign::jwk::Jwk = serde_json::from_value(key.public_jwk()).unwrap();
            let public = foreign::DecodingKey::from_jwk(&jwk).unwrap();
            let mut rules = foreign::Validation::new(algorithm(key));
            rules.set_audience(&[OURS]);
            rules.set_issuer(&[ISSUER]);
            rules.validate_exp = false; // it has a clock of its own
            let token = foreign::decode::<Value>(good_token(key), &public, &rules).unwrap();
            assert_eq!(token.claims, good_claims());
            assert_eq!(token.header.kid.as_deref(), Some(key.kid()));
            assert_eq!(token.header.typ.as_deref(), Some("at+jwt"));
            let ours = key.verifying_key().thumbprint();
            assert_eq!(jwk.thumbprint(foreign::jwk::ThumbprintHash::SHA256).unwrap(), ours);
        }
    }

    #[test]
    fn their_tokens_verify_here() {
        for key in all_keys() {
            let mut header = foreign::Header::new(algorithm(key));
            header.kid = Some(key.kid().to_owned());
            let token = foreign::encode(&header, &good_claims(), &foreign_private(key)).unwrap();
            let payload = verify(&token, key.verifying_key()).unwrap();
            assert_eq!(Value::Object(payload.object().clone()), good_claims());
        }
    }
}

// ---- properties

/// Every position of a token, every kind of character: nothing but the token itself is accepted.
#[test]
fn every_single_character_edit_is_refused() {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n";
    for key in [&*EDDSA, &*ES256, &*RS256] {
        let token = good_token(key);
        for position in 0..token.len() {
            // All replacements for the last character of each part, where lax decoders ignore bits; some elsewhere.
            let last_of_part = token.as_bytes().get(position + 1).is_none_or(|next| *next == b'.');
            let step = if last_of_part { 1 } else { 23 };
            for replacement in alphabet.iter().skip(position % step).step_by(step) {
                let mut edited = token.clone().into_bytes();
                if edited[position] == *replacement {
                    continue;
                }
                edited[position] = *replacement;
                let edited = String::from_utf8(edited).unwrap();
                assert!(verify(&edited, key.verifying_key()).is_err(), "position {position}");
            }
            let mut shorter = token.clone();
            shorter.remove(position);
            assert!(verify(&shorter, key.verifying_key()).is_err(), "removed at {position}");
        }
    }
}

fn any_json(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_edit_of_a_token_is_refused(position in any::<prop::sample::Index>(), replacement in any::<char>(), insert in any::<bool>()) {
        let token = good_token(&EDDSA);
        let at = position.index(token.len());
        let mut edited: Vec<char> = token.chars().collect();
        if insert { edited.insert(at, replacement) } else { edited[at] = replacement }
        let edited: String = edited.into_iter().collect();
        prop_assume!(edited != token);
        prop_assert!(verify(&edited, EDDSA.verifying_key()).is_err());
    }

    /// What another writer writes, we read as it was meant.
    #[test]
    fn strict_json_reads_what_serde_json_writes(value in any_json(5)) {
        let text = json!({ "v": value }).to_string();
        let ours = strict_json::parse_object(text.as_bytes(), Limits::DOCUMENT).unwrap();
        prop_assert_eq!(&ours["v"], &value);
    }

    /// No input makes it panic, and what it accepts the lax reader understands the same way.
    #[test]
    fn strict_json_is_no_laxer_than_serde_json(text in r#"[\{\}\[\]",:0-9eE.+\-\\utrfalsn \n]{0,40}"#) {
        for text in [text.clone(), format!("{{{text}}}"), format!("{{\"a\":{text}}}")] {
            if let Ok(ours) = parse_json(text.as_bytes()) {
                let lax: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(Value::Object(ours), lax);
            }
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Compact::parse(&text, MAX_TOKEN_BYTES);
        let _ = Jwks::parse(&bytes);
        let _ = parse_json(&bytes);
        let _ = SigningKey::from_pkcs8(Algorithm::RS256, "k", &bytes);
    }
}
