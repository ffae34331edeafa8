//! Metadata, and the headers of every answer.

use crate::support::*;
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn discovery_names_every_endpoint_and_nothing_else() {
    let stage = Stage::start().await;
    let openid = stage.browser().get("/.well-known/openid-configuration").await;
    let oauth = stage.browser().get("/.well-known/oauth-authorization-server").await;
    assert_eq!(openid.json(), oauth.json());
    assert_eq!(
        (openid.header("content-type"), openid.header("access-control-allow-origin")),
        ("application/json", "*")
    );
    let metadata = openid.json();
    for (name, value) in [
        ("issuer", json!(ISSUER)),
        ("jwks_uri", json!(format!("{ISSUER}/.well-known/jwks.json"))),
        ("userinfo_endpoint", json!(format!("{ISSUER}/oauth/userinfo"))),
        ("response_types_supported", json!(["code"])),
        ("response_modes_supported", json!(["query"])),
        ("grant_types_supported", json!(["authorization_code", "client_credentials", "refresh_token"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(["ES256"])),
        ("request_uri_parameter_supported", json!(false)),
    ] {
        assert_eq!(metadata[name], value, "{name}");
    }
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "introspection_endpoint",
        "revocation_endpoint",
        "end_session_endpoint",
        "jwks_uri",
    ] {
        let path = metadata[name].as_str().unwrap().strip_prefix(ISSUER).unwrap();
        assert_ne!(stage.browser().get(path).await.status, StatusCode::NOT_FOUND, "{name}");
    }
    let set = stage.browser().get("/.well-known/jwks.json").await.json();
    for key in set["keys"].as_array().unwrap() {
        for private in ["d", "p", "q", "k"] {
            assert!(key.get(private).is_none());
        }
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_it_safe() {
    let stage = Stage::start().await;
    for path in
        ["/", "/login", "/logout", "/oauth/authorize", "/nowhere", "/oauth/token", &stage.authorize_path("mobile", &[])]
    {
        let page = stage.browser().get(path).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'")
                && policy.contains("frame-ancestors 'none'")
                && policy.contains("base-uri 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{path}: {policy}");
        assert_eq!(
            (page.header("cache-control"), page.header("referrer-policy"), page.header("x-content-type-options")),
            ("no-store", "no-referrer", "nosniff"),
            "{path}"
        );
        assert_eq!(page.header("strict-transport-security"), "", "plain http on loopback");
    }
    let config = trigate_issuer::IssuerConfig { issuer: "https://id.example.com".into(), ..config() };
    let clock = trigate_core::port::testing::StoppedClock::at(trigate_core::Timestamp::from_seconds(1_795_000_000));
    let https = Stage::start_with(config, std::sync::Arc::new(clock)).await;
    assert!(https.browser().get("/").await.header("strict-transport-security").starts_with("max-age="));
}

#[tokio::test]
async fn the_style_sheet_is_named_by_its_content() {
    let stage = Stage::start().await;
    let page = stage.browser().get("/").await;
    let path = page.body.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let css = stage.browser().get(path).await;
    assert_eq!((css.status, css.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
    assert!(css.header("cache-control").contains("immutable"));
    assert_eq!(stage.browser().get("/static/trigate-0.css").await.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.browser().get("/static/..%2fCargo.toml").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_of_any_origin_may_read_what_clients_in_browsers_need_and_nothing_more() {
    let stage = Stage::start().await;
    let origin = || vec![(http::header::ORIGIN, "https://spa.test".to_owned())];
    for path in ["/oauth/token", "/oauth/revoke"] {
        let mut asked = request(http::Method::OPTIONS, path, None, "");
        for (name, value) in [
            ("origin", "https://spa.test"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ] {
            asked.headers_mut().insert(name, value.parse().unwrap());
        }
        let preflight = stage.browser().send(asked).await;
        assert_eq!((preflight.status, preflight.body.as_str()), (StatusCode::NO_CONTENT, ""), "{path}");
        assert_eq!(preflight.header("access-control-allow-methods"), "POST");
        assert!(preflight.header("access-control-allow-headers").contains("authorization"));
        let refused = stage.browser().post_with(path, &[("client_id", "nobody")], origin()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "the error can be read as well");
        for page in [preflight, refused] {
            assert_eq!(page.header("access-control-allow-origin"), "*", "{path}");
            assert!(page.headers.get("access-control-allow-credentials").is_none(), "never with cookies");
        }
    }
    let path = stage.authorize_path("mobile", &[]);
    for path in [path.as_str(), "/", "/login", "/logout", "/consent", "/oauth/introspect"] {
        for method in [http::Method::OPTIONS, http::Method::GET] {
            let mut asked = request(method, path, None, "");
            asked.headers_mut().insert("origin", "https://spa.test".parse().unwrap());
            let page = stage.browser().send(asked).await;
            assert!(page.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
        }
    }
    let page = stage.browser().post_with("/oauth/introspect", &[("token", "x")], origin()).await;
    assert_eq!(page.header("access-control-allow-origin"), "", "introspection is for servers");
}

#[tokio::test]
async fn head_answers_as_get_does_and_without_a_body() {
    let stage = Stage::start().await;
    for path in ["/.well-known/openid-configuration", "/.well-known/jwks.json", "/login"] {
        let (get, head) =
            (stage.browser().get(path).await, stage.browser().send(request(http::Method::HEAD, path, None, "")).await);
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
        for name in ["content-type", "cache-control", "access-control-allow-origin"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
}
