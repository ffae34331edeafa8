//! The attack catalogue, as far as the gates decide it. Each test is named by its line.

use super::rig::*;
use crate::*;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use trigate_core::{
    application::State,
    change::What,
    credential::{ApiKey, Digest, Environment},
    id::{KeyId, TokenId},
    jose::{Algorithm, SigningKey},
    oauth::ScopeSet,
};

#[tokio::test]
async fn t04_odd_kids_find_no_key() {
    let rig = Rig::new();
    for kid in ["../../../../dev/null", "' OR '1'='1", "k2", "key-2026-11 "] {
        let stranger = SigningKey::generate(Algorithm::EdDSA, kid).unwrap();
        let token = stranger.sign_jws("at+jwt", &json!({ "iss": ISSUER, "sub": "x" })).unwrap();
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.key_unknown", "{kid}");
    }
    for kid in [json!("a\0b"), json!("a\r\nb"), json!("k".repeat(100_000)), json!(5), json!(["k"])] {
        let token = with_header(&rig, &json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid }));
        let refusal = rig.ask("/any").bearer(&token).refusal().await;
        assert_eq!(refusal.status(), 401);
        assert!(!rig.last().path.contains('\n'));
    }
}

#[tokio::test]
async fn t01_t02_no_other_algorithm_is_chosen_by_a_header() {
    let rig = Rig::new();
    for (header, verdict) in [
        (json!({ "alg": "none", "typ": "at+jwt", "kid": "key-2026-11" }), "401 token.algorithm"),
        (json!({ "alg": "HS256", "typ": "at+jwt", "kid": "key-2026-11" }), "401 token.algorithm"),
        (json!({ "alg": "ES256", "typ": "at+jwt", "kid": "key-2026-11" }), "401 token.algorithm"),
        (json!({ "alg": 5, "typ": "at+jwt", "kid": "key-2026-11" }), "401 token.algorithm"),
        (json!({ "alg": "EdDSA", "typ": 5, "kid": "key-2026-11" }), "401 token.type"),
        (json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": 5 }), "401 token.key_unknown"),
        (json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "key-2026-11", "x": 1 }), "401 token.signature"),
        (json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "key-2026-11", "crit": [] }), "401 token.malformed"),
    ] {
        let token = with_header(&rig, &header);
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, verdict, "{header}");
    }
}

/// A token of ours under another header: its signature does not hold any more.
fn with_header(rig: &Rig, header: &Value) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let token = rig.token(json!({}));
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test]
async fn t05_unknown_kids_cause_one_fetch_per_cool_down() {
    let rig = Rig::new();
    let good = rig.foreign("https://x.test", &rig.x, json!({}));
    assert_eq!(rig.ask("/any").bearer(&good).verdict().await, "pass");
    let stranger = SigningKey::generate(Algorithm::ES256, "fresh").unwrap();
    for n in 0..50 {
        let token = rig.foreign("https://x.test", &stranger, json!({ "jti": n.to_string() }));
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.key_unknown");
    }
    assert_eq!(rig.web.fetched.lock().unwrap().len(), 1);
    rig.clock.advance_s(30);
    for _ in 0..50 {
        let token = rig.foreign("https://x.test", &stranger, json!({}));
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.key_unknown");
    }
    assert_eq!(rig.web.fetched.lock().unwrap().len(), 2);
    // The issuer turns to the new key: found at the next fetch, and the old one is gone.
    rig.web.pages.lock().unwrap()[0].1 = jwks(&[&stranger]);
    rig.clock.advance_s(30);
    let token = rig.foreign("https://x.test", &stranger, json!({}));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    assert_eq!(rig.ask("/any").bearer(&good).verdict().await, "401 token.key_unknown", "though it was verified before");
}

#[tokio::test]
async fn r14_a_herd_causes_one_fetch() {
    let rig = Arc::new(Rig::new());
    rig.web.slow.store(true, std::sync::atomic::Ordering::SeqCst);
    let token = rig.foreign("https://x.test", &rig.x, json!({}));
    let asks: Vec<_> = (0..200).map(|_| rig.ask("/any").bearer(&token)).collect();
    let admitted = futures_util::future::join_all(asks.iter().map(Ask::admit)).await;
    let passed = admitted.iter().filter(|result| result.is_ok()).count();
    // `free` lets two by; the others were refused for that, not for a missing key.
    assert_eq!(passed, 2);
    assert!(admitted.iter().filter_map(|r| r.as_ref().err()).all(|r| r.reason().code() == "application.rate_limited"));
    assert_eq!(rig.web.fetched.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn g21_the_last_good_keys_serve_until_their_hard_end() {
    let rig = Rig::new();
    rig.issuers.refresh_due().await;
    rig.web.pages.lock().unwrap().clear();
    rig.clock.advance_s(23 * 3_600);
    rig.issuers.refresh_due().await;
    let status = rig.issuers.status().into_iter().find(|status| status.issuer == "https://x.test").unwrap();
    assert!(status.last_failure.is_some());
    assert_eq!(rig.ask("/any").bearer(&rig.foreign("https://x.test", &rig.x, json!({}))).verdict().await, "pass");
    rig.clock.advance_s(3_600);
    let verdict = rig.ask("/any").bearer(&rig.foreign("https://x.test", &rig.x, json!({}))).verdict().await;
    assert_eq!(verdict, "503 lookup.unavailable");
}

#[tokio::test]
async fn t06_keys_and_addresses_in_a_token_are_never_used() {
    let rig = Rig::new();
    let evil = SigningKey::generate(Algorithm::EdDSA, "key-2026-11").unwrap();
    let key = jsonwebtoken::EncodingKey::from_ed_der(&evil.to_pkcs8().unwrap());
    let plain = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "key-2026-11" });
    for (name, value) in [
        ("jwk", evil.public_jwk()),
        ("jku", json!("https://evil.test/jwks")),
        ("x5u", json!("https://evil.test/c")),
        ("x5c", json!(["AAAA"])),
    ] {
        let mut header = plain.clone();
        header[name] = value;
        let header: jsonwebtoken::Header = serde_json::from_value(header).unwrap();
        let claims = json!({ "iss": ISSUER, "sub": ALICE, "aud": AUDIENCE, "exp": rig.now_s() + 60, "pos": 10 });
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.signature", "{name}");
    }
    assert!(rig.web.fetched.lock().unwrap().is_empty(), "silent");
}

#[tokio::test]
async fn t07_only_access_tokens_are_access_tokens() {
    let rig = Rig::new();
    let claims = |rig: &Rig| {
        json!({ "iss": ISSUER, "sub": ALICE, "aud": AUDIENCE, "exp": rig.now_s() + 60, "iat": rig.now_s(), "pos": 10,
            "client_id": "cli_a", "jti": TokenId::mint(rig.rng.as_ref()).to_string() })
    };
    for (typ, expected) in [
        ("at+jwt", "pass"),
        ("AT+JWT", "pass"),
        ("application/at+jwt", "pass"),
        ("JWT", "401 token.type"),
        ("logout+jwt", "401 token.type"),
        ("dpop+jwt", "401 token.type"),
        ("secevent+jwt", "401 token.type"),
        ("", "401 token.type"),
        ("application/", "401 token.type"),
    ] {
        let token = rig.signer.sign_jws(typ, &claims(&rig)).unwrap();
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, expected, "{typ}");
    }
}

async fn with_claims(rig: &Rig, changes: Value) -> String {
    rig.ask("/any").bearer(&rig.token(changes)).verdict().await
}

#[tokio::test]
async fn t11_t12_t13_times_are_judged_strictly() {
    let rig = Rig::new();
    let now = rig.now_s();
    for (changes, expected) in [
        (json!({ "exp": null }), "401 token.claims"),
        (json!({ "exp": "9999999999" }), "401 token.claims"),
        (json!({ "exp": true }), "401 token.claims"),
        (json!({ "exp": [] }), "401 token.claims"),
        (json!({ "exp": -1 }), "401 token.claims"),
        (json!({ "exp": 0 }), "401 token.expired"),
        (json!({ "exp": now - 301 }), "401 token.expired"),
        (json!({ "exp": now - 9 }), "pass"),
        (json!({ "exp": now - 10 }), "401 token.expired"),
        (json!({ "exp": now as f64 + 60.5 }), "pass"),
        (json!({ "exp": (1u64 << 53) + 1 }), "401 token.claims"),
        (json!({ "exp": u64::MAX }), "401 token.claims"),
        (json!({ "exp": 1e300 }), "401 token.claims"),
        (json!({ "exp": now + 86_401 }), "401 token.lifetime"),
        (json!({ "exp": now + 86_401, "iat": null }), "401 token.lifetime"),
        (json!({ "nbf": now + 8 }), "pass"),
        (json!({ "nbf": now + 10 }), "pass"),
        (json!({ "nbf": now + 11 }), "401 token.not_yet_valid"),
        (json!({ "nbf": now + 61 }), "401 token.not_yet_valid"),
        (json!({ "iat": now + 8 }), "pass"),
        (json!({ "iat": now + 10 }), "pass"),
        (json!({ "iat": now + 11 }), "401 token.not_yet_valid"),
        (json!({ "iat": now + 61 }), "401 token.not_yet_valid"),
        (json!({ "iat": now + 3_600 }), "401 token.not_yet_valid"),
        (json!({ "nbf": "1" }), "401 token.claims"),
        (json!({ "iat": true }), "401 token.claims"),
    ] {
        assert_eq!(with_claims(&rig, changes.clone()).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn t14_the_audience_is_ours_byte_by_byte() {
    let rig = Rig::new();
    for (aud, expected) in [
        (Value::Null, "401 token.audience"),
        (json!("https://other.test"), "401 token.audience"),
        (json!("https://api.tes"), "401 token.audience"),
        (json!("https://api.test/"), "401 token.audience"),
        (json!("HTTPS://API.TEST"), "401 token.audience"),
        (json!("*"), "401 token.audience"),
        (json!([]), "401 token.claims"),
        (json!([AUDIENCE, 5]), "401 token.claims"),
        (json!(["https://other.test", AUDIENCE]), "pass"),
    ] {
        assert_eq!(with_claims(&rig, json!({ "aud": aud })).await, expected, "{aud}");
    }
}

#[tokio::test]
async fn t15_the_issuer_is_a_trusted_one_byte_by_byte() {
    let rig = Rig::new();
    for iss in [
        json!("http://issuer.test/"),
        json!("HTTP://ISSUER.TEST"),
        json!("http://issuer.test.evil.test"),
        json!("https://issuer.test"),
        json!([ISSUER]),
        Value::Null,
    ] {
        assert_eq!(with_claims(&rig, json!({ "iss": iss })).await, "401 token.issuer", "{iss}");
    }
}

#[tokio::test]
async fn t16_an_issuer_speaks_for_itself_alone() {
    let rig = Rig::new();
    for (iss, key, expected) in [
        ("https://x.test", &rig.x, "pass"),
        ("https://y.test", &rig.y, "pass"),
        // Both publish a key named `k1`.
        ("https://x.test", &rig.y, "401 token.signature"),
        ("https://y.test", &rig.x, "401 token.signature"),
        (ISSUER, &rig.x, "401 token.key_unknown"),
    ] {
        assert_eq!(rig.ask("/any").bearer(&rig.foreign(iss, key, json!({}))).verdict().await, expected, "{iss}");
    }
    // A foreign issuer cannot name our users' sessions, or claim a place in our feed.
    let token = rig.foreign("https://y.test", &rig.y, json!({ "pos": 99, "gid": "grt_1", "app": "app_b" }));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    let facts = rig.last().facts;
    assert_eq!((facts.application, facts.grant), (Some(id("app_a")), None));
}

#[tokio::test]
async fn t17_a_subject_is_there_and_is_text() {
    let rig = Rig::new();
    for sub in [Value::Null, json!(""), json!(5), json!(["usr_alice"]), json!("a\nb"), json!("a".repeat(600))] {
        assert_eq!(with_claims(&rig, json!({ "sub": sub })).await, "401 token.claims", "{sub}");
        assert_eq!(rig.last().facts.user, None);
    }
}

#[tokio::test]
async fn our_tokens_carry_what_makes_them_revocable() {
    let rig = Rig::new();
    for changes in [
        json!({ "pos": null }),
        json!({ "pos": "5" }),
        json!({ "pos": -1 }),
        json!({ "jti": null }),
        json!({ "jti": "short" }),
        json!({ "gid": 5 }),
        json!({ "sid": "" }),
        json!({ "scope": 5 }),
        json!({ "roles": "x y", "scope": ["a", 5] }),
    ] {
        assert_eq!(with_claims(&rig, changes.clone()).await, "401 token.claims", "{changes}");
    }
}

#[tokio::test]
async fn t26_other_secrets_of_ours_are_no_access_tokens() {
    let rig = Rig::new();
    let id_token = rig
        .signer
        .sign_jws(
            "JWT",
            &json!({ "iss": ISSUER, "sub": ALICE, "aud": "cli_a", "exp": rig.now_s() + 60,
        "iat": rig.now_s(), "pos": 10, "jti": TokenId::mint(rig.rng.as_ref()).to_string() }),
        )
        .unwrap();
    assert_eq!(rig.ask("/any").bearer(&id_token).verdict().await, "401 token.type");
    let others = [
        trigate_core::credential::RefreshToken::mint(rig.rng.as_ref()).reveal().to_owned(),
        trigate_core::credential::AuthorizationCode::mint(rig.rng.as_ref()).reveal().to_owned(),
        rig.key_a.reveal().to_owned(),
        "urn:ietf:params:oauth:request_uri:x".to_owned(),
        String::new(),
    ];
    for other in others {
        assert_eq!(rig.ask("/any").bearer(&other).verdict().await, "401 token.malformed");
    }
}

#[tokio::test]
async fn t33_k01_credentials_in_urls_are_not_read_but_masked_and_marked() {
    let rig = Rig::new();
    let (key, token) = (rig.key_a.reveal().to_owned(), rig.token(json!({})));
    for (path, query) in [
        ("/weather".to_owned(), format!("api_key={key}")),
        ("/weather".to_owned(), format!("city=paris&x-api-key={key}&b=c")),
    ] {
        assert_eq!(rig.ask(&path).query(&query).verdict().await, "401 key.missing");
        let record = rig.last();
        assert!(record.exposed);
        assert_eq!(record.facts.key.as_ref(), Some(rig.key_a.id()));
    }
    assert_eq!(rig.ask(&format!("/public/{key}/x")).verdict().await, "pass");
    assert_eq!((rig.last().path.as_str(), rig.last().exposed), ("/public/tgk_[masked]/x", true));
    assert_eq!(rig.ask(&format!("/nowhere/{key}")).verdict().await, "404 route.unknown");
    assert!(rig.last().exposed && !rig.last().path.contains(&key));
    assert_eq!(*rig.exposed.lock().unwrap(), vec![rig.key_a.id().clone(); 4]);
    assert_eq!(rig.ask("/any").query(&format!("access_token={token}")).verdict().await, "401 token.missing");
    assert!(rig.last().exposed && rig.last().facts.token.is_some());
    assert_eq!(rig.ask("/any").header("cookie", &format!("access_token={token}")).verdict().await, "401 token.missing");
    // What only looks like a credential is masked, too, but nobody's.
    let stranger = ApiKey::mint(rig.rng.as_ref(), Environment::Live);
    for text in [stranger.reveal(), "tgk_live_x", "eyJhbGciOiJub25lIn0.e30.x"] {
        assert_eq!(rig.ask("/weather").query(&format!("k={text}")).verdict().await, "401 key.missing");
        assert!(!rig.last().exposed, "{text}");
    }
    // Beside a good key in the header the passage goes on, and the record names the one in the header.
    assert_eq!(rig.ask("/weather").key(&rig.key_b).query(&format!("k={key}")).verdict().await, "pass");
    assert_eq!((rig.last().exposed, rig.last().facts.key), (true, Some(rig.key_b.id().clone())));
}

#[tokio::test]
async fn t36_a_client_is_no_user_and_a_user_no_service() {
    let rig = Rig::new();
    let (user, service) = (rig.token(json!({})), rig.service_token());
    assert_eq!(rig.ask("/orders").bearer(&user).verdict().await, "pass");
    assert_eq!(rig.ask("/orders").bearer(&service).verdict().await, "403 subject.not_user");
    assert_eq!(rig.ask("/service").bearer(&service).verdict().await, "pass");
    assert_eq!(rig.ask("/service").bearer(&user).verdict().await, "403 subject.not_service");
    let body: Value = serde_json::from_slice(rig.ask("/orders").bearer(&service).refusal().await.body()).unwrap();
    assert_eq!(body["detail"], "This route needs a subject of the kind user, and the scopes `orders:read`.");
    let whoami = rig.ask("/.trigate/whoami").bearer(&service).permit().await.whoami();
    assert_eq!((&whoami["user"], &whoami["service"]), (&Value::Null, &json!("cli_a")));
    // A foreign issuer that writes another subject into tokens clients get for themselves.
    let foreign = rig.foreign("https://y.test", &rig.y, json!({ "sub": "web@clients", "gty": "client-credentials" }));
    assert_eq!(rig.ask("/orders").bearer(&foreign).verdict().await, "403 subject.not_user");
}

#[tokio::test]
async fn k02_a_key_has_one_spelling() {
    let rig = Rig::new();
    let key = rig.key_a.reveal().to_owned();
    for text in [
        key.to_uppercase(),
        key[..key.len() - 1].to_owned(),
        format!("{key}0"),
        format!(" {key}"),
        format!("{key} "),
        format!("{key}\t"),
        format!("\u{a0}{key}"),
        format!("\"{key}\""),
        format!("'{key}'"),
        format!("{key},{key}"),
        String::new(),
        key.replace("tgk_live", "tgk_test"),
    ] {
        let refusal = rig.ask("/weather").header("x-api-key", &text).refusal().await;
        assert_eq!(refusal.status(), 401, "{text:?}");
    }
    assert_eq!(rig.ask("/weather").header("authorization", &format!("ApiKey {key}")).verdict().await, "pass");
    assert_eq!(
        rig.ask("/weather").header("authorization", &format!("ApiKey  {key}")).verdict().await,
        "401 key.malformed"
    );
}

#[tokio::test]
async fn k03_two_keys_are_no_key() {
    let rig = Rig::new();
    let key = rig.key_a.reveal().to_owned();
    assert_eq!(rig.ask("/weather").key(&rig.key_a).key(&rig.key_a).verdict().await, "401 key.duplicate");
    assert_eq!(rig.ask("/weather").key(&rig.key_a).key(&rig.key_b).verdict().await, "401 key.duplicate");
    let both = rig.ask("/weather").key(&rig.key_a).header("authorization", &format!("ApiKey {key}"));
    assert_eq!(both.verdict().await, "401 key.duplicate");
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/any").bearer(&token).bearer(&token).verdict().await, "401 token.duplicate");
}

#[tokio::test]
async fn k04_only_the_exact_key_passes() {
    let rig = Rig::new();
    let (a, b) = (rig.key_a.reveal(), rig.key_b.reveal());
    // Prefix of one with the secret of the other; the checksum is made right again.
    let mixed = format!("{}{}", &a["tgk_live_".len()..][..22], &b["tgk_live_".len()..][22..66]);
    let body = format!("tgk_live_{mixed}");
    let crafted = (0..1).map(|_| crc(&body)).collect::<String>();
    let text = format!("{body}{crafted}");
    assert!(ApiKey::parse(&text).is_some(), "well-formed");
    assert_eq!(rig.ask("/weather").header("x-api-key", &text).verdict().await, "401 key.unknown");
    assert_eq!(rig.ask("/weather").header("x-api-key", &a[..31]).verdict().await, "401 key.malformed");
}

/// CRC-32 in base 62, as a scanner would compute it offline.
fn crc(body: &str) -> String {
    let crc = !body.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    });
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..6).rev().map(|place| char::from(digits[(crc / 62u32.pow(place) % 62) as usize])).collect()
}

#[tokio::test]
async fn k09_times_and_states_of_keys() {
    let rig = Rig::new();
    let expiring = rig.put_key(|key| key.expires_at = Some(START.plus_seconds(10)));
    let early = rig.put_key(|key| key.not_before = Some(START.plus_seconds(10)));
    let disabled = rig.put_key(|key| key.state = State::Disabled);
    assert_eq!(rig.ask("/weather").key(&expiring).verdict().await, "pass");
    assert_eq!(rig.ask("/weather").key(&early).verdict().await, "401 key.not_yet_valid");
    assert_eq!(rig.ask("/weather").key(&disabled).verdict().await, "401 key.disabled");
    rig.clock.advance_s(10);
    assert_eq!(rig.ask("/weather").key(&expiring).verdict().await, "401 key.expired");
    assert_eq!(rig.ask("/weather").key(&early).verdict().await, "pass");
    let mut record = key_record(&disabled, "app_a");
    record.born = rig.known.position();
    rig.change(What::Key { record });
    assert_eq!(rig.ask("/weather").key(&disabled).verdict().await, "pass");
    let orphan = rig.put_key(|key| key.application = id("app_none"));
    assert_eq!(rig.ask("/weather").key(&orphan).verdict().await, "401 key.unknown");
}

#[tokio::test]
async fn k10_an_allow_list_is_judged_by_the_real_peer() {
    let rig = Rig::new();
    let key = rig
        .put_key(|key| key.allowed_addresses = vec!["203.0.113.0/24".into(), "198.51.100.9".into(), "nonsense".into()]);
    for (peer, forwarded, expected) in [
        ("203.0.113.5", None, "pass"),
        ("::ffff:203.0.113.5", None, "pass"),
        ("198.51.100.9", None, "pass"),
        ("192.0.2.1", None, "401 key.address"),
        ("192.0.2.1", Some("203.0.113.5"), "401 key.address"),
        // Behind the configured proxy.
        ("10.0.0.1", Some("203.0.113.5"), "pass"),
        ("10.0.0.1", Some("203.0.113.5, 192.0.2.1"), "401 key.address"),
        ("10.0.0.1", None, "401 key.address"),
    ] {
        let mut ask = rig.ask("/weather").key(&key).peer(peer);
        if let Some(forwarded) = forwarded {
            ask = ask.header("x-forwarded-for", forwarded);
        }
        assert_eq!(ask.verdict().await, expected, "{peer} {forwarded:?}");
    }
}

#[tokio::test]
async fn k11_another_tenants_key_is_unknown() {
    let (one, other) = (Rig::new(), Rig::new());
    let stranger = other.put_key(|_| {});
    for _ in 0..2 {
        one.put_key(|_| {});
    }
    let unknown = ApiKey::mint(&trigate_core::port::testing::SeededRng::new(99), Environment::Live);
    let verdict = one.ask("/weather").key(&unknown).verdict().await;
    assert_eq!(verdict, "401 key.unknown");
    drop(stranger);
    // Rules of one tenant judge no request of another.
    let ask = one.ask("/weather").key(&one.key_a);
    let tenant = id("ten_b");
    let request = Request { tenant: &tenant, ..ask.request() };
    let refusal = one.gates.admit(&one.rules, request).await.unwrap_err();
    assert_eq!(refusal.reason().code(), "route.unknown");
}

#[tokio::test]
async fn imported_keys_come_in_their_own_header() {
    let rig = Rig::new();
    let legacy = "legacy-0123456789abcdef";
    let put = |header: Option<&str>, text: &str| {
        let mut record = key_record(&rig.key_a, "app_a");
        record.id = id::<KeyId>(&format!("key_{}", &text[..text.len().min(40)]));
        record.digest = Digest::of(text);
        record.header = header.map(str::to_owned);
        rig.change(What::Key { record });
    };
    put(Some("X-Legacy-Key"), legacy);
    put(None, "plain-0123456789abcdef");
    assert_eq!(rig.ask("/weather").header("x-legacy-key", legacy).verdict().await, "pass");
    assert_eq!(rig.ask("/weather").header("x-api-key", legacy).verdict().await, "401 key.unknown");
    assert_eq!(rig.ask("/weather").header("x-api-key", "plain-0123456789abcdef").verdict().await, "pass");
    assert_eq!(rig.ask("/weather").header("x-legacy-key", "plain-0123456789abcdef").verdict().await, "401 key.unknown");
    assert_eq!(rig.ask("/weather").key(&rig.key_a).header("x-legacy-key", legacy).verdict().await, "401 key.duplicate");
    let longest = "k".repeat(512);
    put(None, &longest);
    assert_eq!(rig.ask("/weather").header("x-api-key", &longest).verdict().await, "pass");
    assert_eq!(rig.ask("/weather").header("x-api-key", &format!("{longest}k")).verdict().await, "401 key.malformed");
    let ask = rig.ask("/weather").header("x-legacy-key", legacy);
    let permit = ask.admit().await.unwrap();
    assert!(!permit.forwarded_headers(ask.headers(), None).contains_key("x-legacy-key"));
    assert_eq!(rig.ask("/weather").query(&format!("k={legacy}")).verdict().await, "401 key.missing");
    assert!(rig.last().exposed);
    // K01: no mark gives it away in a path, and the record keeps it all the same to itself.
    assert_eq!(rig.ask(&format!("/public/{legacy}/x")).verdict().await, "pass");
    assert_eq!((rig.last().exposed, rig.last().path.as_str()), (true, "/public/[masked]/x"));
}

#[tokio::test]
async fn k13_a_keys_scopes_bind_and_no_field_of_the_request_widens_them() {
    let rig = Rig::new();
    let reader = rig.put_key(|key| key.scopes = Some(ScopeSet::parse("read").unwrap()));
    let writer = rig.put_key(|key| key.scopes = Some(ScopeSet::parse("read write").unwrap()));
    let ask = rig
        .ask("/weather/write")
        .key(&reader)
        .query("scope=write")
        .header("x-scope", "write")
        .header("x-trigate-scopes", "write");
    assert_eq!(ask.verdict().await, "403 key.scope_missing");
    let refusal = rig.ask("/weather/write").key(&reader).refusal().await;
    assert_eq!(
        refusal.headers()["www-authenticate"],
        "ApiKey realm=\"trigate\", error=\"insufficient_scope\", scope=\"write\""
    );
    assert_eq!(rig.ask("/weather/write").key(&writer).verdict().await, "pass");
    // A key narrows the token beside it.
    let ask = rig.ask("/both").key(&writer).bearer(&rig.token(json!({ "scope": "write orders:read" })));
    let permit = ask.admit().await.unwrap();
    assert_eq!(permit.forwarded_headers(ask.headers(), None)["x-trigate-scopes"], "write");
}

#[tokio::test]
async fn k14_halves_of_two_applications_make_no_whole() {
    let rig = Rig::new();
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/both").key(&rig.key_b).bearer(&token).verdict().await, "403 applications.differ");
    // Also where the route would do with either.
    assert_eq!(rig.ask("/orders").key(&rig.key_b).bearer(&token).verdict().await, "403 applications.differ");
    let rig = Rig::new();
    let token = rig.token(json!({}));
    let certificate = certificate(&rig, "spiffe://acme.test/a");
    let foreign = rig.token(json!({ "client_id": "cli_b", "app": "app_b" }));
    let ask = rig.ask("/either").certificate(certificate.clone()).bearer(&foreign);
    assert_eq!(ask.verdict().await, "403 applications.differ");
    assert_eq!(rig.ask("/either").certificate(certificate).bearer(&token).verdict().await, "pass");
    // What the token claims of its application does not outweigh what is known of its client.
    let rig = Rig::new();
    let liar = rig.token(json!({ "app": "app_b" }));
    assert_eq!(rig.ask("/both").key(&rig.key_b).bearer(&liar).verdict().await, "403 applications.differ");
}

#[tokio::test]
async fn k15_odd_keys_cost_nothing() {
    let rig = Rig::new();
    for text in ["ключ".to_owned(), "🔑".repeat(50), "k".repeat(1 << 20), "tgk_live_".repeat(1 << 16)] {
        assert_eq!(rig.ask("/weather").header("x-api-key", &text).verdict().await, "401 key.malformed");
    }
}

#[tokio::test]
async fn g06_g07_g08_the_road_sees_what_the_upstream_gets() {
    let rig = Rig::new();
    for path in [
        "//weather",
        "/public/%2e%2e/weather",
        "/public/..;/weather",
        "/weather%2f",
        "/public/%5c..%5cweather",
        "/weather%00",
    ] {
        assert_eq!(rig.ask(path).verdict().await, "400 request.path_ambiguous", "{path}");
    }
    assert_eq!(rig.ask("/WEATHER").verdict().await, "404 route.unknown");
    assert_eq!(rig.ask("/weather").query("/public/x").verdict().await, "401 key.missing");
    assert_eq!(rig.ask("/weather%23/public/x").verdict().await, "404 route.unknown");
    assert_eq!(rig.ask("/weather/").verdict().await, "401 key.missing");
    assert_eq!(rig.ask("/public/%61%2Db").permit().await.path().as_str(), "/public/a-b");
}

#[tokio::test]
async fn g01_g02_pretended_identity_reaches_nobody_on_open_routes_either() {
    let rig = Rig::new();
    let ask = rig
        .ask("/public/x")
        .header("X-Trigate-User", "usr_evil")
        .header("X_Trigate_User", "usr_evil")
        .header("connection", "x-trigate-request-id, x-trigate-user");
    let permit = ask.admit().await.unwrap();
    let headers = permit.forwarded_headers(ask.headers(), None);
    let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-trigate-request-id"]);
    assert_eq!(headers["x-trigate-request-id"], permit.request_id().as_str());
}

#[tokio::test]
async fn g11_the_method_is_the_requests_own() {
    let rig = Rig::new();
    let ask = rig.ask("/post").method(Method::POST).key(&rig.key_a).header("x-http-method-override", "DELETE");
    let permit = ask.admit().await.unwrap();
    assert!(!permit.forwarded_headers(ask.headers(), None).contains_key("x-http-method-override"));
    let refusal = rig.ask("/post").method(Method::DELETE).key(&rig.key_a).refusal().await;
    assert_eq!(
        (refusal.status().as_u16(), &refusal.headers()["allow"]),
        (405, &http::HeaderValue::from_static("POST"))
    );
}

#[tokio::test]
async fn g12_no_user_agent_opens_anything() {
    let rig = Rig::new();
    for agent in ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"] {
        assert_eq!(rig.ask("/weather").header("user-agent", agent).verdict().await, "401 key.missing");
    }
}

#[tokio::test]
async fn g22_one_token_is_judged_on_each_route_alone() {
    let rig = Rig::new();
    let token = rig.token(json!({}));
    for _ in 0..2 {
        assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, "pass");
        assert_eq!(rig.ask("/admin").bearer(&token).verdict().await, "403 role.missing");
        assert_eq!(rig.ask("/orders/write").bearer(&token).verdict().await, "403 scope.missing");
    }
    // The cache holds what was verified, not that it was alive.
    rig.clock.advance_s(611);
    assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, "401 token.expired");
}

#[tokio::test]
async fn m10_certificates_in_headers_are_no_certificates() {
    let rig = Rig::new();
    for name in ["client-cert", "x-ssl-client-cert", "x-forwarded-client-cert", "x-client-cert"] {
        let ask = rig.ask("/cert").header(name, "Hash=ab;URI=spiffe://acme.test/a");
        assert_eq!(ask.verdict().await, "401 certificate.missing", "{name}");
    }
}

#[tokio::test]
async fn g24_a_long_method_makes_no_long_record() {
    let rig = Rig::new();
    let method = Method::from_bytes(&[b'A'; 60_000]).unwrap();
    assert_eq!(rig.ask("/weather").method(method).verdict().await, "401 key.missing");
    assert_eq!(rig.last().method.len(), 32);
}

#[tokio::test]
async fn t33_a_url_full_of_tokens_costs_few_signatures() {
    let rig = Rig::new();
    let real = rig.token(json!({}));
    let (head, _) = real.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    let all = |real_at: usize| {
        let tokens = (0..64).map(|n| if n == real_at { real.as_str() } else { forged.as_str() });
        tokens.collect::<Vec<_>>().join("&t=")
    };
    for (at, seen) in [(3, true), (20, false)] {
        assert_eq!(rig.ask("/weather").query(&all(at)).verdict().await, "401 key.missing");
        assert_eq!(rig.last().exposed, seen, "{at}");
    }
}

#[tokio::test]
async fn g21_a_verified_token_does_not_outlive_its_issuers_keys() {
    let rig = Rig::new();
    let token = rig.foreign("https://x.test", &rig.x, json!({ "exp": rig.now_s() + 86_400 }));
    // The second time from the cache: the first brought the keys, and with them a new epoch.
    for _ in 0..2 {
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    }
    rig.clock.advance_s(86_405);
    // Within the leeway, and still in the cache of verified tokens; the keys have met their hard end.
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "503 lookup.unavailable");
}
