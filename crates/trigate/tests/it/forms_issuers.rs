//! Tokens that are looked up, at the desk or at another issuer, and keys that are fetched: in every form of the gate.

use crate::support::{
    TestTrigate,
    forge::{self, AUDIENCE, Pages, Signer, changed, claims},
    forms::{ASKED, Ask, Form, ask_everywhere, end},
};
use serde_json::{Value, json};
use std::time::Instant;
use trigate::operator::{
    By,
    client::{ClientPolicy, NewClient},
};
use trigate_core::{
    client::{ClientAuthentication, TokenForm},
    id::ClientId,
    jose::Algorithm,
};

const ROUTES: &str = "[[route]]\nname = \"any\"\npath = \"/api/any\"\ndemands = \"token\"\nupstream = \"sample\"\n\
     [[route]]\nname = \"reads\"\npath = \"/api/reads\"\ndemands = \"token\"\nscopes = [\"orders:read\"]\nupstream = \"sample\"\n\
     [[route]]\nname = \"admin\"\npath = \"/api/admin\"\ndemands = \"token\"\nscopes = [\"orders:write\"]\nupstream = \"sample\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t05_g20_g21_fetched_keys_in_all_forms_once_for_each_process() {
    const BROKEN: &str = "https://broken.test";
    let begun = Instant::now();
    let (pages, key) = (Pages::default(), Signer::new(Algorithm::ES256, "k1"));
    let url = pages.serve().await;
    let keys = json!({ "keys": [key.public()] });
    pages.put("/jwks", &keys);
    pages.put_answer("/broken", "500 Oops", "", &keys.to_string());
    let issuer = forge::stanza(&url, &format!("jwks = \"{url}/jwks\""));
    let broken = forge::stanza(BROKEN, &format!("jwks = \"{url}/broken\""));
    let t = TestTrigate::start_with(&format!("{ASKED}{ROUTES}{issuer}{broken}")).await;
    let mut forms = Form::all(&t).await;
    let good = Ask::bearer("/api/any", &key.token(&claims(&url)));
    ask_everywhere(&t, &mut forms, &[(good.clone(), 200)]).await;
    let unknown = (0..50).map(|n| {
        let stranger = changed(key.header(), &json!({ "kid": format!("fresh-{n}") }));
        let token = key.forge(stranger.to_string().as_bytes(), claims(&url).to_string().as_bytes());
        (Ask::bearer("/api/any", &token), 401)
    });
    // G20: whose keys are not to be had says nothing, for good or bad; the other issuer goes on.
    let unheard = (0..5).map(|_| (Ask::bearer("/api/any", &key.token(&claims(BROKEN))), 503));
    let lines: Vec<(Ask, u16)> = unknown.chain(unheard).chain([(good, 200)]).collect();
    ask_everywhere(&t, &mut forms, &lines).await;
    // Once each within the cool-down, which a slow machine may outlast.
    let most = Form::PROCESSES * (1 + usize::try_from(begun.elapsed().as_secs()).unwrap() / 30);
    for page in ["/jwks", "/broken"] {
        assert!((Form::PROCESSES..=most).contains(&pages.asked(page)), "{page}: {} times", pages.asked(page));
    }
    end(forms).await;
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t30_t32_opaque_tokens_of_ours_in_every_form() {
    let t = TestTrigate::start_with(&format!("{ASKED}{ROUTES}")).await;
    let mut forms = Form::all(&t).await;
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::None),
        redirect_uris: Some(vec![crate::support::REDIRECT.into()]),
        scopes: Some(["openid", "orders:read", "orders:write"].map(str::to_owned).to_vec()),
        resources: Some(vec![t.running.urls.gate.clone()]),
        asks_consent: Some(false),
        token_form: Some(TokenForm::Opaque),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: t.acme.id.clone(), id: Some(ClientId::parse("portal").unwrap()), policy };
    t.running.operator.create_client(&By::system(), new).await.unwrap();
    let token = t.user_token("portal", "openid orders:read", &t.running.urls.gate).await;
    assert!(token.starts_with("tga_"));
    // T32: kept, and judged anew by each route.
    let judged = [("/api/any", 200), ("/api/reads", 200), ("/api/admin", 403), ("/api/users/me/orders", 200)];
    let mut lines: Vec<(Ask, u16)> =
        judged.iter().chain(&judged).map(|(path, status)| (Ask::bearer(path, &token), *status)).collect();
    // T30
    let swapped: String =
        token.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    let mut bad = vec![token.to_uppercase(), token.to_lowercase(), swapped, format!("{token}{token}")];
    bad.extend((1..token.len()).map(|cut| token[..token.len() - cut].to_owned()));
    bad.extend((1..token.len()).step_by(7).map(|cut| token[cut..].to_owned()));
    bad.extend(["0", "a", "_", "=", "."].map(|more| format!("{token}{more}")));
    // One character's case.
    bad.extend(token.char_indices().filter(|(_, c)| c.is_alphabetic()).step_by(6).map(|(at, c)| {
        let other = if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    }));
    lines.extend(bad.iter().map(|token| (Ask::bearer("/api/any", token), 401)));
    ask_everywhere(&t, &mut forms, &lines).await;
    end(forms).await;
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t31_t32_g20_g21_answers_of_another_issuer_in_every_form() {
    let pages = Pages::default();
    let url = pages.serve().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("introspection.secret");
    std::fs::write(&secret, "secret\n").unwrap();
    let asks = format!(
        "introspection = {{ url = \"{url}/introspect\", client_id = \"gate\", secret_file = \"{}\" }}",
        secret.display()
    );
    let t = TestTrigate::start_with(&format!("{ASKED}{ROUTES}{}", forge::stanza(&url, &asks))).await;
    let mut forms = Form::all(&t).await;
    let now = crate::any_issuer::now();
    let good = changed(claims(&url), &json!({ "active": true, "token_type": "Bearer" }));
    // A token of its own for each answer: what is kept of one says nothing of another.
    let answered = |name: &str, answer: &Value| {
        let token = format!("opaque-token-of-another-issuer-{name}");
        pages.put(&token, answer);
        token
    };
    let token = answered("good", &good);
    let judged = [("/api/any", 200), ("/api/reads", 200), ("/api/admin", 403)];
    let mut lines: Vec<(Ask, u16)> =
        judged.iter().chain(&judged).map(|(path, status)| (Ask::bearer(path, &token), *status)).collect();
    let all = answered("list", &changed(good.clone(), &json!({ "aud": ["http://other.test", AUDIENCE] })));
    lines.push((Ask::bearer("/api/any", &all), 200));
    for (at, changes) in [
        json!({ "active": "true" }),
        json!({ "active": 1 }),
        json!({ "active": null }),
        json!({ "active": [true] }),
        json!({ "active": false }),
        json!({ "exp": now - 60 }),
        json!({ "exp": null }),
        json!({ "exp": "9999999999" }),
        json!({ "nbf": now + 600 }),
        json!({ "aud": "http://other.test" }),
        json!({ "aud": null }),
        json!({ "aud": [] }),
        json!({ "iss": "https://other.test" }),
        json!({ "token_type": "refresh_token" }),
        json!({ "scope": 5 }),
        json!({ "sub": ["bob"] }),
        json!({ "cnf": { "jkt": "x" } }),
    ]
    .into_iter()
    .enumerate()
    {
        let token = answered(&at.to_string(), &changed(good.clone(), &changes));
        lines.push((Ask::bearer("/api/any", &token), 401));
    }
    lines.push((Ask::bearer("/api/any", "opaque-token-that-nobody-knows"), 401));
    // G20: no error is a yes.
    let (yes, moved) = (good.to_string(), format!("location: {url}/elsewhere\r\n"));
    for (at, status, head, body) in [
        (0, "500 Oops", "", yes.as_str()),
        (1, "302 Found", &moved, &yes),
        (2, "401 Unauthorized", "", &yes),
        (3, "200 OK", "", &format!("{yes}{}", " ".repeat(2 << 20))),
        (4, "200 OK", "", &yes[..yes.len() - 1]),
        (5, "200 OK", "", ""),
        (6, "", "", ""),
    ] {
        let token = format!("opaque-token-with-a-bad-answer-{at}");
        pages.put_answer(&token, status, head, body);
        lines.push((Ask::bearer("/api/any", &token), 503));
    }
    ask_everywhere(&t, &mut forms, &lines).await;
    assert_eq!(pages.asked(&token), Form::PROCESSES, "kept for the next routes");
    assert_eq!(pages.asked("/elsewhere"), 0, "no redirect is followed");
    end(forms).await;
    t.stop().await;
}
