//! What do the operator's policies say? Cedar behind the core's port: loaded and validated whole, sliced per route and
//! method, so that a request is judged by the few policies that can match it.
//!
//! Trusts the facts it is asked about: they were proven before. Never allows by an error, and never by silence.

mod fault;
mod load;
mod question;
mod slice;
#[cfg(test)]
mod tests;

pub use fault::{Fault, Faults};
pub use load::{RouteFace, Source};

use cedar_policy::{AuthorizationError, Authorizer, Decision, PolicyId, PolicySet};
use slice::Slices;
use std::{collections::HashMap, sync::Arc};
use trigate_core::{
    port::{Policy, PolicyVerdict, Question},
    reason::Reason,
};

/// All policies in force, by route.
pub struct Policies {
    routes: HashMap<String, Slices>,
    /// What each policy is called in records.
    names: HashMap<PolicyId, String>,
    authorizer: Authorizer,
    count: usize,
}

/// The policies that can match one method on one route, and what of a request they read.
pub(crate) struct Slice {
    pub policies: PolicySet,
    pub reads_context: bool,
    pub reads_roles: bool,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policies({} on {} routes)", self.count, self.routes.len())
    }
}

impl Policies {
    /// Reads, validates and slices. All faults are told at once.
    ///
    /// # Errors
    /// What does not parse, what the schema does not know, what names a route that does not exist, templates.
    pub fn load(sources: &[Source<'_>], routes: &[RouteFace<'_>]) -> Result<Self, Faults> {
        load::load(sources, routes)
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn named<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Vec<String> {
        let mut names: Vec<String> = ids.map(|id| self.names.get(id).cloned().unwrap_or_default()).collect();
        names.sort_unstable();
        names
    }

    fn decide(&self, slice: &Slice, question: &Question<'_>) -> PolicyVerdict {
        let deny = |policies| PolicyVerdict::Deny { reason: Reason::PolicyDenied, policies };
        // A fact that cannot be put into words here is no reason to let anybody in.
        let Some((request, entities)) = question::put(slice, question) else { return deny(Vec::new()) };
        let response = self.authorizer.is_authorized(&request, &slice.policies, &entities);
        let diagnostics = response.diagnostics();
        // Cedar leaves a policy out that fails; a `forbid` left out would let somebody in.
        if diagnostics.errors().next().is_some() {
            return deny(self.named(
                diagnostics.errors().map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id()),
            ));
        }
        let policies = self.named(diagnostics.reason());
        match response.decision() {
            Decision::Allow => PolicyVerdict::Allow { policies },
            Decision::Deny => deny(policies),
        }
    }
}

impl Policy for Policies {
    fn judge(&self, question: &Question<'_>) -> PolicyVerdict {
        match self.routes.get(question.route).and_then(|slices| slices.of(question.method)) {
            Some(slice) => self.decide(slice, question),
            // No policy permits anything here.
            None => PolicyVerdict::Deny { reason: Reason::PolicyDenied, policies: Vec::new() },
        }
    }
}

pub(crate) type Shared = Arc<Slice>;
