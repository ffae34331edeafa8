//! The feed, the snapshot and the leases.

use super::{World, world::*};
use std::collections::BTreeMap;
use trigate_core::{
    Position,
    application::State,
    change::{Change, Snapshot, Target, What},
    id::{TenantId, TokenId},
    port::LeftOut,
};

pub async fn positions_have_no_gaps_and_follow_commits(w: World) {
    let app = w.app("a").await;
    let tasks: Vec<_> = (0..100)
        .map(|index| {
            let (w, app) = (w.clone(), app.id.clone());
            tokio::spawn(async move {
                if index % 3 == 0 {
                    // A refused job in between takes no position.
                    assert!(is_conflict(
                        w.tenant
                            .create_application(
                                w.act("x"),
                                trigate_core::port::NewApplication {
                                    id: app,
                                    name: "b".to_owned(),
                                    plan: "p".to_owned()
                                }
                            )
                            .await
                    ));
                    return None;
                }
                let stored = w.tenant.create_key(w.act("key"), w.key_of(&app)).await.unwrap();
                assert!(stored.position >= stored.value().born);
                // What was answered is there, for everyone who asks.
                assert!(w.store.system().head().await.unwrap() >= stored.position);
                Some(stored.gives_only().born)
            })
        })
        .collect();
    let mut born = Vec::new();
    for task in tasks {
        born.extend(task.await.unwrap());
    }
    born.sort_unstable();
    let expected: Vec<_> = (2..2 + born.len() as u64).map(Position).collect();
    assert_eq!(born, expected);
    let seen: Vec<_> = w.changes().await.iter().map(|change| change.position.0).collect();
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    let some = w.store.system().changes_after(Position(5), 3).await.unwrap();
    assert_eq!(some.iter().map(|change| change.position.0).collect::<Vec<_>>(), [6, 7, 8]);
}

/// What a gate would know.
#[derive(Debug, Default, PartialEq)]
struct Known {
    applications: BTreeMap<String, String>,
    keys: BTreeMap<String, String>,
    clients: BTreeMap<String, String>,
    signing_keys: BTreeMap<String, String>,
    disabled: BTreeMap<String, ()>,
    standing: Vec<u64>,
}

impl Known {
    fn of(snapshot: Snapshot) -> Self {
        let mut known = Self::default();
        let records = (snapshot.applications.into_iter().map(|record| What::Application { record }))
            .chain(snapshot.keys.into_iter().map(|record| What::Key { record }))
            .chain(snapshot.clients.into_iter().map(|record| What::Client { record }))
            .chain(snapshot.signing_keys.into_iter().map(|record| What::SigningKey { record }))
            .chain(snapshot.disabled_users.into_iter().map(|user| What::UserState { user, state: State::Disabled }));
        records.for_each(|what| known.apply(0, &what));
        for change in snapshot.standing {
            known.apply(change.position.0, &change.what);
        }
        known
    }

    fn apply(&mut self, position: u64, what: &What) {
        match what {
            What::Application { record } => {
                drop(self.applications.insert(record.id.to_string(), format!("{record:?}")))
            }
            What::Key { record } => {
                let mut record = record.clone();
                record.revoked_at = None;
                self.keys.insert(record.id.to_string(), format!("{record:?}"));
            }
            What::Client { record } => drop(self.clients.insert(record.id.to_string(), format!("{record:?}"))),
            What::SigningKey { record } => drop(self.signing_keys.insert(record.kid.clone(), format!("{record:?}"))),
            What::UserState { user, state: State::Disabled } => drop(self.disabled.insert(user.to_string(), ())),
            What::UserState { user, state: State::Enabled } => drop(self.disabled.remove(user.as_str())),
            _ => self.standing.push(position),
        }
    }
}

pub async fn a_snapshot_and_the_tail_make_the_state(w: World) {
    let tenant = TenantId::default_tenant();
    let early = w.store.system().snapshot(&tenant, w.now()).await.unwrap();
    assert_eq!(early.position, Position(0));
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let (key, gone) = (w.key(&app.id).await, w.key(&app.id).await);
    let (user, other) = (w.user("a@x").await, w.user("b@x").await);
    w.tenant.set_user_state(w.act("x"), &user.id, State::Disabled).await.unwrap().gives_only();
    w.tenant.set_user_state(w.act("x"), &other.id, State::Disabled).await.unwrap().gives_only();
    let middle = w.store.system().snapshot(&tenant, w.now()).await.unwrap();
    w.tenant.set_user_state(w.act("x"), &other.id, State::Enabled).await.unwrap().gives_only();
    w.tenant.set_key_state(w.act("x"), &key.id, State::Disabled).await.unwrap().gives_only();
    w.tenant.set_client_state(w.act("x"), &client.id, State::Disabled).await.unwrap().gives_only();
    w.tenant.change_plan(w.act("x"), &app.id, "pro").await.unwrap().gives_only();
    for target in [Target::Key { id: gone.id }, Target::User { id: user.id.clone(), issuer: None }] {
        w.tenant.revoke(w.act("x"), target, w.later()).await.unwrap().gives_only();
    }
    w.tenant.remove_role(w.act("x"), &user.id, "writer").await.unwrap().gives_only();
    let late = w.store.system().snapshot(&tenant, w.now()).await.unwrap();
    assert_eq!(late.position, w.store.system().head().await.unwrap());
    let expected = Known::of(late.clone());
    for snapshot in [early, middle] {
        let tail = w.store.system().changes_after(snapshot.position, 1000).await.unwrap();
        let mut known = Known::of(snapshot);
        tail.iter().for_each(|Change { position, what, .. }| known.apply(position.0, what));
        assert_eq!(known, expected);
    }
    assert_eq!(late.standing.len(), 3);
    let long_after = w.later().plus_seconds(1);
    let rest = w.store.system().snapshot(&tenant, long_after).await.unwrap().standing;
    assert_eq!(rest.len(), 1, "the key's revocation never ends");
}

pub async fn a_snapshot_without_tokens_and_the_tokens_make_the_whole(w: World) {
    let (tenant, system) = (TenantId::default_tenant(), w.store.system());
    let user = w.user("a@x").await;
    let token = |n: u128| Target::Token { id: TokenId::from_bits(n) };
    for target in [token(1), Target::User { id: user.id.clone(), issuer: None }, token(2), token(3)] {
        w.tenant.revoke(w.act("x"), target, w.later()).await.unwrap().gives_only();
    }
    let whole = system.snapshot(&tenant, w.now()).await.unwrap();
    let few = system.snapshot_without(&tenant, w.now(), LeftOut::KeysAndRevokedTokens).await.unwrap();
    let (tokens, others): (Vec<_>, Vec<_>) = whole.standing.into_iter().partition(Change::revokes_token);
    assert_eq!((few.standing, few.position), (others, whole.position));
    let without_keys = system.snapshot_without(&tenant, w.now(), LeftOut::Keys).await.unwrap();
    assert_eq!(without_keys.standing.len(), 4);
    let page = system.revoked_tokens(&tenant, Position(0), w.now(), 2).await.unwrap();
    let rest = system.revoked_tokens(&tenant, page[1].position, w.now(), 9).await.unwrap();
    let read: Vec<_> = page.iter().chain(&rest).map(|token| (token.position, token.id)).collect();
    let expected: Vec<_> = tokens.iter().zip(1..).map(|(change, n)| (change.position, TokenId::from_bits(n))).collect();
    assert_eq!(read, expected);
    let long_after = w.later().plus_seconds(1);
    assert!(system.revoked_tokens(&tenant, Position(0), long_after, 9).await.unwrap().is_empty());
}

pub async fn a_snapshot_without_keys_and_the_keys_make_the_whole(w: World) {
    let (tenant, system) = (TenantId::default_tenant(), w.store.system());
    let app = w.app("a").await;
    for _ in 0..5 {
        w.key(&app.id).await;
    }
    let whole = system.snapshot(&tenant, w.now()).await.unwrap();
    let few = system.snapshot_without(&tenant, w.now(), LeftOut::Keys).await.unwrap();
    assert!(few.keys.is_empty());
    assert_eq!((few.applications, few.position), (whole.applications, whole.position));
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = system.keys_after(&tenant, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        keys.extend(page);
    }
    let mut expected = whole.keys;
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(keys, expected);
    let other = TenantId::parse("other").unwrap();
    assert!(system.keys_after(&other, None, 9).await.unwrap().is_empty());
}

pub async fn waiting_ends_when_something_comes(w: World) {
    let system = w.store.system();
    system.wait_beyond(Position(0), 20).await.unwrap();
    let waiting = tokio::spawn({
        let system = w.store.system();
        async move { system.wait_beyond(Position(0), 60_000).await }
    });
    w.app("a").await;
    tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.expect("in time").unwrap().unwrap();
    // Already beyond: at once.
    tokio::time::timeout(std::time::Duration::from_secs(5), system.wait_beyond(Position(0), 60_000))
        .await
        .unwrap()
        .unwrap();
}

pub async fn a_lease_is_taken_only_by_who_is_up_to_date(w: World) {
    let system = w.store.system();
    w.app("a").await;
    assert!(is_conflict(system.renew("n1", Position(0), 10_000).await), "it does not know the application yet");
    system.renew("n1", Position(1), 10_000).await.unwrap();
    w.app("b").await;
    // A live lease is renewed by who lags: the barrier waits for it.
    system.renew("n1", Position(1), 10_000).await.unwrap();
    system.renew("n2", Position(2), 60_000).await.unwrap();
    let mut holders = system.holders().await.unwrap();
    holders.sort_by(|a, b| a.node.cmp(&b.node));
    let applied: Vec<_> = holders.iter().map(|holder| (holder.node.as_str(), holder.applied.0)).collect();
    assert_eq!(applied, [("n1", 1), ("n2", 2)]);
    assert!(holders.iter().all(|holder| holder.remaining_ms > 9_000));
    system.release("n2").await.unwrap();
    assert_eq!(system.holders().await.unwrap().len(), 1);
    // It runs out by the store's clock; then only the newest state will do.
    system.renew("n1", Position(1), 0).await.unwrap();
    assert!(system.holders().await.unwrap().is_empty());
    assert!(is_conflict(system.renew("n1", Position(1), 10_000).await));
    system.renew("n1", Position(2), 10_000).await.unwrap();
}
