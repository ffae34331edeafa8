//! What stays open: WebSockets, server-sent events, gRPC. With clients and a server written by others (G05, G14, G15).

use crate::support::{TestTrigate, http::read_all};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};
use trigate_core::audit::Record;

/// A node script; its lines are JSON.
struct Node {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl Node {
    /// `None` where the modules are not there and not required.
    fn start(script: &str, arguments: &[&str]) -> Option<Self> {
        let Some(modules) = std::env::var_os("TRIGATE_TEST_NODE_MODULES").map(PathBuf::from) else {
            assert!(std::env::var_os("TRIGATE_TEST_REQUIRE").is_none(), "TRIGATE_TEST_NODE_MODULES is not set");
            eprintln!("SKIPPED: no node modules");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/clients").join(script);
        std::fs::copy(from, folder.path().join(script)).unwrap();
        let mut child = Command::new("node")
            .arg(folder.path().join(script))
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Self { lines, _child: child, _folder: folder })
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(20), self.lines.next_line()).await;
        let line = line.expect("nothing was said").unwrap().expect("the script ended");
        serde_json::from_str(&line).unwrap()
    }
}

async fn start() -> Option<(TestTrigate, Node)> {
    let mut server = Node::start("streams-server.mjs", &[])?;
    let ports = server.next().await;
    let route = |name: &str, path: &str, upstream: &str, more: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"{path}\"\ndemands = \"token\"\nscopes = [\"orders:read\"]\nupstream = \"{upstream}\"\n{more}\n"
        )
    };
    let t = TestTrigate::start_with(&format!(
        "[upstreams.web]\naddresses = [\"http://127.0.0.1:{}\"]\n[upstreams.rpc]\naddresses = [\"h2c://127.0.0.1:{}\"]\n{}{}{}",
        ports["web"],
        ports["grpc"],
        route("ws", "/ws/**", "web", "upgrade = \"websocket\""),
        route("sse", "/sse/**", "web", ""),
        route("rpc", "/rpc/**", "rpc", ""),
    ))
    .await;
    Some((t, server))
}

async fn revoke(t: &TestTrigate, kind: &str, what: &str) {
    let token = format!("Bearer {}", t.operator_token().await);
    let body = json!({ "kind": kind, "what": what }).to_string();
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let reply = t.desk().send("POST", "/api/v1/revocations", &headers, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// The reasons of completion records that the gate ended, once there are `count`.
async fn ended(t: &TestTrigate, count: usize) -> Vec<String> {
    for _ in 0..60 {
        let found: Vec<String> = (t.records().into_iter())
            .filter_map(|record| match record {
                Record::Completion(done) if done.cut => done.ended,
                _ => None,
            })
            .collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("fewer than {count} ended streams");
}

const WISH: &str = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The bound that the documentation states for one gate, with room for a busy machine.
const BOUND: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g14_websocket_opens_with_a_good_token_alone_and_ends_with_it() {
    let Some((t, _server)) = start().await else { return };
    let at = t.running.gate_addr.to_string();
    let token = t.alice_token("openid orders:read").await;

    // Nobody, and somebody without the scope: the API hears of neither.
    let (replies, closed) = t.gate().raw_closed(format!("GET /ws/x HTTP/1.1\r\n{WISH}\r\n").as_bytes()).await;
    assert_eq!((replies[0].status, closed), (401, true));
    let other = t.alice_token("openid").await;
    assert_eq!(
        Node::start("streams-client.mjs", &["/ws/x", &at, &other]).unwrap().next().await,
        json!({ "status": 403 })
    );

    let mut client = Node::start("streams-client.mjs", &["/ws/x", &at, &token]).unwrap();
    assert_eq!(client.next().await, json!({ "got": format!("user {} no credential", t.alice.id) }));
    assert_eq!(client.next().await, json!({ "got": "echo hello" }));
    // The API's own refusal goes through.
    let mut refused = Node::start("streams-client.mjs", &["/ws/refused", &at, &token]).unwrap();
    assert_eq!(refused.next().await, json!({ "status": 403 }));

    revoke(&t, "user", &t.alice.id).await;
    let answered = Instant::now();
    assert_eq!(client.next().await["closed"], 1006);
    assert!(answered.elapsed() < BOUND, "{:?}", answered.elapsed());
    assert_eq!(
        Node::start("streams-client.mjs", &["/ws/x", &at, &token]).unwrap().next().await,
        json!({ "status": 401 })
    );
    assert_eq!(ended(&t, 1).await, ["user.revoked"]);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g05_no_byte_of_the_client_goes_before_the_apis_101() {
    let Some((t, _server)) = start().await else { return };
    let bearer = format!("Authorization: Bearer {}\r\n", t.alice_token("openid orders:read").await);
    let smuggled = "GET /closed HTTP/1.1\r\nHost: a\r\n\r\n";
    // The API refuses: what followed is no request, for nobody.
    let wish = format!("GET /ws/refused HTTP/1.1\r\n{WISH}{bearer}\r\n{smuggled}");
    let (replies, closed) = t.gate().raw_closed(wish.as_bytes()).await;
    assert_eq!((replies.len(), replies[0].status, closed), (1, 403, true));
    // The route does not allow it: the API does not hear of it.
    let wish = format!("GET /sse/x HTTP/1.1\r\n{WISH}{bearer}\r\n{smuggled}");
    let (replies, closed) = t.gate().raw_closed(wish.as_bytes()).await;
    assert_eq!((replies.len(), replies[0].status, closed), (1, 501, true));
    for (bad, instead) in [
        ("websocket", "h2c"),
        ("Version: 13", "Version: 8"),
        ("Connection: Upgrade", "Connection: keep-alive"),
        ("Host: a\r\n", "Host: a\r\nContent-Length: 4\r\n"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
    ] {
        let wish = format!("GET /ws/x HTTP/1.1\r\n{}{bearer}\r\n{smuggled}", WISH.replace(bad, instead));
        let (replies, closed) = t.gate().raw_closed(wish.as_bytes()).await;
        assert_eq!((replies.len(), replies[0].status, closed), (1, 501, true), "{instead}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g14_events_end_when_the_session_the_key_or_the_scope_goes() {
    let Some((t, _server)) = start().await else { return };
    // At a gate elsewhere too, which hears of it from the desk.
    let folder = tempfile::tempdir().unwrap();
    let far = crate::remote::start_gate(&t, folder.path(), "gate-1").await;
    for kind in ["user", "client"] {
        let token = t.alice_token("openid orders:read").await;
        let mut streams = Vec::new();
        for gate in [t.running.gate_addr, far.gate_addr] {
            streams.push(open_events(gate, &token).await);
        }
        // Another's end is not this one's.
        revoke(&t, "key", &t.globex.key_id).await;
        for stream in &mut streams {
            let more = tokio::time::timeout(Duration::from_millis(300), read_all(stream, Duration::from_secs(9))).await;
            assert!(more.is_err(), "it flows on");
        }
        let what = if kind == "user" { t.alice.id.clone() } else { t.acme.public_client.clone() };
        revoke(&t, kind, &what).await;
        let answered = Instant::now();
        for stream in &mut streams {
            let (rest, closed) = read_all(stream, Duration::from_secs(2)).await;
            assert!(closed && answered.elapsed() < BOUND, "{kind} {:?}", answered.elapsed());
            // Cut, not ended: the client can tell.
            assert!(!rest.ends_with(b"0\r\n\r\n"));
        }
    }
    assert_eq!(ended(&t, 2).await, ["user.revoked", "client.revoked"]);
    far.stop().await;
    t.stop().await;
}

async fn open_events(gate: SocketAddr, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gate).await.unwrap();
    let request = format!("GET /sse/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = Vec::new();
    while first.len() < 500 {
        assert!(stream.read_buf(&mut first).await.unwrap() > 0, "{}", String::from_utf8_lossy(&first));
    }
    assert!(first.starts_with(b"HTTP/1.1 200 "));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g14_g15_grpc_of_every_kind_passes_and_ends_with_its_credential() {
    let Some((t, _server)) = start().await else { return };
    let at = t.running.gate_addr.to_string();
    let token = t.alice_token("openid orders:read").await;
    let mut client = Node::start("streams-client.mjs", &["every", &at, &token]).unwrap();
    let mut said = Vec::new();
    for _ in 0..5 {
        said.push(client.next().await);
    }
    let said =
        |name: &str| said.iter().find(|it| it.get(name).is_some()).cloned().unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(said("unary"), json!({ "unary": format!("hello {}", t.alice.id), "code": 0 }));
    assert_eq!(said("trailers")["trailers"], json!({ "x-after": "told after" }), "no identity in trailers");
    assert_eq!(said("up"), json!({ "up": "5", "code": 0 }));
    assert_eq!(said("both"), json!({ "both": 3, "code": 0 }));
    assert_eq!(said("fail"), json!({ "fail": "not today", "code": 9 }));

    // Refused: the status that gRPC gives it.
    let mut stranger = Node::start("streams-client.mjs", &["down", &at, "none"]).unwrap();
    assert_eq!(stranger.next().await["ended"], 16);

    let mut open = Vec::new();
    for kind in ["down", "up"] {
        let mut client = Node::start("streams-client.mjs", &[kind, &at, &token]).unwrap();
        assert_eq!(client.next().await, json!({ "open": true }), "{kind}");
        open.push(client);
    }
    revoke(&t, "user", &t.alice.id).await;
    let answered = Instant::now();
    let codes = [open[0].next().await["ended"].clone(), open[1].next().await["ended"].clone()];
    assert!(answered.elapsed() < BOUND, "{:?}", answered.elapsed());
    assert_eq!(codes, [json!(16), json!(7)], "before the answer began it is a refusal");
    assert_eq!(ended(&t, 1).await, ["user.revoked"]);
    t.stop().await;
}
