//! State that is no act: counters, last-seen times, replay guards. It takes nothing from anybody and gives nothing.

use super::StoreError;
use crate::{
    credential::Digest,
    id::{ClientId, SessionId},
    time::Timestamp,
};
use async_trait::async_trait;

/// How many tries in a window, for one account or one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptRules {
    pub max: u32,
    pub window_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// This try was counted and may go on.
    Allowed,
    /// Seconds until the window allows another.
    Refused { retry_after_s: u32 },
}

#[async_trait]
pub trait Bookkeeping: Send + Sync {
    async fn touch_session(&self, id: &SessionId, now: Timestamp) -> Result<(), StoreError>;
    /// Counts a try before it is judged, so that parallel tries cannot outrun the counter (L03). `subject` is a digest
    /// of `account:…` or `source:…`.
    async fn count_attempt(
        &self,
        subject: &Digest,
        rules: AttemptRules,
        now: Timestamp,
    ) -> Result<AttemptVerdict, StoreError>;
    async fn clear_attempts(&self, subject: &Digest) -> Result<(), StoreError>;
    /// Takes one counted try back: it was right. Wrong ones stay counted.
    async fn forgive_attempt(&self, subject: &Digest) -> Result<(), StoreError>;
    /// `true` the first time that this client uses this `jti`; kept until `expires_at` (RFC 7523 §3).
    async fn redeem_assertion_id(
        &self,
        client: &ClientId,
        jti: &str,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;
    /// `true` the first time that this DPoP proof comes, at any node; kept until `expires_at` (RFC 9449 §11.1).
    async fn redeem_proof_id(&self, proof: &Digest, expires_at: Timestamp) -> Result<bool, StoreError>;
}
