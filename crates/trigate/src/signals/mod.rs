//! What do other issuers tell us unasked? Back-channel logout and security events, pushed or fetched, each of which ends
//! tokens of its issuer here.
//!
//! Trusts an issuer's signature for that issuer's users alone. Never says that a statement was taken before it is durable
//! and holds at every gate, and never takes one twice.

mod event;
mod logout;
mod poll;
mod push;
mod settings;

pub use poll::poll;
pub use settings::{Logout, Settings, Stream};

use crate::operator::Operator;
use arc_swap::ArcSwap;
use axum::{Router, extract::DefaultBodyLimit, routing::post};
use std::sync::Arc;
use trigate_core::{jose::Compact, port::Clock, reason::Reason};
use trigate_gates::Issuers;

/// Bytes of one statement with what is around it.
const MAX_BODY: usize = 64 * 1024;

/// Everything that the receivers need.
pub struct Receiver {
    pub settings: Arc<ArcSwap<Settings>>,
    pub issuers: Arc<Issuers>,
    pub operator: Arc<Operator>,
    pub clock: Arc<dyn Clock>,
}

pub fn router(receiver: Arc<Receiver>) -> Router {
    Router::new()
        .route("/backchannel-logout/{name}", post(logout::endpoint))
        .route("/signals/{name}", post(push::endpoint))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(receiver)
}

/// Why a statement was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refused {
    /// The statement is wrong, and will be tomorrow: a code of RFC 8935 §2.4, and words for people.
    Bad(&'static str, &'static str),
    /// Keys or store cannot be had: it shall be sent again.
    Later,
}

/// The statement's claims, if `issuer` signed it.
async fn verify(
    issuers: &Issuers,
    issuer: &str,
    compact: &Compact<'_>,
) -> Result<trigate_core::jose::Payload, Refused> {
    // RFC 8725 §3.8: else one issuer could end another's tokens.
    if compact.peek_issuer().as_deref() != Some(issuer) {
        return Err(Refused::Bad("invalid_issuer", "another issuer, or none"));
    }
    issuers.verify_statement(issuer, compact).await.map_err(|reason| match reason {
        Reason::LookupUnavailable => Refused::Later,
        _ => Refused::Bad("invalid_key", "no key of this issuer signed it"),
    })
}
