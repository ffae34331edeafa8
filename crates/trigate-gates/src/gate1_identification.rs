//! Gate 1: who claims to be calling? An API key shows possession and names an application, its plan and its limit.
//! What a token or a certificate says stays a claim here: gate 2 proves it.
//!
//! Never authenticates anybody: a key is no user.

pub(crate) mod api_key;
pub mod quota;
pub mod rate_limit;

use crate::{
    established::{Established, Stop},
    passage::Passage,
    request::{Credential, Presented, PresentedToken},
    rules::CredentialKind,
};
use trigate_core::{audit::GateName, reason::Reason};

/// A request whose key, if it has one, is good, and which is within its limits. Tokens and certificates are claims.
pub struct Identified<'a> {
    pub(crate) established: Box<Established>,
    pub(crate) token: Credential<PresentedToken<'a>>,
}

const GATE: GateName = GateName::Identification;

pub(crate) fn identify<'a>(
    passage: &Passage<'a>,
    presented: &Presented<'a>,
    mut established: Box<Established>,
) -> Result<Identified<'a>, Stop> {
    if established.route.public {
        return check_limits(passage, established)
            .map(|established| Identified { established, token: Credential::Absent });
    }
    match &presented.key {
        Credential::Absent => {}
        Credential::Rejected(reason) => return Err(Stop::at(GATE, *reason, established)),
        Credential::Accepted(key) => match api_key::find_key(passage.known(), *key) {
            Err(reason) => return Err(Stop::at(GATE, reason, established)),
            Ok(record) => {
                // Possession is shown: the record names the key even when it is refused.
                established.key_seen = Some(record.clone());
                match api_key::judge_key(passage.known(), record, passage.client, passage.now) {
                    Err(reason) => return Err(Stop::at(GATE, reason, established)),
                    Ok(holder) => established.key = Some(holder),
                }
            }
        },
    }
    if established.key.is_none() && established.route.demands.always(CredentialKind::Key) {
        return Err(Stop::at(GATE, Reason::KeyMissing, established));
    }
    let established = check_limits(passage, established)?;
    Ok(Identified { established, token: presented.token.clone() })
}

/// Limits by key, here; by token or certificate, after gate 2 has proven them.
pub(crate) fn check_limits(passage: &Passage<'_>, mut established: Box<Established>) -> Result<Box<Established>, Stop> {
    let application = established.application();
    let waits_for_proof = application.is_none() && !established.route.public && !established.authenticated;
    if established.limits_judged || waits_for_proof {
        return Ok(established);
    }
    established.limits_judged = true;
    let limited = passage.limit_application(application.as_deref(), &mut established);
    match limited {
        None => Ok(established),
        Some((reason, retry_after_s)) => {
            let gate = if established.authenticated { GateName::Authentication } else { GATE };
            Err(Stop::at(gate, reason, established).retry_after(retry_after_s))
        }
    }
}

/// Limits by user, after gate 2 has proven one: a claim must not use up another's.
pub(crate) fn check_user_limits(
    passage: &Passage<'_>,
    mut established: Box<Established>,
) -> Result<Box<Established>, Stop> {
    match passage.limit_user(&mut established) {
        None => Ok(established),
        Some(retry_after_s) => {
            Err(Stop::at(GateName::Authentication, Reason::UserLimited, established).retry_after(retry_after_s))
        }
    }
}
