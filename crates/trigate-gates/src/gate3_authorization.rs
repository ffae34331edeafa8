//! Gate 3: are you allowed to do this? Subject, agreement, scopes, roles, policy, in this order.
//!
//! Pure: no await, no look-up. Judges proven facts alone.

mod agreement;
mod policy;
mod role;
mod scope;
mod subject;

use crate::{
    established::{Established, Stop},
    gate2_authentication::Current,
    passage::Passage,
};
use trigate_core::{audit::GateName, reason::Reason};

/// A request that may go on.
pub(crate) struct Authorized(pub(crate) Box<Established>);

pub(crate) fn authorize(passage: &Passage<'_>, current: Current) -> Result<Authorized, Stop> {
    let Current { mut established } = current;
    if established.route.public {
        return Ok(Authorized(established));
    }
    match judge(passage, &mut established) {
        Ok(()) => Ok(Authorized(established)),
        Err(reason) => Err(Stop::at(GateName::Authorization, reason, established)),
    }
}

fn judge(passage: &Passage<'_>, established: &mut Established) -> Result<(), Reason> {
    judge_again(established)?;
    policy::check(passage, established)
}

/// All but the policy: what is asked of an open stream, too.
pub(crate) fn judge_again(established: &Established) -> Result<(), Reason> {
    agreement::check(established)?;
    subject::check(established)?;
    scope::check(established)?;
    role::check(established)
}
