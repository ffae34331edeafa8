//! Who may tell us that a key of ours lies open, and what is answered? Reports in the form of GitHub's secret scanning
//! partner programme: signed by ECDSA over P-256, each key revoked or flagged, its owner told.
//!
//! Trusts a scanner's signature over the raw bytes, and nothing before it. Never says of a text more than whether it is a
//! key of ours, to nobody but a scanner; never keeps or repeats the text.

mod endpoint;
mod keys;
mod notice;
mod settings;
mod strangers;

pub use notice::{Notices, Teller};
pub use settings::{Scanner, Settings};

use self::{keys::FetchedKeys, strangers::Strangers};
use crate::operator::Operator;
use arc_swap::ArcSwap;
use axum::{Router, extract::DefaultBodyLimit, routing::post};
use std::sync::Arc;
use trigate_core::port::Clock;
use trigate_outbound::Outbound;

/// Bytes of one report: thousands of findings.
const MAX_BODY: usize = 1 << 20;

/// Everything that the endpoint needs.
pub struct Reports {
    settings: Arc<ArcSwap<Settings>>,
    operator: Arc<Operator>,
    clock: Arc<dyn Clock>,
    fetched: FetchedKeys,
    strangers: Strangers,
    notices: Notices,
    /// One report at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Reports {
    pub fn new(
        settings: Arc<ArcSwap<Settings>>,
        operator: Arc<Operator>,
        clock: Arc<dyn Clock>,
        outbound: Outbound,
        notices: Notices,
    ) -> Self {
        let fetched = FetchedKeys::new(Arc::new(outbound), Arc::clone(&clock));
        Self {
            settings,
            operator,
            clock,
            fetched,
            strangers: Strangers::default(),
            notices,
            turn: tokio::sync::Mutex::default(),
        }
    }
}

pub fn router(reports: Arc<Reports>) -> Router {
    Router::new()
        .route("/leaked-keys/{name}", post(endpoint::endpoint))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(reports)
}
