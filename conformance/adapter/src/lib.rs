//! Does the gate's own code accept this vector? One JSON object in, one out: `{"id":…,"ok":true|false,"ms":n}`.
//!
//! | `op` | members | asks |
//! |---|---|---|
//! | `verify` | `jwk` or `jwks`, `token` | is the compact JWS accepted under that key (of that set)? |
//! | `jwt` | the same | and is its payload a claims set that the gate would read? |
//! | `sig` | `alg`, `jwk` or `der`, `msg`, `sig` (hexadecimal) | is the raw signature accepted, in the form that JWS has? |
//! | `x509` | `chain`, `roots`, `crls` (PEM), `time` (RFC 3339) | is the client's chain accepted? Lists that are given count. |
//!
//! Decides nothing itself: it turns text into the arguments of `trigate_core::jose` and `trigate_x509`. A question that cannot be read is
//! answered `false`, with `error`.

mod spki;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::time::Instant;
use trigate_core::jose::{Algorithm, Compact, JoseError, Jwks, MAX_TOKEN_BYTES, VerifyingKey, strict_json};

#[derive(Deserialize)]
struct Question<'a> {
    #[serde(default)]
    id: Value,
    op: String,
    // Keys are kept as text: the gate's strict reader must see what was sent, duplicates and all.
    #[serde(borrow)]
    jwk: Option<&'a RawValue>,
    #[serde(borrow)]
    jwks: Option<&'a RawValue>,
    token: Option<String>,
    alg: Option<String>,
    der: Option<String>,
    msg: Option<String>,
    sig: Option<String>,
    #[serde(default)]
    chain: Vec<String>,
    #[serde(default)]
    roots: Vec<String>,
    #[serde(default)]
    crls: Vec<String>,
    time: Option<String>,
}

/// Answers one line.
#[must_use]
pub fn answer(line: &[u8]) -> Value {
    let question: Question<'_> = match serde_json::from_slice(line) {
        Ok(question) => question,
        Err(error) => return json!({ "id": null, "ok": false, "ms": 0, "error": error.to_string() }),
    };
    let started = now();
    let judged = judge(&question);
    let ms = started.elapsed().as_secs_f64() * 1e3;
    match judged {
        Ok(()) => json!({ "id": question.id, "ok": true, "ms": ms }),
        Err(error) => json!({ "id": question.id, "ok": false, "ms": ms, "error": error }),
    }
}

#[allow(clippy::disallowed_methods, reason = "the answer tells how long it took")]
fn now() -> Instant {
    Instant::now()
}

fn judge(question: &Question<'_>) -> Result<(), String> {
    match question.op.as_str() {
        "verify" => verify(question, |compact, key| compact.verify_bytes(key).map(drop)),
        "jwt" => verify(question, |compact, key| compact.verify(key).map(drop)),
        "sig" => sig(question),
        "x509" => x509(question),
        other => Err(format!("no such op: `{other}`")),
    }
}

type Verify = fn(&Compact<'_>, &VerifyingKey) -> Result<(), JoseError>;

fn verify(question: &Question<'_>, verify: Verify) -> Result<(), String> {
    let token = member(&question.token, "token")?;
    let compact = Compact::parse(token, MAX_TOKEN_BYTES).map_err(text)?;
    let key = match (question.jwk, question.jwks) {
        (Some(jwk), None) => read_key(jwk, &compact)?,
        (None, Some(jwks)) => find_key(jwks, &compact)?,
        _ => return Err("one of `jwk` and `jwks` is wanted".to_owned()),
    };
    verify(&compact, &key).map_err(text)
}

/// A key that has a name is not meant by a token that names another.
fn read_key(jwk: &RawValue, compact: &Compact<'_>) -> Result<VerifyingKey, String> {
    let key = VerifyingKey::from_jwk(&object(jwk)?).map_err(text)?;
    match (key.kid(), compact.kid()) {
        (Some(key), Some(named)) if key != named => Err("the token names another key".to_owned()),
        _ => Ok(key),
    }
}

fn find_key(jwks: &RawValue, compact: &Compact<'_>) -> Result<VerifyingKey, String> {
    let (set, _) = Jwks::parse(jwks.get().as_bytes()).map_err(text)?;
    set.find(compact.kid()).cloned().ok_or_else(|| "the token names no key of the set".to_owned())
}

fn object(json: &RawValue) -> Result<Value, String> {
    strict_json::parse_object(json.get().as_bytes(), strict_json::Limits::TOKEN).map(Value::Object).map_err(text)
}

fn sig(question: &Question<'_>) -> Result<(), String> {
    let algorithm: Algorithm = member(&question.alg, "alg")?.parse().map_err(text)?;
    let jwk = match (question.jwk, &question.der) {
        (Some(jwk), None) => object(jwk)?,
        (None, Some(der)) => {
            let key = spki::read(&hex(der)?).ok_or("`der` is no public key of a kind that is known here")?;
            if key.pss_only && !algorithm.as_str().starts_with("PS") {
                return Err("the key is for PSS alone".to_owned());
            }
            key.jwk
        }
        _ => return Err("one of `jwk` and `der` is wanted".to_owned()),
    };
    let key = VerifyingKey::from_jwk_pinned(&jwk, algorithm).map_err(text)?;
    key.verify(&hex(member(&question.msg, "msg")?)?, &hex(member(&question.sig, "sig")?)?).map_err(text)
}

fn x509(question: &Question<'_>) -> Result<(), String> {
    let time = member(&question.time, "time")?;
    let now = trigate_core::Timestamp::parse_rfc3339(time).ok_or("`time` is no RFC 3339 time")?;
    trigate_x509::accept_pem(&question.chain, &question.roots, &question.crls, now).map(drop).map_err(text)
}

fn member<'a>(value: &'a Option<String>, name: &str) -> Result<&'a str, String> {
    value.as_deref().ok_or_else(|| format!("`{name}` is wanted"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let bad = || "not hexadecimal".to_owned();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(bad());
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<_>>().ok_or_else(bad)
}
