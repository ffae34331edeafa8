//! A gate with a stopped clock, two applications, one user, and an audit trail in memory.

use crate::*;
use async_trait::async_trait;
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use trigate_core::{
    Position, Timestamp,
    application::{Application, KeyRecord, State},
    audit::{Decision, Record},
    change::{Change, ClientFace, PublicKey, Snapshot, Target, What},
    credential::{ApiKey, ChecksumKey, Digest, Environment, OpaqueToken},
    id::{AppId, ClientId, KeyId, TenantId, TokenId},
    identity::TokenFacts,
    jose::{Algorithm, SigningKey},
    port::{
        AuditSink, Clock, Fetch, FetchError, Fetched, Lookup, LookupError, Mark, Monotonic, Slot,
        testing::{SeededRng, StoppedClock},
    },
};

pub const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
pub const ISSUER: &str = "http://issuer.test";
pub const AUDIENCE: &str = "https://api.test";
pub const ALICE: &str = "usr_alice";

#[derive(Default)]
pub struct MemoryAudit {
    pub records: Mutex<Vec<(Decision, bool)>>,
    pub reserved: AtomicUsize,
    pub full: AtomicBool,
    pub broken: AtomicBool,
}

pub struct Sink(pub Arc<MemoryAudit>);

impl AuditSink for Sink {
    fn reserve(&self) -> Option<Slot<'_>> {
        if self.0.full.load(Ordering::SeqCst) {
            return None;
        }
        self.0.reserved.fetch_add(1, Ordering::SeqCst);
        Some(Slot::taken(self))
    }

    fn release(&self) {
        self.0.reserved.fetch_sub(1, Ordering::SeqCst);
    }

    fn append(&self, record: &Record) -> Option<Mark> {
        let mut records = self.0.records.lock().unwrap();
        if let Record::Decision(decision) = record
            && !self.0.broken.load(Ordering::SeqCst)
        {
            records.push((decision.as_ref().clone(), false));
        }
        Some(Mark { generation: 0, length: records.len() as u64 })
    }

    fn flush_to(&self, _: Mark) -> bool {
        !self.0.broken.load(Ordering::SeqCst)
    }

    fn sync_to(&self, mark: Mark) -> bool {
        let mut records = self.0.records.lock().unwrap();
        if let Some((_, synced)) = (mark.length as usize).checked_sub(1).and_then(|last| records.get_mut(last)) {
            *synced = true;
        }
        drop(records);
        self.flush_to(mark)
    }

    fn note(&self, _: &Record) {}
}

#[derive(Default)]
pub struct Desk {
    pub opaque: Mutex<Vec<(Digest, TokenFacts)>>,
    pub asked: AtomicUsize,
    pub down: AtomicBool,
    pub inactive: AtomicBool,
    /// Answers about another token.
    pub mixes_up: AtomicBool,
}

#[async_trait]
impl Lookup for Desk {
    async fn find_opaque_token(&self, digest: Digest) -> Result<Option<TokenFacts>, LookupError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(LookupError("down".into()));
        }
        Ok(self.opaque.lock().unwrap().iter().find(|(known, _)| *known == digest).map(|(_, facts)| facts.clone()))
    }

    async fn introspect(&self, mut facts: TokenFacts) -> Result<Option<TokenFacts>, LookupError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(LookupError("down".into()));
        }
        if self.mixes_up.load(Ordering::SeqCst) {
            facts.token = TokenId::of_text("another");
        }
        Ok((!self.inactive.load(Ordering::SeqCst)).then_some(facts))
    }
}

/// Form and basic credentials of a question.
type Asked = (Vec<(String, String)>, Option<String>);

/// Answers what it was told to, and counts.
#[derive(Default)]
pub struct Web {
    pub pages: Mutex<Vec<(String, Vec<u8>)>>,
    pub fetched: Mutex<Vec<String>>,
    pub slow: AtomicBool,
    /// Answers to introspection: token, status, body.
    pub answers: Mutex<Vec<(String, u16, String)>>,
    pub asked: Mutex<Vec<Asked>>,
}

#[async_trait]
impl Fetch for Web {
    async fn get(&self, url: &str, max_bytes: usize) -> Result<Fetched, FetchError> {
        self.fetched.lock().unwrap().push(url.to_owned());
        if self.slow.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        let pages = self.pages.lock().unwrap();
        match pages.iter().find(|(at, _)| at == url) {
            Some((_, body)) if body.len() > max_bytes => Err(FetchError::Failed(url.into(), "too long".into())),
            Some((_, body)) => Ok(Fetched { status: 200, body: body.clone() }),
            None => Err(FetchError::Failed(url.into(), "no such host".into())),
        }
    }

    async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        let pairs = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.asked.lock().unwrap().push((pairs, basic.map(|(id, secret)| format!("{id}:{secret}"))));
        if self.slow.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        let answers = self.answers.lock().unwrap();
        let token = form.iter().find(|(name, _)| *name == "token").map(|(_, token)| *token);
        match answers.iter().find(|(known, ..)| Some(known.as_str()) == token) {
            Some((_, _, body)) if body.len() > max_bytes => Err(FetchError::Failed(url.into(), "too long".into())),
            Some((_, status, body)) => Ok(Fetched { status: *status, body: body.clone().into_bytes() }),
            None => Err(FetchError::Failed(url.into(), "not here".into())),
        }
    }
}

pub struct Rig {
    pub gates: Gates,
    pub rules: Arc<Rules>,
    pub known: Arc<Known>,
    pub clock: StoppedClock,
    pub audit: Arc<MemoryAudit>,
    pub desk: Arc<Desk>,
    pub web: Arc<Web>,
    pub issuers: Arc<Issuers>,
    pub rng: Arc<SeededRng>,
    pub signer: SigningKey,
    /// Foreign issuers `https://x.test` and `https://y.test` sign with keys of one name.
    pub x: SigningKey,
    pub y: SigningKey,
    pub checksum: ChecksumKey,
    /// Of `app_a` and `app_b`.
    pub key_a: ApiKey,
    pub key_b: ApiKey,
    pub exposed: Arc<Mutex<Vec<KeyId>>>,
    pub tenant: TenantId,
}

pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub fn jwks(keys: &[&SigningKey]) -> Vec<u8> {
    json!({ "keys": keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>() }).to_string().into_bytes()
}

impl Rig {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// `change` may change the rules before they are in force.
    pub fn with(change: impl FnOnce(&mut Vec<RouteRule>)) -> Self {
        let clock = StoppedClock::at(START);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let rng = Arc::new(SeededRng::new(7));
        let tenant = TenantId::default_tenant();
        let known = Arc::new(Known::new(tenant.clone(), Arc::clone(&shared)));
        let signer = SigningKey::generate(Algorithm::EdDSA, "key-2026-11").unwrap();
        let x = SigningKey::generate(Algorithm::ES256, "k1").unwrap();
        let y = SigningKey::generate(Algorithm::ES256, "k1").unwrap();
        let checksum = ChecksumKey::mint(rng.as_ref());
        let key_a = ApiKey::mint(rng.as_ref(), Environment::Live);
        let key_b = ApiKey::mint(rng.as_ref(), Environment::Live);
        known.load(snapshot(&signer, &checksum, &key_a, &key_b));
        known.hold_lease(Monotonic(u64::MAX));
        let (audit, desk, web) =
            (Arc::new(MemoryAudit::default()), Arc::new(Desk::default()), Arc::new(Web::default()));
        let issuers = Arc::new(Issuers::new(web.clone(), Arc::clone(&shared)));
        let rules = Arc::new(rules(&tenant, change));
        web.pages.lock().unwrap().push(("https://x.test/jwks".into(), jwks(&[&x])));
        issuers.load(&rules);
        issuers.put_file("https://y.test", &jwks(&[&y])).unwrap();
        let exposed: Arc<Mutex<Vec<KeyId>>> = Arc::default();
        let told = Arc::clone(&exposed);
        let gates = Gates::new(GatesParts {
            known: Arc::clone(&known),
            clock: shared,
            rng: rng.clone(),
            audit: Arc::new(Sink(Arc::clone(&audit))),
            lookup: desk.clone(),
            issuers: Arc::clone(&issuers),
            node: "n1".into(),
            on_exposed: Some(Arc::new(move |key, _| told.lock().unwrap().push(key.clone()))),
        });
        Self {
            gates,
            rules,
            known,
            clock,
            audit,
            desk,
            web,
            issuers,
            rng,
            signer,
            x,
            y,
            checksum,
            key_a,
            key_b,
            exposed,
            tenant,
        }
    }

    pub fn now_s(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// Alice's token through `cli_a` of `app_a`, with these claims changed; `null` takes one away.
    pub fn token(&self, changes: Value) -> String {
        let now = self.now_s();
        let mut claims = json!({
            "iss": ISSUER, "sub": ALICE, "aud": AUDIENCE, "exp": now + 600, "iat": now, "client_id": "cli_a", "app": "app_a",
            "jti": TokenId::mint(self.rng.as_ref()).to_string(), "sid": "ses_1", "gid": "grt_1", "scope": "orders:read profile",
            "roles": ["customer"], "email": "alice@example.com", "pos": self.known.position().0, "acr": "1", "auth_time": now - 60,
        });
        change_claims(&mut claims, changes);
        self.signer.sign_jws("at+jwt", &claims).unwrap()
    }

    pub fn service_token(&self) -> String {
        self.token(json!({ "sub": "cli_a", "sid": null, "gid": null, "email": null, "auth_time": null }))
    }

    pub fn foreign(&self, issuer: &str, key: &SigningKey, changes: Value) -> String {
        let now = self.now_s();
        let mut claims = json!({ "iss": issuer, "sub": "bob", "aud": AUDIENCE, "exp": now + 600, "iat": now, "jti": "j1",
            "client_id": "web", "scope": "orders:read" });
        change_claims(&mut claims, changes);
        key.sign_jws("at+jwt", &claims).unwrap()
    }

    pub fn opaque(&self, mut facts: TokenFacts) -> OpaqueToken {
        let token = OpaqueToken::mint(self.rng.as_ref(), &self.checksum);
        facts.token = TokenId::of_text(token.reveal());
        facts.kid = None;
        self.desk.opaque.lock().unwrap().push((token.digest(), facts));
        token
    }

    pub fn change(&self, what: What) {
        let position = self.known.position().next();
        let at = self.clock.now();
        self.known.apply(&Change { position, tenant: self.tenant.clone(), at, what });
    }

    pub fn revoke(&self, target: Target) {
        self.change(What::Revoked { target, keep_until: self.clock.now().plus_seconds(3_600) });
    }

    pub fn ask(&self, path: &str) -> Ask<'_> {
        Ask {
            rig: self,
            path: path.to_owned(),
            query: None,
            method: Method::GET,
            headers: HeaderMap::new(),
            peer: "192.0.2.7".parse().unwrap(),
            certificate: None,
        }
    }

    pub fn last(&self) -> Decision {
        self.audit.records.lock().unwrap().last().unwrap().0.clone()
    }

    pub fn records(&self) -> usize {
        self.audit.records.lock().unwrap().len()
    }

    pub fn put_key(&self, change: impl FnOnce(&mut KeyRecord)) -> ApiKey {
        let key = ApiKey::mint(self.rng.as_ref(), Environment::Live);
        let mut record = key_record(&key, "app_a");
        record.born = self.known.position().next();
        change(&mut record);
        self.change(What::Key { record });
        key
    }
}

fn change_claims(claims: &mut Value, changes: Value) {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
}

pub fn key_record(key: &ApiKey, application: &str) -> KeyRecord {
    KeyRecord {
        id: key.id().clone(),
        application: id(application),
        digest: key.digest(),
        label: String::new(),
        environment: Environment::Live,
        scopes: None,
        allowed_addresses: vec![],
        not_before: None,
        expires_at: None,
        header: None,
        state: State::Enabled,
        created_at: START,
        revoked_at: None,
        exposed_at: None,
        born: Position(1),
    }
}

pub fn application(name: &str, plan: &str) -> Application {
    Application {
        id: id(name),
        name: format!("The {name}"),
        plan: plan.into(),
        state: State::Enabled,
        created_at: START,
    }
}

pub fn snapshot(signer: &SigningKey, checksum: &ChecksumKey, key_a: &ApiKey, key_b: &ApiKey) -> Snapshot {
    let client = |client: &str, app: &str| ClientFace {
        id: id::<ClientId>(client),
        application: id::<AppId>(app),
        name: format!("Client {client}"),
        state: State::Enabled,
    };
    Snapshot {
        position: Position(10),
        applications: vec![application("app_a", "pro"), application("app_b", "free")],
        keys: vec![key_record(key_a, "app_a"), key_record(key_b, "app_b")],
        clients: vec![client("cli_a", "app_a"), client("cli_b", "app_b")],
        signing_keys: vec![PublicKey {
            kid: signer.kid().into(),
            jwk: signer.public_jwk(),
            published_until: None,
            revoked: false,
        }],
        disabled_users: vec![],
        standing: vec![],
        opaque_checksum: Some(checksum.clone()),
    }
}

pub fn route(name: &str, pattern: &str, demands: &str) -> RouteRule {
    let demands = if demands.is_empty() { Demands::none() } else { demands.parse().unwrap() };
    let mut rule = RouteRule::new(name, Pattern::parse(pattern).unwrap(), demands);
    rule.public = rule.demands.is_none();
    rule.upstream = "sample".into();
    rule
}

fn routes() -> Vec<RouteRule> {
    let scopes = |text: &str| trigate_core::oauth::ScopeSet::parse(text).unwrap();
    let mut weather = route("weather", "/weather", "key");
    weather.subjects = vec![SubjectKind::Application];
    let mut orders = route("orders", "/orders", "token");
    orders.subjects = vec![SubjectKind::User];
    orders.demand.scopes = scopes("orders:read");
    let mut write = route("write", "/orders/write", "token");
    write.demand.scopes = scopes("orders:read orders:write");
    let mut key_write = route("key-write", "/weather/write", "key");
    key_write.demand.scopes = scopes("write");
    let mut admin = route("admin", "/admin", "token");
    admin.demand.any_role = vec!["admin".into(), "root".into()];
    let mut service = route("service", "/service", "token");
    service.subjects = vec![SubjectKind::Service];
    let mut sensitive = route("sensitive", "/sensitive", "token");
    sensitive.sensitive = true;
    sensitive.without_lease = WithoutLease::Allow;
    let mut introspect = route("introspect", "/introspect", "token");
    introspect.without_lease = WithoutLease::Introspect;
    let mut lenient = route("lenient", "/lenient", "key or token");
    lenient.without_lease = WithoutLease::Allow;
    let mut stepup = route("stepup", "/stepup", "token");
    stepup.acr = vec!["2".into()];
    stepup.max_authentication_age_s = Some(300);
    let mut loose = route("loose", "/loose", "key and token");
    loose.agree = false;
    let mut limited = route("limited", "/limited", "key or token");
    limited.limit = Some("1/hour".parse().unwrap());
    let mut post = route("post", "/post", "key");
    post.methods = vec![Method::POST];
    vec![
        route("public", "/public/**", ""),
        weather,
        orders,
        write,
        key_write,
        admin,
        service,
        sensitive,
        introspect,
        lenient,
        stepup,
        loose,
        limited,
        post,
        route("both", "/both", "key and token"),
        route("any", "/any", "token"),
        route("either", "/either", "certificate or token"),
        route("cert", "/cert", "certificate"),
        RouteRule::whoami().unwrap(),
    ]
}

fn rules(tenant: &TenantId, change: impl FnOnce(&mut Vec<RouteRule>)) -> Rules {
    let mut routes = routes();
    change(&mut routes);
    let plan = |name: &str, limit: &str| (name.to_owned(), Plan::new(name, limit.parse().unwrap()));
    let ours = IssuerRule::new(ISSUER, KeySource::Ours, vec![AUDIENCE.into()]);
    let mut x =
        IssuerRule::new("https://x.test", KeySource::JwksUrl("https://x.test/jwks".into()), vec![AUDIENCE.into()]);
    x.applications.insert("web".into(), id("app_b"));
    let mut y = IssuerRule::new("https://y.test", KeySource::JwksFile("y.json".into()), vec![AUDIENCE.into()]);
    y.applications.insert("*".into(), id("app_a"));
    Rules {
        epoch: 1,
        tenant: tenant.clone(),
        enforce: Enforce::Enforce,
        routes: Routes::new(routes).unwrap(),
        issuers: vec![ours, x, y],
        plans: [plan("pro", "1000/hour"), plan("free", "2/hour")].into(),
        policy: None,
        machines: vec![MachineRule {
            matches: MachineMatch::SanUri(UriPattern::parse("spiffe://acme.test/*").unwrap()),
            name: None,
            application: id("app_a"),
            scopes: trigate_core::oauth::ScopeSet::default(),
            roles: vec![],
        }],
        realm: "trigate".into(),
        address_limit: None,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        proof: ProofRules {
            origins: vec![AUDIENCE.into(), "https://mtls.api.test:8443".into()],
            ..ProofRules::default()
        },
    }
}

pub fn certificate(rig: &Rig, uri: &str) -> ClientCertificate {
    ClientCertificate {
        fingerprint: "ab".repeat(32),
        thumbprint: String::new(),
        key: "ef".repeat(32),
        serial: "01".into(),
        issuer: "CN=ca".into(),
        subject: "CN=warehouse".into(),
        san_uris: vec![uri.into()],
        san_dns: vec![],
        san_ips: vec![],
        san_emails: vec![],
        not_before: rig.clock.now().plus_seconds(-60),
        not_after: rig.clock.now().plus_seconds(3_600),
        fault: None,
    }
}

/// One request being made up.
pub struct Ask<'r> {
    rig: &'r Rig,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
    peer: IpAddr,
    certificate: Option<ClientCertificate>,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .append(HeaderName::try_from(name).unwrap(), http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub fn key(self, key: &ApiKey) -> Self {
        self.header("x-api-key", key.reveal())
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn query(self, query: &str) -> Self {
        Self { query: Some(query.into()), ..self }
    }

    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub fn peer(self, peer: &str) -> Self {
        Self { peer: peer.parse().unwrap(), ..self }
    }

    pub fn certificate(self, certificate: ClientCertificate) -> Self {
        Self { certificate: Some(certificate), ..self }
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub fn request(&self) -> Request<'_> {
        Request {
            tenant: &self.rig.tenant,
            method: &self.method,
            host: "api.test",
            port: None,
            secure: true,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            peer: self.peer,
            certificate: self.certificate.as_ref(),
        }
    }

    pub async fn admit(&self) -> Result<Permit, Refusal> {
        self.rig.gates.admit(&self.rig.rules, self.request()).await
    }

    /// `pass`, or status and reason; checks that exactly one record says the same.
    pub async fn verdict(self) -> String {
        let before = self.rig.records();
        let admitted = self.admit().await;
        assert_eq!(self.rig.records(), before + 1, "one record per passage");
        assert_eq!(self.rig.audit.reserved.load(Ordering::SeqCst), 0, "no slot is kept");
        let last = self.rig.last();
        match admitted {
            Ok(permit) => {
                assert_eq!((last.status, last.reason, &last.request), (0, None, permit.request_id()));
                "pass".into()
            }
            Err(refusal) => {
                assert_eq!(last.reason, Some(refusal.reason()));
                assert_eq!(last.status, refusal.status().as_u16());
                assert!(refusal.status() != 401 || refusal.headers().contains_key("www-authenticate"));
                format!("{} {}", refusal.status().as_u16(), refusal.reason())
            }
        }
    }

    pub async fn refusal(self) -> Refusal {
        self.admit().await.unwrap_err()
    }

    pub async fn permit(self) -> Permit {
        self.admit().await.unwrap()
    }
}
