//! For which services shall the tokens be? Resource indicators (RFC 8707), several allowed.

use super::answer::ClientError;
use crate::{Issuer, web::Params};
use trigate_core::client::Client;

pub(super) fn check_resources(issuer: &Issuer, params: &Params, client: &Client) -> Result<Vec<String>, ClientError> {
    audiences(issuer, params, client).ok_or(ClientError::Target)
}

/// The audiences asked for, all of them registered for this client; without any, the client's first or the default.
/// `None`: one is not allowed. // RFC 8707 §2
pub(crate) fn audiences(issuer: &Issuer, params: &Params, client: &Client) -> Option<Vec<String>> {
    let mut wanted: Vec<String> = Vec::new();
    for resource in params.all("resource") {
        if !client.resources.iter().any(|registered| registered == resource) {
            return None;
        }
        if !wanted.iter().any(|have| have == resource) {
            wanted.push(resource.to_owned());
        }
    }
    if wanted.is_empty() {
        wanted.push(client.resources.first().unwrap_or(&issuer.config.default_audience).clone());
    }
    Some(wanted)
}
