//! Keys of other issuers under load and error: one fetch per issuer and cool-down, whatever comes.

use super::rig::*;
use crate::*;
use serde_json::json;
use std::sync::{Arc, atomic::Ordering};
use trigate_core::jose::{Algorithm, SigningKey};

#[tokio::test]
async fn t05_a_minute_of_fresh_kids_causes_one_fetch_per_cool_down() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
    let rig = Rig::new();
    let good = rig.foreign("https://y.test", &rig.y, json!({ "exp": rig.now_s() + 3_600 }));
    let beside = rig.foreign("https://x.test", &rig.x, json!({ "exp": rig.now_s() + 3_600, "client_id": "other" }));
    assert_eq!(rig.ask("/any").bearer(&good).verdict().await, "pass");
    let claims = B64.encode(json!({ "iss": "https://x.test", "sub": "x" }).to_string());
    // Each second stands for a thousand tokens: 20 of them, since what is counted are fetches.
    for second in 0..60 {
        for n in 0..20 {
            let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("fresh-{second}-{n}") }).to_string();
            let token = format!("{}.{claims}.{}", B64.encode(header), B64.encode([7; 64]));
            assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.key_unknown");
        }
        assert_eq!(rig.ask("/any").bearer(&good).verdict().await, "pass", "valid traffic goes on");
        let known = rig.ask("/any").bearer(&beside).verdict().await;
        assert!(!known.starts_with("503"), "the attacked issuer's own tokens too: {known}");
        rig.clock.advance_s(1);
    }
    let fetched = rig.web.fetched.lock().unwrap().len();
    assert!((1..=2).contains(&fetched), "60 s, a cool-down of 30 s: {fetched}");
}

#[tokio::test]
async fn r14_a_hundred_issuers_with_expired_keys_are_fetched_once_each() {
    let mut rig = Rig::new();
    let issuer = |n: usize| format!("https://issuer-{n}.test");
    let rules = Arc::get_mut(&mut rig.rules).unwrap();
    for n in 0..100 {
        let keys = KeySource::JwksUrl(format!("https://issuer-{n}.test/jwks"));
        let mut rule = IssuerRule::new(&issuer(n), keys, vec![AUDIENCE.into()]);
        rule.applications.insert("*".into(), id("app_a"));
        rules.issuers.push(rule);
        rig.web.pages.lock().unwrap().push((format!("https://issuer-{n}.test/jwks"), jwks(&[&rig.x])));
    }
    rig.issuers.load(&rig.rules);
    rig.issuers.refresh_due().await;
    // Past the hard end: nothing is at hand any more.
    rig.clock.advance_s(25 * 3_600);
    rig.web.fetched.lock().unwrap().clear();
    rig.web.slow.store(true, Ordering::SeqCst);
    let tokens: Vec<String> = (0..100).map(|n| rig.foreign(&issuer(n), &rig.x, json!({}))).collect();
    let asks: Vec<_> = (0..1_000).map(|n| rig.ask("/any").bearer(&tokens[n % 100])).collect();
    let admitted = futures_util::future::join_all(asks.iter().map(Ask::admit)).await;
    assert_eq!(admitted.iter().filter(|one| one.is_ok()).count(), 1_000);
    let mut fetched = rig.web.fetched.lock().unwrap().clone();
    assert_eq!(fetched.len(), 100);
    fetched.sort();
    fetched.dedup();
    assert_eq!(fetched.len(), 100, "each once");
}

#[tokio::test]
async fn t29_a_bad_key_is_left_out_and_named_and_the_others_go_on() {
    let rig = Rig::new();
    let weak = json!({ "kty": "oct", "kid": "symmetric", "k": "AAAA" });
    let set = json!({ "keys": [weak, rig.x.public_jwk()] }).to_string();
    rig.web.pages.lock().unwrap()[0].1 = set.into_bytes();
    rig.issuers.refresh_due().await;
    let status = rig.issuers.status().into_iter().find(|status| status.issuer == "https://x.test").unwrap();
    assert_eq!((status.keys, status.left_out.len()), (1, 1));
    assert!(status.left_out[0].starts_with("symmetric: "), "{:?}", status.left_out);
    assert_eq!(rig.ask("/any").bearer(&rig.foreign("https://x.test", &rig.x, json!({}))).verdict().await, "pass");
}

#[tokio::test]
async fn g20_a_bad_answer_leaves_the_last_good_keys() {
    let rig = Rig::new();
    rig.issuers.refresh_due().await;
    let token = |jti: &str| rig.foreign("https://x.test", &rig.x, json!({ "jti": jti, "client_id": "other" }));
    for (n, page) in [
        b"".to_vec(),
        b"{}".to_vec(),
        b"{\"keys\":[]}".to_vec(),
        b"{\"keys\":[],\"keys\":[]}".to_vec(),
        vec![b' '; 2 << 20],
        b"<html>".to_vec(),
    ]
    .into_iter()
    .enumerate()
    {
        rig.web.pages.lock().unwrap()[0].1 = page;
        rig.clock.advance_s(601);
        rig.issuers.refresh_due().await;
        let status = rig.issuers.status().into_iter().find(|status| status.issuer == "https://x.test").unwrap();
        assert!(status.last_failure.is_some() && status.keys == 1, "{status:?}");
        let verdict = rig.ask("/any").bearer(&token(&n.to_string())).verdict().await;
        assert!(!verdict.contains("lookup") && !verdict.contains("key_unknown"), "{verdict}");
    }
}

#[tokio::test]
async fn removed_keys_end_their_tokens_with_the_next_fetch() {
    let rig = Rig::new();
    let token = rig.foreign("https://x.test", &rig.x, json!({ "exp": rig.now_s() + 3_600 }));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    let next = SigningKey::generate(Algorithm::ES256, "k2").unwrap();
    rig.web.pages.lock().unwrap()[0].1 = jwks(&[&next]);
    // The bound: the set is fetched again after ten minutes, needed or not.
    rig.clock.advance_s(600);
    rig.issuers.refresh_due().await;
    assert_eq!(
        rig.ask("/any").bearer(&token).verdict().await,
        "401 token.key_unknown",
        "though it was verified before"
    );
}

#[tokio::test]
async fn t16_t06_a_statement_is_verified_by_its_own_issuers_keys() {
    use trigate_core::{jose::Compact, reason::Reason};
    let rig = Rig::new();
    let text = rig.y.sign_jws("secevent+jwt", &json!({ "iss": "https://y.test" })).unwrap();
    let compact = Compact::parse(&text, 16_384).unwrap();
    assert!(rig.issuers.verify_statement("https://y.test", &compact).await.is_ok());
    // The same key name, another issuer's key.
    let judged = rig.issuers.verify_statement("https://x.test", &compact).await;
    assert_eq!(judged.unwrap_err(), Reason::TokenSignature);
    assert_eq!(rig.issuers.verify_statement("https://z.test", &compact).await.unwrap_err(), Reason::TokenIssuer);
}

fn epoch(rig: &Rig) -> u64 {
    rig.issuers.epoch()
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_issuers_that_stay_and_forgets_the_others() {
    let mut rig = Rig::new();
    rig.issuers.refresh_due().await;
    let keys = |rig: &Rig, issuer: &str| rig.issuers.keys_at_hand(issuer).map(|keys| keys.len());
    let before = epoch(&rig);
    rig.issuers.load(&rig.rules);
    assert_eq!((keys(&rig, "https://x.test"), keys(&rig, "https://y.test")), (Some(1), Some(1)));
    assert!(epoch(&rig) > before, "what was verified under the old rules is verified anew");
    for rule in &mut Arc::get_mut(&mut rig.rules).unwrap().issuers {
        if rule.issuer == "https://x.test" {
            rule.keys = KeySource::JwksUrl("https://x.test/other".into());
        }
    }
    rig.issuers.load(&rig.rules);
    assert_eq!((keys(&rig, "https://x.test"), keys(&rig, "https://y.test")), (None, Some(1)));
}

#[tokio::test]
async fn keys_are_fetched_every_ten_minutes_and_only_others_part_what_was_verified() {
    let rig = Rig::new();
    let fetched = || rig.web.fetched.lock().unwrap().len();
    let mut counts = Vec::new();
    for advance_s in [0, 300, 299, 1, 600] {
        rig.clock.advance_s(advance_s);
        rig.issuers.refresh_due().await;
        counts.push(fetched());
    }
    assert_eq!(counts, [1, 1, 1, 2, 3]);
    let before = epoch(&rig);
    rig.issuers.put_file("https://y.test", &jwks(&[&rig.y])).unwrap();
    assert_eq!(epoch(&rig), before, "the same keys");
    let other = SigningKey::generate(Algorithm::ES256, "k1").unwrap();
    rig.issuers.put_file("https://y.test", &jwks(&[&other])).unwrap();
    assert!(epoch(&rig) > before);
}

#[tokio::test]
async fn t07_marks_tell_access_tokens_from_others_where_typ_does_not() {
    let mut rig = Rig::new();
    for rule in &mut Arc::get_mut(&mut rig.rules).unwrap().issuers {
        if rule.issuer == "https://y.test" {
            rule.demanded = vec![("token_use".into(), "access".into()), ("v".into(), "2".into())];
            rule.marks_of_others = vec!["nonce".into(), "at_hash".into()];
        }
    }
    for (claims, verdict) in [
        (json!({ "token_use": "access", "v": "2" }), "pass"),
        (json!({ "token_use": "id", "v": "2" }), "401 token.type"),
        (json!({ "token_use": ["access"], "v": "2" }), "401 token.type"),
        (json!({ "token_use": "access" }), "401 token.type"),
        (json!({}), "401 token.type"),
        (json!({ "token_use": "access", "v": "2", "at_hash": "x" }), "401 token.type"),
        (json!({ "token_use": "access", "v": "2", "nonce": false }), "401 token.type"),
    ] {
        let token = rig.foreign("https://y.test", &rig.y, claims.clone());
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, verdict, "{claims}");
    }
}
