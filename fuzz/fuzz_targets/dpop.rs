//! A DPoP proof (RFC 9449 §4.3): no panic, and an accepted one holds every item of the list by a second, plain reading. The
//! first byte chooses between the text as it stands and a proof that is signed after it was bent.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::LazyLock;
use trigate_core::{
    credential::Digest,
    jose::VerifyingKey,
    proof::{DEFAULT_ALGORITHMS, Expected, MAX_JTI_BYTES, MAX_PROOF_BYTES, Target, WINDOW_S, check},
};
use trigate_peers::{Kind, Pair, pairs};

const NOW_S: i64 = 1_800_000_000;
const TOKEN: &str = "the.access.token";
const URL: &str = "https://api.test/orders";

static KEY: LazyLock<&'static Pair> =
    LazyLock::new(|| pairs().iter().find(|pair| pair.kind == Kind::Ed25519).expect("a key"));
static JWK: LazyLock<String> =
    LazyLock::new(|| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(&KEY.jwk()[0].1)));
static TARGETS: LazyLock<[Target; 1]> = LazyLock::new(|| [Target::parse(URL).expect("a target")]);

/// One line: text for the header, one for the claims; a line that begins with `+` stands before the end of what a good
/// proof holds, any other in its place.
fn signed(text: &str) -> String {
    let mut lines = text.splitn(2, '\n');
    let (header, claims) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let ath = URL_SAFE_NO_PAD.encode(Digest::of(TOKEN).bytes());
    let bend = |good: String, line: &str| match line.strip_prefix('+') {
        Some(more) => format!("{good}{more}}}"),
        None if line.is_empty() => format!("{good}}}"),
        None => line.to_owned(),
    };
    let header = bend(format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{}"#, *JWK), header);
    let claims = bend(format!(r#"{{"jti":"j","htm":"GET","htu":"{URL}","iat":{NOW_S},"ath":"{ath}""#), claims);
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(KEY.sign("EdDSA", input.as_bytes())))
}

fn part(text: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
    assert_eq!(URL_SAFE_NO_PAD.encode(&bytes), text, "another spelling was read");
    serde_json::from_slice(&bytes).expect("JSON")
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let text = if first & 1 == 0 { text.into_owned() } else { signed(&text) };
    let expected = Expected {
        method: "GET",
        targets: &*TARGETS,
        now_s: NOW_S,
        token: Some(TOKEN),
        algorithms: &DEFAULT_ALGORITHMS,
    };
    let Ok(proof) = check(&text, &expected) else { return };
    assert!(text.len() <= MAX_PROOF_BYTES);
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, _] = parts[..] else { panic!("{} parts", parts.len()) };
    let (header, claims) = (part(header), part(claims));
    assert!(header["typ"].as_str().is_some_and(|typ| typ.to_ascii_lowercase().ends_with("dpop+jwt")));
    assert!(header.get("crit").is_none() && header["jwk"].get("d").is_none());
    assert_eq!(VerifyingKey::from_jwk(&header["jwk"]).expect("a key").thumbprint(), proof.jkt);
    assert_eq!((claims["htm"].as_str(), claims["jti"].as_str()), (Some("GET"), Some(proof.jti.as_str())));
    assert!(!proof.jti.is_empty() && proof.jti.len() <= MAX_JTI_BYTES);
    assert!(
        (NOW_S - proof.iat_s).abs() <= WINDOW_S && claims["iat"].as_f64().is_some_and(|iat| iat as i64 == proof.iat_s)
    );
    assert_eq!(claims["nonce"].as_str(), proof.nonce.as_deref());
});
