//! Counters, last-seen times and replay guards: no acts, but as durable as these.

use super::job;
use crate::{dialect::values, store::Tenant};
use async_trait::async_trait;
use trigate_core::{
    Timestamp,
    credential::Digest,
    id::{ClientId, SessionId},
    port::{AttemptRules, AttemptVerdict, Bookkeeping, StoreError},
};

#[async_trait]
impl Bookkeeping for Tenant {
    async fn touch_session(&self, id: &SessionId, now: Timestamp) -> Result<(), StoreError> {
        const TOUCH: &str = "UPDATE sessions SET last_seen_at = $3 WHERE tenant = $1 AND id = $2 AND last_seen_at < $3";
        let id = id.clone();
        self.keep(job!(|tx| { tx.execute(TOUCH, values![&tx.tenant, &id, now]).await.map(drop) })).await
    }

    async fn count_attempt(
        &self,
        subject: &Digest,
        rules: AttemptRules,
        now: Timestamp,
    ) -> Result<AttemptVerdict, StoreError> {
        const FIND: &str = "SELECT tries, ends_at FROM attempts WHERE tenant = $1 AND subject = $2";
        const COUNT: &str = "INSERT INTO attempts (tenant, subject, tries, ends_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant, subject) DO UPDATE SET tries = excluded.tries, ends_at = excluded.ends_at";
        let subject = *subject;
        let work = job!(|tx| {
            let row = tx.one(FIND, values![&tx.tenant, &subject]).await?;
            let open = row.map(|row| Ok((row.number(0)?, row.time(1)?))).transpose()?;
            let fresh = (0, now.plus_seconds(i64::from(rules.window_s)));
            let (tries, ends_at) = open.filter(|(_, ends_at)| *ends_at > now).unwrap_or(fresh);
            if tries >= u64::from(rules.max) {
                let left = ends_at.micros().saturating_sub(now.micros()).unsigned_abs().div_ceil(1_000_000);
                return Ok(AttemptVerdict::Refused { retry_after_s: u32::try_from(left).unwrap_or(u32::MAX).max(1) });
            }
            tx.execute(COUNT, values![&tx.tenant, &subject, tries + 1, ends_at]).await?;
            Ok(AttemptVerdict::Allowed)
        });
        self.keep(work).await
    }

    async fn clear_attempts(&self, subject: &Digest) -> Result<(), StoreError> {
        const CLEAR: &str = "DELETE FROM attempts WHERE tenant = $1 AND subject = $2";
        let subject = *subject;
        self.keep(job!(|tx| { tx.execute(CLEAR, values![&tx.tenant, &subject]).await.map(drop) })).await
    }

    async fn forgive_attempt(&self, subject: &Digest) -> Result<(), StoreError> {
        const FORGIVE: &str = "UPDATE attempts SET tries = tries - 1 WHERE tenant = $1 AND subject = $2 AND tries > 0";
        let subject = *subject;
        self.keep(job!(|tx| { tx.execute(FORGIVE, values![&tx.tenant, &subject]).await.map(drop) })).await
    }

    async fn redeem_assertion_id(
        &self,
        client: &ClientId,
        jti: &str,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        const INSERT: &str = "INSERT INTO assertion_ids (tenant, client, jti, expires_at) VALUES ($1, $2, $3, $4) \
                              ON CONFLICT DO NOTHING";
        let (client, jti) = (client.clone(), jti.to_owned());
        let work = job!(|tx| { Ok(tx.execute(INSERT, values![&tx.tenant, &client, jti, expires_at]).await? == 1) });
        self.keep(work).await
    }

    async fn redeem_proof_id(&self, proof: &Digest, expires_at: Timestamp) -> Result<bool, StoreError> {
        const INSERT: &str =
            "INSERT INTO used_proofs (tenant, proof, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let proof = *proof;
        let work = job!(|tx| { Ok(tx.execute(INSERT, values![&tx.tenant, &proof, expires_at]).await? == 1) });
        self.keep(work).await
    }
}
