//! Which keys do foreign issuers publish? Fetched ahead of need, one flight per issuer, the last good set kept for a
//! day at most.
//!
//! Trusts what comes from an issuer's own address. Never follows an address in a token, and never lets tokens cause
//! more than one fetch per cool-down.

use super::introspection::Introspector;
use crate::rules::{KeySource, Rules};
use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, join_all},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use trigate_core::{
    jose::{
        Compact, JoseError, Jwks, LeftOut, MAX_JWKS_BYTES, Payload,
        strict_json::{self, Limits},
    },
    port::{Clock, Fetch, Monotonic},
    reason::Reason,
};

/// An unknown `kid`, or a failed fetch, causes the next fetch no sooner (T05).
const COOL_DOWN_S: u64 = 30;
/// Fetched again after this time, needed or not.
const REFRESH_S: u64 = 600;
/// The last good set is trusted no longer.
const HARD_END_S: u64 = 24 * 3_600;

type Parsed = (Jwks, Vec<LeftOut>);

/// The key sets of all foreign issuers.
pub struct Issuers {
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    sources: ArcSwap<HashMap<String, Arc<Source>>>,
    pub(crate) introspector: Introspector,
    /// Rises with every change of any set.
    epoch: Arc<AtomicU64>,
}

struct Source {
    issuer: String,
    from: KeySource,
    keys: ArcSwapOption<KeySet>,
    flight: Mutex<Flight>,
}

struct KeySet {
    keys: Arc<Jwks>,
    left_out: Vec<String>,
    fetched_at: Monotonic,
}

#[derive(Default)]
struct Flight {
    /// Driven by whoever waits for it: a caller that goes away ends nothing.
    current: Option<Shared<BoxFuture<'static, ()>>>,
    started: Option<Monotonic>,
    failed: Option<String>,
}

/// How an issuer's keys stand, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct IssuerStatus {
    pub issuer: String,
    /// Usable keys.
    pub keys: usize,
    /// Keys of its document that verify nothing, and why.
    pub left_out: Vec<String>,
    /// Seconds since the last good fetch.
    pub age_s: Option<u64>,
    pub last_failure: Option<String>,
}

impl Issuers {
    pub fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        let introspector = Introspector::new(Arc::clone(&fetch), Arc::clone(&clock));
        Self { fetch, clock, sources: ArcSwap::default(), introspector, epoch: Arc::default() }
    }

    /// Follows the issuers of these rules; key sets of those that stay are kept.
    pub fn load(&self, rules: &Rules) {
        self.load_with(rules, &[]);
    }

    /// As [`Self::load`], and follows further parties whose statements are read, though no access token of theirs is.
    pub fn load_with(&self, rules: &Rules, others: &[(String, KeySource)]) {
        let old = self.sources.load();
        let foreign = rules.issuers.iter().map(|rule| (&rule.issuer, &rule.keys));
        // Last wins: where a trusted issuer signs its own statements, its keys are the ones of its tokens.
        let all = others.iter().map(|(issuer, keys)| (issuer, keys)).chain(foreign);
        let sources = all.filter(|(_, keys)| **keys != KeySource::Ours).map(|(issuer, keys)| {
            let kept = old.get(issuer).filter(|source| source.from == *keys).cloned();
            let fresh = || Arc::new(Source::new(issuer.clone(), keys.clone()));
            (issuer.clone(), kept.unwrap_or_else(fresh))
        });
        self.sources.store(Arc::new(sources.collect()));
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Hands over the text of a key-set file. It stays good until the next one.
    ///
    /// # Errors
    /// The document is no key set; the old one stays.
    pub fn put_file(&self, issuer: &str, document: &[u8]) -> Result<usize, JoseError> {
        let parsed = Jwks::parse(document)?;
        let count = parsed.0.len();
        if let Some(source) = self.sources.load().get(issuer) {
            source.keep(parsed, self.clock.monotonic(), &self.epoch);
        }
        Ok(count)
    }

    /// Did this issuer sign this statement (a logout token, a security event)? What it says is judged by the caller.
    ///
    /// # Errors
    /// Its keys are not to be had, none has this name, or the signature does not hold.
    pub async fn verify_statement(&self, issuer: &str, compact: &Compact<'_>) -> Result<Payload, Reason> {
        let keys = self.find_keys(issuer, compact.kid()).await?;
        let key = keys.find(compact.kid()).ok_or(Reason::TokenKeyUnknown)?;
        compact.verify(key).map_err(|_| Reason::TokenSignature)
    }

    /// Fetches what is due; returns when all flights have landed. Called by a task, each few seconds.
    pub async fn refresh_due(&self) {
        let now = self.clock.monotonic();
        let due: Vec<_> = self.sources.load().values().filter(|source| source.is_due(now)).cloned().collect();
        join_all(due.iter().filter_map(|source| self.fly(source))).await;
    }

    pub fn status(&self) -> Vec<IssuerStatus> {
        let now = self.clock.monotonic();
        let of = |source: &Arc<Source>| {
            let keys = source.keys.load();
            IssuerStatus {
                issuer: source.issuer.clone(),
                keys: keys.as_ref().map_or(0, |set| set.keys.len()),
                left_out: keys.as_ref().map_or_else(Vec::new, |set| set.left_out.clone()),
                age_s: keys.as_ref().map(|set| seconds_since(now, set.fetched_at)),
                last_failure: source.flight().failed.clone(),
            }
        };
        self.sources.load().values().map(of).collect()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn keys_at_hand(&self, issuer: &str) -> Option<Arc<Jwks>> {
        self.sources.load().get(issuer)?.living(self.clock.monotonic())
    }

    /// The issuer's keys, fetched when they are not at hand or lack this `kid`. They may lack it still.
    pub(crate) async fn find_keys(&self, issuer: &str, kid: Option<&str>) -> Result<Arc<Jwks>, Reason> {
        let source = self.sources.load().get(issuer).cloned().ok_or(Reason::TokenIssuer)?;
        let fits = |keys: &Arc<Jwks>| keys.find(kid).is_some();
        if let Some(keys) = source.living(self.clock.monotonic()).filter(fits) {
            return Ok(keys);
        }
        if let Some(flight) = self.fly(&source) {
            flight.await;
        }
        // No set at all: nothing can be said about the token.
        source.living(self.clock.monotonic()).ok_or(Reason::LookupUnavailable)
    }

    /// Is the key of an already verified token still published?
    pub(crate) fn check_key(&self, issuer: &str, kid: Option<&str>) -> Result<(), Reason> {
        let keys = self.keys_at_hand(issuer).ok_or(Reason::LookupUnavailable)?;
        keys.find(kid).map(|_| ()).ok_or(Reason::TokenKeyUnknown)
    }

    /// Joins the flight that is under way or starts one; `None` within the cool-down, or where nothing is fetched.
    fn fly(&self, source: &Arc<Source>) -> Option<Shared<BoxFuture<'static, ()>>> {
        if matches!(source.from, KeySource::Ours | KeySource::JwksFile(_)) {
            return None;
        }
        let now = self.clock.monotonic();
        let mut flight = source.flight();
        if let Some(current) = &flight.current {
            return Some(current.clone());
        }
        if flight.started.is_some_and(|started| seconds_since(now, started) < COOL_DOWN_S) {
            return None;
        }
        flight.started = Some(now);
        let (fetch, epoch, source) = (Arc::clone(&self.fetch), Arc::clone(&self.epoch), Arc::clone(source));
        let landing = async move {
            let fetched = fetch_keys(fetch.as_ref(), &source).await;
            source.land(fetched, now, &epoch);
        };
        let shared = landing.boxed().shared();
        flight.current = Some(shared.clone());
        Some(shared)
    }
}

impl Source {
    fn new(issuer: String, from: KeySource) -> Self {
        Self { issuer, from, keys: ArcSwapOption::empty(), flight: Mutex::default() }
    }

    fn flight(&self) -> std::sync::MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last good set before its hard end. A file has none: it is replaced by hand.
    fn living(&self, now: Monotonic) -> Option<Arc<Jwks>> {
        let set = self.keys.load_full()?;
        let file = matches!(self.from, KeySource::JwksFile(_));
        (file || seconds_since(now, set.fetched_at) < HARD_END_S).then(|| Arc::clone(&set.keys))
    }

    fn is_due(&self, now: Monotonic) -> bool {
        self.keys.load().as_ref().is_none_or(|set| seconds_since(now, set.fetched_at) >= REFRESH_S)
            || self.flight().current.is_some()
    }

    fn land(&self, fetched: Result<Parsed, String>, now: Monotonic, epoch: &AtomicU64) {
        let failed = match fetched {
            Ok(keys) => {
                self.keep(keys, now, epoch);
                None
            }
            Err(failure) => Some(failure),
        };
        let mut flight = self.flight();
        flight.failed = failed;
        flight.current = None;
    }

    /// Takes the new set as it is: a key that the issuer removed is gone.
    fn keep(&self, (keys, left_out): Parsed, now: Monotonic, epoch: &AtomicU64) {
        let thumbprints = |keys: &Jwks| -> Vec<(Option<String>, String)> {
            keys.iter().map(|key| (key.kid().map(str::to_owned), key.thumbprint().to_owned())).collect()
        };
        let old = self.keys.load_full();
        let same = old.as_ref().is_some_and(|old| thumbprints(&old.keys) == thumbprints(&keys));
        let left_out = left_out.into_iter().map(|left| {
            let name = left.kid.unwrap_or_else(|| format!("number {}", left.index + 1));
            format!("{name}: {}", left.reason)
        });
        let set = KeySet { keys: Arc::new(keys), left_out: left_out.collect(), fetched_at: now };
        self.keys.store(Some(Arc::new(set)));
        if !same {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
    }
}

const fn seconds_since(now: Monotonic, earlier: Monotonic) -> u64 {
    now.0.saturating_sub(earlier.0) / 1_000_000
}

async fn fetch_keys(fetch: &dyn Fetch, source: &Source) -> Result<Parsed, String> {
    let url = match &source.from {
        KeySource::JwksUrl(url) => url.clone(),
        _ => discover(fetch, &source.issuer).await?,
    };
    let document = get(fetch, &url, MAX_JWKS_BYTES).await?;
    let parsed = Jwks::parse(&document).map_err(|error| format!("`{url}`: {error}"))?;
    if parsed.0.is_empty() { Err(format!("`{url}`: no usable key")) } else { Ok(parsed) }
}

/// OpenID Connect Discovery §4, then RFC 8414 §3, then SSF 1.0 §7 (a transmitter need not issue tokens).
async fn discover(fetch: &dyn Fetch, issuer: &str) -> Result<String, String> {
    let openid = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let places = ["oauth-authorization-server", "ssf-configuration"].iter();
    let places = places.filter_map(|name| well_known(issuer, name));
    let mut failures = Vec::new();
    for place in [openid].into_iter().chain(places) {
        match discover_at(fetch, issuer, &place).await {
            Ok(url) => return Ok(url),
            Err(failure) => failures.push(failure),
        }
    }
    Err(failures.join("; "))
}

/// RFC 8414 §3.1: the well-known part stands between host and path.
fn well_known(issuer: &str, name: &str) -> Option<String> {
    let (scheme, rest) = issuer.split_once("://")?;
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path.trim_end_matches('/')));
    let slash = if path.is_empty() { "" } else { "/" };
    Some(format!("{scheme}://{host}/.well-known/{name}{slash}{path}"))
}

async fn discover_at(fetch: &dyn Fetch, issuer: &str, url: &str) -> Result<String, String> {
    const MAX_METADATA_BYTES: usize = 256 * 1024;
    let document = get(fetch, url, MAX_METADATA_BYTES).await?;
    let metadata =
        strict_json::parse_object(&document, Limits::DOCUMENT).map_err(|error| format!("`{url}`: {error}"))?;
    let text = |name: &str| metadata.get(name).and_then(serde_json::Value::as_str);
    // RFC 8414 §3.3: else one issuer could speak in another's name.
    if text("issuer") != Some(issuer) {
        return Err(format!("`{url}` is the metadata of another issuer"));
    }
    let keys = text("jwks_uri").ok_or_else(|| format!("`{url}` names no `jwks_uri`"))?;
    let safe = keys.starts_with("https://") || (issuer.starts_with("http://") && keys.starts_with("http://"));
    if safe { Ok(keys.to_owned()) } else { Err(format!("`{url}`: its `jwks_uri` is not https")) }
}

async fn get(fetch: &dyn Fetch, url: &str, max_bytes: usize) -> Result<Vec<u8>, String> {
    let fetched = fetch.get(url, max_bytes).await.map_err(|error| error.to_string())?;
    match fetched.status {
        200 => Ok(fetched.body),
        status => Err(format!("`{url}` answers {status}")),
    }
}
