//! What do the rooms ask of each other beyond the ports? Assertions for upstreams, `explain` for the desk, and the probes.

use super::reload::Reload;
use crate::{
    metrics::Metrics,
    operator::explain::{Explainer, Question},
    proxy::Extras,
};
use async_trait::async_trait;
use axum::{Router, routing::get};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::runtime::Handle;
use tower::ServiceExt as _;
use trigate_audit::SegmentLog;
use trigate_core::port::{Clock, Monotonic, Store};
use trigate_gates::{Gates, Known, Permit};
use trigate_issuer::{AssertionRequest, Issuer};

/// Signs assertions with the issuer's keys.
pub(super) struct IssuerExtras {
    pub(super) issuer: Arc<Issuer>,
    pub(super) desk: Handle,
}

impl Extras for IssuerExtras {
    fn assertion(&self, permit: &Permit, upstream: &str) -> Option<String> {
        let facts = permit.facts();
        let subject = facts.user.as_ref().map(ToString::to_string).or_else(|| facts.machine.clone());
        let subject = subject.or_else(|| facts.client.as_ref().map(ToString::to_string));
        let subject = subject
            .or_else(|| facts.application.as_ref().map(ToString::to_string))
            .unwrap_or_else(|| "anonymous".to_owned());
        let mut claims = serde_json::Map::new();
        if let Ok(serde_json::Value::Object(facts)) = serde_json::to_value(facts) {
            claims.extend(facts.into_iter().filter(|(name, _)| name != "issuer" && name != "policies"));
        }
        claims.insert("request".into(), permit.request_id().as_str().into());
        let request = AssertionRequest { audience: upstream, subject: &subject, claims };
        self.issuer.mint_assertion(request).map_err(|error| tracing::error!(%error, "no assertion was signed")).ok()
    }

    fn jwks(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> {
        let (issuer, desk) = (Arc::clone(&self.issuer), self.desk.clone());
        Box::pin(async move {
            let request = http::Request::get("/.well-known/jwks.json").body(axum::body::Body::empty()).ok()?;
            let answer = desk.spawn(trigate_issuer::router(issuer).oneshot(request)).await.ok()?.ok()?;
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.ok()?;
            String::from_utf8(bytes.to_vec()).ok()
        })
    }
}

/// Answers `trigate explain` by the code that judges requests.
pub(super) struct GatesExplainer {
    pub(super) gates: Arc<Gates>,
    pub(super) reload: Arc<Reload>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What the desk's probes look at.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) store: Arc<dyn Store>,
    pub(super) known: Arc<Known>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) audit: Arc<SegmentLog>,
    pub(super) metrics: Arc<Metrics>,
    /// What the last probe of the store found, and when: anyone may ask, and each probe costs a commit.
    pub(super) probed: Arc<tokio::sync::Mutex<Option<(Monotonic, bool)>>>,
}

const PROBE_EVERY_US: u64 = 1_000_000;

impl Health {
    async fn store_answers(&self) -> bool {
        let mut probed = self.probed.lock().await;
        let now = self.clock.monotonic();
        if let Some((at, answer)) = *probed
            && now.0.saturating_sub(at.0) < PROBE_EVERY_US
        {
            return answer;
        }
        let system = self.store.system();
        let answer = matches!(tokio::time::timeout(Duration::from_secs(2), system.check_ready()).await, Ok(Ok(())));
        *probed = Some((now, answer));
        answer
    }
}

pub(super) fn health(health: Health) -> Router {
    let ready = health.clone();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || readiness(ready.clone())))
        .route(
            "/metrics",
            get(move || {
                let health = health.clone();
                async move {
                    health.metrics.audit_next.store(health.audit.head().length, Ordering::Relaxed);
                    health.metrics.feed_position.store(health.known.position().0, Ordering::Relaxed);
                    let remaining = health.known.lease_remaining_ms(health.clock.monotonic());
                    health.metrics.lease_remaining_ms.store(remaining, Ordering::Relaxed);
                    ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics.render())
                }
            }),
        )
}

async fn readiness(health: Health) -> (http::StatusCode, axum::Json<serde_json::Value>) {
    let store = health.store_answers().await;
    let lease = health.known.trusted(health.clock.monotonic());
    let audit = health.audit.health().failure.is_none();
    let ready = store && lease && audit;
    let status = if ready { http::StatusCode::OK } else { http::StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": ready, "store": store, "lease": lease, "audit": audit, "position": health.known.position() });
    (status, axum::Json(body))
}

#[async_trait]
impl Explainer for GatesExplainer {
    async fn explain(&self, question: &Question) -> Result<serde_json::Value, crate::operator::OperatorError> {
        let trust = self.reload.trust.now();
        let trusted = trust.is_configured().then_some(trust.as_ref());
        let rules = Arc::clone(&self.reload.road.load().rules);
        crate::proxy::explain(&self.gates, &rules, question, trusted, self.clock.now()).await
    }
}
