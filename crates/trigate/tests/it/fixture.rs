//! Does `examples/fixture/start` print what works? Outside testers begin there.

use crate::support::{http::Wire, upstream::Upstream};
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

/// One that runs until it is dropped.
struct Fixture(Value);

impl Fixture {
    async fn start(environment: &[(&str, &str)]) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/fixture/start");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg("--detach")
            .stderr(Stdio::inherit())
            .env("FIXTURE_TRIGATE", env!("CARGO_BIN_EXE_trigate"));
        command.envs(environment.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Self(serde_json::from_slice(&output.stdout).expect("one JSON object on standard output"))
    }

    fn told(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {}", self.0))
    }

    async fn get(&self, path: &str, key: Option<&str>, token: Option<&str>) -> u16 {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let key = key.map(|key| ("x-api-key", key));
        let headers: Vec<_> =
            key.into_iter().chain(bearer.iter().map(|value| ("authorization", value.as_str()))).collect();
        let address = format!("127.0.0.1:{}", self.0["port"]).parse().unwrap();
        Wire(address).send("GET", path, &headers, b"").await.status
    }

    fn curl_mtls(&self, with_certificate: bool) -> String {
        let mtls = |name: &str| self.0["mtls"][name].as_str().unwrap().to_owned();
        let mut command = Command::new("curl");
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &mtls("ca")]);
        if with_certificate {
            command.args(["--cert", &mtls("certificate"), "--key", &mtls("key")]);
        }
        let output = command.arg(mtls("url") + "/api/mtls-only").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        Command::new("kill").arg(self.0["pid"].to_string()).status().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fixture_prints_a_key_a_token_and_a_certificate_that_work() {
    let fixture = Fixture::start(&[]).await;
    let (key, token, admin) = (fixture.told("api_key"), fixture.told("token"), fixture.told("admin_token"));
    for (path, key, token, status) in [
        ("/public/x", None, None, 200),
        ("/elsewhere", None, None, 404),
        ("/api/x", Some(key), Some(token), 200),
        ("/api/x", Some(key), None, 401),
        ("/api/x", None, Some(token), 401),
        ("/api/mtls-only", Some(key), Some(token), 401),
        ("/admin/x", None, Some(token), 403),
        ("/admin/x", None, Some(admin), 200),
    ] {
        assert_eq!(
            fixture.get(path, key, token).await,
            status,
            "{path} key {} token {}",
            key.is_some(),
            token.is_some()
        );
    }
    assert_eq!((fixture.curl_mtls(true).as_str(), fixture.curl_mtls(false).as_str()), ("200", "401"));

    let folder = PathBuf::from(fixture.told("data"));
    drop(fixture);
    for _ in 0..100 {
        if !folder.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the fixture left `{}` behind", folder.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fixture_takes_keys_issuer_audience_and_upstream_from_the_environment() {
    let signer = Fixture::start(&[("FIXTURE_ISSUER", "http://as.test"), ("FIXTURE_AUDIENCE", "urn:api")]).await;
    let upstream = Upstream::start().await;
    let api = format!("http://{}", upstream.address);
    let given = |audience| {
        [
            ("FIXTURE_ISSUER", "http://as.test"),
            ("FIXTURE_AUDIENCE", audience),
            ("FIXTURE_JWKS", signer.told("jwks")),
            ("FIXTURE_UPSTREAM", api.as_str()),
        ]
    };
    let fixture = Fixture::start(&given("urn:api")).await;
    assert!(fixture.0["token"].is_null(), "it has no private key");
    assert_eq!(fixture.get("/api/x", Some(fixture.told("api_key")), Some(signer.told("token"))).await, 200);
    assert_eq!(upstream.last().header("x-trigate-client"), Some(fixture.told("client_id")));
    let other = Fixture::start(&given("urn:other")).await;
    assert_eq!(other.get("/api/x", Some(other.told("api_key")), Some(signer.told("token"))).await, 401);
}
