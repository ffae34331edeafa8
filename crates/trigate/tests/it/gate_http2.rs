//! Does HTTP/2 open a way that HTTP/1.1 has not? Frames written by hand against the real listener (catalogue G15-G17):
//! what is malformed reaches no API, and floods cost the flooder his connection, or nobody anything.

use crate::{
    gate_framing::{Listener, Listeners},
    support::TestTrigate,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 §4.1
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field without any compression. // RFC 7541 §6.2.2
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| match u8::try_from(text.len()) {
        Ok(length @ 0..127) => [&[length], text.as_bytes()].concat(),
        _ => {
            let more = text.len() - 127;
            let (low, high) = (u8::try_from(more % 128).unwrap(), u8::try_from(more / 128).unwrap());
            [&[127, low | 0x80, high], text.as_bytes()].concat()
        }
    };
    [vec![0], text(name), text(value)].concat()
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

const REQUEST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/open/x"), (":authority", "localhost")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Status(u16),
    Reset,
    Closed,
    Silence,
}

struct Raw(TcpStream);

impl Raw {
    async fn open(gate: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(gate).await.unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        Self(stream)
    }

    /// The first thing that says what becomes of the request.
    async fn end(&mut self) -> End {
        timeout(Duration::from_secs(4), self.read_end()).await.unwrap_or(End::Silence)
    }

    async fn read_end(&mut self) -> End {
        loop {
            let mut head = [0; 9];
            if self.0.read_exact(&mut head).await.is_err() {
                return End::Closed;
            }
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            if self.0.read_exact(&mut payload).await.is_err() {
                return End::Closed;
            }
            match head[3] {
                HEADERS => return End::Status(status(&payload)),
                RST_STREAM => return End::Reset,
                GOAWAY => return End::Closed,
                _ => {}
            }
        }
    }
}

/// `:status` comes first, from the static table or with its digits in Huffman's code. // RFC 7541 appendix A, B
fn status(block: &[u8]) -> u16 {
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [indexed @ 0x88..=0x8e, ..] => known[usize::from(indexed - 0x88)],
        [0x08 | 0x18 | 0x48, length, rest @ ..] if length & 0x80 == 0 => {
            std::str::from_utf8(&rest[..usize::from(*length)]).unwrap().parse().unwrap()
        }
        [0x08 | 0x18 | 0x48, _, rest @ ..] => {
            let bits: Vec<u8> =
                rest.iter().take(3).flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
            let (mut at, mut digits) = (0, 0);
            for _ in 0..3 {
                let take = |n: usize| bits[at..at + n].iter().fold(0, |sum, bit| sum << 1 | u16::from(*bit));
                let (digit, used) = if take(5) < 3 { (take(5), 5) } else { (take(6) - 0b01_1001 + 3, 6) };
                (digits, at) = (digits * 10 + digit, at + used);
            }
            digits
        }
        _ => panic!("no status: {block:?}"),
    }
}

/// One request with these fields, on a connection of its own.
async fn ask(listener: &Listener<'_>, fields: &[(&str, &str)]) -> End {
    listener.t.upstream.forget();
    let mut raw = Raw::open(listener.gate.0).await;
    raw.0.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))).await.unwrap();
    raw.end().await
}

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut fields: Vec<_> = REQUEST.iter().copied().filter(|(known, _)| *known != name).collect();
    fields.push((name, value));
    fields.sort_by_key(|(name, _)| !name.starts_with(':'));
    fields
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g15_g16_malformed_requests_over_http2_reach_no_api() {
    let all = Listeners::start().await;
    for listener in &all.each() {
        check_malformed_requests(listener).await;
    }
    all.stop().await;
}

async fn check_malformed_requests(listener: &Listener<'_>) {
    let t = listener.t;
    assert_eq!(ask(listener, &REQUEST).await, End::Status(200));
    assert_eq!(t.upstream.seen().len(), 1);
    // RFC 9113 §8.2, §8.2.1, §8.2.2, §8.3, §8.3.1
    let mut cases: Vec<(String, Vec<(&str, &str)>)> = Vec::new();
    for (name, value) in [
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\r\nx-trigate-user: usr_1"),
        ("x", "a\0b"),
        ("X-Upper", "a"),
        ("x y", "a"),
        ("x:y", "a"),
        ("", "a"),
        ("x\r\ny", "a"),
        ("connection", "close"),
        ("connection", "x-trigate-user"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("host", "other.test"),
        (":unknown", "x"),
        (":status", "200"),
        (":path", ""),
        (":path", "open/x"),
        (":path", "api/weather"),
        (":path", "*"),
        (":path", "/open/ x"),
        (":path", "/open/x\r\ny"),
        (":path", "http://localhost/open/x"),
        (":path", "/open/../api/weather"),
        (":path", "/open//x"),
        (":method", "G ET"),
        (":method", ""),
        (":scheme", ""),
        (":authority", "a@localhost"),
        (":authority", "localhost/x"),
        (":authority", ""),
        ("content-length", "5"),
    ] {
        cases.push((format!("{name:?}: {value:?}"), with(name, value)));
    }
    let twice = |name: &'static str, value: &'static str| [&REQUEST[..], &[(name, value)]].concat();
    cases.push(("path twice".into(), twice(":path", "/api/weather")));
    cases.push(("method twice".into(), twice(":method", "GET")));
    cases.push(("authority twice".into(), twice(":authority", "localhost")));
    cases.push(("a pseudo-header behind".into(), [&[("x", "y")], &REQUEST[..]].concat()));
    cases.push(("no path".into(), REQUEST.iter().copied().filter(|(name, _)| *name != ":path").collect()));
    cases.push(("no method".into(), REQUEST.iter().copied().filter(|(name, _)| *name != ":method").collect()));
    for (name, fields) in &cases {
        let end = ask(listener, fields).await;
        assert!(matches!(end, End::Reset | End::Closed | End::Status(400 | 404 | 501)), "{name}: {end:?}");
        assert!(t.upstream.seen().is_empty(), "{name} reached the API: {:?}", t.upstream.seen());
    }
    // A fragment is no part of what is judged, nor of what goes on (G08).
    assert_eq!(ask(listener, &with(":path", "/open/x#/api/weather")).await, End::Status(200));
    assert_eq!(t.upstream.last().path(), "/open/x");
    assert_eq!(ask(listener, &with(":path", "/api/weather#/open/x")).await, End::Status(401));
    // Another case is another path, and opens nothing.
    assert_eq!(ask(listener, &with(":path", "/OPEN/x")).await, End::Status(404));
    assert_eq!(ask(listener, &with(":path", "/api/Weather")).await, End::Status(404));
    assert_eq!(ask(listener, &with(":path", "/api/weather")).await, End::Status(401));
}

/// Resident memory of this process, in which the gate runs, in megabytes.
fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Somebody else, all the while: every request is served. Returns how long the slowest took.
async fn somebody_else(t: &TestTrigate, stop: tokio::sync::watch::Receiver<bool>) -> (usize, Duration) {
    let (mut served, mut slowest) = (0, Duration::ZERO);
    while !*stop.borrow() {
        let started = Instant::now();
        assert_eq!(t.get("/open/x", &[]).await.status, 200);
        slowest = slowest.max(started.elapsed());
        served += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (served, slowest)
}

/// Writes `part` again and again for a while, reading nothing; how much went out before the gate closed.
async fn flood(t: &TestTrigate, first: Vec<u8>, mut part: impl FnMut(u32) -> Vec<u8>) -> (usize, bool) {
    let mut raw = Raw::open(t.running.gate_addr).await;
    let (mut sent, until) = (0, Instant::now() + Duration::from_secs(3));
    if raw.0.write_all(&first).await.is_err() {
        return (0, true);
    }
    for number in 0.. {
        let bytes = part(number);
        match timeout(Duration::from_secs(1), raw.0.write_all(&bytes)).await {
            Ok(Ok(())) => sent += bytes.len(),
            Ok(Err(_)) => return (sent, true),
            // It reads no more: the flood stands in the flooder's own memory.
            Err(_) => return (sent, false),
        }
        if Instant::now() > until {
            break;
        }
    }
    (sent, false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn g17_floods_over_http2_harm_nobody_else_and_stay_out_of_memory() {
    let t = TestTrigate::start().await;
    let request = block(&REQUEST);
    let stream = |number: u32| 2 * number + 1;
    let get = |number: u32| frame(HEADERS, END_STREAM | END_HEADERS, stream(number), &request);
    let reset = |number: u32| frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes());
    let open = frame(HEADERS, END_HEADERS, 1, &block(&[(":method", "POST"), REQUEST[1], REQUEST[2], REQUEST[3]]));
    let repeated = |bytes: Vec<u8>| bytes.repeat(64);
    let before = memory_mb();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let floods = async {
        // CVE-2023-44487: each costs us a request, and the sender nothing.
        let rapid =
            flood(&t, vec![], |n| (64 * n..64 * n + 64).flat_map(|n| [get(n), reset(n)].concat()).collect()).await;
        assert!(rapid.1, "rapid reset: {} bytes, and still open", rapid.0);
        // CVE-2023-45288, RUSTSEC-2024-0332: a head that never ends.
        let endless = field("x", &"y".repeat(4_000));
        let more = frame(CONTINUATION, 0, 1, &endless);
        let head = flood(&t, frame(HEADERS, 0, 1, &request), |_| repeated(more.clone())).await;
        assert!(head.1, "CONTINUATION: {} bytes, and still open", head.0);
        let empty = frame(CONTINUATION, 0, 1, &[]);
        let nothing = flood(&t, frame(HEADERS, 0, 1, &request), |_| repeated(empty.clone())).await;
        let mut told = vec![("rapid reset", rapid), ("CONTINUATION", head), ("empty CONTINUATION", nothing)];
        for (name, first, part) in [
            ("empty DATA", open.clone(), frame(DATA, 0, 1, &[])),
            ("SETTINGS", vec![], frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
            ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
            ("PRIORITY", vec![], frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 0])),
            ("WINDOW_UPDATE", open.clone(), frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
            ("unknown frames", vec![], frame(0x42, 0, 0, &[0; 64])),
        ] {
            told.push((name, flood(&t, first, |_| repeated(part.clone())).await));
        }
        stop.send_replace(true);
        told
    };
    let (told, (served, slowest)) = tokio::join!(floods, somebody_else(&t, stopped));
    let grown = memory_mb().saturating_sub(before);
    for (name, (bytes, closed)) in told {
        println!("{name}: {} KB taken{}", bytes >> 10, if closed { ", then closed" } else { "" });
    }
    println!("{served} requests of somebody else, the slowest {slowest:?}; {grown} MB more");
    assert!(served > 100, "{served}");
    assert!(grown < 100, "{grown} MB");
    t.stop().await;
}
