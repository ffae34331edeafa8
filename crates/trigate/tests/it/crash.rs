//! Killed in the middle, again and again: what was acknowledged is there, what was answered is recorded, what was revoked
//! stays dead.

use crate::support::{
    FORM, TestTrigate, form,
    http::Wire,
    process::{Process, fix_ports},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use trigate_core::audit::Record;

fn times() -> usize {
    if std::env::var_os("TRIGATE_TEST_FULL").is_some() { 50 } else { 5 }
}

/// What the server acknowledged.
#[derive(Default)]
struct Journal {
    /// (key, id)
    keys: Vec<(String, String)>,
    revoked: Vec<String>,
    /// Revocation asked for, answer not seen: either is right.
    unknown: HashSet<String>,
    tokens: Vec<String>,
    revoked_tokens: Vec<String>,
    /// Ids of requests that were answered.
    answered: Vec<String>,
}

type Shared = Arc<Mutex<Journal>>;

struct Actors {
    issuer: Wire,
    desk: Wire,
    gate: Wire,
    app: String,
    key: String,
    service: (String, String),
    operator: String,
    audience: String,
    desk_url: String,
}

/// One exchange; `None` when the server went away in the middle.
async fn send(
    wire: Wire,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<(u16, String, Vec<u8>)> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n", wire.0.port());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(wire.0).await.ok()?;
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.ok()?;
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let length: usize = field(&head, "content-length")?.parse().ok()?;
    let body = bytes[end + 4..].to_vec();
    (body.len() == length).then_some(())?;
    Some((head.split(' ').nth(1)?.parse().ok()?, head, body))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (have, value) = line.split_once(':')?;
        have.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Actors {
    async fn token(&self, client: &str, secret: &str, scope: &str, resource: &str) -> Option<String> {
        let body = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
            ("scope", scope),
            ("resource", resource),
        ]);
        let (status, _, body) = send(self.issuer, "POST", "/oauth/token", &[FORM], &body).await?;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body).ok()?;
        Some(answer["access_token"].as_str()?.to_owned())
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Option<Value> {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let (status, _, bytes) =
            send(self.desk, "POST", &format!("/api/v1{path}"), &headers, &body.to_string()).await?;
        // 503 is an honest no.
        if status == 503 {
            return None;
        }
        assert!((200..300).contains(&status), "{path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).ok()
    }

    /// Makes and revokes keys and tokens until the server is gone.
    async fn write(self: Arc<Self>, journal: Shared) {
        let Some(token) = self.token("test-operator", &self.operator, trigate::operator::SCOPE, &self.desk_url).await
        else {
            return;
        };
        for round in 0.. {
            let Some(made) = self.post(&token, "/keys", json!({ "app": self.app })).await else { return };
            let pair = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
            journal.lock().unwrap().keys.push(pair.clone());
            let Some(minted) = self.token(&self.service.0, &self.service.1, "orders:read", &self.audience).await else {
                return;
            };
            journal.lock().unwrap().tokens.push(minted.clone());
            if round % 2 == 0 {
                journal.lock().unwrap().unknown.extend([pair.0.clone(), minted.clone()]);
                if self.post(&token, "/revocations", json!({ "kind": "key", "what": pair.1 })).await.is_none() {
                    return;
                }
                journal.lock().unwrap().revoked.push(pair.0);
                if self.post(&token, "/revocations", json!({ "kind": "token", "what": minted })).await.is_none() {
                    return;
                }
                journal.lock().unwrap().revoked_tokens.push(minted);
            }
        }
    }

    /// Asks the gate until it is gone.
    async fn read(self: Arc<Self>, journal: Shared) {
        while let Some((status, head, _)) =
            send(self.gate, "GET", "/api/weather", &[("x-api-key", &self.key)], "").await
        {
            assert_eq!(status, 200);
            journal.lock().unwrap().answered.push(field(&head, "x-request-id").unwrap().to_owned());
        }
    }

    async fn status(&self, path: &str, header: (&str, &str)) -> u16 {
        send(self.gate, "GET", path, &[header], "").await.expect("the gate answers").0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_nothing_acknowledged_is_lost_and_nothing_revoked_comes_back() {
    let t = TestTrigate::start().await;
    let (audience, desk_url) = (t.running.urls.gate.clone(), t.running.urls.desk.clone());
    let (app, key) = (t.acme.id.clone(), t.acme.key.clone());
    let service = (t.acme.service_client.clone(), t.acme.service_secret.clone());
    let operator = t.operator_secret.clone();
    let folder = t.stop().await;
    // The addresses are part of the tokens' audience: what was registered must be what is served.
    let ports = fix_ports(folder.path());
    let text = std::fs::read_to_string(folder.path().join("trigate.toml")).unwrap();
    let text = text.replacen("workers = 2", &format!("workers = 2\nurl = \"{audience}\""), 1);
    let text = text.replacen("[plans]", &format!("[desk]\nurl = \"{desk_url}\"\n\n[plans]"), 1);
    std::fs::write(folder.path().join("trigate.toml"), text).unwrap();

    let journal = Shared::default();
    let mut slowest = Duration::ZERO;
    let wires = ports.map(Wire);
    let actors = Arc::new(Actors {
        gate: wires[0],
        issuer: wires[1],
        desk: wires[2],
        app,
        key,
        service,
        operator,
        audience,
        desk_url,
    });
    for round in 0..times() {
        let process = Process::start(folder.path(), ports).await;
        slowest = slowest.max(process.ready_after);
        check(&actors, &journal, round).await;
        let writers = (0..8).map(|_| tokio::spawn(Arc::clone(&actors).write(Arc::clone(&journal))));
        let readers = (0..8).map(|_| tokio::spawn(Arc::clone(&actors).read(Arc::clone(&journal))));
        let tasks: Vec<_> = writers.chain(readers).collect();
        tokio::time::sleep(Duration::from_millis(250 + (round as u64 * 37) % 400)).await;
        process.kill();
        for task in tasks {
            task.await.unwrap();
        }
        check_records(folder.path(), &journal);
    }
    let process = Process::start(folder.path(), ports).await;
    check(&actors, &journal, times()).await;
    let log = process.log.clone();
    process.end();
    let _ = std::fs::remove_file(log);
    let journal = journal.lock().unwrap();
    assert!(journal.revoked.len() > times() && journal.answered.len() > times() * 10, "the load was real");
    eprintln!(
        "killed {} times: {} keys, {} revoked, {} tokens, {} answered requests; slowest start {} ms",
        times(),
        journal.keys.len(),
        journal.revoked.len(),
        journal.tokens.len(),
        journal.answered.len(),
        slowest.as_millis()
    );
}

/// Everything of the last round, and a sample of what is older.
async fn check(actors: &Actors, journal: &Shared, round: usize) {
    let (keys, tokens, revoked, revoked_tokens) = {
        let journal = journal.lock().unwrap();
        let live = |all: Vec<String>| -> Vec<String> {
            all.into_iter().filter(|one| !journal.unknown.contains(one)).rev().take(100).collect()
        };
        (
            live(journal.keys.iter().map(|(key, _)| key.clone()).collect()),
            live(journal.tokens.clone()),
            journal.revoked.iter().rev().take(200).cloned().collect::<Vec<_>>(),
            journal.revoked_tokens.iter().rev().take(200).cloned().collect::<Vec<_>>(),
        )
    };
    for key in keys {
        assert_eq!(actors.status("/api/weather", ("x-api-key", &key)).await, 200, "round {round}: a key was lost");
    }
    for token in tokens {
        let bearer = format!("Bearer {token}");
        assert_eq!(
            actors.status("/.trigate/whoami", ("authorization", &bearer)).await,
            200,
            "round {round}: a token was lost"
        );
    }
    for key in revoked {
        assert_eq!(actors.status("/api/weather", ("x-api-key", &key)).await, 401, "round {round}: a revoked key lives");
    }
    for token in revoked_tokens {
        let bearer = format!("Bearer {token}");
        assert_eq!(
            actors.status("/.trigate/whoami", ("authorization", &bearer)).await,
            401,
            "round {round}: a revoked token lives"
        );
    }
}

/// Read from the files as the kill left them.
fn check_records(folder: &std::path::Path, journal: &Shared) {
    let records = trigate_audit::next_batch(&folder.join("audit"), "node-1", 0, 10_000_000).unwrap();
    let recorded: HashSet<String> = records
        .into_iter()
        .filter_map(|(_, record)| match record {
            Record::Decision(decision) => Some(decision.request.to_string()),
            _ => None,
        })
        .collect();
    for id in &journal.lock().unwrap().answered {
        assert!(recorded.contains(id), "no record of the answered request {id}");
    }
}
