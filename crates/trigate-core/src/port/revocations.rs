//! The one verb that ends things.

use super::Stored;
use crate::{act::Act, change::Target, time::Timestamp};
use async_trait::async_trait;

#[async_trait]
pub trait Revocations: Send + Sync {
    /// Revokes every credential of `target` made before now, for ever. State, act and change are one transaction.
    /// Revoking what is revoked already succeeds again. `Missing` when we would have to know it and do not (keys,
    /// users, clients, applications, sessions, grants of our own).
    /// `keep_until`: when the last credential that this can hit has expired by itself.
    async fn revoke(&self, act: Act, target: Target, keep_until: Timestamp) -> Stored<()>;
}
