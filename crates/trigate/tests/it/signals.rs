//! What another issuer tells us unasked: a foreign library (npm `jose`) makes the messages, the real endpoints take them.

use crate::{
    any_issuer::now,
    foreign::{node_folder, part},
    support::{FORM, TestTrigate, form, http::Reply},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};
use trigate_core::port::ActFilter;

const ISSUER: &str = "https://sso.test/realms/acme";
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

/// Signs what it is told to, and is polled.
struct Signer {
    child: Child,
    lines: BufReader<ChildStdout>,
    jwks: Value,
    poll: String,
}

impl Drop for Signer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Signer {
    fn start(script: &std::path::Path) -> Self {
        let mut command = Command::new("node");
        let command = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut signer = Self { child, lines, jwks: Value::Null, poll: String::new() };
        let about = signer.read();
        signer.jwks = about["jwks"].clone();
        signer.poll = about["poll"].as_str().unwrap().to_owned();
        signer
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, asks: &Value) -> Value {
        writeln!(self.child.stdin.as_mut().unwrap(), "{asks}").unwrap();
        self.read()
    }

    fn sign(&mut self, typ: &str, claims: &Value) -> String {
        self.ask(&json!({ "typ": typ, "claims": claims }))["token"].as_str().unwrap().to_owned()
    }

    /// A person's access token.
    fn access(&mut self, sub: &str, sid: &str) -> String {
        let claims = json!({ "iss": ISSUER, "sub": sub, "sid": sid, "aud": "api", "client_id": "web", "jti": format!("{sub}{sid}"),
            "iat": now(), "exp": now() + 600, "scope": "orders:read" });
        self.sign("at+jwt", &claims)
    }

    fn logout(&mut self, changes: &Value) -> String {
        let claims = json!({ "iss": ISSUER, "aud": "our-client", "sub": "alice", "iat": now(), "exp": now() + 120,
            "jti": unique(), "events": { LOGOUT: {} } });
        self.sign("logout+jwt", &with(claims, changes))
    }

    fn event(&mut self, uri: &str, changes: &Value) -> String {
        let claims = json!({ "iss": ISSUER, "aud": "https://receiver.test", "iat": now(), "jti": unique(),
            "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "alice" },
            "events": { uri: { "event_timestamp": now() } } });
        self.sign("secevent+jwt", &with(claims, changes))
    }
}

fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn unique() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("statement-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Stage {
    t: TestTrigate,
    signer: Signer,
    _folders: [tempfile::TempDir; 2],
}

impl Stage {
    /// `more`: further lines of the trusted issuer and of the stream.
    async fn start(issuer: &str, stream: &str) -> Option<Self> {
        let modules = part("TRIGATE_TEST_NODE_MODULES")?;
        let (scripts, script) = node_folder(&modules, "signals.mjs");
        let signer = Signer::start(&script);
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let jwks = put("jwks.json", &signer.jwks.to_string());
        let push = put("push.secret", "Bearer push-token\n");
        let token = put("poll.token", "poll-token\n");
        let stream = stream.replace(
            "POLL",
            &format!("poll_url = \"{}\"\npoll_token_file = \"{token}\"\npoll_every_s = 1", signer.poll),
        );
        let more = format!(
            "[[trusted_issuer]]\nname = \"sso\"\nurl = \"{ISSUER}\"\naudiences = [\"api\"]\njwks = \"{jwks}\"\nleeway_s = 0\n\
             applications = {{ \"*\" = \"app_machines\" }}\n{issuer}\n\
             [[signals]]\nname = \"sso\"\nissuer = \"{ISSUER}\"\naudience = \"https://receiver.test\"\n\
             push_secret_file = \"{push}\"\n{stream}\n"
        );
        let t = TestTrigate::start_with(&more).await;
        Some(Self { t, signer, _folders: [scripts, folder] })
    }

    async fn passes(&self, token: &str) -> bool {
        let bearer = format!("Bearer {token}");
        let status = self.t.get("/.trigate/whoami", &[("authorization", &bearer)]).await.status;
        assert!(status == 200 || status == 401, "{status}");
        status == 200
    }

    async fn log_out(&self, token: &str) -> Reply {
        let body = form(&[("logout_token", token)]);
        self.t.issuer().send("POST", "/backchannel-logout/sso", &[FORM], body.as_bytes()).await
    }

    async fn push(&self, token: &str) -> Reply {
        let headers = [("content-type", "application/secevent+jwt"), ("authorization", "Bearer push-token")];
        self.t.issuer().send("POST", "/signals/sso", &headers, token.as_bytes()).await
    }

    async fn verbs(&self) -> Vec<String> {
        let store = self.t.running.store.tenant(&trigate_core::id::TenantId::default_tenant());
        let acts = store.find_acts(&ActFilter { limit: 20, ..ActFilter::default() }).await.unwrap();
        acts.into_iter().map(|stored| stored.act.verb).collect()
    }
}

const USERS: &str = "logout = { audience = \"our-client\" }";
const SESSIONS: &str = "logout = { audience = \"our-client\", ends = \"session\" }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bcl_2_7_a_logout_there_ends_the_tokens_here() {
    let Some(mut stage) = Stage::start(USERS, "").await else { return };
    let (alice, bob) = (stage.signer.access("alice", "s1"), stage.signer.access("bob", "s2"));
    assert!(stage.passes(&alice).await && stage.passes(&bob).await);
    let token = stage.signer.logout(&json!({}));
    let reply = stage.log_out(&token).await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{}", reply.text());
    assert!(!stage.passes(&alice).await, "the answer means that it holds");
    assert!(stage.passes(&bob).await);
    assert_eq!(stage.verbs().await[0], "logout.receive");
    // The same again would end what came since.
    let reply = stage.log_out(&token).await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let again = stage.signer.access("alice", "s3");
    assert!(stage.passes(&again).await, "a new login works");
    // By `sid` alone.
    let token = stage.signer.logout(&json!({ "sub": null, "sid": "s2" }));
    assert_eq!(stage.log_out(&token).await.status, 200);
    assert!(!stage.passes(&bob).await && stage.passes(&again).await);
    stage.t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bcl_2_7_where_tokens_carry_sid_one_session_can_end_alone() {
    let Some(mut stage) = Stage::start(SESSIONS, "").await else { return };
    let (one, two) = (stage.signer.access("alice", "s1"), stage.signer.access("alice", "s2"));
    let token = stage.signer.logout(&json!({ "sid": "s1" }));
    assert_eq!(stage.log_out(&token).await.status, 200);
    assert!(!stage.passes(&one).await && stage.passes(&two).await);
    let token = stage.signer.logout(&json!({}));
    assert_eq!(stage.log_out(&token).await.status, 200);
    assert!(!stage.passes(&two).await, "without `sid` all of the person's sessions end");
    stage.t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bcl_2_6_what_is_no_logout_token_ends_nothing() {
    let Some(mut stage) = Stage::start(USERS, "").await else { return };
    let alice = stage.signer.access("alice", "s1");
    let before = stage.verbs().await.len();
    for changes in [
        json!({ "iss": "https://evil.test" }),
        json!({ "aud": "another-client" }),
        json!({ "aud": null }),
        json!({ "nonce": "n" }),
        json!({ "events": null }),
        json!({ "events": { LOGOUT: "x" } }),
        json!({ "events": { "http://other.test/event": {} } }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 5 }),
        json!({ "jti": null }),
        json!({ "iat": null }),
        json!({ "iat": now() - 3_600 }),
        json!({ "iat": now() + 3_600 }),
        json!({ "exp": now() - 3_600 }),
        json!({ "exp": "soon" }),
    ] {
        let token = stage.signer.logout(&changes);
        let reply = stage.log_out(&token).await;
        assert_eq!((reply.status, reply.header("cache-control")), (400, Some("no-store")), "{changes}");
    }
    let claims = json!({ "iss": ISSUER, "aud": "our-client", "sub": "alice", "iat": now(), "exp": now() + 120, "jti": unique(),
        "events": { LOGOUT: {} } });
    for typ in ["JWT", "at+jwt", "secevent+jwt"] {
        let token = stage.signer.sign(typ, &claims);
        assert_eq!(stage.log_out(&token).await.status, 400, "{typ}");
    }
    let good = stage.signer.sign("logout+jwt", &claims);
    let cut = &good[..good.len() - 8];
    for body in [
        "".to_owned(),
        "logout_token=".to_owned(),
        format!("logout_token={cut}"),
        format!("logout_token={good}&logout_token={good}"),
    ] {
        let reply = stage.t.issuer().send("POST", "/backchannel-logout/sso", &[FORM], body.as_bytes()).await;
        assert_eq!(reply.status, 400, "{body}");
    }
    let body = format!("logout_token={good}");
    let plain = stage.t.issuer().send("POST", "/backchannel-logout/sso", &[], body.as_bytes()).await;
    assert_eq!(plain.status, 400, "not a form");
    let elsewhere = stage.t.issuer().send("POST", "/backchannel-logout/nobody", &[FORM], b"logout_token=x").await;
    assert_eq!(elsewhere.status, 404);
    assert!(stage.passes(&alice).await);
    assert_eq!(stage.verbs().await.len(), before, "nothing was done");
    assert_eq!(stage.log_out(&good).await.status, 200, "and the good one is not used up");
    stage.t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8935_pushed_events_end_tokens_before_they_are_acknowledged() {
    let Some(mut stage) = Stage::start("", "").await else { return };
    let mut slowest = Duration::ZERO;
    for uri in [
        format!("{CAEP}session-revoked"),
        format!("{CAEP}credential-change"),
        format!("{CAEP}token-claims-change"),
        format!("{RISC}account-disabled"),
    ] {
        let (alice, bob) = (stage.signer.access("alice", "s1"), stage.signer.access("bob", "s2"));
        assert!(stage.passes(&alice).await && stage.passes(&bob).await, "{uri}");
        let event = stage.signer.event(&uri, &json!({}));
        let started = Instant::now();
        let reply = stage.push(&event).await;
        assert_eq!((reply.status, reply.body.len()), (202, 0), "{uri}: {}", reply.text());
        assert!(!stage.passes(&alice).await, "{uri}");
        slowest = slowest.max(started.elapsed());
        assert!(stage.passes(&bob).await);
        // The same again is acknowledged, and does nothing. // RFC 8935 §2.2
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let again = stage.signer.access("alice", "s3");
        assert_eq!(stage.push(&event).await.status, 202);
        assert!(stage.passes(&again).await, "{uri}");
    }
    println!("push to refusal, slowest of four: {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    stage.t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9493_subjects_are_read_and_strangers_end_nothing() {
    let Some(mut stage) = Stage::start("", "").await else { return };
    let revoked = format!("{CAEP}session-revoked");
    let complex = json!({ "format": "complex", "session": { "format": "opaque", "id": "s1" },
        "user": { "format": "iss_sub", "iss": ISSUER, "sub": "alice" } });
    let drafts = json!({ "sub_id": null, "events": { &revoked: {
        "subject": { "format": "iss_sub", "iss": ISSUER, "sub": "alice" }, "event_timestamp": now() } } });
    for (n, changes) in [
        json!({ "sub_id": { "format": "opaque", "id": "alice" } }),
        json!({ "sub_id": complex }),
        json!({ "sub_id": { "format": "complex", "session": { "format": "opaque", "id": "s1" } } }),
        json!({ "sub_id": { "format": "aliases", "identifiers": [{ "format": "email", "email": "a@b.test" },
            { "format": "iss_sub", "iss": ISSUER, "sub": "alice" }] } }),
        drafts,
    ]
    .into_iter()
    .enumerate()
    {
        if n > 0 {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        let alice = stage.signer.access("alice", "s1");
        assert!(stage.passes(&alice).await, "{changes}");
        let event = stage.signer.event(&revoked, &changes);
        assert_eq!(stage.push(&event).await.status, 202, "{changes}");
        assert!(!stage.passes(&alice).await, "{changes}");
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let alice = stage.signer.access("alice", "s1");
    // Acknowledged, recorded, and without effect.
    for (uri, changes) in [
        (revoked.clone(), json!({ "sub_id": { "format": "iss_sub", "iss": "https://other.test", "sub": "alice" } })),
        (format!("{RISC}account-enabled"), json!({})),
        (format!("{CAEP}assurance-level-change"), json!({})),
        (
            "https://schemas.openid.net/secevent/ssf/event-type/verification".to_owned(),
            json!({ "sub_id": { "format": "opaque", "id": "stream-1" } }),
        ),
        ("https://example.test/unheard-of".to_owned(), json!({ "sub_id": null })),
    ] {
        let event = stage.signer.event(&uri, &changes);
        assert_eq!(stage.push(&event).await.status, 202, "{uri}");
        assert_eq!(stage.verbs().await[0], "signal.ignore", "{uri}");
    }
    // Not understood, hence not acknowledged: the transmitter shall hear of it.
    for subject in
        [json!({ "format": "email", "email": "a@b.test" }), json!({ "format": "iss_sub" }), json!("alice"), json!(null)]
    {
        let event = stage.signer.event(&revoked, &json!({ "sub_id": subject }));
        let reply = stage.push(&event).await;
        assert_eq!((reply.status, reply.json()["err"].as_str()), (400, Some("invalid_request")), "{subject}");
    }
    assert!(stage.passes(&alice).await);
    stage.t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8935_2_3_what_is_wrong_is_named_and_ends_nothing() {
    let Some(mut stage) = Stage::start("", "").await else { return };
    let alice = stage.signer.access("alice", "s1");
    let revoked = format!("{CAEP}session-revoked");
    for (changes, code) in [
        (json!({ "iss": "https://evil.test" }), "invalid_issuer"),
        (json!({ "iss": null }), "invalid_issuer"),
        (json!({ "aud": "https://other.test" }), "invalid_audience"),
        (json!({ "aud": null }), "invalid_audience"),
        (json!({ "jti": null }), "invalid_request"),
        (json!({ "iat": now() + 3_600 }), "invalid_request"),
        (json!({ "iat": now() - 40 * 86_400 }), "invalid_request"),
        (json!({ "events": {} }), "invalid_request"),
        (json!({ "events": "x" }), "invalid_request"),
    ] {
        let event = stage.signer.event(&revoked, &changes);
        let reply = stage.push(&event).await;
        assert_eq!((reply.status, reply.json()["err"].as_str()), (400, Some(code)), "{changes}");
    }
    let event = stage.signer.event(&revoked, &json!({}));
    let mut forged = event.clone();
    forged.replace_range(event.len() - 12..event.len() - 8, "AAAA");
    assert_eq!(stage.push(&forged).await.json()["err"], "invalid_key");
    let claims = json!({ "iss": ISSUER, "aud": "https://receiver.test", "iat": now(), "jti": unique(),
        "sub_id": { "format": "opaque", "id": "alice" }, "events": { &revoked: {} } });
    for typ in ["JWT", "at+jwt", "logout+jwt"] {
        let token = stage.signer.sign(typ, &claims);
        assert_eq!(stage.push(&token).await.status, 400, "{typ}");
    }
    for (headers, status) in [
        (vec![("content-type", "application/secevent+jwt")], 401),
        (vec![("content-type", "application/secevent+jwt"), ("authorization", "Bearer other")], 401),
        (vec![("content-type", "application/secevent+jwt"), ("authorization", "bearer push-token")], 401),
        (vec![("content-type", "application/json"), ("authorization", "Bearer push-token")], 400),
    ] {
        let reply = stage.t.issuer().send("POST", "/signals/sso", &headers, event.as_bytes()).await;
        assert_eq!(reply.status, status, "{headers:?}");
    }
    assert!(stage.passes(&alice).await);
    assert_eq!(stage.push(&event).await.status, 202, "and the good one is not used up");
    stage.t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8936_polled_events_are_acknowledged_when_they_hold() {
    let Some(mut stage) = Stage::start("", "POLL").await else { return };
    let (alice, bob) = (stage.signer.access("alice", "s1"), stage.signer.access("bob", "s2"));
    assert!(stage.passes(&alice).await);
    let good = stage.signer.event(&format!("{RISC}account-disabled"), &json!({}));
    let bad = stage.signer.event(&format!("{RISC}account-disabled"), &json!({ "aud": "https://other.test" }));
    let other = stage.signer.event("https://example.test/unheard-of", &json!({}));
    let started = Instant::now();
    stage.signer.ask(&json!({ "queue": { "good": good, "bad": bad, "other": other } }));
    let mut said = Value::Null;
    for _ in 0..200 {
        said = stage.signer.ask(&json!({ "polled": true }));
        let acked: Vec<&str> = said["acked"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        if acked.contains(&"good") {
            assert!(!stage.passes(&alice).await, "acknowledged means that it holds");
            if acked.contains(&"other") && !said["errors"]["bad"].is_null() {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("queue to refusal with a poll each second: {:?}", started.elapsed());
    assert_eq!(said["errors"]["bad"]["err"], "invalid_audience", "{said}");
    assert_eq!(said["acked"].as_array().unwrap().len(), 2, "{said}");
    assert!(!stage.passes(&alice).await && stage.passes(&bob).await);
    stage.t.stop().await;
}
