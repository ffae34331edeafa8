//! A refresh token for new tokens (OAuth 2.1 §4.3). Rotated in one transition; used again, the whole line ends (O12).
//!
//! A lost response must not cost the person a login: within the client's window the same predecessor gets the same
//! successor again. The store keeps it sealed under a key that only the predecessor's text yields, so that a stolen
//! database gives no refresh token.

use super::{
    TokenError, TokenRequest,
    answer::{self, Beside},
    authorization_code::narrow,
};
use crate::Issuer;
use axum::response::Response;
use trigate_core::{
    client::GrantType,
    credential::RefreshToken,
    id::{GrantId, TokenId},
    oauth::ScopeSet,
    port::{Committed, Issuance, NewRefresh, RefreshOutcome, RefreshRefusal, RotateRefresh},
    seal,
};
use zeroize::Zeroizing;

const SEAL_CONTEXT: &str = "refresh successor";

pub(super) async fn exchange(issuer: &Issuer, request: &TokenRequest) -> Result<Response, TokenError> {
    let (form, client) = (&request.form, &request.client);
    if !client.may_use(GrantType::RefreshToken) {
        return Err(TokenError::GrantNotAllowed);
    }
    let presented = form.get("refresh_token").ok_or(TokenError::Missing("refresh_token is missing"))?;
    let presented = RefreshToken::parse(presented).ok_or(TokenError::Grant)?;
    let scopes = form.get("scope").map(ScopeSet::parse).transpose().map_err(|_| TokenError::Scope)?;
    check_resources(issuer, request, &presented).await?;
    let successor = Successor::mint(issuer, request, &presented);
    let id = TokenId::mint(&*issuer.rng);
    let rotate = RotateRefresh {
        digest: presented.digest(),
        client: client.id.clone(),
        now: issuer.now(),
        shown: request.shown.clone(),
        scopes,
        successor: successor.as_ref().map(|successor| successor.stored.clone()),
        sealed_successor: successor.as_ref().map(|successor| successor.sealed.clone()).unwrap_or_default(),
        window_s: client.refresh_window_s,
    };
    let act = answer::act(issuer, request, "refresh_token.rotate", &id.to_string(), client);
    let committed = issuer.store.rotate_refresh_token(act, rotate).await?;
    match committed.value() {
        RefreshOutcome::Rotated(issuance) => {
            let text = successor.as_ref().map(|successor| successor.token.reveal());
            give(issuer, request, id, issuance, text).await
        }
        RefreshOutcome::Again { issuance, sealed_successor } => {
            let text = reopen(&presented, sealed_successor)?;
            give(issuer, request, id, issuance, Some(&text)).await
        }
        RefreshOutcome::Reused { grant } => Err(take_back(issuer, grant.clone(), committed).await),
        RefreshOutcome::Refused(RefreshRefusal::ScopeExceeded) => Err(TokenError::Scope),
        RefreshOutcome::Refused(refusal) => {
            tracing::info!(?refusal, client = %client.id, "refresh token refused");
            Err(TokenError::Grant)
        }
    }
}

struct Successor {
    token: RefreshToken,
    stored: NewRefresh,
    sealed: Vec<u8>,
}

impl Successor {
    /// `None` where the client does not rotate: its token stays.
    fn mint(issuer: &Issuer, request: &TokenRequest, predecessor: &RefreshToken) -> Option<Self> {
        // RFC 9700 §2.2.2: a public client's tokens rotate, whatever its registration says.
        if !request.client.rotate_refresh_tokens && !request.client.is_public() {
            return None;
        }
        let life_s = i64::from(request.client.refresh_token_life_s?);
        let token = RefreshToken::mint(&*issuer.rng);
        let sealed = seal::seal_under(predecessor.reveal(), SEAL_CONTEXT, token.reveal().as_bytes(), &*issuer.rng);
        let stored = NewRefresh { digest: token.digest(), expires_at: issuer.now().plus_seconds(life_s) };
        Some(Self { token, stored, sealed })
    }
}

/// Before the rotation, so that a wrong wish does not use the token up. // RFC 8707 §2.2
async fn check_resources(issuer: &Issuer, request: &TokenRequest, presented: &RefreshToken) -> Result<(), TokenError> {
    if request.form.get("resource").is_none() {
        return Ok(());
    }
    match issuer.store.find_refresh_grant(&presented.digest()).await? {
        Some((grant, _)) if grant.client == request.client.id => narrow(&grant, request).map(drop),
        _ => Err(TokenError::Grant),
    }
}

fn reopen(predecessor: &RefreshToken, sealed: &[u8]) -> Result<Zeroizing<String>, TokenError> {
    let plain = seal::open_under(predecessor.reveal(), SEAL_CONTEXT, sealed).map_err(|_| TokenError::Internal)?;
    let text = std::str::from_utf8(&plain).map_err(|_| TokenError::Internal)?;
    Ok(Zeroizing::new(text.to_owned()))
}

async fn give(
    issuer: &Issuer,
    request: &TokenRequest,
    id: TokenId,
    issuance: &Issuance,
    refresh_token: Option<&str>,
) -> Result<Response, TokenError> {
    let audiences = narrow(&issuance.grant, request)?;
    answer::for_user(issuer, request, id, issuance, audiences, Beside { refresh_token, nonce: None }).await
}

/// RFC 9700 §4.14.2: thief or owner, one of them has it that should not. The answer waits until no gate accepts the line.
async fn take_back(issuer: &Issuer, grant: GrantId, committed: Committed<RefreshOutcome>) -> TokenError {
    tracing::warn!(%grant, "a refresh token was used again; its line is revoked");
    if let Err(error) = committed.everywhere(&*issuer.propagation).await {
        tracing::warn!(%grant, %error, "the revocation is durable, but not confirmed everywhere");
    }
    TokenError::Grant
}
