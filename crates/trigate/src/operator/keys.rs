//! Which keys sign tokens, and since when?

use super::{Answer, By, Operator, OperatorError, when};
use async_trait::async_trait;
use serde::Serialize;
use std::sync::Arc;
use trigate_core::{Timestamp, jose::Algorithm, key::SigningKeyRecord};
use trigate_issuer::{Issuer, KeysError};

/// The issuer makes and seals signing keys; the desk only asks it to.
#[async_trait]
pub trait KeyRotation: Send + Sync {
    /// Publishes new keys that sign once every verifier had time to fetch them, or at once when `now`. Answers with
    /// their `kid`s.
    async fn rotate(&self, by: &By, now: bool) -> Result<Vec<String>, OperatorError>;
    /// A key was revoked: it signs no more and is published no more.
    async fn forget_revoked(&self) -> Result<(), OperatorError>;
}

fn failed(error: KeysError) -> OperatorError {
    match error {
        KeysError::Store(error) => error.into(),
        other => OperatorError::broken(other.to_string(), "check the master key and see the server's log"),
    }
}

#[async_trait]
impl KeyRotation for Arc<Issuer> {
    async fn rotate(&self, by: &By, now: bool) -> Result<Vec<String>, OperatorError> {
        let actor = by.actor.clone();
        let made = if now { self.replace_keys_now(actor).await } else { self.rotate_keys(actor).await };
        made.map_err(failed)
    }

    async fn forget_revoked(&self) -> Result<(), OperatorError> {
        self.keys_due().await.map_err(failed)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct SigningKeyView {
    pub kid: String,
    pub algorithm: Algorithm,
    /// `next`, `signing`, `published` or `retired`.
    pub phase: &'static str,
    pub created_at: String,
    pub signs_from: String,
    pub signs_until: Option<String>,
    pub published_until: Option<String>,
}

impl SigningKeyView {
    fn new(key: SigningKeyRecord, now: Timestamp) -> Self {
        let over = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let phase = if key.revoked {
            "revoked"
        } else if over(key.published_until) {
            "retired"
        } else if over(key.signs_until) {
            "published"
        } else if key.signs_from > now {
            "next"
        } else {
            "signing"
        };
        Self {
            kid: key.kid,
            algorithm: key.algorithm,
            phase,
            created_at: when(key.created_at),
            signs_from: when(key.signs_from),
            signs_until: key.signs_until.map(when),
            published_until: key.published_until.map(when),
        }
    }
}

impl Operator {
    pub async fn list_signing_keys(&self) -> Answer<Vec<SigningKeyView>> {
        let now = self.now();
        Ok(self.store().list_signing_keys().await?.into_iter().map(|key| SigningKeyView::new(key, now)).collect())
    }

    /// The new keys. They sign after their publication, unless `now`: for a key that is no longer trusted.
    pub async fn rotate_signing_keys(&self, by: &By, now: bool) -> Answer<Vec<SigningKeyView>> {
        let rotation = self.parts.rotation.as_ref().ok_or_else(|| {
            OperatorError::invalid("no issuer runs here", "start the server with `trigate serve` and ask again")
        })?;
        let kids = rotation.rotate(by, now).await?;
        Ok(self.list_signing_keys().await?.into_iter().filter(|key| kids.contains(&key.kid)).collect())
    }
}
