//! Serves the issuer's pages on a loopback port, with a throw-away store, to be looked at: `cargo run -p trigate-issuer
//! --example pages -- 8095`. Pages that need a login are shown under `/look/…`. Never part of the product.

#![allow(dead_code, reason = "the stage is the tests' own")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a workbench, not the product"
)]
#[path = "../tests/it/support.rs"]
mod support;

use axum::{
    Router,
    extract::{Path, State},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use std::{sync::Arc, time::Duration};
use support::{CALLBACK, Page, Stage, config};
use trigate_core::{Timestamp, client::ClientAuthentication, port::testing::StoppedClock};

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8095);
    let config = trigate_issuer::IssuerConfig { issuer: format!("http://localhost:{port}"), ..config() };
    #[allow(clippy::disallowed_methods, reason = "a workbench has no hall to take the time from")]
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let clock = StoppedClock::at(Timestamp::from_seconds(since_1970.as_secs().cast_signed()));
    let stage = Arc::new(Stage::start_with(config, Arc::new(clock.clone())).await);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clock.advance_s(1);
        }
    });
    stage
        .add_client("asker", ClientAuthentication::None, |client| {
            client.asks_consent = true;
            client.redirect_uris = vec![CALLBACK.into(), "http://127.0.0.1/cb".into()];
        })
        .await;
    let looks = Router::new().route("/look/{what}", get(look)).with_state(stage.clone());
    println!("http://localhost:{port}{}", stage.authorize_path("asker", &[]));
    println!("http://localhost:{port}{}", stage.authorize_path("asker", &[("redirect_uri", "http://127.0.0.1:9/cb")]));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, stage.router.clone().merge(looks)).await.unwrap();
}

async fn look(State(stage): State<Arc<Stage>>, Path(what): Path<String>) -> Response {
    let mut browser = stage.browser();
    let login = browser.follow(&stage.authorize_path("asker", &[])).await;
    let page = match what.as_str() {
        "login-error" => browser.submit_login(&login, "alice@example.com", "wrong").await,
        "too-many" => {
            for _ in 0..10 {
                browser.submit_login(&login, "bob@example.com", "wrong").await;
            }
            browser.submit_login(&login, "bob@example.com", "wrong").await
        }
        "consent" => {
            browser.sign_in(&stage.authorize_path("asker", &[("scope", "openid email orders:read orders:write")])).await
        }
        "addition" => {
            let page = browser.sign_in(&stage.authorize_path("asker", &[("scope", "orders:read")])).await;
            browser.post(&page.action(), &[("csrf", &page.value("csrf")), ("decision", "allow")]).await;
            browser.follow(&stage.authorize_path("asker", &[("scope", "orders:read orders:write")])).await
        }
        "logout" | "home" => {
            browser.sign_in(&stage.authorize_path("mobile", &[])).await;
            browser.get(if what == "home" { "/" } else { "/logout" }).await
        }
        _ => browser.get(&stage.authorize_path("asker", &[("redirect_uri", "https://evil.test/")])).await,
    };
    shown(page)
}

fn shown(page: Page) -> Response {
    let policy = page.header("content-security-policy").to_owned();
    ([("content-security-policy", policy)], Html(page.body)).into_response()
}
