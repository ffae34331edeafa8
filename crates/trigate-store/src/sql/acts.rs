//! The trail of acts: written by the writer with each change, asked for here.

use super::job;
use crate::{
    dialect::{Row, values},
    store::Tenant,
    writer::load_chain,
};
use async_trait::async_trait;
use trigate_core::{
    Act,
    audit::ChainHead,
    port::{ActFilter, Acts, StoreError, Stored, StoredAct},
};

/// The first condition names the index; the others sift what it finds. `$2` is never null where it is named first.
macro_rules! find_acts {
    ($lead:literal) => {
        concat!(
            "SELECT place, bytes, hash FROM acts WHERE tenant = $1 ",
            $lead,
            " AND (user_id = $2 OR $2 IS NULL) AND (client = $3 OR $3 IS NULL) \
             AND (application = $4 OR $4 IS NULL) AND (target = $5 OR $5 IS NULL) AND at >= $6 \
             ORDER BY place DESC LIMIT $7"
        )
    };
}

fn stored(row: &Row) -> Result<StoredAct, StoreError> {
    let bytes = row.blob(1)?.to_vec();
    let act: Act = serde_json::from_slice(&bytes).map_err(|error| StoreError::Corrupt(format!("an act: {error}")))?;
    Ok(StoredAct { index: row.number(0)?, act, bytes, hash: row.bytes32(2)? })
}

#[async_trait]
impl Acts for Tenant {
    async fn record_act(&self, act: Act) -> Stored<()> {
        self.write(act, job!(|_tx| { Ok(()) })).await
    }

    async fn find_acts(&self, filter: &ActFilter) -> Result<Vec<StoredAct>, StoreError> {
        let statement = match filter {
            ActFilter { user: Some(_), .. } => find_acts!("AND user_id = $2"),
            ActFilter { client: Some(_), .. } => find_acts!("AND client = $3"),
            ActFilter { target: Some(_), .. } => find_acts!("AND target = $5"),
            ActFilter { application: Some(_), .. } => find_acts!("AND application = $4"),
            _ => find_acts!(""),
        };
        let asked = values![
            &self.tenant,
            filter.user.as_ref(),
            filter.client.as_ref(),
            filter.application.as_ref(),
            filter.target.as_ref(),
            filter.since.map_or(i64::MIN, |since| since.micros()),
            filter.limit,
        ];
        self.rows(statement, asked).await?.iter().map(stored).collect()
    }

    async fn acts_from(&self, index: u64, limit: u32) -> Result<Vec<StoredAct>, StoreError> {
        const FROM: &str =
            "SELECT place, bytes, hash FROM acts WHERE tenant = $1 AND place >= $2 ORDER BY place LIMIT $3";
        self.rows(FROM, values![&self.tenant, index, limit]).await?.iter().map(stored).collect()
    }

    async fn act_chain_head(&self) -> Result<ChainHead, StoreError> {
        let tenant = self.tenant.clone();
        self.view(move |sql| Box::pin(async move { load_chain(sql, &tenant).await })).await
    }
}
