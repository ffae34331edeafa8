//! What do libraries written by others say? npm `jose`, `openid-client` (with Chromium on the real pages) and
//! `oidc-provider`; PyPI `PyJWT`.

use crate::support::{TestTrigate, http::Wire, upstream::Upstream};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use trigate::{
    operator::{
        By,
        client::{ClientPolicy, NewClient},
    },
    proxy::try_mode::{TryArgs, start},
};
use trigate_core::{client::ClientAuthentication, id::ClientId};

/// The path that `cargo xtask test` names, or `None`, said aloud.
pub fn part(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os(name).map(PathBuf::from);
    assert!(found.is_some() || std::env::var_os("TRIGATE_TEST_REQUIRE").is_none(), "{name} is not set");
    if found.is_none() {
        // Past the test runner, which keeps what passing tests print.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: {name} is not set; `cargo xtask test` installs what this test needs");
    }
    found
}

pub fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/clients")
}

/// A folder where node finds the script and its modules.
pub fn node_folder(modules: &PathBuf, script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    std::fs::copy(scripts().join(script), folder.path().join(script)).unwrap();
    let path = folder.path().join(script);
    (folder, path)
}

/// Runs it with this standard input; panics with what it said when it fails.
pub fn run(command: &mut Command, input: &str) -> Value {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {said}"))
}

pub async fn blocking(work: impl FnOnce() -> Value + Send + 'static) -> Value {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_foreign_libraries_verify_our_token_by_the_published_keys_alone() {
    let (Some(modules), Some(python)) = (part("TRIGATE_TEST_NODE_MODULES"), part("TRIGATE_TEST_PYTHON")) else {
        return;
    };
    for (algorithm, more) in
        [("RS256", ""), ("ES256", "[issuer]\nalgorithm = \"ES256\""), ("EdDSA", "[issuer]\nalgorithm = \"EdDSA\"")]
    {
        let t = TestTrigate::start_with(more).await;
        let token = t.alice_token("openid email orders:read").await;
        let bearer = format!("Bearer {token}");
        assert_eq!(t.get("/api/users/me/orders", &[("authorization", &bearer)]).await.status, 200, "{algorithm}");
        let (issuer, audience) = (t.running.urls.issuer.clone(), t.running.urls.gate.clone());
        let (modules, python) = (modules.clone(), python.clone());
        let answers = tokio::task::spawn_blocking(move || {
            let (_folder, script) = node_folder(&modules, "verify-jwt.mjs");
            let by_jose = run(Command::new("node").arg(script).args([&issuer, &audience]), &token);
            let by_pyjwt =
                run(Command::new(python).arg(scripts().join("verify_jwt.py")).args([&issuer, &audience]), &token);
            [by_jose, by_pyjwt]
        })
        .await
        .unwrap();
        for answer in answers {
            check_token(&answer, algorithm, &t.alice.id);
        }
        t.stop().await;
    }
}

/// What both libraries read from the token.
fn check_token(answer: &Value, algorithm: &str, alice: &str) {
    let (header, claims) = (&answer["header"], &answer["claims"]);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!(algorithm)));
    assert!(header["kid"].as_str().unwrap().starts_with("key-20"), "{header}");
    assert_eq!((claims["sub"].as_str().unwrap(), &claims["email"]), (alice, &json!("alice@example.com")));
    assert_eq!((&claims["scope"], &claims["roles"]), (&json!("email openid orders:read"), &json!(["customer"])));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    for name in ["scopes", "iss", "aud", "jti", "client_id", "sid", "gid", "pos"] {
        assert!(!claims[name].is_null(), "no `{name}` in {claims}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openid_client_drives_the_code_flow_and_chromium_plays_the_person() {
    let Some(modules) = part("TRIGATE_TEST_NODE_MODULES") else { return };
    let t = TestTrigate::start().await;
    let policy = ClientPolicy {
        name: Some("Phone app".into()),
        authentication: Some(ClientAuthentication::None),
        redirect_uris: Some(vec!["http://127.0.0.1/callback".into()]),
        scopes: Some(["openid", "email", "offline_access", "orders:read"].map(str::to_owned).to_vec()),
        resources: Some(vec![t.running.urls.gate.clone()]),
        asks_consent: Some(true),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: t.acme.id.clone(), id: Some(ClientId::parse("phone").unwrap()), policy };
    t.running.operator.create_client(&By::system(), new).await.unwrap();
    let input = json!({
        "issuer": t.running.urls.issuer, "client_id": "phone", "email": t.alice.email,
        "password": crate::support::PASSWORD, "scope": "openid email offline_access orders:read",
    });
    let answer = blocking(move || {
        let (_folder, script) = node_folder(&modules, "code-flow.mjs");
        run(Command::new("node").arg(script).arg(input.to_string()), "")
    })
    .await;
    assert_eq!(answer["foreign_requests"], json!([]), "no third party learns of a login");
    assert_eq!(answer["userinfo"]["sub"], json!(t.alice.id));
    assert_eq!(answer["userinfo"]["email"], json!(t.alice.email));
    assert!(answer["refresh_token"].is_string(), "{answer}");
    let token = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    assert_eq!(t.get("/api/users/me/orders", &[("authorization", &token)]).await.status, 200);
    t.stop().await;
}

const BOUND: &str = r#"
[dpop]
nonce = true

[[route]]
name = "bound"
path = "/api/bound"
demands = "token"
bound = true
upstream = "sample"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9449_openid_client_gets_and_sends_tokens_bound_to_its_key() {
    let Some(modules) = part("TRIGATE_TEST_NODE_MODULES") else { return };
    let t = TestTrigate::start_with(BOUND).await;
    let api = format!("{}/api/bound", t.running.urls.gate);
    for algorithm in ["ES256", "PS256"] {
        let input = json!({
            "issuer": t.running.urls.issuer, "client_id": t.acme.service_client, "client_secret": t.acme.service_secret,
            "scope": "orders:read", "resource": t.running.urls.gate, "api": api, "algorithm": algorithm,
        });
        let modules = modules.clone();
        let answer = blocking(move || {
            let (_folder, script) = node_folder(&modules, "dpop-service.mjs");
            run(Command::new("node").arg(script).arg(input.to_string()), "")
        })
        .await;
        assert_eq!((&answer["token_type"], &answer["statuses"]), (&json!("dpop"), &json!([200, 200])), "{answer}");
        let token = answer["access_token"].as_str().unwrap();
        for scheme in ["Bearer", "DPoP"] {
            let bare = t.get("/api/bound", &[("authorization", &format!("{scheme} {token}"))]).await;
            assert_eq!(bare.status, 401, "T28: without a proof");
        }
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9449_openid_client_drives_the_code_flow_with_a_key() {
    let Some(modules) = part("TRIGATE_TEST_NODE_MODULES") else { return };
    let t = TestTrigate::start_with(BOUND).await;
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::None),
        redirect_uris: Some(vec!["http://127.0.0.1/callback".into()]),
        scopes: Some(["openid", "email", "offline_access", "orders:read"].map(str::to_owned).to_vec()),
        resources: Some(vec![t.running.urls.gate.clone()]),
        asks_consent: Some(false),
        dpop_bound_access_tokens: Some(true),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: t.acme.id.clone(), id: Some(ClientId::parse("phone").unwrap()), policy };
    t.running.operator.create_client(&By::system(), new).await.unwrap();
    let input = json!({
        "issuer": t.running.urls.issuer, "client_id": "phone", "email": t.alice.email, "dpop": true,
        "password": crate::support::PASSWORD, "scope": "openid email offline_access orders:read",
        "api": format!("{}/api/bound", t.running.urls.gate),
    });
    let answer = blocking(move || {
        let (_folder, script) = node_folder(&modules, "code-flow.mjs");
        run(Command::new("node").arg(script).arg(input.to_string()), "")
    })
    .await;
    assert_eq!((&answer["token_type"], &answer["api"]), (&json!("dpop"), &json!(200)), "{answer}");
    assert_eq!(answer["userinfo"]["email"], json!(t.alice.email));
    assert!(answer["refresh_token"].is_string(), "{answer}");
    t.stop().await;
}

/// Ends with its standard input.
struct Provider(Child);

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trigate_try_stands_before_an_own_api_with_the_tokens_of_a_foreign_issuer() {
    const AUDIENCE: &str = "http://api.test";
    let Some(modules) = part("TRIGATE_TEST_NODE_MODULES") else { return };
    let (_folder, script) = node_folder(&modules, "foreign-issuer.mjs");
    let mut child = Command::new("node")
        .arg(script)
        .arg(AUDIENCE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _provider = Provider(child);
    let about: Value = serde_json::from_str(&line).unwrap();
    let issuer = about["issuer"].as_str().unwrap().to_owned();
    let address = issuer.strip_prefix("http://").unwrap().parse().unwrap();
    let form = crate::support::form(&[
        ("grant_type", "client_credentials"),
        ("client_id", about["client_id"].as_str().unwrap()),
        ("client_secret", about["client_secret"].as_str().unwrap()),
        ("scope", "orders:read"),
        ("resource", AUDIENCE),
    ]);
    let got = Wire(address).send("POST", "/token", &[crate::support::FORM], form.as_bytes()).await.json();
    let token = format!("Bearer {}", got["access_token"].as_str().unwrap_or_else(|| panic!("{got}")));

    let api = Upstream::start().await;
    let args = TryArgs {
        issuer,
        upstream: format!("http://{}", api.address),
        audience: vec![AUDIENCE.to_owned()],
        listen: "127.0.0.1:0".parse().unwrap(),
        enforce: true,
    };
    let trying = start(args, Box::new(std::io::sink())).await.unwrap();
    let gate = Wire(trying.address);
    let ask = async |token: &str| gate.send("GET", "/orders", &[("authorization", token)], b"").await.status;
    assert_eq!(ask(&token).await, 200);
    assert_eq!(ask(&format!("{token}x")).await, 401);
    assert_eq!(gate.send("GET", "/orders", &[], b"").await.status, 401);
    assert_eq!(api.seen().len(), 1, "only the good request reached the API");
    trying.stop().await;
}
