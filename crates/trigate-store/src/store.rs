//! The store and its handles. A tenant's handle carries the tenant: no verb can name another.

use crate::{
    dialect::{BoxFuture, Row, Sql, Value},
    reader::Reader,
    writer::{Tx, Writer},
};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use trigate_core::{
    Act, Position,
    id::TenantId,
    port::{Clock, LeaseHolder, Store, StoreError, Stored, SystemStore, TenantStore},
};

/// Where leases are kept differs: one process keeps them in memory, several in their database.
#[async_trait]
pub trait LeaseBook: Send + Sync {
    async fn renew(&self, node: &str, applied: Position, life_ms: u64) -> Result<(), StoreError>;
    async fn release(&self, node: &str) -> Result<(), StoreError>;
    async fn holders(&self) -> Result<Vec<LeaseHolder>, StoreError>;
}

#[derive(Clone)]
pub struct Shared {
    pub writer: Writer,
    pub reader: Reader,
    /// The feed's position as this process has heard of it.
    pub head: watch::Receiver<i64>,
    pub leases: Arc<dyn LeaseBook>,
    pub clock: Arc<dyn Clock>,
}

/// Refuses a lease to a gate that is behind.
/// SECURITY: a change's answer waits for the leases that are live at that moment. Whoever takes one later, or again after
/// it ran out, must already have applied everything, or it would pass what others were told is revoked.
pub fn behind(head: i64) -> StoreError {
    StoreError::Conflict(format!("the feed must be applied up to {head} before a lease is taken"))
}

pub struct SqlStore(pub Arc<Shared>);

impl Store for SqlStore {
    fn tenant(&self, tenant: &TenantId) -> Arc<dyn TenantStore> {
        Arc::new(Tenant { shared: self.0.clone(), tenant: tenant.clone() })
    }

    fn system(&self) -> Arc<dyn SystemStore> {
        Arc::new(System(self.0.clone()))
    }
}

/// All verbs of one tenant; see `sql` for each port.
pub struct Tenant {
    shared: Arc<Shared>,
    pub tenant: TenantId,
}

impl Tenant {
    /// A change with its act.
    pub async fn write<T, W>(&self, act: Act, work: W) -> Stored<T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        self.shared.writer.commit(&self.tenant, &self.shared.clock, Some(act), work).await
    }

    /// Several changes in one step; the work chains the act of each.
    pub async fn write_each<T, W>(&self, work: W) -> Stored<T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        self.shared.writer.commit(&self.tenant, &self.shared.clock, None, work).await
    }

    /// A change that is no act: counters and the like.
    pub async fn keep<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let committed = self.shared.writer.commit(&self.tenant, &self.shared.clock, None, work).await?;
        Ok(committed.gives_only())
    }

    pub async fn rows(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.shared.reader.rows(sql, values).await
    }

    pub async fn one(&self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Several reads of one state of all tables.
    pub async fn view<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut dyn Sql) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        self.shared.reader.ask(true, work).await
    }
}

/// What belongs to no tenant.
pub struct System(pub Arc<Shared>);

impl System {
    pub async fn keep<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let committed = self.0.writer.commit(&TenantId::default_tenant(), &self.0.clock, None, work).await?;
        Ok(committed.gives_only())
    }
}
