//! Which certificate did the client show, and does it prove the client? (RFC 8705 §2, §3)
//!
//! Trusts the hall for who holds its key, for what its chain is worth, and for whether it was revoked here. Never takes
//! one that is over or revoked, for whatever purpose.

use super::TokenError;
use crate::{PresentedCertificate, web::Incoming};
use trigate_core::{Timestamp, certificate::ClientCertificate, client::Client};

/// The certificate of this request, if it may serve for anything.
pub(super) fn usable(incoming: &Incoming, now: Timestamp) -> Option<&ClientCertificate> {
    let PresentedCertificate { certificate, revoked } = incoming.certificate.as_ref()?;
    (!revoked && certificate.is_valid_at(now)).then_some(certificate.as_ref())
}

/// Is it the one that this client must show? A client without a rule has none that fits.
pub(super) fn proves(client: &Client, incoming: &Incoming, now: Timestamp) -> bool {
    match (&client.certificate, usable(incoming, now)) {
        (Some(rule), Some(shown)) => rule.accepts(shown, now),
        _ => false,
    }
}

/// `x5t#S256` of what was shown, and whether tokens are bound to it. // RFC 8705 §3.1, §3.4
pub(super) fn shown(
    client: &Client,
    incoming: &Incoming,
    now: Timestamp,
) -> Result<(Option<String>, bool), TokenError> {
    let shown = usable(incoming, now).map(|certificate| certificate.thumbprint.clone());
    let binds = client.tls_client_certificate_bound_access_tokens;
    // Never a bearer token in place of a bound one.
    if binds && shown.is_none() { Err(TokenError::CertificateMissing) } else { Ok((shown, binds)) }
}
