//! Gate × credential state → status, challenge, body, record.

use super::rig::*;
use crate::*;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use trigate_core::{
    audit::{Outcome, Verdict},
    credential::OpaqueToken,
    id::TokenId,
    port::Monotonic,
    reason::Reason,
};

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn each_credential_in_each_state_on_each_kind_of_route() {
    let rig = Rig::new();
    let (good, other) = (rig.token(json!({})), rig.token(json!({ "aud": "https://other.test" })));
    let (key, bad) = (rig.key_a.reveal().to_owned(), "tgk_live_garbage".to_owned());
    type Case<'a> = (&'a str, Option<&'a String>, Option<&'a String>, &'a str, [Verdict; 3]);
    let cases: &[Case<'_>] = &[
        ("/public/x", None, None, "pass", [Verdict::Waived; 3]),
        ("/public/x", Some(&bad), Some(&other), "pass", [Verdict::Waived; 3]),
        ("/weather", Some(&key), None, "pass", [Verdict::Passed; 3]),
        ("/weather", None, None, "401 key.missing", [Verdict::Refused, Verdict::NotReached, Verdict::NotReached]),
        (
            "/weather",
            Some(&bad),
            None,
            "401 key.malformed",
            [Verdict::Refused, Verdict::NotReached, Verdict::NotReached],
        ),
        // A bad token is never ignored because a good key is there.
        (
            "/weather",
            Some(&key),
            Some(&other),
            "401 token.audience",
            [Verdict::Passed, Verdict::Refused, Verdict::NotReached],
        ),
        ("/orders", None, None, "401 token.missing", [Verdict::Passed, Verdict::Refused, Verdict::NotReached]),
        ("/orders", Some(&key), None, "401 token.missing", [Verdict::Passed, Verdict::Refused, Verdict::NotReached]),
        ("/orders", None, Some(&good), "pass", [Verdict::Passed; 3]),
        ("/orders", Some(&key), Some(&good), "pass", [Verdict::Passed; 3]),
        (
            "/orders",
            Some(&bad),
            Some(&good),
            "401 key.malformed",
            [Verdict::Refused, Verdict::NotReached, Verdict::NotReached],
        ),
        ("/both", Some(&key), Some(&good), "pass", [Verdict::Passed; 3]),
        ("/both", None, Some(&good), "401 key.missing", [Verdict::Refused, Verdict::NotReached, Verdict::NotReached]),
        ("/both", Some(&key), None, "401 token.missing", [Verdict::Passed, Verdict::Refused, Verdict::NotReached]),
        ("/admin", None, Some(&good), "403 role.missing", [Verdict::Passed, Verdict::Passed, Verdict::Refused]),
        ("/orders/write", None, Some(&good), "403 scope.missing", [Verdict::Passed, Verdict::Passed, Verdict::Refused]),
        ("/either", None, None, "401 certificate.missing", [Verdict::Passed, Verdict::Refused, Verdict::NotReached]),
        ("/either", None, Some(&good), "pass", [Verdict::Passed; 3]),
        (
            "/cert",
            None,
            Some(&good),
            "401 certificate.missing",
            [Verdict::Passed, Verdict::Refused, Verdict::NotReached],
        ),
        ("/.trigate/whoami", None, None, "401 token.missing", [Verdict::Passed, Verdict::Refused, Verdict::NotReached]),
        ("/nowhere", None, None, "404 route.unknown", [Verdict::NotReached; 3]),
        ("/public/../x", None, None, "400 request.path_ambiguous", [Verdict::NotReached; 3]),
        ("/post", Some(&key), None, "405 route.method", [Verdict::NotReached; 3]),
    ];
    for (path, key, token, expected, verdicts) in cases {
        let mut ask = rig.ask(path);
        if let Some(key) = key {
            ask = ask.header("x-api-key", key);
        }
        if let Some(token) = token {
            ask = ask.bearer(token);
        }
        assert_eq!(is_send(ask.verdict()).await, *expected, "{path} {key:?} {token:?}");
        assert_eq!(rig.last().gates.map(|gate| gate.verdict), *verdicts, "{path} {expected}");
    }
}

#[tokio::test]
async fn an_api_key_identifies_and_never_authenticates_a_user() {
    let rig = Rig::new();
    let whoami = rig.ask("/.trigate/whoami").key(&rig.key_a).permit().await.whoami();
    for (field, value) in [
        ("client", json!("The app_a")),
        ("plan", json!("pro")),
        ("rate_limit", json!("1000/hour")),
        ("user", Value::Null),
        ("kind", json!("application")),
    ] {
        assert_eq!(whoami[field], value, "{field}");
    }
    let refusal = rig.ask("/orders").key(&rig.key_a).refusal().await;
    let body: Value = serde_json::from_slice(refusal.body()).unwrap();
    assert_eq!(body["detail"], "An API key identifies an application; this route needs a user's access token.");
    assert_eq!(body["status"], 401);
    assert_eq!(refusal.headers()["content-type"], "application/problem+json");
    assert_eq!(refusal.headers()["x-request-id"], refusal.request_id().as_str());
    assert_eq!(refusal.headers()["www-authenticate"], "Bearer realm=\"trigate\", scope=\"orders:read\"");
    let record = rig.last();
    assert_eq!(record.facts.application, Some(id("app_a")));
    assert_eq!(record.facts.key.as_ref(), Some(rig.key_a.id()));
}

#[tokio::test]
async fn a_token_tells_who_and_the_upstream_hears_it() {
    let rig = Rig::new();
    let ask =
        rig.ask("/orders").bearer(&rig.token(json!({}))).header("x-trigate-user", "usr_evil").header("accept", "a");
    let permit = ask.admit().await.unwrap();
    let headers = permit.forwarded_headers(ask.headers(), Some("assertion"));
    for (name, value) in [
        ("x-trigate-user", ALICE),
        ("x-trigate-email", "alice@example.com"),
        ("x-trigate-subject-kind", "user"),
        ("x-trigate-application", "app_a"),
        ("x-trigate-plan", "pro"),
        ("x-trigate-client", "cli_a"),
        ("x-trigate-session", "ses_1"),
        ("x-trigate-scopes", "orders:read profile"),
        ("x-trigate-roles", "customer"),
        ("x-trigate-assertion", "assertion"),
        ("accept", "a"),
    ] {
        assert_eq!(headers[name], value, "{name}");
        assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
    }
    assert!(!headers.contains_key("authorization"));
    let caller = permit.caller().unwrap();
    assert_eq!((caller.identity.kind(), caller.client), ("user", Some(id("cli_a"))));
    let whoami = rig.ask("/.trigate/whoami").bearer(&rig.token(json!({}))).permit().await.whoami();
    assert_eq!(whoami["user_id"], ALICE);
    assert_eq!(whoami["client_id"], "cli_a");
    assert_eq!(whoami["scopes"], json!(["orders:read", "profile"]));
    assert_eq!(whoami["issued_at"], START.rfc3339());
    let facts = rig.last().facts;
    assert_eq!((facts.user, facts.session, facts.grant), (Some(id(ALICE)), Some(id("ses_1")), Some(id("grt_1"))));
}

#[tokio::test]
async fn insufficient_scope_names_all_scopes() {
    let rig = Rig::new();
    let refusal = rig.ask("/orders/write").bearer(&rig.token(json!({}))).refusal().await;
    assert_eq!(
        refusal.headers()["www-authenticate"],
        "Bearer realm=\"trigate\", error=\"insufficient_scope\", scope=\"orders:read orders:write\""
    );
}

#[tokio::test]
async fn bodies_tell_nothing_about_why_a_credential_was_bad() {
    let rig = Rig::new();
    let tokens = [
        "x".to_owned(),
        rig.token(json!({ "exp": 1 })),
        rig.token(json!({ "aud": "z" })),
        rig.token(json!({ "iss": "z" })),
        rig.token(json!({ "sub": null })),
        "tga_x".to_owned(),
        rig.y.sign_jws("at+jwt", &json!({ "iss": ISSUER })).unwrap(),
    ];
    let mut bodies = Vec::new();
    for token in &tokens {
        let refusal = rig.ask("/both").key(&rig.key_a).bearer(token).refusal().await;
        assert_eq!(refusal.headers()["www-authenticate"], "Bearer realm=\"trigate\", error=\"invalid_token\"");
        bodies.push(refusal.body().to_vec());
    }
    bodies.push(
        rig.ask("/both").header("x-api-key", "bad").bearer(&rig.token(json!({}))).refusal().await.body().to_vec(),
    );
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn machines_are_machines() {
    let rig = Rig::new();
    let certificate = certificate(&rig, "spiffe://acme.test/warehouse");
    let permit = rig.ask("/either").certificate(certificate.clone()).permit().await;
    assert_eq!(permit.subject_kind(), SubjectKind::Machine);
    assert_eq!(permit.application().unwrap().id, id("app_a"));
    let whoami = rig.ask("/.trigate/whoami").certificate(certificate.clone()).permit().await.whoami();
    assert_eq!((&whoami["machine"], &whoami["user"]), (&json!("spiffe://acme.test/warehouse"), &Value::Null));
    // A certificate that no rule maps is bad, also where a token would do.
    let foreign = ClientCertificate { san_uris: vec!["spiffe://evil.test/x".into()], ..certificate.clone() };
    let ask = rig.ask("/either").certificate(foreign).bearer(&rig.token(json!({})));
    assert_eq!(ask.verdict().await, "401 certificate.unmapped");
    assert_eq!(rig.last().facts.certificate, Some(certificate.fingerprint.clone()));
    let expired = ClientCertificate { not_after: START.plus_seconds(-1), ..certificate };
    assert_eq!(rig.ask("/cert").certificate(expired).verdict().await, "401 certificate.invalid");
}

#[tokio::test]
async fn opaque_tokens_are_judged_like_jwts_and_garbage_costs_no_look_up() {
    let rig = Rig::new();
    let facts = {
        let permit = rig.ask("/any").bearer(&rig.token(json!({}))).permit().await;
        drop(permit);
        trigate_core::identity::TokenFacts {
            issuer: ISSUER.into(),
            subject: ALICE.into(),
            client: Some(id("cli_a")),
            application: Some(id("app_a")),
            identity: trigate_core::identity::Identity::User { id: id(ALICE), email: None },
            token: TokenId::from_bits(1),
            session: None,
            grant: None,
            audiences: vec![AUDIENCE.into()],
            scopes: trigate_core::oauth::ScopeSet::parse("orders:read").unwrap(),
            roles: vec![],
            issued_at: Some(START),
            not_before: None,
            expires_at: START.plus_seconds(600),
            authenticated_at: None,
            acr: None,
            position: Some(rig.known.position()),
            actor: None,
            kid: None,
            confirmation: None,
        }
    };
    let token = rig.opaque(facts.clone());
    assert_eq!(rig.ask("/orders").bearer(token.reveal()).verdict().await, "pass");
    assert_eq!(rig.ask("/orders").bearer(token.reveal()).verdict().await, "pass");
    assert_eq!(rig.ask("/orders/write").bearer(token.reveal()).verdict().await, "403 scope.missing");
    assert_eq!(rig.desk.asked.load(Ordering::SeqCst), 1, "verified once, judged each time");
    // T30: cut, extended, other case.
    for cut in [0, 1, 10, 40] {
        let text = &token.reveal()[..token.reveal().len() - 1 - cut];
        assert_eq!(rig.ask("/orders").bearer(text).verdict().await, "401 token.malformed");
    }
    assert_eq!(rig.ask("/orders").bearer(&format!("{}0", token.reveal())).verdict().await, "401 token.malformed");
    assert_eq!(rig.desk.asked.load(Ordering::SeqCst), 1, "the checksum refuses garbage");
    let unknown = OpaqueToken::mint(rig.rng.as_ref(), &rig.checksum);
    assert_eq!(rig.ask("/orders").bearer(unknown.reveal()).verdict().await, "401 token.inactive");
    rig.desk.down.store(true, Ordering::SeqCst);
    let other = OpaqueToken::mint(rig.rng.as_ref(), &rig.checksum);
    assert_eq!(rig.ask("/orders").bearer(other.reveal()).verdict().await, "503 lookup.unavailable");
    rig.revoke(trigate_core::change::Target::Token { id: TokenId::of_text(token.reveal()) });
    assert_eq!(rig.ask("/orders").bearer(token.reveal()).verdict().await, "401 token.revoked");
    rig.clock.advance_s(700);
    let late = rig.opaque(facts);
    rig.desk.down.store(false, Ordering::SeqCst);
    assert_eq!(rig.ask("/orders").bearer(late.reveal()).verdict().await, "401 token.expired");
}

#[tokio::test]
async fn without_a_lease_a_gate_does_what_the_route_says() {
    let rig = Rig::new();
    let token = rig.token(json!({}));
    rig.known.drop_lease();
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "503 gate.stale");
    assert_eq!(rig.ask("/weather").key(&rig.key_a).verdict().await, "503 gate.stale");
    assert_eq!(rig.ask("/public/x").verdict().await, "pass");
    assert_eq!(rig.ask("/lenient").bearer(&token).verdict().await, "pass");
    assert!(rig.last().stale);
    // Sensitive: `allow` is not taken at its word.
    assert_eq!(rig.ask("/sensitive").bearer(&token).verdict().await, "503 gate.stale");
    assert_eq!(rig.ask("/introspect").bearer(&token).verdict().await, "pass");
    assert!(!rig.last().stale);
    // A key cannot be introspected.
    assert_eq!(rig.ask("/introspect").bearer(&token).key(&rig.key_a).verdict().await, "503 gate.stale");
    // An answer about another token says nothing about this one.
    rig.desk.mixes_up.store(true, Ordering::SeqCst);
    assert_eq!(rig.ask("/introspect").bearer(&token).verdict().await, "401 token.inactive");
    rig.desk.mixes_up.store(false, Ordering::SeqCst);
    rig.desk.inactive.store(true, Ordering::SeqCst);
    assert_eq!(rig.ask("/introspect").bearer(&token).verdict().await, "401 token.inactive");
    rig.desk.down.store(true, Ordering::SeqCst);
    assert_eq!(rig.ask("/introspect").bearer(&token).verdict().await, "503 lookup.unavailable");
    rig.known.hold_lease(Monotonic(u64::MAX));
    assert_eq!(rig.ask("/introspect").bearer(&token).verdict().await, "pass");
}

#[tokio::test]
async fn sensitive_routes_want_young_tokens_and_a_synced_record() {
    let rig = Rig::new();
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/sensitive").bearer(&token).verdict().await, "pass");
    assert!(rig.audit.records.lock().unwrap().last().unwrap().1, "synced");
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    assert!(!rig.audit.records.lock().unwrap().last().unwrap().1);
    rig.clock.advance_s(121);
    assert_eq!(rig.ask("/sensitive").bearer(&token).verdict().await, "401 token.too_old");
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    let undated = rig.token(json!({ "iat": null }));
    assert_eq!(rig.ask("/sensitive").bearer(&undated).verdict().await, "401 token.too_old");
}

#[tokio::test]
async fn l15_step_up_says_what_is_wanted() {
    let rig = Rig::new();
    for (claims, good) in [
        (json!({ "acr": "2" }), true),
        (json!({ "acr": "1" }), false),
        (json!({ "acr": null }), false),
        (json!({ "acr": "2", "auth_time": rig.now_s() - 301 }), false),
        (json!({ "acr": "2", "auth_time": null }), false),
    ] {
        let admitted = rig.ask("/stepup").bearer(&rig.token(claims.clone())).admit().await;
        assert_eq!(admitted.is_ok(), good, "{claims}");
        if let Err(refusal) = admitted {
            assert_eq!(
                refusal.headers()["www-authenticate"],
                "Bearer realm=\"trigate\", error=\"insufficient_user_authentication\", acr_values=\"2\", max_age=300"
            );
        }
    }
}

#[tokio::test]
async fn nothing_passes_unrecorded() {
    let rig = Rig::new();
    rig.audit.full.store(true, Ordering::SeqCst);
    let refusal = rig.ask("/public/x").refusal().await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::AuditUnavailable));
    rig.audit.full.store(false, Ordering::SeqCst);
    rig.audit.broken.store(true, Ordering::SeqCst);
    for ask in [rig.ask("/public/x"), rig.ask("/weather").key(&rig.key_a), rig.ask("/weather")] {
        let refusal = ask.refusal().await;
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::AuditUnavailable));
    }
    assert_eq!(rig.audit.reserved.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_is_answered_on_a_record_that_was_not_written() {
    let rig = Rig::new();
    for ask in [rig.ask("/public/x"), rig.ask("/weather").key(&rig.key_a), rig.ask("/weather")] {
        let judged = rig.gates.judge(&rig.rules, ask.request()).await;
        // The disk fails between the decision and the answer.
        rig.audit.broken.store(true, Ordering::SeqCst);
        let refusal = judged.written().unwrap_err();
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::AuditUnavailable));
        rig.audit.broken.store(false, Ordering::SeqCst);
        assert!(matches!(ask.verdict().await.as_str(), "pass" | "401 key.missing"));
    }
    let Judged::Allowed(permit) = rig.gates.judge(&rig.rules, rig.ask("/public/x").request()).await else {
        panic!("it is public");
    };
    rig.audit.broken.store(true, Ordering::SeqCst);
    assert!(permit.write_first().is_err(), "what changes something is on record before the API hears of it");
}

#[tokio::test]
async fn a_caller_that_goes_away_gives_its_slot_back() {
    let rig = Rig::new();
    rig.web.slow.store(true, Ordering::SeqCst);
    let ask = rig.ask("/any").bearer(&rig.foreign("https://x.test", &rig.x, json!({})));
    let mut admitting = Box::pin(ask.admit());
    assert!(futures_util::FutureExt::now_or_never(&mut admitting).is_none());
    assert_eq!(rig.audit.reserved.load(Ordering::SeqCst), 1);
    drop(admitting);
    assert_eq!((rig.audit.reserved.load(Ordering::SeqCst), rig.records()), (0, 0));
    // The flight it started is taken up by the next, not begun anew.
    assert_eq!(ask.verdict().await, "pass");
    assert_eq!(rig.web.fetched.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn observe_mode_lets_by_what_goes_upstream_and_nothing_else() {
    let mut rig = Rig::new();
    let Some(rules) = std::sync::Arc::get_mut(&mut rig.rules) else { panic!("shared") };
    rules.enforce = Enforce::Observe;
    let ask = rig.ask("/orders").key(&rig.key_a);
    let permit = ask.admit().await.unwrap();
    assert_eq!(permit.observed(), Some(Reason::TokenMissing));
    assert_eq!(rig.last().outcome, Outcome::Observed);
    assert_eq!(permit.forwarded_headers(ask.headers(), None)["x-trigate-application"], "app_a");
    // What is not true any more does not go upstream as identity, but into the record.
    let token = rig.token(json!({}));
    rig.revoke(trigate_core::change::Target::User { id: id(ALICE), issuer: None });
    let ask = rig.ask("/orders").bearer(&token);
    let permit = ask.admit().await.unwrap();
    assert_eq!((permit.observed(), permit.identity()), (Some(Reason::UserRevoked), None));
    assert!(!permit.forwarded_headers(ask.headers(), None).contains_key("x-trigate-user"));
    assert_eq!(rig.last().facts.user, Some(id(ALICE)));
    // SECURITY: internal routes are never merely observed.
    assert_eq!(rig.ask("/.trigate/whoami").verdict().await, "401 token.missing");
    assert_eq!(rig.ask("/nowhere").verdict().await, "404 route.unknown");
}

#[tokio::test]
async fn explain_walks_the_same_road_and_leaves_no_trace() {
    let rig = Rig::new();
    for _ in 0..5 {
        let ask = rig.ask("/limited").key(&rig.key_b);
        let explained = explain(&rig.gates, &rig.rules, ask.request()).await;
        assert!(explained.allowed, "{explained:?}");
    }
    let ask = rig.ask("/admin").bearer(&rig.token(json!({})));
    let explained = explain(&rig.gates, &rig.rules, ask.request()).await;
    assert_eq!((explained.status, explained.reason), (403, Some(Reason::RoleMissing)));
    assert_eq!(explained.gates.map(|gate| gate.verdict), [Verdict::Passed, Verdict::Passed, Verdict::Refused]);
    assert_eq!(explained.facts.user, Some(id(ALICE)));
    assert_eq!(rig.records(), 0);
}

#[tokio::test]
async fn limits_by_plan_by_route_and_by_address() {
    let rig = Rig::new();
    let permit = rig.ask("/weather").key(&rig.key_a).permit().await;
    assert_eq!(permit.limit_headers()["ratelimit-policy"], "\"pro\";q=1000;w=3600");
    assert_eq!(permit.limit_headers()["ratelimit"], "\"pro\";r=999;t=4");
    // Two an hour for `free`, whichever credential names the application.
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "pass");
    let token = rig.token(json!({ "client_id": "cli_b", "app": "app_b" }));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    let refusal = rig.ask("/any").bearer(&token).refusal().await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (429, Reason::ApplicationLimited));
    assert_eq!(refusal.headers()["retry-after"], "1800");
    assert_eq!(refusal.headers()["ratelimit"], "\"free\";r=0;t=3600");
    assert_eq!(rig.last().gates.map(|gate| gate.verdict), [Verdict::Passed, Verdict::Refused, Verdict::NotReached]);
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "429 application.rate_limited");
    assert_eq!(rig.last().gates.map(|gate| gate.verdict), [Verdict::Refused, Verdict::NotReached, Verdict::NotReached]);
    rig.clock.advance_s(1_800);
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "pass");
    // The route's own limit.
    assert_eq!(rig.ask("/limited").key(&rig.key_a).verdict().await, "pass");
    assert_eq!(rig.ask("/limited").key(&rig.key_a).verdict().await, "429 application.rate_limited");
    assert_eq!(rig.ask("/weather").key(&rig.key_a).verdict().await, "pass");
}

#[tokio::test]
async fn an_address_is_limited_before_anything_is_judged() {
    let mut rig = Rig::new();
    let Some(rules) = std::sync::Arc::get_mut(&mut rig.rules) else { panic!("shared") };
    rules.address_limit = Some("2/hour".parse().unwrap());
    for (peer, expected) in [
        ("192.0.2.1", "pass"),
        ("::ffff:192.0.2.1", "pass"),
        ("192.0.2.1", "429 address.rate_limited"),
        ("192.0.2.2", "pass"),
    ] {
        assert_eq!(rig.ask("/public/x").peer(peer).verdict().await, expected, "{peer}");
    }
}

#[tokio::test]
async fn routes_say_whether_applications_must_agree() {
    let rig = Rig::new();
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/both").key(&rig.key_b).bearer(&token).verdict().await, "403 applications.differ");
    assert_eq!(rig.ask("/loose").key(&rig.key_b).bearer(&token).verdict().await, "pass");
}

#[tokio::test]
async fn issuers_are_discovered_at_their_own_address_alone() {
    let mut rig = Rig::new();
    // Issuers say much that nobody here asks.
    let more = "x".repeat(200_000);
    let metadata =
        |issuer: &str, keys: &str| json!({ "issuer": issuer, "jwks_uri": keys, "more": more }).to_string().into_bytes();
    let pages = [
        ("https://one.test/.well-known/openid-configuration", metadata("https://one.test", "https://one.test/keys")),
        // RFC 8414 §3.1: the well-known part before the path.
        (
            "https://two.test/.well-known/oauth-authorization-server/t",
            metadata("https://two.test/t", "https://two.test/keys"),
        ),
        // RFC 8414 §3.3: metadata of somebody else.
        (
            "https://three.test/.well-known/openid-configuration",
            metadata("https://one.test", "https://three.test/keys"),
        ),
        ("https://four.test/.well-known/openid-configuration", metadata("https://four.test", "http://four.test/keys")),
    ];
    {
        let mut web = rig.web.pages.lock().unwrap();
        web.extend(pages.map(|(url, body)| (url.to_owned(), body)));
        for host in ["one", "two", "three", "four"] {
            web.push((format!("https://{host}.test/keys"), jwks(&[&rig.x])));
            web.push((format!("http://{host}.test/keys"), jwks(&[&rig.x])));
        }
    }
    let Some(rules) = std::sync::Arc::get_mut(&mut rig.rules) else { panic!("shared") };
    let issuers = ["https://one.test", "https://two.test/t", "https://three.test", "https://four.test"];
    rules.issuers.extend(issuers.map(|issuer| IssuerRule::new(issuer, KeySource::Discovery, vec![AUDIENCE.into()])));
    rig.issuers.load(&rig.rules);
    rig.issuers.refresh_due().await;
    for (issuer, expected) in issuers.iter().zip(["pass", "pass", "503 lookup.unavailable", "503 lookup.unavailable"]) {
        let token = rig.foreign(issuer, &rig.x, json!({}));
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, expected, "{issuer}");
    }
}

/// An assertion is signed from a permit's facts: what was refused and only observed must not be vouched for.
#[tokio::test]
async fn an_observed_permit_vouches_for_nobody_that_was_refused() {
    let mut rig = Rig::new();
    let Some(rules) = std::sync::Arc::get_mut(&mut rig.rules) else { panic!("shared") };
    rules.enforce = Enforce::Observe;
    let expired = rig.token(json!({ "exp": rig.now_s() - 300, "iat": rig.now_s() - 600 }));
    let permit = rig.ask("/orders").bearer(&expired).permit().await;
    assert_eq!(permit.observed(), Some(Reason::TokenExpired));
    assert_eq!((permit.facts().user.as_ref(), permit.facts().client.as_ref()), (None, None));
    // The record says all the same whose it was.
    assert_eq!(rig.last().facts.user.unwrap().as_str(), ALICE);
}
