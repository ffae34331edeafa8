//! Signing keys: birth, rotation with pre-publication, retirement, revocation.

use crate::support::*;
use serde_json::{Map, Value, json};
use trigate_core::{
    Actor,
    change::Target,
    jose::{Compact, Jwks},
};
use trigate_issuer::{AssertionRequest, Issuer, StartError};

async fn published(stage: &Stage) -> Vec<String> {
    let set = stage.browser().get("/.well-known/jwks.json").await.json();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn kid(stage: &Stage) -> String {
    let tokens = stage.call("/oauth/token", "service", &[("grant_type", "client_credentials")]).await.json();
    Compact::parse(tokens["access_token"].as_str().unwrap(), 16_384).unwrap().kid().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_after_it_signed() {
    let stage = Stage::start().await;
    assert_eq!(published(&stage).await, ["key-2026-11", "key-2026-11-2"]);
    let tokens = stage.tokens("poster", &[]).await;
    let new = stage.issuer.rotate_keys(Actor::Operator { name: "op".into() }).await.unwrap();
    assert_eq!(new, ["key-2026-11-3", "key-2026-11-4"]);
    assert_eq!(published(&stage).await.len(), 4);
    assert_eq!(kid(&stage).await, "key-2026-11", "not yet");
    stage.clock.advance_s(3599);
    assert_eq!(kid(&stage).await, "key-2026-11");
    stage.clock.advance_s(1);
    assert_eq!(kid(&stage).await, "key-2026-11-3");
    assert_eq!(published(&stage).await.len(), 4, "tokens of the old key still live");
    stage.clock.advance_s(3600 + 120);
    assert_eq!(published(&stage).await, ["key-2026-11-3", "key-2026-11-4"]);
    assert!(!stage.is_active(tokens["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_key_that_is_old_is_replaced_by_the_task() {
    let stage = Stage::start().await;
    stage.issuer.keys_due().await.unwrap();
    assert_eq!(published(&stage).await.len(), 2);
    stage.clock.advance_s(90 * 86_400);
    stage.issuer.keys_due().await.unwrap();
    stage.issuer.keys_due().await.unwrap();
    assert_eq!(published(&stage).await, ["key-2026-11", "key-2026-11-2", "key-2027-02", "key-2027-02-2"]);
}

#[tokio::test]
async fn a_revoked_key_signs_and_verifies_nothing_and_is_replaced_at_once() {
    let stage = Stage::start().await;
    let tokens = stage.tokens("poster", &[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    let target = Target::SigningKey { kid: "key-2026-11".into() };
    let keep = trigate_core::Timestamp::from_seconds(1 << 40);
    stage.tenant.revoke(stage.act("keys.revoke"), target, keep).await.unwrap().gives_only();
    assert!(!stage.is_active(access).await, "the store knows before the issuer's memory does");
    stage.issuer.keys_due().await.unwrap();
    assert_eq!(published(&stage).await, ["key-2026-11-2", "key-2026-11-3"]);
    assert_eq!(kid(&stage).await, "key-2026-11-3");
    assert!(!stage.is_active(access).await);
}

#[tokio::test]
async fn an_assertion_to_an_upstream_verifies_from_the_published_set() {
    let stage = Stage::start().await;
    let claims: Map<String, Value> = json!({ "roles": ["customer"] }).as_object().unwrap().clone();
    let request = || AssertionRequest { audience: "sample", subject: "usr_1", claims: claims.clone() };
    let text = stage.issuer.mint_assertion(request()).unwrap();
    let (keys, _) = Jwks::parse(stage.browser().get("/.well-known/jwks.json").await.body.as_bytes()).unwrap();
    let compact = Compact::parse(&text, 16_384).unwrap();
    assert!(compact.typ_is("trigate-assertion+jwt"));
    let payload = compact.verify(keys.find(compact.kid()).unwrap()).unwrap();
    assert_eq!((&payload.object()["aud"], &payload.object()["roles"]), (&json!("sample"), &json!(["customer"])));
    // It is no access token.
    assert!(!stage.is_active(&text).await);
    let forged = AssertionRequest { claims: json!({ "sub": "usr_2" }).as_object().unwrap().clone(), ..request() };
    assert!(stage.issuer.mint_assertion(forged).is_err(), "a registered claim cannot be written over");
}

#[tokio::test]
async fn a_second_process_has_the_same_keys_and_another_master_key_opens_none() {
    let stage = Stage::start().await;
    let mut browser = stage.browser();
    let page = browser.follow(&stage.authorize_path("poster", &[])).await;
    let second = Issuer::start(stage.parts([7; 32])).await.unwrap();
    assert_eq!(second.checksum_key().bytes(), stage.issuer.checksum_key().bytes());
    // A form that one process showed is taken by the other, and so is the session.
    let mut elsewhere = Browser { router: trigate_issuer::router(second), jar: browser.jar.clone(), ..stage.browser() };
    let answer = elsewhere.submit_login(&page, "alice@example.com", PASSWORD).await;
    let done = elsewhere.follow(&answer.location().unwrap()).await;
    let tokens = stage.redeem("poster", &done.callback()["code"], &[]).await.json();
    assert!(stage.is_active(tokens["access_token"].as_str().unwrap()).await);
    assert_eq!(published(&stage).await.len(), 2, "no process makes keys that are there");
    let wrong = Issuer::start(stage.parts([8; 32])).await;
    assert!(matches!(wrong, Err(StartError::Sealed(_))));
}
