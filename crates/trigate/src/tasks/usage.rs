//! Where does a gate beside its store keep what it has counted?

use async_trait::async_trait;
use std::sync::Arc;
use trigate_core::{
    Timestamp,
    id::AppId,
    port::{Quotas, StoreError, TenantStore},
    quota::{Period, Usage, UsageReport},
};

/// One tenant's counters.
pub struct StoredUsage(pub Arc<dyn TenantStore>);

#[async_trait]
impl Quotas for StoredUsage {
    async fn report_usage(&self, report: &UsageReport) -> Result<Vec<Usage>, StoreError> {
        self.0.report_usage(report).await
    }

    async fn list_usage(
        &self,
        now: Timestamp,
        after: Option<(AppId, Period)>,
        limit: u32,
    ) -> Result<Vec<Usage>, StoreError> {
        self.0.list_usage(now, after, limit).await
    }
}
