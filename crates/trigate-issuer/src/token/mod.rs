//! Who gets a token, and for what? The token endpoint (OAuth 2.1 §3.2): read strictly, authenticate the client first, then
//! one file per grant.

mod answer;
mod authorization_code;
mod certificate;
pub(crate) mod client_auth;
mod client_credentials;
pub(crate) mod error;
mod jwt_assertion;
mod proof;
mod refresh_token;

use crate::{
    Issuer,
    web::{Incoming, Params, incoming::BadBody},
};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use error::TokenError;
use std::sync::Arc;
use trigate_core::{client::Client, proof::Confirmation};

/// A request of a client that has proven who it is.
struct TokenRequest {
    incoming: Incoming,
    form: Params,
    client: Client,
    /// Keys that it has proven beside.
    shown: Confirmation,
    /// Those of them that its tokens are bound to.
    bound: Option<Box<Confirmation>>,
}

pub(crate) async fn endpoint(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    match grant(&issuer, request).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = error.wire().into_response();
            if let TokenError::NonceWanted(nonce) = &error {
                proof::put_nonce(&mut response, nonce);
            }
            response
        }
    }
}

async fn grant(issuer: &Issuer, request: Request) -> Result<Response, TokenError> {
    let incoming = Incoming::read(request).await?;
    let form = read_form(&incoming)?;
    let client = client_auth::authenticate(issuer, &incoming, &form).await?;
    let proven = proof::check(issuer, &incoming, &client).await?;
    let request = TokenRequest { incoming, form, client, shown: proven.shown, bound: proven.bound };
    let mut response = exchange(issuer, &request).await?;
    if let Some(nonce) = &proven.next_nonce {
        proof::put_nonce(&mut response, nonce);
    }
    Ok(response)
}

async fn exchange(issuer: &Issuer, request: &TokenRequest) -> Result<Response, TokenError> {
    match request.form.get("grant_type") {
        Some("authorization_code") => authorization_code::exchange(issuer, request).await,
        Some("client_credentials") => client_credentials::exchange(issuer, request).await,
        Some("refresh_token") => refresh_token::exchange(issuer, request).await,
        Some(_) => Err(TokenError::GrantUnknown),
        None => Err(TokenError::Missing("grant_type is missing")),
    }
}

/// RFC 6749 §3.2: a form in the body, nothing in the URL, nothing twice. (O37, O38)
pub(crate) fn read_form(incoming: &Incoming) -> Result<Params, BadForm> {
    let form = incoming.form()?;
    if !incoming.query.is_empty() {
        return Err(BadForm::Query);
    }
    if form.has_repeated() { Err(BadForm::Repeated) } else { Ok(form) }
}

/// What is wrong with a form, at any endpoint for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadForm {
    Body(BadBody),
    Query,
    Repeated,
}

impl From<BadBody> for BadForm {
    fn from(bad: BadBody) -> Self {
        Self::Body(bad)
    }
}
