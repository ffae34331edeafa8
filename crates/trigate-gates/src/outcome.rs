//! Does a refusal refuse? Only observe mode says no, and only for what goes to an upstream.

use crate::{
    established::{Established, Stop},
    gate3_authorization::Authorized,
    rules::{Enforce, RouteKind, Rules},
};
use trigate_core::{audit::GateName, reason::Reason};

pub(crate) enum Outcome {
    /// `observed`: where and why it would have been refused.
    Pass {
        established: Box<Established>,
        observed: Option<(Option<GateName>, Reason)>,
    },
    Refuse(Stop),
}

impl Outcome {
    pub fn established(&self) -> Option<&Established> {
        match self {
            Self::Pass { established, .. } => Some(established),
            Self::Refuse(stop) => stop.established.as_deref(),
        }
    }
}

pub(crate) fn decide(rules: &Rules, judged: Result<Authorized, Stop>) -> Outcome {
    let stop = match judged {
        Ok(Authorized(established)) => return Outcome::Pass { established, observed: None },
        Err(stop) => stop,
    };
    // SECURITY: the desk, userinfo and whoami are never merely observed: they would answer strangers.
    let observes = rules.enforce == Enforce::Observe;
    match stop.established {
        Some(established) if observes && established.route.kind == RouteKind::Upstream => {
            Outcome::Pass { established, observed: Some((stop.gate, stop.reason)) }
        }
        established => Outcome::Refuse(Stop { established, ..stop }),
    }
}
