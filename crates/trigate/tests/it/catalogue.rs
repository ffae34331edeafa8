//! Lines of the attack catalogue that need gate, issuer and desk together.

use crate::support::{FORM, TestTrigate, form, http::Reply};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use std::time::{Duration, Instant};
use trigate::{
    config,
    operator::{
        By, ROLE, SCOPE,
        client::{ClientPolicy, NewClient},
        key::{KeyPolicy, NewKey},
    },
    wiring::Server,
};
use trigate_core::{
    audit::Record,
    client::{ClientAuthentication, GrantType, TokenForm},
    id::ClientId,
};

async fn orders(t: &TestTrigate, token: &str) -> Reply {
    t.get("/api/users/me/orders", &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_t23_encrypted_tokens_are_refused_by_form_before_any_costly_work() {
    let t = TestTrigate::start().await;
    for header in [
        r#"{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2000000000,"p2s":"c2FsdA"}"#,
        r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#,
        r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"key-2026-11"}"#,
    ] {
        let token = format!("{}.{}.{}.{}.{}", B64.encode(header), "a2V5", "aXY", B64.encode([7; 2_000]), "dGFn");
        let started = Instant::now();
        assert_eq!(orders(&t, &token).await.status, 401, "{header}");
        assert!(started.elapsed() < Duration::from_secs(2), "{header}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_an_access_token_is_no_refresh_token_and_no_client_assertion() {
    let t = TestTrigate::start().await;
    let token = t.alice_token("openid orders:read offline_access").await;
    let ask = async |pairs: &[(&str, &str)]| {
        let reply = t.issuer().send("POST", "/oauth/token", &[FORM], form(pairs).as_bytes()).await;
        (reply.status, reply.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    let refresh =
        ask(&[("grant_type", "refresh_token"), ("client_id", &t.acme.public_client), ("refresh_token", &token)]).await;
    assert_eq!(refresh, (400, "invalid_grant".to_owned()));
    // A person's token; and the client's own, whose `iss`, `sub` and signature are all good.
    for token in [token, t.service_token("orders:read").await] {
        let assertion = ask(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &token),
        ])
        .await;
        assert_eq!(assertion, (401, "invalid_client".to_owned()));
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_refresh_tokens_codes_and_id_tokens_open_no_api() {
    let t = TestTrigate::start().await;
    let answer = crate::support::code_flow(
        &t.issuer(),
        &t.acme.public_client,
        t.alice.email,
        "openid orders:read offline_access",
        &t.running.urls.gate,
    )
    .await
    .json();
    for name in ["refresh_token", "id_token"] {
        assert_eq!(orders(&t, answer[name].as_str().unwrap()).await.status, 401, "{name}");
    }
    assert_eq!(orders(&t, answer["access_token"].as_str().unwrap()).await.status, 200);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t32_an_opaque_token_is_judged_anew_for_each_route() {
    let t = TestTrigate::start_with(
        "[[route]]\nname = \"admin\"\npath = \"/api/admin\"\ndemands = \"token\"\nscopes = [\"orders:write\"]\nupstream = \"sample\"\n",
    )
    .await;
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::None),
        redirect_uris: Some(vec![crate::support::REDIRECT.into()]),
        scopes: Some(vec!["openid".into(), "orders:read".into(), "orders:write".into()]),
        resources: Some(vec![t.running.urls.gate.clone()]),
        asks_consent: Some(false),
        token_form: Some(TokenForm::Opaque),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: t.acme.id.clone(), id: Some(ClientId::parse("portal").unwrap()), policy };
    t.running.operator.create_client(&By::system(), new).await.unwrap();
    let token = t.user_token("portal", "openid orders:read", &t.running.urls.gate).await;
    assert!(token.starts_with("tga_"));
    for _ in 0..3 {
        assert_eq!(orders(&t, &token).await.status, 200);
        let refused = t.get("/api/admin", &[("authorization", &format!("Bearer {token}"))]).await;
        assert_eq!(refused.status, 403);
        assert!(refused.header("www-authenticate").unwrap().contains("orders:write"), "all scopes needed are named");
    }
    // T30: cut, extended, case changed.
    for bad in [&token[..token.len() - 1], &format!("{token}0"), &token.to_uppercase()] {
        assert_eq!(orders(&t, bad).await.status, 401, "{bad}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k08_a_rotated_key_overlaps_as_said_and_a_restart_changes_nothing() {
    let t = TestTrigate::start().await;
    let made = t
        .running
        .operator
        .create_key(&By::system(), NewKey { app: t.acme.id.clone(), policy: KeyPolicy::default() })
        .await
        .unwrap();
    let old = made.key.to_string();
    let rotated = Instant::now();
    let new = t
        .running
        .operator
        .rotate_key(&By::system(), made.record.id.as_str(), Some("10s"), None)
        .await
        .unwrap()
        .key
        .to_string();
    let both = async |gate: crate::support::http::Wire| {
        let ask = async |key: &str| gate.send("GET", "/api/weather", &[("x-api-key", key)], b"").await.status;
        (ask(&old).await, ask(&new).await)
    };
    assert_eq!(both(t.gate()).await, (200, 200));
    let folder = t.stop().await;
    let running = Server::start(config::load(&folder.path().join("trigate.toml")).unwrap()).await.unwrap();
    let gate = crate::support::http::Wire(running.gate_addr);
    tokio::time::sleep(Duration::from_secs(8).saturating_sub(rotated.elapsed())).await;
    assert_eq!(both(gate).await, (200, 200), "within the grace");
    tokio::time::sleep(Duration::from_millis(11_000).saturating_sub(rotated.elapsed())).await;
    assert_eq!(both(gate).await, (401, 200), "after it");
    running.stop().await;
}

/// Every path of the desk with its methods, as the router has them.
fn desk_paths() -> Vec<(String, Vec<&'static str>)> {
    let source = include_str!("../../src/admin_api/routes.rs");
    source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\""))
        .map(|rest| {
            let (path, verbs) = rest.split_once('"').unwrap();
            let methods = [("get(", "GET"), ("post(", "POST"), ("patch(", "PATCH"), ("delete(", "DELETE")];
            let path = path.replace(['{', '}'], "x");
            (path, methods.into_iter().filter(|(verb, _)| verbs.contains(verb)).map(|(_, method)| method).collect())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_no_call_of_the_desk_lets_anybody_but_operators_in() {
    let t = TestTrigate::start().await;
    // A client that has the desk's scope, but not the operator's role.
    let scope_only = ClientPolicy {
        authentication: Some(ClientAuthentication::ClientSecretPost),
        grants: Some(vec![GrantType::ClientCredentials]),
        scopes: Some(vec![SCOPE.to_owned()]),
        resources: Some(vec![t.running.urls.desk.clone()]),
        ..ClientPolicy::default()
    };
    let role_only = ClientPolicy {
        scopes: Some(vec!["orders:read".to_owned()]),
        roles: Some(vec![ROLE.to_owned()]),
        ..scope_only.clone()
    };
    let mut strangers = vec![
        ("nobody", None),
        ("a key", Some(format!("ApiKey {}", t.acme.key))),
        ("a customer", Some(format!("Bearer {}", t.alice_token("openid orders:read").await))),
        ("a service", Some(format!("Bearer {}", t.service_token("orders:read").await))),
    ];
    for (name, policy, scopes) in [("scope", scope_only, SCOPE), ("role", role_only, "orders:read")] {
        let new = NewClient { app: t.acme.id.clone(), id: Some(ClientId::parse(name).unwrap()), policy };
        let made = t.running.operator.create_client(&By::system(), new).await.unwrap();
        let token = t.client_token(name, &made.client_secret.unwrap(), scopes, &t.running.urls.desk).await;
        strangers.push((name, Some(format!("Bearer {token}"))));
    }
    // An operator that was disabled a moment ago.
    let gone = t.operator_token().await;
    let paths = desk_paths();
    assert!(paths.len() > 25, "the routes were read");
    let operator = format!("Bearer {gone}");
    let list = t.desk().send("GET", "/api/v1/apps", &[("authorization", &operator)], b"").await;
    assert_eq!(list.status, 200, "an operator is let in");
    t.running
        .operator
        .set_client_state(&By::system(), "test-operator", trigate_core::application::State::Disabled)
        .await
        .unwrap();
    strangers.push(("a disabled operator", Some(operator)));
    for (path, methods) in paths {
        for method in methods {
            for (who, credential) in &strangers {
                let headers: Vec<(&str, &str)> =
                    credential.iter().map(|value| ("authorization", value.as_str())).collect();
                let reply = t.desk().send(method, &format!("/api/v1{path}"), &headers, b"").await;
                assert!(matches!(reply.status, 401 | 403), "{who} at {method} {path}: {}", reply.status);
            }
        }
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_there_is_exactly_one_record_for_each_request_under_load() {
    const CONNECTIONS: usize = 20;
    const EACH: usize = 250;
    let t = TestTrigate::start().await;
    let token = t.alice_token("openid orders:read").await;
    let before = t.records().iter().filter(|record| matches!(record, Record::Decision(_))).count();
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|n| {
            let (gate, key, token) = (t.gate(), t.acme.key.clone(), token.clone());
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for round in 0..EACH {
                    let bearer = format!("Bearer {token}");
                    let reply = match (n + round) % 3 {
                        0 => gate.send("GET", "/api/weather", &[("x-api-key", &key)], b"").await,
                        1 => gate.send("GET", "/api/users/me/orders", &[("authorization", &bearer)], b"").await,
                        _ => gate.send("GET", "/api/weather", &[], b"").await,
                    };
                    ids.push(reply.header("x-request-id").unwrap().to_owned());
                }
                ids
            })
        })
        .collect();
    let mut answered = Vec::new();
    for task in tasks {
        answered.extend(task.await.unwrap());
    }
    let mut recorded: Vec<String> = Vec::new();
    let mut of_alice = 0;
    for record in t.records() {
        if let Record::Decision(decision) = record {
            of_alice += usize::from(decision.facts.user.as_ref().is_some_and(|user| user.as_str() == t.alice.id));
            recorded.push(decision.request.to_string());
        }
    }
    assert_eq!(recorded.len() - before, CONNECTIONS * EACH);
    recorded.sort();
    recorded.dedup();
    assert_eq!(recorded.len() - before, CONNECTIONS * EACH, "no id twice");
    assert!(answered.iter().all(|id| recorded.binary_search(id).is_ok()));
    let asked =
        (0..CONNECTIONS).flat_map(|n| (0..EACH).map(move |round| (n + round) % 3)).filter(|kind| *kind == 1).count();
    assert_eq!(of_alice, asked, "the trail of one user is complete");
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc6750_3_1_userinfo_says_which_scope_is_missing_and_answers_people_alone() {
    let t = TestTrigate::start().await;
    let ask = async |token: &str| {
        t.issuer().send("GET", "/oauth/userinfo", &[("authorization", &format!("Bearer {token}"))], b"").await
    };
    let good = ask(&t.alice_token("openid email").await).await;
    assert_eq!((good.status, good.json()["email"].as_str()), (200, Some(t.alice.email)));
    let narrow = ask(&t.alice_token("orders:read").await).await;
    assert_eq!(narrow.status, 403);
    assert!(narrow.header("www-authenticate").unwrap().contains("insufficient_scope"), "{:?}", narrow.head);
    let service = ask(&t.service_token("orders:read").await).await;
    assert!(matches!(service.status, 401 | 403), "{}", service.status);
    assert_eq!(ask("nonsense").await.status, 401);
    t.stop().await;
}
