//! Who accepts this case? Each verifier in its own words, as loosely as it can be used: what it refuses even so, it
//! refuses.

use crate::draft::Case;
use jsonwebtoken::{
    DecodingKey, Validation, decode, decode_header,
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

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
