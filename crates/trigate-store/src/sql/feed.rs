//! The feed, and the leases of those who follow it.

use super::{applications, clients, keys};
use crate::{
    dialect::{Row, Sql, values},
    store::System,
};
use async_trait::async_trait;
use std::time::Duration;
use trigate_core::{
    Position, Timestamp,
    application::KeyRecord,
    change::{Change, RevokedToken, Snapshot, Target, What},
    client::Client,
    id::{KeyId, TenantId},
    key::SigningKeyRecord,
    port::{Feed, LeaseHolder, Leases, LeftOut, Snapshots, StoreError},
};

const HEAD: &str = "SELECT position FROM feed_head WHERE id = 1";
const STANDING: &str = "SELECT position, tenant, at, what FROM changes \
     WHERE tenant = $1 AND keep_until IS NOT NULL AND keep_until > $2 ORDER BY position";
/// How a token's revocation begins is also in the migrations: an index leaves these rows out.
const STANDING_BUT_TOKENS: &str = "SELECT position, tenant, at, what FROM changes \
     WHERE tenant = $1 AND keep_until IS NOT NULL AND keep_until > $2 \
     AND substr(what, 1, 42) <> '{\"what\":\"revoked\",\"target\":{\"kind\":\"token\"' ORDER BY position";
const TOKENS: &str = "SELECT position, tenant, at, what FROM changes \
     WHERE tenant = $1 AND position > $2 AND keep_until > $3 \
     AND substr(what, 1, 42) = '{\"what\":\"revoked\",\"target\":{\"kind\":\"token\"' ORDER BY position LIMIT $4";

fn change(row: &Row) -> Result<Change, StoreError> {
    Ok(Change { position: Position(row.number(0)?), tenant: row.parse(1)?, at: row.time(2)?, what: row.json(3)? })
}

fn revoked_token(change: Change) -> Option<RevokedToken> {
    match change.what {
        What::Revoked { target: Target::Token { id }, keep_until } => {
            Some(RevokedToken { position: change.position, id, keep_until })
        }
        _ => None,
    }
}

fn position(rows: &[Row]) -> Result<Position, StoreError> {
    let row = rows.first().ok_or_else(|| StoreError::Corrupt("the feed has no head".to_owned()))?;
    row.number(0).map(Position)
}

/// All that a gate knows, read from one state of all tables.
async fn snapshot(
    sql: &mut dyn Sql,
    tenant: &TenantId,
    now: Timestamp,
    left_out: Option<LeftOut>,
) -> Result<Snapshot, StoreError> {
    const DISABLED: &str = "SELECT id FROM users WHERE tenant = $1 AND enabled = 0 ORDER BY id";
    let faces = |row: &Row| Ok(clients::face(&row.json::<Client>(0)?));
    let standing = if left_out == Some(LeftOut::KeysAndRevokedTokens) { STANDING_BUT_TOKENS } else { STANDING };
    let public = |row: &Row| Ok((&row.json::<SigningKeyRecord>(0)?).into());
    Ok(Snapshot {
        position: position(&sql.query(HEAD, Vec::new()).await?)?,
        applications: all(sql, applications::LIST, tenant, applications::application).await?,
        keys: match left_out {
            None => all(sql, applications::LIST_KEYS, tenant, |row| row.json(0)).await?,
            Some(_) => Vec::new(),
        },
        clients: all(sql, clients::LIST, tenant, faces).await?,
        signing_keys: all(sql, keys::LIST, tenant, public).await?,
        disabled_users: all(sql, DISABLED, tenant, |row| row.parse(0)).await?,
        standing: sql.query(standing, values![tenant, now]).await?.iter().map(change).collect::<Result<_, _>>()?,
        // It is sealed here; whoever holds the master key fills it in.
        opaque_checksum: None,
    })
}

async fn all<T>(
    sql: &mut dyn Sql,
    statement: &'static str,
    tenant: &TenantId,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    sql.query(statement, values![tenant]).await?.iter().map(read).collect()
}

#[async_trait]
impl Feed for System {
    async fn head(&self) -> Result<Position, StoreError> {
        position(&self.0.reader.rows(HEAD, Vec::new()).await?)
    }

    async fn changes_after(&self, position: Position, limit: u32) -> Result<Vec<Change>, StoreError> {
        const AFTER: &str =
            "SELECT position, tenant, at, what FROM changes WHERE position > $1 ORDER BY position LIMIT $2";
        self.0.reader.rows(AFTER, values![position, limit]).await?.iter().map(change).collect()
    }

    async fn wait_beyond(&self, position: Position, timeout_ms: u64) -> Result<(), StoreError> {
        let mut head = self.0.head.clone();
        let beyond = head.wait_for(|head| head.unsigned_abs() > position.0);
        match tokio::time::timeout(Duration::from_millis(timeout_ms), beyond).await {
            Ok(Err(_)) => Err(StoreError::Unavailable("the feed has stopped".to_owned())),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

impl System {
    async fn read_snapshot(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        left_out: Option<LeftOut>,
    ) -> Result<Snapshot, StoreError> {
        let tenant = tenant.clone();
        self.0.reader.ask(true, move |sql| Box::pin(async move { snapshot(sql, &tenant, now, left_out).await })).await
    }
}

#[async_trait]
impl Snapshots for System {
    async fn snapshot(&self, tenant: &TenantId, now: Timestamp) -> Result<Snapshot, StoreError> {
        self.read_snapshot(tenant, now, None).await
    }

    async fn snapshot_without(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        left_out: LeftOut,
    ) -> Result<Snapshot, StoreError> {
        self.read_snapshot(tenant, now, Some(left_out)).await
    }

    async fn keys_after(
        &self,
        tenant: &TenantId,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        const PAGE: &str = "SELECT record FROM keys WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3";
        let after = after.map_or("", KeyId::as_str);
        self.0.reader.rows(PAGE, values![tenant, after, limit]).await?.iter().map(|row| row.json(0)).collect()
    }

    async fn revoked_tokens(
        &self,
        tenant: &TenantId,
        position: Position,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RevokedToken>, StoreError> {
        let rows = self.0.reader.rows(TOKENS, values![tenant, position, now, limit]).await?;
        rows.iter().map(change).filter_map(|change| change.map(revoked_token).transpose()).collect()
    }
}

#[async_trait]
impl Leases for System {
    async fn renew(&self, node: &str, applied: Position, life_ms: u64) -> Result<Position, StoreError> {
        self.0.leases.renew(node, applied, life_ms).await?;
        self.head().await
    }

    async fn release(&self, node: &str) -> Result<(), StoreError> {
        self.0.leases.release(node).await
    }

    async fn holders(&self) -> Result<Vec<LeaseHolder>, StoreError> {
        self.0.leases.holders().await
    }
}
