//! The authorization endpoint and the consent page.

use crate::support::*;
use http::{Method, StatusCode, header};
use trigate_core::client::{ClientAuthentication, Pkce};

#[tokio::test]
async fn a_code_flow_gives_tokens_and_tells_who_answered() {
    let stage = Stage::start().await;
    let mut browser = stage.browser();
    let page = browser.sign_in(&stage.authorize_path("mobile", &[])).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "RFC 9700 §4.12");
    assert!(page.location().unwrap().starts_with("https://app.test/cb?code=tgc_"));
    let callback = page.callback();
    assert_eq!((callback["state"].as_str(), callback["iss"].as_str()), ("s t&te", ISSUER));
    let tokens = stage.redeem("mobile", &callback["code"], &[]).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.body);
    assert_eq!(tokens.header("cache-control"), "no-store");
    let tokens = tokens.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 600);
    assert_eq!(tokens["scope"], "email openid orders:read");
    assert!(tokens["refresh_token"].as_str().unwrap().starts_with("tgr_"));
    // A second visit needs no login.
    let again = browser.get(&stage.authorize_path("mobile", &[])).await;
    assert!(again.callback().contains_key("code"));
}

#[tokio::test]
async fn o01_a_redirect_that_differs_in_anything_gets_an_error_page() {
    let stage = Stage::start().await;
    for uri in [
        "https://app.test/cb/",
        "https://app.test/cb/x",
        "https://app.test/cb?x=1",
        "https://app.test/cb#x",
        "https://app.test/x/../cb",
        "https://app.test/%2e%2e/cb",
        "https://app.test/..;/cb",
        "https://APP.test/cb",
        "https://user@app.test/cb",
        "https://app.test@evil.test/cb",
        "https://a@b@app.test/cb",
        "https://app.test\\@evil.test/cb",
        "https://app.test:8443/cb",
        "http://app.test/cb",
        "HTTPS://app.test/cb",
        "https://app.test/c%62",
        " https://app.test/cb",
        "https://app.test/cb ",
        "javascript:alert(1)",
        "//app.test/cb",
        "http://127.0.0.1:80@evil.test/cb",
    ] {
        let page = stage.browser().get(&stage.authorize_path("mobile", &[("redirect_uri", uri)])).await;
        page.is_error_page("invalid_request");
    }
    for uri in ["http://127.0.0.1:51234/cb", "http://127.0.0.1/cb"] {
        let page = stage.browser().get(&stage.authorize_path("mobile", &[("redirect_uri", uri)])).await;
        assert!(page.location().unwrap().starts_with("/login?"), "{uri}");
    }
}

#[tokio::test]
async fn o02_a_host_that_begins_like_the_registered_one_gets_an_error_page() {
    let stage = Stage::start().await;
    let page = stage
        .browser()
        .get(&stage.authorize_path("mobile", &[("redirect_uri", "https://app.test.evil.test/cb")]))
        .await;
    page.is_error_page("invalid_request");
}

#[tokio::test]
async fn o03_without_redirect_uri_there_must_be_no_choice() {
    let stage = Stage::start().await;
    let none = [("redirect_uri", ""), ("scope", "orders:read")];
    stage.browser().get(&stage.authorize_path("mobile", &none)).await.is_error_page("invalid_request");
    stage.browser().get(&stage.authorize_path("web", &[("redirect_uri", "")])).await.is_error_page("invalid_request");
    let only = stage.browser().get(&stage.authorize_path("web", &none)).await;
    assert!(only.location().unwrap().starts_with("/login?"));
}

#[tokio::test]
async fn o04_a_dangerous_address_in_the_registration_is_not_followed() {
    let stage = Stage::start().await;
    for (id, uri) in
        [("bad1", "javascript:alert(1)"), ("bad2", "http://app.test/cb"), ("bad3", "https://app.test/cb#x")]
    {
        stage.add_client(id, ClientAuthentication::None, |client| client.redirect_uris = vec![uri.into()]).await;
        stage.browser().get(&stage.authorize_path(id, &[("redirect_uri", uri)])).await.is_error_page("invalid_request");
    }
}

#[tokio::test]
async fn an_unknown_client_gets_an_error_page() {
    let stage = Stage::start().await;
    for id in ["nobody", "", "<script>", "a b"] {
        stage
            .browser()
            .get(&stage.authorize_path("mobile", &[("client_id", id)]))
            .await
            .is_error_page("invalid_client");
    }
}

#[tokio::test]
async fn o05_pkce_with_s256_is_required() {
    let stage = Stage::start().await;
    let (short, long) = ("x".repeat(42), "x".repeat(129));
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    for changes in [
        &without[..],
        &[("code_challenge_method", "plain")],
        &[("code_challenge_method", "")],
        &[("code_challenge", &short)],
        &[("code_challenge", &long)],
        &[("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw=cM")],
        &[("code_challenge", "")],
    ] {
        let page = stage.browser().get(&stage.authorize_path("web", changes)).await;
        assert_eq!(page.callback()["error"], "invalid_request", "{changes:?}");
    }
    // The named override is for confidential clients alone.
    stage
        .add_client("old", ClientAuthentication::ClientSecretPost, |client| {
            client.pkce = Pkce::OptionalForConfidentialClient
        })
        .await;
    stage
        .add_client("old-public", ClientAuthentication::None, |client| {
            client.pkce = Pkce::OptionalForConfidentialClient
        })
        .await;
    let page = stage.browser().get(&stage.authorize_path("old", &without)).await;
    assert!(page.location().unwrap().starts_with("/login?"));
    let page = stage.browser().get(&stage.authorize_path("old-public", &without)).await;
    assert_eq!(page.callback()["error"], "invalid_request");
    let page = stage.browser().get(&stage.authorize_path("old", &[("code_challenge", "")])).await;
    assert_eq!(page.callback()["error"], "invalid_request", "a method without a challenge");
}

#[tokio::test]
async fn o11_every_answer_names_the_issuer() {
    let stage = Stage::start().await;
    let mut browser = stage.browser();
    let success = browser.sign_in(&stage.authorize_path("mobile", &[])).await;
    let error = browser.get(&stage.authorize_path("mobile", &[("scope", "admin")])).await;
    for page in [success, error] {
        assert_eq!((page.callback()["iss"].as_str(), page.callback()["state"].as_str()), (ISSUER, "s t&te"));
    }
    let metadata = stage.browser().get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    assert_eq!(metadata["issuer"], ISSUER);
}

#[tokio::test]
async fn what_the_client_asks_wrongly_is_told_by_redirect() {
    let stage = Stage::start().await;
    for (changes, error) in [
        (&[("scope", "admin")][..], "invalid_scope"),
        (&[("scope", "")], "invalid_scope"),
        (&[("scope", "openid  email")], "invalid_scope"),
        (&[("resource", "https://other.test")], "invalid_target"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("request", "eyJ")], "request_not_supported"),
        (&[("request_uri", "https://evil.test/r")], "request_uri_not_supported"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("prompt", "dance")], "invalid_request"),
        (&[("max_age", "-1")], "invalid_request"),
        (&[("id_token_hint", "eyJ")], "invalid_request"),
        (&[("prompt", "none")], "login_required"),
    ] {
        let page = stage.browser().get(&stage.authorize_path("mobile", changes)).await;
        let callback = page.callback();
        assert_eq!(callback["error"], error, "{changes:?}");
        // RFC 6749 §4.1.2.1: %x20-21 / %x23-5B / %x5D-7E.
        let fits = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        assert!(callback["error_description"].bytes().all(fits), "{changes:?}");
        let known = ["error", "error_description", "iss", "state"];
        assert!(callback.keys().all(|name| known.contains(&name.as_str())), "{callback:?}");
    }
    let unknown = stage.browser().get(&stage.authorize_path("mobile", &[("fancy", "1")])).await;
    assert!(unknown.location().unwrap().starts_with("/login?"), "RFC 6749 §3.1: unknown parameters are ignored");
}

#[tokio::test]
async fn o31_only_the_code_response_type_exists() {
    let stage = Stage::start().await;
    for (wanted, error) in [
        ("token", "unsupported_response_type"),
        ("id_token", "unsupported_response_type"),
        ("id_token token", "unsupported_response_type"),
        ("code token", "unsupported_response_type"),
        ("", "invalid_request"),
    ] {
        let page = stage.browser().get(&stage.authorize_path("mobile", &[("response_type", wanted)])).await;
        assert_eq!(page.callback()["error"], error, "{wanted}");
    }
    for grant in ["password", "urn:ietf:params:oauth:grant-type:device_code", "implicit"] {
        let page = stage
            .call(
                "/oauth/token",
                "poster",
                &[("grant_type", grant), ("username", "alice@example.com"), ("password", PASSWORD)],
            )
            .await;
        assert_eq!(
            (page.status, page.error().as_str()),
            (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            "{grant}"
        );
    }
}

#[tokio::test]
async fn o33_prompt_and_max_age_ask_the_person_again() {
    let stage = Stage::start().await;
    let mut browser = stage.browser();
    browser.sign_in(&stage.authorize_path("mobile", &[])).await;
    for changes in [[("prompt", "login")], [("max_age", "0")], [("prompt", "select_account")]] {
        stage.clock.advance_s(5);
        let path = stage.authorize_path("mobile", &changes);
        let page = browser.follow(&path).await;
        assert!(page.field("password").is_some(), "{changes:?} {}", page.body);
        let answer = browser.submit_login(&page, "alice@example.com", PASSWORD).await;
        // The way back carries the mark; the same request without it asks once more.
        let done = browser.get(&answer.location().unwrap()).await;
        assert!(done.callback().contains_key("code"), "{changes:?}");
        assert!(browser.get(&path).await.location().unwrap().starts_with("/login?"));
        // A mark of one request does not fit another.
        let mark = answer.location().unwrap().split("trigate_since=").nth(1).unwrap().to_owned();
        let other =
            format!("{}&trigate_since={mark}", stage.authorize_path("mobile", &[changes[0], ("scope", "openid")]));
        assert!(browser.get(&other).await.location().unwrap().starts_with("/login?"), "{changes:?}");
    }
    let silent = browser.get(&stage.authorize_path("mobile", &[("prompt", "none")])).await;
    assert!(silent.callback().contains_key("code"));
    stage.clock.advance_s(100);
    let old = browser.get(&stage.authorize_path("mobile", &[("prompt", "none"), ("max_age", "50")])).await;
    assert_eq!(old.callback()["error"], "login_required");
}

#[tokio::test]
async fn o33_an_id_token_hint_of_another_person_is_not_met() {
    let stage = Stage::start().await;
    let mut browser = stage.browser();
    let code = stage.code(&mut browser, "mobile", &[]).await;
    let tokens = stage.redeem("mobile", &code, &[]).await.json();
    let hint = tokens["id_token"].as_str().unwrap();
    let own = browser.get(&stage.authorize_path("mobile", &[("prompt", "none"), ("id_token_hint", hint)])).await;
    assert!(own.callback().contains_key("code"));
    let stranger =
        stage.browser().get(&stage.authorize_path("mobile", &[("prompt", "none"), ("id_token_hint", hint)])).await;
    assert_eq!(stranger.callback()["error"], "login_required");
    // An access token is no hint.
    let access = tokens["access_token"].as_str().unwrap();
    let page = browser.get(&stage.authorize_path("mobile", &[("id_token_hint", access)])).await;
    assert_eq!(page.callback()["error"], "invalid_request");
}

#[tokio::test]
async fn o35_consent_is_asked_once_and_again_for_additions() {
    let stage = Stage::start().await;
    stage.add_client("asker", ClientAuthentication::None, |client| client.asks_consent = true).await;
    let mut browser = stage.browser();
    let page = browser.sign_in(&stage.authorize_path("asker", &[("scope", "orders:read")])).await;
    assert!(
        page.body.contains("see your orders")
            && page.body.contains("app.test")
            && page.body.contains("alice@example.com")
    );
    assert!(page.header("content-security-policy").contains("form-action 'self' https://app.test;"));
    let denied = browser.post(&page.action(), &[("csrf", &page.value("csrf")), ("decision", "deny")]).await;
    assert_eq!(denied.callback()["error"], "access_denied");
    assert_eq!(denied.callback()["iss"], ISSUER);
    let silent = browser.get(&stage.authorize_path("asker", &[("scope", "orders:read"), ("prompt", "none")])).await;
    assert_eq!(silent.callback()["error"], "consent_required");
    let allowed = browser.post(&page.action(), &[("csrf", &page.value("csrf")), ("decision", "allow")]).await;
    let done = browser.follow(&allowed.location().unwrap()).await;
    assert!(done.callback().contains_key("code"));
    // Remembered.
    let again = browser.get(&stage.authorize_path("asker", &[("scope", "orders:read")])).await;
    assert!(again.callback().contains_key("code"));
    // O35: more is asked again, and marked.
    let more = browser.follow(&stage.authorize_path("asker", &[("scope", "orders:read orders:write")])).await;
    assert!(more.body.contains("place and cancel orders for you <em class=\"new\">new</em>"), "{}", more.body);
    // Asked for explicitly, it is asked though nothing is new, and once only.
    stage.clock.advance_s(5);
    let path = stage.authorize_path("asker", &[("scope", "orders:read"), ("prompt", "consent")]);
    let page = browser.follow(&path).await;
    let allowed = browser.post(&page.action(), &[("csrf", &page.value("csrf")), ("decision", "allow")]).await;
    assert!(browser.follow(&allowed.location().unwrap()).await.callback().contains_key("code"));
}

#[tokio::test]
async fn o34_the_consent_form_is_bound_to_its_own_session_and_never_framed() {
    let stage = Stage::start().await;
    stage.add_client("asker", ClientAuthentication::None, |client| client.asks_consent = true).await;
    let path = stage.authorize_path("asker", &[]);
    let (mut browser, mut other) = (stage.browser(), stage.browser());
    let page = browser.sign_in(&path).await;
    let foreign = other.sign_in(&path).await;
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    for csrf in ["", "x", &foreign.value("csrf")] {
        let answer = browser.post(&page.action(), &[("csrf", csrf), ("decision", "allow")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{csrf}");
    }
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.test")]
    {
        let headers = vec![(header::HeaderName::from_static(name), value.to_owned())];
        let answer =
            browser.post_with(&page.action(), &[("csrf", &page.value("csrf")), ("decision", "allow")], headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    assert!(stage.tenant.list_consents(&stage.alice).await.unwrap().is_empty());
}

#[tokio::test]
async fn l08_no_page_can_be_skipped_to() {
    let stage = Stage::start().await;
    stage.add_client("asker", ClientAuthentication::None, |client| client.asks_consent = true).await;
    let query = stage.authorize_path("asker", &[]).split_once('?').unwrap().1.to_owned();
    let page = stage.browser().get(&format!("/consent?{query}")).await;
    assert!(page.location().unwrap().starts_with("/oauth/authorize?"), "no session, no consent page");
    let page = stage.browser().post(&format!("/consent?{query}"), &[("decision", "allow")]).await;
    assert!(page.location().unwrap().starts_with("/oauth/authorize?"));
}

#[tokio::test]
async fn o37_a_parameter_twice_or_in_two_places_is_refused() {
    let stage = Stage::start().await;
    let path = stage.authorize_path("mobile", &[]);
    for more in ["client_id=mobile", "client_id=other", "redirect_uri=https://evil.test/"] {
        stage.browser().get(&format!("{path}&{more}")).await.is_error_page("invalid_request");
    }
    for more in ["scope=openid", "state=x", "nonce=", "code_challenge=x", "fancy=1&fancy=2"] {
        let page = stage.browser().get(&format!("{path}&{more}")).await;
        assert_eq!(page.callback()["error"], "invalid_request", "{more}");
        assert_eq!(page.callback().contains_key("state"), more != "state=x", "of two states neither is sent back");
    }
    // Resource indicators may come several times. // RFC 8707 §2
    let page = stage.browser().get(&format!("{path}&resource={API}&resource=https://reports.test")).await;
    assert!(page.location().unwrap().starts_with("/login?"));
    let query = path.split_once('?').unwrap().1;
    stage
        .browser()
        .post("/oauth/authorize?client_id=mobile", &[("scope", "openid")])
        .await
        .is_error_page("invalid_request");
    let form = Some("application/x-www-form-urlencoded");
    let posted = stage.browser().send(request(Method::POST, "/oauth/authorize", form, query.to_owned())).await;
    assert!(
        posted.location().unwrap().starts_with("/oauth/authorize?"),
        "POST becomes GET, so that the login cookie comes along"
    );
    // The token endpoint.
    let code = stage.code(&mut stage.browser(), "poster", &[]).await;
    let secret = stage.secret("poster");
    let body = form_of(&code, &secret);
    for more in [
        format!("code={code}"),
        "client_id=poster".into(),
        "client_id=mobile".into(),
        format!("client_secret={secret}"),
        "grant_type=client_credentials".into(),
        "scope=openid&scope=openid".into(),
    ] {
        let twice = stage.browser().send(request(Method::POST, "/oauth/token", form, format!("{body}&{more}"))).await;
        assert_eq!((twice.status, twice.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"), "{more}");
    }
    let both = stage
        .browser()
        .send(request(Method::POST, "/oauth/token?grant_type=authorization_code", form, body.clone()))
        .await;
    assert_eq!((both.status, both.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    let once = stage.browser().send(request(Method::POST, "/oauth/token", form, body)).await;
    assert_eq!(once.status, StatusCode::OK, "the refused requests used nothing up");
}

fn form_of(code: &str, secret: &str) -> String {
    form(&[
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
        ("client_id", "poster"),
        ("client_secret", secret),
    ])
}

#[tokio::test]
async fn a_client_name_with_markup_or_turned_text_is_shown_inert() {
    let stage = Stage::start().await;
    let name = "<script>alert(1)</script>\u{202e}knaB\"'&";
    stage
        .add_client("trickster", ClientAuthentication::None, |client| {
            client.name = name.into();
            client.asks_consent = true;
        })
        .await;
    let mut browser = stage.browser();
    let login = browser.follow(&stage.authorize_path("trickster", &[("state", "\"><script>x</script>")])).await;
    let consent = browser.sign_in(&stage.authorize_path("trickster", &[("state", "\"><script>x</script>")])).await;
    for page in [login, consent] {
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.body.contains("<script") && !page.body.contains('\u{202e}'), "{}", page.body);
        assert!(page.body.contains("alert(1)"));
        assert!(!page.body.contains("style=") && !page.body.contains("onclick"), "no inline style or script");
    }
}

#[tokio::test]
async fn a_login_as_somebody_else_than_the_client_meant_ends_in_an_error_and_not_in_a_circle() {
    let stage = Stage::start().await;
    let mut browser = stage.browser();
    let code = stage.code(&mut browser, "mobile", &[]).await;
    let tokens = stage.redeem("mobile", &code, &[]).await.json();
    let hint = tokens["id_token"].as_str().unwrap().to_owned();
    stage.add_user("bob@example.com").await;
    let mut bobs = stage.browser();
    let path = stage.authorize_path("mobile", &[("id_token_hint", &hint)]);
    let page = bobs.follow(&path).await;
    assert!(page.field("password").is_some());
    let answer = bobs.submit_login(&page, "bob@example.com", PASSWORD).await;
    let done = bobs.get(&answer.location().unwrap()).await;
    assert_eq!(done.callback()["error"], "login_required", "OpenID Connect Core §3.1.2.1");
    // A later request asks once more: the right person may be there now.
    assert!(bobs.get(&path).await.location().unwrap().starts_with("/login?"));
}

#[tokio::test]
async fn what_is_too_long_or_no_text_gets_a_page_and_never_a_redirect() {
    let stage = Stage::start().await;
    let path = stage.authorize_path("mobile", &[]);
    let query = path.split_once('?').unwrap().1;
    let long = "x".repeat(17_000);
    for page in [
        stage.browser().get(&format!("{path}&login_hint={long}")).await,
        stage.browser().post("/oauth/authorize", &[("client_id", "mobile"), ("login_hint", &long)]).await,
        stage.browser().get(&format!("/login?{query}&login_hint={long}")).await,
    ] {
        assert_eq!((page.status, page.location()), (StatusCode::PAYLOAD_TOO_LARGE, None));
    }
    let many: String = (0..101).map(|number| format!("&p{number}=x")).collect();
    for more in ["&x=%ff", "&x=%00", "&x=%", many.as_str()] {
        stage.browser().get(&format!("{path}{more}")).await.is_error_page("invalid_request");
    }
    for (name, length, error) in
        [("state", 2049, true), ("nonce", 2049, true), ("state", 384, false), ("nonce", 384, false)]
    {
        let page = stage.browser().get(&stage.authorize_path("mobile", &[(name, &"x".repeat(length))])).await;
        assert_eq!(page.location().unwrap().starts_with(CALLBACK), error, "{name} {length}");
    }
    // What is sent back is encoded: no line of a header is made by a client.
    let split = stage.authorize_path("mobile", &[("state", "x\r\nset-cookie: a=b"), ("prompt", "none")]);
    let page = stage.browser().get(&split).await;
    assert_eq!(page.callback()["state"], "x\r\nset-cookie: a=b");
    assert!(page.headers.get("set-cookie").is_none() && !page.location().unwrap().contains('\n'));
}
