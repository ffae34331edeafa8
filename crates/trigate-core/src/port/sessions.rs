//! Logins, and what people allowed.

use super::{StoreError, Stored};
use crate::{
    act::Act,
    credential::Digest,
    id::{ClientId, SessionId, UserId},
    oauth::ScopeSet,
    time::Timestamp,
    user::{Consent, Session},
};
use async_trait::async_trait;

#[async_trait]
pub trait Sessions: Send + Sync {
    /// `Conflict` when the user is disabled. `replaces` ends in the same step: a new id at each rise in privilege.
    async fn create_session(&self, act: Act, new: Session, replaces: Option<&SessionId>) -> Stored<Session>;
    /// Only a session that is alive: not ended, not past its absolute or idle end, its user enabled and not revoked since.
    async fn find_session(&self, cookie: &Digest, now: Timestamp, idle_s: u32) -> Result<Option<Session>, StoreError>;
    async fn list_sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError>;

    async fn find_consent(&self, user: &UserId, client: &ClientId) -> Result<Option<Consent>, StoreError>;
    /// Adds to what was allowed before.
    async fn record_consent(&self, act: Act, user: &UserId, client: &ClientId, scopes: &ScopeSet) -> Stored<Consent>;
    /// Forgets the consent and revokes every grant that rests on it.
    async fn withdraw_consent(&self, act: Act, user: &UserId, client: &ClientId) -> Stored<()>;
    async fn list_consents(&self, user: &UserId) -> Result<Vec<Consent>, StoreError>;
}
