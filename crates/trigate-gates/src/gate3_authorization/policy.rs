//! Do the operator's policies permit it? Asked last, through the port, about facts that are proven.
//! Never lets in where a route wants policies and there are none.

use crate::{established::Established, passage::Passage};
use trigate_core::{
    port::{PolicyVerdict, Question},
    reason::Reason,
};

pub(super) fn check(passage: &Passage<'_>, established: &mut Established) -> Result<(), Reason> {
    if !established.route.policy {
        return Ok(());
    }
    let Some(policy) = &passage.rules.policy else { return Err(Reason::PolicyDenied) };
    let token = established.acting_token().map(|token| &token.facts);
    let foreign = |issuer: &&str| !passage.rules.issuer(issuer).is_some_and(|rule| rule.ours);
    let verdict = policy.judge(&Question {
        route: &established.route.name,
        method: passage.request.method.as_str(),
        path: established.path.as_str(),
        address: passage.client,
        application: established.application_id(),
        identity: established.identity(),
        issuer: token.map(|facts| facts.issuer.as_ref()).filter(foreign),
        client: token.and_then(|facts| facts.client.as_ref()).map(|client| client.as_str()),
        acr: token.and_then(|facts| facts.acr.as_deref()),
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
