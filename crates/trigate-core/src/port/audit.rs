//! Where records go, and how they are asked for.

use super::StoreError;
use crate::{
    act::Act,
    audit::{ChainHead, Decision, Link, Record},
    time::Timestamp,
};
use async_trait::async_trait;

/// Where a gate writes its records. Called on the road: it never waits for the store.
pub trait AuditSink: Send + Sync {
    /// A slot for one decision, before anything else is done. `None`: nothing may pass (503).
    fn reserve(&self) -> Option<Box<dyn Slot>>;
    /// A record that decides nothing (completion, connection).
    fn note(&self, record: &Record);
}

/// Room for one record. When `write` returns the record is in the kernel's hands.
pub trait Slot: Send {
    /// `sync`: on stable storage before this returns (sensitive routes).
    /// `false` when it could not be written: the request must be refused.
    fn write(self: Box<Self>, record: &Record, sync: bool) -> bool;
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
