//! The contract, kept by SQLite.

use std::sync::Arc;
use tempfile::TempDir;
use trigate_core::port::testing::StoppedClock;
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
