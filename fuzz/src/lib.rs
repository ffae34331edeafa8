//! A gate in memory, for targets that need one: one application with a key, a route that wants it and a public one.

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::sync::Arc;
use trigate_core::{
    Position, Timestamp,
    application::{Application, KeyRecord, State},
    audit::Record,
    change::Snapshot,
    credential::{ApiKey, Digest, Environment},
    id::TenantId,
    identity::TokenFacts,
    port::{
        AuditSink, Clock, Fetch, FetchError, Fetched, Lookup, LookupError, Mark, Monotonic, Slot,
        testing::{SeededRng, StoppedClock},
    },
};
use trigate_gates::{
    Demands, Enforce, Gates, GatesParts, Issuers, Known, Pattern, Permit, Refusal, Request, RouteRule, Routes, Rules,
    SubjectKind,
};

pub struct Gate {
    pub gates: Gates,
    pub rules: Arc<Rules>,
    pub key: ApiKey,
}

struct Nowhere;

impl AuditSink for Nowhere {
    fn reserve(&self) -> Option<Slot<'_>> {
        Some(Slot::taken(self))
    }
    fn release(&self) {}
    fn append(&self, record: &Record) -> Option<Mark> {
        // A record is read back by auditors: whatever came, it must be writable.
        serde_json::to_vec(record).expect("a record can be written");
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

impl Gate {
    pub fn new() -> Self {
        let (rng, tenant) = (Arc::new(SeededRng::new(1)), TenantId::default_tenant());
        let clock: Arc<dyn Clock> = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let key = ApiKey::mint(&*rng, Environment::Live);
        let known = Arc::new(Known::new(tenant.clone(), Arc::clone(&clock)));
        known.load(snapshot(&key, clock.now()));
        known.hold_lease(Monotonic(u64::MAX));
        let gates = Gates::new(GatesParts {
            known,
            clock: Arc::clone(&clock),
            rng,
            audit: Arc::new(Nowhere),
            lookup: Arc::new(Nowhere),
            issuers: Arc::new(Issuers::new(Arc::new(Nowhere), clock)),
            node: "n1".into(),
            on_exposed: None,
        });
        Self { gates, rules: Arc::new(rules(tenant)), key }
    }

    pub fn ask(&self, path: &str, headers: &HeaderMap) -> Result<Permit, Refusal> {
        futures_executor::block_on(self.gates.admit(
            &self.rules,
            Request {
                tenant: &self.rules.tenant,
                method: &Method::GET,
                host: "api.test",
                port: None,
                secure: false,
                path,
                query: None,
                headers,
                peer: [192, 0, 2, 7].into(),
                certificate: None,
            },
        ))
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

fn snapshot(key: &ApiKey, now: Timestamp) -> Snapshot {
    let application = Application {
        id: "app_a".parse().expect("an id"),
        name: "A".into(),
        plan: "pro".into(),
        state: State::Enabled,
        created_at: now,
    };
    let record = KeyRecord {
        id: key.id().clone(),
        application: application.id.clone(),
        digest: key.digest(),
        label: String::new(),
        environment: Environment::Live,
        scopes: None,
        allowed_addresses: vec![],
        not_before: None,
        expires_at: None,
        header: None,
        state: State::Enabled,
        created_at: now,
        exposed_at: None,
        revoked_at: None,
        born: Position(1),
    };
    Snapshot {
        position: Position(1),
        keys: vec![record],
        applications: vec![application],
        clients: vec![],
        signing_keys: vec![],
        disabled_users: vec![],
        standing: vec![],
        opaque_checksum: None,
    }
}

fn rules(tenant: TenantId) -> Rules {
    let pattern = |text| Pattern::parse(text).expect("a pattern");
    let mut closed = RouteRule::new("closed", pattern("/api/**"), "key".parse().expect("a demand"));
    closed.subjects = vec![SubjectKind::Application];
    let mut open = RouteRule::new("open", pattern("/public/**"), Demands::none());
    open.public = true;
    Rules {
        epoch: 1,
        tenant,
        enforce: Enforce::Enforce,
        routes: Routes::new(vec![closed, open]).expect("two routes"),
        issuers: vec![],
        plans: std::collections::HashMap::new(),
        machines: vec![],
        policy: None,
        realm: "fuzz".into(),
        address_limit: None,
        trusted_proxies: vec!["192.0.2.0/25".parse().expect("a network")],
        proof: trigate_gates::ProofRules::default(),
    }
}

/// Lines `name: value`, as bytes; what is no header is left out.
pub fn headers(data: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}
