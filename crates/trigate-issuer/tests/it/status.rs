//! Introspection, revocation, userinfo: what is true of a token now.

use crate::support::*;
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::atomic::Ordering;
use trigate_core::{
    change::Target,
    id::{ClientId, RequestId, SessionId, UserId},
    identity::{Caller, Identity},
    port::ActFilter,
};

#[tokio::test]
async fn o18_introspection_answers_those_who_prove_themselves_and_may_ask() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("mobile", &[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    let facts = stage.introspect("api-gateway", access).await;
    for (name, value) in [
        ("active", json!(true)),
        ("iss", json!(ISSUER)),
        ("sub", json!(stage.alice)),
        ("client_id", json!("mobile")),
        ("aud", json!([API])),
        ("scope", json!("email openid orders:read")),
        ("username", json!("alice@example.com")),
        ("token_type", json!("Bearer")),
        ("roles", json!(["customer"])),
    ] {
        assert_eq!(facts[name], value, "{name}");
    }
    let claims = stage.claims(access);
    for name in ["exp", "iat", "jti", "sid"] {
        assert_eq!(facts[name], claims[name], "{name}");
    }
    // No credentials, wrong ones, and a public client: 401 with nothing said.
    for params in [
        vec![("token", access)],
        vec![("token", access), ("client_id", "api-gateway")],
        vec![("token", access), ("client_id", "api-gateway"), ("client_secret", "wrong")],
        vec![("token", access), ("client_id", "mobile")],
        vec![("token", access), ("client_id", "nobody"), ("client_secret", "x")],
    ] {
        let page = stage.browser().post("/oauth/introspect", &params).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"), "{params:?}");
    }
    // Neither its client nor a resource server for its audience.
    assert_eq!(stage.introspect("service", access).await, json!({ "active": false }));
    let reports = stage.tokens("mobile", &[("resource", "https://reports.test")]).await;
    assert_eq!(
        stage.introspect("api-gateway", reports["access_token"].as_str().unwrap()).await,
        json!({ "active": false })
    );
    // An ID token is no access token; a changed token is nothing.
    assert_eq!(stage.introspect("api-gateway", tokens["id_token"].as_str().unwrap()).await, json!({ "active": false }));
    assert_eq!(stage.introspect("api-gateway", &access[..access.len() - 4]).await, json!({ "active": false }));
    stage.clock.advance_s(600);
    assert_eq!(stage.introspect("api-gateway", access).await, json!({ "active": false }), "after its life");
}

#[tokio::test]
async fn o18_of_ten_thousand_guesses_a_hundred_a_minute_are_answered() {
    let stage = Stage::start().await;
    let (mut answered, mut limited) = (0, 0);
    for number in 0..10_000 {
        // Of every form that a token can have.
        let guess = match number % 3 {
            0 => format!("tga_{number:044}"),
            1 => format!("tgr_{number:044}"),
            _ => format!("eyJhbGciOiJFUzI1NiJ9.e30.{number:043}"),
        };
        let page = stage.call("/oauth/introspect", "api-gateway", &[("token", &guess)]).await;
        match page.status {
            StatusCode::OK => {
                assert_eq!(page.json(), json!({ "active": false }));
                answered += 1;
            }
            StatusCode::TOO_MANY_REQUESTS => limited += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((answered, limited), (100, 9_900));
}

#[tokio::test]
async fn o18_guessing_is_limited() {
    let stage = Stage::start().await;
    let access = stage.tokens("poster", &[]).await["access_token"].as_str().unwrap().to_owned();
    for number in 0..100 {
        assert_eq!(stage.introspect("api-gateway", &format!("guess{number}")).await, json!({ "active": false }));
    }
    let limited = stage.call("/oauth/introspect", "api-gateway", &[("token", "guess")]).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(stage.is_active(&access).await, "rubbish does not silence a resource server");
    assert_eq!(stage.introspect("poster", "guess").await, json!({ "active": false }), "the others are not touched");
    stage.clock.advance_s(60);
    assert_eq!(stage.introspect("api-gateway", "guess").await, json!({ "active": false }));
}

#[tokio::test]
async fn a_refresh_token_is_introspected_by_its_own_client_alone() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let facts = stage.introspect("poster", refresh).await;
    assert_eq!((&facts["active"], &facts["token_type"]), (&json!(true), &json!("refresh_token")));
    assert_eq!(stage.introspect("api-gateway", refresh).await, json!({ "active": false }));
    stage.refresh("poster", refresh, &[]).await;
    assert_eq!(stage.introspect("poster", refresh).await, json!({ "active": false }), "used");
}

#[tokio::test]
async fn introspection_tells_the_truth_of_this_moment() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    stage.tenant.remove_role(stage.act("user.role_remove"), &stage.alice, "customer").await.unwrap().gives_only();
    assert!(stage.introspect("api-gateway", access).await.get("roles").is_none());
    let session = SessionId::parse(stage.claims(access)["sid"].as_str().unwrap()).unwrap();
    let keep = trigate_core::Timestamp::from_seconds(1 << 40);
    let other = stage.tokens("poster", &[]).await;
    stage
        .tenant
        .revoke(stage.act("session.revoke"), Target::Session { id: session, issuer: None }, keep)
        .await
        .unwrap()
        .gives_only();
    assert!(!stage.is_active(access).await);
    let other = other["access_token"].as_str().unwrap();
    assert!(stage.is_active(other).await);
    let everything = Target::User { id: stage.alice.clone(), issuer: None };
    stage.tenant.revoke(stage.act("user.revoke"), everything, keep).await.unwrap().gives_only();
    assert!(!stage.is_active(other).await);
    assert!(
        stage.is_active(stage.tokens("poster", &[]).await["access_token"].as_str().unwrap()).await,
        "a login in the same second works"
    );
}

#[tokio::test]
async fn o19_a_client_ends_its_own_tokens_alone() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    for token in [access, refresh, "nonsense", "tgr_nonsense"] {
        let page = stage.call("/oauth/revoke", "mobile", &[("token", token)]).await;
        assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, ""), "{token}");
    }
    assert!(stage.is_active(access).await);
    let naked = stage.browser().post("/oauth/revoke", &[("token", access), ("client_id", "poster")]).await;
    assert_eq!(naked.status, StatusCode::UNAUTHORIZED);
    assert!(stage.is_active(access).await);
    let waited = stage.everywhere.waited.lock().unwrap().len();
    assert_eq!(
        stage.call("/oauth/revoke", "poster", &[("token", access), ("token_type_hint", "refresh_token")]).await.status,
        StatusCode::OK
    );
    assert_eq!(stage.everywhere.waited.lock().unwrap().len(), waited + 1, "the 200 waits for every gate");
    assert!(!stage.is_active(access).await);
    let second = stage.refresh("poster", refresh, &[]).await.json();
    assert!(stage.is_active(second["access_token"].as_str().unwrap()).await, "one token ends, its line goes on");
    stage.call("/oauth/revoke", "poster", &[("token", second["refresh_token"].as_str().unwrap())]).await;
    assert!(!stage.is_active(second["access_token"].as_str().unwrap()).await, "RFC 7009 §2.1");
    let missing = stage.call("/oauth/revoke", "poster", &[]).await;
    assert_eq!(missing.error(), "invalid_request");
}

#[tokio::test]
async fn o20_nothing_claims_to_be_revoked_that_is_not() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    // The store refuses the write.
    let database = rusqlite::Connection::open(&stage.database).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    database
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON revoked_tokens BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        .unwrap();
    let page = stage.call("/oauth/revoke", "poster", &[("token", access)]).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.body);
    assert!(stage.is_active(access).await);
    database.execute_batch("DROP TRIGGER full").unwrap();
    // It is written, but a gate has not confirmed.
    stage.everywhere.refuses.store(true, Ordering::SeqCst);
    let page = stage.call("/oauth/revoke", "poster", &[("token", access)]).await;
    assert_eq!((page.status, page.error().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
    stage.everywhere.refuses.store(false, Ordering::SeqCst);
    assert_eq!(stage.call("/oauth/revoke", "poster", &[("token", access)]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn userinfo_tells_what_the_scopes_allow() {
    let stage = Stage::start().await;
    let caller = |identity: Identity, scope: &str| Caller {
        identity,
        application: None,
        client: Some(ClientId::parse("mobile").unwrap()),
        session: None,
        grant: None,
        scopes: scopes(scope),
        roles: vec![],
        request: RequestId::mint(rng_of(&stage)),
        address: [192, 0, 2, 1].into(),
    };
    let alice = || Identity::User { id: stage.alice.clone(), email: None };
    let ask = async |identity, scope| trigate_issuer::userinfo(&stage.issuer, &caller(identity, scope)).await;
    assert_eq!(ask(alice(), "openid").await.unwrap(), json!({ "sub": stage.alice }));
    let all =
        json!({ "sub": stage.alice, "name": "Alice Example", "email": "alice@example.com", "email_verified": true });
    assert_eq!(ask(alice(), "openid profile email").await.unwrap(), all);
    assert!(ask(alice(), "email").await.is_err());
    assert!(ask(Identity::Service { client: ClientId::parse("service").unwrap() }, "openid").await.is_err());
    assert!(ask(Identity::User { id: UserId::parse("usr_gone").unwrap(), email: None }, "openid").await.is_err());
}

#[tokio::test]
async fn every_endpoint_for_clients_reads_forms_strictly() {
    let stage = Stage::start().await;
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        assert_eq!(stage.browser().get(path).await.status, StatusCode::METHOD_NOT_ALLOWED);
        let json = stage.browser().send(request(Method::POST, path, Some("application/json"), "{}")).await;
        assert_eq!((json.status, json.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
        let query = stage.call(&format!("{path}?token=x"), "poster", &[("token", "x")]).await;
        assert_eq!(query.error(), "invalid_request");
        let twice = stage.call(path, "poster", &[("token", "x"), ("token", "y")]).await;
        assert_eq!(twice.error(), "invalid_request");
    }
}

#[tokio::test]
async fn every_act_is_in_the_trail_without_a_secret() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    stage.call("/oauth/revoke", "poster", &[("token", tokens["access_token"].as_str().unwrap())]).await;
    let acts = stage
        .tenant
        .find_acts(&ActFilter { user: Some(stage.alice.clone()), limit: 100, ..ActFilter::default() })
        .await
        .unwrap();
    let verbs: Vec<&str> = acts.iter().map(|stored| stored.act.verb.as_str()).collect();
    for verb in ["session.create", "code.issue", "code.redeem", "token.revoke"] {
        assert!(verbs.contains(&verb), "{verb} in {verbs:?}");
    }
    let trail = serde_json::to_string(
        &stage.tenant.acts_from(0, 1000).await.unwrap().iter().map(|stored| &stored.act).collect::<Vec<_>>(),
    )
    .unwrap();
    for secret in [
        PASSWORD,
        "alice@example.com",
        tokens["access_token"].as_str().unwrap(),
        tokens["refresh_token"].as_str().unwrap(),
        &stage.secret("poster"),
        "tgs_",
        "tgc_",
    ] {
        assert!(!trail.contains(secret), "{secret}");
    }
}

/// Whatever would end something: while the store refuses writes, each says 503 and none says that it is done.
#[tokio::test]
async fn o20_no_way_of_ending_anything_claims_to_have_done_it() {
    let stage = Stage::start().await;
    let mut browser = stage.browser();
    let code = stage.code(&mut browser, "poster", &[]).await;
    let tokens = stage.redeem("poster", &code, &[]).await.json();
    let (access, old) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let next = stage.refresh("poster", old, &[]).await.json();
    let new = next["refresh_token"].as_str().unwrap();
    stage.clock.advance_s(11);
    let logout = browser.get("/logout").await;
    let acts = || async { stage.tenant.acts_from(0, 1000).await.unwrap().len() };
    let before = acts().await;
    let database = rusqlite::Connection::open(&stage.database).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    database
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON changes BEGIN SELECT abs(-9223372036854775808); END")
        .unwrap();
    for page in [
        stage.call("/oauth/revoke", "poster", &[("token", access)]).await,
        stage.call("/oauth/revoke", "poster", &[("token", new)]).await,
        // Used again: what they gave would be taken back.
        stage.redeem("poster", &code, &[]).await,
        stage.refresh("poster", old, &[]).await,
    ] {
        let got = (page.status, page.error());
        assert_eq!(got, (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable".into()), "{}", page.body);
        assert!(page.headers.contains_key("retry-after"));
    }
    let page = browser.post("/logout", &[("csrf", &logout.value("csrf"))]).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!page.body.contains("You are logged out") && browser.jar.contains_key("__Host-trigate"));
    assert!(stage.is_active(access).await && stage.introspect("poster", new).await["active"] == true);
    assert!(browser.get("/").await.body.contains("alice@example.com"));
    assert_eq!(acts().await, before, "the trail does not say so either");
    database.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(stage.call("/oauth/revoke", "poster", &[("token", new)]).await.status, StatusCode::OK);
    assert!(!stage.is_active(access).await);
}
