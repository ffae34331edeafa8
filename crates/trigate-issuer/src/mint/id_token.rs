//! ID tokens (OpenID Connect Core §2): a statement to the client that this person logged in. Never an access token:
//! its `typ` and `aud` say so.

use super::MintError;
use crate::Issuer;
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use trigate_core::{
    Timestamp,
    id::{ClientId, SessionId, UserId},
    jose::Algorithm,
    user::Grant,
};

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a UserId,
    aud: &'a ClientId,
    azp: &'a ClientId,
    exp: i64,
    iat: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    acr: &'a str,
    amr: &'a [String],
    at_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a SessionId>,
}

/// `nonce` only at the first exchange: a refresh has none (OpenID Connect Core §12.2).
pub(crate) fn id_token(
    issuer: &Issuer,
    grant: &Grant,
    nonce: Option<&str>,
    access_token: &str,
    now: Timestamp,
) -> Result<String, MintError> {
    let key = issuer.keyring.load().signer(issuer.config.algorithm, now).ok_or(MintError::NoKey)?;
    let claims = Claims {
        iss: &issuer.config.issuer,
        sub: &grant.user,
        aud: &grant.client,
        azp: &grant.client,
        exp: now.seconds() + i64::from(issuer.config.id_token_life_s),
        iat: now.seconds(),
        auth_time: grant.authenticated_at.seconds(),
        nonce,
        acr: &grant.acr,
        amr: &grant.amr,
        at_hash: at_hash(issuer.config.algorithm, access_token),
        sid: grant.session.as_ref(),
    };
    Ok(key.sign_jws("JWT", &claims)?)
}

/// OpenID Connect Core §3.1.3.6: the left half of the access token's hash, by the hash of the signature's algorithm.
/// (Ed25519 signs over SHA-512.)
fn at_hash(algorithm: Algorithm, access_token: &str) -> String {
    let hash = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &digest::SHA256,
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::ES512 | Algorithm::EdDSA => &digest::SHA512,
    };
    let whole = digest::digest(hash, access_token.as_bytes());
    let (left, _) = whole.as_ref().split_at(whole.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of OpenID Connect Core §A.3 (RS256).
    #[test]
    fn at_hash_is_that_of_the_specification() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(Algorithm::RS256, token), "77QmUPtjPfzWtF2AnpK9RQ");
    }
}
