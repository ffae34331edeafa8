//! Whose certificates count, where, and until when: authorities by host, revocation lists, changes while connections are
//! open (catalogue M03, M04, M11, M12, M13).

use crate::support::{TestTrigate, http};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpStream;

pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::make(name, None)
    }

    fn make(name: &str, above: Option<&Self>) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = match above {
            None => params.self_signed(&key).unwrap().pem(),
            Some(above) => params.signed_by(&key, &above.issuer()).unwrap().pem(),
        };
        Self { params, key, pem }
    }

    pub fn below(&self, name: &str) -> Self {
        Self::make(name, Some(self))
    }

    pub fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// Certificate and key in PEM.
    pub fn issue(&self, name: &str, serial: u64) -> (String, String) {
        issue_by(&self.issuer(), name, serial)
    }

    /// A list that revokes these, good for so many seconds.
    pub fn list(&self, revoked: &[u64], good_for_s: i64) -> String {
        let now = time::OffsetDateTime::now_utc();
        let revoked = revoked.iter().map(|serial| rcgen::RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - time::Duration::minutes(1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: now - time::Duration::minutes(5),
            next_update: now + time::Duration::seconds(good_for_s),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }
}

/// A client's certificate and key in PEM, signed by whomever, be it an authority or not.
pub fn issue_by(issuer: &Issuer<'_, impl rcgen::SigningKey>, name: &str, serial: u64) -> (String, String) {
    issue_bent(issuer, name, serial, |_| ())
}

/// The same, with something about it changed.
pub fn issue_bent(
    issuer: &Issuer<'_, impl rcgen::SigningKey>,
    name: &str,
    serial: u64,
    bend: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(serial));
    bend(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

pub type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection to the mTLS listener, asking for the server by this name.
pub async fn connect(
    t: &TestTrigate,
    identity: Option<(&str, &str)>,
    sni: &str,
    fragment: Option<usize>,
) -> Option<Tls> {
    let stream = TcpStream::connect(t.running.mtls_addr.unwrap()).await.unwrap();
    shake_hands(stream, identity, sni, fragment).await
}

/// TLS over this connection.
pub async fn shake_hands(
    stream: TcpStream,
    identity: Option<(&str, &str)>,
    sni: &str,
    fragment: Option<usize>,
) -> Option<Tls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.max_fragment_size = fragment;
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
}

/// The server's name is not what these tests are about.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        use rustls::SignatureScheme as S;
        vec![S::ECDSA_NISTP256_SHA256, S::ECDSA_NISTP384_SHA384, S::RSA_PSS_SHA256, S::ED25519]
    }
}

/// One request on this connection; the status, or 0 where the connection ended.
pub async fn send(stream: &mut Tls, host: &str, headers: &str) -> u16 {
    let request = format!("GET /api/machines HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    if tokio::io::AsyncWriteExt::write_all(stream, request.as_bytes()).await.is_err() {
        return 0;
    }
    let mut bytes = vec![0; 16_384];
    let n = tokio::io::AsyncReadExt::read(stream, &mut bytes).await.unwrap_or(0);
    http::parse(&bytes[..n]).into_iter().next().map_or(0, |reply| reply.status)
}

pub async fn ask(t: &TestTrigate, identity: &(String, String), host: &str) -> u16 {
    match connect(t, Some((&identity.0, &identity.1)), "localhost", None).await {
        Some(mut stream) => send(&mut stream, host, "").await,
        None => 0,
    }
}

/// Puts lines into `[mtls]`, and takes the file into force.
pub fn configure(t: &TestTrigate, lines: &str) -> Result<(), String> {
    let path = t.folder().join("trigate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("[mtls]\n", &format!("[mtls]\n{lines}\n"), 1)).unwrap();
    t.running.reload()
}

fn write(t: &TestTrigate, name: &str, text: &str) -> PathBuf {
    let path = t.folder().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn reasons(t: &TestTrigate) -> Vec<&'static str> {
    t.decisions(1).await.into_iter().filter_map(|decision| decision.reason).map(|reason| reason.code()).collect()
}

async fn until(what: &str, mut asked: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if asked().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m13_a_withdrawn_authority_ends_on_open_connections_and_a_broken_file_changes_nothing() {
    let t = TestTrigate::start().await;
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    write(&t, "ca/ca.pem", &old.pem);
    t.running.reload().unwrap();
    let (mine, theirs) = (old.issue("spiffe://acme.test/a", 7), new.issue("spiffe://acme.test/b", 7));
    let mut open = connect(&t, Some((&mine.0, &mine.1)), "localhost", None).await.unwrap();
    assert_eq!(send(&mut open, "localhost", "").await, 200);
    assert_eq!(ask(&t, &theirs, "localhost").await, 0);

    // Unreadable, empty, and not of authorities: each fails loudly, and the old set stays.
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &mine.0] {
        write(&t, "ca/ca.pem", broken);
        assert!(t.running.reload().unwrap_err().contains("ca.pem"), "{broken}");
        assert_eq!(send(&mut open, "localhost", "").await, 200);
        assert_eq!(ask(&t, &mine, "localhost").await, 200);
        let mut nobody = connect(&t, None, "localhost", None).await.unwrap();
        assert_eq!(send(&mut nobody, "localhost", "").await, 401);
        assert_eq!(ask(&t, &theirs, "localhost").await, 0);
    }

    // Changed, and taken into force without a signal: the open connection is judged by the new set.
    write(&t, "ca/ca.pem", &new.pem);
    until("the new authority", async || send(&mut open, "localhost", "").await == 401).await;
    assert_eq!((ask(&t, &theirs, "localhost").await, ask(&t, &mine, "localhost").await), (200, 0));
    write(&t, "ca/ca.pem", &format!("{}{}", new.pem, old.pem));
    t.running.reload().unwrap();
    assert_eq!((send(&mut open, "localhost", "").await, ask(&t, &theirs, "localhost").await), (200, 200));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m03_a_list_that_changes_ends_what_it_names() {
    let t = TestTrigate::start().await;
    let authority = Authority::new("listed");
    write(&t, "ca/ca.pem", &authority.pem);
    write(&t, "acme.crl", &authority.list(&[9], 600));
    configure(&t, "crl = \"acme.crl\"").unwrap();
    let (mine, gone) = (authority.issue("spiffe://acme.test/a", 7), authority.issue("spiffe://acme.test/b", 9));
    let mut open = connect(&t, Some((&mine.0, &mine.1)), "localhost", None).await.unwrap();
    assert_eq!(send(&mut open, "localhost", "").await, 200);
    assert_eq!(ask(&t, &gone, "localhost").await, 0);
    write(&t, "acme.crl", &authority.list(&[7, 9], 600));
    until("the new list", async || send(&mut open, "localhost", "").await == 401).await;
    until("the record", async || reasons(&t).await.contains(&"certificate.revoked")).await;

    // A truncated list is loud, and the last good one stays.
    let list = authority.list(&[], 600);
    write(&t, "acme.crl", &list[..list.len() / 2]);
    assert!(t.running.reload().unwrap_err().contains("acme.crl"));
    assert_eq!(send(&mut open, "localhost", "").await, 401);
    t.stop().await;
}

/// Answers every request with what it holds: a status and a body.
async fn list_server(answer: Arc<Mutex<(u16, String)>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/acme.crl", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 2_048];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
            let (status, body) = answer.lock().unwrap().clone();
            let text =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m04_a_required_list_by_url_fails_closed_until_it_is_there() {
    let authority = Authority::new("remote");
    let answer = Arc::new(Mutex::new((404, String::new())));
    let url = list_server(Arc::clone(&answer)).await;
    let host = format!(
        "[[mtls.host]]\nname = \"partners.test\"\nca = \"partners.pem\"\ncrl = \"{url}\"\n[[mtls.host]]\nname = \
         \"lax.test\"\nca = \"partners.pem\"\ncrl = \"{url}\"\ncrl_use = \"if_present\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("partners.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let t = TestTrigate::start_with(&host.replace("partners.pem", &ca.display().to_string())).await;
    configure(&t, "refresh_s = 1").unwrap();
    let mine = authority.issue("spiffe://acme.test/a", 7);
    // The handshake passes, because one host asks for no list.
    let mut open = connect(&t, Some((&mine.0, &mine.1)), "localhost", None).await.unwrap();
    assert_eq!(send(&mut open, "lax.test", "").await, 200);
    assert_eq!(send(&mut open, "partners.test", "").await, 401);
    until("the record", async || reasons(&t).await.contains(&"certificate.status_unknown")).await;
    assert!(t.running.metrics.render().contains("trigate_trust_failures_total"));

    *answer.lock().unwrap() = (200, authority.list(&[], 600));
    until("the list", async || send(&mut open, "partners.test", "").await == 200).await;
    // An answer that is no list changes nothing; the next good one does.
    *answer.lock().unwrap() = (200, "<html>".into());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(send(&mut open, "partners.test", "").await, 200);
    *answer.lock().unwrap() = (200, authority.list(&[7], 600));
    until("the revocation", async || send(&mut open, "partners.test", "").await == 401).await;
    assert_eq!(send(&mut open, "lax.test", "").await, 401);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m12_the_host_of_the_request_decides_whose_authorities_count() {
    let (ours, partners) = (Authority::new("ours"), Authority::new("partners"));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("partners.pem");
    std::fs::write(&ca, &partners.pem).unwrap();
    let host =
        format!("[[mtls.host]]\nname = [\"partners.test\"]\nca = \"{}\"\ntrust_domain = \"acme.test\"\n", ca.display());
    let t = TestTrigate::start_with(&host).await;
    write(&t, "ca/ca.pem", &ours.pem);
    t.running.reload().unwrap();
    let (mine, theirs) = (ours.issue("spiffe://acme.test/a", 1), partners.issue("spiffe://acme.test/b", 1));
    for sni in ["localhost", "partners.test", "PARTNERS.test", "elsewhere.test"] {
        for fragment in [None, Some(64)] {
            let mut mine = connect(&t, Some((&mine.0, &mine.1)), sni, fragment).await.unwrap();
            let mut theirs = connect(&t, Some((&theirs.0, &theirs.1)), sni, fragment).await.unwrap();
            // On one connection, in any order: no verdict of one host serves another.
            for (host, mine_passes, theirs_passes) in [
                ("localhost", 200, 401),
                ("partners.test", 401, 200),
                ("Partners.TEST:8443", 401, 200),
                ("localhost", 200, 401),
                ("partners.test.", 401, 200),
            ] {
                assert_eq!(send(&mut mine, host, "").await, mine_passes, "{sni} {host}");
                assert_eq!(send(&mut theirs, host, "").await, theirs_passes, "{sni} {host}");
            }
            let mut nobody = connect(&t, None, sni, fragment).await.unwrap();
            assert_eq!(send(&mut nobody, "partners.test", "").await, 401);
        }
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_other_authorities_are_revoked_by_number_key_and_spiffe_id() {
    let t = TestTrigate::start().await;
    let authority = Authority::new("acme");
    write(&t, "ca/ca.pem", &authority.pem);
    t.running.reload().unwrap();
    let token = format!("Bearer {}", t.operator_token().await);
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let (a, b, c, d) = (
        authority.issue("spiffe://acme.test/a", 0x2a),
        authority.issue("spiffe://acme.test/b", 0x2b),
        authority.issue("spiffe://acme.test/c", 0x2c),
        authority.issue("spiffe://acme.test/d", 0x2d),
    );
    let der = CertificateDer::from_pem_slice(b.0.as_bytes()).unwrap();
    let key = trigate_x509::Certificate::read(&der).unwrap().facts().key.clone();
    let revocations = [
        (&a, serde_json::json!({ "kind": "cert_serial", "what": "00:2A", "issuer": "CN=acme" })),
        (&b, serde_json::json!({ "kind": "cert_key", "what": key })),
        (&c, serde_json::json!({ "kind": "spiffe", "what": "spiffe://acme.test/c" })),
    ];
    let mut spared = connect(&t, Some((&d.0, &d.1)), "localhost", None).await.unwrap();
    for (identity, body) in revocations {
        let mut open = connect(&t, Some((&identity.0, &identity.1)), "localhost", None).await.unwrap();
        assert_eq!(send(&mut open, "localhost", "").await, 200);
        let reply = t.desk().send("POST", "/api/v1/revocations", &headers, body.to_string().as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        // At once, on the connection that is open.
        assert_eq!(send(&mut open, "localhost", "").await, 401, "{body}");
        assert_eq!(ask(&t, identity, "localhost").await, 401, "{body}");
    }
    assert_eq!(send(&mut spared, "localhost", "").await, 200);
    for bad in [
        serde_json::json!({ "kind": "cert_serial", "what": "xyz", "issuer": "CN=acme" }),
        serde_json::json!({ "kind": "cert_serial", "what": "2d" }),
        serde_json::json!({ "kind": "cert_key", "what": "2d" }),
        serde_json::json!({ "kind": "spiffe", "what": "spiffe://acme.test/a/../b" }),
    ] {
        let reply = t.desk().send("POST", "/api/v1/revocations", &headers, bad.to_string().as_bytes()).await;
        assert!((400..500).contains(&reply.status), "{bad}: {}", reply.text());
    }
    t.stop().await;
}

/// The second half of M11: there is no resumption, so every connection proves its key anew. By openssl and curl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m11_no_session_is_resumed_and_real_clients_pass() {
    let t = TestTrigate::start().await;
    let authority = Authority::new("acme");
    let server_ca = t.folder().join("server-ca.pem");
    std::fs::copy(t.folder().join("ca/ca.pem"), &server_ca).unwrap();
    write(&t, "ca/ca.pem", &authority.pem);
    t.running.reload().unwrap();
    let mine = authority.issue("spiffe://acme.test/a", 7);
    let (certificate, key) = (write(&t, "mine.pem", &mine.0), write(&t, "mine.key", &mine.1));
    let port = t.running.mtls_addr.unwrap().port();
    let url = format!("https://localhost:{port}/api/machines");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let curl = |with: bool| {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{response_code}", "--resolve", &resolve, "--cacert"])
            .arg(&server_ca);
        if with {
            curl.arg("--cert").arg(&certificate).arg("--key").arg(&key);
        }
        curl.arg(&url);
        async move { String::from_utf8(curl.output().await.unwrap().stdout).unwrap() }
    };
    assert_eq!((curl(true).await.as_str(), curl(false).await.as_str()), ("200", "401"));
    for version in ["-tls1_2", "-tls1_3"] {
        let session = t.folder().join("session");
        for direction in ["-sess_out", "-sess_in"] {
            if direction == "-sess_in" && !session.exists() {
                continue;
            }
            let output = tokio::process::Command::new("openssl")
                .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "localhost", version])
                .arg("-cert")
                .arg(&certificate)
                .arg("-key")
                .arg(&key)
                .arg(direction)
                .arg(&session)
                .stdin(std::process::Stdio::null())
                .output()
                .await
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains("New, TLS") && !said.contains("Reused, TLS"), "{version}: {said}");
        }
        let _ = std::fs::remove_file(session);
    }
    t.stop().await;
}
