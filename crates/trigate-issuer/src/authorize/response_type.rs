//! How shall the answer come? By code in the query alone: tokens in a URL leak (RFC 9700 §2.1.2, O31).

use super::answer::ClientError;
use crate::web::Params;
use trigate_core::client::{Client, GrantType};

pub(super) fn check_response_type(params: &Params, client: &Client) -> Result<(), ClientError> {
    match params.get("response_type") {
        None => Err(ClientError::ResponseTypeMissing),
        Some("code") if client.may_use(GrantType::AuthorizationCode) => Ok(()),
        Some("code") => Err(ClientError::GrantNotAllowed),
        Some(_) => Err(ClientError::ResponseType),
    }
}

pub(super) fn check_response_mode(params: &Params) -> Result<(), ClientError> {
    match params.get("response_mode") {
        None | Some("query") => Ok(()),
        Some(_) => Err(ClientError::ResponseMode),
    }
}
