//! Did a trusted issuer sign this JWT, and what does it claim? (RFC 9068)
//!
//! Trusts an issuer's own keys for that issuer's tokens and for nobody else's. Never lets the token choose a key's
//! address or an algorithm, and never takes a claim of the wrong type for an absent one.

use super::token::{Verified, VerifiedHeader};
use crate::{
    known::{Known, SigningKey},
    passage::Passage,
    rules::{IssuerRule, KeySource, ServiceMark},
};
use serde_json::Value;
use std::sync::Arc;
use trigate_core::{
    Position, Timestamp,
    id::{AppId, ClientId, GrantId, SessionId, TokenId, UserId},
    identity::{Identity, TokenFacts},
    jose::{Claims, Compact, JoseError, MAX_TOKEN_BYTES, Payload, check_issuer, check_subject},
    oauth::{Scope, ScopeSet},
    proof::Confirmation,
    reason::Reason,
};

pub(crate) async fn verify(passage: &Passage<'_>, text: &str) -> Result<Verified, Reason> {
    let compact = Compact::parse(text, MAX_TOKEN_BYTES).map_err(reason_of)?;
    let rule = choose_issuer(passage, &compact)?;
    let payload = match rule.keys {
        KeySource::Ours => check_our_signature(passage, &compact)?,
        _ => {
            let keys = passage.gates.issuers.find_keys(&rule.issuer, compact.kid()).await?;
            let key = keys.find(compact.kid()).ok_or(Reason::TokenKeyUnknown)?;
            compact.verify(key).map_err(reason_of)?
        }
    };
    finish(passage.known(), rule, &compact, &payload, text)
}

/// As [`verify`], by the keys at hand alone: for tokens that came where they must not.
pub(crate) fn verify_at_hand(passage: &Passage<'_>, text: &str) -> Option<Verified> {
    let compact = Compact::parse(text, MAX_TOKEN_BYTES).ok()?;
    let rule = choose_issuer(passage, &compact).ok()?;
    let payload = match rule.keys {
        KeySource::Ours => check_our_signature(passage, &compact).ok()?,
        _ => {
            let keys = passage.gates.issuers.keys_at_hand(&rule.issuer)?;
            compact.verify(keys.find(compact.kid())?).ok()?
        }
    };
    finish(passage.known(), rule, &compact, &payload, text).ok()
}

/// What `iss` claims only chooses among trusted issuers; the signature must then be by that issuer's key (T16).
fn choose_issuer<'a>(passage: &Passage<'a>, compact: &Compact<'_>) -> Result<&'a IssuerRule, Reason> {
    let claimed = compact.peek_issuer().ok_or(Reason::TokenIssuer)?;
    passage.rules.issuer(&claimed).ok_or(Reason::TokenIssuer)
}

fn check_our_signature(passage: &Passage<'_>, compact: &Compact<'_>) -> Result<Payload, Reason> {
    let known = our_key(passage, compact.kid())?;
    let key = known.key.as_ref().ok_or(Reason::TokenKeyUnknown)?;
    compact.verify(key).map_err(reason_of)
}

/// The signing key of this name, if it is published and not revoked.
pub(crate) fn our_key(passage: &Passage<'_>, kid: Option<&str>) -> Result<Arc<SigningKey>, Reason> {
    published_key(passage.known(), kid, passage.now)
}

pub(crate) fn published_key(known: &Known, kid: Option<&str>, now: Timestamp) -> Result<Arc<SigningKey>, Reason> {
    let key = kid.and_then(|kid| known.signing_key(kid)).ok_or(Reason::TokenKeyUnknown)?;
    if key.revoked {
        return Err(Reason::SigningKeyRevoked);
    }
    if key.published_until.is_some_and(|until| now >= until) {
        return Err(Reason::TokenKeyUnknown);
    }
    Ok(key)
}

fn reason_of(error: JoseError) -> Reason {
    match error {
        JoseError::AlgorithmInvalid | JoseError::AlgorithmNotAllowed | JoseError::AlgorithmMismatch => {
            Reason::TokenAlgorithm
        }
        JoseError::TypInvalid => Reason::TokenType,
        JoseError::KidInvalid => Reason::TokenKeyUnknown,
        JoseError::SignatureInvalid => Reason::TokenSignature,
        _ => Reason::TokenMalformed,
    }
}

fn finish(
    known: &Known,
    rule: &IssuerRule,
    compact: &Compact<'_>,
    payload: &Payload,
    text: &str,
) -> Result<Verified, Reason> {
    let claims = payload.claims();
    check_issuer(claims, &rule.issuer).map_err(|_| Reason::TokenIssuer)?;
    check_marks(claims, rule)?;
    let subject = check_subject(claims).map_err(|_| Reason::TokenClaims)?;
    let mut facts = read_facts(known, rule, claims, text, subject).ok_or(Reason::TokenClaims)?;
    facts.kid = compact.kid().map(str::to_owned);
    Ok(Verified {
        facts: Arc::new(facts),
        header: Some(VerifiedHeader { typ: bare_typ(compact.typ()), algorithm: compact.algorithm() }),
        by_text: (!rule.ours).then(|| TokenId::of_text(text)),
    })
}

/// Without `application/`, which RFC 7515 §4.1.9 lets one leave out. Absent is empty, which no rule names.
fn bare_typ(typ: Option<&str>) -> String {
    let typ = typ.unwrap_or_default().to_ascii_lowercase();
    typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
}

/// What this issuer's access tokens say and its other tokens do not, where `typ` does not tell them apart.
pub(crate) fn check_marks(claims: Claims<'_>, rule: &IssuerRule) -> Result<(), Reason> {
    let demanded = rule.demanded.iter().all(|(name, value)| claims.text(name).ok().flatten() == Some(value));
    let foreign = rule.marks_of_others.iter().any(|name| claims.get(name).is_some());
    if demanded && !foreign { Ok(()) } else { Err(Reason::TokenType) }
}

/// `None`: a claim is missing or has the wrong type.
pub(crate) fn read_facts(
    known: &Known,
    rule: &IssuerRule,
    claims: Claims<'_>,
    text: &str,
    subject: &str,
) -> Option<TokenFacts> {
    let names = &rule.claims;
    let client = read_first(claims, &names.client, |name| claims.identifier(name).ok())?;
    let client = client.map(ClientId::parse).transpose().ok()?;
    let at = |name: &str| claims.time(name).map(|seconds| seconds.map(Timestamp::from_seconds)).ok();
    let own = |name: &str| if rule.ours { claims.identifier(name).ok() } else { Some(None) };
    Some(TokenFacts {
        issuer: rule.issuer.as_str().into(),
        subject: subject.to_owned(),
        identity: read_identity(rule, claims, subject, client.as_ref())?,
        application: read_application(known, rule, claims, client.as_ref())?,
        token: read_token_id(rule, claims, text)?,
        session: claims.identifier("sid").ok()?.map(SessionId::parse).transpose().ok()?,
        grant: own("gid")?.map(GrantId::parse).transpose().ok()?,
        audiences: claims.text_or_list("aud").ok()?.unwrap_or_default(),
        scopes: read_scopes(first_present(claims, &names.scope))?,
        roles: read_list(first_present(claims, &names.roles))?,
        issued_at: at("iat")?,
        not_before: at("nbf")?,
        expires_at: at("exp")??,
        authenticated_at: at("auth_time")?,
        acr: claims.text("acr").ok()?.map(str::to_owned),
        position: if rule.ours { claims.integer("pos").ok()?.map(Position) } else { None },
        actor: read_actor(claims)?,
        kid: None,
        // RFC 7800 §3.1, RFC 8705 §3.1, RFC 9449 §6.1
        confirmation: Confirmation::read(claims).ok()?,
        client,
    })
}

/// RFC 9068 §5: a token whose subject is a client speaks for no user.
fn read_identity(rule: &IssuerRule, claims: Claims<'_>, subject: &str, client: Option<&ClientId>) -> Option<Identity> {
    let itself = client.is_some_and(|client| client.as_str() == subject);
    // Some issuers write another subject into tokens that clients get for themselves, and say so elsewhere.
    let granted = rule.services.iter().any(|mark| match mark {
        ServiceMark::Is(name, value) => claims.get(name).and_then(Value::as_str) == Some(value),
        ServiceMark::Absent(name) => claims.get(name).is_none(),
        ServiceMark::NamesClient(name) => {
            client.is_some_and(|client| claims.get(name).and_then(Value::as_str) == Some(client.as_str()))
        }
    });
    match client {
        Some(client) if itself || granted => Some(Identity::Service { client: client.clone() }),
        _ => {
            // An answer without a subject was read as its client's own above.
            let user =
                if rule.claims.user == "sub" { subject } else { claims.required_identifier(&rule.claims.user).ok()? };
            let email = claims.text("email").ok()?.map(str::to_owned);
            Some(Identity::User { id: UserId::parse(user).ok()?, email })
        }
    }
}

fn read_application(
    known: &Known,
    rule: &IssuerRule,
    claims: Claims<'_>,
    client: Option<&ClientId>,
) -> Option<Option<AppId>> {
    if !rule.ours {
        return Some(rule.application_of(client.map(ClientId::as_str)).cloned());
    }
    let claimed = claims.identifier("app").ok()?.map(AppId::parse).transpose().ok()?;
    let face = client.and_then(|client| known.client(client)).map(|face| face.application.clone());
    Some(face.or(claimed))
}

fn read_token_id(rule: &IssuerRule, claims: Claims<'_>, text: &str) -> Option<TokenId> {
    match claims.identifier("jti").ok()? {
        Some(jti) if rule.ours => TokenId::parse(jti).ok(),
        None if rule.ours => None,
        Some(jti) => Some(TokenId::foreign(&rule.issuer, jti)),
        None => Some(TokenId::of_text(text)),
    }
}

/// The first of these claims that is there; `None` when it has the wrong type.
fn read_first<'a, T>(
    claims: Claims<'_>,
    names: &'a [String],
    read: impl Fn(&'a str) -> Option<Option<T>>,
) -> Option<Option<T>> {
    match names.iter().find(|name| claims.get(name).is_some()) {
        Some(name) => read(name),
        None => Some(None),
    }
}

fn first_present<'a>(claims: Claims<'a>, names: &[String]) -> Option<&'a Value> {
    names.iter().find_map(|name| find_claim(claims, name))
}

/// A claim by its name, or by a path of names with dots between.
fn find_claim<'a>(claims: Claims<'a>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut parts = name.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.as_object()?.get(part))
    })
}

/// A list of strings, or one string; absent is empty.
fn read_list(claim: Option<&Value>) -> Option<Vec<String>> {
    match claim {
        None => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

/// RFC 8693 §4.2 writes scopes into one string; some issuers write a list.
fn read_scopes(claim: Option<&Value>) -> Option<ScopeSet> {
    match claim {
        None => Some(ScopeSet::default()),
        Some(Value::String(text)) => ScopeSet::parse(text).ok(),
        Some(Value::Array(items)) => items.iter().map(|item| Scope::parse(item.as_str()?).ok()).collect(),
        Some(_) => None,
    }
}

// RFC 8693 §4.1
fn read_actor(claims: Claims<'_>) -> Option<Option<String>> {
    let Some(actor) = claims.object("act").ok()? else { return Some(None) };
    actor.identifier("sub").ok().map(|subject| subject.map(str::to_owned))
}
