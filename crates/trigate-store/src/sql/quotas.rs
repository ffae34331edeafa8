//! Sums of what gates have counted by application and period.

use super::job;
use crate::{
    dialect::{Row, values},
    store::Tenant,
};
use async_trait::async_trait;
use trigate_core::{
    Timestamp,
    id::AppId,
    port::{Quotas, StoreError},
    quota::{Period, Usage, UsageReport},
};

/// More than any plan allows: sums stay numbers whatever a gate says.
const MOST: u64 = 1 << 40;

fn usage(row: &Row) -> Result<Usage, StoreError> {
    let number = u32::try_from(row.number(1)?).ok().and_then(|number| Period::try_from(number).ok());
    let period = number.ok_or_else(|| StoreError::Corrupt("a usage is of no period".to_owned()))?;
    Ok(Usage { application: row.parse(0)?, period, count: row.number(2)? })
}

#[async_trait]
impl Quotas for Tenant {
    async fn report_usage(&self, report: &UsageReport) -> Result<Vec<Usage>, StoreError> {
        // Taken once: a row, or a higher number in it. // A gate asks again whose answer was lost.
        const TAKE: &str = "INSERT INTO usage_reports (tenant, holder, number, seen_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant, holder) DO UPDATE SET number = excluded.number, seen_at = excluded.seen_at \
             WHERE usage_reports.number < excluded.number";
        // For applications that are there alone: a gate cannot fill the store with names.
        const ADD: &str = "INSERT INTO usages (tenant, application, period, used, ends_at) \
             SELECT tenant, id, CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT) FROM applications \
             WHERE tenant = $1 AND id = $2 \
             ON CONFLICT (tenant, application, period) DO UPDATE SET used = usages.used + excluded.used";
        const SUM: &str = "SELECT application, period, used FROM usages \
             WHERE tenant = $1 AND application = $2 AND period = $3";
        let report = report.clone();
        let work = job!(|tx| {
            let row = values![&tx.tenant, report.holder, report.number, tx.now];
            let is_new = tx.execute(TAKE, row).await? == 1;
            let mut sums = Vec::with_capacity(report.counted.len());
            for Usage { application, period, count } in report.counted {
                if is_new {
                    let row = values![&tx.tenant, &application, period.number(), count.min(MOST), period.ends_at()];
                    tx.execute(ADD, row).await?;
                }
                let sum = tx.one(SUM, values![&tx.tenant, &application, period.number()]).await?;
                sums.extend(sum.as_ref().map(usage).transpose()?);
            }
            Ok(sums)
        });
        self.keep(work).await
    }

    async fn list_usage(
        &self,
        now: Timestamp,
        after: Option<(AppId, Period)>,
        limit: u32,
    ) -> Result<Vec<Usage>, StoreError> {
        const LIST: &str = "SELECT application, period, used FROM usages WHERE tenant = $1 AND ends_at > $2 \
             AND (application > $3 OR (application = $3 AND period > $4)) ORDER BY application, period LIMIT $5";
        let (application, period) =
            after.map_or_else(|| (String::new(), 0), |(application, period)| (application.into(), period.number()));
        let rows = self.rows(LIST, values![&self.tenant, now, application, period, limit]).await?;
        rows.iter().map(usage).collect()
    }
}
