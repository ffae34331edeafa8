//! How does a gate learn of changes, and how does an operator know that it has? The feed, the leases, the barrier.

use super::StoreError;
use crate::{
    application::KeyRecord,
    change::{Change, Position, RevokedToken, Snapshot},
    id::{KeyId, TenantId},
    time::Timestamp,
};
use async_trait::async_trait;

/// The ordered feed. INVARIANT: whoever has read up to p will never see a change at or below p appear later.
#[async_trait]
pub trait Feed: Send + Sync {
    async fn head(&self) -> Result<Position, StoreError>;
    /// Changes after `position`, oldest first, at most `limit`.
    async fn changes_after(&self, position: Position, limit: u32) -> Result<Vec<Change>, StoreError>;
    /// Returns when the head may be beyond `position`, or after `timeout_ms`.
    async fn wait_beyond(&self, position: Position, timeout_ms: u64) -> Result<(), StoreError>;
    /// As `changes_after`, but waits for the first of them, `timeout_ms` at most: one round where the feed is far away.
    async fn changes_beyond(&self, position: Position, limit: u32, timeout_ms: u64) -> Result<Vec<Change>, StoreError> {
        self.wait_beyond(position, timeout_ms).await?;
        self.changes_after(position, limit).await
    }
}

/// What a snapshot leaves out, because there can be millions; it is read after it, page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    Keys,
    KeysAndRevokedTokens,
}

/// All that a gate knows, to begin with.
#[async_trait]
pub trait Snapshots: Send + Sync {
    async fn snapshot(&self, tenant: &TenantId, now: Timestamp) -> Result<Snapshot, StoreError>;
    async fn snapshot_without(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        left_out: LeftOut,
    ) -> Result<Snapshot, StoreError>;
    /// API keys after this one, by id, at most `limit`. INVARIANT: read after a snapshot they are as new as it, or newer:
    /// with the changes after it, none is missing and none is old.
    async fn keys_after(
        &self,
        tenant: &TenantId,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyRecord>, StoreError>;
    /// Tokens revoked after `position` that may be alive, oldest first, at most `limit`.
    async fn revoked_tokens(
        &self,
        tenant: &TenantId,
        position: Position,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RevokedToken>, StoreError>;
}

/// A gate trusts its memory for so long after it last asked.
pub const LEASE_LIFE_MS: u64 = 10_000;

/// One gate process that trusts its memory for a while.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeaseHolder {
    pub node: String,
    /// All that it has applied.
    pub applied: Position,
    /// Milliseconds until its lease runs out, as the store sees it.
    pub remaining_ms: u64,
}

/// Leases of gate processes. A lease is kept by the store's clock alone; the gate counts its own from before it asked,
/// on its monotonic clock, so that it always stops earlier than the store believes.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Renews, or takes, the lease of `node` for `life_ms`, and notes what it has applied. Answers with the feed's head,
    /// read after the lease took hold. `Conflict` for a gate that is behind and holds none: it must catch up first.
    async fn renew(&self, node: &str, applied: Position, life_ms: u64) -> Result<Position, StoreError>;
    /// Gives the lease back: the gate has stopped.
    async fn release(&self, node: &str) -> Result<(), StoreError>;
    async fn holders(&self) -> Result<Vec<LeaseHolder>, StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropagationError {
    /// The change is durable and no gate will miss it, but it is not known that all have it yet.
    #[error("not every gate has confirmed the change yet: {0}")]
    Unconfirmed(String),
}

/// The barrier behind every revocation's answer.
#[async_trait]
pub trait Propagation: Send + Sync {
    /// Returns once each live lease has acknowledged `position` or run out.
    async fn everywhere(&self, position: Position) -> Result<(), PropagationError>;
}
