//! Do the configurations in `examples/forward-auth` protect an API? Real nginx and Caddy carry the requests; Trigate only
//! says whether one may pass.

use crate::support::{
    TestTrigate,
    forms::ASKED,
    http::{Reply, Wire},
};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A proxy with an example's configuration; only its addresses are this test's.
pub struct Proxy {
    child: Child,
    pub wire: Wire,
    _folder: tempfile::TempDir,
}

fn example(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/forward-auth").join(name))
        .unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Proxy {
    async fn nginx(t: &TestTrigate) -> Self {
        Self::nginx_of(t, example("nginx.conf")).await
    }

    /// It asks its callers for a certificate, and leaves the judging to Trigate.
    pub async fn nginx_with_tls(t: &TestTrigate) -> Self {
        let ca = t.folder().join("ca").display().to_string();
        let listen = format!(
            "listen 127.0.0.1:8000 ssl;\nssl_certificate {ca}/server.pem;\nssl_certificate_key {ca}/server.key;\n\
             ssl_verify_client optional_no_ca;"
        );
        Self::nginx_of(t, example("nginx.conf").replace("listen 127.0.0.1:8000;", &listen)).await
    }

    async fn nginx_of(t: &TestTrigate, site: String) -> Self {
        let address = free_address();
        let site = site
            .replace("127.0.0.1:8084", &t.running.forward_auth_addr.unwrap().to_string())
            .replace("127.0.0.1:3000", &t.upstream.address.to_string())
            .replace("127.0.0.1:8000", &address.to_string());
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path {here}/{name};\n")).collect();
        let whole = format!(
            "daemon off;\npid {here}/pid;\nerror_log {here}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}\n}}\n"
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, whole).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(&path).arg("-p").arg(folder.path());
        Self::start(command, address, folder).await
    }

    async fn caddy(t: &TestTrigate) -> Self {
        Self::caddy_of(t, example("Caddyfile")).await
    }

    /// As nginx.
    pub async fn caddy_with_tls(t: &TestTrigate) -> Self {
        let ca = t.folder().join("ca").display().to_string();
        let site = format!(
            "https://localhost:8000 {{\ntls {ca}/server.pem {ca}/server.key {{\nclient_auth {{\nmode request\n}}\n}}\n"
        );
        Self::caddy_of(t, example("Caddyfile").replace("http://:8000 {\n", &site)).await
    }

    async fn caddy_of(t: &TestTrigate, site: String) -> Self {
        let address = free_address();
        let site = site
            .replace("127.0.0.1:8084", &t.running.forward_auth_addr.unwrap().to_string())
            .replace("127.0.0.1:3000", &t.upstream.address.to_string())
            .replace(":8000", &format!(":{}", address.port()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Caddyfile");
        fs::write(&path, site).unwrap();
        let mut command = Command::new("/usr/bin/caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&path);
        command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        Self::start(command, address, folder).await
    }

    async fn start(mut command: Command, address: SocketAddr, folder: tempfile::TempDir) -> Self {
        let log = folder.path().join("said");
        let said = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let mut child = command.spawn().unwrap();
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Self { child, wire: Wire(address), _folder: folder };
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended: {}", read(&log));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not come up: {}", read(&log));
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.wire.send("GET", path, headers, b"").await
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

const LIMITED: &str = r#"
[[route]]
name = "limited"
path = "/api/limited"
demands = "key"
subject = "application"
limit = "1/hour"
upstream = "sample"
"#;

async fn start() -> TestTrigate {
    TestTrigate::start_with(&format!("{LIMITED}\n{ASKED}")).await
}

/// What every proxy must do with what Trigate says.
async fn check_verdicts(t: &TestTrigate, proxy: &Proxy) {
    let key = t.acme.key.as_str();
    let token = format!("Bearer {}", t.alice_token("openid orders:read").await);
    let narrow = format!("Bearer {}", t.alice_token("openid").await);
    let get = async |path: &str, headers: &[(&str, &str)]| proxy.get(path, headers).await;

    assert_eq!(get("/open/x?a=b", &[]).await.status, 200);
    assert_eq!(t.upstream.last().path(), "/open/x?a=b");
    assert_eq!(get("/api/weather", &[("X-API-Key", key)]).await.status, 200);
    let seen = t.upstream.last();
    assert_eq!(seen.header("x-trigate-application"), Some(t.acme.id.as_str()));
    assert_eq!((seen.header("x-api-key"), seen.header("x-trigate-user").unwrap_or_default()), (None, ""));
    assert_eq!(get("/api/both", &[("X-API-Key", key), ("Authorization", &token)]).await.status, 200);
    let seen = t.upstream.last();
    assert_eq!((seen.header("x-trigate-user"), seen.header("authorization")), (Some(t.alice.id.as_str()), None));
    let posted = proxy.wire.send("POST", "/open/x", &[], b"abc").await;
    assert_eq!((posted.status, t.upstream.last().body), (200, b"abc".to_vec()), "the body goes to the API alone");

    t.upstream.forget();
    let refused = get("/api/both", &[("X-API-Key", key)]).await;
    assert_eq!(refused.status, 401);
    let challenges: Vec<&str> = refused.headers("www-authenticate").collect();
    assert!(challenges.len() == 1 && challenges[0].starts_with("Bearer"), "{challenges:?}");
    assert!(refused.header("x-request-id").is_some());
    assert_eq!(get("/api/weather", &[("X-API-Key", "tgk_no")]).await.status, 401);
    let forbidden = get("/api/users/me/orders", &[("Authorization", &narrow)]).await;
    assert_eq!(forbidden.status, 403);
    assert!(forbidden.header("www-authenticate").unwrap().contains("insufficient_scope"));
    assert_eq!(get("/nowhere", &[]).await.status, 404);
    let method = proxy.wire.send("POST", "/api/users/me/orders", &[("Authorization", &token)], b"").await;
    assert_eq!((method.status, method.header("allow")), (405, Some("GET")));
    assert!(t.upstream.seen().is_empty(), "nothing of a refused request reaches the API");
    assert_eq!(get("/api/limited", &[("X-API-Key", key)]).await.status, 200);
    let limited = get("/api/limited", &[("X-API-Key", key)]).await;
    assert_eq!(limited.status, 429);
    assert!(limited.header("retry-after").is_some() && limited.header("ratelimit").is_some(), "{:?}", limited.head);
}

/// G01, G10, G11: whatever a client writes under the names of gate and proxy.
async fn check_spoofed_headers(t: &TestTrigate, proxy: &Proxy) {
    let lies = [
        ("X-Trigate-User", "usr_evil"),
        ("x-trigate-user", "usr_evil"),
        ("X_Trigate_User", "usr_evil"),
        ("X-Trigate_User", "usr_evil"),
        ("X-TRIGATE-ROLES", "evil"),
        ("X-Trigate-Email", "evil"),
        ("X-Trigate-Target", "/evil"),
        ("X-Trigate-Status", "200"),
        ("X-Original-URI", "/open/evil"),
        ("X-Original-URL", "/open/evil"),
        ("X-Original-Method", "EVIL"),
        ("X-Original-Host", "evil"),
        ("X-Rewrite-URL", "/open/evil"),
        ("X-Forwarded-Uri", "/open/evil"),
        ("X-Forwarded-Method", "EVIL"),
        ("X-Forwarded-Host", "evil"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-HTTP-Method-Override", "EVIL"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("Client-Cert", ":ZXZpbA==:"),
        ("X-Forwarded-Client-Cert", "evil"),
        ("Forwarded", "for=evil"),
        ("Connection", "close, X-Trigate-Application, X-API-Key, X-Original-URI, X-Forwarded-Uri"),
    ];
    t.upstream.forget();
    assert_eq!(proxy.get("/api/weather", &lies).await.status, 401, "an open path in a header opens nothing");
    assert!(t.upstream.seen().is_empty());
    let mut keyed = lies.to_vec();
    keyed.push(("X-API-Key", &t.acme.key));
    for (path, headers) in [("/open/x", &lies[..22]), ("/api/weather", &keyed[..])] {
        let reply = proxy.get(path, headers).await;
        if reply.status == 401 && path == "/api/weather" {
            // The client took its own key away by naming it in `Connection`.
            continue;
        }
        assert_eq!(reply.status, 200, "{path}");
        let seen = t.upstream.last();
        for (name, value) in &seen.headers {
            let lie = ["evil", "EVIL", "ZXZpbA", "6.6.6.6"].iter().any(|lie| value.contains(lie));
            assert!(!lie, "{path}: {name}: {value}");
        }
        assert!(seen.header("x-trigate-request-id").is_some(), "{path}");
    }
    let record = t.decisions(1).await.remove(0);
    assert_eq!(record.peer.to_string(), "127.0.0.1", "the address is the connection's, not the client's word");
}

/// G06: what is judged is what the API reads.
async fn check_paths(t: &TestTrigate, proxy: &Proxy) {
    for path in [
        "/open/../api/weather",
        "/open/./../api/weather",
        "/open/%2e%2e/api/weather",
        "/open/%2E%2E%2fapi/weather",
        "/open/..%2fapi/weather",
        "/open/..;/api/weather",
        "/open//../api/weather",
        "/open//x",
        "//open/x",
        "/open/x%5c..%5capi",
        "/open/%252e%252e/api/weather",
        "/open/x;/../../api/weather",
        "/open/%c0%ae",
        "/open/x%00",
        "/api/weather#/open",
        "/api/weather%23/../open/x",
        "/api/weather?/open/x",
        "/api/weather/",
        "/api//weather",
        "/%61pi/weather",
        "/api/%77eather",
    ] {
        t.upstream.forget();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let status = proxy.wire.raw(request.as_bytes()).await.first().map_or(0, |reply| reply.status);
        assert!(matches!(status, 0 | 301 | 308 | 400 | 401 | 404), "{path}: {status}");
        assert!(t.upstream.seen().is_empty(), "{path} reached the API as {}", t.upstream.last().path());
    }
    for (path, reads) in
        [("/open/x%20y", "/open/x%20y"), ("/open/a%3Fb", "/open/a%3Fb"), ("/open/x?a=/../b", "/open/x?a=/../b")]
    {
        assert_eq!(proxy.get(path, &[]).await.status, 200, "{path}");
        assert_eq!(t.upstream.last().path(), reads);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g01_g06_g10_g11_nginx_asks_and_carries() {
    let t = start().await;
    let proxy = Proxy::nginx(&t).await;
    check_verdicts(&t, &proxy).await;
    check_spoofed_headers(&t, &proxy).await;
    check_paths(&t, &proxy).await;
    assert_eq!(proxy.get("/%6fpen/%78", &[]).await.status, 200);
    assert_eq!(t.upstream.last().path(), "/open/x", "nginx sends the normal form");
    assert_eq!(proxy.get("/_trigate", &[]).await.status, 404, "clients cannot ask themselves");
    drop(proxy);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g01_g06_g10_g11_caddy_asks_and_carries() {
    let t = start().await;
    let proxy = Proxy::caddy(&t).await;
    check_verdicts(&t, &proxy).await;
    check_spoofed_headers(&t, &proxy).await;
    check_paths(&t, &proxy).await;
    drop(proxy);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g21_a_proxy_whose_gate_is_gone_lets_nobody_in() {
    let t = start().await;
    let (nginx, caddy) = (Proxy::nginx(&t).await, Proxy::caddy(&t).await);
    assert_eq!(nginx.get("/open/x", &[]).await.status, 200);
    t.running.stop().await;
    t.upstream.forget();
    for proxy in [&nginx, &caddy] {
        assert!(proxy.get("/open/x", &[]).await.status >= 500);
    }
    assert!(t.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_nobody_but_the_configured_proxies_is_answered_or_read() {
    let t = TestTrigate::start_with(&ASKED.replace("127.0.0.1\"]", "10.9.8.7\"]")).await;
    let asked = Wire(t.running.forward_auth_addr.unwrap());
    let told = [
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/open/x"),
        ("X-Original-Host", "localhost"),
        ("X-Forwarded-For", "10.9.8.7"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/open/x"),
        ("X-Forwarded-Host", "localhost"),
    ];
    for door in ["nginx", "caddy", "traefik", "envoy/open/x"] {
        let reply = asked.send("GET", &format!("/forward-auth/{door}"), &told, b"").await;
        assert_eq!((reply.status, reply.body.len()), (403, 0), "{door}");
    }
    assert_eq!(t.connection_codes(4).await, ["forward_auth.peer"; 4]);
    let decided = t.records().iter().any(|record| matches!(record, trigate_core::audit::Record::Decision(_)));
    assert!(!decided, "no header of a stranger is judged");
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_does_not_tell_the_request_is_told_so_and_lets_nobody_in() {
    let t = TestTrigate::start_with(ASKED).await;
    let asked = Wire(t.running.forward_auth_addr.unwrap());
    // The documented headers of the one are not read for the other.
    let forwarded = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/open/x"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Forwarded-For", "192.0.2.7"),
    ];
    for door in ["caddy", "traefik"] {
        assert_eq!(asked.send("GET", &format!("/forward-auth/{door}"), &forwarded, b"").await.status, 200);
    }
    let nginx = asked.send("GET", "/forward-auth/nginx", &forwarded, b"").await;
    assert_eq!((nginx.status, nginx.header("x-trigate-status")), (403, Some("500")));
    assert_eq!(asked.send("GET", "/forward-auth/caddy", &forwarded[..3], b"").await.status, 500);
    assert_eq!(asked.send("GET", "/elsewhere", &forwarded, b"").await.status, 404);
    assert_eq!(t.decisions(2).await[0].peer.to_string(), "192.0.2.7", "the last hop is who asks");
    assert_eq!(t.connection_codes(2).await, ["forward_auth.incomplete"; 2]);
    t.stop().await;
}
