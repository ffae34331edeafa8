//! How strongly, and how lately, was it proven? Step-up (RFC 9470) and the age cap of sensitive routes.

use super::Token;
use crate::rules::RouteRule;
use trigate_core::{Timestamp, reason::Reason};

/// Judges the token by which the request acts; a key or a certificate has no login and no age.
pub(crate) fn check(route: &RouteRule, token: Option<&Token>, now: Timestamp) -> Result<(), Reason> {
    let Some(token) = token else { return Ok(()) };
    let facts = &token.facts;
    // RFC 9470 §3: what the token does not say was not proven.
    let acr_met = route.acr.is_empty() || facts.acr.as_ref().is_some_and(|acr| route.acr.contains(acr));
    let age_met = route
        .max_authentication_age_s
        .is_none_or(|max_s| facts.authenticated_at.is_some_and(|at| now.seconds_since(at) <= i64::from(max_s)));
    if !acr_met || !age_met {
        return Err(Reason::AuthenticationOld);
    }
    let young = || facts.issued_at.is_some_and(|at| now.seconds_since(at) <= i64::from(route.sensitive_max_age_s));
    if route.sensitive && !young() {
        return Err(Reason::TokenTooOld);
    }
    Ok(())
}
