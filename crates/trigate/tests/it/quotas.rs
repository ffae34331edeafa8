//! Quotas of plans: what was used is used, after a restart and at every gate.

use crate::{
    remote::{gate_key, start_gate},
    support::{
        TestTrigate,
        http::{Reply, Wire},
    },
};
use serde_json::json;
use std::time::Duration;
use trigate::{
    config,
    operator::{
        By, Operator,
        app::NewApp,
        key::{KeyPolicy, NewKey},
    },
    wiring::Server,
};

async fn key_on(operator: &Operator, plan: &str) -> String {
    let by = By::system();
    let app = NewApp { name: format!("On {plan}"), plan: plan.into(), id: None };
    let app = operator.create_app(&by, app).await.unwrap().id.to_string();
    operator.create_key(&by, NewKey { app, policy: KeyPolicy::default() }).await.unwrap().key.to_string()
}

/// How many of so many requests pass.
async fn pass(gate: &Wire, key: &str, requests: usize) -> usize {
    let mut passed = 0;
    for _ in 0..requests {
        let reply = gate.send("GET", "/api/weather", &[("x-api-key", key)], b"").await;
        assert!(matches!(reply.status, 200 | 429), "{}", reply.text());
        passed += usize::from(reply.status == 200);
    }
    passed
}

/// Reports go out twice a second.
async fn all_have_told() {
    tokio::time::sleep(Duration::from_millis(1_200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_survives_restart_and_reload() {
    let t = TestTrigate::start_with("[plans.small]\nrate = \"1000/second\"\nmonth = 10\n").await;
    let key = key_on(&t.running.operator, "small").await;
    let reply = t.get("/api/weather", &[("x-api-key", &key)]).await;
    assert!(reply.header("ratelimit").unwrap().contains("\"small-month\";r=9;"), "{:?}", reply.header("ratelimit"));
    assert_eq!(pass(&t.gate(), &key, 5).await, 5);
    t.running.reload().unwrap();
    // Told at the stop, though no report was due.
    let folder = t.stop().await;
    let again = Server::start(config::load(&folder.path().join("trigate.toml")).unwrap()).await.unwrap();
    let gate = Wire(again.gate_addr);
    assert_eq!(pass(&gate, &key, 8).await, 4);
    let refused = gate.send("GET", "/api/weather", &[("x-api-key", &key)], b"").await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=31 * 86_400).contains(&wait), "{wait}");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k12_a_quota_is_one_for_three_gates() {
    let t = TestTrigate::start_with("[plans.small]\nrate = \"1000/second\"\nmonth = 30\n").await;
    let key = key_on(&t.running.operator, "small").await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (start_gate(&t, one.path(), "gate-1").await, start_gate(&t, two.path(), "gate-2").await);
    let gates = [t.gate(), Wire(first.gate_addr), Wire(second.gate_addr)];
    for gate in &gates {
        assert_eq!(pass(gate, &key, 9).await, 9);
    }
    all_have_told().await;
    // Three are left. Who has heard lately of the others lets by so many; each lets one report's time by at most.
    let mut passed = 0;
    for gate in &gates {
        passed += pass(gate, &key, 1).await;
        all_have_told().await;
    }
    assert_eq!(passed, 3);
    let mut beyond = 0;
    for gate in &gates {
        beyond += pass(gate, &key, 1).await;
        all_have_told().await;
        assert_eq!(pass(gate, &key, 3).await, 0, "now it knows");
    }
    assert!(beyond <= 2, "{beyond}: the last one knew");

    // A gate that starts late knows from its start.
    let three = tempfile::tempdir().unwrap();
    let third = start_gate(&t, three.path(), "gate-3").await;
    assert_eq!(pass(&Wire(third.gate_addr), &key, 3).await, 0);
    for gate in [first, second, third] {
        gate.stop().await;
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_reports_for_itself_alone_and_within_bounds() {
    let t = TestTrigate::start().await;
    let (one, two) = (gate_key(&t, "gate-1").await, gate_key(&t, "gate-2").await);
    let report = async |key: &str, number: u64, counters: usize| {
        let counted = vec![json!({ "application": t.acme.id, "period": 209_901, "count": 2 }); counters];
        let body = json!({ "holder": "g", "number": number, "counted": counted }).to_string();
        t.desk().send("POST", "/gate/v1/usage", &[("x-api-key", key)], body.as_bytes()).await
    };
    let sum = |reply: &Reply| reply.json()["usage"][0]["count"].as_u64();
    assert_eq!(sum(&report(&one, 1, 1).await), Some(2));
    assert_eq!(sum(&report(&one, 1, 1).await), Some(2), "its answer was lost");
    assert_eq!(sum(&report(&two, 1, 1).await), Some(4), "another gate's, though it calls itself the same");
    assert_eq!(report(&one, 2, 501).await.status, 400);
    assert_eq!(report(&t.acme.key, 3, 1).await.status, 403);
    for bad in [r#"{"holder":"a b","number":1,"counted":[]}"#, r#"{"holder":"g","number":1}"#, "[]"] {
        let reply = t.desk().send("POST", "/gate/v1/usage", &[("x-api-key", &one)], bad.as_bytes()).await;
        assert_eq!(reply.status, 400, "{bad}");
    }
    t.stop().await;
}
