//! Where does one request end and the next begin? Raw bytes against the real listeners, of the desk's own gate and of one
//! that runs elsewhere (catalogue G03-G05, G09, G18, G19): 400 and close, or one clean request; never two. The other forms
//! read no bytes of a client's.

use crate::support::{TestTrigate, forms::settled, http::Wire};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use trigate::wiring::RunningGate;
use trigate_core::audit::Record;

/// The request that must never be seen: it hides in the body of another.
const SMUGGLED: &str = "GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// A Trigate, and a gate of its desk elsewhere.
pub struct Listeners {
    pub t: TestTrigate,
    far: RunningGate,
    folder: tempfile::TempDir,
}

/// One that carries requests.
pub struct Listener<'a> {
    pub t: &'a TestTrigate,
    pub gate: Wire,
    trail: (PathBuf, &'static str),
}

impl Listeners {
    pub async fn start() -> Self {
        let t = TestTrigate::start().await;
        let folder = tempfile::tempdir().unwrap();
        let far = crate::remote::start_gate(&t, folder.path(), "gate-1").await;
        Self { t, far, folder }
    }

    pub fn each(&self) -> [Listener<'_>; 2] {
        let of = |gate, folder: PathBuf, node| Listener { t: &self.t, gate, trail: (folder.join("audit"), node) };
        [
            of(self.t.gate(), self.t.folder(), "node-1"),
            of(Wire(self.far.gate_addr), self.folder.path().to_owned(), "gate-1"),
        ]
    }

    pub async fn stop(self) {
        self.far.stop().await;
        self.t.stop().await;
    }
}

impl Listener<'_> {
    /// The codes of connection records, once there are `count`.
    async fn connection_codes(&self, count: usize) -> Vec<String> {
        for _ in 0..60 {
            let records = settled(&self.trail.0, self.trail.1).into_iter();
            let codes = records.filter_map(|record| match record {
                Record::Connection(refused) => Some(refused.code),
                _ => None,
            });
            let codes: Vec<String> = codes.collect();
            if codes.len() >= count {
                return codes;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{}: fewer than {count} connection records", self.trail.1);
    }
}

async fn check(Listener { t, gate, .. }: &Listener<'_>, name: &str, bytes: &[u8]) {
    t.upstream.forget();
    let (replies, _) = gate.raw_closed(bytes).await;
    assert!(replies.len() <= 1, "{name}: {} answers", replies.len());
    let seen = t.upstream.seen();
    assert!(seen.len() <= 1, "{name}: {} requests", seen.len());
    assert!(seen.iter().all(|seen| !seen.path().contains("smuggled")), "{name}");
    if let Some(reply) = replies.first() {
        assert!(reply.status == 400 || seen.len() == 1, "{name}: {}", reply.status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g03_transfer_encoding_has_one_reading() {
    let all = Listeners::start().await;
    for listener in &all.each() {
        all.t.upstream.forget();
        check_transfer_encoding(listener).await;
    }
    all.stop().await;
}

async fn check_transfer_encoding(listener: &Listener<'_>) {
    let Listener { t, gate, .. } = listener;
    let heads = [
        ("cl+te", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        ("te+cl", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ("te twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("te identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ("te unknown", "Transfer-Encoding: xchunked\r\n"),
        ("te gzip last", "Transfer-Encoding: chunked, gzip\r\n"),
        ("te quoted", "Transfer-Encoding: \"chunked\"\r\n"),
        ("te blank before colon", "Transfer-Encoding : chunked\r\n"),
        ("te folded", "Transfer-Encoding:\r\n chunked\r\n"),
        ("te vertical tab", "Transfer-Encoding: \x0bchunked\r\n"),
    ];
    for (name, head) in heads {
        let request = format!("POST /open/x HTTP/1.1\r\nHost: a\r\n{head}\r\n0\r\n\r\n{SMUGGLED}");
        // CL+TE: the answer may come, but the connection must not go on.
        check(listener, name, request.as_bytes()).await;
    }
    let old = format!("POST /open/x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    check(listener, "te in 1.0", old.as_bytes()).await;
    for size in ["0x3", "+3", "3_", "_3", " 3", "3 g", "ffffffffffffffff3", "-1", "", "3;\n", "\u{663}"] {
        let request = format!(
            "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nabc\r\n0\r\n\r\n{SMUGGLED}"
        );
        t.upstream.forget();
        let replies = gate.raw(request.as_bytes()).await;
        assert!(replies.len() <= 1 && replies.iter().all(|reply| reply.status >= 400), "{size:?}: {replies:?}");
        assert!(t.upstream.seen().iter().all(|seen| !seen.path().contains("smuggled")), "{size:?}");
    }
    // Lines that end in a bare LF: refused, or read as the same one request.
    check(
        listener,
        "lf in chunk",
        b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    )
    .await;
    let clean = gate.raw(b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(clean[0].status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g04_content_length_has_one_reading() {
    let all = Listeners::start().await;
    for listener in &all.each() {
        all.t.upstream.forget();
        check_content_length(listener).await;
    }
    all.stop().await;
}

async fn check_content_length(listener: &Listener<'_>) {
    let Listener { t, gate, .. } = listener;
    let mut refused = 0;
    for lengths in [
        vec!["3", "5"],
        vec!["3, 5"],
        vec!["+3"],
        vec!["-1"],
        vec!["0x3"],
        vec![""],
        vec!["3\0"],
        vec!["3 3"],
        vec!["3.0"],
        vec!["\u{b3}"],
        vec!["99999999999999999999999"],
        vec!["3,"],
    ] {
        let lines: String = lengths.iter().map(|length| format!("Content-Length: {length}\r\n")).collect();
        let request = format!("POST /open/x HTTP/1.1\r\nHost: a\r\n{lines}\r\nabc{SMUGGLED}");
        t.upstream.forget();
        let (replies, closed) = gate.raw_closed(request.as_bytes()).await;
        assert_eq!((replies.len(), replies[0].status, closed), (1, 400, true), "{lengths:?}");
        assert!(t.upstream.seen().is_empty(), "{lengths:?}");
        refused += 1;
    }
    let codes = listener.connection_codes(refused).await;
    assert!(codes.iter().all(|code| code == "http.parse"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g05_nothing_after_an_upgrade_is_a_request() {
    let all = Listeners::start().await;
    for listener in &all.each() {
        all.t.upstream.forget();
        check_upgrades(listener).await;
    }
    all.stop().await;
}

async fn check_upgrades(listener: &Listener<'_>) {
    let Listener { t, gate, .. } = listener;
    for upgrade in ["websocket", "h2c", "foo/2"] {
        let request =
            format!("GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n{SMUGGLED}");
        let (replies, closed) = gate.raw_closed(request.as_bytes()).await;
        assert_eq!((replies.len(), replies[0].status, closed), (1, 501, true), "{upgrade}");
    }
    for method in ["CONNECT a:1", "TRACE /open/x"] {
        let replies = gate.raw(format!("{method} HTTP/1.1\r\nHost: a:1\r\n\r\n{SMUGGLED}").as_bytes()).await;
        assert!(replies.len() == 1 && replies[0].status >= 400, "{method}: {replies:?}");
    }
    assert!(t.upstream.seen().is_empty());
    assert!(listener.connection_codes(5).await.iter().any(|code| code == "http.upgrade"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g09_a_request_names_one_host() {
    let all = Listeners::start().await;
    for listener in &all.each() {
        all.t.upstream.forget();
        check_hosts(listener).await;
    }
    all.stop().await;
}

async fn check_hosts(listener: &Listener<'_>) {
    let Listener { t, gate, .. } = listener;
    let get = |target: &str, hosts: &str| format!("GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
    for (target, hosts) in [
        ("http://other/open/x", "Host: a\r\n"),
        ("/open/x", "Host: a\r\nHost: b\r\n"),
        ("/open/x", "Host: a\r\nHost: a\r\n"),
        ("/open/x", ""),
        ("/open/x", "Host:\r\n"),
        ("/open/x", "Host: user@a\r\n"),
        ("/open/x", "Host: a b\r\n"),
        ("/open/x", "Host: a:x\r\n"),
        ("/open/x", "Host: a/b\r\n"),
        ("ftp://a/open/x", "Host: a\r\n"),
    ] {
        let replies = gate.raw(get(target, hosts).as_bytes()).await;
        assert_eq!(replies[0].status, 400, "{target} {hosts:?}");
    }
    assert!(t.upstream.seen().is_empty());
    for (target, hosts) in
        [("/open/x", "Host: A.Example.:8080\r\n"), ("http://a.example/open/x", "Host: a.example\r\n")]
    {
        assert_eq!(gate.raw(get(target, hosts).as_bytes()).await[0].status, 200, "{target} {hosts:?}");
        let seen = t.upstream.last();
        assert_eq!((seen.path(), seen.header("x-forwarded-host")), ("/open/x", Some("a.example")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g18_slow_heads_and_bodies_are_cut() {
    let t = TestTrigate::start().await;
    let begun = Instant::now();
    let silent = async {
        let mut stream = TcpStream::connect(t.running.gate_addr).await.unwrap();
        crate::support::http::read_all(&mut stream, Duration::from_secs(6)).await
    };
    let slow_head = async {
        let mut stream = TcpStream::connect(t.running.gate_addr).await.unwrap();
        for byte in b"GET /open/x HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaa" {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        crate::support::http::read_all(&mut stream, Duration::from_secs(6)).await
    };
    let slow_body = async {
        let mut stream = TcpStream::connect(t.running.gate_addr).await.unwrap();
        stream.write_all(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n").await.unwrap();
        for _ in 0..40 {
            if stream.write_all(b"x").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        crate::support::http::read_all(&mut stream, Duration::from_secs(6)).await
    };
    let (silent, head, body) = tokio::join!(silent, slow_head, slow_body);
    assert!(silent.1 && head.1 && body.1, "all were closed: {} {} {}", silent.1, head.1, body.1);
    assert!(silent.0.is_empty() && head.0.is_empty());
    assert!(String::from_utf8_lossy(&body.0).starts_with("HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&body.0));
    assert!(begun.elapsed() < Duration::from_secs(12));
    assert!(t.connection_codes(2).await.iter().filter(|code| *code == "deadline.header").count() >= 2);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g19_k15_heads_are_bounded() {
    let all = Listeners::start().await;
    for listener in &all.each() {
        all.t.upstream.forget();
        check_large_heads(listener).await;
    }
    all.stop().await;
}

async fn check_large_heads(listener: &Listener<'_>) {
    let Listener { t, gate, .. } = listener;
    let megabyte = "a".repeat(1 << 20);
    let many: String = (0..5_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (name, request, status) in [
        ("1 MB header", format!("GET /open/x HTTP/1.1\r\nHost: a\r\nx-big: {megabyte}\r\n\r\n"), 431),
        ("5,000 headers", format!("GET /open/x HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        ("1 MB key", format!("GET /api/weather HTTP/1.1\r\nHost: a\r\nx-api-key: {megabyte}\r\n\r\n"), 431),
        ("70 KB target", format!("GET /open/{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)), 414),
    ] {
        let (replies, closed) = gate.raw_closed(request.as_bytes()).await;
        assert!(closed, "{name}");
        // A reset may overtake the answer while we are still sending.
        if let Some(reply) = replies.first() {
            assert!(reply.status == status || reply.status == 431, "{name}: {}", reply.status);
        }
    }
    for key in ["schl\u{fc}ssel", "\u{1f511}", "tgk_live_x", " "] {
        assert_eq!(gate.send("GET", "/api/weather", &[("x-api-key", key)], b"").await.status, 401, "{key}");
    }
    assert!(t.upstream.seen().is_empty());
    let codes = listener.connection_codes(4).await;
    assert!(codes.iter().all(|code| code == "http.too_large" || code == "http.parse"), "{codes:?}");
}
