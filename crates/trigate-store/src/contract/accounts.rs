//! Applications, keys, clients, users, sessions, consents, keys: what is written is read, and nothing else.

use super::{World, world::*};
use trigate_core::{
    application::State,
    change::Target,
    client::Client,
    credential::Digest,
    id::{AppId, SessionId, TenantId},
    jose::Algorithm,
    key::{CertificateRecord, SigningKeyRecord},
    port::{AttemptRules, AttemptVerdict, NewApplication, NewUser},
};

pub async fn applications_and_keys_keep_what_they_were_given(w: World) {
    let app = w.app("Acme Weather App").await;
    assert_eq!(w.tenant.find_application(&app.id).await.unwrap().unwrap(), app);
    assert_eq!(w.tenant.find_application_by_name("Acme Weather App").await.unwrap().unwrap(), app);
    let changed = w.tenant.change_plan(w.act("app.plan"), &app.id, "pro").await.unwrap().gives_only();
    assert_eq!(changed.plan, "pro");
    w.tenant.set_application_state(w.act("app.disable"), &app.id, State::Disabled).await.unwrap().gives_only();
    let found = w.tenant.list_applications().await.unwrap();
    assert_eq!((found.len(), found[0].state, found[0].plan.as_str()), (1, State::Disabled, "pro"));

    let key = w.key(&app.id).await;
    assert!(key.born.0 > 0);
    assert_eq!(w.tenant.find_key(&key.id).await.unwrap().unwrap(), key);
    let until = w.now().plus_seconds(3600);
    let next = w.tenant.rotate_key(w.act("key.rotate"), &key.id, w.key_of(&app.id), until).await.unwrap().gives_only();
    assert_eq!(w.tenant.find_key(&key.id).await.unwrap().unwrap().expires_at, Some(until));
    let exposed = w.tenant.mark_key_exposed(w.act("key.exposed"), &next.id, w.now()).await.unwrap().gives_only();
    assert_eq!(exposed.exposed_at, Some(w.now()));
    let off = w.tenant.set_key_state(w.act("key.disable"), &next.id, State::Disabled).await.unwrap().gives_only();
    assert_eq!(off.state, State::Disabled);
    assert_eq!(w.tenant.list_keys(Some(&app.id)).await.unwrap().len(), 2);
    assert_eq!(w.tenant.list_keys(Some(&AppId::mint(w.rng()))).await.unwrap(), vec![]);
    assert_eq!(w.tenant.list_keys(None).await.unwrap().len(), 2);
}

pub async fn a_list_of_keys_is_imported_once(w: World) {
    let app = w.app("a").await;
    let (one, two) = (w.key_of(&app.id), w.key_of(&app.id));
    let twice = trigate_core::application::KeyRecord { digest: two.digest, ..w.key_of(&app.id) };
    let list = [one.clone(), two.clone(), twice].map(|key| (w.act("key.import"), key)).to_vec();
    let made = w.tenant.import_keys(list.clone()).await.unwrap().gives_only();
    assert_eq!(made.iter().map(|key| &key.id).collect::<Vec<_>>(), [&one.id, &two.id]);
    assert!(made[0].born < made[1].born);
    let acts = w.tenant.act_chain_head().await.unwrap();
    assert_eq!(acts.length, 3, "the application's, and one for each key that was made");
    assert!(w.tenant.import_keys(list).await.unwrap().gives_only().is_empty());
    assert_eq!(w.tenant.find_key_by_digest(&two.digest).await.unwrap().unwrap(), made[1]);
    assert!(w.tenant.find_key_by_digest(&w.digest()).await.unwrap().is_none());
    assert_eq!(w.tenant.act_chain_head().await.unwrap(), acts, "nothing was done");
    let nobodys = vec![(w.act("key.import"), w.key_of(&app.id)), (w.act("x"), w.key_of(&AppId::mint(w.rng())))];
    assert!(is_missing(w.tenant.import_keys(nobodys).await));
    assert_eq!(w.tenant.list_keys(None).await.unwrap().len(), 2, "all or none");
}

pub async fn clients_keep_what_they_were_given(w: World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    assert_eq!(w.tenant.find_client(&client.id).await.unwrap().unwrap(), client);
    let wanted = Client { name: "New".to_owned(), state: State::Disabled, born: Default::default(), ..client.clone() };
    let changed = w.tenant.change_client(w.act("client.change"), wanted).await.unwrap().gives_only();
    assert_eq!(changed, Client { name: "New".to_owned(), ..client.clone() });
    w.tenant.set_client_state(w.act("client.disable"), &client.id, State::Disabled).await.unwrap().gives_only();
    assert_eq!(w.tenant.list_clients().await.unwrap()[0].state, State::Disabled);
}

pub async fn users_are_found_however_their_address_is_written(w: World) {
    let user = w.user("Ada@Example.org").await;
    assert_eq!(w.tenant.find_user(&user.id).await.unwrap().unwrap(), user);
    assert_eq!(w.tenant.find_user_by_email(" ada@example.ORG ").await.unwrap().unwrap(), user);
    let (found, hash) = w.tenant.find_login("ada@example.org").await.unwrap().unwrap();
    assert_eq!((found, hash.as_deref()), (user.clone(), Some("$argon2id$…")));
    w.tenant.set_password(w.act("user.password"), &user.id, "new").await.unwrap().gives_only();
    assert_eq!(w.tenant.find_login("ada@example.org").await.unwrap().unwrap().1.as_deref(), Some("new"));
    let more = w.tenant.add_role(w.act("user.role_add"), &user.id, "admin").await.unwrap().gives_only();
    assert_eq!(more.roles, ["reader", "writer", "admin"]);
    let less = w.tenant.remove_role(w.act("user.role_remove"), &user.id, "reader").await.unwrap().gives_only();
    assert_eq!(less.roles, ["writer", "admin"]);
    assert_eq!(w.tenant.list_users().await.unwrap(), vec![less]);
    assert!(w.tenant.find_login("eve@example.org").await.unwrap().is_none());
}

pub async fn sessions_live_and_end(w: World) {
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let find = |cookie: Digest| {
        let w = w.clone();
        async move { w.tenant.find_session(&cookie, w.now(), 1800).await.unwrap() }
    };
    assert_eq!(find(session.cookie).await.unwrap(), session);
    assert!(find(w.digest()).await.is_none());
    w.clock.advance_s(1700);
    w.tenant.touch_session(&session.id, w.now()).await.unwrap();
    w.clock.advance_s(1700);
    assert!(find(session.cookie).await.is_some(), "it was used meanwhile");
    w.clock.advance_s(200);
    assert!(find(session.cookie).await.is_none(), "idle too long");
    assert_eq!(w.tenant.list_sessions(&user.id, w.now()).await.unwrap().len(), 1);
    w.tenant.touch_session(&session.id, w.now()).await.unwrap();
    w.tenant.set_user_state(w.act("user.disable"), &user.id, State::Disabled).await.unwrap().gives_only();
    assert!(find(session.cookie).await.is_none(), "its user is disabled");
    w.tenant.set_user_state(w.act("user.enable"), &user.id, State::Enabled).await.unwrap().gives_only();
    assert!(find(session.cookie).await.is_some());
    let target = Target::Session { id: session.id.clone(), issuer: None };
    w.tenant.revoke(w.act("session.revoke"), target, w.later()).await.unwrap().gives_only();
    assert!(find(session.cookie).await.is_none());
    assert!(w.tenant.list_sessions(&user.id, w.now()).await.unwrap().is_empty());
    let long = w.session(&user.id).await;
    w.clock.advance_s(86_400);
    w.tenant.touch_session(&long.id, w.now()).await.unwrap();
    assert!(find(long.cookie).await.is_none(), "the absolute end");
}

pub async fn a_replaced_session_ends_but_its_tokens_are_revoked_with_the_line(w: World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let first = w.session(&user.id).await;
    let (issuance, _) = w.line(&client, &first).await;
    let token = w.token(&issuance);
    let second = w.session_of(&user.id);
    w.tenant.create_session(w.act("session.rise"), second.clone(), Some(&first.id)).await.unwrap().gives_only();
    assert!(w.tenant.find_session(&first.cookie, w.now(), 1800).await.unwrap().is_none());
    assert!(w.tenant.find_session(&second.cookie, w.now(), 1800).await.unwrap().is_some());
    assert!(w.judge(&token).await.is_some(), "a rise in privilege ends no token");
    let target = Target::Session { id: second.id.clone(), issuer: None };
    w.tenant.revoke(w.act("logout"), target, w.later()).await.unwrap().gives_only();
    assert!(w.judge(&token).await.is_none(), "a logout ends the tokens of the whole login");
    let revoked: Vec<_> = w.changes().await.iter().filter_map(revoked_session).collect();
    assert!(revoked.contains(&first.id) && revoked.contains(&second.id));

    // Another person in the same browser: the first one is logged out.
    let third = w.session(&user.id).await;
    let (issuance, _) = w.line(&client, &third).await;
    let other = w.user("b@x").await;
    let fourth = w.session_of(&other.id);
    w.tenant.create_session(w.act("session.other"), fourth, Some(&third.id)).await.unwrap().gives_only();
    assert!(w.judge(&w.token(&issuance)).await.is_none());
}

fn revoked_session(change: &trigate_core::change::Change) -> Option<SessionId> {
    match &change.what {
        trigate_core::change::What::Revoked { target: Target::Session { id, issuer: None }, .. } => Some(id.clone()),
        _ => None,
    }
}

pub async fn consents_grow_and_are_withdrawn(w: World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let allow = |text: &'static str| {
        let (w, user, client) = (w.clone(), user.id.clone(), client.id.clone());
        async move { w.tenant.record_consent(w.act("consent"), &user, &client, &scopes(text)).await.unwrap().gives_only() }
    };
    allow("openid").await;
    let consent = allow("orders:read").await;
    assert_eq!(consent.scopes, scopes("openid orders:read"));
    assert_eq!(w.tenant.find_consent(&user.id, &client.id).await.unwrap(), Some(consent.clone()));
    assert_eq!(w.tenant.list_consents(&user.id).await.unwrap(), vec![consent]);
    let (issuance, refresh) = w.line(&client, &session).await;
    assert_eq!(w.tenant.list_grants(&user.id).await.unwrap(), vec![issuance.grant.clone()]);
    w.tenant.withdraw_consent(w.act("consent.withdraw"), &user.id, &client.id).await.unwrap().gives_only();
    assert!(w.tenant.find_consent(&user.id, &client.id).await.unwrap().is_none());
    assert!(w.judge(&w.token(&issuance)).await.is_none());
    assert!(w.tenant.find_grant(&issuance.grant.id).await.unwrap().unwrap().revoked);
    assert!(w.tenant.find_refresh_grant(&refresh).await.unwrap().unwrap().0.revoked);
}

fn signing_key(w: &World, kid: &str) -> SigningKeyRecord {
    SigningKeyRecord {
        kid: kid.to_owned(),
        algorithm: Algorithm::ES256,
        public_jwk: serde_json::json!({"kty": "EC", "kid": kid}),
        sealed_private: vec![1, 2, 3],
        created_at: w.now(),
        signs_from: w.now(),
        signs_until: None,
        published_until: None,
        revoked: false,
    }
}

pub async fn signing_keys_follow_each_other(w: World) {
    let (first, mut second) = (signing_key(&w, "key-1"), signing_key(&w, "key-2"));
    w.tenant.add_signing_key(w.act("key"), first.clone(), w.later()).await.unwrap().gives_only();
    w.clock.advance_s(10);
    second.created_at = w.now();
    second.signs_from = w.now().plus_seconds(60);
    w.tenant.add_signing_key(w.act("key"), second.clone(), w.later()).await.unwrap().gives_only();
    let retired = SigningKeyRecord { signs_until: Some(second.signs_from), published_until: Some(w.later()), ..first };
    assert_eq!(w.tenant.list_signing_keys().await.unwrap(), vec![retired, second.clone()]);
    assert!(is_conflict(w.tenant.add_signing_key(w.act("key"), second, w.later()).await));
    let target = Target::SigningKey { kid: "key-1".to_owned() };
    w.tenant.revoke(w.act("key.revoke"), target, w.later()).await.unwrap().gives_only();
    assert!(w.tenant.list_signing_keys().await.unwrap()[0].revoked);

    let secret = |bytes: Vec<u8>| w.tenant.load_or_create_secret(w.act("secret"), "csrf", bytes);
    assert_eq!(secret(vec![7]).await.unwrap().gives_only(), vec![7]);
    assert_eq!(secret(vec![8]).await.unwrap().gives_only(), vec![7], "the first one stays");
}

pub async fn certificates_are_known_by_fingerprint(w: World) {
    let new = CertificateRecord {
        fingerprint: "ab".repeat(32),
        serial: "1f".to_owned(),
        issuer: "CN=ca".to_owned(),
        subject: "CN=m".to_owned(),
        name: "spiffe://x/m".to_owned(),
        not_before: w.now(),
        not_after: w.later(),
        revoked_at: None,
        created_at: w.now(),
    };
    w.tenant.record_certificate(w.act("certificate"), new.clone()).await.unwrap().gives_only();
    assert!(is_conflict(w.tenant.record_certificate(w.act("certificate"), new.clone()).await));
    let target = Target::Certificate { fingerprint: new.fingerprint.clone() };
    w.tenant.revoke(w.act("certificate.revoke"), target, w.later()).await.unwrap().gives_only();
    let found = w.tenant.find_certificate(&new.fingerprint).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(w.now()));
    assert_eq!(w.tenant.list_certificates().await.unwrap(), vec![found]);
}

pub async fn what_is_taken_is_a_conflict_and_changes_nothing(w: World) {
    let app = w.app("taken").await;
    let key = w.key(&app.id).await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let before = (w.tenant.act_chain_head().await.unwrap(), w.store.system().head().await.unwrap());
    let named = NewApplication { id: AppId::mint(w.rng()), name: "taken".to_owned(), plan: "x".to_owned() };
    assert!(is_conflict(w.tenant.create_application(w.act("x"), named).await));
    assert!(is_conflict(w.tenant.create_key(w.act("x"), key.clone()).await));
    let same_digest = trigate_core::application::KeyRecord { digest: key.digest, ..w.key_of(&app.id) };
    assert!(is_conflict(w.tenant.create_key(w.act("x"), same_digest).await));
    assert!(is_conflict(w.tenant.create_client(w.act("x"), client.clone()).await));
    assert!(is_missing(w.tenant.create_client(w.act("x"), w.client_of(&AppId::mint(w.rng()))).await));
    let again = NewUser {
        id: trigate_core::id::UserId::mint(w.rng()),
        email: "A@X".to_owned(),
        email_verified: false,
        name: String::new(),
        password_hash: None,
        roles: vec![],
    };
    assert!(is_conflict(w.tenant.create_user(w.act("x"), again).await));
    assert!(is_conflict(w.tenant.create_session(w.act("x"), session, None).await));
    let after = (w.tenant.act_chain_head().await.unwrap(), w.store.system().head().await.unwrap());
    assert_eq!(before, after);
}

pub async fn disabled_parties_get_nothing_new(w: World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let (issuance, _) = w.line(&client, &session).await;
    let token = w.token(&issuance);
    w.tenant.set_user_state(w.act("d"), &user.id, State::Disabled).await.unwrap().gives_only();
    assert!(is_conflict(w.tenant.create_session(w.act("x"), w.session_of(&user.id), None).await));
    assert!(is_conflict(w.tenant.issue_code(w.act("x"), w.code_of(&client, &session)).await));
    assert!(w.judge(&token).await.is_none());
    w.tenant.set_user_state(w.act("e"), &user.id, State::Enabled).await.unwrap().gives_only();
    assert!(w.judge(&token).await.is_some(), "disabling is undone");
    w.tenant.set_client_state(w.act("d"), &client.id, State::Disabled).await.unwrap().gives_only();
    assert!(is_conflict(w.tenant.issue_code(w.act("x"), w.code_of(&client, &session)).await));
    assert!(is_conflict(w.tenant.record_mint(w.act("x"), &client.id).await));
    assert!(w.judge(&token).await.is_none());
    w.tenant.set_client_state(w.act("e"), &client.id, State::Enabled).await.unwrap().gives_only();
    w.tenant.set_application_state(w.act("d"), &app.id, State::Disabled).await.unwrap().gives_only();
    assert!(is_conflict(w.tenant.record_mint(w.act("x"), &client.id).await));
    assert!(is_conflict(w.tenant.issue_code(w.act("x"), w.code_of(&client, &session)).await));
    assert!(w.judge(&token).await.is_none());
    w.tenant.set_application_state(w.act("e"), &app.id, State::Enabled).await.unwrap().gives_only();
    assert!(w.judge(&token).await.is_some());
    assert!(w.tenant.record_mint(w.act("x"), &client.id).await.is_ok());
}

pub async fn tenants_do_not_see_each_other(w: World) {
    let mut other = w.clone();
    other.tenant = w.store.tenant(&TenantId::parse("other.example").unwrap());
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let code = w.code(&client, &session).await;
    let (issuance, refresh) = w.line(&client, &session).await;
    let o = &other.tenant;
    assert!(o.find_application(&app.id).await.unwrap().is_none());
    assert!(o.list_clients().await.unwrap().is_empty());
    assert!(o.find_user_by_email("a@x").await.unwrap().is_none());
    assert!(o.find_session(&session.cookie, w.now(), 1800).await.unwrap().is_none());
    assert!(o.find_refresh_grant(&refresh).await.unwrap().is_none());
    assert!(o.judge_token(w.token(&issuance), w.now()).await.unwrap().is_none());
    let refused = trigate_core::port::CodeOutcome::Refused(trigate_core::port::CodeRefusal::Unknown);
    assert_eq!(other.redeem(w.presentation(&code, &client.id)).await, refused);
    assert!(is_missing(o.revoke(w.act("x"), Target::User { id: user.id.clone(), issuer: None }, w.later()).await));
    assert!(is_missing(o.create_key(w.act("x"), w.key_of(&app.id)).await));
    other.app("a").await;
    assert_eq!(w.tenant.list_applications().await.unwrap().len(), 1);
    let seen = w.store.system().snapshot(&TenantId::default_tenant(), w.now()).await.unwrap();
    assert_eq!(seen.applications, vec![app]);
    assert_eq!(o.act_chain_head().await.unwrap().length, 2, "the refused redemption and the application");
}

pub async fn attempts_are_counted_before_they_are_judged(w: World) {
    let (subject, rules) = (w.digest(), AttemptRules { max: 5, window_s: 60 });
    let tries = (0..40).map(|_| {
        let w = w.clone();
        tokio::spawn(async move { w.tenant.count_attempt(&subject, rules, w.now()).await.unwrap() })
    });
    let mut allowed = 0;
    for try_ in tries.collect::<Vec<_>>() {
        match try_.await.unwrap() {
            AttemptVerdict::Allowed => allowed += 1,
            AttemptVerdict::Refused { retry_after_s } => assert_eq!(retry_after_s, 60),
        }
    }
    assert_eq!(allowed, 5);
    w.clock.advance_s(59);
    let refused = AttemptVerdict::Refused { retry_after_s: 1 };
    assert_eq!(w.tenant.count_attempt(&subject, rules, w.now()).await.unwrap(), refused);
    w.clock.advance_s(1);
    assert_eq!(w.tenant.count_attempt(&subject, rules, w.now()).await.unwrap(), AttemptVerdict::Allowed);
    // One taken back leaves room for one.
    while w.tenant.count_attempt(&subject, rules, w.now()).await.unwrap() == AttemptVerdict::Allowed {}
    w.tenant.forgive_attempt(&subject).await.unwrap();
    assert_eq!(w.tenant.count_attempt(&subject, rules, w.now()).await.unwrap(), AttemptVerdict::Allowed);
    assert_ne!(w.tenant.count_attempt(&subject, rules, w.now()).await.unwrap(), AttemptVerdict::Allowed);
    w.tenant.clear_attempts(&subject).await.unwrap();
    for _ in 0..5 {
        assert_eq!(w.tenant.count_attempt(&subject, rules, w.now()).await.unwrap(), AttemptVerdict::Allowed);
    }
    let client = trigate_core::id::ClientId::mint(w.rng());
    assert!(w.tenant.redeem_assertion_id(&client, "j1", w.later()).await.unwrap());
    assert!(!w.tenant.redeem_assertion_id(&client, "j1", w.later()).await.unwrap());
    assert!(w.tenant.redeem_assertion_id(&client, "j2", w.later()).await.unwrap());
    let proof = w.digest();
    assert!(w.tenant.redeem_proof_id(&proof, w.later()).await.unwrap());
    assert!(!w.tenant.redeem_proof_id(&proof, w.later()).await.unwrap());
    assert!(w.tenant.redeem_proof_id(&w.digest(), w.later()).await.unwrap());
}
