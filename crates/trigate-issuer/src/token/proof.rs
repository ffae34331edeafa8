//! Which keys did the client show at the token endpoint, and what is its token bound to? (RFC 9449 §5, RFC 8705 §3)
//!
//! Trusts the store to let one of two nodes take a proof. Never tells which check a proof failed; the log does.

use super::{TokenError, certificate};
use crate::{Issuer, web::Incoming};
use axum::response::Response;
use http::HeaderValue;
use trigate_core::{
    Timestamp,
    client::Client,
    proof::{self, Confirmation, Expected, Freshness, Proof, Target},
};

pub(super) struct Proven {
    pub(super) shown: Confirmation,
    /// What the client's tokens are bound to.
    pub(super) bound: Option<Box<Confirmation>>,
    /// For the answer. // RFC 9449 §8.2
    pub(super) next_nonce: Option<String>,
}

pub(super) async fn check(issuer: &Issuer, incoming: &Incoming, client: &Client) -> Result<Proven, TokenError> {
    let (x5t, binds) = certificate::shown(client, incoming, issuer.now())?;
    let (jkt, next_nonce) = check_dpop(issuer, incoming, client).await?;
    let bound = Confirmation { x5t: x5t.clone().filter(|_| binds), jkt: jkt.clone(), unknown: false };
    let bound = (!bound.is_empty()).then(|| Box::new(bound));
    Ok(Proven { shown: Confirmation { jkt, x5t, unknown: false }, bound, next_nonce })
}

/// The thumbprint of the proof's key, and the next nonce.
async fn check_dpop(
    issuer: &Issuer,
    incoming: &Incoming,
    client: &Client,
) -> Result<(Option<String>, Option<String>), TokenError> {
    let mut headers = incoming.headers.get_all("dpop").iter();
    let Some(header) = headers.next() else {
        // RFC 9449 §5.2
        return if client.dpop_bound_access_tokens { Err(TokenError::Proof) } else { Ok((None, None)) };
    };
    // RFC 9449 §4.3 item 1
    if headers.next().is_some() {
        return Err(TokenError::Proof);
    }
    let proof = read(issuer, header)?;
    let next_nonce = check_nonce(issuer, &proof)?;
    // RFC 9449 §11.1; a second more than it can be used.
    let kept_until = Timestamp::from_seconds(proof.usable_until_s().saturating_add(1));
    if !issuer.store.redeem_proof_id(&proof.id(), kept_until).await? {
        return Err(TokenError::Proof);
    }
    Ok((Some(proof.jkt), next_nonce))
}

fn read(issuer: &Issuer, header: &HeaderValue) -> Result<Proof, TokenError> {
    let text = header.to_str().map_err(|_| TokenError::Proof)?;
    let target = |base: &String| Target::of(base, "/oauth/token");
    let mut targets = vec![target(&issuer.config.issuer).ok_or(TokenError::Internal)?];
    // RFC 8705 §5: the same endpoint under its other name.
    targets.extend(issuer.config.mtls_alias().and_then(target));
    let expected = Expected {
        method: "POST",
        targets: &targets,
        now_s: issuer.now().seconds(),
        token: None,
        algorithms: &issuer.config.dpop_algorithms,
    };
    proof::check(text, &expected).map_err(|error| {
        tracing::info!(%error, "DPoP proof refused");
        TokenError::Proof
    })
}

// RFC 9449 §8
fn check_nonce(issuer: &Issuer, proof: &Proof) -> Result<Option<String>, TokenError> {
    if !issuer.config.dpop_nonce {
        return Ok(None);
    }
    let now_s = issuer.now().seconds();
    match proof.nonce.as_deref().map_or(Freshness::Bad, |nonce| issuer.nonces.judge(nonce, now_s)) {
        Freshness::Good => Ok(None),
        Freshness::Aging => Ok(Some(issuer.nonces.issue(now_s))),
        Freshness::Bad => Err(TokenError::NonceWanted(issuer.nonces.issue(now_s))),
    }
}

pub(super) fn put_nonce(response: &mut Response, nonce: &str) {
    if let Ok(nonce) = HeaderValue::from_str(nonce) {
        response.headers_mut().insert("dpop-nonce", nonce);
    }
}
