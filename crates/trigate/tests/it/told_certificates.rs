//! Client certificates where other proxies carry the request (catalogue group M in the asking forms): nginx, Caddy and Envoy
//! tell of them, and are believed when the file says so.

use crate::{
    forward_auth::Proxy,
    mtls_trust::Authority,
    support::{
        TestTrigate,
        forms::{Ask, Asked, Bridge, Session, Shown, escaped, of_check, of_reply},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{process::Command, sync::Arc};
use trigate::operator::{By, cert::NewCertificate};

const ASKED: &str = "[forward_auth]\nlisten = \"127.0.0.1:0\"\nproxies = [\"127.0.0.1\"]\n";
const BELIEVED: &str = "client_certificates = [\"nginx\", \"caddy\", \"envoy\"]\n";
const ISSUER: &str = "[issuer.mtls]\nca = \"ca/ca.pem\"\nproxies = [\"127.0.0.0/8\"]\n";
const BILLING: &str = "spiffe://acme.test/billing";

/// A way of asking that can carry a certificate.
enum Way {
    Nginx(Session),
    Caddy(Session),
    EnvoyHttp(Session),
    EnvoyGrpc(Box<Bridge>),
}

impl Way {
    fn all(t: &TestTrigate) -> Vec<(&'static str, Self)> {
        let asked = t.running.forward_auth_addr.unwrap();
        let mut all = vec![
            ("nginx", Self::Nginx(Session::to(asked))),
            ("caddy", Self::Caddy(Session::to(asked))),
            ("envoy over HTTP", Self::EnvoyHttp(Session::to(asked))),
        ];
        all.extend(Bridge::start(asked).map(|bridge| ("envoy over gRPC", Self::EnvoyGrpc(Box::new(bridge)))));
        all
    }

    /// `GET /api/machines` with this certificate (PEM) and this token.
    async fn ask(&mut self, pem: Option<&str>, token: Option<&str>) -> Asked {
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
        if let Some(token) = token {
            add("Authorization", format!("Bearer {token}"));
        }
        match self {
            Self::Nginx(session) => {
                add("X-Original-Method", "GET".into());
                add("X-Original-URI", "/api/machines".into());
                add("X-Original-Host", "localhost".into());
                add("X-Forwarded-For", "127.0.0.1".into());
                if let Some(pem) = pem {
                    add("X-SSL-Client-Cert", escaped(pem));
                }
                of_reply(session.send("GET", "/forward-auth/nginx", "trigate", &headers).await)
            }
            Self::Caddy(session) => {
                add("X-Forwarded-Method", "GET".into());
                add("X-Forwarded-Uri", "/api/machines".into());
                add("X-Forwarded-Host", "localhost".into());
                add("X-Forwarded-For", "127.0.0.1".into());
                add("Client-Cert", format!(":{}:", pem.map(|pem| STANDARD.encode(der(pem))).unwrap_or_default()));
                of_reply(session.send("GET", "/forward-auth/caddy", "trigate", &headers).await)
            }
            Self::EnvoyHttp(session) => {
                add("X-Original-Address", "127.0.0.1".into());
                if let Some(pem) = pem {
                    add("X-Forwarded-Client-Cert", format!("Hash=ab;Cert=\"{}\"", escaped(pem)));
                }
                of_reply(session.send("GET", "/forward-auth/envoy/api/machines", "localhost", &headers).await)
            }
            Self::EnvoyGrpc(bridge) => {
                let shown = |pem: &str| Arc::new(Shown { pem: pem.to_owned(), ..Shown::default() });
                let ask = Ask { headers, certificate: pem.map(shown), ..Ask::get("/api/machines", &[]) };
                of_check(&ask, &bridge.ask(&ask, true))
            }
        }
    }
}

fn der(pem: &str) -> Vec<u8> {
    trigate_x509::read_pem(pem.as_bytes()).unwrap().remove(0)
}

async fn issue(t: &TestTrigate, name: &str, days: u32) -> (String, String) {
    let new = NewCertificate { name: name.into(), days };
    let made = t.running.operator.issue_certificate(&By::system(), new).await.unwrap();
    (made.certificate.clone(), made.private_key.to_string())
}

fn machine(asked: &Asked) -> Option<&str> {
    asked
        .identity
        .iter()
        .flatten()
        .find(|(name, value)| name == "x-trigate-machine" && !value.is_empty())
        .map(|(_, value)| value.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m01_m10_m11_told_certificates_are_judged_like_a_handshake() {
    let t = TestTrigate::start_with(&format!("{ASKED}{BELIEVED}{ISSUER}")).await;
    let (own, other) = (issue(&t, BILLING, 1).await.0, issue(&t, "spiffe://acme.test/other", 1).await.0);
    let expired = issue(&t, "spiffe://acme.test/expired", 0).await.0;
    let foreign = Authority::new("foreign").issue(BILLING, 7).0;
    let bound = crate::issuer_mtls::bound_token(&t, &own).await;
    for (name, mut way) in Way::all(&t) {
        let asked = way.ask(Some(&own), None).await;
        assert_eq!((asked.status, machine(&asked)), (200, Some(BILLING)), "{name}: {asked:?}");
        assert_eq!(way.ask(None, None).await.status, 401, "{name}: none");
        for (why, bad) in
            [("expired", expired.as_str()), ("foreign", &foreign), ("twice", &format!("{own}{other}")), ("no PEM", "x")]
        {
            // Caddy's form has no room for two, and none for what is no certificate.
            if name == "caddy" && matches!(why, "twice" | "no PEM") {
                continue;
            }
            assert_eq!(way.ask(Some(bad), None).await.status, 401, "{name}: {why}");
        }
        // RFC 8705 §3
        assert_eq!(way.ask(Some(&own), Some(&bound)).await.status, 200, "{name}: bound");
        assert_eq!(way.ask(Some(&other), Some(&bound)).await.status, 401, "{name}: bound to another");
        assert_eq!(way.ask(None, Some(&bound)).await.status, 401, "{name}: bound, sent plainly");
    }
    // Taken back: in every form with the next request.
    let token = format!("Bearer {}", t.operator_token().await);
    let desk = [("authorization", token.as_str()), ("content-type", "application/json")];
    let body =
        serde_json::json!({ "kind": "cert", "what": trigate::operator::cert::fingerprint_of_pem(&own).unwrap() });
    assert_eq!(t.desk().send("POST", "/api/v1/revocations", &desk, body.to_string().as_bytes()).await.status, 200);
    for (name, mut way) in Way::all(&t) {
        assert_eq!(way.ask(Some(&own), None).await.status, 401, "{name}: revoked");
        assert_eq!(way.ask(Some(&other), None).await.status, 200, "{name}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m10_certificates_are_told_by_named_proxies_only() {
    let t = TestTrigate::start_with(ASKED).await;
    let own = issue(&t, BILLING, 1).await.0;
    for (name, mut way) in Way::all(&t) {
        assert_eq!(way.ask(Some(&own), None).await.status, 401, "{name}");
    }
    t.stop().await;
    let t = TestTrigate::start_with(&format!("{ASKED}client_certificates = [\"caddy\"]\n")).await;
    let own = issue(&t, BILLING, 1).await.0;
    for (name, mut way) in Way::all(&t) {
        assert_eq!(way.ask(Some(&own), None).await.status, if name == "caddy" { 200 } else { 401 }, "{name}");
    }
    t.stop().await;
}

/// Real proxies end TLS, ask for a certificate, and let nothing through that a client wrote in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m10_nginx_and_caddy_tell_of_the_certificate_of_the_handshake() {
    let t = TestTrigate::start_with(&format!("{ASKED}{BELIEVED}")).await;
    let own = issue(&t, BILLING, 1).await;
    let foreign = Authority::new("foreign").issue(BILLING, 7);
    let lies = [
        format!("X-SSL-Client-Cert: {}", escaped(&own.0)),
        format!("Client-Cert: :{}:", STANDARD.encode(der(&own.0))),
        format!("X-Forwarded-Client-Cert: Cert=\"{}\"", escaped(&own.0)),
    ];
    let curl = |proxy: &Proxy, by: Option<&(String, String)>, lies: &[String]| {
        let mut command = Command::new("curl");
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(t.folder().join("ca/ca.pem"));
        if let Some((certificate, key)) = by {
            let path = |end: &str| t.folder().join(format!("shown.{end}"));
            std::fs::write(path("pem"), certificate).unwrap();
            std::fs::write(path("key"), key).unwrap();
            command.arg("--cert").arg(path("pem")).arg("--key").arg(path("key"));
        }
        for lie in lies {
            command.arg("-H").arg(lie);
        }
        command.arg(format!("https://localhost:{}/api/machines", proxy.wire.0.port()));
        tokio::task::block_in_place(|| String::from_utf8(command.output().unwrap().stdout).unwrap())
    };
    for proxy in [Proxy::nginx_with_tls(&t).await, Proxy::caddy_with_tls(&t).await] {
        t.upstream.forget();
        assert_eq!(curl(&proxy, Some(&own), &[]), "200");
        let seen = t.upstream.last();
        assert_eq!(seen.header("x-trigate-machine"), Some(BILLING));
        assert_eq!(curl(&proxy, Some(&own), &lies), "200");
        for name in ["x-ssl-client-cert", "client-cert", "x-forwarded-client-cert"] {
            assert_eq!(t.upstream.last().header(name).unwrap_or_default(), "", "{name}");
        }
        t.upstream.forget();
        assert_eq!(curl(&proxy, None, &[]), "401");
        assert_eq!(curl(&proxy, None, &lies), "401", "a client's own words");
        assert_eq!(curl(&proxy, Some(&foreign), &lies), "401");
        assert!(t.upstream.seen().is_empty());
    }
    t.stop().await;
}
