//! Several addresses, HTTP/2 and mutual TLS towards APIs.

use crate::support::{
    TestTrigate,
    http::{Reply, parse, read_all},
    nginx::Nginx,
    upstream::Upstream,
};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use std::time::Duration;

const OPEN: &str = "\n[[route]]\nname = \"two\"\npath = \"/two/**\"\npublic = true\nupstream = \"two\"\n";

fn route(table: &str) -> String {
    format!("[upstreams.two]\n{table}\n{OPEN}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_to_every_address_and_past_a_dead_one() {
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let addresses =
        format!("addresses = [\"http://{}\", \"http://{}\", \"http://127.0.0.1:1\"]", one.address, other.address);
    let t = TestTrigate::start_with(&route(&addresses)).await;
    for n in 0..30 {
        // Nothing was sent to the dead address: a POST may go to the next as well.
        let reply =
            if n % 2 == 0 { t.get("/two/x", &[]).await } else { t.gate().send("POST", "/two/x", &[], b"hello").await };
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let (seen, more) = (one.seen(), other.seen());
    assert!(seen.len() > 5 && more.len() > 5 && seen.len() + more.len() == 30);
    assert!(seen.iter().chain(&more).filter(|seen| seen.line.starts_with("POST")).all(|seen| seen.body == b"hello"));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_take_an_address_out_and_bring_it_back() {
    let Some(nginx) = Nginx::start("listen 127.0.0.1:{port}; root {folder};", &[("x", "well"), ("up", "ok")]).await
    else {
        return;
    };
    let t = TestTrigate::start_with(&route(&format!(
        "addresses = [\"http://{}\"]\n[upstreams.two.health]\npath = \"/two/up\"\ninterval_s = 1\nhealthy = 1\nunhealthy = 1",
        nginx.address
    )))
    .await;
    // `/two/up` is not there: not well.
    wait_for(&t, 503).await;
    let reply = t.get("/two/x", &[]).await;
    assert_eq!((reply.header("retry-after"), reply.json()["title"].as_str()), (Some("1"), Some("unavailable")));
    nginx.put("two/up", "ok");
    nginx.put("two/x", "well");
    wait_for(&t, 200).await;
    nginx.remove("two/up");
    wait_for(&t, 503).await;
    t.stop().await;
}

async fn wait_for(t: &TestTrigate, status: u16) {
    for _ in 0..100 {
        if t.get("/two/x", &[]).await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_reaches_a_real_server_without_tls() {
    let server =
        "listen 127.0.0.1:{port} http2; location / { return 200 \"$server_protocol $http_host $request_uri\"; }";
    let Some(nginx) = Nginx::start(server, &[]).await else { return };
    let t = TestTrigate::start_with(&route(&format!("addresses = [\"h2c://{}\"]", nginx.address))).await;
    for _ in 0..5 {
        let reply = t.get("/two/x?q=1", &[]).await;
        assert_eq!(reply.text(), format!("HTTP/2.0 {} /two/x?q=1", nginx.address), "{}", nginx.log());
    }
    let reply = t.gate().send("POST", "/two/x", &[], &[b'x'; 900]).await;
    assert_eq!(reply.status, 200);
    t.stop().await;
}

/// An authority with a server's and a client's certificate.
pub struct Authority {
    key: KeyPair,
    params: CertificateParams,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { key, params, pem }
    }

    /// Certificate and key for this host.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }
}

const MUTUAL: &str = "listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/s.pem; ssl_certificate_key {folder}/s.key;\
    ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;\
    location / { return 200 \"$ssl_client_s_dn $server_protocol $ssl_server_name\"; }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_to_an_api_and_its_certificate_replaced() {
    let authority = Authority::new("backend");
    let (certificate, key) = authority.issue("orders.internal");
    let files = [("s.pem", certificate.as_str()), ("s.key", &key), ("ca.pem", &authority.pem)];
    let Some(nginx) = Nginx::start(MUTUAL, &files).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let (first, first_key) = authority.issue("gate-1");
    put("ca.pem", &authority.pem);
    put("c.pem", &first);
    put("c.key", &first_key);
    let at = folder.path().display();
    let table = |http2: bool| {
        format!(
            "addresses = [\"https://{}\"]\nhttp2 = {http2}\nca = \"{at}/ca.pem\"\ncertificate = \"{at}/c.pem\"\nkey = \
             \"{at}/c.key\"\nserver_name = \"orders.internal\"",
            nginx.address
        )
    };
    for http2 in [false, true] {
        put("c.pem", &first);
        put("c.key", &first_key);
        let t = TestTrigate::start_with(&route(&table(http2))).await;
        let protocol = if http2 { "HTTP/2.0" } else { "HTTP/1.1" };
        assert_eq!(t.get("/two/x", &[]).await.text(), format!("CN=gate-1 {protocol} orders.internal"));

        // Half a replacement changes nothing; the whole one is taken without a word.
        let (second, second_key) = authority.issue("gate-2");
        put("c.pem", &second);
        tokio::time::sleep(Duration::from_millis(1_400)).await;
        assert_eq!(t.get("/two/x", &[]).await.text(), format!("CN=gate-1 {protocol} orders.internal"));
        put("c.key", &second_key);
        let renewed = format!("CN=gate-2 {protocol} orders.internal");
        for _ in 0..40 {
            if t.get("/two/x", &[]).await.text() == renewed {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(t.get("/two/x", &[]).await.text(), renewed);
        t.stop().await;
    }

    // An API that is not the one is not spoken to.
    let wrong = table(false).replace("orders.internal", "billing.internal");
    let t = TestTrigate::start_with(&route(&wrong)).await;
    assert_eq!(t.get("/two/x", &[]).await.status, 502);
    t.stop().await;
}

/// Waits longer than `Wire` does; `None` when nothing came.
async fn get_patiently(t: &TestTrigate, path: &str) -> Option<Reply> {
    let mut stream = tokio::net::TcpStream::connect(t.running.gate_addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let (read, _) = read_all(&mut stream, Duration::from_secs(2)).await;
    parse(&read).pop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_a_hanging_api_is_a_504_and_harms_no_other_route() {
    let t = TestTrigate::start_with(&format!(
        "[upstreams.two]\naddresses = [\"http://127.0.0.1:1\"]\n{OPEN}[upstreams.slow]\naddresses = [\"http://{}\"]\nresponse_s = 1\n\
         [[route]]\npath = \"/slow/**\"\npublic = true\nupstream = \"slow\"\n",
        Upstream::start().await.address
    ))
    .await;
    let began = std::time::Instant::now();
    let (slow, other) = tokio::join!(get_patiently(&t, "/slow/hang"), async {
        let reply = t.get("/open/x", &[]).await;
        (reply.status, began.elapsed())
    });
    let slow = slow.unwrap();
    assert_eq!((slow.status, slow.json()["title"].as_str()), (504, Some("gateway timeout")));
    assert!(other.0 == 200 && other.1 < Duration::from_millis(800), "{other:?}");
    assert_eq!(t.get("/two/x", &[]).await.status, 502);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_more_requests_than_allowed_are_shed_at_once() {
    let t = TestTrigate::start_with("limits.requests = 2").await;
    let began = std::time::Instant::now();
    let replies = futures_util::future::join_all((0..12).map(|_| async {
        // Those that are let in wait for the API; those that are not are answered at once.
        get_patiently(&t, "/open/hang").await.map(|reply| (reply, began.elapsed()))
    }))
    .await;
    let shed: Vec<_> = replies.into_iter().flatten().collect();
    assert!(shed.len() >= 10, "{}", shed.len());
    for (reply, took) in &shed {
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
        assert!(*took < Duration::from_secs(1), "{took:?}");
    }
    // Those that hung leave records of their own when they go.
    let codes = t.connection_codes(10).await;
    assert!(codes.iter().filter(|code| *code == "limit.requests").count() >= 10, "{codes:?}");
}
