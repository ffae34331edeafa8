//! Who has asked how much this day and month? Sums over all gates: counters, no acts.

use super::StoreError;
use crate::{
    id::AppId,
    quota::{Period, Usage, UsageReport},
    time::Timestamp,
};
use async_trait::async_trait;

#[async_trait]
pub trait Quotas: Send + Sync {
    /// Adds what one gate process has counted, once however often the same report comes, and answers with the sums of all
    /// gates. Applications that are not there are left out.
    async fn report_usage(&self, report: &UsageReport) -> Result<Vec<Usage>, StoreError>;
    /// Sums of the periods that run at `now`, by application and period, after the last one known, at most `limit`.
    async fn list_usage(
        &self,
        now: Timestamp,
        after: Option<(AppId, Period)>,
        limit: u32,
    ) -> Result<Vec<Usage>, StoreError>;
}
