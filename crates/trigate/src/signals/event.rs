//! What does a security event say, and whose tokens does it end? (RFC 8417, RFC 9493, SSF, CAEP and RISC 1.0)
//!
//! Trusts the transmitter's signature for users of the one issuer that its stream is about. Never takes a grant for a
//! signal: an enabled account wakes no token.

use super::{Receiver, Refused, Stream, verify};
use crate::{config::LogoutEnds, operator::signal::Statement};
use serde_json::{Map, Value};
use trigate_core::{
    change::Target,
    id::{SessionId, UserId},
    jose::{Claims, Compact, MAX_TOKEN_BYTES, check_audience},
};

/// Events of these end what the subject got before. `token-claims-change` too: the token still says what is true no
/// more, and which part of it mattered to a decision nobody knows.
const ENDS: [&str; 8] = [
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
    "https://schemas.openid.net/secevent/caep/event-type/credential-change",
    "https://schemas.openid.net/secevent/caep/event-type/token-claims-change",
    "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
    "https://schemas.openid.net/secevent/risc/event-type/account-purged",
    "https://schemas.openid.net/secevent/risc/event-type/account-credential-change-required",
    "https://schemas.openid.net/secevent/risc/event-type/credential-compromise",
    "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
];

/// Events may lie in a queue while we are away; an older one ended tokens that have expired since.
const MAX_AGE_S: i64 = 31 * 86_400;
const LEEWAY_S: i64 = 60;
const MAX_EVENTS: usize = 16;

/// Takes one security event token. `Ok` means that it may be acknowledged: it is durable and holds at every gate, was
/// taken before, or asks for nothing.
pub(super) async fn take(receiver: &Receiver, stream: &Stream, text: &str) -> Result<(), Refused> {
    let request = |why| Refused::Bad("invalid_request", why);
    let compact = Compact::parse(text.trim(), MAX_TOKEN_BYTES).map_err(|_| request("no security event token"))?;
    // RFC 8417 §2.3: no other kind of token of this issuer passes for an event.
    if !compact.typ_is("secevent+jwt") {
        return Err(request("wrong `typ`"));
    }
    let payload = verify(&receiver.issuers, &stream.issuer, &compact).await?;
    let claims = payload.claims();
    check_audience(claims, &stream.audience).map_err(|_| Refused::Bad("invalid_audience", "for another audience"))?;
    let now = receiver.clock.now();
    let issued = claims.required_time("iat").map_err(|_| request("no `iat`"))?;
    if issued > now.seconds() + LEEWAY_S || now.seconds() - issued > MAX_AGE_S {
        return Err(request("too old, or of the future"));
    }
    let jti = claims.required_identifier("jti").map_err(|_| request("no `jti`"))?;
    let events = claims.get("events").and_then(Value::as_object).ok_or(request("no `events`"))?;
    if events.is_empty() || events.len() > MAX_EVENTS {
        return Err(request("no events, or too many"));
    }
    let targets = targets(stream, claims, events)?;
    let statement = Statement {
        kind: "signal",
        issuer: stream.issuer.clone(),
        id: jti.to_owned(),
        remember_until: now.plus_seconds(MAX_AGE_S + 2 * LEEWAY_S),
        events: events.keys().map(|uri| uri.rsplit('/').next().unwrap_or(uri)).collect::<Vec<_>>().join(" "),
    };
    receiver.operator.obey(statement, targets).await.map(drop).map_err(|error| {
        tracing::error!(%error, issuer = stream.issuer, "a signal could not be carried out");
        Refused::Later
    })
}

fn targets(stream: &Stream, claims: Claims<'_>, events: &Map<String, Value>) -> Result<Vec<Target>, Refused> {
    let mut targets = Vec::new();
    for (uri, event) in events.iter().filter(|(uri, _)| ENDS.contains(&uri.as_str())) {
        // SSF 1.0 §3.1: `sub_id` of the token; drafts had `subject` in the event.
        let subject = claims.get("sub_id").or_else(|| event.get("subject"));
        let found = subject.and_then(Value::as_object).map(|subject| read_subject(stream, subject, 0));
        match found {
            // SECURITY: a revocation that is not understood must not be acknowledged as if it were done.
            None | Some(None) => {
                return Err(Refused::Bad("invalid_request", "no subject that can be told from a token"));
            }
            Some(Some(found)) if found.is_empty() => {
                tracing::warn!(issuer = stream.issuer, event = uri, "a signal about somebody of another issuer");
            }
            Some(Some(found)) => targets.extend(found),
        }
    }
    Ok(targets)
}

/// RFC 9493 §3, SSF 1.0 §3. `None`: not understood. Empty: of another issuer than the stream is about.
fn read_subject(stream: &Stream, subject: &Map<String, Value>, depth: u8) -> Option<Vec<Target>> {
    let text = |name: &str| subject.get(name).and_then(Value::as_str);
    let user = |id: &str| {
        let id = UserId::parse(id).ok()?;
        Some(vec![Target::User { id, issuer: Some(stream.about.clone()) }])
    };
    match text("format")? {
        "iss_sub" if text("iss")? == stream.about || text("iss")? == stream.issuer => user(text("sub")?),
        "iss_sub" => Some(Vec::new()),
        "opaque" => user(text("id")?),
        "complex" if depth == 0 => read_complex(stream, subject),
        "aliases" if depth == 0 => {
            let all = subject.get("identifiers")?.as_array()?.iter().take(16).filter_map(Value::as_object);
            let found: Vec<Vec<Target>> = all.filter_map(|one| read_subject(stream, one, 1)).collect();
            (!found.is_empty()).then(|| found.concat())
        }
        _ => None,
    }
}

fn read_complex(stream: &Stream, subject: &Map<String, Value>) -> Option<Vec<Target>> {
    let part = |name: &str| subject.get(name).and_then(Value::as_object);
    let session = part("session").and_then(|session| {
        let id = session.get("id").or_else(|| session.get("sub"))?.as_str()?;
        Some(Target::Session { id: SessionId::parse(id).ok()?, issuer: Some(stream.about.clone()) })
    });
    let narrow = stream.ends == LogoutEnds::Session && session.is_some();
    let user = match part("user") {
        Some(user) if !narrow => Some(read_subject(stream, user, 1)),
        _ => None,
    };
    match (session, user) {
        (None, None) => None,
        (session, user) => {
            // A user that is not understood beside a session that is: the session alone would be too little.
            let user = user.unwrap_or_else(|| Some(Vec::new()))?;
            Some(session.into_iter().chain(user).collect())
        }
    }
}
