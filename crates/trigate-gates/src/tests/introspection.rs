//! Tokens that another issuer alone can judge (RFC 7662): asked once, believed literally, judged anew by each route.

use super::rig::*;
use crate::*;
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};
use trigate_core::{change::Target, id::TokenId, jose::SigningKey};
use zeroize::Zeroizing;

const ASKED: &str = "https://asked.test";
const OPAQUE: &str = "opaque-token-of-another-issuer";

/// Issuer `asked.test` is asked; its client `web` is `app_a`, on the plan that does not get in the way.
fn rig_with(method: IntrospectionMethod) -> Rig {
    let mut rig = Rig::new();
    let mut rule = IssuerRule::new(ASKED, KeySource::Discovery, vec![AUDIENCE.into()]);
    rule.applications.insert("*".into(), id("app_a"));
    rule.introspection = Some(Introspection {
        url: "https://asked.test/introspect".into(),
        client: "gate".into(),
        secret: ClientSecret::new(Zeroizing::new("s3cret".into())),
        method,
    });
    Arc::get_mut(&mut rig.rules).unwrap().issuers.push(rule);
    rig.issuers.load(&rig.rules);
    rig
}

fn rig() -> Rig {
    rig_with(IntrospectionMethod::Basic)
}

/// The usual answer with these members changed; `null` takes one away.
fn says(rig: &Rig, changes: Value) {
    let now = rig.now_s();
    let mut answer = json!({ "active": true, "token_type": "Bearer", "iss": ASKED, "sub": "bob", "client_id": "web",
        "aud": AUDIENCE, "exp": now + 600, "iat": now, "scope": "orders:read", "jti": "j1" });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(answer.as_object_mut().unwrap().remove(name)),
            value => answer[name] = value.clone(),
        }
    }
    put(rig, 200, answer.to_string());
}

fn put(rig: &Rig, status: u16, body: String) {
    let mut answers = rig.web.answers.lock().unwrap();
    answers.retain(|(token, ..)| token != OPAQUE);
    answers.push((OPAQUE.to_owned(), status, body));
}

fn asked(rig: &Rig) -> usize {
    rig.web.asked.lock().unwrap().len()
}

#[tokio::test]
async fn rfc7662_2_1_the_issuer_is_asked_as_its_client() {
    for (method, basic) in
        [(IntrospectionMethod::Basic, Some("gate:s3cret".to_owned())), (IntrospectionMethod::Post, None)]
    {
        let rig = rig_with(method);
        says(&rig, json!({}));
        assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "pass");
        let (form, credentials) = rig.web.asked.lock().unwrap()[0].clone();
        assert_eq!(credentials, basic);
        let sent = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!((sent("token"), sent("token_type_hint")), (Some(OPAQUE), Some("access_token")));
        assert_eq!(sent("client_secret"), basic.is_none().then_some("s3cret"));
        assert!(!format!("{:?}", rig.rules).contains("s3cret"), "the secret does not show itself");
    }
}

#[tokio::test]
async fn t31_an_answer_is_believed_literally() {
    let at = |rig: &Rig, seconds: i64| json!(rig.now_s() + seconds);
    let rig = rig();
    for (changes, verdict) in [
        (json!({}), "pass"),
        (json!({ "active": "true" }), "401 token.inactive"),
        (json!({ "active": 1 }), "401 token.inactive"),
        (json!({ "active": null }), "401 token.inactive"),
        (json!({ "active": [true] }), "401 token.inactive"),
        (json!({ "active": false }), "401 token.inactive"),
        (json!({ "exp": at(&rig, -60) }), "401 token.expired"),
        (json!({ "exp": null }), "401 token.claims"),
        (json!({ "exp": "9999999999" }), "401 token.claims"),
        (json!({ "nbf": at(&rig, 6_000) }), "401 token.not_yet_valid"),
        (json!({ "aud": "https://other.test" }), "401 token.audience"),
        (json!({ "aud": null }), "401 token.audience"),
        (json!({ "aud": { "x": AUDIENCE } }), "401 token.claims"),
        (json!({ "iss": "https://x.test" }), "401 token.issuer"),
        (json!({ "iss": 5 }), "401 token.claims"),
        (json!({ "scope": 5 }), "401 token.claims"),
        (json!({ "sub": ["bob"] }), "401 token.claims"),
        // A refresh token is active too, and no access token.
        (json!({ "token_type": null }), "401 token.type"),
        (json!({ "token_type": "refresh_token" }), "401 token.type"),
        (json!({ "token_type": null, "typ": "Refresh" }), "401 token.type"),
        (json!({ "cnf": { "jkt": "x" } }), "401 token.bound"),
    ] {
        // The kept answer is of another second.
        rig.clock.advance_s(6);
        says(&rig, changes.clone());
        assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, verdict, "{changes}");
    }
}

#[tokio::test]
async fn g20_no_error_of_the_issuer_is_a_yes() {
    let rig = rig();
    let yes = json!({ "active": true }).to_string();
    let twice = r#"{"active": false, "active": true}"#.to_owned();
    let bodies = [
        (500, yes.clone()),
        (302, yes.clone()),
        (401, yes.clone()),
        (204, yes.clone()),
        (200, String::new()),
        (200, "[true]".to_owned()),
        (200, "true".to_owned()),
        (200, format!("{yes}{yes}")),
        (200, twice),
        (200, format!(r#"{{"active": true, "x": "{}"}}"#, "a".repeat(70_000))),
        (200, "[".repeat(60_000)),
    ];
    for (status, body) in bodies {
        put(&rig, status, body.clone());
        let said = rig.ask("/any").bearer(OPAQUE).verdict().await;
        assert_eq!(said, "503 lookup.unavailable", "{status} {}", body.chars().take(40).collect::<String>());
    }
    rig.web.answers.lock().unwrap().clear();
    assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "503 lookup.unavailable", "nobody there");
    // Nothing of it was kept; and what is merely long is read.
    says(&rig, json!({ "more": "a".repeat(60_000) }));
    assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "pass");
}

#[tokio::test]
async fn t32_a_kept_answer_is_judged_anew_by_each_route() {
    let rig = rig();
    says(&rig, json!({ "exp": rig.now_s() + 3 }));
    assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "pass");
    assert_eq!(rig.ask("/orders/write").bearer(OPAQUE).verdict().await, "403 scope.missing");
    assert_eq!(rig.ask("/admin").bearer(OPAQUE).verdict().await, "403 role.missing");
    assert_eq!(rig.ask("/service").bearer(OPAQUE).verdict().await, "403 subject.not_service");
    rig.revoke(Target::User { id: id("alice"), issuer: Some(ASKED.into()) });
    assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "pass");
    assert_eq!(asked(&rig), 1, "all by one answer");
    // Its expiry is not the answer's: 10 s of leeway, then over, while the answer is young for this route.
    rig.clock.advance_s(4);
    assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "pass");
    assert_eq!(asked(&rig), 1);
    rig.revoke(Target::User { id: id("bob"), issuer: Some(ASKED.into()) });
    assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "401 user.revoked", "what we know counts beside");
}

#[tokio::test]
async fn an_answer_is_used_again_no_longer_than_the_route_says() {
    let rig = rig();
    says(&rig, json!({}));
    assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "pass");
    says(&rig, json!({ "active": false }));
    rig.clock.advance_s(4);
    assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "pass");
    // A sensitive route asks for each request, and what it hears holds for all.
    assert_eq!(rig.ask("/sensitive").bearer(OPAQUE).verdict().await, "401 token.inactive");
    assert_eq!(asked(&rig), 2);
    assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "401 token.inactive");
    assert_eq!(asked(&rig), 2);
    rig.clock.advance_s(5);
    says(&rig, json!({}));
    assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "pass");
    assert_eq!(asked(&rig), 3);
}

#[tokio::test]
async fn a_herd_asks_once() {
    let rig = rig();
    rig.web.slow.store(true, Ordering::SeqCst);
    says(&rig, json!({}));
    let asks: Vec<_> = (0..200).map(|_| rig.ask("/orders").bearer(OPAQUE)).collect();
    let admitted = futures_util::future::join_all(asks.iter().map(Ask::admit)).await;
    assert!(admitted.iter().all(Result::is_ok));
    assert_eq!(asked(&rig), 1);
}

#[tokio::test]
async fn guesses_are_bounded_while_the_issuer_is_slow() {
    let rig = rig();
    rig.web.slow.store(true, Ordering::SeqCst);
    let guesses: Vec<String> = (0..1_000).map(|n| format!("guess-{n}")).collect();
    let asks: Vec<_> = guesses.iter().map(|guess| rig.ask("/orders").bearer(guess)).collect();
    let admitted = futures_util::future::join_all(asks.iter().map(Ask::admit)).await;
    assert!(admitted.iter().all(Result::is_err));
    assert!(asked(&rig) <= 256, "{}", asked(&rig));
    // They gave their places back.
    says(&rig, json!({}));
    assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "pass");
}

#[tokio::test]
async fn the_issuers_jwts_are_asked_about_too_and_nobody_elses() {
    let rig = rig();
    let key = SigningKey::generate(trigate_core::jose::Algorithm::ES256, "any").unwrap();
    let token = rig.foreign(ASKED, &key, json!({}));
    let mut answer = json!({ "active": true, "token_type": "Bearer", "sub": "bob", "aud": AUDIENCE });
    answer["exp"] = json!(rig.now_s() + 60);
    rig.web.answers.lock().unwrap().push((token.clone(), 200, answer.to_string()));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    assert_eq!(
        rig.ask("/any").bearer(&rig.foreign("https://x.test", &key, json!({}))).verdict().await,
        "401 token.key_unknown"
    );
    assert_eq!(rig.ask("/any").bearer("a.b.c").verdict().await, "401 token.malformed");
    assert_eq!(rig.ask("/any").bearer(&rig.token(json!({}))).verdict().await, "pass");
    let sent = rig.web.asked.lock().unwrap().clone();
    assert_eq!(sent.len(), 1, "no token was shown to a stranger");
    assert!(rig.web.fetched.lock().unwrap().iter().all(|url| url == "https://x.test/jwks"));
}

#[tokio::test]
async fn with_two_issuers_to_ask_an_opaque_token_is_shown_to_neither() {
    let mut rig = rig();
    let mut other = rig.rules.issuers.last().unwrap().clone();
    other.issuer = "https://second.test".into();
    Arc::get_mut(&mut rig.rules).unwrap().issuers.push(other);
    says(&rig, json!({}));
    assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "401 token.malformed");
    assert_eq!(asked(&rig), 0);
}

#[tokio::test]
async fn an_opaque_token_is_revoked_by_its_jti_and_by_its_text() {
    for target in [TokenId::foreign(ASKED, "j1"), TokenId::of_text(OPAQUE)] {
        let rig = rig();
        says(&rig, json!({}));
        assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "pass");
        rig.revoke(Target::Token { id: target });
        assert_eq!(rig.ask("/any").bearer(OPAQUE).verdict().await, "401 token.revoked");
    }
}

#[tokio::test]
async fn a_token_without_a_subject_is_its_clients_own() {
    let rig = rig();
    says(&rig, json!({ "sub": null }));
    assert_eq!(rig.ask("/service").bearer(OPAQUE).verdict().await, "pass");
    rig.clock.advance_s(6);
    says(&rig, json!({ "sub": null, "username": "bob" }));
    assert_eq!(rig.ask("/service").bearer(OPAQUE).verdict().await, "401 token.claims");
}

#[tokio::test]
async fn questions_that_nobody_waits_for_give_their_places_back() {
    use futures_util::FutureExt;
    let rig = rig();
    rig.web.slow.store(true, Ordering::SeqCst);
    for n in 0..256 {
        let guess = format!("guess-{n}");
        let ask = rig.ask("/orders").bearer(&guess);
        assert!(Box::pin(ask.admit()).now_or_never().is_none(), "the caller goes away");
    }
    says(&rig, json!({}));
    assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "503 lookup.unavailable");
    rig.clock.advance_s(15);
    assert_eq!(rig.ask("/orders").bearer(OPAQUE).verdict().await, "pass");
}
