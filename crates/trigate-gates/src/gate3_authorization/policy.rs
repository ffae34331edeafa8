//! Does a policy object? Asked last, through the port, about facts that are proven.

use crate::{established::Established, passage::Passage};
use trigate_core::{
    port::{PolicyVerdict, Question},
    reason::Reason,
};

pub(super) fn check(passage: &Passage<'_>, established: &mut Established) -> Result<(), Reason> {
    let Some(policy) = &passage.gates.policy else { return Ok(()) };
    let verdict = policy.judge(&Question {
        route: &established.route.name,
        method: passage.request.method.as_str(),
        path: established.path.as_str(),
        application: established.application_id(),
        identity: established.identity(),
        scopes: &established.scopes(),
        roles: established.roles(),
    });
    let (judged, policies) = match verdict {
        PolicyVerdict::Allow { policies } => (Ok(()), policies),
        PolicyVerdict::Deny { reason, policies } => (Err(reason), policies),
    };
    established.policies = policies;
    judged
}
