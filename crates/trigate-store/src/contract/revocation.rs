//! What is revoked is dead, with all that rests on it, and stays so.

use super::{World, world::*};
use trigate_core::{
    application::State,
    change::{Target, What},
    client::Client,
    id::{AppId, ClientId, GrantId, KeyId, SessionId, TokenId, UserId},
    identity::{Identity, TokenFacts},
    port::{CodeOutcome, CodeRefusal, RefreshOutcome, RefreshRefusal, StatementId},
};

pub async fn what_rests_on_a_revoked_target_is_dead(w: World) {
    let app = w.app("a").await;
    for kind in ["token", "session", "grant", "user", "client", "application"] {
        let client = w.client(&app.id).await;
        let user = w.user(&format!("{kind}@x")).await;
        let session = w.session(&user.id).await;
        let code = w.code(&client, &session).await;
        let (issuance, refresh) = w.line(&client, &session).await;
        let token = w.token(&issuance);
        assert!(w.judge(&token).await.is_some());
        let target = match kind {
            "token" => Target::Token { id: token.token },
            "session" => Target::Session { id: session.id.clone(), issuer: None },
            "grant" => Target::Grant { id: issuance.grant.id.clone() },
            "user" => Target::User { id: user.id.clone(), issuer: None },
            "client" => Target::Client { id: client.id.clone(), issuer: None },
            _ => Target::Application { id: app.id.clone() },
        };
        for _ in 0..2 {
            // Revoking what is revoked succeeds again.
            let revoked = w.tenant.revoke(w.act("revoke"), target.clone(), w.later()).await.unwrap();
            assert_eq!(revoked.position, w.store.system().head().await.unwrap());
        }
        assert!(w.judge(&token).await.is_none(), "{kind}");
        let announced = w.changes().await.into_iter().rev().find_map(|change| match change.what {
            What::Revoked { target, .. } => Some(target),
            _ => None,
        });
        assert_eq!(announced, Some(target), "{kind}");
        let refreshed = w.rotate(w.rotation(&refresh, &client.id)).await;
        if kind == "token" {
            assert!(matches!(refreshed, RefreshOutcome::Rotated(_)));
            continue;
        }
        assert_eq!(refreshed, RefreshOutcome::Refused(RefreshRefusal::GrantRevoked), "{kind}");
        assert!(w.tenant.find_grant(&issuance.grant.id).await.unwrap().unwrap().revoked, "{kind}");
        if kind != "grant" {
            let redeemed = w.redeem(w.presentation(&code, &client.id)).await;
            assert_eq!(redeemed, CodeOutcome::Refused(CodeRefusal::GrantRevoked), "{kind}");
        }
        let alive = w.tenant.find_session(&session.cookie, w.now(), 1800).await.unwrap().is_some();
        assert_eq!(alive, !matches!(kind, "session" | "user"), "{kind}");
    }
}

/// Certificates of other authorities are named by what is known of them; the feed and its snapshot carry each as it is.
pub async fn foreign_certificates_are_announced(w: World) {
    let targets = [
        Target::CertificateSerial { issuer: "CN=Acme CA, O=Acme".into(), serial: "2a01".into() },
        Target::CertificateKey { spki: "ab".repeat(32) },
        Target::SpiffeId { id: "spiffe://acme.test/billing".into() },
    ];
    for target in &targets {
        w.tenant.revoke(w.act("cert.revoke"), target.clone(), w.later()).await.unwrap().gives_only();
    }
    let announced: Vec<Target> = w
        .changes()
        .await
        .into_iter()
        .filter_map(|change| match change.what {
            What::Revoked { target, .. } => Some(target),
            _ => None,
        })
        .collect();
    assert_eq!(announced, targets);
}

pub async fn a_login_after_revoking_the_user_works(w: World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let old = w.session(&user.id).await;
    let targets = [
        Target::User { id: user.id.clone(), issuer: None },
        Target::Client { id: client.id.clone(), issuer: None },
        Target::Application { id: app.id.clone() },
    ];
    for target in targets {
        w.tenant.revoke(w.act("revoke"), target, w.later()).await.unwrap().gives_only();
        // The clock stands still: positions alone tell before from after.
        let session = w.session(&user.id).await;
        let (issuance, _) = w.line(&client, &session).await;
        assert!(w.judge(&w.token(&issuance)).await.is_some());
    }
    assert!(w.tenant.find_session(&old.cookie, w.now(), 1800).await.unwrap().is_none());
    w.tenant.set_password(w.act("password"), &user.id, "new").await.unwrap().gives_only();
    assert!(w.tenant.list_sessions(&user.id, w.now()).await.unwrap().is_empty());
}

pub async fn narrowed_tokens_stay_narrowed(w: World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let (issuance, refresh) = w.line(&client, &session).await;
    let old = w.token(&issuance);
    w.tenant.remove_role(w.act("x"), &user.id, "writer").await.unwrap().gives_only();
    assert_eq!(w.judge(&old).await.unwrap().roles, ["reader"]);
    w.tenant.add_role(w.act("x"), &user.id, "writer").await.unwrap().gives_only();
    assert_eq!(w.judge(&old).await.unwrap().roles, ["reader"], "given again is not given to the old token");
    let less = Client { scopes: scopes("openid orders:read"), roles: vec![], ..client.clone() };
    let service = service_token(&w, &client).await;
    w.tenant.change_client(w.act("x"), less).await.unwrap().gives_only();
    assert_eq!(w.judge(&old).await.unwrap().scopes, scopes("openid orders:read"));
    assert!(w.judge(&service).await.unwrap().roles.is_empty());
    let RefreshOutcome::Rotated(now) = w.rotate(w.rotation(&refresh, &client.id)).await else { panic!("rotates") };
    assert_eq!(now.scopes, scopes("openid orders:read"), "the client may have no more");
    w.tenant.change_client(w.act("x"), client.clone()).await.unwrap().gives_only();
    assert_eq!(w.judge(&old).await.unwrap().scopes, scopes("openid orders:read"));
    assert!(w.judge(&service).await.unwrap().roles.is_empty());
    let (issuance, _) = w.line(&client, &session).await;
    let new = w.judge(&w.token(&issuance)).await.unwrap();
    assert_eq!((new.roles.len(), new.scopes.len()), (2, 3), "the new token has all");
    let kinds: Vec<_> = w.changes().await.iter().map(|change| std::mem::discriminant(&change.what)).collect();
    let later = w.later();
    for what in [
        What::RolesNarrowed { user: user.id, roles: vec![], keep_until: later },
        What::ClientScopesNarrowed { client: client.id.clone(), scopes: scopes(""), keep_until: later },
        What::ClientRolesNarrowed { client: client.id, roles: vec![], keep_until: later },
    ] {
        assert!(kinds.contains(&std::mem::discriminant(&what)));
    }
}

async fn service_token(w: &World, client: &Client) -> TokenFacts {
    let minted = w.tenant.record_mint(w.act("token.mint"), &client.id).await.unwrap();
    TokenFacts {
        issuer: "https://issuer.example".into(),
        subject: client.id.to_string(),
        client: Some(client.id.clone()),
        application: Some(client.application.clone()),
        identity: Identity::Service { client: client.id.clone() },
        token: TokenId::mint(w.rng()),
        session: None,
        grant: None,
        audiences: vec![],
        scopes: client.scopes.clone(),
        roles: client.roles.clone(),
        issued_at: None,
        not_before: None,
        expires_at: w.now().plus_seconds(600),
        authenticated_at: None,
        acr: None,
        position: Some(minted.position),
        actor: None,
        kid: None,
        confirmation: None,
    }
}

pub async fn a_revoked_key_stays_revoked(w: World) {
    let app = w.app("a").await;
    let key = w.key(&app.id).await;
    let target = Target::Key { id: key.id.clone() };
    w.tenant.revoke(w.act("x"), target.clone(), w.now()).await.unwrap().gives_only();
    let found = w.tenant.find_key(&key.id).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(w.now()));
    assert!(is_conflict(w.tenant.set_key_state(w.act("x"), &key.id, State::Enabled).await));
    assert!(is_conflict(w.tenant.rotate_key(w.act("x"), &key.id, w.key_of(&app.id), w.later()).await));
    w.clock.advance_s(1_000_000_000);
    let snapshot = w.store.system().snapshot(&trigate_core::id::TenantId::default_tenant(), w.now()).await.unwrap();
    assert_eq!(snapshot.keys, vec![found]);
    assert_eq!(snapshot.standing.len(), 1, "a key may live for ever, and so does its revocation");
}

pub async fn a_statement_is_taken_once(w: World) {
    let statement =
        |party: &str, id: &str| StatementId { party: party.to_owned(), id: id.to_owned(), remember_until: w.later() };
    let issuer = Some("https://other.example".to_owned());
    let targets = || {
        vec![
            Target::Session { id: SessionId::parse("s1").unwrap(), issuer: issuer.clone() },
            Target::User { id: UserId::parse("u1").unwrap(), issuer: issuer.clone() },
        ]
    };
    let take = async |party: &str, id: &str, targets: Vec<Target>| {
        w.tenant.revoke_once(w.act("signal.receive"), statement(party, id), targets, w.later()).await
    };
    assert_eq!(take("logout x", "1", targets()).await.unwrap().position.0, 2, "both targets");
    assert!(is_conflict(take("logout x", "1", targets()).await), "taken before");
    assert_eq!(w.changes().await.len(), 2, "nothing happened");
    take("signal x", "1", targets()).await.unwrap().gives_only();
    take("logout x", "2", vec![]).await.unwrap().gives_only();
    // One that fails is not remembered: it may come again.
    let unknown = vec![targets().remove(0), Target::Key { id: KeyId::mint(w.rng()) }];
    assert!(is_missing(take("logout x", "3", unknown).await));
    assert_eq!(w.changes().await.len(), 4);
    take("logout x", "3", targets()).await.unwrap().gives_only();
    let snapshot = w.store.system().snapshot(&trigate_core::id::TenantId::default_tenant(), w.now()).await.unwrap();
    assert_eq!(snapshot.standing.len(), 6, "foreign rules stand in the snapshot");
}

pub async fn what_is_unknown_is_missing(w: World) {
    let rng = w.rng();
    let targets = [
        Target::Session { id: SessionId::mint(rng), issuer: None },
        Target::Grant { id: GrantId::mint(rng) },
        Target::User { id: UserId::mint(rng), issuer: None },
        Target::Client { id: ClientId::mint(rng), issuer: None },
        Target::Application { id: AppId::mint(rng) },
        Target::Key { id: KeyId::mint(rng) },
        Target::SigningKey { kid: "key-0".to_owned() },
    ];
    for target in targets {
        assert!(is_missing(w.tenant.revoke(w.act("x"), target, w.later()).await));
    }
    assert!(w.changes().await.is_empty(), "nothing happened");
    let foreign = [
        Target::User { id: UserId::mint(rng), issuer: Some("https://other.example".to_owned()) },
        Target::Client { id: ClientId::mint(rng), issuer: Some("https://other.example".to_owned()) },
        Target::Session { id: SessionId::mint(rng), issuer: Some("https://other.example".to_owned()) },
        Target::Certificate { fingerprint: "00".repeat(32) },
        Target::Token { id: TokenId::foreign("https://other.example", "1") },
    ];
    for (target, position) in foreign.into_iter().zip(1..) {
        assert_eq!(w.tenant.revoke(w.act("x"), target, w.later()).await.unwrap().position.0, position);
    }
}
