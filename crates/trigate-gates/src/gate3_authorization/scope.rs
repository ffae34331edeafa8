//! Does the subject have every scope that the route demands, and may the key be used for them?

use crate::established::Established;
use trigate_core::reason::Reason;

pub(super) fn check(established: &Established) -> Result<(), Reason> {
    let demanded = &established.route.demand.scopes;
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
    let of_key = established.key.as_ref().and_then(|holder| holder.record.scopes.as_ref());
    if of_key.is_some_and(|scopes| !demanded.is_subset(scopes)) {
        return Err(Reason::KeyScopeMissing);
    }
    Ok(())
}
