//! The first request after a change is judged by it: T35, revocation of anything, keys coming and going.

use super::rig::*;
use serde_json::json;
use trigate_core::{
    application::State,
    change::{ClientFace, PublicKey, Target, What},
    id::TokenId,
    oauth::ScopeSet,
    port::Clock,
};

#[tokio::test]
async fn t35_what_was_taken_away_is_gone_from_tokens_minted_before() {
    let rig = Rig::new();
    let token = rig.token(json!({ "roles": ["admin", "customer"], "scope": "orders:read orders:write" }));
    assert_eq!(rig.ask("/admin").bearer(&token).verdict().await, "pass");
    assert_eq!(rig.ask("/orders/write").bearer(&token).verdict().await, "pass");
    let keep_until = rig.clock.now().plus_seconds(3_600);
    rig.change(What::RolesNarrowed { user: id(ALICE), roles: vec!["admin".into()], keep_until });
    assert_eq!(rig.ask("/admin").bearer(&token).verdict().await, "403 role.missing");
    assert_eq!(rig.last().facts.roles, ["customer"]);
    rig.change(What::GrantNarrowed {
        grant: id("grt_1"),
        scopes: ScopeSet::parse("orders:write").unwrap(),
        keep_until,
    });
    assert_eq!(rig.ask("/orders/write").bearer(&token).verdict().await, "403 scope.missing");
    assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, "pass");
    let scopes = ScopeSet::parse("orders:read").unwrap();
    rig.change(What::ClientScopesNarrowed { client: id("cli_a"), scopes, keep_until });
    assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, "403 scope.missing");
    // The role was given back and the person logged in again.
    let fresh = rig.token(json!({ "roles": ["admin"] }));
    assert_eq!(rig.ask("/admin").bearer(&fresh).verdict().await, "pass");
    rig.change(What::UserState { user: id(ALICE), state: State::Disabled });
    assert_eq!(rig.ask("/admin").bearer(&fresh).verdict().await, "401 user.disabled");
    rig.change(What::UserState { user: id(ALICE), state: State::Enabled });
    assert_eq!(rig.ask("/admin").bearer(&fresh).verdict().await, "pass");
}

#[tokio::test]
async fn revocation_of_anything_hits_the_next_request_and_not_the_next_login() {
    let targets = |jti: TokenId| {
        [
            (Target::Token { id: jti }, "401 token.revoked"),
            (Target::Session { id: id("ses_1"), issuer: None }, "401 session.revoked"),
            (Target::Grant { id: id("grt_1") }, "401 grant.revoked"),
            (Target::User { id: id(ALICE), issuer: None }, "401 user.revoked"),
            (Target::Client { id: id("cli_a"), issuer: None }, "401 client.revoked"),
            (Target::Application { id: id("app_a") }, "401 application.revoked"),
        ]
    };
    for index in 0..6 {
        let rig = Rig::new();
        let jti = TokenId::from_bits(77);
        let token = rig.token(json!({ "jti": jti.to_string() }));
        assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, "pass");
        let (target, expected) = targets(jti)[index].clone();
        rig.revoke(target);
        assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, expected);
        assert_eq!(rig.last().facts.user, Some(id(ALICE)), "the record says whose it was");
        // In the same instant of the clock.
        assert_eq!(rig.ask("/orders").bearer(&rig.token(json!({}))).verdict().await, "pass", "{expected}");
    }
}

#[tokio::test]
async fn a_revoked_application_takes_its_keys_with_it_and_new_ones_work() {
    let rig = Rig::new();
    rig.revoke(Target::Application { id: id("app_a") });
    assert_eq!(rig.ask("/weather").key(&rig.key_a).verdict().await, "401 application.revoked");
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "pass");
    let fresh = rig.put_key(|_| {});
    assert_eq!(rig.ask("/weather").key(&fresh).verdict().await, "pass");
    rig.revoke(Target::Key { id: fresh.id().clone() });
    assert_eq!(rig.ask("/weather").key(&fresh).verdict().await, "401 key.revoked");
    assert_eq!(rig.last().facts.key.as_ref(), Some(fresh.id()));
}

#[tokio::test]
async fn certificates_are_revoked_by_fingerprint() {
    let rig = Rig::new();
    let certificate = certificate(&rig, "spiffe://acme.test/warehouse");
    assert_eq!(rig.ask("/cert").certificate(certificate.clone()).verdict().await, "pass");
    rig.revoke(Target::Certificate { fingerprint: certificate.fingerprint.clone() });
    assert_eq!(rig.ask("/cert").certificate(certificate).verdict().await, "401 certificate.revoked");
}

#[tokio::test]
async fn a_signing_key_that_goes_takes_verified_tokens_with_it() {
    let rig = Rig::new();
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    let publish = |published_until, revoked| What::SigningKey {
        record: PublicKey { kid: "key-2026-11".into(), jwk: rig.signer.public_jwk(), published_until, revoked },
    };
    rig.change(publish(Some(rig.clock.now().plus_seconds(60)), false));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    rig.clock.advance_s(60);
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.key_unknown");
    rig.change(publish(None, true));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 signing_key.revoked");
    rig.change(publish(None, false));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    rig.revoke(Target::SigningKey { kid: "key-2026-11".into() });
    // Whoever holds the stolen key writes what position they like.
    let forged = rig.token(json!({ "pos": 9_999_999 }));
    assert_eq!(rig.ask("/any").bearer(&forged).verdict().await, "401 signing_key.revoked");
}

#[tokio::test]
async fn a_disabled_client_or_application_is_refused_until_it_is_enabled() {
    let rig = Rig::new();
    let (user, service) = (rig.token(json!({})), rig.service_token());
    let client = |state| What::Client {
        record: ClientFace { id: id("cli_a"), application: id("app_a"), name: "x".into(), state },
    };
    rig.change(client(State::Disabled));
    for token in [&user, &service] {
        assert_eq!(rig.ask("/any").bearer(token).verdict().await, "401 client.disabled");
    }
    rig.change(client(State::Enabled));
    assert_eq!(rig.ask("/any").bearer(&user).verdict().await, "pass");
    let app = |state| What::Application {
        record: trigate_core::application::Application { state, ..application("app_a", "pro") },
    };
    rig.change(app(State::Disabled));
    assert_eq!(rig.ask("/any").bearer(&user).verdict().await, "401 application.disabled");
    assert_eq!(rig.ask("/weather").key(&rig.key_a).verdict().await, "401 application.disabled");
    rig.change(app(State::Enabled));
    assert_eq!(rig.ask("/any").bearer(&user).verdict().await, "pass");
}

#[tokio::test]
async fn a_plan_that_is_reduced_counts_at_once() {
    let rig = Rig::new();
    assert_eq!(rig.ask("/weather").key(&rig.key_a).permit().await.limits()[0].name, "pro");
    rig.change(What::Application { record: application("app_a", "free") });
    let permit = rig.ask("/weather").key(&rig.key_a).permit().await;
    assert_eq!((permit.limits()[0].name.as_str(), permit.limits()[0].quota), ("free", 2));
}

#[tokio::test]
async fn a_key_revoked_while_a_request_waits_is_refused() {
    use futures_util::FutureExt;
    let rig = Rig::new();
    rig.web.slow.store(true, std::sync::atomic::Ordering::SeqCst);
    let ask = rig.ask("/both").key(&rig.key_b).bearer(&rig.foreign("https://x.test", &rig.x, json!({})));
    let mut waiting = Box::pin(ask.admit());
    assert!((&mut waiting).now_or_never().is_none(), "it waits for the issuer's keys");
    rig.revoke(Target::Key { id: rig.key_b.id().clone() });
    assert_eq!(waiting.await.unwrap_err().reason().code(), "key.revoked");
}

#[tokio::test]
async fn foreign_users_are_revoked_by_issuer() {
    let rig = Rig::new();
    let token = rig.foreign("https://y.test", &rig.y, json!({}));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    rig.revoke(Target::User { id: id("bob"), issuer: Some("https://x.test".into()) });
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    rig.revoke(Target::User { id: id("bob"), issuer: Some("https://y.test".into()) });
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 user.revoked");
    // The issuer's clock may be ahead by the leeway of its rule, 10 s.
    rig.clock.advance_s(11);
    let later = rig.foreign("https://y.test", &rig.y, json!({ "jti": "j2" }));
    assert_eq!(rig.ask("/any").bearer(&later).verdict().await, "pass");
    rig.revoke(Target::Token { id: TokenId::foreign("https://y.test", "j2") });
    assert_eq!(rig.ask("/any").bearer(&later).verdict().await, "401 token.revoked");
}

#[tokio::test]
async fn t34_foreign_tokens_end_by_jti_by_hash_and_by_session() {
    let rig = Rig::new();
    let y = "https://y.test";
    let token = |jti: &str, sid: &str| rig.foreign(y, &rig.y, json!({ "jti": jti, "sid": sid }));
    let (one, two, three) = (token("j1", "s1"), token("j2", "s2"), token("j3", "s3"));
    for token in [&one, &two, &three] {
        assert_eq!(rig.ask("/any").bearer(token).verdict().await, "pass");
    }
    // Whoever holds only the text can end it too.
    rig.revoke(Target::Token { id: TokenId::of_text(&one) });
    rig.revoke(Target::Session { id: id("s2"), issuer: Some(y.into()) });
    rig.revoke(Target::Session { id: id("s3"), issuer: Some("https://x.test".into()) });
    rig.revoke(Target::Session { id: id("s3"), issuer: None });
    assert_eq!(rig.ask("/any").bearer(&one).verdict().await, "401 token.revoked");
    assert_eq!(rig.ask("/any").bearer(&two).verdict().await, "401 session.revoked");
    assert_eq!(rig.ask("/any").bearer(&three).verdict().await, "pass", "a session of another issuer");
    let mine = rig.token(json!({ "sid": "s2" }));
    assert_eq!(rig.ask("/any").bearer(&mine).verdict().await, "pass");
}

#[tokio::test]
async fn a_revoked_application_takes_its_machines_with_it() {
    let rig = Rig::new();
    let old = certificate(&rig, "spiffe://acme.test/warehouse");
    assert_eq!(rig.ask("/cert").certificate(old.clone()).verdict().await, "pass");
    rig.revoke(Target::Application { id: id("app_a") });
    assert_eq!(rig.ask("/cert").certificate(old.clone()).verdict().await, "401 application.revoked");
    // One that was made afterwards is another credential.
    rig.clock.advance_s(120);
    let new = certificate(&rig, "spiffe://acme.test/warehouse");
    assert_eq!(rig.ask("/cert").certificate(new).verdict().await, "pass");
    assert_eq!(rig.ask("/cert").certificate(old).verdict().await, "401 application.revoked");
}

#[tokio::test]
async fn a_plan_that_no_file_names_is_the_strictest_and_not_none() {
    let rig = Rig::new();
    rig.change(What::Application { record: application("app_a", "taken-out-of-the-file") });
    for verdict in ["pass", "pass", "429 application.rate_limited"] {
        assert_eq!(rig.ask("/weather").key(&rig.key_a).verdict().await, verdict);
    }
}

#[tokio::test]
async fn g14_what_was_allowed_stands_until_what_it_stood_on_goes() {
    type Change = fn(&Rig);
    let changes: [(&str, Change); 9] = [
        ("token.expired", |rig| rig.clock.advance_s(700)),
        ("user.revoked", |rig| rig.revoke(Target::User { id: id(ALICE), issuer: None })),
        ("session.revoked", |rig| rig.revoke(Target::Session { id: id("ses_1"), issuer: None })),
        ("grant.revoked", |rig| rig.revoke(Target::Grant { id: id("grt_1") })),
        ("client.revoked", |rig| rig.revoke(Target::Client { id: id("cli_a"), issuer: None })),
        ("application.revoked", |rig| rig.revoke(Target::Application { id: id("app_a") })),
        ("signing_key.revoked", |rig| rig.revoke(Target::SigningKey { kid: "key-2026-11".into() })),
        ("user.disabled", |rig| rig.change(What::UserState { user: id(ALICE), state: State::Disabled })),
        ("gate.stale", |rig| rig.known.drop_lease()),
    ];
    for (reason, change) in changes {
        let rig = Rig::new();
        let token = rig.token(json!({ "roles": ["admin"] }));
        let permit = rig.ask("/admin").bearer(&token).permit().await;
        let standing = permit.standing();
        assert_eq!(standing.check(&rig.gates), Ok(()), "{reason}");
        let (records, position) = (rig.records(), standing.position());
        rig.revoke(Target::User { id: id("usr_other"), issuer: None });
        assert!(standing.check(&rig.gates).is_ok() && rig.known.position() > position);
        change(&rig);
        assert_eq!(standing.check(&rig.gates).map_err(|reason| reason.code()), Err(reason));
        assert_eq!(rig.records(), records, "asking leaves no record");
    }
}

#[tokio::test]
async fn g14_t35_a_narrowing_ends_what_needed_it_and_nothing_else() {
    let rig = Rig::new();
    let token = rig.token(json!({ "roles": ["admin", "customer"] }));
    let admin = rig.ask("/admin").bearer(&token).permit().await.standing();
    let orders = rig.ask("/orders").bearer(&token).permit().await.standing();
    let keep_until = rig.clock.now().plus_seconds(3_600);
    rig.change(What::RolesNarrowed { user: id(ALICE), roles: vec!["admin".into()], keep_until });
    assert_eq!(admin.check(&rig.gates).map_err(|reason| reason.code()), Err("role.missing"));
    assert_eq!(orders.check(&rig.gates), Ok(()));
}

#[tokio::test]
async fn g14_keys_and_certificates_end_streams_too() {
    let rig = Rig::new();
    let key = rig.put_key(|record| record.expires_at = Some(rig.clock.now().plus_seconds(60)));
    let standing = rig.ask("/weather").key(&key).permit().await.standing();
    assert_eq!(standing.ends_at(), Some(rig.clock.now().plus_seconds(60)));
    assert_eq!(standing.check(&rig.gates), Ok(()));
    rig.clock.advance_s(61);
    assert_eq!(standing.check(&rig.gates).map_err(|reason| reason.code()), Err("key.expired"));
}
