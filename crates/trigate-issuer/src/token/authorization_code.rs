//! A code for tokens (OAuth 2.1 §4.1.3). The store redeems it in one transition; a second use takes back what the first
//! one gave (O07, O08).

use super::{
    TokenError, TokenRequest,
    answer::{self, Beside},
};
use crate::Issuer;
use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use trigate_core::{
    client::{Client, GrantType},
    credential::{AuthorizationCode, Digest, RefreshToken},
    id::{GrantId, TokenId},
    port::{CodeOutcome, Committed, NewRefresh, RedeemCode},
    user::Grant,
};

pub(super) async fn exchange(issuer: &Issuer, request: &TokenRequest) -> Result<Response, TokenError> {
    let (form, client) = (&request.form, &request.client);
    if !client.may_use(GrantType::AuthorizationCode) {
        return Err(TokenError::GrantNotAllowed);
    }
    let code = form.get("code").ok_or(TokenError::Missing("code is missing"))?;
    let code = AuthorizationCode::parse(code).ok_or(TokenError::Grant)?;
    // RFC 6749 §4.1.3: OAuth 2.1 dropped the redirect URI here because of PKCE; one of the two binds the code.
    if form.get("code_verifier").or(form.get("redirect_uri")).is_none() {
        return Err(TokenError::Missing("code_verifier or redirect_uri is missing"));
    }
    // Before the code is used up, as far as it can be told. // RFC 8707 §2.2
    if form.all("resource").any(|resource| !client.resources.iter().any(|registered| registered == resource)) {
        return Err(TokenError::Target);
    }
    let refresh = new_refresh(issuer, client);
    let id = TokenId::mint(&*issuer.rng);
    let redeem = RedeemCode {
        digest: code.digest(),
        client: client.id.clone(),
        redirect_uri: form.get("redirect_uri").map(str::to_owned),
        challenge: form.get("code_verifier").map(challenge).transpose()?,
        now: issuer.now(),
        shown: request.shown.clone(),
        // RFC 9449 §5, RFC 8705 §7.1: a confidential client's are bound to the client already.
        binds: request.bound.clone().filter(|_| client.is_public()),
        refresh: refresh.as_ref().map(|(_, stored)| stored.clone()),
    };
    let act = answer::act(issuer, request, "code.redeem", &id.to_string(), client);
    let committed = issuer.store.redeem_code(act, redeem).await?;
    let issuance = match committed.value() {
        CodeOutcome::Redeemed(issuance) => issuance.clone(),
        CodeOutcome::Replayed { grant } => return Err(take_back(issuer, grant.clone(), committed).await),
        CodeOutcome::Refused(refusal) => {
            tracing::info!(?refusal, client = %client.id, "code refused");
            return Err(TokenError::Grant);
        }
    };
    let audiences = narrow(&issuance.grant, request)?;
    let beside = Beside {
        refresh_token: refresh.as_ref().map(|(token, _)| token.reveal()),
        nonce: issuance.grant.nonce.as_deref(),
    };
    answer::for_user(issuer, request, id, &issuance, audiences, beside).await
}

/// RFC 6749 §4.1.2: one of the two was a thief, so neither keeps anything. The answer waits until no gate accepts it.
async fn take_back(issuer: &Issuer, grant: GrantId, committed: Committed<CodeOutcome>) -> TokenError {
    tracing::warn!(%grant, "a code was used twice; its grant is revoked");
    if let Err(error) = committed.everywhere(&*issuer.propagation).await {
        tracing::warn!(%grant, %error, "the revocation is durable, but not confirmed everywhere");
    }
    TokenError::Grant
}

fn new_refresh(issuer: &Issuer, client: &Client) -> Option<(RefreshToken, NewRefresh)> {
    let life_s = client.refresh_token_life_s.filter(|_| client.may_use(GrantType::RefreshToken))?;
    let token = RefreshToken::mint(&*issuer.rng);
    let stored = NewRefresh { digest: token.digest(), expires_at: issuer.now().plus_seconds(i64::from(life_s)) };
    Some((token, stored))
}

/// RFC 7636 §4.6: S256 of the verifier, whose form is checked first (§4.1: 43 to 128 unreserved characters).
fn challenge(verifier: &str) -> Result<String, TokenError> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(TokenError::Grant);
    }
    Ok(URL_SAFE_NO_PAD.encode(Digest::of(verifier).bytes()))
}

/// RFC 8707 §2.2: a token for fewer services than were allowed, never for others.
pub(super) fn narrow(grant: &Grant, request: &TokenRequest) -> Result<Vec<String>, TokenError> {
    let mut wanted: Vec<String> = Vec::new();
    for resource in request.form.all("resource") {
        if !grant.resources.iter().any(|allowed| allowed == resource) {
            return Err(TokenError::Target);
        }
        if !wanted.iter().any(|have| have == resource) {
            wanted.push(resource.to_owned());
        }
    }
    Ok(if wanted.is_empty() { grant.resources.clone() } else { wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636 §B.
    #[test]
    fn rfc7636_b_the_challenge_is_that_of_the_specification() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier).as_deref(), Ok("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
        assert!(challenge(&"x".repeat(42)).is_err());
        assert!(challenge(&"x".repeat(129)).is_err());
        assert!(challenge(&"ü".repeat(43)).is_err());
    }
}
