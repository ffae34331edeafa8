//! What does an issuer say of a token that it alone can judge? (RFC 7662)
//!
//! Trusts the issuer's own endpoint, asked with our client's secret. Never takes an error, an odd answer or silence for a
//! yes, and never keeps an answer longer than the route allows. Scope, audience, expiry and changes are judged on every
//! request, as with a JWT.

use super::{jwt, token::Verified};
use crate::{
    passage::Passage,
    rules::{Introspection, IntrospectionMethod, IssuerRule, Rules},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use trigate_core::{
    credential::Digest,
    id::TokenId,
    jose::{
        Claims, Compact, JoseError, MAX_TOKEN_BYTES,
        strict_json::{self, Limits},
    },
    port::{Clock, Fetch, Monotonic},
    reason::Reason,
};

/// G20: an answer about one token needs no more.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Questions under way at once. More than that and the issuer is slow, or somebody guesses.
const MAX_FLIGHTS: usize = 256;
/// A question that nobody waits for any more gives its place back.
const FORGOTTEN_US: u64 = 15_000_000;
/// Answers kept, by rough weight: 16 MiB.
const KEPT_BYTES: u64 = 16 << 20;

type Key = [u8; 32];
/// `None`: not active.
type Said = Option<Arc<Map<String, Value>>>;
type Flight = Shared<BoxFuture<'static, Result<Said, Reason>>>;

#[derive(Clone)]
struct Weigh;

impl quick_cache::Weighter<Key, Kept> for Weigh {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        let lists = |verified: &Arc<Verified>| {
            let facts = &verified.facts;
            (facts.scopes.len() + facts.roles.len() + facts.audiences.len()) as u64 * 48
        };
        512 + kept.outcome.as_ref().map_or(0, lists)
    }
}

/// What came of an answer, for as long as routes allow.
#[derive(Clone)]
struct Kept {
    asked_at: Monotonic,
    outcome: Result<Arc<Verified>, Reason>,
}

/// Asks, one question per token at a time.
pub(crate) struct Introspector {
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    kept: quick_cache::sync::Cache<Key, Kept, Weigh>,
    flights: Mutex<HashMap<Key, (Monotonic, Flight)>>,
}

impl Introspector {
    pub fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        let kept = quick_cache::sync::Cache::with_weighter(16_384, KEPT_BYTES, Weigh);
        Self { fetch, clock, kept, flights: Mutex::default() }
    }

    /// Joins the question that is under way, unless it was asked longer ago than this route allows.
    fn ask(&self, key: Key, asks: &Introspection, text: &str, max_age_s: u32) -> Result<(Monotonic, Flight), Reason> {
        let now = self.clock.monotonic();
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((started, flight)) = flights.get(&key)
            && young(now, *started, max_age_s)
        {
            return Ok((*started, flight.clone()));
        }
        if flights.len() >= MAX_FLIGHTS {
            flights.retain(|_, (started, _)| now.0.saturating_sub(started.0) < FORGOTTEN_US);
        }
        if flights.len() >= MAX_FLIGHTS {
            return Err(Reason::LookupUnavailable);
        }
        let (fetch, asks, text) = (Arc::clone(&self.fetch), asks.clone(), text.to_owned());
        let flight = async move { ask(fetch.as_ref(), &asks, &text).await }.boxed().shared();
        flights.insert(key, (now, flight.clone()));
        Ok((now, flight))
    }

    fn land(&self, key: &Key, started: Monotonic) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(key).is_some_and(|(at, _)| *at == started) {
            flights.remove(key);
        }
    }
}

fn young(now: Monotonic, then: Monotonic, max_age_s: u32) -> bool {
    now.0.saturating_sub(then.0) < u64::from(max_age_s) * 1_000_000
}

/// The issuer to ask about this text, if any: the one that a JWT names, or for a text that is no JWT the only one that
/// is asked about tokens. // SECURITY: a token is shown to nobody but its issuer; which one that is must not be guessed.
pub(crate) fn issuer_of<'a>(rules: &'a Rules, text: &str) -> Option<(&'a IssuerRule, &'a Introspection)> {
    let asking = || rules.issuers.iter().filter_map(|rule| Some((rule, rule.introspection.as_ref()?)));
    asking().next()?;
    match Compact::parse(text, MAX_TOKEN_BYTES) {
        Ok(compact) => {
            let claimed = compact.peek_issuer()?;
            asking().find(|(rule, _)| rule.issuer == claimed)
        }
        Err(JoseError::NotThreeParts) => {
            let mut asking = asking();
            asking.next().filter(|_| asking.next().is_none())
        }
        Err(_) => None,
    }
}

pub(crate) async fn verify(
    passage: &Passage<'_>,
    (rule, asks): (&IssuerRule, &Introspection),
    text: &str,
    max_age_s: u32,
) -> Result<Arc<Verified>, Reason> {
    let introspector = &passage.gates.issuers.introspector;
    let key = key(passage.rules.epoch, rule, asks, text);
    let now = introspector.clock.monotonic();
    if let Some(kept) = introspector.kept.get(&key).filter(|kept| young(now, kept.asked_at, max_age_s)) {
        return kept.outcome;
    }
    let (asked_at, flight) = introspector.ask(key, asks, text, max_age_s)?;
    let said = flight.await;
    introspector.land(&key, asked_at);
    let outcome = match said? {
        None => Err(Reason::TokenInactive),
        Some(claims) => read(passage, rule, &claims, text).map(Arc::new),
    };
    introspector.kept.insert(key, Kept { asked_at, outcome: outcome.clone() });
    outcome
}

/// Names rules, issuer and verifier, not the token alone; lengths keep the parts apart.
fn key(epoch: u64, rule: &IssuerRule, asks: &Introspection, text: &str) -> Key {
    let parts = [rule.issuer.as_str(), &asks.url, &asks.client, text];
    let lengths: Vec<String> = parts.iter().map(|part| part.len().to_string()).collect();
    *Digest::of(&format!("{epoch} {} {}", lengths.join(" "), parts.concat())).bytes()
}

/// RFC 7662 §2.1
async fn ask(fetch: &dyn Fetch, asks: &Introspection, text: &str) -> Result<Said, Reason> {
    let mut form = vec![("token", text), ("token_type_hint", "access_token")];
    let basic = match asks.method {
        IntrospectionMethod::Basic => Some((asks.client.as_str(), asks.secret.reveal())),
        IntrospectionMethod::Post => {
            form.extend([("client_id", asks.client.as_str()), ("client_secret", asks.secret.reveal())]);
            None
        }
    };
    let fetched = fetch.post_form(&asks.url, &form, basic, MAX_ANSWER_BYTES).await;
    let fetched = fetched.ok().filter(|fetched| fetched.status == 200).ok_or(Reason::LookupUnavailable)?;
    let mut said = strict_json::parse_object(&fetched.body, Limits::DOCUMENT).map_err(|_| Reason::LookupUnavailable)?;
    // RFC 7662 §2.2: a boolean, and required. `"true"` and 1 are not true.
    Ok(match said.remove("active") {
        Some(Value::Bool(true)) => Some(Arc::new(said)),
        _ => None,
    })
}

fn read(passage: &Passage<'_>, rule: &IssuerRule, said: &Map<String, Value>, text: &str) -> Result<Verified, Reason> {
    let claims = Claims::new(said);
    check_kind(claims)?;
    if claims.text("iss").map_err(|_| Reason::TokenClaims)?.is_some_and(|issuer| issuer != rule.issuer) {
        return Err(Reason::TokenIssuer);
    }
    jwt::check_marks(claims, rule)?;
    let subject = subject(claims).ok_or(Reason::TokenClaims)?;
    let facts = jwt::read_facts(passage.known(), rule, claims, text, subject).ok_or(Reason::TokenClaims)?;
    Ok(Verified { facts: Arc::new(facts), header: None, by_text: Some(TokenId::of_text(text)) })
}

/// An endpoint is also asked about refresh tokens, and says `active` of them: one is no access token.
fn check_kind(claims: Claims<'_>) -> Result<(), Reason> {
    let text = |name| claims.text(name).map_err(|_| Reason::TokenClaims);
    let kind = match text("token_type")? {
        Some(kind) => kind,
        None => text("typ")?.unwrap_or_default(),
    };
    let known = ["bearer", "dpop"].iter().any(|known| kind.eq_ignore_ascii_case(known));
    if known { Ok(()) } else { Err(Reason::TokenType) }
}

/// `sub` is optional (RFC 7662 §2.2); without it and without a user's name the token is the client's own.
fn subject(claims: Claims<'_>) -> Option<&str> {
    match claims.identifier("sub").ok()? {
        Some(subject) => Some(subject),
        None if claims.get("username").is_none() => claims.required_identifier("client_id").ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_cache::Weighter as _;
    use trigate_core::{Timestamp, identity::Identity, identity::TokenFacts, oauth::ScopeSet};

    #[test]
    fn a_kept_answer_weighs_what_it_holds() {
        let facts = TokenFacts {
            issuer: "https://x.test".into(),
            subject: "bob".into(),
            client: None,
            application: None,
            identity: Identity::User { id: "bob".parse().unwrap(), email: None },
            token: TokenId::from_bits(1),
            session: None,
            grant: None,
            audiences: vec!["a".into()],
            scopes: ScopeSet::parse("a b").unwrap(),
            roles: vec!["a".into(), "b".into(), "c".into()],
            issued_at: None,
            not_before: None,
            expires_at: Timestamp::from_seconds(1),
            authenticated_at: None,
            acr: None,
            position: None,
            actor: None,
            kid: None,
            confirmation: None,
        };
        let verified = Arc::new(Verified { facts: Arc::new(facts), header: None, by_text: None });
        let weight = |outcome| Weigh.weight(&[0; 32], &Kept { asked_at: Monotonic(0), outcome });
        assert_eq!(weight(Err(Reason::TokenInactive)), 512);
        assert_eq!(weight(Ok(verified)), 512 + 6 * 48);
    }
}
