//! Revoke, then ask: no request that starts after the answer is accepted. Every kind of credential, under load.

use crate::support::{FORM, Jar, REDIRECT, TestTrigate, form, http};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use trigate_core::{
    Act, Actor, Position,
    credential::SessionCookie,
    id::{SessionId, TenantId, UserId},
    port::{Clock, Rng},
    user::Session,
};

const CONNECTIONS: usize = 32;

/// Times each; the whole count by `cargo xtask races`.
fn times() -> usize {
    if std::env::var_os("TRIGATE_TEST_FULL").is_some() { 1_000 } else { 20 }
}

/// Keeps every connection busy with good requests until dropped.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(t: &TestTrigate, headers: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let request = format!("GET /api/weather?city=paris HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
        let tasks = (0..CONNECTIONS)
            .map(|_| {
                let (stop, answered, request) = (Arc::clone(&stop), Arc::clone(&answered), request.clone());
                let address = t.running.gate_addr;
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    let mut buffer = [0; 4096];
                    while !stop.load(Ordering::Relaxed) {
                        stream.write_all(request.as_bytes()).await.unwrap();
                        let n = stream.read(&mut buffer).await.unwrap();
                        assert!(buffer[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..n]));
                        answered.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                })
            })
            .collect();
        Self { stop, answered, tasks }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

pub struct Desk<'a> {
    pub t: &'a TestTrigate,
    pub token: String,
}

impl<'a> Desk<'a> {
    pub async fn open(t: &'a TestTrigate) -> Self {
        Self { t, token: format!("Bearer {}", t.operator_token().await) }
    }

    pub async fn post(&self, path: &str, body: serde_json::Value) -> serde_json::Value {
        let headers = [("authorization", self.token.as_str()), ("content-type", "application/json")];
        let reply = self.t.desk().send("POST", &format!("/api/v1{path}"), &headers, body.to_string().as_bytes()).await;
        assert!((200..300).contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
        reply.json()
    }

    /// Returns when it holds everywhere.
    pub async fn revoke(&self, kind: &str, what: &str) {
        let answer = self.post("/revocations", json!({ "kind": kind, "what": what })).await;
        assert_eq!(answer["everywhere"], true);
    }
}

/// A login of this user, made in the store, so that a thousand need no thousand password hashes.
pub async fn login(t: &TestTrigate, user: &str) -> (Jar, String) {
    let (clock, rng) = (trigate::system::SystemClock::new(), trigate::system::SystemRng::default());
    let (clock, rng): (&dyn Clock, &dyn Rng) = (&clock, &rng);
    let (cookie, now) = (SessionCookie::mint(rng), clock.now());
    let session = Session {
        id: SessionId::mint(rng),
        user: UserId::parse(user).unwrap(),
        cookie: cookie.digest(),
        authenticated_at: now,
        amr: vec!["pwd".into()],
        acr: "urn:trigate:acr:password".into(),
        created_at: now,
        last_seen_at: now,
        expires_at: now.plus_seconds(3_600),
        address: "127.0.0.1".into(),
        agent: "test".into(),
        born: Position::default(),
    };
    let act = Act::new(clock, rng, Actor::System, "session.create", session.id.as_str());
    let store = t.running.store.tenant(&TenantId::default_tenant());
    let session = store.create_session(act, session, None).await.unwrap().gives_only();
    (Jar::with("__Host-trigate", cookie.reveal()), session.id.to_string())
}

/// The code flow of somebody who is logged in already.
pub async fn token_of(t: &TestTrigate, jar: &mut Jar, client: &str) -> serde_json::Value {
    let gate = t.running.urls.gate.clone();
    let query = form(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("scope", "openid orders:read offline_access"),
        ("resource", &gate),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ]);
    let back = jar.get(&t.issuer(), &format!("/oauth/authorize?{query}")).await;
    let location = back.header("location").unwrap_or_else(|| panic!("{}", back.text())).to_owned();
    let code = crate::support::between(&location, "code=", "&");
    let exchange = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    ]);
    t.issuer().send("POST", "/oauth/token", &[FORM], exchange.as_bytes()).await.json()
}

async fn orders(t: &TestTrigate, token: &str) -> u16 {
    t.get("/api/users/me/orders", &[("authorization", &format!("Bearer {token}"))]).await.status
}

pub fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {value}"))
}

pub fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_race_k07_nothing_that_starts_after_the_answer_to_a_revocation_is_accepted() {
    let t = TestTrigate::start().await;
    let desk = Desk::open(&t).await;
    let load = Load::start(&t, &format!("X-API-Key: {}", load_key(&desk).await));
    let started = std::time::Instant::now();
    for kind in ["token", "session", "grant", "user", "client", "app", "key", "cert"] {
        for _ in 0..times() {
            round(&t, &desk, kind).await;
        }
        eprintln!("{kind}: {} times, 0 accepted ({} s in all)", times(), started.elapsed().as_secs());
    }
    // A real login, in the same second as the revocation of the user, works.
    desk.revoke("user", t.alice.email).await;
    let token = t.alice_token("openid orders:read").await;
    assert_eq!(orders(&t, &token).await, 200);
    let answered = load.stop().await;
    assert!(answered > 100, "the load was real: {answered}");
    t.stop().await;
}

/// The load's own application must outlive the rounds.
async fn load_key(desk: &Desk<'_>) -> String {
    let app = desk.post("/apps", json!({ "name": "Load", "plan": "pro" })).await;
    text(&desk.post("/keys", json!({ "app": text(&app, "id") })).await, "key").to_owned()
}

/// Make one, see it accepted, revoke it, see it refused.
async fn round(t: &TestTrigate, desk: &Desk<'_>, kind: &str) {
    match kind {
        "app" | "key" => {
            let app = desk.post("/apps", json!({ "name": format!("App {}", rand_name()), "plan": "pro" })).await;
            let made = desk.post("/keys", json!({ "app": text(&app, "id") })).await;
            let (key, id) = (text(&made, "key"), text(&made, "id"));
            let ask = async || t.get("/api/weather", &[("x-api-key", key)]).await.status;
            assert_eq!(ask().await, 200);
            desk.revoke(kind, if kind == "key" { id } else { text(&app, "id") }).await;
            assert_eq!(ask().await, 401, "{kind}");
        }
        "cert" => {
            let made = desk.post("/certificates", json!({ "name": "spiffe://acme.test/round" })).await;
            let identity = (text(&made, "certificate"), text(&made, "private_key"));
            // The connection stays open: it is the request that is judged, not the handshake.
            let mut open = crate::gate_mtls::connect(t, identity).await;
            assert_eq!(crate::gate_mtls::ask_again(&mut open).await.status, 200);
            desk.revoke("cert", text(&made, "fingerprint")).await;
            assert_eq!(crate::gate_mtls::ask_again(&mut open).await.status, 401);
        }
        _ => user_round(t, desk, kind).await,
    }
}

async fn user_round(t: &TestTrigate, desk: &Desk<'_>, kind: &str) {
    let (mut jar, session) = login(t, &t.alice.id).await;
    let answer = token_of(t, &mut jar, &t.acme.public_client).await;
    let token = text(&answer, "access_token");
    assert_eq!(orders(t, token).await, 200, "{kind}");
    let what = match kind {
        "token" => token.to_owned(),
        "session" => session,
        "grant" => text(&claims(token), "gid").to_owned(),
        "user" => t.alice.email.to_owned(),
        _ => t.acme.public_client.clone(),
    };
    desk.revoke(kind, &what).await;
    assert_eq!(orders(t, token).await, 401, "{kind}");
    if kind != "token" {
        // What could mint another is dead too.
        let refresh = form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &t.acme.public_client),
            ("refresh_token", text(&answer, "refresh_token")),
        ]);
        let again = t.issuer().send("POST", "/oauth/token", &[FORM], refresh.as_bytes()).await;
        assert_eq!((again.status, text(&again.json(), "error")), (400, "invalid_grant"), "{kind}");
    }
    // Whoever logs in after it is not hit, in the same second too.
    let (mut jar, _) = login(t, &t.alice.id).await;
    let fresh = token_of(t, &mut jar, &t.acme.public_client).await;
    assert_eq!(orders(t, text(&fresh, "access_token")).await, 200, "{kind}: afterwards");
}

fn rand_name() -> String {
    format!("{:x}", Rng::bits128(&trigate::system::SystemRng::default()))
}

/// A role is taken away: the very next request with the token minted before is judged without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t35_race_a_role_taken_away_is_gone_from_the_next_request_on() {
    let t = TestTrigate::start_with(
        "[[route]]\nname = \"admin\"\npath = \"/api/admin\"\ndemands = \"token\"\nroles = [\"admin\"]\nupstream = \"sample\"\n",
    )
    .await;
    let desk = Desk::open(&t).await;
    let admin = async |token: &str| {
        let reply: http::Reply = t.get("/api/admin", &[("authorization", &format!("Bearer {token}"))]).await;
        reply.status
    };
    let key = load_key(&desk).await;
    let load = Load::start(&t, &format!("X-API-Key: {key}"));
    for round in 0..times() {
        desk.post(&format!("/users/{}/roles/add", t.alice.id), json!({ "role": "admin" })).await;
        let (mut jar, _) = login(&t, &t.alice.id).await;
        let answer = token_of(&t, &mut jar, &t.acme.public_client).await;
        let token = text(&answer, "access_token");
        assert_eq!(admin(token).await, 200, "round {round}");
        desk.post(&format!("/users/{}/roles/remove", t.alice.id), json!({ "role": "admin" })).await;
        assert_eq!(admin(token).await, 403, "round {round}");
        assert_eq!(orders(&t, token).await, 200, "the rest of the token stands");
    }
    load.stop().await;

    // A user disabled, a client disabled: refused at once; enabled again: accepted again.
    let token = t.alice_token("openid orders:read").await;
    for (off, on) in [
        (format!("/users/{}/disable", t.alice.id), format!("/users/{}/enable", t.alice.id)),
        (format!("/clients/{}/disable", t.acme.public_client), format!("/clients/{}/enable", t.acme.public_client)),
    ] {
        desk.post(&off, json!({})).await;
        assert_eq!(orders(&t, &token).await, 401, "{off}");
        desk.post(&on, json!({})).await;
    }
    t.stop().await;
}

/// The key that signs leaked: it is replaced, then nothing that it signed is good, whatever it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_signing_key_takes_its_tokens_along_and_a_new_one_signs_at_once() {
    use base64::Engine as _;
    let t = TestTrigate::start().await;
    let desk = Desk::open(&t).await;
    let token = t.alice_token("openid orders:read").await;
    let kid = |token: &str| {
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    assert_eq!(orders(&t, &token).await, 200);
    desk.revoke("signing_key", &kid(&token)).await;
    assert_eq!(orders(&t, &token).await, 401);
    let fresh = t.alice_token("openid orders:read").await;
    assert_ne!(kid(&fresh), kid(&token));
    assert_eq!(orders(&t, &fresh).await, 200);
    let keys = t.issuer().send("GET", "/.well-known/jwks.json", &[], b"").await;
    assert!(!keys.text().contains(&format!("\"{}\"", kid(&token))), "it is published no more");
    t.stop().await;
}
