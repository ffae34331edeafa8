//! The store as a whole. Everything but the feed and the tasks goes through the handle of one tenant: crossing tenants
//! cannot be written.

use super::*;
use crate::id::TenantId;
use async_trait::async_trait;
use std::sync::Arc;

pub trait Store: Send + Sync {
    fn tenant(&self, tenant: &TenantId) -> Arc<dyn TenantStore>;
    /// For the feed and the tasks alone.
    fn system(&self) -> Arc<dyn SystemStore>;
}

/// All that one tenant has.
pub trait TenantStore:
    Applications
    + Clients
    + Users
    + Sessions
    + Grants
    + SigningKeys
    + Certificates
    + Revocations
    + Acts
    + AuditIndex
    + Bookkeeping
    + Quotas
{
}

impl<T> TenantStore for T where
    T: Applications
        + Clients
        + Users
        + Sessions
        + Grants
        + SigningKeys
        + Certificates
        + Revocations
        + Acts
        + AuditIndex
        + Bookkeeping
        + Quotas
{
}

/// What belongs to no tenant.
#[async_trait]
pub trait SystemStore: Feed + Snapshots + Leases {
    /// Removes rows whose time is over, at most `limit` of each kind; says how many went.
    async fn sweep(&self, now: crate::Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// Every table as JSON lines, from one consistent view. Secrets stay hashed or sealed.
    async fn export(&self, out: std::path::PathBuf) -> Result<u64, StoreError>;
    /// Fills an empty store from an export. `Conflict` when it is not empty.
    async fn import(&self, from: std::path::PathBuf) -> Result<u64, StoreError>;
    /// Reads and writes once: for `/readyz`.
    async fn check_ready(&self) -> Result<(), StoreError>;
}
