//! Gate 2: can you prove it? Access tokens (JWT or opaque) and client certificates become an identity; then, without
//! another await, it is asked whether all of it is still true.
//!
//! Trusts keys and look-ups alone. A bad credential is never ignored because another one is good.

pub mod assurance;
pub(crate) mod introspection;
pub mod issuers;
pub(crate) mod jwt;
pub(crate) mod mtls;
pub(crate) mod opaque;
mod sender;
pub(crate) mod token;
pub(crate) mod used_proofs;

pub(crate) use self::{mtls::Machine, token::Token};
use crate::{
    established::{Established, Stop},
    gate1_identification::{self, Identified, api_key},
    passage::Passage,
    request::{Credential, PresentedToken},
    rules::{CredentialKind, Kinds, WithoutLease},
};
use std::sync::Arc;
use trigate_core::{application::State, audit::GateName, identity::SenderProof, reason::Reason};

const GATE: GateName = GateName::Authentication;

/// A request whose credentials are genuine and alive. That they are still true is not said yet.
pub struct Authenticated {
    established: Box<Established>,
    /// The desk has confirmed the token during this passage.
    introspected: bool,
}

/// A request whose credentials hold against all that this gate knows, now.
pub struct Current {
    pub(crate) established: Box<Established>,
}

pub(crate) async fn authenticate(passage: &Passage<'_>, identified: Identified<'_>) -> Result<Authenticated, Stop> {
    let Identified { mut established, token } = identified;
    if established.route.public {
        return Ok(Authenticated { established, introspected: false });
    }
    let token = prove_token(passage, token, &mut established).await;
    let machine = match prove_certificate(passage, &mut established) {
        // RFC 8705 §4: a certificate may serve to bind a token and name no machine.
        Credential::Rejected(Reason::CertificateUnmapped) if is_bound_by_certificate(&token) => Credential::Absent,
        machine => machine,
    };
    match (token, machine) {
        (Credential::Rejected(reason), _) | (_, Credential::Rejected(reason)) => {
            return Err(stop(GATE, reason, established));
        }
        (token, machine) => {
            established.token = accepted(token);
            established.machine = accepted(machine);
        }
    }
    let established = choose_alternative(established)?;
    introspect_without_lease(passage, established).await
}

/// SECURITY: a stop in this gate leaves no identity behind. In observe mode the request goes on, and what was not
/// found still true must not stand in its headers; the record keeps what was seen.
fn stop(gate: GateName, reason: Reason, mut established: Box<Established>) -> Stop {
    established.token = None;
    established.machine = None;
    if gate == GateName::Identification {
        established.key = None;
    }
    established.chosen = Kinds::NONE;
    Stop::at(gate, reason, established)
}

fn accepted<T>(credential: Credential<T>) -> Option<T> {
    match credential {
        Credential::Accepted(value) => Some(value),
        _ => None,
    }
}

async fn prove_token(
    passage: &Passage<'_>,
    presented: Credential<PresentedToken<'_>>,
    established: &mut Established,
) -> Credential<Token> {
    let presented = match presented {
        Credential::Absent => return Credential::Absent,
        Credential::Rejected(reason) => return Credential::Rejected(reason),
        Credential::Accepted(presented) => presented,
    };
    match token::verify(passage, presented.text, established.route.introspection_age_s()).await {
        Err(reason) => Credential::Rejected(reason),
        Ok(verified) => {
            // Genuine, whatever is wrong with it otherwise: the record says whose it was.
            established.token_seen = Some(Arc::clone(&verified.facts));
            token::judge(passage, presented, verified, established).into()
        }
    }
}

fn is_bound_by_certificate(token: &Credential<Token>) -> bool {
    let sender = token.accepted().and_then(|token| token.sender);
    matches!(sender, Some(SenderProof::Certificate | SenderProof::DpopAndCertificate))
}

fn prove_certificate(passage: &Passage<'_>, established: &mut Established) -> Credential<Machine> {
    let Some(certificate) = passage.request.certificate else { return Credential::Absent };
    established.certificate_seen = Some(certificate.fingerprint.clone());
    mtls::judge(certificate, &passage.rules.machines, passage.now).into()
}

/// The first alternative that is wholly accepted wins; else the kind that the nearest one lacks is named.
fn choose_alternative(mut established: Box<Established>) -> Result<Box<Established>, Stop> {
    let accepted = established.accepted();
    let demands = &established.route.demands;
    if let Some(met) = demands.alternatives().iter().find(|set| set.is_subset(accepted)) {
        established.chosen = *met;
        return Ok(established);
    }
    let (gate, reason) = match demands.nearest(accepted).minus(accepted).iter().next() {
        Some(CredentialKind::Key) => (GateName::Identification, Reason::KeyMissing),
        Some(CredentialKind::Certificate) => (GATE, Reason::CertificateMissing),
        Some(CredentialKind::Token) | None => (GATE, Reason::TokenMissing),
    };
    Err(stop(gate, reason, established))
}

/// A gate that may not know the newest revocations asks, where the route says so and there is somebody to ask.
async fn introspect_without_lease(
    passage: &Passage<'_>,
    mut established: Box<Established>,
) -> Result<Authenticated, Stop> {
    let asks = established.route.without_lease() == WithoutLease::Introspect;
    let only_token = established.accepted().iter().all(|kind| kind == CredentialKind::Token);
    let trusted = passage.known().trusted(passage.gates.clock.monotonic());
    let Some(token) = established.token.as_mut().filter(|token| asks && only_token && token.ours && !trusted) else {
        return Ok(Authenticated { established, introspected: false });
    };
    match passage.gates.lookup.introspect(token.facts.as_ref().clone()).await {
        Err(_) => Err(stop(GATE, Reason::LookupUnavailable, established)),
        Ok(None) => Err(stop(GATE, Reason::TokenInactive, established)),
        // The answer is about this token or it is none; its scopes and roles are the newest.
        Ok(Some(facts)) if facts.token == token.facts.token && facts.identity.kind() == token.facts.identity.kind() => {
            token.facts = Arc::new(facts);
            Ok(Authenticated { established, introspected: true })
        }
        Ok(Some(_)) => Err(stop(GATE, Reason::TokenInactive, established)),
    }
}

/// Judges everything against what this gate knows at this moment.
///
/// INVARIANT: not async. From here to the record nothing waits, so what is true now is true when it is decided.
pub(crate) fn still_true(passage: &Passage<'_>, authenticated: Authenticated) -> Result<Current, Stop> {
    let Authenticated { mut established, introspected } = authenticated;
    if established.route.public {
        return Ok(Current { established });
    }
    established.position = passage.known().position();
    if let Err((gate, reason)) = check_current(passage, &mut established, introspected) {
        return Err(stop(gate, reason, established));
    }
    established.authenticated = true;
    let established = gate1_identification::check_user_limits(passage, established)?;
    let established = gate1_identification::check_limits(passage, established)?;
    Ok(Current { established })
}

fn check_current(
    passage: &Passage<'_>,
    established: &mut Established,
    introspected: bool,
) -> Result<(), (GateName, Reason)> {
    let here = |reason| (GATE, reason);
    check_lease(passage, established, introspected).map_err(here)?;
    recheck_key(passage, established).map_err(|reason| (GateName::Identification, reason))?;
    if let Some(token) = &mut established.token {
        token::check_current(passage, token).map_err(here)?;
    }
    if let Some(certificate) = passage.request.certificate {
        passage.known().check_certificate(certificate).map_err(here)?;
    }
    if let (Some(machine), Some(certificate)) = (&established.machine, passage.request.certificate) {
        passage.known().check_machine(&machine.application, certificate.not_before).map_err(here)?;
    }
    load_application(passage, established).map_err(here)?;
    assurance::check(&established.route, established.acting_token(), passage.now).map_err(here)
}

fn check_lease(passage: &Passage<'_>, established: &mut Established, introspected: bool) -> Result<(), Reason> {
    if introspected || passage.known().trusted(passage.gates.clock.monotonic()) {
        return Ok(());
    }
    if established.route.without_lease() == WithoutLease::Allow {
        established.stale = true;
        return Ok(());
    }
    Err(Reason::GateStale)
}

/// Gate 1 judged the key before gate 2 may have waited.
fn recheck_key(passage: &Passage<'_>, established: &mut Established) -> Result<(), Reason> {
    let Some(holder) = &established.key else { return Ok(()) };
    let record = passage.known().key(&holder.record.digest).ok_or(Reason::KeyUnknown)?;
    established.key = Some(api_key::judge_key(passage.known(), record, passage.client, passage.now)?);
    Ok(())
}

/// The application behind a token or a certificate, when there is no key to say it; it must be known and enabled.
fn load_application(passage: &Passage<'_>, established: &mut Established) -> Result<(), Reason> {
    let of_token = established.token.as_ref().and_then(|token| token.facts.application.clone());
    let of_machine = established.machine.as_ref().map(|machine| machine.application.clone());
    for id in [of_machine, of_token].into_iter().flatten() {
        match passage.known().application(&id) {
            Some(application) if application.state == State::Enabled => {
                established.token_application = Some(application);
            }
            // Fail closed: the feed brings an application before anything that names it.
            _ => return Err(Reason::ApplicationDisabled),
        }
    }
    Ok(())
}
