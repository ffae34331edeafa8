//! Does the subject have one of the roles that the route demands? An API key has none.

use crate::established::Established;
use trigate_core::reason::Reason;

pub(super) fn check(established: &Established) -> Result<(), Reason> {
    let wanted = &established.route.demand.any_role;
    if wanted.is_empty() || established.roles().iter().any(|role| wanted.contains(role)) {
        Ok(())
    } else {
        Err(Reason::RoleMissing)
    }
}
