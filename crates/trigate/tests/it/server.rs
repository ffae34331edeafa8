//! Does the whole thing start, answer, reload and end?

use crate::support::{TestTrigate, http::Wire};
use trigate::{config, wiring::Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_three_doors_answer_and_close() {
    let t = TestTrigate::start().await;
    assert_eq!(t.desk().send("GET", "/healthz", &[], b"").await.status, 200);
    let ready = t.desk().send("GET", "/readyz", &[], b"").await;
    assert_eq!((ready.status, ready.json()["ready"].as_bool()), (200, Some(true)), "{}", ready.text());
    let found = t.issuer().send("GET", "/.well-known/openid-configuration", &[], b"").await;
    assert_eq!(found.json()["issuer"], t.running.urls.issuer);
    assert_eq!(t.get("/open/x", &[]).await.status, 200);
    let metrics = t.desk().send("GET", "/metrics", &[], b"").await;
    assert!(
        metrics.text().contains("trigate_requests_total{route=\"open\",outcome=\"allowed\",reason=\"\"} 1"),
        "{}",
        metrics.text()
    );
    let (gate, folder) = (t.gate(), t.stop().await);
    assert!(tokio::net::TcpStream::connect(gate.0).await.is_err());
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_desk_is_behind_the_gates() {
    let t = TestTrigate::start().await;
    let stranger = t.desk().send("GET", "/api/v1/apps", &[], b"").await;
    assert_eq!(stranger.status, 401);
    assert!(stranger.header("www-authenticate").unwrap().starts_with("Bearer"));
    // A token for the API is none for the desk, nor is a key.
    for (name, value) in [
        ("authorization", format!("Bearer {}", t.service_token("orders:read").await)),
        ("x-api-key", t.acme.key.clone()),
    ] {
        assert_eq!(t.desk().send("GET", "/api/v1/apps", &[(name, &value)], b"").await.status, 401);
    }
    let token = format!("Bearer {}", t.operator_token().await);
    let apps = t.desk().send("GET", "/api/v1/apps", &[("authorization", &token)], b"").await;
    assert_eq!(apps.status, 200, "{}", apps.text());
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn userinfo_is_behind_the_gates() {
    let t = TestTrigate::start().await;
    assert_eq!(t.issuer().send("GET", "/oauth/userinfo", &[], b"").await.status, 401);
    let token = format!("Bearer {}", t.alice_token("openid email").await);
    let claims = t.issuer().send("GET", "/oauth/userinfo", &[("authorization", &token)], b"").await;
    assert_eq!((claims.status, claims.json()["email"].as_str()), (200, Some("alice@example.com")), "{}", claims.text());
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_one_folder_is_refused() {
    let t = TestTrigate::start().await;
    let refused =
        Server::start(config::load(&t.folder().join("trigate.toml")).unwrap()).await.err().unwrap().to_string();
    assert!(refused.contains("in use"), "{refused}");
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_knows_what_was_known() {
    let t = TestTrigate::start().await;
    let key = t.acme.key.clone();
    let upstream_dies_with_us = t.get("/api/weather", &[("x-api-key", &key)]).await;
    assert_eq!(upstream_dies_with_us.status, 200);
    let folder = t.stop().await;
    let again = Server::start(config::load(&folder.path().join("trigate.toml")).unwrap()).await.unwrap();
    assert_eq!(Wire(again.gate_addr).send("GET", "/.trigate/whoami", &[("x-api-key", &key)], b"").await.status, 200);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_reload_takes_the_new_file_or_keeps_the_old_rules() {
    let t = TestTrigate::start().await;
    let path = t.folder().join("trigate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(t.get("/new", &[]).await.status, 404);

    std::fs::write(&path, format!("{text}\n[[route]]\npath = \"/new\"\nupstream = \"sample\"\n")).unwrap();
    let error = t.running.reload().unwrap_err();
    assert!(error.contains("trigate.toml:") && error.contains("public = true"), "{error}");
    assert_eq!(t.get("/open/x", &[]).await.status, 200);
    assert_eq!(t.get("/new", &[]).await.status, 404);

    std::fs::write(&path, format!("{text}\n[[route]]\npath = \"/new\"\nupstream = \"sample\"\npublic = true\n"))
        .unwrap();
    t.running.reload().unwrap();
    assert_eq!(t.get("/new", &[]).await.status, 200);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_a_stop_lets_requests_in_flight_end() {
    let t = TestTrigate::start().await;
    let gate = t.gate();
    // Its body is still on the way when the stop comes.
    let mut stream = tokio::net::TcpStream::connect(gate.0).await.unwrap();
    let half = b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab";
    tokio::io::AsyncWriteExt::write_all(&mut stream, half).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let finish = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"cd").await.unwrap();
        crate::support::http::read_all(&mut stream, std::time::Duration::from_secs(3)).await
    };
    let begun = std::time::Instant::now();
    let ((read, closed), _folder) = tokio::join!(finish, t.stop());
    assert!(String::from_utf8_lossy(&read).starts_with("HTTP/1.1 200") && closed, "{}", String::from_utf8_lossy(&read));
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
}
