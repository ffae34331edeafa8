//! The one verb that ends things.

use super::Stored;
use crate::{act::Act, change::Target, time::Timestamp};
use async_trait::async_trait;

/// A signed statement of another party, that is taken once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementId {
    /// Whose word the id is. // INVARIANT: with a blank, so that no client's id is one.
    pub party: String,
    pub id: String,
    pub remember_until: Timestamp,
}

#[async_trait]
pub trait Revocations: Send + Sync {
    /// Revokes every credential of `target` made before now, for ever. State, act and change are one transaction.
    /// Revoking what is revoked already succeeds again. `Missing` when we would have to know it and do not (keys,
    /// users, clients, applications, sessions, grants of our own).
    /// `keep_until`: when the last credential that this can hit has expired by itself.
    async fn revoke(&self, act: Act, target: Target, keep_until: Timestamp) -> Stored<()>;
    /// Revokes all of `targets` because of a statement, at most once for each: `Conflict`, and nothing happened, when it
    /// was taken before. The memory of the statement is part of the transaction.
    async fn revoke_once(
        &self,
        act: Act,
        statement: StatementId,
        targets: Vec<Target>,
        keep_until: Timestamp,
    ) -> Stored<()>;
}
