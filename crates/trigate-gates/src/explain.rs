//! What would the gates say? The same road, without a record, and without counting.

use crate::{
    outcome::{self, Outcome},
    passage::{Gates, Passage},
    record, refusal,
    request::Request,
    rules::Rules,
};
use serde::Serialize;
use std::sync::Arc;
use trigate_core::{
    audit::{Facts, GateVerdict},
    reason::Reason,
};

/// The three verdicts and the facts behind them.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub route: Option<String>,
    pub allowed: bool,
    /// Status of the refusal; 0 when allowed.
    pub status: u16,
    pub reason: Option<Reason>,
    /// One sentence for the operator.
    pub explanation: Option<&'static str>,
    pub gates: [GateVerdict; 3],
    pub facts: Facts,
    /// Observe mode would let it pass all the same.
    pub observed: bool,
}

/// Judges `request` as [`Gates::admit`] would, writes nothing and counts nothing.
pub async fn explain(gates: &Gates, rules: &Arc<Rules>, request: Request<'_>) -> Explanation {
    let passage = Passage::open(&gates.0, rules, request, false);
    let outcome = outcome::decide(rules, passage.judge().await);
    let (stopped, observed) = match &outcome {
        Outcome::Pass { observed, .. } => (*observed, observed.is_some()),
        Outcome::Refuse(stop) => (Some((stop.gate, stop.reason)), false),
    };
    let established = outcome.established();
    let reason = stopped.map(|(_, reason)| reason);
    Explanation {
        route: established.map(|established| established.route.name.to_string()),
        allowed: stopped.is_none(),
        status: reason.map_or(0, |reason| refusal::status(reason).as_u16()),
        reason,
        explanation: reason.map(Reason::explanation),
        gates: record::verdicts(established.is_some_and(|it| it.route.public), established.is_some(), stopped),
        facts: established.map(|established| established.facts()).unwrap_or_default(),
        observed,
    }
}
