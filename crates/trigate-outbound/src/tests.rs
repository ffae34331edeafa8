//! The client against real servers on this machine.

use crate::{Outbound, OutboundSettings, Roots};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use trigate_core::port::{Fetch, FetchError};

/// Answers every connection with fixed bytes in pieces, and remembers what it was asked.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<String>>,
}

impl Server {
    async fn start(pieces: Vec<(u64, Vec<u8>)>, tls: Option<TlsAcceptor>) -> Self {
        Self::on("127.0.0.1:0", pieces, tls).await
    }

    async fn on(address: &str, pieces: Vec<(u64, Vec<u8>)>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (connections, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
        let server =
            Self { address: listener.local_addr().unwrap(), connections: connections.clone(), seen: seen.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (pieces, tls, seen) = (pieces.clone(), tls.clone(), seen.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, pieces, seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, pieces, seen).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/jwks?x=1", self.address)
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    pieces: Vec<(u64, Vec<u8>)>,
    seen: Arc<Mutex<String>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let got = stream.read(&mut buffer).await.unwrap_or(0);
    seen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..got]));
    for (wait_ms, bytes) in pieces {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

fn whole(text: &str) -> Vec<(u64, Vec<u8>)> {
    vec![(0, text.as_bytes().to_vec())]
}

fn client(timeout_ms: u64) -> Outbound {
    let allow_networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    Outbound::new(OutboundSettings { allow_networks, timeout_ms, ..OutboundSettings::default() }).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn it_fetches_and_posts() {
    let server = Server::start(whole(OK), None).await;
    let fetched = client(2000).get(&server.url(), 100).await.unwrap();
    assert_eq!((fetched.status, fetched.body.as_slice()), (200, b"{}".as_slice()));
    let seen = std::mem::take(&mut *server.seen.lock().unwrap());
    assert!(seen.starts_with("GET /jwks?x=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("accept: application/json\r\n") && seen.contains(&format!("host: {}\r\n", server.address)));

    let form = [("token", "a b&c"), ("token_type_hint", "access_token")];
    client(2000).post_form(&server.url(), &form, Some(("id:1", "p%ss")), 100).await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen.starts_with("POST /jwks?x=1 HTTP/1.1\r\n"), "{seen}");
    // RFC 6749 §2.3.1: base64 of `id%3A1:p%25ss`.
    assert!(seen.contains("authorization: Basic aWQlM0ExOnAlMjVzcw==\r\n"), "{seen}");
    assert!(seen.ends_with("token=a+b%26c&token_type_hint=access_token"), "{seen}");
}

#[tokio::test]
async fn an_answer_without_a_length_is_read_to_its_end() {
    let server = Server::start(whole("HTTP/1.1 404 Not Found\r\n\r\nnothing here"), None).await;
    let fetched = client(2000).get(&server.url(), 100).await.unwrap();
    assert_eq!((fetched.status, fetched.body.as_slice()), (404, b"nothing here".as_slice()));
}

#[tokio::test]
async fn o24_a12_forbidden_urls_see_no_connection() {
    let four = Server::on("0.0.0.0:0", whole(OK), None).await;
    let port = four.address.port();
    // The same port on IPv6, where the machine has it.
    let six = match TcpListener::bind(("::1", port)).await {
        Ok(probe) => {
            drop(probe);
            Some(Server::on(&format!("[::1]:{port}"), whole(OK), None).await)
        }
        Err(_) => None,
    };
    let hosts = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127.000.000.001",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "0",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "１２７.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
    ];
    let strict = Outbound::new(OutboundSettings { timeout_ms: 3000, ..OutboundSettings::default() }).unwrap();
    for host in hosts {
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://{host}:{port}/");
            let refused = strict.get(&url, 100).await;
            // Not every resolver knows `localhost.`; then there is no address to forbid.
            let unknown = host == "localhost." && matches!(refused, Err(FetchError::Failed(..)));
            assert!(unknown || matches!(refused, Err(FetchError::Forbidden(..))), "{url}: {refused:?}");
        }
    }
    let loopback = format!("127.0.0.1:{port}");
    for url in [
        format!("https://user:secret@{loopback}/"),
        format!("http://user@{loopback}/"),
        format!("http://@{loopback}/"),
        format!("http://1.1.1.1@{loopback}/"),
        format!("http://{loopback}\\@1.1.1.1/"),
        format!("http:\\\\{loopback}/"),
        format!("http://{loopback}/ "),
        format!("http://127.0.0.1\t:{port}/"),
        format!("http://{loopback}/\r\nx: y"),
        format!("ftp://{loopback}/"),
        format!("gopher://{loopback}/"),
        format!("ws://{loopback}/"),
        format!("//{loopback}/"),
        format!("{loopback}/"),
        "http://127.0.0.1:0/".to_owned(),
        "http://".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:application/json,{}".to_owned(),
        "javascript:alert(1)".to_owned(),
        String::new(),
        format!("http://{loopback}/{}", "a".repeat(3000)),
    ] {
        // Even where loopback is allowed.
        for client in [&strict, &client(3000)] {
            let refused = client.get(&url, 100).await;
            assert!(matches!(refused, Err(FetchError::Forbidden(..))), "{url}: {refused:?}");
        }
    }
    // Plain http to the public Internet, and inward names through an allowance for another network.
    assert!(matches!(client(3000).get("http://1.1.1.1/", 100).await, Err(FetchError::Forbidden(..))));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let seen = four.connections.load(Ordering::SeqCst) + six.map_or(0, |six| six.connections.load(Ordering::SeqCst));
    assert_eq!(seen, 0, "somebody was called");
    // The listener would have noticed.
    client(3000).get(&format!("http://localhost:{port}/"), 100).await.unwrap();
    assert!(four.connections.load(Ordering::SeqCst) <= 1);
}

#[tokio::test]
async fn a12_redirects_are_not_followed() {
    let inward = Server::start(whole(OK), None).await;
    for status in [301, 302, 303, 307, 308, 300, 304] {
        let head = format!("HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", inward.url());
        let server = Server::start(whole(&head), None).await;
        let refused = client(2000).get(&server.url(), 100).await;
        assert!(matches!(&refused, Err(FetchError::Failed(_, why)) if why.contains("redirect")), "{refused:?}");
    }
    assert_eq!(inward.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_more_than_max_bytes_are_read() {
    let body = "x".repeat(101);
    let with_length = format!("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n{body}");
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n65\r\n{body}\r\n0\r\n\r\n");
    let to_end = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    for text in [with_length, chunked, to_end] {
        let server = Server::start(whole(&text), None).await;
        let refused = client(2000).get(&server.url(), 100).await;
        assert!(matches!(&refused, Err(FetchError::Failed(_, why)) if why.contains("longer")), "{refused:?}");
        assert_eq!(client(2000).get(&server.url(), 101).await.unwrap().body.len(), 101);
    }
    // A length that is claimed is refused before its bytes are waited for.
    let server = Server::start(whole("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"), None).await;
    assert!(client(2000).get(&server.url(), 100).await.is_err());
    // A head without end.
    let server = Server::start(whole(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(200_000))), None).await;
    assert!(client(2000).get(&server.url(), 100).await.is_err());
}

#[tokio::test]
async fn a_cut_body_is_no_answer() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ] {
        let server = Server::start(whole(text), None).await;
        assert!(matches!(client(2000).get(&server.url(), 100).await, Err(FetchError::Failed(..))));
    }
}

#[allow(clippy::disallowed_methods, reason = "a deadline is measured in real time")]
async fn timed(url: &str) -> (bool, Duration) {
    let start = Instant::now();
    let late = matches!(client(300).get(url, 100_000).await, Err(FetchError::Failed(_, why)) if why.contains("300 ms"));
    (late, start.elapsed())
}

#[tokio::test]
async fn the_deadline_covers_silence_a_slow_head_and_a_slow_body() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let drip: Vec<_> = std::iter::once((0, head)).chain((0..1000).map(|_| (50, b"x".to_vec()))).collect();
    let slow_head: Vec<_> = b"HTTP/1.1 200 OK".iter().map(|byte| (50, vec![*byte])).collect();
    for pieces in [drip, slow_head, vec![(5000, vec![])]] {
        let server = Server::start(pieces, None).await;
        let (late, took) = timed(&server.url()).await;
        assert!(late && took < Duration::from_millis(1500), "{took:?}");
    }
    // A TLS handshake that never ends.
    let server = Server::start(vec![(5000, vec![])], None).await;
    let (late, took) = timed(&format!("https://{}/", server.address)).await;
    assert!(late && took < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test]
async fn tls_proves_the_name_by_the_roots_given() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Server::start(whole(OK), Some(TlsAcceptor::from(Arc::new(config)))).await;
    let port = server.address.port();
    let with = |roots| {
        let allow_networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        Outbound::new(OutboundSettings { allow_networks, timeout_ms: 3000, roots }).unwrap()
    };
    let trusting = with(Roots::Pem(made.cert.pem().into_bytes()));
    assert_eq!(trusting.get(&format!("https://localhost:{port}/"), 100).await.unwrap().body, b"{}");
    let other_name = trusting.get(&format!("https://127.0.0.1:{port}/"), 100).await;
    assert!(matches!(&other_name, Err(FetchError::Failed(_, why)) if why.contains("TLS")), "{other_name:?}");
    assert!(with(Roots::Native).get(&format!("https://localhost:{port}/"), 100).await.is_err());
    for bad in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let roots = Roots::Pem(bad.as_bytes().to_vec());
        assert!(Outbound::new(OutboundSettings { roots, ..OutboundSettings::default() }).is_err());
    }
}

#[test]
fn any_runtime_will_do() {
    for mut builder in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        builder.enable_all().build().unwrap().block_on(async {
            let server = Server::start(whole(OK), None).await;
            client(2000).get(&server.url(), 100).await.unwrap();
        });
    }
}
