//! Does every caller get its own answer, whatever the API and other callers do? Each request carries a number that the API
//! gives back; the API breaks every rule it can. `cargo xtask crosstalk` runs it ten million times.

use crate::support::TestTrigate;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

const WAYS: u64 = 12;
const CALLERS: u64 = 48;
/// Connections come and go by the thousand: each address has its own ports for them.
const ADDRESSES: u8 = 8;
const FORGED: &[u8] = b"HTTP/1.1 200 OK\r\nx-nonce: forged\r\ncontent-length: 6\r\n\r\nFORGED";

#[derive(Default)]
struct Tally {
    right: AtomicU64,
    wrong: AtomicU64,
    /// 5xx, cut or closed: nobody's answer.
    none: AtomicU64,
    left: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crosstalk_no_answer_reaches_the_wrong_caller() {
    let count = std::env::var("TRIGATE_TEST_REQUESTS").map_or(6_000, |text| text.parse::<u64>().unwrap());
    let mut addresses = Vec::new();
    for last in 1..=ADDRESSES {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), 0)).await.unwrap();
        addresses.push(format!("\"http://{}\"", listener.local_addr().unwrap()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(misbehave(stream));
            }
        });
    }
    let t = TestTrigate::start_with(&format!(
        "[upstreams.wild]\naddresses = [{}]\n[[route]]\npath = \"/wild/**\"\npublic = true\nupstream = \"wild\"\n",
        addresses.join(", ")
    ))
    .await;
    let (tally, gate) = (Arc::new(Tally::default()), t.running.gate_addr);
    // All of them before the first is waited for.
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(call(gate, caller, count / CALLERS, Arc::clone(&tally)))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let of = |count: &AtomicU64| count.load(Relaxed);
    println!(
        "{} right, {} wrong, {} without an answer, {} callers went away",
        of(&tally.right),
        of(&tally.wrong),
        of(&tally.none),
        of(&tally.left)
    );
    assert_eq!(of(&tally.wrong), 0);
    assert!(of(&tally.right) > count / 3, "the test tests something");
    t.stop().await;
}

/// Enough chance for this; the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The API: how it answers stands in the path.
async fn misbehave(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    loop {
        let Some((head, nonce, way)) = read_head(&mut stream, &mut buffer).await else { return };
        let get = !head.starts_with("HEAD");
        let body = |pad: usize| format!("{nonce}{}", ".".repeat(pad));
        let plain = |pad: usize| {
            let text = body(pad);
            let sent = if get { text.as_str() } else { "" };
            format!("HTTP/1.1 200 OK\r\nx-nonce: {nonce}\r\ncontent-length: {}\r\n\r\n{sent}", text.len()).into_bytes()
        };
        let mut ends = false;
        let answer: Vec<u8> = match way {
            1 if get => {
                let text = body(0);
                let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                format!("HTTP/1.1 200 OK\r\nx-nonce: {nonce}\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")
                    .into()
            }
            // Left-over bytes: a whole answer that nobody asked for. (Bytes that come only after the next request was
            // written are its answer for everybody: HTTP/1.1 has no numbers. HTTP/2 has.)
            2 => [plain(0), FORGED.to_vec()].concat(),
            3 => [plain(3), b"\r\n\r\n".to_vec(), FORGED.to_vec(), FORGED.to_vec()].concat(),
            // Broken off within the body.
            4 => {
                ends = true;
                let mut cut = plain(400);
                cut.truncate(cut.len().saturating_sub(200));
                cut
            }
            5 => [b"HTTP/1.1 103 Early Hints\r\nx-nonce: hint\r\n\r\n".to_vec(), plain(1)].concat(),
            6 => [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n".to_vec(), plain(1)].concat(),
            // Promises to stay, and goes.
            7 => {
                ends = true;
                plain(2)
            }
            // A body where there is none.
            8 => [
                format!("HTTP/1.1 204 No Content\r\nx-nonce: {nonce}\r\n\r\n").into_bytes(),
                b"6\r\nFORGED\r\n0\r\n\r\n".to_vec(),
            ]
            .concat(),
            9 => [
                format!("HTTP/1.1 304 Not Modified\r\nx-nonce: {nonce}\r\ncontent-length: 6\r\n\r\n").into_bytes(),
                b"FORGED".to_vec(),
            ]
            .concat(),
            // Slow, for those who do not wait.
            10 => {
                tokio::time::sleep(Duration::from_millis(3)).await;
                plain(5_000)
            }
            // Answers a POST before it has read it.
            _ => plain(0),
        };
        if stream.write_all(&answer).await.is_err() || ends {
            return;
        }
        if skip_body(&head, &mut stream, &mut buffer).await.is_none() {
            return;
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String, u64)> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end + 4).collect()).ok()?;
    let nonce = field(&head, "x-nonce")?.to_owned();
    let way = head.split(' ').nth(1)?.rsplit('/').next()?.parse().ok()?;
    Some((head, nonce, way))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

async fn skip_body(head: &str, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let Some(length) = field(head, "content-length") else {
        if field(head, "transfer-encoding").is_some() {
            while !buffer.windows(5).any(|w| w == b"0\r\n\r\n") {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            buffer.clear();
        }
        return Some(());
    };
    let length: usize = length.parse().ok()?;
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    buffer.drain(..length);
    Some(())
}

/// A caller: some of its requests it does not wait for.
async fn call(gate: SocketAddr, caller: u64, count: u64, tally: Arc<Tally>) {
    let mut dice = Dice(caller + 1);
    let mut stream: Option<TcpStream> = None;
    for turn in 0..count {
        let mut open = match stream.take() {
            Some(open) => open,
            None => connect(gate, caller).await,
        };
        let nonce = format!("n{caller}-{turn}-");
        let (way, method) = (dice.next(WAYS), ["GET", "GET", "POST", "HEAD"][dice.next(4) as usize]);
        let body = if method == "POST" { "x".repeat(dice.next(3_000) as usize) } else { String::new() };
        let length = if method == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
        let request = format!("{method} /wild/{way} HTTP/1.1\r\nhost: a\r\nx-nonce: {nonce}\r\n{length}\r\n{body}");
        let whole = dice.next(20) != 0;
        let part = if whole { request.len() } else { request.len() / 2 };
        let _ = open.write_all(&request.as_bytes()[..part]).await;
        if !whole || dice.next(12) == 0 {
            // Goes away: in the middle of the request, at once after it, or while the answer comes.
            if dice.next(2) == 0 {
                tokio::time::sleep(Duration::from_micros(dice.next(3_000))).await;
            }
            tally.left.fetch_add(1, Relaxed);
            continue;
        }
        match timeout(Duration::from_secs(20), read_answer(&mut open, method)).await {
            Ok(Some((status, said, body))) if status < 500 => {
                let own = said == nonce && (body.is_empty() || body.starts_with(nonce.as_bytes()));
                let count = if own { &tally.right } else { &tally.wrong };
                count.fetch_add(1, Relaxed);
                if !own {
                    eprintln!(
                        "WRONG: {method} way {way} asked {nonce} got {status} {said} {:?}",
                        String::from_utf8_lossy(&body)
                    );
                }
                stream = Some(open);
            }
            Ok(_) => {
                tally.none.fetch_add(1, Relaxed);
            }
            Err(_) => {
                eprintln!("LATE: {method} way {way} asked {nonce} from {:?}", open.local_addr());
                tally.none.fetch_add(1, Relaxed);
            }
        }
    }
}

async fn connect(gate: SocketAddr, caller: u64) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_nodelay(true).unwrap();
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(caller % u64::from(ADDRESSES)).unwrap() + 1);
    socket.bind((from, 0).into()).unwrap();
    socket.connect(gate).await.unwrap()
}

/// `None`: closed or cut.
async fn read_answer(stream: &mut TcpStream, method: &str) -> Option<(u16, String, Vec<u8>)> {
    let mut buffer = Vec::new();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).ok()?;
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    let said = field(&head, "x-nonce").unwrap_or("no nonce").to_owned();
    if method == "HEAD" || status == 204 || status == 304 {
        return Some((status, said, Vec::new()));
    }
    let chunked = field(&head, "transfer-encoding").is_some();
    let length = field(&head, "content-length").and_then(|text| text.parse::<usize>().ok());
    loop {
        if chunked && buffer.ends_with(b"0\r\n\r\n") {
            let from = buffer.windows(2).position(|w| w == b"\r\n")? + 2;
            return Some((status, said, buffer.split_off(from)));
        }
        if length.is_some_and(|length| buffer.len() >= length) {
            // More than its length would be another's answer.
            return (Some(buffer.len()) == length)
                .then_some((status, said, buffer))
                .or_else(|| Some((status, "too much".into(), vec![])));
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}
