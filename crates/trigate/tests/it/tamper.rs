//! Somebody with a knife and root: every cut into the trail is found, and named.

use crate::support::TestTrigate;
use std::{collections::BTreeMap, fs, path::Path};
use trigate::{
    config,
    operator::{
        By,
        verify::{Against, Verification},
    },
    wiring::{Running, Server},
};

async fn verify(running: &Running, against: &Against) -> Verification {
    running.operator.verify_audit(&By::system(), against).await.unwrap()
}

/// What somebody kept elsewhere.
fn keep(found: &Verification) -> Against {
    let heads = found.chains.iter().filter_map(|chain| Some((chain.chain.clone(), chain.head.clone()?)));
    Against { heads: heads.collect::<BTreeMap<_, _>>() }
}

fn broken(found: &Verification) -> Vec<(String, u64)> {
    found.chains.iter().filter_map(|chain| Some((chain.chain.clone(), chain.broken_at?))).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The store's threads close the database on their own: waits until its files change no more.
async fn settle(folder: &Path) {
    let look = || {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut seen: Vec<_> =
            entries.filter_map(|e| Some((e.file_name(), e.metadata().ok()?.modified().ok()?))).collect();
        seen.sort();
        seen
    };
    loop {
        let before = look();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        if look() == before {
            return;
        }
    }
}

async fn start(folder: &Path) -> Running {
    Server::start(config::load(&folder.join("trigate.toml")).unwrap()).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a08_acts_deleted_edited_swapped_or_cut_and_yesterdays_files_are_found() {
    let t = TestTrigate::start().await;
    for _ in 0..20 {
        t.get("/api/weather", &[("x-api-key", &t.acme.key)]).await;
    }
    t.decisions(20).await;
    let whole = verify(&t.running, &Against::default()).await;
    assert!(whole.whole, "{whole:?}");
    let yesterday = tempfile::tempdir().unwrap();
    let kept_early = keep(&whole);
    let folder = t.stop().await;
    settle(folder.path()).await;
    copy(folder.path(), yesterday.path());

    // A day passes.
    let running = start(folder.path()).await;
    let gate = crate::support::http::Wire(running.gate_addr);
    for _ in 0..20 {
        gate.send("GET", "/api/weather", &[], b"").await;
    }
    let today = verify(&running, &kept_early).await;
    assert!(today.whole, "what was kept earlier lies on the chains: {today:?}");
    let kept = keep(&today);
    running.stop().await;

    // Yesterday's files, database and all, whole in themselves: only what is kept elsewhere tells.
    let running = start(yesterday.path()).await;
    assert!(verify(&running, &Against::default()).await.whole);
    let found = broken(&verify(&running, &kept).await);
    assert_eq!(found.len(), 2, "both chains end before the kept heads: {found:?}");
    running.stop().await;

    // Acts: one edited, one deleted, two swapped, the tail cut.
    type Cut = (&'static str, &'static str, &'static [u64]);
    let cuts: [Cut; 4] = [
        (
            "edited",
            "UPDATE acts SET bytes = CAST(replace(CAST(bytes AS TEXT), 'system', 'sistem') AS BLOB) WHERE place = 3",
            &[3],
        ),
        ("deleted", "DELETE FROM acts WHERE place = 4", &[4]),
        (
            "swapped",
            "UPDATE acts SET place = -1 WHERE place = 5; UPDATE acts SET place = 5 WHERE place = 6; UPDATE acts SET place = 6 WHERE place = -1",
            &[5],
        ),
        (
            "cut",
            "DELETE FROM acts WHERE place >= 8; \
             UPDATE act_heads SET length = 8, hash = (SELECT hash FROM acts WHERE place = 7)",
            // The chain is whole in itself, with a fitting head: only the head kept elsewhere tells.
            &[],
        ),
    ];
    for (what, sql, at) in cuts {
        let scratch = tempfile::tempdir().unwrap();
        copy(folder.path(), scratch.path());
        let database = rusqlite::Connection::open(scratch.path().join("trigate.db")).unwrap();
        database.execute_batch(sql).unwrap();
        drop(database);
        let running = start(scratch.path()).await;
        let alone = verify(&running, &Against::default()).await;
        let places: Vec<u64> = broken(&alone).into_iter().map(|(_, place)| place).collect();
        assert_eq!(places, at, "{what}: {alone:?}");
        assert!(!verify(&running, &kept).await.whole, "{what}");
        running.stop().await;
    }
}
