//! Does the time of a refusal tell that a key's id exists? (catalogue K06) `cargo run --release -p trigate-gates --example
//! key_timing`: 100,000 refusals of each kind through all of `admit`, the kinds taking turns.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "a bench measures real time")]

use async_trait::async_trait;
use http::{HeaderMap, Method};
use std::{sync::Arc, time::Instant};
use trigate_core::{
    Position, Timestamp,
    application::{Application, KeyRecord, State},
    audit::Record,
    change::Snapshot,
    credential::{ApiKey, Digest, Environment},
    id::TenantId,
    identity::TokenFacts,
    port::{
        AuditSink, Clock, Fetch, FetchError, Fetched, Lookup, LookupError, Mark, Slot,
        testing::{SeededRng, StoppedClock},
    },
};
use trigate_gates::{
    Enforce, Gates, GatesParts, Issuers, Known, Pattern, ProofRules, Request, RouteRule, Routes, Rules, SubjectKind,
};

const TIMES: usize = 100_000;

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

/// The CRC-32 of a key's form: what any scanner can compute.
fn with_checksum(body: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let crc = !body.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    });
    let digit = |place: u32| DIGITS.get((u64::from(crc) / 62u64.pow(place) % 62) as usize).copied().unwrap();
    let sum: String = (0..6).rev().map(digit).map(char::from).collect();
    format!("{body}{sum}")
}

fn main() {
    let (rng, tenant) = (Arc::new(SeededRng::new(1)), TenantId::default_tenant());
    let clock: Arc<dyn Clock> = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let keys: Vec<ApiKey> = (0..10_000).map(|_| ApiKey::mint(&*rng, Environment::Live)).collect();
    let known = Arc::new(Known::new(tenant.clone(), Arc::clone(&clock)));
    let application = Application {
        id: "app_a".parse().unwrap(),
        name: "A".into(),
        plan: "pro".into(),
        state: State::Enabled,
        created_at: clock.now(),
    };
    let record = |key: &ApiKey| KeyRecord {
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
        created_at: clock.now(),
        exposed_at: None,
        revoked_at: None,
        born: Position(1),
    };
    known.load(Snapshot {
        position: Position(1),
        keys: keys.iter().map(record).collect(),
        applications: vec![application],
        clients: vec![],
        signing_keys: vec![],
        disabled_users: vec![],
        standing: vec![],
        opaque_checksum: None,
    });
    let mut route = RouteRule::new("k", Pattern::parse("/k").unwrap(), "key".parse().unwrap());
    route.subjects = vec![SubjectKind::Application];
    let rules = Arc::new(Rules {
        epoch: 1,
        tenant: tenant.clone(),
        enforce: Enforce::Enforce,
        routes: Routes::new(vec![route]).unwrap(),
        issuers: vec![],
        plans: Default::default(),
        machines: vec![],
        policy: None,
        realm: "trigate".into(),
        address_limit: None,
        trusted_proxies: vec![],
        proof: ProofRules::default(),
    });
    let gates = Gates::new(GatesParts {
        known,
        clock: Arc::clone(&clock),
        rng: rng.clone(),
        audit: Arc::new(Nowhere),
        lookup: Arc::new(Nowhere),
        issuers: Arc::new(Issuers::new(Arc::new(Nowhere), clock)),
        node: "bench".into(),
        on_exposed: None,
    });
    let mut times = [Vec::with_capacity(TIMES), Vec::with_capacity(TIMES)];
    for round in 0..TIMES {
        let known_key = keys.get(round % keys.len()).unwrap().reveal();
        let stranger = ApiKey::mint(&*rng, Environment::Live);
        // The known key's id, another key's secret.
        let half = known_key.get(..31).unwrap();
        let mixed = with_checksum(&format!("{half}{}", stranger.reveal().get(31..75).unwrap()));
        assert!(ApiKey::parse(&mixed).is_some(), "the checksum is right");
        // Neither kind is always the first after the minting.
        let mut kinds = [(0, mixed.as_str()), (1, stranger.reveal())];
        kinds.rotate_left(round % 2);
        for (kind, key) in kinds {
            let mut headers = HeaderMap::new();
            headers.insert("x-api-key", key.parse().unwrap());
            let request = Request {
                tenant: &tenant,
                method: &Method::GET,
                host: "localhost",
                port: None,
                secure: false,
                path: "/k",
                query: None,
                headers: &headers,
                peer: [127, 0, 0, 1].into(),
                certificate: None,
            };
            let started = Instant::now();
            let refused = futures_util::FutureExt::now_or_never(gates.admit(&rules, request)).unwrap().is_err();
            times.get_mut(kind).unwrap().push(started.elapsed().as_nanos() as f64);
            assert!(refused);
        }
    }
    report(times);
}

fn report([mut known, mut unknown]: [Vec<f64>; 2]) {
    let welch = {
        // The slowest hundredth is the machine's, not the code's.
        let cut = |times: &[f64]| {
            let mut sorted = times.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted.truncate(times.len() * 99 / 100);
            let n = sorted.len() as f64;
            let mean = sorted.iter().sum::<f64>() / n;
            (mean, sorted.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (n - 1.0) / n)
        };
        let ((a, va), (b, vb)) = (cut(&known), cut(&unknown));
        (a - b) / (va + vb).sqrt()
    };
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        *times.get(times.len() / 2).unwrap()
    };
    let (known, unknown) = (median(&mut known), median(&mut unknown));
    println!(
        "id known, secret wrong: {known:.0} ns; id unknown: {unknown:.0} ns; difference {:.2} % ({:.0} ns); Welch t {welch:.2}",
        (known - unknown).abs() / unknown * 100.0,
        (known - unknown).abs()
    );
}
