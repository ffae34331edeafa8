//! A client gives a token back (RFC 7009). The 200 means what it says: no gate accepts the token any more.
//!
//! Only the token's own client ends it (O19), and nothing claims to be revoked that is not (O20).

use crate::{
    Issuer, mint,
    token::{self, BadForm, client_auth},
    web::{Incoming, json},
};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use client_auth::ClientAuthError;
use http::StatusCode;
use std::sync::Arc;
use trigate_core::{
    Actor, Timestamp,
    change::Target,
    client::Client,
    credential::RefreshToken,
    id::UserId,
    identity::Identity,
    oauth::ErrorCode,
    port::{PropagationError, StoreError},
};

enum RevokeError {
    Form(BadForm),
    Client(ClientAuthError),
    TokenMissing,
    /// RFC 7009 §2.2.1: the client must assume that the token still lives.
    Unavailable,
}

impl RevokeError {
    fn wire(&self) -> json::Wire {
        match self {
            Self::Form(form) => form.wire(),
            Self::Client(error) => error.wire(),
            Self::TokenMissing => {
                json::Wire::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, "token is missing")
            }
            Self::Unavailable => token::error::unavailable(),
        }
    }
}

impl From<StoreError> for RevokeError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "revocation: the store did not do it");
        Self::Unavailable
    }
}

impl From<PropagationError> for RevokeError {
    fn from(error: PropagationError) -> Self {
        tracing::warn!(%error, "revocation: durable, but not confirmed everywhere");
        Self::Unavailable
    }
}

/// What ends, and for how long gates must remember it.
struct Ending {
    target: Target,
    user: Option<UserId>,
    keep_until: Timestamp,
}

pub(crate) async fn endpoint(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    match revoke(&issuer, request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.wire().into_response(),
    }
}

async fn revoke(issuer: &Issuer, request: Request) -> Result<(), RevokeError> {
    let incoming = Incoming::read(request).await.map_err(|bad| RevokeError::Form(bad.into()))?;
    let form = token::read_form(&incoming).map_err(RevokeError::Form)?;
    let client = client_auth::authenticate(issuer, &incoming, &form).await.map_err(RevokeError::Client)?;
    let text = form.get("token").ok_or(RevokeError::TokenMissing)?;
    // RFC 7009 §2.2: unknown, dead and other clients' tokens get the same 200; the hint is only a hint.
    let Some(ending) = find(issuer, &client, text).await? else { return Ok(()) };
    let mut act = issuer
        .act(Actor::Client { client: client.id.clone() }, "token.revoke", ending.target.id())
        .client(&client.id)
        .application(&client.application)
        .address(incoming.peer);
    if let Some(user) = &ending.user {
        act = act.user(user);
    }
    let committed = issuer.store.revoke(act, ending.target, ending.keep_until).await?;
    Ok(committed.everywhere(&*issuer.propagation).await?)
}

async fn find(issuer: &Issuer, client: &Client, text: &str) -> Result<Option<Ending>, StoreError> {
    if let Some(refresh) = RefreshToken::parse(text) {
        let found = issuer.store.find_refresh_grant(&refresh.digest()).await?;
        // RFC 7009 §2.1: with the refresh token go the access tokens of its grant.
        return Ok(found.filter(|(grant, _)| grant.client == client.id).map(|(grant, _)| Ending {
            target: Target::Grant { id: grant.id },
            user: Some(grant.user),
            keep_until: issuer.no_token_alive_at(),
        }));
    }
    let found = mint::read_access(issuer, text).await?;
    let own = found.filter(|facts| facts.client.as_ref() == Some(&client.id) && facts.expires_at > issuer.now());
    Ok(own.map(|facts| Ending {
        target: Target::Token { id: facts.token },
        user: match facts.identity {
            Identity::User { id, .. } => Some(id),
            _ => None,
        },
        keep_until: issuer.no_token_alive_at().max(facts.expires_at),
    }))
}
