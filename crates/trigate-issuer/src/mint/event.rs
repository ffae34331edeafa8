//! What this Trigate tells others unasked: one security event, signed (RFC 8417). Its `typ` keeps it from being taken for
//! a token (RFC 8417 §4.1), and it has no `exp`: what happened does not cease to have happened.

use super::MintError;
use crate::Issuer;
use serde::Serialize;
use serde_json::{Map, Value};
use trigate_core::{id::TokenId, jose::Algorithm};

/// What happened, for whom.
#[derive(Clone, Debug)]
pub struct SecurityEvent<'a> {
    pub audience: &'a str,
    /// A URI.
    pub event: &'a str,
    pub payload: Map<String, Value>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    jti: String,
    events: Map<String, Value>,
}

impl Issuer {
    /// Signs a security event token by the key of assertions, which is in our key set.
    ///
    /// # Errors
    /// `NoKey`.
    pub fn mint_event(&self, event: SecurityEvent<'_>) -> Result<String, MintError> {
        let now = self.now();
        let key = self.keyring.load().signer(Algorithm::EdDSA, now).ok_or(MintError::NoKey)?;
        let claims = Claims {
            iss: &self.config.issuer,
            aud: event.audience,
            iat: now.seconds(),
            jti: TokenId::mint(&*self.rng).to_string(),
            events: [(event.event.to_owned(), Value::Object(event.payload))].into_iter().collect(),
        };
        // RFC 8417 §2.3
        Ok(key.sign_jws("secevent+jwt", &claims)?)
    }
}
