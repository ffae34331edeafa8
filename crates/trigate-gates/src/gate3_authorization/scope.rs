//! Does the subject have every scope that the route demands, and may the key be used for them?

use crate::{established::Established, rules::RouteKind};
use trigate_core::reason::Reason;

pub(super) fn check(established: &Established) -> Result<(), Reason> {
    let demanded = &established.route.demand.scopes;
    let of_key = established.key.as_ref().and_then(|holder| holder.record.scopes());
    // SECURITY: a gate's key lies on machines at the rim: whoever finds one gets a gate's knowledge, and no API.
    let for_gates = of_key.is_some_and(|scopes| scopes.iter().any(|scope| scope.as_str() == trigate_core::desk::SCOPE));
    if for_gates && established.route.kind != RouteKind::GateApi {
        return Err(Reason::KeyScopeMissing);
    }
    if demanded.is_empty() {
        return Ok(());
    }
    let subject = match (established.acting_token(), established.acting_machine()) {
        (Some(token), _) => Some(&token.facts.scopes),
        (None, Some(machine)) => Some(&machine.scopes),
        // A key alone: its own scopes are judged below; without any the route decides.
        (None, None) => None,
    };
    if subject.is_some_and(|scopes| !demanded.is_subset(scopes)) {
        return Err(Reason::ScopeMissing);
    }
    if established.route.scoped_keys && established.key.is_some() && of_key.is_none() {
        return Err(Reason::KeyScopeMissing);
    }
    if of_key.is_some_and(|scopes| !demanded.is_subset(scopes)) {
        return Err(Reason::KeyScopeMissing);
    }
    Ok(())
}
