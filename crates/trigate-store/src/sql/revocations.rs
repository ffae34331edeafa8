//! The one verb that ends things. It marks the target alone; what rests on it is judged by the mark, so that a
//! revocation costs the same however much it ends.

use super::{
    applications::{find_key, update_key},
    certificates::mark_revoked,
    grants::revoke_grant,
    job,
    keys::revoke_signing_key,
    sessions::revoke_session,
    users::revoke_user,
};
use crate::{dialect::values, store::Tenant, writer::Tx};
use async_trait::async_trait;
use trigate_core::{
    Act, Timestamp,
    change::{Target, What},
    id::{AppId, ClientId, KeyId, TokenId},
    port::{Revocations, StatementId, StoreError, Stored},
};

/// API keys need never expire: a gate may not forget what ended them.
const FOR_EVER: Timestamp = Timestamp::from_micros(i64::MAX);

async fn announce(tx: &mut Tx, target: Target, keep_until: Timestamp) -> Result<(), StoreError> {
    tx.change(What::Revoked { target, keep_until }).await.map(drop)
}

async fn revoke_token(tx: &mut Tx, id: TokenId, keep_until: Timestamp) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO revoked_tokens (tenant, token, keep_until) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant, token) DO UPDATE SET keep_until = excluded.keep_until \
         WHERE revoked_tokens.keep_until < excluded.keep_until";
    tx.execute(UPSERT, values![&tx.tenant, id.to_string(), keep_until]).await?;
    announce(tx, Target::Token { id }, keep_until).await
}

async fn revoke_client(tx: &mut Tx, id: ClientId, keep_until: Timestamp) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE clients SET revoked_at_position = $3 WHERE tenant = $1 AND id = $2";
    if tx.execute(UPDATE, values![&tx.tenant, &id, tx.next_position()]).await? == 0 {
        return Err(StoreError::Missing("client"));
    }
    announce(tx, Target::Client { id, issuer: None }, keep_until).await
}

async fn revoke_application(tx: &mut Tx, id: AppId) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE applications SET revoked_at_position = $3 WHERE tenant = $1 AND id = $2";
    if tx.execute(UPDATE, values![&tx.tenant, &id, tx.next_position()]).await? == 0 {
        return Err(StoreError::Missing("application"));
    }
    announce(tx, Target::Application { id }, FOR_EVER).await
}

async fn revoke_key(tx: &mut Tx, id: KeyId) -> Result<(), StoreError> {
    let mut record = find_key(tx, &id).await?.ok_or(StoreError::Missing("key"))?;
    record.revoked_at.get_or_insert(tx.now);
    update_key(tx, &record).await?;
    announce(tx, Target::Key { id }, FOR_EVER).await
}

async fn revoke(tx: &mut Tx, target: Target, keep_until: Timestamp) -> Result<(), StoreError> {
    // The caller may not know of every token's life: never shorter than the longest that was given out.
    let for_tokens = keep_until.max(tx.tokens_over().await?);
    match target {
        Target::Token { id } => revoke_token(tx, id, keep_until).await,
        Target::Session { id, issuer: None } => revoke_session(tx, &id, for_tokens).await,
        Target::Grant { id } => revoke_grant(tx, &id, for_tokens).await,
        Target::User { id, issuer: None } => revoke_user(tx, &id, for_tokens).await,
        Target::Client { id, issuer: None } => revoke_client(tx, id, for_tokens).await,
        Target::Application { id } => revoke_application(tx, id).await,
        Target::Key { id } => revoke_key(tx, id).await,
        Target::SigningKey { kid } => revoke_signing_key(tx, &kid, for_tokens).await,
        Target::Certificate { ref fingerprint } => {
            mark_revoked(tx, fingerprint).await?;
            announce(tx, target, keep_until).await
        }
        // Certificates of other authorities are not kept here: the gates judge by the feed alone.
        Target::CertificateSerial { .. } | Target::CertificateKey { .. } | Target::SpiffeId { .. } => {
            announce(tx, target, keep_until).await
        }
        // Another issuer's parties are not ours to know; the gates judge by the feed alone.
        Target::User { issuer: Some(_), .. }
        | Target::Client { issuer: Some(_), .. }
        | Target::Session { issuer: Some(_), .. } => announce(tx, target, keep_until).await,
    }
}

#[async_trait]
impl Revocations for Tenant {
    async fn revoke(&self, act: Act, target: Target, keep_until: Timestamp) -> Stored<()> {
        self.write(act, job!(|tx| { revoke(tx, target, keep_until).await })).await
    }

    async fn revoke_once(
        &self,
        act: Act,
        statement: StatementId,
        targets: Vec<Target>,
        keep_until: Timestamp,
    ) -> Stored<()> {
        const REMEMBER: &str = "INSERT INTO assertion_ids (tenant, client, jti, expires_at) VALUES ($1, $2, $3, $4) \
                                ON CONFLICT DO NOTHING";
        let work = job!(|tx| {
            let row = values![&tx.tenant, statement.party.as_str(), statement.id.as_str(), statement.remember_until];
            if tx.execute(REMEMBER, row).await? == 0 {
                return Err(StoreError::Conflict("this statement was taken before".to_owned()));
            }
            for target in targets {
                revoke(tx, target, keep_until).await?;
            }
            Ok(())
        });
        self.write(act, work).await
    }
}
