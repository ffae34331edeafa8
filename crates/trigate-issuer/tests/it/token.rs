//! The token endpoint: client authentication and the three grants.

use crate::support::*;
use http::{Method, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use trigate_core::{
    application::State,
    client::{ClientAuthentication, Pkce, TokenForm},
    credential::Digest,
    id::ClientId,
    jose::{Algorithm, SigningKey},
};

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

#[tokio::test]
async fn the_access_token_says_what_the_contract_says() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    let header: serde_json::Value = serde_json::from_slice(
        &base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, access.split('.').next().unwrap())
            .unwrap(),
    )
    .unwrap();
    assert_eq!(header, json!({ "alg": "ES256", "kid": "key-2026-11", "typ": "at+jwt" }));
    let claims = stage.claims(access);
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], API);
    assert_eq!(claims["sub"], stage.alice.as_str());
    assert_eq!(claims["client_id"], "poster");
    assert_eq!(claims["app"], stage.application.as_str());
    assert_eq!(claims["scope"], "email openid orders:read");
    assert_eq!(claims["scopes"], json!(["email", "openid", "orders:read"]));
    assert_eq!(claims["roles"], json!(["customer"]));
    assert_eq!(claims["email"], "alice@example.com");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert_eq!(claims["amr"], json!(["pwd"]));
    for claim in ["jti", "sid", "gid", "acr"] {
        assert!(claims[claim].is_string(), "{claim}");
    }
    assert!(claims["pos"].is_u64() && claims["auth_time"].is_i64());
}

#[tokio::test]
async fn the_id_token_says_who_logged_in_when_and_for_whom() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let (access, id) = (tokens["access_token"].as_str().unwrap(), tokens["id_token"].as_str().unwrap());
    let claims = stage.claims(id);
    assert_eq!((&claims["iss"], &claims["aud"], &claims["azp"]), (&json!(ISSUER), &json!("poster"), &json!("poster")));
    assert_eq!((&claims["sub"], &claims["nonce"]), (&json!(stage.alice), &json!("n-1")));
    assert_eq!(claims["sid"], stage.claims(access)["sid"]);
    let digest = Digest::of(access);
    let left = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &digest.bytes()[..16]);
    assert_eq!(claims["at_hash"], left);
    assert!(claims["auth_time"].is_i64() && claims["acr"].is_string() && claims["amr"] == json!(["pwd"]));
    // Both verify from the published set, each under its own type.
    let set = stage.browser().get("/.well-known/jwks.json").await;
    let (keys, left_out) = trigate_core::jose::Jwks::parse(set.body.as_bytes()).unwrap();
    assert!(left_out.is_empty());
    for (token, typ) in [(access, "at+jwt"), (id, "JWT")] {
        let compact = trigate_core::jose::Compact::parse(token, 16_384).unwrap();
        assert!(compact.typ_is(typ));
        compact.verify(keys.find(compact.kid()).unwrap()).unwrap();
    }
    // A refresh tells the same login, without the nonce. // OpenID Connect Core §12.2
    stage.clock.advance_s(60);
    let again = stage.refresh("poster", tokens["refresh_token"].as_str().unwrap(), &[]).await.json();
    let later = stage.claims(again["id_token"].as_str().unwrap());
    assert_eq!((later.get("nonce"), &later["auth_time"], &later["sub"]), (None, &claims["auth_time"], &claims["sub"]));
    // Without the scope `openid` there is none.
    let plain = stage.tokens("poster", &[("scope", "orders:read")]).await;
    assert!(plain.get("id_token").is_none());
}

#[tokio::test]
async fn rs256_is_the_default_and_verifies() {
    let config = trigate_issuer::IssuerConfig { algorithm: Algorithm::RS256, ..config() };
    let clock = trigate_core::port::testing::StoppedClock::at(trigate_core::Timestamp::from_seconds(1_795_000_000));
    let stage = Stage::start_with(config, Arc::new(clock)).await;
    assert_eq!(trigate_issuer::IssuerConfig::default().algorithm, Algorithm::RS256);
    let tokens = stage.tokens("poster", &[]).await;
    assert!(stage.is_active(tokens["access_token"].as_str().unwrap()).await);
    let set = stage.browser().get("/.well-known/jwks.json").await.json();
    assert_eq!(set["keys"][0]["alg"], "RS256");
    assert_eq!(set["keys"][1]["alg"], "EdDSA", "for assertions to upstreams");
}

#[tokio::test]
async fn o05_rfc7636_4_6_a_missing_or_wrong_verifier_is_refused() {
    let stage = Stage::start().await;
    let code = stage.code(&mut stage.browser(), "poster", &[]).await;
    let (short, long, wrong) = ("x".repeat(42), "x".repeat(129), "x".repeat(43));
    for verifier in ["", &short, &long, &wrong, &challenge(VERIFIER)] {
        let page = stage.redeem("poster", &code, &[("code_verifier", verifier)]).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"), "{verifier}");
    }
    assert_eq!(stage.redeem("poster", &code, &[]).await.status, StatusCode::OK, "nothing of it spoiled the code");
}

#[tokio::test]
async fn o06_rfc9700_2_1_1_a_verifier_without_a_challenge_is_refused() {
    let stage = Stage::start().await;
    stage
        .add_client("old", ClientAuthentication::ClientSecretPost, |client| {
            client.pkce = Pkce::OptionalForConfidentialClient
        })
        .await;
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = stage.code(&mut stage.browser(), "old", &without).await;
    assert_eq!(stage.redeem("old", &code, &[]).await.error(), "invalid_grant", "stripped at authorize, sent at token");
    assert_eq!(stage.redeem("old", &code, &[("code_verifier", "")]).await.status, StatusCode::OK);
    let code = stage.code(&mut stage.browser(), "old", &[]).await;
    assert_eq!(
        stage.redeem("old", &code, &[("code_verifier", "")]).await.error(),
        "invalid_grant",
        "sent at authorize, stripped at token"
    );
}

#[tokio::test]
async fn o07_a_code_used_twice_takes_back_what_the_first_use_gave() {
    let stage = Stage::start().await;
    for wait_s in [0, 1, 30] {
        let code = stage.code(&mut stage.browser(), "poster", &[]).await;
        let tokens = stage.redeem("poster", &code, &[]).await.json();
        let access = tokens["access_token"].as_str().unwrap();
        assert!(stage.is_active(access).await);
        stage.clock.advance_s(wait_s);
        let waited = stage.everywhere.waited.lock().unwrap().len();
        let second = stage.redeem("poster", &code, &[]).await;
        assert_eq!((second.status, second.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
        assert_eq!(stage.everywhere.waited.lock().unwrap().len(), waited + 1, "the answer waits for every gate");
        assert!(!stage.is_active(access).await, "after {wait_s} s");
        let refresh = stage.refresh("poster", tokens["refresh_token"].as_str().unwrap(), &[]).await;
        assert_eq!(refresh.error(), "invalid_grant");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o08_fifty_parallel_redemptions_of_one_code_give_one_success() {
    let stage = Arc::new(Stage::start().await);
    let code = stage.code(&mut stage.browser(), "poster", &[]).await;
    let tries: Vec<_> = (0..50)
        .map(|_| {
            let (stage, code) = (stage.clone(), code.clone());
            tokio::spawn(async move { stage.redeem("poster", &code, &[]).await.status })
        })
        .collect();
    let mut good = 0;
    for attempt in tries {
        good += usize::from(attempt.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(good, 1);
}

#[tokio::test]
async fn o09_a_code_is_for_its_client_its_redirect_and_its_minute() {
    let stage = Stage::start().await;
    let code = stage.code(&mut stage.browser(), "poster", &[]).await;
    assert_eq!(stage.redeem("mobile", &code, &[]).await.error(), "invalid_grant", "another client");
    assert_eq!(
        stage.redeem("poster", &code, &[("redirect_uri", "https://app.test/other")]).await.error(),
        "invalid_grant"
    );
    assert_eq!(stage.redeem("poster", "tgc_nonsense", &[]).await.error(), "invalid_grant");
    assert_eq!(
        stage.redeem("poster", &code, &[("redirect_uri", "")]).await.status,
        StatusCode::OK,
        "absent is fine, OAuth 2.1"
    );
    let late = stage.code(&mut stage.browser(), "poster", &[]).await;
    stage.clock.advance_s(61);
    assert_eq!(stage.redeem("poster", &late, &[]).await.error(), "invalid_grant", "after 61 s");
}

#[tokio::test]
async fn o10_a_stolen_code_is_worth_nothing_in_the_thiefs_own_flow() {
    let stage = Stage::start().await;
    let stolen = stage.code(&mut stage.browser(), "mobile", &[]).await;
    let thiefs_verifier = "thief".repeat(10);
    assert_eq!(stage.redeem("mobile", &stolen, &[("code_verifier", &thiefs_verifier)]).await.error(), "invalid_grant");
    // Where a client goes without PKCE, the ID token shows it whose flow the code was of. // OpenID Connect Core §3.1.3.7
    stage
        .add_client("old", ClientAuthentication::ClientSecretPost, |client| {
            client.pkce = Pkce::OptionalForConfidentialClient
        })
        .await;
    let victims = [("code_challenge", ""), ("code_challenge_method", ""), ("nonce", "of-the-victims-browser")];
    let stolen = stage.code(&mut stage.browser(), "old", &victims).await;
    let tokens = stage.redeem("old", &stolen, &[("code_verifier", "")]).await.json();
    assert_eq!(stage.claims(tokens["id_token"].as_str().unwrap())["nonce"], "of-the-victims-browser");
}

#[tokio::test]
async fn rfc6749_4_1_3_without_a_verifier_the_redirect_uri_binds_the_code() {
    let stage = Stage::start().await;
    stage
        .add_client("old", ClientAuthentication::ClientSecretPost, |client| {
            client.pkce = Pkce::OptionalForConfidentialClient
        })
        .await;
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = stage.code(&mut stage.browser(), "old", &without).await;
    let page = stage.redeem("old", &code, &[("code_verifier", ""), ("redirect_uri", "")]).await;
    assert_eq!((page.status, page.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    assert_eq!(stage.redeem("old", &code, &[("code_verifier", "")]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn rfc9700_2_2_2_a_public_clients_refresh_token_rotates_whatever_was_registered() {
    let stage = Stage::start().await;
    stage.add_client("kept", ClientAuthentication::None, |client| client.rotate_refresh_tokens = false).await;
    stage
        .add_client("server", ClientAuthentication::ClientSecretPost, |client| client.rotate_refresh_tokens = false)
        .await;
    for (client, rotates) in [("kept", true), ("server", false)] {
        let tokens = stage.tokens(client, &[]).await;
        let old = tokens["refresh_token"].as_str().unwrap();
        let next = stage.refresh(client, old, &[]).await.json();
        assert_eq!(next.get("refresh_token").is_some_and(|new| new != old), rotates, "{client}");
    }
}

#[tokio::test]
async fn rfc8707_2_2_a_wrong_resource_does_not_use_the_code_up() {
    let stage = Stage::start().await;
    let code = stage.code(&mut stage.browser(), "poster", &[("resource", API)]).await;
    let page = stage.redeem("poster", &code, &[("resource", "https://other.test")]).await;
    assert_eq!((page.status, page.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_target"));
    assert_eq!(stage.redeem("poster", &code, &[("resource", API)]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn rfc6749_3_3_no_scope_is_no_member_and_not_an_empty_one() {
    let stage = Stage::start().await;
    stage.add_client("bare", ClientAuthentication::ClientSecretPost, |client| client.scopes = scopes("openid")).await;
    let tokens = stage.call("/oauth/token", "bare", &[("grant_type", "client_credentials")]).await.json();
    let access = tokens["access_token"].as_str().unwrap();
    for facts in [&tokens, &stage.claims(access), &stage.introspect("bare", access).await] {
        assert!(facts.get("scope").is_none(), "{facts}");
    }
    assert!(stage.is_active(access).await);
}

#[tokio::test]
async fn o12_a_refresh_token_used_again_ends_its_whole_line() {
    let stage = Stage::start().await;
    stage.add_client("strict", ClientAuthentication::None, |client| client.refresh_window_s = 0).await;
    for (client, wait_s) in [("poster", 30), ("strict", 0)] {
        let first = stage.tokens(client, &[]).await;
        let old = first["refresh_token"].as_str().unwrap();
        let second = stage.refresh(client, old, &[]).await.json();
        let (access, new) = (second["access_token"].as_str().unwrap(), second["refresh_token"].as_str().unwrap());
        assert!(new != old && stage.is_active(access).await);
        stage.clock.advance_s(wait_s);
        let waited = stage.everywhere.waited.lock().unwrap().len();
        let reuse = stage.refresh(client, old, &[]).await;
        assert_eq!((reuse.status, reuse.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"), "{client}");
        assert_eq!(stage.everywhere.waited.lock().unwrap().len(), waited + 1, "the answer waits for every gate");
        for token in [access, first["access_token"].as_str().unwrap(), new] {
            assert!(!stage.is_active(token).await, "{client}");
        }
        assert_eq!(stage.refresh(client, new, &[]).await.error(), "invalid_grant", "{client}");
    }
}

#[tokio::test]
async fn a_lost_refresh_response_gets_the_same_successor_within_the_window() {
    let stage = Stage::start().await;
    let first = stage.tokens("poster", &[]).await;
    let old = first["refresh_token"].as_str().unwrap();
    let lost = stage.refresh("poster", old, &[]).await.json();
    stage.clock.advance_s(9);
    let again = stage.refresh("poster", old, &[]).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
    assert_eq!(again.json()["refresh_token"], lost["refresh_token"]);
    // Another client does not get it, even now.
    assert_eq!(stage.refresh("mobile", old, &[]).await.error(), "invalid_grant");
    // Once the successor is used, the predecessor is a stolen one.
    let next = stage.refresh("poster", lost["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(next.status, StatusCode::OK);
    assert_eq!(stage.refresh("poster", old, &[]).await.error(), "invalid_grant");
    assert!(!stage.is_active(next.json()["access_token"].as_str().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o13_twenty_parallel_refreshes_make_one_line() {
    let stage = Arc::new(Stage::start().await);
    stage.add_client("strict", ClientAuthentication::None, |client| client.refresh_window_s = 0).await;
    for (client, within_window) in [("poster", true), ("strict", false)] {
        let tokens = stage.tokens(client, &[]).await;
        let token = tokens["refresh_token"].as_str().unwrap().to_owned();
        let tries: Vec<_> = (0..20)
            .map(|_| {
                let (stage, token) = (stage.clone(), token.clone());
                tokio::spawn(async move { stage.refresh(client, &token, &[]).await })
            })
            .collect();
        let (mut heads, mut good) = (std::collections::BTreeSet::new(), 0);
        for attempt in tries {
            let page = attempt.await.unwrap();
            if page.status == StatusCode::OK {
                good += 1;
                heads.insert(page.json()["refresh_token"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(heads.len(), 1, "{client}: never two lines");
        assert_eq!(good, if within_window { 20 } else { 1 }, "{client}");
    }
}

#[tokio::test]
async fn o14_a_refresh_is_its_clients_and_never_gives_more() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(stage.refresh("mobile", token, &[]).await.error(), "invalid_grant");
    let params = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "poster")];
    let naked = stage.browser().post("/oauth/token", &params).await;
    assert_eq!((naked.status, naked.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    assert_eq!(stage.refresh("poster", token, &[("scope", "openid orders:write")]).await.error(), "invalid_scope");
    assert_eq!(stage.refresh("poster", token, &[("resource", "https://reports.test")]).await.error(), "invalid_target");
    let less = stage.refresh("poster", token, &[("scope", "orders:read")]).await.json();
    assert_eq!(less["scope"], "orders:read");
    // RFC 6749 §6: up to what was granted at first, never beyond.
    let next = less["refresh_token"].as_str().unwrap();
    assert_eq!(stage.refresh("poster", next, &[("scope", "orders:read orders:write")]).await.error(), "invalid_scope");
    assert_eq!(stage.refresh("poster", next, &[]).await.json()["scope"], "email openid orders:read");
}

#[tokio::test]
async fn o15_two_ways_of_authentication_are_refused() {
    let stage = Stage::start().await;
    let assertion = assertion(&stage, &json!({}));
    let assertion = [("client_assertion", assertion.as_str()), ("client_assertion_type", TYPE)];
    let secret = stage.secret("web");
    let grant = ("grant_type", "client_credentials");
    let basic = || vec![(header::AUTHORIZATION, stage.basic("web"))];
    for (params, headers) in [
        (vec![grant, ("client_id", "web"), ("client_secret", &secret)], basic()),
        ([&[grant][..], &assertion].concat(), basic()),
        ([&[grant, ("client_id", "web"), ("client_secret", &secret)][..], &assertion].concat(), vec![]),
        ([&[grant][..], &assertion, &assertion].concat(), vec![]),
        (vec![grant, ("client_id", "poster")], basic()),
        (vec![grant], [basic(), basic()].concat()),
    ] {
        let mut request = request(Method::POST, "/oauth/token", FORM, form(&params));
        for (name, value) in headers {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let page = stage.browser().send(request).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"), "{params:?}");
    }
    // The right secret by another way than the registered one.
    let post = stage.browser().post("/oauth/token", &[grant, ("client_id", "web"), ("client_secret", &secret)]).await;
    assert_eq!((post.status, post.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    let none = stage.browser().post("/oauth/token", &[grant, ("client_id", "web")]).await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED);
    let headers = vec![(header::AUTHORIZATION, basic_auth("web", "wrong"))];
    let wrong = stage.browser().post_with("/oauth/token", &[grant], headers).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.header("www-authenticate").starts_with("Basic realm="), "RFC 6749 §5.2");
    for page in [&post, &none] {
        assert!(page.header("www-authenticate").starts_with("Basic realm="), "RFC 9110 §15.5.2: every 401");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    assert_eq!(stage.browser().post_with("/oauth/token", &[grant], basic()).await.status, StatusCode::OK);
}

use crate::support::basic as basic_auth;

#[tokio::test]
async fn o16_basic_credentials_are_form_decoded() {
    let stage = Stage::start().await;
    let (id, secret) = ("my:cli+ent", "a+b%3A:c d/ü€");
    stage
        .add_client(id, ClientAuthentication::ClientSecretBasic, |client| client.secrets = vec![Digest::of(secret)])
        .await;
    let grant = [("grant_type", "client_credentials")];
    let good =
        stage.browser().post_with("/oauth/token", &grant, vec![(header::AUTHORIZATION, basic(id, secret))]).await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.body);
    let raw = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{id}:{secret}"));
    for value in
        [format!("Basic {raw}"), "Basic !!!".into(), "Basic".into(), "Bearer x".into(), format!("Basic {}", "QUJD")]
    {
        let page =
            stage.browser().post_with("/oauth/token", &grant, vec![(header::AUTHORIZATION, value.clone())]).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"), "{value}");
    }
    // Decoded, then compared: what only looks alike is another client or another secret.
    for (id, secret) in [
        ("my:cli ent", secret),
        ("my%3Acli%2Bent", secret),
        ("mü:cli+ent", secret),
        (id, "a+b::c d/ü€"),
        (id, "a b%3A:c d/ü€"),
    ] {
        let headers = vec![(header::AUTHORIZATION, basic(id, secret))];
        let page = stage.browser().post_with("/oauth/token", &grant, headers).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"), "{id} {secret}");
    }
}

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn assertion(stage: &Stage, changes: &serde_json::Value) -> String {
    let now = trigate_core::port::Clock::now(&stage.clock).seconds();
    let jti = trigate_core::id::TokenId::mint(rng_of(stage)).to_string();
    let mut claims =
        json!({ "iss": "signer", "sub": "signer", "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 60 });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    stage.signer.sign_jws("JWT", &claims).unwrap()
}

async fn present(stage: &Stage, assertion: &str) -> Page {
    let params =
        [("grant_type", "client_credentials"), ("client_assertion", assertion), ("client_assertion_type", TYPE)];
    stage.browser().post("/oauth/token", &params).await
}

#[tokio::test]
async fn o17_an_assertion_is_for_this_issuer_short_and_single() {
    let stage = Stage::start().await;
    let now = trigate_core::port::Clock::now(&stage.clock).seconds();
    for changes in [
        json!({ "aud": format!("{ISSUER}/oauth/token") }),
        json!({ "aud": [ISSUER] }),
        json!({ "aud": [ISSUER, "https://other.test"] }),
        json!({ "aud": "https://other.test" }),
        json!({ "aud": null }),
        json!({ "sub": null }),
        json!({ "sub": "web" }),
        json!({ "iss": "web" }),
        json!({ "exp": now - 11 }),
        json!({ "exp": now + 3601 }),
        json!({ "exp": now + 30, "iat": now + 100 }),
        json!({ "exp": null }),
        json!({ "exp": "soon" }),
        json!({ "jti": null }),
        json!({ "nbf": now + 100 }),
    ] {
        let page = present(&stage, &assertion(&stage, &changes)).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"), "{changes}");
    }
    let foreign = SigningKey::generate(Algorithm::ES256, "client-key").unwrap();
    let claims = json!({ "iss": "signer", "sub": "signer", "aud": ISSUER, "jti": "x", "exp": now + 60 });
    let encode = |text: String| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    let unsigned = format!("{}.{}.", encode(r#"{"alg":"none"}"#.into()), encode(claims.to_string()));
    // Keyed with what everybody may know: the client's public key.
    let public =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, stage.signer.public_jwk().to_string().as_bytes());
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"client-key"}"#.into()), encode(claims.to_string()));
    let mac = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        aws_lc_rs::hmac::sign(&public, signed.as_bytes()),
    );
    for bad in [foreign.sign_jws("JWT", &claims).unwrap(), unsigned, format!("{signed}.{mac}"), "x".into()] {
        let page = present(&stage, &bad).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"), "{bad}");
    }
    let good = assertion(&stage, &json!({}));
    assert_eq!(present(&stage, &good).await.status, StatusCode::OK);
    assert_eq!(present(&stage, &good).await.status, StatusCode::UNAUTHORIZED, "the same `jti` again");
    let params = [
        ("grant_type", "client_credentials"),
        ("client_assertion", &*assertion(&stage, &json!({}))),
        ("client_assertion_type", "saml"),
    ];
    assert_eq!(stage.browser().post("/oauth/token", &params).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn o38_the_token_endpoint_takes_a_small_form_by_post() {
    let stage = Stage::start().await;
    let get = stage.browser().get("/oauth/token?grant_type=client_credentials").await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(get.header("allow").split(',').all(|method| ["POST", "OPTIONS"].contains(&method)), "{:?}", get.headers);
    let body = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", "poster"),
        ("client_secret", &stage.secret("poster")),
    ]);
    for content_type in [None, Some("application/json"), Some("text/plain"), Some("multipart/form-data")] {
        let page = stage.browser().send(request(Method::POST, "/oauth/token", content_type, body.clone())).await;
        assert_eq!(
            (page.status, page.error().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_request"),
            "{content_type:?}"
        );
    }
    let large = stage.browser().send(request(Method::POST, "/oauth/token", FORM, vec![b'a'; 10_000_000])).await;
    assert_eq!((large.status, large.error().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"));
    // What is announced as too large is refused before it is read.
    let mut announced = request(Method::POST, "/oauth/token", FORM, "x");
    announced.headers_mut().insert(header::CONTENT_LENGTH, "10000000".parse().unwrap());
    assert_eq!(stage.browser().send(announced).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Names are compared with each other: there must be few. (20,000 of them fit into what is read.)
    let many: String = (0..10_000).map(|number| format!("{number}&")).collect();
    let page = stage.browser().send(request(Method::POST, "/oauth/token", FORM, many)).await;
    assert_eq!((page.status, page.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    for bad in ["grant_type=%", "grant_type=%ff", ""] {
        let page = stage.browser().send(request(Method::POST, "/oauth/token", FORM, bad)).await;
        assert!(page.status.is_client_error(), "{bad}");
    }
    let charset = Some("application/x-www-form-urlencoded; charset=UTF-8");
    assert_eq!(stage.browser().send(request(Method::POST, "/oauth/token", charset, body)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn o39_what_is_disabled_gets_nothing_more() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let code = stage.code(&mut stage.browser(), "poster", &[]).await;
    let mut browser = stage.browser();
    browser.sign_in(&stage.authorize_path("mobile", &[])).await;
    stage.tenant.set_user_state(stage.act("user.disable"), &stage.alice, State::Disabled).await.unwrap().gives_only();
    assert_eq!(stage.redeem("poster", &code, &[]).await.error(), "invalid_grant");
    assert_eq!(stage.refresh("poster", refresh, &[]).await.error(), "invalid_grant");
    assert!(!stage.is_active(tokens["access_token"].as_str().unwrap()).await);
    let page = browser.get(&stage.authorize_path("mobile", &[])).await;
    assert!(page.location().unwrap().starts_with("/login?"), "the session is no session any more");
    stage.tenant.set_user_state(stage.act("user.enable"), &stage.alice, State::Enabled).await.unwrap().gives_only();
    let poster = ClientId::parse("poster").unwrap();
    stage.tenant.set_client_state(stage.act("client.disable"), &poster, State::Disabled).await.unwrap().gives_only();
    for page in [stage.redeem("poster", &code, &[]).await, stage.refresh("poster", refresh, &[]).await] {
        assert_eq!((page.status, page.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    }
    stage.browser().get(&stage.authorize_path("poster", &[])).await.is_error_page("invalid_client");
}

#[tokio::test]
async fn o39_a_disabled_application_takes_its_clients_along() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let code = stage.code(&mut stage.browser(), "poster", &[]).await;
    let mut browser = stage.browser();
    browser.sign_in(&stage.authorize_path("poster", &[])).await;
    let act = stage.act("application.disable");
    stage.tenant.set_application_state(act, &stage.application, State::Disabled).await.unwrap().gives_only();
    assert_eq!(browser.get(&stage.authorize_path("poster", &[])).await.callback()["error"], "unauthorized_client");
    assert_eq!(stage.redeem("poster", &code, &[]).await.error(), "invalid_grant");
    assert_eq!(stage.refresh("poster", tokens["refresh_token"].as_str().unwrap(), &[]).await.error(), "invalid_grant");
    let service = stage.call("/oauth/token", "service", &[("grant_type", "client_credentials")]).await;
    assert_eq!((service.status, service.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    assert!(!stage.is_active(tokens["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_service_gets_a_token_that_speaks_for_no_person() {
    let stage = Stage::start().await;
    let page =
        stage.call("/oauth/token", "service", &[("grant_type", "client_credentials"), ("scope", "orders:read")]).await;
    let tokens = page.json();
    assert!(tokens.get("refresh_token").is_none() && tokens.get("id_token").is_none());
    let claims = stage.claims(tokens["access_token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("service"), &json!("service")));
    assert_eq!((&claims["roles"], &claims["scope"]), (&json!(["robot"]), &json!("orders:read")));
    for claim in ["sid", "gid", "email", "auth_time"] {
        assert!(claims.get(claim).is_none(), "{claim}");
    }
    let all = stage.call("/oauth/token", "service", &[("grant_type", "client_credentials")]).await.json();
    assert_eq!(all["scope"], "orders:read orders:write", "without the personal ones");
    for (params, error) in [
        (("scope", "openid"), "invalid_scope"),
        (("scope", "admin"), "invalid_scope"),
        (("resource", "https://x.test"), "invalid_target"),
    ] {
        let page = stage.call("/oauth/token", "service", &[("grant_type", "client_credentials"), params]).await;
        assert_eq!(page.error(), error, "{params:?}");
    }
    let public = stage.call("/oauth/token", "mobile", &[("grant_type", "client_credentials")]).await;
    assert_eq!(public.error(), "unauthorized_client");
    let code = stage.call("/oauth/token", "service", &[("grant_type", "authorization_code"), ("code", "x")]).await;
    assert_eq!(code.error(), "unauthorized_client");
}

#[tokio::test]
async fn resource_indicators_choose_the_audience() {
    let stage = Stage::start().await;
    let path = format!("{}&resource={API}&resource=https%3A%2F%2Freports.test", stage.authorize_path("poster", &[]));
    let code = stage.browser().sign_in(&path).await.callback()["code"].clone();
    let tokens = stage.redeem("poster", &code, &[]).await.json();
    assert_eq!(stage.claims(tokens["access_token"].as_str().unwrap())["aud"], json!([API, "https://reports.test"]));
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let one = stage.refresh("poster", refresh, &[("resource", "https://reports.test")]).await.json();
    assert_eq!(stage.claims(one["access_token"].as_str().unwrap())["aud"], "https://reports.test");
}

#[tokio::test]
async fn opaque_tokens_work_like_the_others() {
    let stage = Stage::start().await;
    stage.add_client("opaque", ClientAuthentication::None, |client| client.token_form = TokenForm::Opaque).await;
    let tokens = stage.tokens("opaque", &[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    assert!(access.starts_with("tga_"));
    let facts = stage.introspect("api-gateway", access).await;
    assert_eq!(
        (&facts["active"], &facts["client_id"], &facts["sub"]),
        (&json!(true), &json!("opaque"), &json!(stage.alice))
    );
    assert_eq!(stage.call("/oauth/revoke", "opaque", &[("token", access)]).await.status, StatusCode::OK);
    assert_eq!(stage.introspect("api-gateway", access).await, json!({ "active": false }));
}

#[tokio::test]
async fn wrong_client_secrets_are_slowed_by_source() {
    let stage = Stage::start().await;
    let params = [("grant_type", "client_credentials"), ("client_id", "poster"), ("client_secret", "wrong")];
    let mut browser = stage.browser();
    for _ in 0..100 {
        assert_eq!(browser.post("/oauth/token", &params).await.status, StatusCode::UNAUTHORIZED);
    }
    let limited = browser.post("/oauth/token", &params).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
    let mut elsewhere = stage.browser();
    elsewhere.peer = [198, 51, 100, 7].into();
    let good =
        [("grant_type", "client_credentials"), ("client_id", "poster"), ("client_secret", &*stage.secret("poster"))];
    assert_eq!(
        elsewhere.post("/oauth/token", &good).await.status,
        StatusCode::OK,
        "nobody locks a client out from elsewhere"
    );
}
