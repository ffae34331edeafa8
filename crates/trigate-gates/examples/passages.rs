//! What does a passage through the three gates cost? `cargo run --release -p trigate-gates --example passages [keys]`:
//! the CPU time by API key, one of a million, and by an access token that was verified before, with a scope and a role
//! demanded; each time another one. And the bytes that each key takes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench says what it measured")]

use async_trait::async_trait;
use http::{HeaderMap, Method};
use std::{sync::Arc, time::Duration};
use trigate_core::{
    Position, Timestamp,
    application::{Application, KeyRecord, State},
    audit::Record,
    change::{ClientFace, PublicKey, Snapshot},
    credential::{ApiKey, Digest, Environment},
    id::TenantId,
    identity::TokenFacts,
    jose::{Algorithm, SigningKey},
    port::{
        AuditSink, Clock, Fetch, FetchError, Fetched, Lookup, LookupError, Mark, Slot,
        testing::{SeededRng, StoppedClock},
    },
};
use trigate_gates::{
    Enforce, Gates, GatesParts, IssuerRule, Issuers, KeySource, Known, LoadedKeys, Pattern, ProofRules, Request,
    RouteRule, Routes, Rules, SubjectKind,
};

struct Nowhere;

impl AuditSink for Nowhere {
    fn reserve(&self) -> Option<Slot<'_>> {
        Some(Slot::taken(self))
    }
    fn release(&self) {}
    fn append(&self, _: &Record) -> Option<Mark> {
        Some(Mark { generation: 0, length: 0 })
    }
    fn flush_to(&self, _: Mark) -> bool {
        true
    }
    fn sync_to(&self, _: Mark) -> bool {
        true
    }
    fn note(&self, _: &Record) {}
}

#[async_trait]
impl Lookup for Nowhere {
    async fn find_opaque_token(&self, _: Digest) -> Result<Option<TokenFacts>, LookupError> {
        Ok(None)
    }
    async fn introspect(&self, _: TokenFacts) -> Result<Option<TokenFacts>, LookupError> {
        Ok(None)
    }
}

#[async_trait]
impl Fetch for Nowhere {
    async fn get(&self, url: &str, _: usize) -> Result<Fetched, FetchError> {
        Err(FetchError::Failed(url.to_owned(), "nowhere".to_owned()))
    }
    async fn post_form(
        &self,
        url: &str,
        _: &[(&str, &str)],
        _: Option<(&str, &str)>,
        _: usize,
    ) -> Result<Fetched, FetchError> {
        Err(FetchError::Failed(url.to_owned(), "nowhere".to_owned()))
    }
}

/// Time that this thread had a core for; other programs do not count.
fn on_cpu() -> Duration {
    let read = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(read.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

const ISSUER: &str = "http://issuer.test";
const AUDIENCE: &str = "https://api.test";
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn application() -> Application {
    Application {
        id: "app_a".parse().unwrap(),
        name: "A".into(),
        plan: "pro".into(),
        state: State::Enabled,
        created_at: NOW,
    }
}

fn record(key: &ApiKey) -> KeyRecord {
    KeyRecord {
        id: key.id().clone(),
        // As from a store: text of its own for each.
        application: "app_a".parse().unwrap(),
        digest: key.digest(),
        label: "a label as people write them".into(),
        environment: Environment::Live,
        scopes: None,
        allowed_addresses: vec![],
        not_before: None,
        expires_at: None,
        header: None,
        state: State::Enabled,
        created_at: NOW,
        exposed_at: None,
        revoked_at: None,
        born: Position(1),
    }
}

fn main() {
    let count: usize = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let (rng, tenant) = (Arc::new(SeededRng::new(1)), TenantId::default_tenant());
    let clock: Arc<dyn Clock> = Arc::new(StoppedClock::at(NOW));
    let known = Arc::new(Known::new(tenant.clone(), Arc::clone(&clock)));
    // Some are kept to be presented, spread over all.
    let step = (count / 100_000).max(1);
    let mut presented = Vec::new();
    let before = resident();
    let mut keys = LoadedKeys::default();
    for n in 0..count {
        let key = ApiKey::mint(&*rng, Environment::Live);
        keys.take(record(&key));
        if n % step == 0 {
            presented.push(key);
        }
    }
    let signer = SigningKey::generate(Algorithm::EdDSA, "k1").unwrap();
    let client = ClientFace {
        id: "cli_a".parse().unwrap(),
        application: "app_a".parse().unwrap(),
        name: "A's".into(),
        state: State::Enabled,
    };
    let public = PublicKey { kid: "k1".into(), jwk: signer.public_jwk(), published_until: None, revoked: false };
    known.load_with(
        Snapshot {
            position: Position(1),
            keys: vec![],
            applications: vec![application()],
            clients: vec![client],
            signing_keys: vec![public],
            disabled_users: vec![],
            standing: vec![],
            opaque_checksum: None,
        },
        keys,
    );
    let kept = presented.len() as u64 * 200;
    let bytes = resident().saturating_sub(before).saturating_sub(kept) / count as u64;
    println!("{count} keys: {bytes} bytes resident for each");
    let gates = gates(known, clock, rng);
    let rules = rules(&tenant);
    let keys: Vec<_> = presented.iter().map(|key| head("x-api-key", key.reveal())).collect();
    let tokens: Vec<_> = (0..TOKENS).map(|n| head("authorization", &format!("Bearer {}", token(&signer, n)))).collect();
    for (what, path, heads) in [("key", "/k", keys), ("warm token, scope and role", "/t", tokens)] {
        // The first round verifies the tokens.
        let mut times: Vec<f64> = (0..8).map(|_| passages(&gates, &rules, &tenant, path, &heads)).skip(1).collect();
        times.sort_by(f64::total_cmp);
        println!("a passage by {what}, each time another: {:.0} ns of CPU", times.get(3).copied().unwrap_or_default());
    }
}

/// As many as the table's row has in rotation.
const TOKENS: u64 = 10_000;

fn head(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    headers
}

fn token(signer: &SigningKey, n: u64) -> String {
    let claims = serde_json::json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": format!("usr_{n}"), "client_id": "cli_a", "app": "app_a", "jti": format!("{n:022}"),
        "iat": NOW.seconds(), "exp": NOW.seconds() + 600, "sid": format!("ses_{n}"), "gid": format!("grt_{n}"), "pos": 1,
        "scope": "orders:read profile", "roles": ["customer", "auditor"], "acr": "1", "auth_time": NOW.seconds(),
    });
    signer.sign_jws("at+jwt", &claims).unwrap()
}

/// Nanoseconds for each.
fn passages(gates: &Gates, rules: &Arc<Rules>, tenant: &TenantId, path: &str, heads: &[HeaderMap]) -> f64 {
    let start = on_cpu();
    for headers in heads {
        let request = Request {
            tenant,
            method: &Method::GET,
            host: "localhost",
            port: None,
            secure: false,
            path,
            query: None,
            headers,
            peer: [127, 0, 0, 1].into(),
            certificate: None,
        };
        let admitted = futures_util::FutureExt::now_or_never(gates.admit(rules, request)).unwrap();
        std::hint::black_box(&admitted);
        assert!(admitted.is_ok(), "{admitted:?}");
    }
    on_cpu().saturating_sub(start).as_nanos() as f64 / heads.len() as f64
}

fn gates(known: Arc<Known>, clock: Arc<dyn Clock>, rng: Arc<SeededRng>) -> Gates {
    known.hold_lease(trigate_core::port::Monotonic(u64::MAX));
    Gates::new(GatesParts {
        known,
        clock: Arc::clone(&clock),
        rng,
        audit: Arc::new(Nowhere),
        lookup: Arc::new(Nowhere),
        issuers: Arc::new(Issuers::new(Arc::new(Nowhere), clock)),
        node: "bench".into(),
        on_exposed: None,
    })
}

fn rules(tenant: &TenantId) -> Arc<Rules> {
    let mut by_key = RouteRule::new("k", Pattern::parse("/k").unwrap(), "key".parse().unwrap());
    by_key.subjects = vec![SubjectKind::Application];
    let mut by_token = RouteRule::new("t", Pattern::parse("/t").unwrap(), "token".parse().unwrap());
    by_token.subjects = vec![SubjectKind::User];
    by_token.demand.scopes = trigate_core::oauth::ScopeSet::parse("orders:read").unwrap();
    by_token.demand.any_role = vec!["admin".into(), "auditor".into()];
    Arc::new(Rules {
        epoch: 1,
        tenant: tenant.clone(),
        enforce: Enforce::Enforce,
        routes: Routes::new(vec![by_key, by_token]).unwrap(),
        issuers: vec![IssuerRule::new(ISSUER, KeySource::Ours, vec![AUDIENCE.into()])],
        plans: Default::default(),
        machines: vec![],
        policy: None,
        realm: "trigate".into(),
        address_limit: None,
        trusted_proxies: vec![],
        proof: ProofRules::default(),
    })
}
