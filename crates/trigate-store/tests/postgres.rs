//! The contract, kept by PostgreSQL.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests; their helpers too")]

use std::sync::Arc;
use trigate_core::port::{StoreError, testing::StoppedClock};
use trigate_store::{
    Location,
    contract::{CHECKS, World, postgres::Cluster, races, upkeep},
    open,
};

async fn open_world(url: &str) -> World {
    let clock = StoppedClock::at(trigate_core::Timestamp::from_seconds(1_800_000_000));
    let store = open(Location::Postgres(url.to_owned()), Arc::new(clock.clone())).await.unwrap();
    World::new(store, clock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contract() {
    let Some(cluster) = Cluster::start() else { return };
    let only = std::env::var("CHECK").ok();
    for (name, check) in CHECKS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| name.contains(only))) {
        println!("{name}");
        check(open_world(&cluster.fresh_database()).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_lets_one_of_two_hands_win_ten_thousand_times() {
    let Some(cluster) = Cluster::start() else { return };
    races::run(open_world(&cluster.fresh_database()).await, 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_moves_between_the_databases_and_back() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sqlite = |name: &str| {
        let path = folder.path().join(name);
        async move {
            let clock = StoppedClock::at(trigate_core::Timestamp::from_seconds(1_800_000_000));
            World::new(open(Location::Sqlite(path), Arc::new(clock.clone())).await.unwrap(), clock)
        }
    };
    upkeep::check_import(sqlite("a").await, open_world(&cluster.fresh_database()).await).await;
    upkeep::check_import(open_world(&cluster.fresh_database()).await, sqlite("b").await).await;
}

/// Two processes write at once: the feed stays one line without gaps, and each hears of the other's changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_one_feed() {
    let Some(cluster) = Cluster::start() else { return };
    let url = cluster.fresh_database();
    let (one, other) = (open_world(&url).await, open_world(&url).await);
    let app = one.app("a").await;
    let follower = tokio::spawn({
        let system = other.store.system();
        async move {
            // INVARIANT of the feed: what was read once has no later additions.
            let mut seen = trigate_core::Position(0);
            while seen.0 < 201 {
                for change in system.changes_after(seen, 7).await.unwrap() {
                    assert_eq!(change.position, seen.next());
                    seen = change.position;
                }
                system.wait_beyond(seen, 1000).await.unwrap();
            }
        }
    });
    let write = |w: World| {
        let app = app.id.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                w.key(&app).await;
            }
        })
    };
    let (a, b) = (write(one.clone()), write(other.clone()));
    a.await.unwrap();
    b.await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), follower).await.unwrap().unwrap();
    let (head, count) = (one.tenant.act_chain_head().await.unwrap(), other.tenant.acts_from(0, 1000).await.unwrap());
    assert_eq!((head.length, count.len()), (201, 201));
    let mut walked = trigate_core::audit::ChainHead::start("default");
    for act in count {
        walked = walked.follow(&act.bytes, &act.hash).unwrap();
    }
    assert_eq!(walked, head);
}

/// R06: while the database is gone nothing is claimed; when it is back, so is the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_a_restarted_database_heals_by_itself() {
    let Some(mut cluster) = Cluster::start() else { return };
    let w = open_world(&cluster.fresh_database()).await;
    let app = w.app("a").await;
    let kept = w.key(&app.id).await;
    let writing = tokio::spawn({
        let (w, app) = (w.clone(), app.id.clone());
        async move {
            let mut journal = Vec::new();
            for _ in 0..2000 {
                match w.tenant.create_key(w.act("key"), w.key_of(&app)).await {
                    Ok(stored) => journal.push(stored.gives_only()),
                    Err(StoreError::Unavailable(_)) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                    Err(other) => panic!("{other:?}"),
                }
            }
            journal
        }
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    // On this thread: the server ends with the thread that started it, and a pool's thread ends when it idles.
    tokio::task::block_in_place(|| cluster.crash_and_restart());
    let journal = writing.await.unwrap();
    assert!(w.tenant.find_key(&kept.id).await.is_ok_and(|found| found == Some(kept)));
    for key in journal {
        assert_eq!(w.tenant.find_key(&key.id).await.unwrap().unwrap().id, key.id, "acknowledged and lost");
    }
    w.store.system().check_ready().await.unwrap();
}

#[tokio::test]
async fn a_database_on_another_host_needs_tls() {
    let clock = Arc::new(StoppedClock::at(trigate_core::Timestamp::from_seconds(1)));
    let url = "postgres://u@db.example/x?sslmode=disable".to_owned();
    assert!(matches!(open(Location::Postgres(url), clock).await, Err(StoreError::Conflict(_))));
}
