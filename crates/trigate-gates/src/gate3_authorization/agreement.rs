//! Are key, token and certificate of one application? Else a stolen half could be completed by another's (K14).

use crate::established::Established;
use trigate_core::{id::AppId, reason::Reason};

pub(super) fn check(established: &Established) -> Result<(), Reason> {
    if !established.route.agree {
        return Ok(());
    }
    // What names no application at all agrees with nothing but itself.
    let key = established.key.as_ref().map(|holder| Some(&holder.application.id));
    let token = established.token.as_ref().map(|token| token.facts.application.as_ref());
    let machine = established.machine.as_ref().map(|machine| Some(&machine.application));
    let mut all = [key, token, machine].into_iter().flatten();
    let first: Option<Option<&AppId>> = all.next();
    if all.all(|other| Some(other) == first) { Ok(()) } else { Err(Reason::ApplicationsDiffer) }
}
