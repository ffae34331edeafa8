//! `private_key_jwt`: the client signs that it is itself (RFC 7523 §2.2, §3; OpenID Connect Core §9).
//!
//! SECURITY: `aud` is our issuer identifier and nothing else. A token endpoint's URL, or a list, would let another
//! server that the client talks to replay its assertion here (FAPI 2.0 SP §5.3.2.1).

use super::client_auth::ClientAuthError;
use crate::{Issuer, web::Params};
use trigate_core::{
    Timestamp,
    client::Client,
    jose::{Claims, Compact, Jwks, MAX_TOKEN_BYTES, TimeRules, check_times},
};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Seconds that an assertion may live at most.
const MAX_LIFE_S: i64 = 3600;
const LEEWAY_S: i64 = 10;

/// The assertion, if its type is the one that we know.
pub(super) fn check_type(form: &Params) -> Option<&str> {
    form.get("client_assertion").filter(|_| form.get("client_assertion_type") == Some(TYPE))
}

/// Whose keys to verify it with; believed only afterwards.
pub(super) fn claimed_client(assertion: &str) -> Option<String> {
    Compact::parse(assertion, MAX_TOKEN_BYTES).ok()?.peek_issuer()
}

pub(super) async fn proves(issuer: &Issuer, client: &Client, assertion: &str) -> Result<bool, ClientAuthError> {
    let Some((jti, expires_at)) = judge(issuer, client, assertion) else { return Ok(false) };
    // RFC 7523 §3 item 7: once. Kept for as long as the leeway lets it live.
    let kept_until = expires_at.plus_seconds(LEEWAY_S);
    Ok(issuer.store.redeem_assertion_id(&client.id, &jti, kept_until).await?)
}

/// `jti` and `exp` of an assertion that holds. // RFC 7523 §3
fn judge(issuer: &Issuer, client: &Client, assertion: &str) -> Option<(String, Timestamp)> {
    let jwks = serde_json::to_vec(client.jwks.as_ref()?).ok()?;
    let (keys, _) = Jwks::parse(&jwks).ok()?;
    let compact = Compact::parse(assertion, MAX_TOKEN_BYTES).ok()?;
    let payload = compact.verify(keys.find(compact.kid())?).ok()?;
    let claims = payload.claims();
    let is_self = |name| claims.required_text(name).is_ok_and(|value| value == client.id.as_str());
    if !is_self("iss") || !is_self("sub") || !is_for_us(issuer, claims) {
        return None;
    }
    let times = check_times(claims, issuer.now().seconds(), TimeRules::new(LEEWAY_S, MAX_LIFE_S)?).ok()?;
    let jti = claims.required_identifier("jti").ok()?;
    Some((jti.to_owned(), Timestamp::from_seconds(times.exp)))
}

/// A string, not a list: see above.
fn is_for_us(issuer: &Issuer, claims: Claims<'_>) -> bool {
    claims.text("aud").is_ok_and(|aud| aud == Some(issuer.config.issuer.as_str()))
}
