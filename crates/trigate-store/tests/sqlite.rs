//! The contract, kept by SQLite.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests; their helpers too")]

use std::sync::Arc;
use tempfile::TempDir;
use trigate_core::port::{StoreError, testing::StoppedClock};
use trigate_store::{
    Location,
    contract::{CHECKS, World, races, upkeep},
    open,
};

async fn fresh() -> (TempDir, World) {
    let folder = tempfile::tempdir().unwrap();
    let world = open_in(&folder).await;
    (folder, world)
}

async fn open_in(folder: &TempDir) -> World {
    let clock = StoppedClock::at(trigate_core::Timestamp::from_seconds(1_800_000_000));
    let store = open(Location::Sqlite(folder.path().join("trigate.db")), Arc::new(clock.clone())).await.unwrap();
    World::new(store, clock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    let only = std::env::var("CHECK").ok();
    for (name, check) in CHECKS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| name.contains(only))) {
        let (_folder, world) = fresh().await;
        println!("{name}");
        check(world).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_lets_one_of_two_hands_win_ten_thousand_times() {
    let (_folder, world) = fresh().await;
    races::run(world, 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_gives_all_to_another_sqlite() {
    let ((_a, from), (_b, to)) = (fresh().await, fresh().await);
    upkeep::check_import(from, to).await;
}

#[tokio::test]
async fn a_file_of_another_program_or_of_a_newer_trigate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(StoppedClock::at(trigate_core::Timestamp::from_seconds(1)));
    let open_file = |name: &str| open(Location::Sqlite(folder.path().join(name)), clock.clone());
    let foreign = rusqlite::Connection::open(folder.path().join("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE notes (id INTEGER)").unwrap();
    assert!(matches!(open_file("foreign.db").await, Err(StoreError::Conflict(_))));
    drop(open_file("newer.db").await.unwrap());
    let newer = rusqlite::Connection::open(folder.path().join("newer.db")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    let Err(StoreError::Conflict(why)) = open_file("newer.db").await else { panic!("refused") };
    assert!(why.contains("schema 99"), "{why}");
    std::fs::write(folder.path().join("text.db"), "no database at all, but a long enough text file").unwrap();
    assert!(open_file("text.db").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_reopening() {
    let (folder, world) = fresh().await;
    let app = world.app("a").await;
    let head = world.tenant.act_chain_head().await.unwrap();
    drop(world);
    let again = open_in(&folder).await;
    assert_eq!(again.tenant.find_application(&app.id).await.unwrap(), Some(app));
    assert_eq!(again.tenant.act_chain_head().await.unwrap(), head);
    assert_eq!(again.store.system().head().await.unwrap().0, 1);
}

/// O20: while the database refuses writes, nothing is claimed to be changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o20_nothing_is_claimed_while_the_file_refuses_writes() {
    let (folder, world) = fresh().await;
    let app = world.app("a").await;
    let other = rusqlite::Connection::open(folder.path().join("trigate.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let target = trigate_core::change::Target::Application { id: app.id.clone() };
    let refused = world.tenant.revoke(world.act("x"), target.clone(), world.later()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(world.tenant.find_application(&app.id).await.unwrap().is_some(), "reads go on");
    other.execute_batch("ROLLBACK").unwrap();
    world.tenant.revoke(world.act("x"), target, world.later()).await.unwrap().gives_only();
    assert_eq!(world.tenant.act_chain_head().await.unwrap().length, 2);
}
