//! Does what was allowed still stand? For answers that are still flowing: everything that the permit was given by is
//! judged again by what this gate knows now.
//!
//! Pure: no await, no record, nothing is counted. Judges by the rules that the permit was given under, and never finds
//! anything allowed that was not. The policy and the age of a login are not asked again.

use crate::{
    gate1_identification::api_key,
    gate2_authentication::{jwt, token},
    gate3_authorization,
    passage::{Gates, Inner},
    permit::Granted,
    rules::{Enforce, WithoutLease},
};
use std::sync::Arc;
use trigate_core::{Position, Timestamp, application::State, reason::Reason};

/// A permit's credentials, to be asked about while a stream is open.
#[derive(Clone)]
pub struct Standing(pub(crate) Arc<Granted>);

impl Standing {
    /// # Errors
    /// Why the same request would be refused now: the stream ends.
    pub fn check(&self, gates: &Gates) -> Result<(), Reason> {
        let granted = &*self.0;
        let observes = granted.observed.is_some() || granted.rules.enforce == Enforce::Observe;
        if granted.established.route.public || observes {
            return Ok(());
        }
        check_lease(granted, &gates.0)?;
        check_key(granted, &gates.0)?;
        check_token(granted, &gates.0)?;
        check_certificate(granted, &gates.0)?;
        check_applications(granted, &gates.0)?;
        check_narrowed(granted, &gates.0)
    }

    /// When time alone ends it.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let granted = &*self.0;
        let established = &granted.established;
        if established.route.public {
            return None;
        }
        let of_token = established.token.as_ref().map(|token| {
            let leeway = granted.rules.issuer(&token.facts.issuer).map_or(0, |rule| rule.leeway_s.min(60));
            token.facts.expires_at.plus_seconds(i64::from(leeway))
        });
        let of_key = established.key.as_ref().and_then(|holder| holder.record.expires_at());
        let of_certificate = granted.certificate.as_ref().map(|certificate| certificate.not_after);
        [of_token, of_key, of_certificate].into_iter().flatten().min()
    }

    /// The changes that it was judged by when it was given.
    pub fn position(&self) -> Position {
        self.0.established.position
    }
}

/// SECURITY: a gate that may have missed a revocation carries nothing on, where the route says so: the answer to a
/// revocation does not wait for a gate without a lease.
fn check_lease(granted: &Granted, gates: &Inner) -> Result<(), Reason> {
    let may = granted.established.route.without_lease() == WithoutLease::Allow;
    if may || gates.known.trusted(gates.clock.monotonic()) { Ok(()) } else { Err(Reason::GateStale) }
}

fn check_key(granted: &Granted, gates: &Inner) -> Result<(), Reason> {
    let Some(holder) = &granted.established.key else { return Ok(()) };
    let record = gates.known.key(&holder.record.digest).ok_or(Reason::KeyUnknown)?;
    api_key::judge_key(&gates.known, record, granted.client, gates.clock.now()).map(|_| ())
}

fn check_token(granted: &Granted, gates: &Inner) -> Result<(), Reason> {
    let Some(held) = &granted.established.token else { return Ok(()) };
    let (facts, now) = (&held.facts, gates.clock.now());
    let rule = granted.rules.issuer(&facts.issuer).ok_or(Reason::TokenIssuer)?;
    token::check_times(facts, rule, now)?;
    token::check_known(&gates.known, held)?;
    match (held.signed, held.ours) {
        (false, _) => Ok(()),
        (true, true) => jwt::published_key(&gates.known, facts.kid.as_deref(), now).map(|_| ()),
        (true, false) => gates.issuers.check_key(&facts.issuer, facts.kid.as_deref()),
    }
}

fn check_certificate(granted: &Granted, gates: &Inner) -> Result<(), Reason> {
    let Some(certificate) = granted.certificate.as_deref() else { return Ok(()) };
    if gates.clock.now() > certificate.not_after {
        return Err(Reason::CertificateInvalid);
    }
    gates.known.check_certificate(certificate)?;
    match &granted.established.machine {
        Some(machine) => gates.known.check_machine(&machine.application, certificate.not_before),
        None => Ok(()),
    }
}

fn check_applications(granted: &Granted, gates: &Inner) -> Result<(), Reason> {
    let established = &granted.established;
    let of_token = established.token.as_ref().and_then(|token| token.facts.application.as_ref());
    let of_machine = established.machine.as_ref().map(|machine| &machine.application);
    for id in [of_token, of_machine].into_iter().flatten() {
        let application = gates.known.application(id).ok_or(Reason::ApplicationDisabled)?;
        if application.state != State::Enabled {
            return Err(Reason::ApplicationDisabled);
        }
    }
    Ok(())
}

/// What was taken away since the token was minted may have been what the route demands.
fn check_narrowed(granted: &Granted, gates: &Inner) -> Result<(), Reason> {
    let held = granted.established.token.as_ref().filter(|token| token.ours && gates.known.may_narrow(&token.facts));
    let Some(held) = held else { return Ok(()) };
    let mut narrowed = held.clone();
    gates.known.narrow(Arc::make_mut(&mut narrowed.facts));
    let mut established = granted.established.clone();
    established.token = Some(narrowed);
    gate3_authorization::judge_again(&established)
}
