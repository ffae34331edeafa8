//! Certificates in headers (catalogue M10, RFC 9440): taken from configured proxies alone, told to the APIs that ask.

use crate::{
    mtls_trust::{Authority, configure, connect, send},
    support::TestTrigate,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};

fn header(pem: &str) -> String {
    format!(":{}:", STANDARD.encode(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()))
}

const TOLD: &str = "[[route]]\nname = \"told\"\npath = \"/api/told\"\ndemands = \"certificate\"\nclient_cert = true\nupstream = \"sample\"\n";

async fn start(lines: &str) -> (TestTrigate, Authority, Authority) {
    let t = TestTrigate::start_with(TOLD).await;
    let root = Authority::new("root");
    let middle = root.below("middle");
    std::fs::write(t.folder().join("ca/ca.pem"), &root.pem).unwrap();
    configure(&t, lines).unwrap();
    (t, root, middle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m10_certificates_in_headers_are_taken_from_configured_proxies_only() {
    let (t, _, middle) = start("proxies = [\"10.0.0.0/8\"]").await;
    let (leaf, _) = middle.issue("spiffe://acme.test/a", 7);
    let (certificate, chain) = (header(&leaf), header(&middle.pem));
    let forged = [("client-cert", certificate.as_str()), ("client-cert-chain", chain.as_str())];
    // This caller is no proxy: nothing is believed, and nothing goes on.
    assert_eq!(t.get("/api/machines", &forged).await.status, 401);
    let also =
        [forged[0], forged[1], ("x-ssl-client-cert", "x"), ("x-forwarded-client-cert", "By=x"), ("client_cert", "x")];
    assert_eq!(t.get("/open/x", &also).await.status, 200);
    let seen = t.upstream.last();
    for name in ["client-cert", "client-cert-chain", "x-ssl-client-cert", "x-forwarded-client-cert", "client_cert"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m10_rfc9440_a_proxys_word_is_judged_like_a_handshake() {
    let (t, root, middle) = start("proxies = [\"127.0.0.0/8\", \"::1\"]").await;
    let (leaf, _) = middle.issue("spiffe://acme.test/a", 7);
    let (certificate, chain) = (header(&leaf), header(&middle.pem));
    let whole = [("client-cert", certificate.as_str()), ("client-cert-chain", chain.as_str())];
    let reply = t.get("/api/machines", &whole).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(t.upstream.last().header("x-trigate-machine"), Some("spiffe://acme.test/a"));
    // Told on where the route says so, and only there.
    assert_eq!(t.upstream.last().header("client-cert"), None);
    assert_eq!(t.get("/api/told", &whole).await.status, 200);
    let seen = t.upstream.last();
    assert_eq!((seen.header("client-cert"), seen.header("client-cert-chain")), (Some(&*certificate), Some(&*chain)));

    let foreign = header(&Authority::new("middle").issue("spiffe://acme.test/a", 7).0);
    let direct = header(&root.issue("spiffe://acme.test/a", 8).0);
    for (name, headers, status) in [
        ("none", vec![], 401),
        ("without its chain", vec![("client-cert", certificate.as_str())], 401),
        ("of the root itself", vec![("client-cert", direct.as_str())], 200),
        ("foreign", vec![("client-cert", foreign.as_str()), ("client-cert-chain", chain.as_str())], 401),
        ("chain alone", vec![("client-cert-chain", chain.as_str())], 401),
        ("twice", vec![("client-cert", direct.as_str()), ("client-cert", direct.as_str())], 401),
        ("no byte sequence", vec![("client-cert", "MIIB")], 401),
        ("no certificate", vec![("client-cert", ":AQID:")], 401),
        ("older proxies' words", vec![("x-forwarded-client-cert", certificate.as_str())], 401),
    ] {
        assert_eq!(t.get("/api/machines", &headers).await.status, status, "{name}");
    }
    // A good token does not make a bad certificate good.
    let token = format!("Bearer {}", t.service_token("orders:read").await);
    let both = [("authorization", token.as_str()), ("client-cert", foreign.as_str())];
    assert_eq!(t.get("/api/machines", &both).await.status, 401);
    // Authorities that clients leave out may be known here.
    std::fs::write(t.folder().join("middle.pem"), &middle.pem).unwrap();
    configure(&t, "intermediates = \"middle.pem\"").unwrap();
    assert_eq!(t.get("/api/machines", &[whole[0]]).await.status, 200);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m10_a_proxy_may_prove_itself_by_its_own_certificate() {
    let (t, root, middle) = start("proxy_names = [\"spiffe://acme.test/edge\"]").await;
    let (leaf, _) = middle.issue("spiffe://acme.test/a", 7);
    let headers = format!("Client-Cert: {}\r\nClient-Cert-Chain: {}\r\n", header(&leaf), header(&middle.pem));
    let (edge, other) = (root.issue("spiffe://acme.test/edge", 1), root.issue("spiffe://acme.test/other", 2));
    let mut proxy = connect(&t, Some((&edge.0, &edge.1)), "localhost", None).await.unwrap();
    assert_eq!(send(&mut proxy, "localhost", &headers).await, 200);
    assert_eq!(t.upstream.last().header("x-trigate-machine"), Some("spiffe://acme.test/a"));
    // Its own certificate never stands for a client that showed none.
    assert_eq!(send(&mut proxy, "localhost", "").await, 401);
    // A machine that is no proxy speaks for itself alone.
    let mut machine = connect(&t, Some((&other.0, &other.1)), "localhost", None).await.unwrap();
    assert_eq!(send(&mut machine, "localhost", &headers).await, 200);
    assert_eq!(t.upstream.last().header("x-trigate-machine"), Some("spiffe://acme.test/other"));
    // Nor does one whose certificate was revoked here.
    let token = format!("Bearer {}", t.operator_token().await);
    let desk = [("authorization", token.as_str()), ("content-type", "application/json")];
    let body = serde_json::json!({ "kind": "spiffe", "what": "spiffe://acme.test/edge" }).to_string();
    assert_eq!(t.desk().send("POST", "/api/v1/revocations", &desk, body.as_bytes()).await.status, 200);
    assert_eq!(send(&mut proxy, "localhost", &headers).await, 401);
    t.stop().await;
}
