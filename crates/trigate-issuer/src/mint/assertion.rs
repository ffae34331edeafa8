//! What a gate tells an upstream about a passed request, signed: a short-lived EdDSA JWT that the upstream verifies from
//! our key set. Its `typ` keeps it from being taken for an access token (RFC 8725 §3.11).

use super::MintError;
use crate::Issuer;
use serde::Serialize;
use serde_json::{Map, Value};
use trigate_core::{id::TokenId, jose::Algorithm};

/// Seconds that an assertion lives: one request.
const LIFE_S: i64 = 60;

/// What the gate established.
#[derive(Clone, Debug)]
pub struct AssertionRequest<'a> {
    /// Name or URL of the upstream.
    pub audience: &'a str,
    /// The user, service, machine or application.
    pub subject: &'a str,
    /// Further claims; the registered ones are written by the issuer and may not be among them.
    pub claims: Map<String, Value>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(flatten)]
    further: Map<String, Value>,
}

impl Issuer {
    /// Signs an assertion of 60 seconds with `typ` `trigate-assertion+jwt`.
    ///
    /// # Errors
    /// `NoKey`; `Jose` when `claims` repeats a registered claim.
    pub fn mint_assertion(&self, request: AssertionRequest<'_>) -> Result<String, MintError> {
        let now = self.now();
        let key = self.keyring.load().signer(Algorithm::EdDSA, now).ok_or(MintError::NoKey)?;
        let claims = Claims {
            iss: &self.config.issuer,
            sub: request.subject,
            aud: request.audience,
            iat: now.seconds(),
            exp: now.seconds() + LIFE_S,
            jti: TokenId::mint(&*self.rng).to_string(),
            further: request.claims,
        };
        Ok(key.sign_jws("trigate-assertion+jwt", &claims)?)
    }
}
