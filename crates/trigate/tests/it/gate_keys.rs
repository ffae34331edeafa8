//! API keys on the wire (catalogue K).

use crate::support::TestTrigate;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k03_two_keys_are_none() {
    let t = TestTrigate::start().await;
    let (key, other) = (t.acme.key.as_str(), t.globex.key.as_str());
    let scheme = format!("ApiKey {key}");
    for headers in [
        vec![("x-api-key", key), ("x-api-key", key)],
        vec![("x-api-key", key), ("x-api-key", other)],
        vec![("x-api-key", key), ("X-API-KEY", "junk")],
        vec![("x-api-key", key), ("authorization", &scheme)],
    ] {
        let status = t.get("/api/weather", &headers).await.status;
        assert!(matches!(status, 400 | 401), "{status}");
    }
    assert!(t.upstream.seen().is_empty());
    assert_eq!(t.get("/api/weather", &[("authorization", &scheme)]).await.status, 200);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k01_a_key_in_a_url_is_not_read_but_masked_and_marked() {
    let t = TestTrigate::start().await;
    assert_eq!(t.get(&format!("/api/weather?api_key={}", t.acme.key), &[]).await.status, 401);
    assert_eq!(t.get(&format!("/open/{}", t.acme.key), &[]).await.status, 200);
    for _ in 0..100 {
        let keys = t.running.operator.list_keys(Some(&t.acme.id)).await.unwrap();
        if keys[0].exposed_at.is_some() {
            let secret = &t.acme.key[20..];
            assert!(t.records().iter().all(|record| !serde_json::to_string(record).unwrap().contains(secret)));
            t.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the key was not marked exposed");
}
