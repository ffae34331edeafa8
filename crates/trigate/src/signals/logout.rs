//! A person logged out at their issuer: which tokens end? (OpenID Connect Back-Channel Logout 1.0)
//!
//! Trusts a logout token that the issuer signed for us, once. Never answers 200 before every gate refuses what it ends.

use super::{Logout, Receiver, Refused, verify};
use crate::{config::LogoutEnds, operator::signal::Statement};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use trigate_core::{
    Timestamp,
    change::Target,
    id::{SessionId, UserId},
    jose::{Claims, Compact, MAX_TOKEN_BYTES, check_audience},
};

/// What makes a token a logout token. // BCL 1.0 §2.4
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Seconds that a logout token may be old, and that its id is remembered.
const MAX_AGE_S: i64 = 600;
const LEEWAY_S: i64 = 60;

pub(super) async fn endpoint(
    State(receiver): State<Arc<Receiver>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let settings = receiver.settings.load_full();
    let Some(rule) = settings.logouts.get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let outcome = match read_form(&headers, &body) {
        Ok(token) => take(&receiver, rule, &token).await,
        Err(refused) => Err(refused),
    };
    let mut response = match outcome {
        Ok(()) => StatusCode::OK.into_response(),
        Err(Refused::Bad(_, why)) => {
            tracing::warn!(issuer = rule.issuer, why, "a logout token was refused");
            let body = json!({ "error": "invalid_request", "error_description": why });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
        Err(Refused::Later) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    // BCL 1.0 §2.8
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// BCL 1.0 §2.5: one form parameter.
fn read_form(headers: &HeaderMap, body: &[u8]) -> Result<String, Refused> {
    let bad = |why| Refused::Bad("invalid_request", why);
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(bad("not a form"));
    }
    let mut tokens = url::form_urlencoded::parse(body).filter(|(name, _)| name == "logout_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Ok(token.into_owned()),
        _ => Err(bad("exactly one `logout_token` is needed")),
    }
}

async fn take(receiver: &Receiver, rule: &Logout, token: &str) -> Result<(), Refused> {
    let bad = |why| Refused::Bad("invalid_request", why);
    let compact = Compact::parse(token, MAX_TOKEN_BYTES).map_err(|_| bad("no logout token"))?;
    check_typ(rule, &compact)?;
    let payload = verify(&receiver.issuers, &rule.issuer, &compact).await?;
    let claims = payload.claims();
    let now = receiver.clock.now();
    check_audience(claims, &rule.audience).map_err(|_| bad("for another audience"))?;
    check_times(claims, now)?;
    check_kind(claims)?;
    let jti = claims.required_identifier("jti").map_err(|_| bad("no `jti`"))?;
    let targets = targets(rule, claims).ok_or(bad("no usable `sub` or `sid`"))?;
    let statement = Statement {
        kind: "logout",
        issuer: rule.issuer.clone(),
        id: jti.to_owned(),
        remember_until: now.plus_seconds(MAX_AGE_S + 2 * LEEWAY_S),
        events: EVENT.to_owned(),
    };
    match receiver.operator.obey(statement, targets).await {
        Ok(true) => Ok(()),
        // BCL 1.0 §2.6 step 8: a repeated one would end the sessions that began since.
        Ok(false) => Err(bad("this logout token was used before")),
        Err(error) => {
            tracing::error!(%error, issuer = rule.issuer, "a logout could not be carried out");
            Err(Refused::Later)
        }
    }
}

/// BCL 1.0 §2.4: `logout+jwt` keeps other tokens of the issuer from passing as logout tokens.
fn check_typ(rule: &Logout, compact: &Compact<'_>) -> Result<(), Refused> {
    let legacy = rule.untyped && (compact.typ().is_none() || compact.typ_is("jwt"));
    if compact.typ_is("logout+jwt") || legacy { Ok(()) } else { Err(Refused::Bad("invalid_request", "wrong `typ`")) }
}

fn check_times(claims: Claims<'_>, now: Timestamp) -> Result<(), Refused> {
    let bad = |why| Refused::Bad("invalid_request", why);
    let issued = claims.required_time("iat").map_err(|_| bad("no `iat`"))?;
    let expires = claims.time("exp").map_err(|_| bad("odd `exp`"))?;
    let now = now.seconds();
    let young = issued <= now + LEEWAY_S && now - issued <= MAX_AGE_S + LEEWAY_S;
    // BCL 1.0 §2.6 step 3
    if young && expires.is_none_or(|at| now < at + LEEWAY_S) { Ok(()) } else { Err(bad("too old, or of the future")) }
}

/// BCL 1.0 §2.6 steps 5 and 6: the member that makes it a logout token, and none that makes it an ID token.
fn check_kind(claims: Claims<'_>) -> Result<(), Refused> {
    let event = claims.object("events").ok().flatten().and_then(|events| events.object(EVENT).ok().flatten());
    if event.is_some() && claims.get("nonce").is_none() {
        return Ok(());
    }
    Err(Refused::Bad("invalid_request", "not a logout token"))
}

/// BCL 1.0 §2.7
fn targets(rule: &Logout, claims: Claims<'_>) -> Option<Vec<Target>> {
    let issuer = Some(rule.issuer.clone());
    let user = claims.identifier("sub").ok()?.map(UserId::parse).transpose().ok()?;
    let session = claims.identifier("sid").ok()?.map(SessionId::parse).transpose().ok()?;
    let session = session.map(|id| Target::Session { id, issuer: issuer.clone() });
    // SECURITY: access tokens need not carry `sid`; what ends one session alone must be asked for.
    let narrow = rule.ends == LogoutEnds::Session && session.is_some();
    let user = user.filter(|_| !narrow).map(|id| Target::User { id, issuer });
    let targets: Vec<Target> = session.into_iter().chain(user).collect();
    (!targets.is_empty()).then_some(targets)
}
