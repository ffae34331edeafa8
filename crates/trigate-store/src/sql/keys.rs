//! Signing keys and other secrets of the issuer, sealed before they come here.

use super::{conflict, job};
use crate::{
    dialect::{json, values},
    store::Tenant,
    writer::Tx,
};
use async_trait::async_trait;
use trigate_core::{
    Act, Timestamp,
    change::{Target, What},
    key::SigningKeyRecord,
    port::{SigningKeys, StoreError, Stored},
};

pub const LIST: &str = "SELECT record FROM signing_keys WHERE tenant = $1 ORDER BY created_at, kid";

async fn update(tx: &mut Tx, record: &SigningKeyRecord) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE signing_keys SET record = $3, published_until = $4 WHERE tenant = $1 AND kid = $2";
    tx.execute(UPDATE, values![&tx.tenant, &record.kid, json(record)?, record.published_until]).await?;
    tx.change(What::SigningKey { record: record.into() }).await.map(drop)
}

/// Marks the key as compromised: nothing that it signed is good, whenever it did.
pub async fn revoke_signing_key(tx: &mut Tx, kid: &str, keep_until: Timestamp) -> Result<(), StoreError> {
    const FIND: &str = "SELECT record FROM signing_keys WHERE tenant = $1 AND kid = $2";
    let row = tx.one(FIND, values![&tx.tenant, kid]).await?.ok_or(StoreError::Missing("signing key"))?;
    let record = SigningKeyRecord { revoked: true, ..row.json(0)? };
    update(tx, &record).await?;
    tx.change(What::Revoked { target: Target::SigningKey { kid: kid.to_owned() }, keep_until }).await.map(drop)
}

/// The keys that `new` follows stop signing when it starts.
async fn retire(tx: &mut Tx, new: &SigningKeyRecord, published_until: Timestamp) -> Result<(), StoreError> {
    for row in tx.query(LIST, values![&tx.tenant]).await? {
        let mut old: SigningKeyRecord = row.json(0)?;
        let signs = old.signs_until.is_none_or(|until| until > new.signs_from);
        if old.algorithm == new.algorithm && signs && !old.revoked {
            old.signs_until = Some(new.signs_from);
            old.published_until = Some(published_until);
            update(tx, &old).await?;
        }
    }
    Ok(())
}

#[async_trait]
impl SigningKeys for Tenant {
    async fn list_signing_keys(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        self.rows(LIST, values![&self.tenant]).await?.iter().map(|row| row.json(0)).collect()
    }

    async fn add_signing_key(&self, act: Act, new: SigningKeyRecord, old_published_until: Timestamp) -> Stored<()> {
        const INSERT: &str = "INSERT INTO signing_keys (tenant, kid, created_at, published_until, record) \
                              VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let work = job!(|tx| {
            retire(tx, &new, old_published_until).await?;
            let row = values![&tx.tenant, &new.kid, new.created_at, new.published_until, json(&new)?];
            if tx.execute(INSERT, row).await? == 0 {
                return conflict("a signing key of this name is there already");
            }
            tx.change(What::SigningKey { record: (&new).into() }).await.map(drop)
        });
        self.write(act, work).await
    }

    async fn load_or_create_secret(&self, act: Act, name: &str, or_else: Vec<u8>) -> Stored<Vec<u8>> {
        const INSERT: &str = "INSERT INTO secrets (tenant, name, sealed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        const FIND: &str = "SELECT sealed FROM secrets WHERE tenant = $1 AND name = $2";
        let name = name.to_owned();
        let work = job!(|tx| {
            let made = tx.execute(INSERT, values![&tx.tenant, &name, or_else]).await? == 1;
            tx.note(|act| act.fact("made", made));
            let row = tx.one(FIND, values![&tx.tenant, &name]).await?.ok_or(StoreError::Missing("secret"))?;
            Ok(row.blob(0)?.to_vec())
        });
        self.write(act, work).await
    }
}
