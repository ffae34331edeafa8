//! Is this token good now? Introspection (RFC 7662) asks the store itself, not a gate's memory.
//!
//! Answers the token's own client, and resource servers registered for its audience; everyone else, and every bad token,
//! gets the same `{"active":false}` (O18).

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
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use trigate_core::{
    Timestamp,
    client::Client,
    credential::RefreshToken,
    id::TokenId,
    identity::{Identity, TokenFacts},
    oauth::ErrorCode,
    port::StoreError,
    proof::Confirmation,
    user::Grant,
};

enum IntrospectError {
    Form(BadForm),
    Client(ClientAuthError),
    TokenMissing,
    TooManyWrong { retry_after_s: u32 },
    Unavailable,
}

impl IntrospectError {
    fn wire(&self) -> json::Wire {
        match self {
            Self::Form(form) => form.wire(),
            Self::Client(error) => error.wire(),
            Self::TokenMissing => {
                json::Wire::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, "token is missing")
            }
            Self::TooManyWrong { retry_after_s } => json::Wire {
                retry_after_s: Some(*retry_after_s),
                ..json::Wire::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    ErrorCode::TemporarilyUnavailable,
                    "too many unknown tokens",
                )
            },
            Self::Unavailable => token::error::unavailable(),
        }
    }
}

impl From<StoreError> for IntrospectError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "introspection: the store did not answer");
        Self::Unavailable
    }
}

/// RFC 7662 §2.2.
#[derive(Serialize)]
struct Active<'a> {
    active: bool,
    iss: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    aud: &'a [String],
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    /// RFC 9449 §6.2, RFC 8705 §3.2
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
}

/// A token of ours of either kind.
struct Found {
    facts: TokenFacts,
    is_refresh: bool,
}

pub(crate) async fn endpoint(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    introspect(&issuer, request).await.unwrap_or_else(|error| error.wire().into_response())
}

async fn introspect(issuer: &Issuer, request: Request) -> Result<Response, IntrospectError> {
    let incoming = Incoming::read(request).await.map_err(|bad| IntrospectError::Form(bad.into()))?;
    let form = token::read_form(&incoming).map_err(IntrospectError::Form)?;
    let client = client_auth::authenticate(issuer, &incoming, &form).await.map_err(IntrospectError::Client)?;
    // RFC 7662 §2.1: the endpoint is for parties that prove who they are.
    if client.is_public() {
        return Err(IntrospectError::Client(ClientAuthError::Refused));
    }
    let text = form.get("token").ok_or(IntrospectError::TokenMissing)?;
    let now = issuer.now();
    let Some(found) = find(issuer, text, now).await? else {
        limit_guesses(issuer, &client, now)?;
        return Ok(inactive());
    };
    if !may_ask(&client, &found) || found.facts.expires_at <= now {
        return Ok(inactive());
    }
    match issuer.store.judge_token(found.facts, now).await? {
        Some(facts) => Ok(active(&facts, found.is_refresh)),
        None => Ok(inactive()),
    }
}

/// A guesser is stopped; a good token is answered all the same, or strangers could silence a resource server by sending it
/// rubbish to ask about. (O18)
fn limit_guesses(issuer: &Issuer, client: &Client, now: Timestamp) -> Result<(), IntrospectError> {
    let guesser = format!("introspect:{}", client.id);
    let checked = issuer.guesses.check(&guesser, now);
    issuer.guesses.note_wrong(&guesser, now);
    checked.map_err(|retry_after_s| IntrospectError::TooManyWrong { retry_after_s })
}

async fn find(issuer: &Issuer, text: &str, now: Timestamp) -> Result<Option<Found>, StoreError> {
    let Some(refresh) = RefreshToken::parse(text) else {
        let facts = mint::read_access(issuer, text).await?;
        return Ok(facts.map(|facts| Found { facts, is_refresh: false }));
    };
    let found = issuer.store.find_refresh_grant(&refresh.digest()).await?;
    let alive = found.filter(|(grant, expires_at)| !grant.revoked && now < *expires_at);
    Ok(alive
        .map(|(grant, expires_at)| Found { facts: refresh_facts(issuer, text, grant, expires_at), is_refresh: true }))
}

/// A refresh token is as true as its grant.
fn refresh_facts(issuer: &Issuer, text: &str, grant: Grant, expires_at: Timestamp) -> TokenFacts {
    TokenFacts {
        issuer: issuer.config.issuer.as_str().into(),
        subject: grant.user.to_string(),
        client: Some(grant.client),
        application: Some(grant.application),
        identity: Identity::User { id: grant.user, email: None },
        token: TokenId::of_text(text),
        session: grant.session,
        grant: Some(grant.id),
        audiences: vec![issuer.config.issuer.clone()],
        scopes: grant.scopes,
        roles: Vec::new(),
        issued_at: Some(grant.created_at),
        not_before: None,
        expires_at,
        authenticated_at: Some(grant.authenticated_at),
        acr: Some(grant.acr),
        position: Some(grant.born),
        actor: None,
        kid: None,
        confirmation: grant.confirmation,
    }
}

/// The token's client, or a resource server that it is meant for; a refresh token is between its client and us.
fn may_ask(client: &Client, found: &Found) -> bool {
    let is_own = found.facts.client.as_ref() == Some(&client.id);
    let is_meant = || found.facts.audiences.iter().any(|aud| client.introspects.contains(aud));
    is_own || (!found.is_refresh && is_meant())
}

/// RFC 7662 §2.2: nothing else, whatever the reason.
fn inactive() -> Response {
    json::answer(StatusCode::OK, &json!({ "active": false }))
}

fn token_type(facts: &TokenFacts, is_refresh: bool) -> &'static str {
    match facts.confirmation.as_deref() {
        _ if is_refresh => "refresh_token",
        Some(confirmation) if confirmation.jkt.is_some() => "DPoP",
        _ => "Bearer",
    }
}

fn active(facts: &TokenFacts, is_refresh: bool) -> Response {
    let username = match &facts.identity {
        Identity::User { email, .. } => email.as_deref(),
        _ => None,
    };
    json::answer(
        StatusCode::OK,
        &Active {
            active: true,
            iss: &facts.issuer,
            sub: &facts.subject,
            client_id: facts.client.as_ref().map(|id| id.as_str()),
            username,
            scope: facts.scopes.to_string(),
            aud: &facts.audiences,
            exp: facts.expires_at.seconds(),
            iat: facts.issued_at.map(Timestamp::seconds),
            jti: (!is_refresh).then(|| facts.token.to_string()),
            token_type: token_type(facts, is_refresh),
            sid: facts.session.as_ref().map(|id| id.as_str()),
            roles: &facts.roles,
            acr: facts.acr.as_deref(),
            auth_time: facts.authenticated_at.map(Timestamp::seconds),
            cnf: facts.confirmation.as_deref(),
        },
    )
}
