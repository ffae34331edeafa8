//! An axum API behind the three gates: keys, users' tokens and revocations come from a running Trigate's desk.
use axum::{Extension, Router, ServiceExt, extract::ConnectInfo, extract::Request, routing::get};
use std::{env::var, error::Error, net::SocketAddr, path::Path, sync::Arc};
use tower::Layer as _;
use trigate_audit::{SegmentLog, SegmentSettings, own_key};
use trigate_core::identity::Caller;
use trigate_gates::{
    Pattern, RouteRule,
    layer::GateLayer,
    remote::{Remote, RemoteSettings},
    system::SystemClock,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (folder, key) = (Path::new("audit"), own_key(Path::new("checkpoint.key"))?);
    let mut settings = RemoteSettings::new(&var("TRIGATE_DESK")?, &var("TRIGATE_GATE_KEY")?, "orders");
    settings.checkpoint_key = Some(key.verifying_key().clone());
    let desk = Remote::connect(settings).await?;
    let audit = SegmentLog::open(folder, "orders", SegmentSettings::default(), Arc::new(SystemClock::new()), key)?;
    let mut orders = RouteRule::new("orders", Pattern::parse("/orders")?, "token".parse()?);
    orders.demand.scopes = [trigate_core::oauth::Scope::parse("orders:read")?].into_iter().collect();
    let rules = desk.rules(&var("ORDERS_AUDIENCE")?, vec![orders])?;
    let gate = GateLayer::new(desk.gates(audit), rules)
        .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
    let list = async |Extension(caller): Extension<Caller>| format!("orders of {:?}\n", caller.identity);
    let api = gate.layer(Router::new().route("/orders", get(list)));
    let listener = tokio::net::TcpListener::bind(var("ORDERS_LISTEN")?).await?;
    Ok(axum::serve(listener, ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(api)).await?)
}
