//! What does a crowd do to the gate? Thousands of slow connections, and more clients than there are descriptors, against the
//! real process (catalogue G18, R13).

use crate::support::{
    TestTrigate,
    http::Wire,
    process::{Process, fix_ports},
    upstream::Upstream,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// The gate as a process of its own, so that its descriptors are its own; the API stays here.
struct Crowded {
    process: Process,
    mtls: SocketAddr,
    _upstream: Upstream,
    _folder: tempfile::TempDir,
}

impl Crowded {
    async fn start(more: &str, open_files: Option<u32>) -> Self {
        let t = TestTrigate::start_with(more).await;
        let (folder, upstream) = t.stop_but_the_api().await;
        let ports = fix_ports(folder.path());
        let mtls = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = folder.path().join("trigate.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("mtls = \"127.0.0.1:0\"", &format!("mtls = \"{mtls}\""))).unwrap();
        let process = match open_files {
            None => Process::start_quiet(folder.path(), ports).await,
            Some(open_files) => Process::start_with_files(folder.path(), ports, open_files).await,
        };
        Self { process, mtls, _upstream: upstream, _folder: folder }
    }
}

/// The soft limit of this process; the gate's is the same.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[derive(Clone, Copy)]
enum Slow {
    Head,
    Body,
    Handshake,
}

/// Sends what must be sent at once, then a byte a second until it is closed; when that was.
async fn linger(to: SocketAddr, how: Slow) -> Duration {
    let started = Instant::now();
    let Ok(mut stream) = TcpStream::connect(to).await else { return Duration::ZERO };
    let first: &[u8] = match how {
        Slow::Head => b"GET /open/x HTTP/1.1\r\nhost: a",
        Slow::Body => b"POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n",
        Slow::Handshake => b"",
    };
    let mut buffer = [0; 512];
    let mut open = stream.write_all(first).await.is_ok();
    while open && started.elapsed() < Duration::from_secs(60) {
        if !matches!(how, Slow::Handshake) && stream.write_all(b"a").await.is_err() {
            break;
        }
        let read = timeout(Duration::from_secs(1), stream.read(&mut buffer)).await;
        open = !matches!(read, Ok(Ok(0) | Err(_)));
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g18_thousands_of_slow_connections_are_closed_and_harm_nobody() {
    // As many as the gate takes with these descriptors: half of them, less what it keeps for itself.
    let all = (open_files() / 2).saturating_sub(500).min(10_000);
    assert!(all >= 100, "too few descriptors to say anything");
    let gate = Crowded::start("limits.connections = 20000\nlimits.connections_per_address = 20000", None).await;
    let to = gate.process.gate.0;
    let kinds = [(Slow::Head, to, all * 4 / 9), (Slow::Body, to, all / 9), (Slow::Handshake, gate.mtls, all * 4 / 9)];
    let begun = Instant::now();
    let crowd: Vec<_> =
        kinds.iter().flat_map(|(how, to, n)| (0..*n).map(|_| tokio::spawn(linger(*to, *how)))).collect();
    let (mut took, mut crowd_is_there) = (Vec::new(), true);
    while crowd_is_there {
        let started = Instant::now();
        let reply = timeout(Duration::from_secs(5), gate.process.gate.send("GET", "/open/x", &[], b"")).await;
        assert_eq!(reply.expect("an answer within 5 s").status, 200);
        took.push(started.elapsed());
        sleep(Duration::from_millis(20)).await;
        crowd_is_there = crowd.iter().any(|one| !one.is_finished());
        assert!(begun.elapsed() < Duration::from_secs(50), "the crowd is not sent away");
    }
    let mut stayed = Vec::new();
    for one in crowd {
        stayed.push(one.await.unwrap());
    }
    stayed.sort();
    took.sort();
    let at = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{} slow connections, the last closed after {:?}; {} good requests beside them: median {:?}, p99 {:?}",
        stayed.len(),
        at(&stayed, 100),
        took.len(),
        at(&took, 50),
        at(&took, 99)
    );
    // Deadlines of 2 s; the rest is this machine's.
    assert!(at(&stayed, 100) < Duration::from_secs(30), "{:?}", at(&stayed, 100));
    gate.process.end();
}

/// Ticks of processor time (10 ms) that a process has used.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_more_clients_than_descriptors_stop_nothing_for_good() {
    let gate = Crowded::start("", Some(256)).await;
    let (to, desk): (Wire, Wire) = (gate.process.gate, gate.process.desk);
    let mut clients = Vec::new();
    for _ in 0..2_000 {
        clients.extend(timeout(Duration::from_secs(1), TcpStream::connect(to.0)).await.ok().and_then(Result::ok));
    }
    // Full, and at rest: no busy loop, and operators get in.
    let before = ticks(gate.process.id());
    for _ in 0..10 {
        let reply = timeout(Duration::from_secs(2), desk.send("GET", "/readyz", &[], b"")).await;
        assert_eq!(reply.expect("the desk answers").status, 200);
        sleep(Duration::from_millis(150)).await;
    }
    let used = ticks(gate.process.id()) - before;
    println!("{} clients at 256 descriptors; {used} ticks in 1.5 s", clients.len());
    assert!(used < 75, "a busy loop: {used} ticks of 150");
    drop(clients);
    let started = Instant::now();
    loop {
        // Refused ones are closed without an answer.
        let replies = to.raw(b"GET /open/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        if replies.first().is_some_and(|reply| reply.status == 200) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "it does not resume: {}", gate.process.said());
        sleep(Duration::from_millis(50)).await;
    }
    gate.process.end();
}
