//! Two nodes on one PostgreSQL: what one revokes, the other refuses, as soon as the answer is out.

use crate::support::{TestTrigate, http::Wire};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use trigate::{
    config,
    operator::{
        By,
        key::{KeyPolicy, NewKey},
        revoke::{Kind, Revoke},
    },
    wiring::{Running, Server},
};
use trigate_store::contract::postgres::Cluster;

/// A second node: the same store, master key and URLs, a folder and a name of its own.
async fn second_node(first: &TestTrigate, folder: &Path) -> Running {
    let from = first.folder();
    std::fs::copy(from.join("master.key"), folder.join("master.key")).unwrap();
    std::fs::create_dir(folder.join("ca")).unwrap();
    for file in std::fs::read_dir(from.join("ca")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join("ca").join(file.file_name())).unwrap();
    }
    let urls = &first.running.urls;
    let text = std::fs::read_to_string(from.join("trigate.toml")).unwrap();
    let text = text.replacen("node = \"node-1\"", &format!("node = \"node-2\"\nurl = \"{}\"", urls.gate), 1);
    let text = text.replacen("[issuer.scopes]", &format!("[issuer]\nurl = \"{}\"\n\n[issuer.scopes]", urls.issuer), 1);
    std::fs::write(folder.join("trigate.toml"), text).unwrap();
    Server::start(config::load(&folder.join("trigate.toml")).unwrap_or_else(|e| panic!("{e}")))
        .await
        .unwrap_or_else(|e| panic!("{e}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_k07_what_one_node_revokes_the_other_refuses_as_soon_as_the_answer_is_out() {
    // On this thread: the server ends with the thread that started it, and a pool's thread ends when it idles.
    let Some(mut cluster) = tokio::task::block_in_place(Cluster::start) else { return };
    let t = TestTrigate::start_on(&cluster.fresh_database(), "").await;
    let folder = tempfile::tempdir().unwrap();
    let other = second_node(&t, folder.path()).await;
    let gate = Wire(other.gate_addr);

    let mut slowest = Duration::ZERO;
    for round in 0..50 {
        let made = t
            .running
            .operator
            .create_key(&By::system(), NewKey { app: t.acme.id.clone(), policy: KeyPolicy::default() })
            .await
            .unwrap();
        let key = made.key.to_string();
        let ask = async || gate.send("GET", "/api/weather", &[("x-api-key", &key)], b"").await.status;
        // A key that is new gives something: it may take a moment to be known elsewhere.
        let deadline = Instant::now() + Duration::from_secs(2);
        while ask().await != 200 {
            assert!(Instant::now() < deadline, "round {round}: the key never came");
        }
        let started = Instant::now();
        let revoke = Revoke { kind: Kind::Key, what: made.record.id.to_string().into(), issuer: None, whole: false };
        t.running.operator.revoke(&By::system(), revoke).await.unwrap();
        slowest = slowest.max(started.elapsed());
        assert_eq!(ask().await, 401, "round {round}: revoked at one node, alive at the other");
    }
    eprintln!("50 revocations over two nodes, slowest answer {} ms", slowest.as_millis());

    // A token of the first node's issuer, a user revoked there, a login right afterwards.
    let token = t.alice_token("openid orders:read").await;
    let orders = async |token: &str| {
        gate.send("GET", "/api/users/me/orders", &[("authorization", &format!("Bearer {token}"))], b"").await.status
    };
    assert_eq!(orders(&token).await, 200);
    let revoke = Revoke { kind: Kind::User, what: t.alice.email.to_owned().into(), issuer: None, whole: false };
    t.running.operator.revoke(&By::system(), revoke).await.unwrap();
    assert_eq!(orders(&token).await, 401);
    let token = t.alice_token("openid orders:read").await;
    assert_eq!(orders(&token).await, 200);

    // The database goes away and comes back: both serve from memory, and writes heal by themselves.
    tokio::task::block_in_place(|| cluster.crash_and_restart());
    assert_eq!(orders(&token).await, 200);
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let revoke = Revoke { kind: Kind::User, what: t.alice.email.to_owned().into(), issuer: None, whole: false };
        if t.running.operator.revoke(&By::system(), revoke).await.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "the store did not heal");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(orders(&token).await, 401);

    // No database, no lease: after one lease the gate trusts itself no longer.
    drop(cluster);
    let key = t.acme.key.clone();
    let weather = async || gate.send("GET", "/api/weather", &[("x-api-key", &key)], b"").await.status;
    assert_eq!(weather().await, 200, "within the lease");
    let deadline = Instant::now() + Duration::from_secs(13);
    while weather().await == 200 {
        assert!(Instant::now() < deadline, "the lease never ran out");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(weather().await, 503);
    other.stop().await;
    t.stop().await;
}
