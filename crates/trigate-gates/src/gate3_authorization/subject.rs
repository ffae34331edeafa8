//! May this kind of subject ask here? A token whose subject is a client is no user; a key is nobody. // RFC 9068 §5

use crate::{established::Established, rules::SubjectKind};
use trigate_core::reason::Reason;

pub(super) fn check(established: &Established) -> Result<(), Reason> {
    let wanted = &established.route.subjects;
    if wanted.is_empty() || wanted.contains(&established.subject()) {
        return Ok(());
    }
    if wanted.contains(&SubjectKind::User) { Err(Reason::SubjectNotUser) } else { Err(Reason::SubjectNotService) }
}
