//! The parameters as such: who asks, and is the request of a form that has one reading?

use super::answer::{ClientError, PageError, Stop};
use crate::{Issuer, web::Params};
use trigate_core::{application::State, client::Client, id::ClientId};

/// Longer values only serve to fill logs and headers.
const MAX_STATE_BYTES: usize = 2048;
/// base64url of 32 bytes.
const THUMBPRINT_CHARS: usize = 43;

pub(super) async fn load_client(issuer: &Issuer, params: &Params) -> Result<Client, Stop> {
    if params.is_repeated("client_id") {
        return Err(Stop::Page(PageError::ClientRepeated));
    }
    let unknown = || Stop::Page(PageError::ClientUnknown);
    let id = params.get("client_id").and_then(|id| ClientId::parse(id).ok()).ok_or_else(unknown)?;
    let client = issuer.store.find_client(&id).await?.ok_or_else(unknown)?;
    // A disabled client is answered like an unknown one. (O39)
    if client.state == State::Enabled { Ok(client) } else { Err(unknown()) }
}

// RFC 6749 §3.1: "must not be included more than once". (O37)
pub(super) fn reject_repeated(params: &Params) -> Result<(), ClientError> {
    if params.has_repeated() { Err(ClientError::Repeated) } else { Ok(()) }
}

/// OpenID Connect Core §6: not supported, so that nobody believes that what they signed was read. `request_uri` would
/// also make us fetch what a stranger names (O25).
pub(super) fn reject_request_objects(params: &Params) -> Result<(), ClientError> {
    if params.get("request_uri").is_some() {
        return Err(ClientError::RequestUri);
    }
    if params.get("request").is_some() { Err(ClientError::RequestObject) } else { Ok(()) }
}

/// RFC 9449 §10: the key that alone may redeem the code, by its thumbprint.
pub(super) fn check_key(params: &Params) -> Result<Option<String>, ClientError> {
    let Some(jkt) = params.get("dpop_jkt") else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if jkt.len() == THUMBPRINT_CHARS && jkt.bytes().all(plain) {
        Ok(Some(jkt.to_owned()))
    } else {
        Err(ClientError::Key)
    }
}

pub(super) fn check_lengths(params: &Params) -> Result<(), ClientError> {
    let long = |name| params.get(name).is_some_and(|value| value.len() > MAX_STATE_BYTES);
    if long("state") || long("nonce") { Err(ClientError::TooLong) } else { Ok(()) }
}
