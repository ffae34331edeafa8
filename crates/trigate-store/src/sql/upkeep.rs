//! What keeps the store small and tells whether it works. Feed and acts are never swept: gates and auditors may ask for
//! any of them.

use super::job;
use crate::{dialect::values, sql::export, store::System};
use async_trait::async_trait;
use std::path::PathBuf;
use trigate_core::{
    Timestamp,
    port::{StoreError, SystemStore},
};

/// Seconds that used secrets are remembered beyond their end: a replay is told from an unknown secret.
const MEMORY_S: i64 = 86_400;
/// Seconds that a clock may be behind.
const LEEWAY_S: i64 = 3_600;

macro_rules! sweep {
    ($table:literal, $key:literal, $over:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE (",
            $key,
            ") IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $over,
            " LIMIT $2)"
        )
    };
}

/// Seconds after its last report until a gate is forgotten: longer than any period that it may still count.
const REPORTER_S: i64 = 40 * 86_400;

/// Each statement with the age in seconds that its rows must have.
const SWEEPS: [(&str, i64); 14] = [
    (
        "UPDATE refresh_tokens SET sealed_successor = NULL WHERE (tenant, digest) IN (SELECT tenant, digest \
         FROM refresh_tokens WHERE sealed_successor IS NOT NULL AND repeat_until <= $1 LIMIT $2)",
        0,
    ),
    (sweep!("attempts", "tenant, subject", "ends_at <= $1"), 0),
    (sweep!("codes", "tenant, digest", "expires_at < $1"), MEMORY_S),
    (sweep!("refresh_tokens", "tenant, digest", "expires_at < $1"), MEMORY_S),
    (sweep!("opaque_tokens", "tenant, digest", "expires_at < $1"), LEEWAY_S),
    (sweep!("revoked_tokens", "tenant, token", "keep_until < $1"), LEEWAY_S),
    (sweep!("narrowings", "tenant, kind, id, name", "keep_until < $1"), 0),
    (sweep!("assertion_ids", "tenant, client, jti", "expires_at < $1"), LEEWAY_S),
    (sweep!("used_proofs", "tenant, proof", "expires_at < $1"), LEEWAY_S),
    (sweep!("signing_keys", "tenant, kid", "published_until < $1"), LEEWAY_S),
    (sweep!("grants", "tenant, id", "keep_until < $1"), MEMORY_S),
    (sweep!("usages", "tenant, application, period", "ends_at < $1"), MEMORY_S),
    (sweep!("usage_reports", "tenant, holder", "seen_at < $1"), REPORTER_S),
    // A grant is judged by its session: that stays as long as the grant.
    (
        sweep!(
            "sessions",
            "tenant, id",
            "expires_at < $1 AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.tenant = sessions.tenant \
             AND g.session = sessions.id)"
        ),
        MEMORY_S,
    ),
];

#[async_trait]
impl SystemStore for System {
    async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut gone = 0;
        for (statement, age_s) in SWEEPS {
            // A job each: nobody waits for more than one of them.
            let before = now.plus_seconds(-age_s);
            gone += self.keep(job!(|tx| { tx.execute(statement, values![before, limit]).await })).await?;
        }
        Ok(gone)
    }

    async fn export(&self, out: PathBuf) -> Result<u64, StoreError> {
        self.0.reader.ask(true, move |sql| Box::pin(async move { export::export(sql, &out).await })).await
    }

    async fn import(&self, from: PathBuf) -> Result<u64, StoreError> {
        self.keep(job!(|tx| { export::import(tx, &from).await })).await
    }

    async fn check_ready(&self) -> Result<(), StoreError> {
        const READ: &str = "SELECT position FROM feed_head WHERE id = 1";
        const WRITE: &str = "UPDATE feed_head SET probed_at = $1 WHERE id = 1";
        self.0.reader.rows(READ, Vec::new()).await?;
        self.keep(job!(|tx| { tx.execute(WRITE, values![tx.now]).await.map(drop) })).await
    }
}
