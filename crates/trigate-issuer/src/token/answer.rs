//! What a client gets (RFC 6749 §5.1): an access token, and where it was asked for a refresh token and an ID token.

use super::{TokenError, TokenRequest, certificate};
use crate::{
    Issuer,
    mint::{self, Subject, Wanted},
    web::json,
};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use trigate_core::{Act, Actor, client::Client, id::TokenId, port::Issuance};

#[derive(Serialize)]
pub(super) struct Tokens<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u32,
    /// RFC 6749 §3.3: a scope is at least one token; none is no member.
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// What stands beside the access token.
pub(super) struct Beside<'a> {
    pub(super) refresh_token: Option<&'a str>,
    pub(super) nonce: Option<&'a str>,
}

/// The answer for a person's grant.
pub(super) async fn for_user(
    issuer: &Issuer,
    request: &TokenRequest,
    id: TokenId,
    issuance: &Issuance,
    audiences: Vec<String>,
    beside: Beside<'_>,
) -> Result<Response, TokenError> {
    let now = issuer.now();
    let grant = &issuance.grant;
    let wanted = Wanted {
        id,
        subject: Subject::User { user: &issuance.user, grant },
        client: &issuance.client,
        scopes: &issuance.scopes,
        audiences,
        position: issuance.position,
        now,
        confirmation: request.bound.clone(),
    };
    let act = mint_act(issuer, request, id).user(&grant.user).fact("grant", &grant.id);
    let access = mint::access_token(issuer, act, &wanted).await?;
    let id_token = match issuance.scopes.has("openid") {
        true => Some(mint::id_token(issuer, grant, beside.nonce, &access.text, now)?),
        false => None,
    };
    Ok(json::answer(
        StatusCode::OK,
        &Tokens {
            access_token: &access.text,
            token_type: token_type(request),
            expires_in: access.life_s,
            scope: issuance.scopes.to_string(),
            refresh_token: beside.refresh_token,
            id_token,
        },
    ))
}

/// The answer for the client itself.
pub(super) async fn for_client(
    issuer: &Issuer,
    request: &TokenRequest,
    act: Act,
    wanted: &Wanted<'_>,
) -> Result<Response, TokenError> {
    let access = mint::access_token(issuer, act, wanted).await?;
    let scope = wanted.scopes.to_string();
    let tokens = Tokens {
        access_token: &access.text,
        token_type: token_type(request),
        expires_in: access.life_s,
        scope,
        refresh_token: None,
        id_token: None,
    };
    Ok(json::answer(StatusCode::OK, &tokens))
}

/// RFC 9449 §5: a token that wants a proof beside it is no bearer token. One bound to a certificate is called so
/// (RFC 8705 §3).
fn token_type(request: &TokenRequest) -> &'static str {
    if request.shown.jkt.is_some() { "DPoP" } else { "Bearer" }
}

/// Minting is part of a client's act, named by the token's id.
pub(super) fn mint_act(issuer: &Issuer, request: &TokenRequest, id: TokenId) -> Act {
    act(issuer, request, "token.mint", &id.to_string(), &request.client)
}

pub(super) fn act(issuer: &Issuer, request: &TokenRequest, verb: &str, target: &str, client: &Client) -> Act {
    let act = issuer
        .act(Actor::Client { client: client.id.clone() }, verb, target)
        .client(&client.id)
        .application(&client.application)
        .address(request.incoming.peer);
    match certificate::usable(&request.incoming, issuer.now()) {
        Some(certificate) => act.fact("certificate", &certificate.fingerprint),
        None => act,
    }
}
