//! A client asks for itself (OAuth 2.1 §4.2). Its token never speaks for a person: the subject is the client.

use super::{TokenError, TokenRequest, answer};
use crate::{
    Issuer,
    authorize::audiences,
    mint::{Subject, Wanted},
};
use axum::response::Response;
use trigate_core::{
    client::{Client, GrantType},
    id::TokenId,
    oauth::{Scope, ScopeSet},
    port::StoreError,
};

/// These are about a person.
const PERSONAL: [&str; 4] = ["openid", "profile", "email", "offline_access"];

pub(super) async fn exchange(issuer: &Issuer, request: &TokenRequest) -> Result<Response, TokenError> {
    // OAuth 2.1 §4.2: confidential clients only; a public one has proven nothing.
    if !request.client.may_use(GrantType::ClientCredentials) || request.client.is_public() {
        return Err(TokenError::GrantNotAllowed);
    }
    let scopes = scopes(request.form.get("scope"), &request.client)?;
    let audiences = audiences(issuer, &request.form, &request.client).ok_or(TokenError::Target)?;
    let id = TokenId::mint(&*issuer.rng);
    let act = answer::mint_act(issuer, request, id);
    let committed = match issuer.store.record_mint(act, &request.client.id).await {
        // Disabled since it authenticated, a moment ago. (O39)
        Err(StoreError::Conflict(_) | StoreError::Missing(_)) => {
            return Err(super::client_auth::ClientAuthError::Refused.into());
        }
        outcome => outcome?,
    };
    let position = committed.position;
    let client = committed.gives_only();
    // What it has lost since it authenticated, it has lost.
    let scopes = scopes.intersection(&client.scopes);
    let wanted = Wanted {
        id,
        subject: Subject::Client,
        client: &client,
        scopes: &scopes,
        audiences,
        position,
        now: issuer.now(),
        confirmation: request.bound.clone(),
    };
    answer::for_client(issuer, request, answer::mint_act(issuer, request, id), &wanted).await
}

/// Without a word, all that the client is registered for. // RFC 6749 §3.3
fn scopes(asked: Option<&str>, client: &Client) -> Result<ScopeSet, TokenError> {
    let own: ScopeSet = client.scopes.iter().filter(|scope| !is_personal(scope)).cloned().collect();
    let Some(asked) = asked else { return Ok(own) };
    let asked = ScopeSet::parse(asked).map_err(|_| TokenError::Scope)?;
    if asked.is_subset(&own) { Ok(asked) } else { Err(TokenError::Scope) }
}

fn is_personal(scope: &Scope) -> bool {
    PERSONAL.contains(&scope.as_str())
}
