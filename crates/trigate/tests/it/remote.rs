//! Gates that run elsewhere: what they know, how long they trust it, and what becomes of them when the desk goes away.

use crate::support::{
    TestTrigate,
    http::Wire,
    process::{GateProcess, Process, fix_ports},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use trigate::{
    config,
    operator::{
        By,
        client::{ClientPolicy, NewClient},
        gate::NewGateKey,
        key::{KeyPolicy, NewKey},
        revoke::{Kind, Revoke},
    },
    wiring::{Machine, RunningGate},
};
use trigate_core::{
    client::{ClientAuthentication, GrantType, TokenForm},
    id::ClientId,
};

/// The routes of the desk's own file, for a gate in a folder of its own.
pub fn write_gate_toml(desk: &Path, folder: &Path, node: &str, gate: &str, health: &str) {
    let text = std::fs::read_to_string(desk.join("trigate.toml")).unwrap();
    let (_, rest) = text.split_once("[upstreams]").unwrap();
    let asserted = rest.find("[[route]]\nname = \"asserted\"").unwrap();
    let after = asserted + 9 + rest[asserted + 9..].find("[[route]]").unwrap();
    // Whose word about addresses counts is each gate's own.
    let proxies = text.lines().find(|line| line.starts_with("trusted_proxies")).unwrap_or_default();
    let head = format!(
        "[server]\ngate = \"{gate}\"\nmtls = \"127.0.0.1:0\"\nworkers = 1\nnode = \"{node}\"\n{proxies}\n\n[gate]\nhealth = \"{health}\"\n"
    );
    std::fs::write(folder.join("gate.toml"), format!("{head}\n[upstreams]{}{}", &rest[..asserted], &rest[after..]))
        .unwrap();
    std::fs::create_dir_all(folder.join("ca")).unwrap();
    for file in std::fs::read_dir(desk.join("ca")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), folder.join("ca").join(file.file_name())).unwrap();
    }
}

pub async fn gate_key(t: &TestTrigate, name: &str) -> String {
    let new = NewGateKey { name: name.into(), allowed_addresses: vec![], expires_at: None };
    t.running.operator.create_gate_key(&By::system(), new).await.unwrap().key.to_string()
}

/// A gate of this desk, in this process.
pub async fn start_gate(t: &TestTrigate, folder: &Path, node: &str) -> RunningGate {
    write_gate_toml(&t.folder(), folder, node, "127.0.0.1:0", "127.0.0.1:0");
    let key = gate_key(t, node).await;
    let config = config::load_gate(&folder.join("gate.toml")).unwrap_or_else(|e| panic!("{e}"));
    let desk = format!("http://{}", t.running.desk_addr);
    RunningGate::start(config, &desk, &key, Machine::real()).await.unwrap_or_else(|e| panic!("{e}"))
}

async fn opaque_client(t: &TestTrigate) -> (String, String) {
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::ClientSecretPost),
        grants: Some(vec![GrantType::ClientCredentials]),
        scopes: Some(vec!["orders:read".into()]),
        resources: Some(vec![t.running.urls.gate.clone()]),
        token_form: Some(TokenForm::Opaque),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: t.acme.id.clone(), id: Some(ClientId::parse("acme-opaque").unwrap()), policy };
    let made = t.running.operator.create_client(&By::system(), new).await.unwrap();
    ("acme-opaque".to_owned(), made.client_secret.unwrap().to_string())
}

async fn status(gate: Wire, path: &str, headers: &[(&str, &str)]) -> u16 {
    gate.send("GET", path, headers, b"").await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_elsewhere_decides_as_the_desks_own() {
    let t = TestTrigate::start().await;
    let folder = tempfile::tempdir().unwrap();
    let far = start_gate(&t, folder.path(), "gate-1").await;
    let (near, gate) = (t.gate(), Wire(far.gate_addr));
    let token = format!("Bearer {}", t.alice_token("openid orders:read").await);
    let service = format!("Bearer {}", t.service_token("orders:read").await);
    let (client, secret) = opaque_client(&t).await;
    let opaque = format!("Bearer {}", t.client_token(&client, &secret, "orders:read", &t.running.urls.gate).await);
    assert!(opaque.starts_with("Bearer tga_"));
    let forged = format!("{}x", &token[..token.len() - 1]);
    let garbage = format!("Bearer tga_{}", "a".repeat(55));
    let key = t.acme.key.as_str();
    for (path, headers, wanted) in [
        ("/open/x", vec![], 200),
        ("/api/weather", vec![("x-api-key", key)], 200),
        ("/api/weather", vec![], 401),
        ("/api/weather", vec![("x-api-key", "tgk_live_nonsense")], 401),
        ("/api/users/me/orders", vec![("authorization", token.as_str())], 200),
        ("/api/users/me/orders", vec![("authorization", service.as_str())], 403),
        ("/api/users/me/orders", vec![("authorization", forged.as_str())], 401),
        ("/api/both", vec![("authorization", opaque.as_str()), ("x-api-key", key)], 200),
        ("/api/both", vec![("authorization", garbage.as_str()), ("x-api-key", key)], 401),
        ("/api/both", vec![("authorization", service.as_str()), ("x-api-key", t.globex.key.as_str())], 403),
        ("/nowhere", vec![], 404),
        ("/api//weather", vec![("x-api-key", key)], 400),
    ] {
        let (here, there) = (near.send("GET", path, &headers, b"").await, gate.send("GET", path, &headers, b"").await);
        assert_eq!(there.status, wanted, "{path} {headers:?}: {}", there.text());
        assert_eq!((here.status, here.header("www-authenticate")), (there.status, there.header("www-authenticate")));
        if wanted != 200 {
            assert_eq!(here.text(), there.text(), "{path}");
        }
    }
    let records = trigate_audit::next_batch(&folder.path().join("audit"), "gate-1", 0, 1_000).unwrap();
    assert!(records.len() >= 12, "the gate keeps its own trail: {}", records.len());
    far.stop().await;
    let key = t.running.operator.list_keys(Some("app_gates")).await.unwrap().pop().unwrap();
    assert_eq!(key.scopes, Some(vec!["trigate:gate".to_owned()]));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gates_key_opens_the_feed_and_nothing_else_and_no_other_key_opens_the_feed() {
    let t = TestTrigate::start().await;
    let key = gate_key(&t, "gate-1").await;
    let changes = "/gate/v1/changes?after=0&limit=1";
    assert_eq!(status(t.desk(), changes, &[("x-api-key", &key)]).await, 200);
    // An application's key without scopes, which stands for all that routes let a key do; one with other scopes; nobody.
    assert_eq!(status(t.desk(), changes, &[("x-api-key", &t.acme.key)]).await, 403);
    let policy = KeyPolicy { scopes: Some(vec!["weather:read".into()]), ..KeyPolicy::default() };
    let new = NewKey { app: t.acme.id.clone(), policy };
    let scoped = t.running.operator.create_key(&By::system(), new).await.unwrap().key.to_string();
    assert_eq!(status(t.desk(), changes, &[("x-api-key", &scoped)]).await, 403);
    assert_eq!(status(t.desk(), changes, &[]).await, 401);
    let operator = format!("Bearer {}", t.operator_token().await);
    assert_eq!(status(t.desk(), changes, &[("authorization", &operator)]).await, 401);
    // Nor does it open the API or the operators' verbs.
    assert_eq!(status(t.gate(), "/api/weather", &[("x-api-key", &key)]).await, 403);
    assert_eq!(status(t.desk(), "/api/v1/keys", &[("x-api-key", &key)]).await, 401);
    for (path, body, wanted) in [
        ("/gate/v1/lease", json!({ "holder": "g", "applied": 0, "life_ms": 3_600_000 }), 400),
        ("/gate/v1/lease", json!({ "holder": "g", "applied": 0, "life_ms": 1_000 }), 409),
        ("/gate/v1/lease", json!({ "holder": "g\n", "applied": 0, "life_ms": 1_000 }), 400),
        ("/gate/v1/lease", json!({ "holder": "g", "applied": 0, "life_ms": 1_000, "more": 1 }), 400),
        ("/gate/v1/hello", json!({ "node": "g", "version": "1", "checkpoint_key": { "kty": "oct", "k": "AA" } }), 400),
        ("/gate/v1/tokens/find", json!({ "digest": "x" }), 400),
        ("/gate/v1/nothing", json!({}), 404),
    ] {
        let reply = t.desk().send("POST", path, &[("x-api-key", &key)], body.to_string().as_bytes()).await;
        assert_eq!(reply.status, wanted, "{path}: {}", reply.text());
    }
    // A gate asks all day long: what it is allowed leaves no records, what it is refused does.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let gates: Vec<_> = t
        .records()
        .into_iter()
        .filter_map(|record| match record {
            trigate_core::audit::Record::Decision(decision) if decision.path.starts_with("/gate/") => Some(decision),
            _ => None,
        })
        .collect();
    assert!(!gates.iter().any(|d| d.path == "/gate/v1/changes" && d.reason.is_none()), "{gates:?}");
    assert_eq!(gates.iter().filter(|d| d.path == "/gate/v1/changes").count(), 4);
    assert_eq!(gates.iter().filter(|d| d.path == "/gate/v1/hello").count(), 1);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_k07_what_the_desk_revokes_a_gate_elsewhere_refuses_once_the_answer_is_out() {
    let t = TestTrigate::start().await;
    let folder = tempfile::tempdir().unwrap();
    let far = start_gate(&t, folder.path(), "gate-1").await;
    let gate = Wire(far.gate_addr);
    let mut took = Vec::new();
    for round in 0..50 {
        let new = NewKey { app: t.acme.id.clone(), policy: KeyPolicy::default() };
        let made = t.running.operator.create_key(&By::system(), new).await.unwrap();
        let key = made.key.to_string();
        // The answer to its making means that every gate knows it.
        assert_eq!(status(gate, "/api/weather", &[("x-api-key", &key)]).await, 200, "round {round}");
        let started = Instant::now();
        let revoke = Revoke { kind: Kind::Key, what: made.record.id.to_string().into(), issuer: None, whole: false };
        t.running.operator.revoke(&By::system(), revoke).await.unwrap();
        took.push(started.elapsed());
        assert_eq!(status(gate, "/api/weather", &[("x-api-key", &key)]).await, 401, "round {round}");
    }
    took.sort();
    eprintln!("50 revocations over a gate elsewhere: median {:?}, slowest {:?}", took[25], took[49]);
    assert!(took[25] < Duration::from_millis(500), "the acknowledgement comes at once, not with the next renewal");
    // Of a token, a narrowing, a user.
    let token = format!("Bearer {}", t.alice_token("openid orders:read").await);
    let orders = async || status(gate, "/api/users/me/orders", &[("authorization", &token)]).await;
    assert_eq!(orders().await, 200);
    let revoke = Revoke { kind: Kind::User, what: t.alice.email.to_owned().into(), issuer: None, whole: false };
    t.running.operator.revoke(&By::system(), revoke).await.unwrap();
    assert_eq!(orders().await, 401);
    // A gate that stops gives its lease back: nobody waits for it.
    far.stop().await;
    let started = Instant::now();
    let new = NewKey { app: t.acme.id.clone(), policy: KeyPolicy::default() };
    t.running.operator.create_key(&By::system(), new).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    t.stop().await;
}

const DESK: &str = "https://desk.example";

/// A desk and a gate as processes of their own.
struct Pair {
    desk: Option<Process>,
    gate: Option<GateProcess>,
    acme_key: String,
    app: String,
    operator: (String, String),
    ports: [std::net::SocketAddr; 3],
    desk_folder: tempfile::TempDir,
    gate_folder: tempfile::TempDir,
}

impl Pair {
    async fn start() -> Self {
        // The desk's name outlives its port.
        let t = TestTrigate::start_with(&format!("[desk]\nurl = \"{DESK}\"")).await;
        let key = gate_key(&t, "gate-1").await;
        let (acme_key, app, secret) = (t.acme.key.clone(), t.acme.id.clone(), t.operator_secret.clone());
        let desk_folder = t.stop().await;
        let ports = fix_ports(desk_folder.path());
        let gate_folder = tempfile::tempdir().unwrap();
        write_gate_toml(desk_folder.path(), gate_folder.path(), "gate-1", "127.0.0.1:0", "127.0.0.1:0");
        crate::support::process::fix_gate_ports(gate_folder.path());
        trigate::operator::folder::write_private(&gate_folder.path().join("gate.key"), key.as_bytes()).unwrap();
        let operator = ("test-operator".to_owned(), secret);
        let mut pair = Self { desk: None, gate: None, acme_key, app, operator, ports, desk_folder, gate_folder };
        pair.start_desk().await;
        pair.start_gate().await;
        pair
    }

    async fn start_desk(&mut self) {
        self.desk = Some(Process::start(self.desk_folder.path(), self.ports).await);
    }

    fn kill_desk(&mut self) {
        self.desk.take().unwrap().kill();
    }

    async fn start_gate(&mut self) {
        self.gate = Some(GateProcess::start(self.gate_folder.path(), &format!("http://{}", self.ports[2])).await);
    }

    fn desk(&self) -> &Process {
        self.desk.as_ref().unwrap()
    }

    fn gate(&self) -> &GateProcess {
        self.gate.as_ref().unwrap()
    }

    async fn weather(&self, key: &str) -> u16 {
        status(self.gate().gate, "/api/weather", &[("x-api-key", key)]).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let form = crate::support::form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &self.operator.0),
            ("client_secret", &self.operator.1),
            ("scope", trigate::operator::SCOPE),
            ("resource", DESK),
        ]);
        let reply = self.desk().issuer.send("POST", "/oauth/token", &[crate::support::FORM], form.as_bytes()).await;
        let token =
            format!("Bearer {}", reply.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())));
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let reply =
            self.desk().desk.send("POST", &format!("/api/v1{path}"), &headers, body.to_string().as_bytes()).await;
        (reply.status, reply.json())
    }

    async fn new_key(&self) -> (String, String) {
        let (status, made) = self.post("/keys", json!({ "app": self.app })).await;
        assert_eq!(status, 201, "{made}");
        (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
    }

    /// Until the gate answers so.
    async fn wait_for(&self, key: &str, wanted: u16, within: Duration) -> Duration {
        let started = Instant::now();
        loop {
            let got = self.weather(key).await;
            if got == wanted {
                return started.elapsed();
            }
            assert!(started.elapsed() < within, "{got}, not {wanted}: {}", self.gate().said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_a_gate_outlives_its_desk_for_one_lease_and_heals() {
    let mut pair = Pair::start().await;
    let key = pair.acme_key.clone();
    assert_eq!(pair.weather(&key).await, 200);
    let (second, second_id) = pair.new_key().await;
    assert_eq!(pair.weather(&second).await, 200);

    // Killed: the gate keeps its rules within the lease, then denies.
    pair.kill_desk();
    let lived = pair.wait_for(&key, 503, Duration::from_secs(11)).await;
    eprintln!("desk killed: the gate trusted itself {:.1} s longer", lived.as_secs_f64());
    assert!(lived > Duration::from_secs(7), "a lease lasts: {lived:?}");
    assert_eq!(status(pair.gate().gate, "/open/x", &[]).await, 200, "public routes need no knowledge");
    assert_eq!(status(pair.gate().health, "/readyz", &[]).await, 503);
    assert_eq!(status(pair.gate().health, "/healthz", &[]).await, 200);
    pair.start_desk().await;
    let healed = pair.wait_for(&key, 200, Duration::from_secs(10)).await;
    eprintln!("desk back: the gate let in again after {:.1} s", healed.as_secs_f64());

    // A gate that starts while the desk is away starts from its file, and trusts nothing before it has a lease.
    pair.gate.take().unwrap().end();
    pair.desk().pause();
    pair.start_gate().await;
    assert_eq!(pair.weather(&key).await, 503, "known, but not trusted");
    assert_eq!(pair.weather(&format!("{key}x")).await, 401);
    pair.desk().go_on();
    pair.wait_for(&key, 200, Duration::from_secs(15)).await;

    // Paused, and the lease over: what is revoked then is refused from the answer on.
    pair.desk().pause();
    pair.wait_for(&second, 503, Duration::from_secs(11)).await;
    pair.desk().go_on();
    let (code, answer) = pair.post("/revocations", json!({ "kind": "key", "what": second_id })).await;
    assert_eq!(code, 200, "{answer}");
    assert_ne!(pair.weather(&second).await, 200, "accepted after the answer");
    pair.wait_for(&key, 200, Duration::from_secs(10)).await;
    assert_eq!(pair.weather(&second).await, 401);
    pair.gate.take().unwrap().end();
    pair.desk.take().unwrap().end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_a_desk_that_was_restarted_waits_for_the_leases_of_its_former_self() {
    let mut pair = Pair::start().await;
    let (key, id) = pair.new_key().await;
    assert_eq!(pair.weather(&key).await, 200);
    // The gate is cut off: it neither hears of the revocation nor of the new desk, and lets in as long as it may.
    pair.kill_desk();
    let cut = Instant::now();
    let ports = pair.ports;
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let toml = pair.desk_folder.path().join("trigate.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, text.replace(&ports[2].to_string(), &elsewhere.to_string())).unwrap();
    pair.ports[2] = elsewhere;
    pair.start_desk().await;
    let gate = pair.gate().gate;
    let ask = tokio::spawn({
        let key = key.clone();
        async move {
            let mut last = Instant::now();
            while status(gate, "/api/weather", &[("x-api-key", &key)]).await == 200 {
                last = Instant::now();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            last
        }
    });
    let (code, answer) = pair.post("/revocations", json!({ "kind": "key", "what": id })).await;
    let answered = Instant::now();
    assert_eq!(code, 200, "{answer}");
    assert_ne!(pair.weather(&key).await, 200, "accepted after the answer");
    let last = ask.await.unwrap();
    eprintln!("cut off: last let in after {:?}, revocation answered after {:?}", last - cut, answered - cut);
    assert!(last < answered);
    assert!(last - cut > Duration::from_secs(6), "the gate had a lease to live on");
    pair.gate.take().unwrap().end();
    pair.desk.take().unwrap().end();
}

/// Needles that must not be in a gate's memory.
fn secrets_of(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let master = std::fs::read_to_string(folder.join("master.key")).unwrap().trim().to_owned();
    let mut needles = vec![
        ("a password hash", b"$argon2id$".to_vec()),
        ("a private key in PEM", b"PRIVATE KEY-----\n".to_vec()),
        ("the master key", master.into_bytes()),
        ("SQL", b"SELECT position, tenant".to_vec()),
    ];
    // The issuer's signing keys as they were in the desk's memory: the private numbers, whatever their wrapping.
    needles.extend(private_numbers(folder).into_iter().map(|number| ("a signing key's private number", number)));
    needles
}

fn private_numbers(folder: &Path) -> Vec<Vec<u8>> {
    use trigate_core::port::Seal as _;
    let rng = std::sync::Arc::new(trigate::system::SystemRng::default());
    let master = std::fs::read_to_string(folder.join("master.key")).unwrap();
    let seal = trigate_core::seal::MasterKey::from_text(master.trim(), rng).unwrap();
    let database = rusqlite::Connection::open(folder.join("trigate.db")).unwrap();
    let mut found = Vec::new();
    let mut rows = database.prepare("SELECT record FROM signing_keys").unwrap();
    for record in rows.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        let record: trigate_core::key::SigningKeyRecord = serde_json::from_str(&record.unwrap()).unwrap();
        let context = format!("signing_key:default:{}", record.kid);
        let der = seal.open(&context, &record.sealed_private).unwrap();
        let private: Vec<usize> = match record.algorithm {
            trigate_core::jose::Algorithm::EdDSA => vec![16, 32],
            trigate_core::jose::Algorithm::ES256 => vec![36, 52],
            // Behind the modulus, which is public.
            _ => (der.len() / 4..der.len() - 24).step_by(24).collect(),
        };
        for at in private {
            let number = der[at..at + 16].to_vec();
            // In memory the limbs of a number stand the other way round.
            found.push(number.iter().rev().copied().collect());
            found.push(number);
        }
    }
    assert!(!found.is_empty());
    found
}

/// Which of the needles are there.
fn search(memory: &[u8], needles: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut begins = vec![Vec::new(); 1 << 16];
    for needle in needles {
        begins[pair(&needle.1)].push(needle);
    }
    let mut found = std::collections::BTreeMap::new();
    for at in 0..memory.len().saturating_sub(64) {
        for (what, needle) in &begins[pair(&memory[at..])] {
            if memory[at..].starts_with(needle) {
                found.insert(needle.clone(), *what);
            }
        }
    }
    found.into_values().collect()
}

/// Read at once; a whole number of pages.
const PIECE: usize = 64 << 10;

fn memory_of(pid: u32) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        for at in (from..to).step_by(PIECE) {
            let mut piece = vec![0; PIECE.min(usize::try_from(to - at).unwrap())];
            // Most of what the allocator has reserved was never touched.
            if memory.read_exact_at(&mut piece, at).is_ok() && piece != [0; PIECE][..piece.len()] {
                all.extend_from_slice(&piece);
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gates_memory_holds_no_private_key_no_password_hash_and_no_master_key() {
    let pair = Pair::start().await;
    for _ in 0..5 {
        assert_eq!(pair.weather(&pair.acme_key).await, 200);
    }
    let (desk, gate) = (memory_of(pair.desk().id()), memory_of(pair.gate().id()));
    let needles = secrets_of(pair.desk_folder.path());
    let found: Vec<&str> = search(&gate, &needles);
    assert!(found.is_empty(), "in the gate's memory: {found:?}");
    let in_the_desk = search(&desk, &needles).len();
    eprintln!(
        "{} MB of a gate's memory searched for {} needles; {in_the_desk} are in the desk's",
        gate.len() >> 20,
        needles.len()
    );
    assert!(in_the_desk > 0, "the search finds what is there");
    // What a gate does know, so that the search is known to work there too.
    assert!(!search(&gate, &[("an application's name", b"Acme Weather App".to_vec())]).is_empty());
    pair.gate.unwrap().end();
    pair.desk.unwrap().end();
}
