//! `trigate try`: before one's own API, with one's own issuer, nothing configured.

use crate::support::{TestTrigate, http::Wire, upstream::Upstream};
use std::{
    io::Write,
    sync::{Arc, Mutex},
};
use trigate::proxy::try_mode::{TryArgs, start};

#[derive(Clone, Default)]
struct Terminal(Arc<Mutex<Vec<u8>>>);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Terminal {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_observes_first_and_enforces_when_told() {
    // Another Trigate is the foreign issuer.
    let t = TestTrigate::start().await;
    let api = Upstream::start().await;
    let args = |enforce| TryArgs {
        issuer: t.running.urls.issuer.clone(),
        upstream: format!("http://{}", api.address),
        audience: vec![t.running.urls.gate.clone()],
        listen: "127.0.0.1:0".parse().unwrap(),
        enforce,
    };
    let token = format!("Bearer {}", t.alice_token("openid orders:read").await);

    let screen = Terminal::default();
    let trying = start(args(false), Box::new(screen.clone())).await.unwrap();
    let gate = Wire(trying.address);
    assert_eq!(gate.send("GET", "/orders", &[("authorization", &token)], b"").await.status, 200);
    assert_eq!(api.last().header("authorization"), Some(token.as_str()));
    assert_eq!(gate.send("GET", "/orders", &[], b"").await.status, 200);
    assert_eq!(gate.send("GET", "/orders", &[("authorization", "Bearer nonsense")], b"").await.status, 200);
    let text = screen.text();
    assert!(text.contains("OBSERVE: nothing is refused"), "{text}");
    assert!(text.contains("allow         GET /orders") && text.contains(&t.alice.id), "{text}");
    assert!(text.contains("WOULD REFUSE  GET /orders") && text.contains("token.missing"), "{text}");
    assert!(!text.contains(&token[7..60]), "{text}");
    trying.stop().await;

    let screen = Terminal::default();
    let trying = start(args(true), Box::new(screen.clone())).await.unwrap();
    let gate = Wire(trying.address);
    assert_eq!(gate.send("GET", "/orders", &[("authorization", &token)], b"").await.status, 200);
    assert_eq!(gate.send("GET", "/orders", &[], b"").await.status, 401);
    assert!(screen.text().contains("REFUSE 401"), "{}", screen.text());
    trying.stop().await;
    t.stop().await;
}
