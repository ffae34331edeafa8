//! What stands behind the gate in the demonstration? A small API that believes what the gate tells it and checks nothing.
//!
//! Trusts the `X-Trigate-*` headers: it listens on loopback, and the gate strips what clients send under those names.

use axum::{
    Json, Router,
    extract::Query,
    routing::{get, post},
};
use http::HeaderMap;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, sync::watch};

pub fn router() -> Router {
    Router::new()
        .route("/api/weather", get(weather))
        .route("/api/users/me/orders", get(orders))
        .route("/api/reports", get(reports))
        .route("/api/inventory", get(inventory))
        .route("/api/ship", post(ship))
        .route("/api/transfer", post(transfer))
        .route("/api/gold-offers", get(gold_offers))
}

/// Serves until `stop` changes.
pub async fn serve(address: SocketAddr, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let router = router();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            let service = TowerToHyperService::new(router.clone());
            let mut stop = stop.clone();
            tokio::spawn(async move {
                let mut server = auto::Builder::new(TokioExecutor::new());
                server.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
                let connection = server.serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    _ = connection => {}
                    _ = stop.changed() => {}
                }
            });
        }
    });
    Ok(())
}

/// What the gate says about the caller.
fn told(headers: &HeaderMap, name: &str) -> Value {
    headers.get(name).and_then(|value| value.to_str().ok()).map_or(Value::Null, Value::from)
}

#[derive(Deserialize)]
struct City {
    city: Option<String>,
}

async fn weather(Query(City { city }): Query<City>, headers: HeaderMap) -> Json<Value> {
    let city = city.unwrap_or_else(|| "paris".to_owned());
    // The same city has the same weather all day.
    let degrees = 5 + city.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 25;
    Json(json!({ "city": city, "celsius": degrees, "asked_by_application": told(&headers, "x-trigate-application") }))
}

async fn orders(headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "user": told(&headers, "x-trigate-user"),
        "orders": [{ "id": "A-1001", "item": "umbrella" }, { "id": "A-1002", "item": "sunglasses" }],
    }))
}

async fn reports(headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "report": "sales",
        "application": told(&headers, "x-trigate-application"),
        "user": told(&headers, "x-trigate-user"),
    }))
}

async fn inventory(headers: HeaderMap) -> Json<Value> {
    Json(
        json!({ "umbrellas": 12, "asked_by_service": told(&headers, "x-trigate-client"), "kind": told(&headers, "x-trigate-subject-kind") }),
    )
}

async fn ship(headers: HeaderMap) -> Json<Value> {
    Json(
        json!({ "shipped": true, "machine": told(&headers, "x-trigate-machine"), "service": told(&headers, "x-trigate-client") }),
    )
}

async fn transfer(headers: HeaderMap) -> Json<Value> {
    Json(json!({ "transferred": true, "user": told(&headers, "x-trigate-user") }))
}

async fn gold_offers(headers: HeaderMap) -> Json<Value> {
    Json(json!({ "offers": ["umbrella, half price"], "roles": told(&headers, "x-trigate-roles") }))
}
