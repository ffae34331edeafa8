//! Certificates on the wire (catalogue M01).

use crate::support::{TestTrigate, http};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::sync::Arc;
use tokio::net::TcpStream;
use trigate::operator::{By, cert::NewCertificate};

pub type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn handshake(t: &TestTrigate, identity: Option<(&str, &str)>) -> Option<Tls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(t.folder().join("ca/ca.pem")).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    let stream = TcpStream::connect(t.running.mtls_addr.unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()
}

/// A connection that stays open.
pub async fn connect(t: &TestTrigate, identity: (&str, &str)) -> Tls {
    handshake(t, Some(identity)).await.unwrap()
}

/// One more request on an open connection.
pub async fn ask_again(stream: &mut Tls) -> http::Reply {
    let request = b"GET /api/machines HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(stream, request).await.unwrap();
    let mut bytes = vec![0; 16_384];
    let n = tokio::io::AsyncReadExt::read(stream, &mut bytes).await.unwrap();
    http::parse(&bytes[..n]).into_iter().next().unwrap()
}

/// A request over TLS with this certificate; `None` when the handshake or what follows it was refused.
async fn ask(t: &TestTrigate, path: &str, identity: Option<(&str, &str)>) -> Option<http::Reply> {
    let mut stream = handshake(t, identity).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.ok()?;
    let (read, _) = http::read_all(&mut stream, std::time::Duration::from_secs(3)).await;
    if read.is_empty() { None } else { http::parse(&read).into_iter().next() }
}

async fn issue(t: &TestTrigate, name: &str, days: u32) -> (String, String) {
    let made =
        t.running.operator.issue_certificate(&By::system(), NewCertificate { name: name.into(), days }).await.unwrap();
    (made.certificate.clone(), made.private_key.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m01_only_a_living_certificate_of_our_authority_is_a_machine() {
    let t = TestTrigate::start().await;
    let good = issue(&t, "spiffe://acme.test/billing", 1).await;
    let reply = ask(&t, "/api/machines", Some((&good.0, &good.1))).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = t.upstream.last();
    assert_eq!(
        (seen.header("x-trigate-machine"), seen.header("x-forwarded-proto")),
        (Some("spiffe://acme.test/billing"), Some("https"))
    );
    let who = ask(&t, "/.trigate/whoami", Some((&good.0, &good.1))).await.unwrap().json();
    assert!(who["user"].is_null() && who["machine"] == "spiffe://acme.test/billing", "{who}");

    // Absence is a 401 with a record, not a broken handshake.
    assert_eq!(ask(&t, "/api/machines", None).await.unwrap().status, 401);
    let stranger = issue(&t, "spiffe://other.test/billing", 1).await;
    assert_eq!(ask(&t, "/api/machines", Some((&stranger.0, &stranger.1))).await.unwrap().status, 401);

    // Revoked: the same connection's next handshake is good still, the request is not.
    let revoked = issue(&t, "spiffe://acme.test/revoked", 1).await;
    assert_eq!(ask(&t, "/api/machines", Some((&revoked.0, &revoked.1))).await.unwrap().status, 200);
    let fingerprint = trigate::operator::cert::fingerprint_of_pem(&revoked.0).unwrap();
    let token = format!("Bearer {}", t.operator_token().await);
    let body = serde_json::json!({ "kind": "cert", "what": fingerprint }).to_string();
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let reply = t.desk().send("POST", "/api/v1/revocations", &headers, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(ask(&t, "/api/machines", Some((&revoked.0, &revoked.1))).await.unwrap().status, 401);

    t.upstream.forget();
    let expired = issue(&t, "spiffe://acme.test/expired", 0).await;
    let foreign = foreign("spiffe://acme.test/billing");
    for (name, identity) in [("expired", &expired), ("foreign", &foreign)] {
        let refused = ask(&t, "/api/machines", Some((&identity.0, &identity.1))).await;
        assert!(refused.as_ref().is_none_or(|reply| reply.status == 401), "{name}: {refused:?}");
    }
    assert!(t.upstream.seen().is_empty());
    assert!(t.connection_codes(1).await.iter().all(|code| code.starts_with("tls.")));
    t.stop().await;
}

/// Self-signed, with the right name.
fn foreign(uri: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
