//! Who accepts this case? Each verifier in its own words, as loosely as it can be used: what it refuses even so, it
//! refuses.

use crate::draft::Case;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    crypto::verify,
    decode, decode_header,
    jwk::{Jwk, JwkSet},
};
use serde_json::Value;

/// `Err` says why not.
pub type Verdict = Result<(), String>;

/// The gate's own code, through the adapter.
pub fn ours(question: &str) -> Verdict {
    let answer = trigate_adapter::answer(question.as_bytes());
    match answer.get("error").and_then(Value::as_str) {
        None if answer.get("ok") == Some(&Value::Bool(true)) => Ok(()),
        error => Err(error.unwrap_or("refused").to_owned()),
    }
}

/// Any key of the set that the header can mean, any algorithm of the key's family, no claim asked for.
pub fn jsonwebtoken(case: &Case) -> Verdict {
    let header = decode_header(&case.token).map_err(text)?;
    let mut last = Err("no key is meant".to_owned());
    for key in read_keys(case)? {
        if header.kid.is_some() && key.common.key_id.is_some() && header.kid != key.common.key_id {
            continue;
        }
        last = accepts(&case.token, &key);
        if last.is_ok() {
            return last;
        }
    }
    last
}

fn read_keys(case: &Case) -> Result<Vec<Jwk>, String> {
    if case.is_set {
        return serde_json::from_str::<JwkSet>(&case.key).map(|set| set.keys).map_err(text);
    }
    serde_json::from_str(&case.key).map(|key| vec![key]).map_err(text)
}

fn accepts(token: &str, key: &Jwk) -> Verdict {
    let key = DecodingKey::from_jwk(key).map_err(text)?;
    let mut validation = Validation::new_for_family(key.family());
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    decode::<Value>(token, &key, &validation).map(drop).map_err(text)
}

/// The bare question, without any member of key and header that has nothing to do with it: did a key of the document sign
/// this? `None`: the library has no such algorithm.
pub fn signed(case: &Case) -> Option<bool> {
    let (message, signature) = case.token.rsplit_once('.')?;
    let (header, _) = message.split_once('.')?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let algorithm = match header["alg"].as_str()? {
        "Ed25519" => Algorithm::EdDSA,
        name => name.parse().ok()?,
    };
    let document: Value = serde_json::from_str(&case.key).ok()?;
    let keys = document["keys"].as_array().cloned().unwrap_or_else(|| vec![document.clone()]);
    let good = |key: &DecodingKey| {
        key.family() == algorithm.family()
            && verify(signature, message.as_bytes(), key, algorithm).is_ok_and(|is_good| is_good)
    };
    Some(keys.iter().filter_map(bare_key).any(|key| good(&key)))
}

fn bare_key(jwk: &Value) -> Option<DecodingKey> {
    let text = |name: &str| jwk[name].as_str();
    match text("kty")? {
        "RSA" => DecodingKey::from_rsa_components(text("n")?, text("e")?).ok(),
        "EC" => DecodingKey::from_ec_components(text("x")?, text("y")?).ok(),
        "OKP" => DecodingKey::from_ed_components(text("x")?).ok(),
        _ => None,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
