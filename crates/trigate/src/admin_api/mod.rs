//! The HTTP door to `operator/`: one handler per verb, JSON in and out.
//!
//! Trusts the gates before it: a request without a `Caller` never reaches a verb. Never decides anything itself.

mod problem;
mod routes;

pub use problem::Problem;

use crate::operator::{By, Operator};
use axum::{Router, extract::FromRequestParts};
use http::request::Parts;
use std::sync::Arc;
use trigate_core::{
    Actor,
    identity::{Caller, Identity},
};

/// Where the desk's API begins.
pub const PREFIX: &str = "/api/v1";

/// Bytes of a request's body: an import of some thousand keys.
const MAX_BODY: usize = 4 << 20;

pub fn router(operator: Arc<Operator>) -> Router {
    Router::new()
        .nest(PREFIX, routes::all())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .with_state(operator)
}

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    /// INVARIANT: no `Caller`, no act: a router mounted without its gates answers 500 to everything.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if let Some(local) = parts.extensions.get::<LocalOperator>() {
            return Ok(Self { reason: reason_of(parts), ..local.0.clone() });
        }
        let caller = parts.extensions.get::<Caller>().ok_or_else(Problem::not_behind_gates)?;
        // Ids, not e-mails: erasing a person leaves the chain whole.
        let name = match &caller.identity {
            Identity::User { id, .. } => id.to_string(),
            Identity::Service { client } => client.to_string(),
            Identity::Machine { name } => name.clone(),
        };
        Ok(Self {
            actor: Actor::Operator { name },
            address: Some(caller.address),
            request: Some(caller.request.clone()),
            reason: reason_of(parts),
        })
    }
}

/// Put into a request's extensions by the command line on a stopped server, where the lock of the data folder is the gate.
#[derive(Clone, Debug)]
pub struct LocalOperator(pub By);

/// `?why=`: the operator's own words for the act, one line.
fn reason_of(parts: &Parts) -> Option<String> {
    let query = parts.uri.query()?;
    let (_, why) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "why")?;
    let line: String = why.chars().filter(|c| !c.is_control()).take(500).collect();
    (!line.trim().is_empty()).then(|| trigate_core::credential::mask_secrets(line.trim()))
}

#[cfg(test)]
mod tests;
