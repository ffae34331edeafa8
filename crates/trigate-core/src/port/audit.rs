//! Where records go, and how they are asked for.

use super::StoreError;
use crate::{
    act::Act,
    audit::{ChainHead, Decision, Link, Record},
    time::Timestamp,
};
use async_trait::async_trait;

/// Where a gate writes its records. Called on the road: it never waits for the store.
///
/// A record is appended (chained, in memory) and then flushed (in the kernel's hands). Whoever answers several requests
/// appends their records first and flushes once, to the last mark, before the first answer leaves.
pub trait AuditSink: Send + Sync {
    /// A slot for one decision, before anything else is done. `None`: nothing may pass (503).
    fn reserve(&self) -> Option<Slot<'_>>;
    /// Gives a slot back. [`Slot`] calls it.
    fn release(&self);
    /// Chains one record. Nobody may be answered on it before `flush_to`. `None`: it was not taken.
    fn append(&self, record: &Record) -> Option<Mark>;
    /// Everything up to the mark in the kernel's hands. `false`: it is not and will not be, the request must be refused.
    fn flush_to(&self, mark: Mark) -> bool;
    /// The same, on stable storage (sensitive routes).
    fn sync_to(&self, mark: Mark) -> bool;
    /// A record that decides nothing (completion, connection). Flushed with the next decision, or soon.
    fn note(&self, record: &Record);
}

/// A record's place among those that were appended. Good at the sink that gave it, and never given twice: after a
/// failed write the chain's numbers are used again, in another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub generation: u64,
    /// Records in the chain with this one.
    pub length: u64,
}

/// Room for one record; given back when dropped.
#[must_use]
pub struct Slot<'a>(&'a dyn AuditSink);

impl<'a> Slot<'a> {
    /// For sinks, when they have taken the room.
    pub const fn taken(sink: &'a dyn AuditSink) -> Self {
        Self(sink)
    }

    /// Chains the record; see [`AuditSink::append`].
    pub fn append(self, record: &Record) -> Option<Mark> {
        self.0.append(record)
    }

    /// When this returns the record is in the kernel's hands, with `sync` on stable storage.
    /// `false` when it could not be written: the request must be refused.
    pub fn write(self, record: &Record, sync: bool) -> bool {
        self.0.append(record).is_some_and(|mark| if sync { self.0.sync_to(mark) } else { self.0.flush_to(mark) })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// An act as it stands in its chain.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredAct {
    /// Place in the tenant's chain, from 0.
    pub index: u64,
    pub act: Act,
    /// The bytes that were chained.
    pub bytes: Vec<u8>,
    pub hash: Link,
}

#[derive(Clone, Debug, Default)]
pub struct ActFilter {
    pub user: Option<crate::id::UserId>,
    pub client: Option<crate::id::ClientId>,
    pub application: Option<crate::id::AppId>,
    pub target: Option<String>,
    pub since: Option<Timestamp>,
    pub limit: u32,
}

#[async_trait]
pub trait Acts: Send + Sync {
    /// Records an act that changes nothing else (a failed login, a look at the audit trail).
    async fn record_act(&self, act: Act) -> super::Stored<()>;
    /// Newest first.
    async fn find_acts(&self, filter: &ActFilter) -> Result<Vec<StoredAct>, StoreError>;
    /// For verification: oldest first, from `index`.
    async fn acts_from(&self, index: u64, limit: u32) -> Result<Vec<StoredAct>, StoreError>;
    async fn act_chain_head(&self) -> Result<ChainHead, StoreError>;
}

/// A decision in the index, with the place of its record.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct IndexedDecision {
    pub node: String,
    /// Number of the record in the node's chain, from 0.
    pub index: u64,
    pub decision: Decision,
}

#[derive(Clone, Debug, Default)]
pub struct DecisionFilter {
    pub user: Option<crate::id::UserId>,
    pub application: Option<crate::id::AppId>,
    pub client: Option<crate::id::ClientId>,
    pub key: Option<crate::id::KeyId>,
    pub session: Option<crate::id::SessionId>,
    pub certificate: Option<String>,
    pub address: Option<std::net::IpAddr>,
    pub since: Option<Timestamp>,
    pub reason: Option<String>,
    pub limit: u32,
}

#[async_trait]
pub trait AuditIndex: Send + Sync {
    /// Adds decisions and notes that `node` is indexed up to `next_index` (exclusive). Idempotent.
    async fn index_decisions(
        &self,
        node: &str,
        decisions: Vec<IndexedDecision>,
        next_index: u64,
    ) -> Result<(), StoreError>;
    /// How far `node` is indexed: the number of the first record that is not.
    async fn indexed_up_to(&self, node: &str) -> Result<u64, StoreError>;
    /// Newest first.
    async fn find_decisions(&self, filter: &DecisionFilter) -> Result<Vec<IndexedDecision>, StoreError>;
}
