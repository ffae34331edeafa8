//! Sweeping, export and import.

use super::{World, world::*};
use trigate_core::{
    Position,
    change::{Target, What},
    port::{CodeOutcome, OpaqueRecord, RefreshOutcome, RefreshRefusal},
};

pub async fn a_sweep_takes_small_steps_and_only_what_is_over(w: World) {
    let system = w.store.system();
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    let codes = [w.code(&client, &session).await, w.code(&client, &session).await, w.code(&client, &session).await];
    let (issuance, refresh) = w.line(&client, &session).await;
    let facts = w.token(&issuance);
    let record = OpaqueRecord { digest: w.digest(), facts: facts.clone() };
    w.tenant.store_opaque_token(w.act("mint"), record.clone()).await.unwrap().gives_only();
    assert_eq!(w.tenant.find_opaque_token(&record.digest).await.unwrap(), Some(facts.clone()));
    w.tenant.revoke(w.act("x"), Target::Token { id: facts.token }, facts.expires_at).await.unwrap().gives_only();
    assert_eq!(system.sweep(w.now(), 100).await.unwrap(), 0);

    assert!(matches!(w.rotate(w.rotation(&refresh, &client.id)).await, RefreshOutcome::Rotated(_)));
    w.clock.advance_s(11);
    assert_eq!(system.sweep(w.now(), 100).await.unwrap(), 1, "the sealed successor");

    w.clock.advance_s(86_400 + 3_600);
    let presented = w.redeem(w.presentation(&codes[0], &client.id)).await;
    assert!(matches!(presented, CodeOutcome::Refused(_)), "expired but remembered");
    // Four codes, their three unused grants, one opaque token, one revoked token; the used line lives on.
    let first = system.sweep(w.now(), 1).await.unwrap();
    assert_eq!(first, 4, "one of each kind");
    while system.sweep(w.now(), 2).await.unwrap() > 0 {}
    let grants = w.tenant.list_grants(&user.id).await.unwrap();
    assert_eq!(grants.len(), 1);
    assert!(w.tenant.find_opaque_token(&record.digest).await.unwrap().is_none());
    w.clock.advance_s(3 * 86_400);
    while system.sweep(w.now(), 100).await.unwrap() > 0 {}
    assert!(w.tenant.list_grants(&user.id).await.unwrap().is_empty());
    let unknown = RefreshOutcome::Refused(RefreshRefusal::Unknown);
    assert_eq!(w.rotate(w.rotation(&refresh, &client.id)).await, unknown);
    system.check_ready().await.unwrap();
}

/// Needs a second, empty store: [`check_import`].
pub async fn an_export_fills_an_empty_store_alone(w: World) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.jsonl");
    populate(&w).await;
    let rows = w.store.system().export(file.clone()).await.unwrap();
    assert!(rows > 10);
    assert!(w.store.system().export(file.clone()).await.is_err(), "never over another file");
    assert!(is_conflict(w.store.system().import(file.clone()).await), "this store is not empty");
    let second = folder.path().join("again.jsonl");
    assert_eq!(w.store.system().export(second.clone()).await.unwrap(), rows);
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(second).unwrap());
}

pub async fn populate(w: &World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    w.key(&app.id).await;
    let user = w.user("a@x").await;
    let session = w.session(&user.id).await;
    w.line(&client, &session).await;
    w.tenant.record_consent(w.act("consent"), &user.id, &client.id, &scopes("openid")).await.unwrap().gives_only();
    w.tenant.load_or_create_secret(w.act("secret"), "csrf", vec![0, 255]).await.unwrap().gives_only();
    let target = Target::User { id: user.id, issuer: None };
    w.tenant.revoke(w.act("revoke"), target, w.later()).await.unwrap().gives_only();
    w.tenant.report_usage(&w.report("gate", 1, &[(&app.id, 7)])).await.unwrap();
}

/// Carries everything from one store to an empty one, of whichever kind, and checks that nothing is lost.
pub async fn check_import(from: World, to: World) {
    let folder = tempfile::tempdir().unwrap();
    let (file, back) = (folder.path().join("from.jsonl"), folder.path().join("back.jsonl"));
    populate(&from).await;
    let rows = from.store.system().export(file.clone()).await.unwrap();
    let cut = folder.path().join("cut.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    std::fs::write(&cut, lines[..lines.len() - 1].join("\n")).unwrap();
    assert!(to.store.system().import(cut).await.is_err(), "a cut file is refused");
    assert_eq!(to.store.system().import(file).await.unwrap(), rows, "and left nothing behind");
    to.store.system().export(back.clone()).await.unwrap();
    let text_back = std::fs::read_to_string(back).unwrap();
    let sorted = |text: &str| {
        // All but the first, which says where the feed stands.
        let mut lines: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // Databases may order texts differently; the rows are the same.
    assert_eq!(sorted(&text), sorted(&text_back));
    assert_eq!(to.tenant.act_chain_head().await.unwrap(), from.tenant.act_chain_head().await.unwrap());
    // What was minted after the export, before the restore, is older than whatever is revoked after it.
    let head = from.store.system().head().await.unwrap();
    let minted_later = Position(head.0 + 1_000);
    let (user, feed) = (to.user("later@x").await, to.store.system());
    let target = Target::User { id: user.id, issuer: None };
    to.tenant.revoke(to.act("revoke"), target, to.later()).await.unwrap().gives_only();
    let last = feed.changes_after(head, 100).await.unwrap().pop().unwrap();
    assert!(matches!(last.what, What::Revoked { .. }) && minted_later < last.position, "{last:?}");
    assert_eq!(feed.head().await.unwrap(), last.position);
}
