//! The index of decisions: copies of what stands in the nodes' segment files, so that "what did this user do?" is one
//! query. The files remain the proof.

use super::{conflict, job};
use crate::{
    dialect::{Row, Value, json, values},
    store::Tenant,
};
use async_trait::async_trait;
use trigate_core::{
    id::TenantId,
    port::{AuditIndex, DecisionFilter, IndexedDecision, StoreError},
};

macro_rules! find_decisions {
    ($lead:literal) => {
        concat!(
            "SELECT node, place, record FROM decisions WHERE tenant = $1 ",
            $lead,
            " AND (user_id = $2 OR $2 IS NULL) AND (application = $3 OR $3 IS NULL) AND (client = $4 OR $4 IS NULL) \
             AND (key_id = $5 OR $5 IS NULL) AND (session = $6 OR $6 IS NULL) AND (certificate = $7 OR $7 IS NULL) \
             AND (address = $8 OR $8 IS NULL) AND (reason = $9 OR $9 IS NULL) AND at >= $10 \
             ORDER BY at DESC, node, place DESC LIMIT $11"
        )
    };
}

fn indexed(row: &Row) -> Result<IndexedDecision, StoreError> {
    Ok(IndexedDecision { node: row.text(0)?.to_owned(), index: row.number(1)?, decision: row.json(2)? })
}

fn columns(tenant: &TenantId, node: &str, entry: &IndexedDecision) -> Result<Vec<Value>, StoreError> {
    let (decision, facts) = (&entry.decision, &entry.decision.facts);
    Ok(values![
        tenant,
        node,
        entry.index,
        decision.at,
        facts.user.as_ref(),
        facts.application.as_ref(),
        facts.client.as_ref(),
        facts.key.as_ref(),
        facts.session.as_ref(),
        facts.certificate.as_ref(),
        decision.peer.to_string(),
        decision.reason.map(|reason| reason.code()),
        json(decision)?,
    ])
}

#[async_trait]
impl AuditIndex for Tenant {
    async fn index_decisions(
        &self,
        node: &str,
        decisions: Vec<IndexedDecision>,
        next_index: u64,
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO decisions (tenant, node, place, at, user_id, application, client, key_id, \
             session, certificate, address, reason, record) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING";
        const NOTE: &str = "INSERT INTO indexed_nodes (tenant, node, next_place) VALUES ($1, $2, $3) \
             ON CONFLICT (tenant, node) DO UPDATE SET next_place = excluded.next_place \
             WHERE indexed_nodes.next_place < excluded.next_place";
        let node = node.to_owned();
        let work = job!(|tx| {
            if decisions.iter().any(|entry| entry.decision.tenant != tx.tenant) {
                return conflict("a decision of another tenant");
            }
            let rows = decisions.iter().map(|entry| columns(&tx.tenant, &node, entry)).collect::<Result<_, _>>()?;
            tx.sql().execute_many(INSERT, rows).await?;
            tx.execute(NOTE, values![&tx.tenant, &node, next_index]).await.map(drop)
        });
        self.keep(work).await
    }

    async fn indexed_up_to(&self, node: &str) -> Result<u64, StoreError> {
        const FIND: &str = "SELECT next_place FROM indexed_nodes WHERE tenant = $1 AND node = $2";
        self.one(FIND, values![&self.tenant, node]).await?.map_or(Ok(0), |row| row.number(0))
    }

    async fn find_decisions(&self, filter: &DecisionFilter) -> Result<Vec<IndexedDecision>, StoreError> {
        let statement = match filter {
            DecisionFilter { session: Some(_), .. } => find_decisions!("AND session = $6"),
            DecisionFilter { user: Some(_), .. } => find_decisions!("AND user_id = $2"),
            DecisionFilter { key: Some(_), .. } => find_decisions!("AND key_id = $5"),
            DecisionFilter { certificate: Some(_), .. } => find_decisions!("AND certificate = $7"),
            DecisionFilter { client: Some(_), .. } => find_decisions!("AND client = $4"),
            DecisionFilter { application: Some(_), .. } => find_decisions!("AND application = $3"),
            DecisionFilter { address: Some(_), .. } => find_decisions!("AND address = $8"),
            _ => find_decisions!(""),
        };
        let asked = values![
            &self.tenant,
            filter.user.as_ref(),
            filter.application.as_ref(),
            filter.client.as_ref(),
            filter.key.as_ref(),
            filter.session.as_ref(),
            filter.certificate.as_ref(),
            filter.address.map(|address| address.to_string()),
            filter.reason.as_ref(),
            filter.since.map_or(i64::MIN, |since| since.micros()),
            filter.limit,
        ];
        self.rows(statement, asked).await?.iter().map(indexed).collect()
    }
}
