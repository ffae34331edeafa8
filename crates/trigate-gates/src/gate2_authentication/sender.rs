//! Does the sender of this token hold the key that the token is bound to? (RFC 9449 §7, RFC 8705 §3)
//!
//! Trusts the edge for the certificate, and its own memory for which proofs were used. A bound token is never taken as a
//! bearer token, and a bearer token never as a bound one.

use crate::{
    established::Established,
    passage::Passage,
    request::{PresentedToken, Scheme, is_trusted_proxy},
    rules::IssuerRule,
};
use http::HeaderName;
use trigate_core::{
    credential::Digest,
    identity::{SenderProof, TokenFacts},
    proof::{self, Confirmation, Expected, Freshness, Proof, ProofError, Target},
    reason::Reason,
};

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How the sender was proven; `None` for a bearer token where one will do.
pub(super) fn check(
    passage: &Passage<'_>,
    presented: PresentedToken<'_>,
    facts: &TokenFacts,
    rule: &IssuerRule,
    established: &mut Established,
) -> Result<Option<SenderProof>, Reason> {
    established.by_dpop = presented.scheme == Scheme::Dpop;
    let wanted = facts.confirmation.as_deref();
    let by_key = check_key(passage, presented, wanted, established)?;
    let by_certificate = check_certificate(passage, wanted)?;
    match (by_key, by_certificate) {
        (true, true) => Ok(Some(SenderProof::DpopAndCertificate)),
        (true, false) => Ok(Some(SenderProof::Dpop)),
        (false, true) => Ok(Some(SenderProof::Certificate)),
        (false, false) if rule.bound || established.route.bound => Err(Reason::TokenUnbound),
        (false, false) => Ok(None),
    }
}

fn check_key(
    passage: &Passage<'_>,
    presented: PresentedToken<'_>,
    wanted: Option<&Confirmation>,
    established: &mut Established,
) -> Result<bool, Reason> {
    if wanted.is_some_and(|wanted| wanted.unknown) {
        return Err(Reason::TokenBound);
    }
    match (presented.scheme, wanted.and_then(|wanted| wanted.jkt.as_deref())) {
        (Scheme::Bearer, None) => Ok(false),
        // RFC 9449 §7.2: whoever stole it would leave the proof out.
        (Scheme::Bearer, Some(_)) => Err(Reason::TokenBound),
        // RFC 9449 §7.1
        (Scheme::Dpop, None) => Err(Reason::TokenUnbound),
        (Scheme::Dpop, Some(jkt)) => {
            let proof = read_proof(passage, presented.text, established)?;
            // RFC 9449 §4.3 item 12 b
            if proof.jkt != jkt {
                return Err(Reason::ProofKey);
            }
            check_nonce(passage, &proof, established)?;
            remember(passage, &proof)?;
            Ok(true)
        }
    }
}

/// RFC 8705 §3: the certificate of this connection is the one that the token names.
fn check_certificate(passage: &Passage<'_>, wanted: Option<&Confirmation>) -> Result<bool, Reason> {
    let Some(wanted) = wanted.filter(|wanted| wanted.x5t.is_some()) else { return Ok(false) };
    let shown = passage.request.certificate.and_then(|certificate| Digest::parse_hex(&certificate.fingerprint));
    match shown {
        Some(shown) if wanted.names_certificate(&shown) => Ok(true),
        _ => Err(Reason::TokenBound),
    }
}

fn read_proof(passage: &Passage<'_>, token: &str, established: &Established) -> Result<Proof, Reason> {
    let mut headers = passage.request.headers.get_all(DPOP).iter();
    let header = headers.next().ok_or(Reason::ProofMissing)?;
    // RFC 9449 §4.3 item 1: of two proofs each reader takes another.
    if headers.next().is_some() {
        return Err(Reason::ProofMalformed);
    }
    let text = header.to_str().map_err(|_| Reason::ProofMalformed)?;
    let expected = Expected {
        method: passage.request.method.as_str(),
        targets: &targets(passage, established),
        now_s: passage.now.seconds(),
        token: Some(token),
        algorithms: &passage.rules.proof.algorithms,
    };
    proof::check(text, &expected).map_err(reason_of)
}

const fn reason_of(error: ProofError) -> Reason {
    match error {
        ProofError::Malformed(_) | ProofError::Claim(_) => Reason::ProofMalformed,
        ProofError::Signature => Reason::ProofSignature,
        ProofError::Method | ProofError::Address => Reason::ProofRequest,
        ProofError::Time => Reason::ProofTime,
        ProofError::Token => Reason::ProofToken,
    }
}

/// The request's address in each of our own spellings.
///
/// SECURITY: a `Host` that no configuration names is no address of ours: another server, to which the same token was
/// sent, could replay its caller's proof here under its own name.
fn targets(passage: &Passage<'_>, established: &Established) -> Vec<Target> {
    let path = passage.request.path;
    let mut targets: Vec<Target> =
        passage.rules.proof.origins.iter().filter_map(|origin| Target::of(origin, path)).collect();
    if !established.route.hosts.is_empty() {
        let scheme = if is_secure(passage) { "https" } else { "http" };
        let port = passage.request.port.map(|port| format!(":{port}")).unwrap_or_default();
        targets.extend(Target::of(&format!("{scheme}://{}{port}", passage.request.host), path));
    }
    targets
}

/// As the caller's own connection was: behind a trusted proxy by its word.
fn is_secure(passage: &Passage<'_>) -> bool {
    let proxied = is_trusted_proxy(passage.request.peer, &passage.rules.trusted_proxies);
    match passage.request.headers.get("x-forwarded-proto").filter(|_| proxied) {
        Some(proto) => proto.as_bytes().eq_ignore_ascii_case(b"https"),
        None => passage.request.secure,
    }
}

/// RFC 9449 §9. The answer brings the next nonce where this one ages or is none.
fn check_nonce(passage: &Passage<'_>, proof: &Proof, established: &mut Established) -> Result<(), Reason> {
    if !established.route.dpop_nonce {
        return Ok(());
    }
    let now_s = passage.now.seconds();
    let nonces = &passage.gates.nonces;
    let freshness = proof.nonce.as_deref().map_or(Freshness::Bad, |nonce| nonces.judge(nonce, now_s));
    if freshness != Freshness::Good {
        established.next_nonce = Some(nonces.issue(now_s));
    }
    if freshness == Freshness::Bad { Err(Reason::ProofNonce) } else { Ok(()) }
}

/// RFC 9449 §11.1. Last, so that only a proof that would have let the request on is used up.
fn remember(passage: &Passage<'_>, proof: &Proof) -> Result<(), Reason> {
    if !passage.counts {
        return Ok(());
    }
    passage.gates.used_proofs.remember(&proof.id(), proof.usable_until_s(), passage.now.seconds())
}
