//! Client certificates at the token endpoint (RFC 8705), over real handshakes, from `curl --cert` and npm `openid-client`
//! to the gate (catalogue O40, M11).

use crate::{
    foreign::{blocking, node_folder, part, run},
    mtls_trust::Authority,
    support::{FORM, REDIRECT, TestTrigate, authorize, form},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{path::PathBuf, process::Command};
use trigate::operator::{
    By,
    cert::NewCertificate,
    client::{ClientPolicy, NewClient},
};
use trigate_core::{
    client::{ClientAuthentication, GrantType},
    id::ClientId,
};

const LISTENS: &str = "server.issuer_mtls = \"127.0.0.1:0\"\n[issuer.mtls]\nca = \"ca/ca.pem\"\ncertificate = \"ca/server.pem\"\nkey = \"ca/server.key\"\n";
const BILLING: &str = "spiffe://acme.test/billing";

/// Certificate and key, as files.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    fn keep(t: &TestTrigate, name: &str, (certificate, key): (&str, &str)) -> Self {
        let path = |end: &str| t.folder().join(format!("{name}{end}"));
        let kept = Self { certificate: path(".pem"), key: path(".key") };
        std::fs::write(&kept.certificate, certificate).unwrap();
        std::fs::write(&kept.key, key).unwrap();
        kept
    }

    /// Of the authority that the issuer and the gate trust.
    async fn issue(t: &TestTrigate, file: &str, name: &str) -> Self {
        let new = NewCertificate { name: name.into(), days: 1 };
        let made = t.running.operator.issue_certificate(&By::system(), new).await.unwrap();
        Self::keep(t, file, (&made.certificate, &made.private_key))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.certificate).unwrap()
    }
}

async fn register(t: &TestTrigate, id: &str, policy: ClientPolicy) {
    let policy = ClientPolicy {
        scopes: policy.scopes.or(Some(vec!["orders:read".into()])),
        resources: Some(vec![t.running.urls.gate.clone()]),
        ..policy
    };
    let new = NewClient { app: "app_machines".into(), id: Some(ClientId::parse(id).unwrap()), policy };
    t.running.operator.create_client(&By::system(), new).await.unwrap_or_else(|error| panic!("{error}"));
}

fn by_uri(uri: &str) -> ClientPolicy {
    ClientPolicy {
        authentication: Some(ClientAuthentication::TlsClientAuth),
        tls_client_auth_san_uri: Some(uri.into()),
        ..ClientPolicy::default()
    }
}

/// Status and body, by `curl`; 0 where the handshake failed.
async fn curl(t: &TestTrigate, url: String, by: Option<&Identity>, more: &[&str]) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args(["-s", "-w", "\n%{http_code}", "--cacert"]).arg(t.folder().join("ca/ca.pem")).args(more).arg(url);
    if let Some(identity) = by {
        command.arg("--cert").arg(&identity.certificate).arg("--key").arg(&identity.key);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

fn endpoint(t: &TestTrigate, path: &str) -> String {
    format!("https://localhost:{}{path}", t.running.issuer_mtls_addr.unwrap().port())
}

async fn token(t: &TestTrigate, client: &str, by: Option<&Identity>) -> (u16, Value) {
    let body = form(&[("grant_type", "client_credentials"), ("client_id", client)]);
    curl(t, endpoint(t, "/oauth/token"), by, &["-d", &body]).await
}

async fn is_proven(t: &TestTrigate, client: &str, by: Option<&Identity>) -> bool {
    match token(t, client, by).await {
        (200, answer) => answer["access_token"].is_string(),
        (401, answer) if answer["error"] == "invalid_client" => false,
        other => panic!("{other:?}"),
    }
}

async fn at_gate(t: &TestTrigate, token: &str, by: Option<&Identity>) -> u16 {
    let url = format!("https://localhost:{}/api/machines", t.running.mtls_addr.unwrap().port());
    curl(t, url, by, &["-H", &format!("authorization: Bearer {token}")]).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m11_rfc8705_3_curl_gets_a_token_that_the_gate_takes_with_that_certificate_alone() {
    let t = TestTrigate::start_with(LISTENS).await;
    let own = Identity::issue(&t, "own", BILLING).await;
    let other = Identity::issue(&t, "other", "spiffe://acme.test/other").await;
    register(&t, "c3", by_uri(BILLING)).await;
    let (status, answer) = token(&t, "c3", Some(&own)).await;
    assert_eq!((status, answer["token_type"].as_str()), (200, Some("Bearer")), "{answer}");
    let text = answer["access_token"].as_str().unwrap();
    assert_eq!(at_gate(&t, text, Some(&own)).await, 200);
    assert_eq!(at_gate(&t, text, Some(&other)).await, 401);
    assert_eq!(at_gate(&t, text, None).await, 401);
    let bearer = format!("Bearer {text}");
    assert_eq!(t.get("/api/machines", &[("authorization", &bearer)]).await.status, 401, "stolen, and sent plainly");
    // No page of a person is at this place.
    for path in ["/login", "/oauth/authorize", "/", "/.well-known/jwks.json"] {
        assert_eq!(curl(&t, endpoint(&t, path), Some(&own), &[]).await.0, 404, "{path}");
    }
    t.stop().await;
}

/// A token for the gate that is bound to this certificate, by way of `Client-Cert` from this machine.
pub async fn bound_token(t: &TestTrigate, pem: &str) -> String {
    register(t, "bound", by_uri(BILLING)).await;
    let told = format!(":{}:", STANDARD.encode(trigate_x509::read_pem(pem.as_bytes()).unwrap().remove(0)));
    let body = form(&[("grant_type", "client_credentials"), ("client_id", "bound")]);
    let reply = t.issuer().send("POST", "/oauth/token", &[FORM, ("client-cert", &told)], body.as_bytes()).await;
    reply.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
}

/// Self-signed, with these names.
pub fn self_signed(uri: &str, subject: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o40_rfc8705_2_other_certificates_prove_nobody() {
    let t = TestTrigate::start_with(LISTENS).await;
    let own = Identity::issue(&t, "own", BILLING).await;
    let same_cn = Identity::issue(&t, "same", "spiffe://other.test/billing").await;
    let (certificate, key) = self_signed(BILLING, "billing");
    let forged = Identity::keep(&t, "forged", (&certificate, &key));
    register(&t, "by-uri", by_uri(BILLING)).await;
    let by_subject = ClientPolicy {
        tls_client_auth_san_uri: None,
        tls_client_auth_subject_dn: Some("cn=billing".into()),
        ..by_uri("")
    };
    register(&t, "by-subject", by_subject).await;
    let registered = |certificate: Option<String>, jwks: Option<Value>| ClientPolicy {
        authentication: Some(ClientAuthentication::SelfSignedTlsClientAuth),
        certificate,
        jwks,
        ..ClientPolicy::default()
    };
    register(&t, "registered", registered(Some(forged.text()), None)).await;
    for (client, identity, good) in [
        ("by-uri", Some(&own), true),
        ("by-uri", Some(&same_cn), false),
        ("by-uri", Some(&forged), false),
        ("by-uri", None, false),
        ("by-subject", Some(&own), true),
        ("by-subject", Some(&same_cn), true),
        ("by-subject", Some(&forged), false),
        // RFC 8705 §2.2: this very certificate; the chain of another does not count.
        ("registered", Some(&forged), true),
        ("registered", Some(&own), false),
        ("registered", None, false),
    ] {
        assert_eq!(is_proven(&t, client, identity).await, good, "{client} {:?}", identity.map(|it| &it.certificate));
    }
    // A JWK set with the certificate, or with its key alone.
    let (certificate, key) = self_signed("spiffe://acme.test/jwk", "jwk");
    let pair = rcgen::KeyPair::from_pem(&key).unwrap();
    let point = rcgen::PublicKeyData::der_bytes(&pair).to_vec();
    let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let mut jwk = json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..65]) });
    let by_jwk = Identity::keep(&t, "jwk", (&certificate, &key));
    register(&t, "by-key", registered(None, Some(json!({ "keys": [jwk.clone()] })))).await;
    let der = trigate_x509::read_pem(certificate.as_bytes()).unwrap().remove(0);
    // RFC 7517 §4.7: another's certificate beside the key is no registration.
    let mut torn = jwk.clone();
    torn["x5c"] = json!([STANDARD.encode(trigate_x509::read_pem(forged.text().as_bytes()).unwrap().remove(0))]);
    let policy = registered(None, Some(json!({ "keys": [torn] })));
    let new = NewClient { app: "app_machines".into(), id: None, policy };
    assert_eq!(t.running.operator.create_client(&By::system(), new).await.err().map(|error| error.status()), Some(400));
    jwk["x5c"] = json!([STANDARD.encode(der)]);
    register(&t, "by-x5c", registered(None, Some(json!({ "keys": [jwk] })))).await;
    for client in ["by-key", "by-x5c"] {
        assert!(is_proven(&t, client, Some(&by_jwk)).await && !is_proven(&t, client, Some(&forged)).await, "{client}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o40_a_certificate_that_was_taken_back_gets_no_token() {
    let t = TestTrigate::start_with(LISTENS).await;
    register(&t, "c3", by_uri(BILLING)).await;
    let facts = |pem: &str| trigate_x509::Certificate::read(&trigate_x509::read_pem(pem.as_bytes()).unwrap()[0]);
    let token = format!("Bearer {}", t.operator_token().await);
    let desk = [("authorization", token.as_str()), ("content-type", "application/json")];
    for kind in ["cert", "cert_serial", "cert_key", "spiffe"] {
        let own = Identity::issue(&t, kind, BILLING).await;
        assert!(is_proven(&t, "c3", Some(&own)).await, "{kind}: a new one works");
        let facts = facts(&own.text()).unwrap().facts().clone();
        let body = match kind {
            "cert" => json!({ "kind": kind, "what": facts.fingerprint }),
            "cert_serial" => json!({ "kind": kind, "what": facts.serial, "issuer": facts.issuer }),
            "cert_key" => json!({ "kind": kind, "what": facts.key }),
            _ => json!({ "kind": kind, "what": BILLING }),
        };
        let reply = t.desk().send("POST", "/api/v1/revocations", &desk, body.to_string().as_bytes()).await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
        assert!(!is_proven(&t, "c3", Some(&own)).await, "{kind}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8705_4_userinfo_and_refresh_want_the_certificate_of_a_public_client() {
    let t = TestTrigate::start_with(LISTENS).await;
    let own = Identity::issue(&t, "own", BILLING).await;
    let other = Identity::issue(&t, "other", "spiffe://acme.test/other").await;
    let phone = ClientPolicy {
        authentication: Some(ClientAuthentication::None),
        redirect_uris: Some(vec![REDIRECT.into()]),
        grants: Some(vec![GrantType::AuthorizationCode, GrantType::RefreshToken]),
        scopes: Some(["openid", "offline_access"].map(str::to_owned).to_vec()),
        asks_consent: Some(false),
        tls_client_certificate_bound_access_tokens: Some(true),
        ..ClientPolicy::default()
    };
    register(&t, "phone", phone).await;
    let exchange = authorize(&t.issuer(), "phone", t.alice.email, "openid offline_access", &t.running.urls.gate).await;
    let (status, tokens) = curl(&t, endpoint(&t, "/oauth/token"), Some(&own), &["-d", &exchange]).await;
    assert_eq!(status, 200, "{tokens}");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    let userinfo = endpoint(&t, "/oauth/userinfo");
    let ask = async |by: Option<&Identity>| curl(&t, userinfo.clone(), by, &["-H", &bearer]).await;
    let (status, claims) = ask(Some(&own)).await;
    assert_eq!((status, &claims["sub"]), (200, &json!(t.alice.id)), "{claims}");
    assert_eq!((ask(Some(&other)).await.0, ask(None).await.0), (401, 401));
    let text = bearer.split_once(": ").unwrap().1;
    assert_eq!(t.issuer().send("GET", "/oauth/userinfo", &[("authorization", text)], b"").await.status, 401);
    let refresh = form(&[
        ("grant_type", "refresh_token"),
        ("client_id", "phone"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ]);
    let refresh = async |by: Option<&Identity>| curl(&t, endpoint(&t, "/oauth/token"), by, &["-d", &refresh]).await;
    assert_eq!(refresh(None).await.1["error"], "invalid_request");
    assert_eq!(refresh(Some(&other)).await.1["error"], "invalid_grant");
    assert_eq!(refresh(Some(&own)).await.0, 200);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m10_rfc9440_the_issuer_believes_configured_proxies_only() {
    for (proxies, believed) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let more = format!("[issuer.mtls]\nca = \"clients.pem\"\nproxies = [\"{proxies}\"]\n");
        let authority = Authority::new("clients");
        let t = TestTrigate::start_with_files(&more, &[("clients.pem", &authority.pem)]).await;
        register(&t, "c3", by_uri(BILLING)).await;
        let told = |(pem, _): (String, String)| {
            format!(":{}:", STANDARD.encode(trigate_x509::read_pem(pem.as_bytes()).unwrap().remove(0)))
        };
        let body = form(&[("grant_type", "client_credentials"), ("client_id", "c3")]);
        let ask = async |told: &str| {
            t.issuer().send("POST", "/oauth/token", &[FORM, ("client-cert", told)], body.as_bytes()).await.status
        };
        let good = told(authority.issue(BILLING, 7));
        assert_eq!(ask(&good).await, if believed { 200 } else { 401 }, "{proxies}");
        assert_eq!(ask(&told(Authority::new("clients").issue(BILLING, 7))).await, 401, "another authority");
        assert_eq!(ask(good.trim_matches(':')).await, 401, "no byte sequence");
        t.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8705_5_openid_client_finds_the_other_place_and_proves_itself_there() {
    let Some(modules) = part("TRIGATE_TEST_NODE_MODULES") else { return };
    let t = TestTrigate::start_with(LISTENS).await;
    let own = Identity::issue(&t, "own", BILLING).await;
    let other = Identity::issue(&t, "other", "spiffe://acme.test/other").await;
    register(&t, "c3", by_uri(BILLING)).await;
    let input = json!({
        "issuer": t.running.urls.issuer, "client_id": "c3", "scope": "orders:read", "resource": t.running.urls.gate,
        "api": format!("https://localhost:{}/api/machines", t.running.mtls_addr.unwrap().port()),
        "cert": own.certificate, "key": own.key, "ca": t.folder().join("ca/ca.pem"),
        "other_cert": other.certificate, "other_key": other.key,
    });
    let answer = blocking(move || {
        let (_folder, script) = node_folder(&modules, "mtls-service.mjs");
        run(Command::new("node").arg(script).arg(input.to_string()), "")
    })
    .await;
    assert_eq!((&answer["refused"], &answer["statuses"]), (&json!(401), &json!([200, 401])), "{answer}");
    t.stop().await;
}
