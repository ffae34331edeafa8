//! Three gate processes, one desk, load on all: is anything accepted at any gate once its revocation was answered? The desk
//! is killed and paused meanwhile, gates are cut off and paused. `cargo xtask races gates` does it 100,000 times.

use crate::{
    remote::{gate_key, write_gate_toml},
    support::{
        FORM, TestTrigate, form,
        process::{GateProcess, Process, fix_gate_ports, fix_ports},
    },
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use trigate::operator::{
    By,
    client::{ClientPolicy, NewClient},
};
use trigate_core::{
    client::{ClientAuthentication, GrantType, TokenForm},
    id::ClientId,
};

// Names that outlive the ports of their listeners.
const DESK: &str = "https://desk.example";
const API: &str = "https://api.example";
const GATES: usize = 3;
const WORKERS: usize = 24;
/// Connections that keep each gate busy.
const LOAD: usize = 4;
/// A gate without a lease gets one again within this, whatever happened.
const HEALS_WITHIN: Duration = Duration::from_secs(60);

/// One connection to a listener, opened again when it is gone.
struct Line {
    to: SocketAddr,
    stream: Option<TcpStream>,
}

impl Line {
    const fn to(to: SocketAddr) -> Self {
        Self { to, stream: None }
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<(u16, Vec<u8>)> {
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost:{}\r\n{headers}content-length: {length}\r\n\r\n{body}",
            self.to.port()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.to).await?,
        };
        stream.write_all(text.as_bytes()).await?;
        let (status, body, stays) = read_answer(&mut stream).await?;
        self.stream = stays.then_some(stream);
        Ok((status, body))
    }

    /// The status of a request with this credential; 0 where no answer came.
    async fn try_out(&mut self, credential: &Credential) -> u16 {
        let headers = match credential.kind {
            "key" => format!("x-api-key: {}\r\n", credential.text),
            _ => format!("authorization: Bearer {}\r\n", credential.text),
        };
        let path = if credential.kind == "key" { "/api/weather" } else { "/api/machines" };
        // A pooled connection may have been closed meanwhile; a second try is another request.
        for _ in 0..2 {
            if let Ok((status, _)) = self.ask("GET", path, &headers, "").await {
                return status;
            }
        }
        0
    }
}

async fn read_answer(stream: &mut TcpStream) -> std::io::Result<(u16, Vec<u8>, bool)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length = length.map_or(0, |text| text.trim().parse::<usize>().unwrap());
            if read.len() >= end + 4 + length {
                return Ok((
                    head[9..12].parse().unwrap(),
                    read.split_off(end + 4),
                    !head.contains("connection: close"),
                ));
            }
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections are closed, new ones too.
    Closed,
    /// Nothing goes through, and nobody is told.
    Silent,
}

/// The network between one gate and the desk.
struct Relay {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Relay {
    async fn start(desk: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, (way, seen)) = (listener.local_addr().unwrap(), watch::channel(Way::Open));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if *seen.borrow() != Way::Closed {
                    tokio::spawn(carry(stream, desk, seen.clone()));
                }
            }
        });
        Self { address, way }
    }
}

async fn carry(mut from: TcpStream, desk: SocketAddr, mut way: watch::Receiver<Way>) {
    let Ok(mut to) = TcpStream::connect(desk).await else { return };
    let copy = copy_bidirectional(&mut from, &mut to);
    tokio::pin!(copy);
    loop {
        let now = *way.borrow_and_update();
        tokio::select! {
            _ = &mut copy, if now == Way::Open => return,
            changed = way.changed() => if changed.is_err() || *way.borrow() == Way::Closed { return },
        }
    }
}

struct Credential {
    kind: &'static str,
    text: String,
    /// What the operator names.
    what: String,
}

/// Desk and gates as processes of their own.
struct Fleet {
    ports: [SocketAddr; 3],
    desk_folder: tempfile::TempDir,
    gates: Vec<(GateProcess, Relay, tempfile::TempDir)>,
    /// The API behind the gates.
    upstream: crate::support::upstream::Upstream,
    app: String,
    load_key: String,
    /// Clients for tokens that gates read, and for those they ask about.
    clients: Vec<(&'static str, &'static str, String)>,
    operator: String,
    operator_token: Mutex<String>,
}

impl Fleet {
    async fn start() -> (Self, Process) {
        let t =
            TestTrigate::start_with(&format!("[desk]\nurl = \"{DESK}\"\n[issuer]\naudiences = [\"{API}\"]\n")).await;
        let mut keys = Vec::new();
        for number in 0..GATES {
            keys.push(gate_key(&t, &format!("gate-{number}")).await);
        }
        let clients = vec![
            ("token", "racer", client(&t, "racer", TokenForm::Jwt).await),
            ("opaque token", "racer-opaque", client(&t, "racer-opaque", TokenForm::Opaque).await),
        ];
        let (app, load_key, operator) = (t.acme.id.clone(), t.acme.key.clone(), t.operator_secret.clone());
        let (desk_folder, upstream) = t.stop_but_the_api().await;
        let ports = fix_ports(desk_folder.path());
        let desk = Process::start_quiet(desk_folder.path(), ports).await;
        let mut gates = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            let (relay, folder) = (Relay::start(ports[2]).await, tempfile::tempdir().unwrap());
            let node = format!("gate-{number}");
            write_gate_toml(desk_folder.path(), folder.path(), &node, "127.0.0.1:0", "127.0.0.1:0");
            fix_gate_ports(folder.path());
            trigate::operator::folder::write_private(&folder.path().join("gate.key"), key.as_bytes()).unwrap();
            let gate = GateProcess::start(folder.path(), &format!("http://{}", relay.address)).await;
            gates.push((gate, relay, folder));
        }
        let operator_token = Mutex::default();
        let fleet = Self { ports, desk_folder, gates, upstream, app, load_key, clients, operator, operator_token };
        fleet.renew_operator_token(&mut Line::to(ports[1])).await;
        (fleet, desk)
    }

    fn lines(&self) -> Vec<Line> {
        self.gates.iter().map(|(gate, ..)| Line::to(gate.gate.0)).collect()
    }

    async fn renew_operator_token(&self, issuer: &mut Line) {
        let operator = ("test-operator", self.operator.as_str());
        if let Some(token) = mint(issuer, operator, trigate::operator::SCOPE, DESK).await {
            *self.operator_token.lock().unwrap() = token;
        }
    }

    /// Asks the desk until it answers with success; how often it had to be asked.
    async fn command(&self, desk: &mut Line, issuer: &mut Line, path: &str, body: &Value) -> Value {
        let started = Instant::now();
        loop {
            let token = self.operator_token.lock().unwrap().clone();
            let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
            match timeout(HEALS_WITHIN, desk.ask("POST", path, &headers, &body.to_string())).await {
                Ok(Ok((200..300, answer))) => return serde_json::from_slice(&answer).unwrap(),
                Ok(Ok((401, _))) => self.renew_operator_token(issuer).await,
                // Nobody was told anything: asked again.
                Ok(Ok((502..=504 | 409, _)) | Err(_)) => sleep(Duration::from_millis(20)).await,
                Ok(Ok((status, answer))) => panic!("{path}: {status} {}", String::from_utf8_lossy(&answer)),
                Err(_) => panic!("{path}: no answer within {HEALS_WITHIN:?}"),
            }
            assert!(started.elapsed() < 2 * HEALS_WITHIN, "{path}: the desk does not come back");
        }
    }

    /// Makes credentials ahead, of each kind in turn.
    async fn make(self: Arc<Self>, ahead: mpsc::Sender<Credential>, first: usize) {
        let (mut desk, mut issuer) = (Line::to(self.ports[2]), Line::to(self.ports[1]));
        for number in first.. {
            let made = if number % 3 == 2 {
                let body = json!({ "app": self.app });
                let made = self.command(&mut desk, &mut issuer, "/api/v1/keys", &body).await;
                let text = |name: &str| made[name].as_str().unwrap().to_owned();
                Credential { kind: "key", text: text("key"), what: text("id") }
            } else {
                let (kind, client, secret) = &self.clients[number % 3];
                let Some(token) = mint(&mut issuer, (client, secret), "orders:read", API).await else {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                Credential { kind, what: token.clone(), text: token }
            };
            if ahead.send(made).await.is_err() {
                return;
            }
        }
    }
}

async fn client(t: &TestTrigate, id: &str, form: TokenForm) -> String {
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::ClientSecretPost),
        grants: Some(vec![GrantType::ClientCredentials]),
        scopes: Some(vec!["orders:read".into()]),
        resources: Some(vec![API.into()]),
        token_form: Some(form),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: t.acme.id.clone(), id: Some(ClientId::parse(id).unwrap()), policy };
    t.running.operator.create_client(&By::system(), new).await.unwrap().client_secret.unwrap().to_string()
}

/// A token for a client; none while the desk is away.
async fn mint(issuer: &mut Line, (client, secret): (&str, &str), scope: &str, resource: &str) -> Option<String> {
    let form = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", secret),
        ("scope", scope),
        ("resource", resource),
    ]);
    let headers = format!("{}: {}\r\n", FORM.0, FORM.1);
    let (status, answer) = issuer.ask("POST", "/oauth/token", &headers, &form).await.ok()?;
    let answer: Value = serde_json::from_slice(&answer).ok()?;
    assert!(status == 200 || status >= 500, "{status} {answer}");
    Some(answer["access_token"].as_str()?.to_owned())
}

#[derive(Default)]
struct Tally {
    done: AtomicU64,
    accepted_afterwards: Mutex<Vec<String>>,
    /// Microseconds from the question to its answer, and whether anything was broken meanwhile.
    took: Mutex<Vec<(u64, bool)>>,
    /// Events so far; odd while one lasts.
    events: AtomicU64,
    served: AtomicU64,
    without_lease: AtomicU64,
    stop: AtomicBool,
    /// Some of the revoked, to be tried again in the end.
    revoked: Mutex<Vec<Credential>>,
}

async fn work(
    fleet: Arc<Fleet>,
    ready: Arc<tokio::sync::Mutex<mpsc::Receiver<Credential>>>,
    tally: Arc<Tally>,
    trials: u64,
) {
    let (mut desk, mut issuer, mut gates) = (Line::to(fleet.ports[2]), Line::to(fleet.ports[1]), fleet.lines());
    loop {
        let number = tally.done.fetch_add(1, Relaxed);
        if number >= trials {
            return;
        }
        let Some(credential) = ready.lock().await.recv().await else { return };
        until_accepted(&mut gates, &credential).await;
        let (started, event) = (Instant::now(), tally.events.load(Relaxed));
        let kind = if credential.kind == "key" { "key" } else { "token" };
        let body = json!({ "kind": kind, "what": credential.what });
        let answer = fleet.command(&mut desk, &mut issuer, "/api/v1/revocations", &body).await;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap();
        assert_eq!(answer["everywhere"], true);
        check_refused(&mut gates, &credential, number, &tally).await;
        // And on a connection that was not there before.
        let mut fresh = fleet.lines();
        let at = usize::try_from(number).unwrap() % GATES;
        check_refused(&mut fresh[at..=at], &credential, number, &tally).await;
        let calm = event % 2 == 0 && tally.events.load(Relaxed) == event;
        tally.took.lock().unwrap().push((took, calm));
        if number.is_multiple_of((trials / 1_000).max(1)) {
            tally.revoked.lock().unwrap().push(credential);
        }
    }
}

/// A gate that was cut off has no lease, and may not have heard of it.
async fn until_accepted(gates: &mut [Line], credential: &Credential) {
    let started = Instant::now();
    loop {
        let answers = join_all(gates.iter_mut().map(|gate| gate.try_out(credential))).await;
        if answers.iter().all(|status| *status == 200) {
            return;
        }
        assert!(started.elapsed() < HEALS_WITHIN, "a good {} is not accepted everywhere: {answers:?}", credential.kind);
        sleep(Duration::from_millis(20)).await;
    }
}

/// These requests start after the answer.
async fn check_refused(gates: &mut [Line], credential: &Credential, number: u64, tally: &Tally) {
    let answers = join_all(gates.iter_mut().map(|gate| gate.try_out(credential))).await;
    if answers.contains(&200) {
        let event = tally.events.load(Relaxed);
        let told = format!("trial {number}, event {event}: a revoked {} was accepted: {answers:?}", credential.kind);
        eprintln!("{told}");
        tally.accepted_afterwards.lock().unwrap().push(told);
    }
}

/// Good requests all the while: served, or refused for want of a lease, never anything else.
async fn load(gate: SocketAddr, key: String, tally: Arc<Tally>) {
    let (mut line, good) = (Line::to(gate), Credential { kind: "key", text: key, what: String::new() });
    while !tally.stop.load(Relaxed) {
        match line.try_out(&good).await {
            200 => tally.served.fetch_add(1, Relaxed),
            503 | 0 => tally.without_lease.fetch_add(1, Relaxed),
            status => panic!("a good key under load: {status}"),
        };
        sleep(Duration::from_millis(3)).await;
    }
}

/// What happens to desk and gates, one thing after the other, at even distances.
async fn trouble(fleet: Arc<Fleet>, mut desk: Process, tally: Arc<Tally>, trials: u64, events: u64) -> Process {
    for event in 0..events {
        let due = (event + 1) * trials / (events + 1);
        while tally.done.load(Relaxed) < due {
            sleep(Duration::from_millis(5)).await;
        }
        let (gate, relay, _) = &fleet.gates[usize::try_from(event).unwrap() % GATES];
        tally.events.fetch_add(1, Relaxed);
        match event % 6 {
            0 => {
                desk.kill();
                desk = Process::start_quiet(fleet.desk_folder.path(), fleet.ports).await;
            }
            1 => cut_off(relay, Way::Closed, Duration::from_secs(12)).await,
            2 => {
                desk.pause();
                sleep(Duration::from_secs(2)).await;
                desk.go_on();
            }
            // Its lease runs out while it stands still: what waits at it is answered late.
            3 => {
                gate.pause();
                sleep(Duration::from_secs(12)).await;
                gate.go_on();
            }
            4 => cut_off(relay, Way::Silent, Duration::from_secs(12)).await,
            _ => cut_off(relay, Way::Closed, Duration::from_secs(1)).await,
        }
        tally.events.fetch_add(1, Relaxed);
    }
    desk
}

async fn cut_off(relay: &Relay, way: Way, lasts: Duration) {
    relay.way.send_replace(way);
    sleep(lasts).await;
    // A silence ends with what it held being lost.
    relay.way.send_replace(Way::Closed);
    relay.way.send_replace(Way::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_k07_r08_gates_race_nothing_that_starts_after_the_answer_is_accepted_at_any_of_three_gates() {
    let trials = std::env::var("TRIGATE_TEST_TRIALS").map_or(150, |text| text.parse::<u64>().unwrap());
    // The usual run has the desk killed and a gate cut off; the whole one everything, often.
    let events = if trials < 1_000 { 2 } else { (trials / 2_000).clamp(6, 48) };
    let (fleet, desk) = Fleet::start().await;
    let (fleet, tally) = (Arc::new(fleet), Arc::new(Tally::default()));
    let (ahead, ready) = mpsc::channel(256);
    let ready = Arc::new(tokio::sync::Mutex::new(ready));
    let makers: Vec<_> = (0..6).map(|first| tokio::spawn(Arc::clone(&fleet).make(ahead.clone(), first))).collect();
    drop(ahead);
    let gates: Vec<SocketAddr> = fleet.gates.iter().map(|(gate, ..)| gate.gate.0).collect();
    let loads: Vec<_> = gates
        .iter()
        .flat_map(|gate| (0..LOAD).map(|_| tokio::spawn(load(*gate, fleet.load_key.clone(), Arc::clone(&tally)))))
        .collect();
    let started = Instant::now();
    let trouble = tokio::spawn(trouble(Arc::clone(&fleet), desk, Arc::clone(&tally), trials, events));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| tokio::spawn(work(Arc::clone(&fleet), Arc::clone(&ready), Arc::clone(&tally), trials)))
        .collect();
    let told = tokio::spawn(tell(Arc::clone(&fleet), Arc::clone(&tally), trials));
    for worker in workers {
        worker.await.unwrap();
    }
    let lasted = started.elapsed();
    let desk = trouble.await.unwrap();
    tally.stop.store(true, Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    drop(ready);
    makers.iter().for_each(tokio::task::JoinHandle::abort);
    told.abort();
    let revoked = std::mem::take(&mut *tally.revoked.lock().unwrap());
    let mut lines = fleet.lines();
    for credential in &revoked {
        check_refused(&mut lines, credential, trials, &tally).await;
    }
    report(&tally, trials, events, revoked.len(), lasted);
    assert_eq!(*tally.accepted_afterwards.lock().unwrap(), Vec::<String>::new());
    assert_eq!(tally.took.lock().unwrap().len() as u64, trials);
    desk.end();
    let fleet = Arc::into_inner(fleet).expect("nobody else holds it");
    fleet.gates.into_iter().for_each(|(gate, ..)| gate.end());
}

/// How far it is, and the API's notes are thrown away.
async fn tell(fleet: Arc<Fleet>, tally: Arc<Tally>, trials: u64) {
    let mut last = Instant::now();
    loop {
        sleep(Duration::from_secs(1)).await;
        fleet.upstream.forget();
        if last.elapsed() > Duration::from_secs(30) {
            last = Instant::now();
            let events = tally.events.load(Relaxed) / 2;
            eprintln!("{} of {trials} trials, {events} events", tally.done.load(Relaxed).min(trials));
        }
    }
}

fn report(tally: &Tally, trials: u64, events: u64, again: usize, lasted: Duration) {
    let took = tally.took.lock().unwrap();
    let of = |calm: bool| {
        let mut took: Vec<u64> = took.iter().filter(|(_, was)| *was == calm).map(|(micros, _)| *micros).collect();
        took.sort_unstable();
        let at = |per_mille: usize| took.get(took.len().saturating_sub(1) * per_mille / 1_000).copied().unwrap_or(0);
        format!("{} answers: median {:.1} ms, p99.9 {:.1} ms", took.len(), at(500) as f64 / 1e3, at(999) as f64 / 1e3)
    };
    eprintln!(
        "{trials} revocations over {GATES} gate processes in {:.0} s, {events} events: {} requests accepted after the answer",
        lasted.as_secs_f64(),
        tally.accepted_afterwards.lock().unwrap().len()
    );
    eprintln!("  undisturbed: {}", of(true));
    eprintln!("  while desk or gate was away: {}", of(false));
    eprintln!(
        "  {again} of the revoked tried again in the end; load: {} served, {} without a lease",
        tally.served.load(Relaxed),
        tally.without_lease.load(Relaxed)
    );
}
