//! Applications and their API keys.

use super::{conflict, enabled, job, state};
use crate::{
    dialect::{Row, json, values},
    store::Tenant,
    writer::Tx,
};
use async_trait::async_trait;
use trigate_core::{
    Act, Timestamp,
    application::{Application, KeyRecord, State},
    change::What,
    credential::Digest,
    id::{AppId, KeyId},
    port::{Applications, NewApplication, StoreError, Stored},
};

macro_rules! select_application {
    ($rest:literal) => {
        concat!("SELECT id, name, plan, enabled, created_at FROM applications WHERE tenant = $1 ", $rest)
    };
}

macro_rules! select_key {
    ($rest:literal) => {
        concat!("SELECT record FROM keys WHERE tenant = $1 ", $rest)
    };
}

const FIND: &str = select_application!("AND id = $2");
const FIND_BY_NAME: &str = select_application!("AND name = $2");
pub const LIST: &str = select_application!("ORDER BY created_at, id");
const FIND_KEY: &str = select_key!("AND id = $2");
const FIND_KEY_BY_DIGEST: &str = select_key!("AND digest = $2");
pub const LIST_KEYS: &str = select_key!("ORDER BY created_at, id");
const LIST_KEYS_OF: &str = select_key!("AND application = $2 ORDER BY created_at, id");

pub fn application(row: &Row) -> Result<Application, StoreError> {
    Ok(Application {
        id: row.parse(0)?,
        name: row.text(1)?.to_owned(),
        plan: row.text(2)?.to_owned(),
        state: state(row.truth(3)?),
        created_at: row.time(4)?,
    })
}

pub async fn load_application(tx: &mut Tx, id: &AppId) -> Result<Application, StoreError> {
    let row = tx.one(FIND, values![&tx.tenant, id]).await?.ok_or(StoreError::Missing("application"))?;
    application(&row)
}

async fn write_application(tx: &mut Tx, record: Application) -> Result<Application, StoreError> {
    const UPDATE: &str = "UPDATE applications SET plan = $3, enabled = $4 WHERE tenant = $1 AND id = $2";
    tx.execute(UPDATE, values![&tx.tenant, &record.id, &record.plan, enabled(record.state)]).await?;
    tx.change(What::Application { record: record.clone() }).await?;
    Ok(record)
}

async fn load_key(tx: &mut Tx, id: &KeyId) -> Result<KeyRecord, StoreError> {
    find_key(tx, id).await?.ok_or(StoreError::Missing("key"))
}

pub async fn find_key(tx: &mut Tx, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
    tx.one(FIND_KEY, values![&tx.tenant, id]).await?.map(|row| row.json(0)).transpose()
}

pub async fn update_key(tx: &mut Tx, record: &KeyRecord) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE keys SET record = $3 WHERE tenant = $1 AND id = $2";
    tx.execute(UPDATE, values![&tx.tenant, &record.id, json(record)?]).await.map(drop)
}

async fn change_key(tx: &mut Tx, record: KeyRecord) -> Result<KeyRecord, StoreError> {
    update_key(tx, &record).await?;
    tx.change(What::Key { record: record.clone() }).await?;
    Ok(record)
}

/// `None`: a key of this id or digest is there.
async fn try_insert_key(tx: &mut Tx, mut record: KeyRecord) -> Result<Option<KeyRecord>, StoreError> {
    const INSERT: &str = "INSERT INTO keys (tenant, id, application, digest, created_at, record) \
                          VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    record.born = tx.next_position();
    record.revoked_at = None;
    let row = values![&tx.tenant, &record.id, &record.application, &record.digest, record.created_at, json(&record)?,];
    if tx.execute(INSERT, row).await? == 0 {
        return Ok(None);
    }
    tx.change(What::Key { record: record.clone() }).await?;
    Ok(Some(record))
}

async fn insert_key(tx: &mut Tx, record: KeyRecord) -> Result<KeyRecord, StoreError> {
    match try_insert_key(tx, record).await? {
        Some(record) => Ok(record),
        None => conflict("a key of this id or digest is there already"),
    }
}

/// A revoked key stays what it is, for ever.
fn reject_revoked(record: &KeyRecord) -> Result<(), StoreError> {
    if record.revoked_at.is_some() { conflict("the key is revoked") } else { Ok(()) }
}

#[async_trait]
impl Applications for Tenant {
    async fn create_application(&self, act: Act, new: NewApplication) -> Stored<Application> {
        const INSERT: &str = "INSERT INTO applications \
             (tenant, id, name, plan, enabled, revoked_at_position, created_at) \
             VALUES ($1, $2, $3, $4, 1, 0, $5) ON CONFLICT DO NOTHING";
        let work = job!(|tx| {
            let NewApplication { id, name, plan } = new;
            let record = Application { id, name, plan, state: State::Enabled, created_at: tx.now };
            let row = values![&tx.tenant, &record.id, &record.name, &record.plan, record.created_at];
            if tx.execute(INSERT, row).await? == 0 {
                return conflict("an application of this id or name is there already");
            }
            tx.change(What::Application { record: record.clone() }).await?;
            Ok(record)
        });
        self.write(act, work).await
    }

    async fn find_application(&self, id: &AppId) -> Result<Option<Application>, StoreError> {
        self.one(FIND, values![&self.tenant, id]).await?.as_ref().map(application).transpose()
    }

    async fn find_application_by_name(&self, name: &str) -> Result<Option<Application>, StoreError> {
        self.one(FIND_BY_NAME, values![&self.tenant, name]).await?.as_ref().map(application).transpose()
    }

    async fn list_applications(&self) -> Result<Vec<Application>, StoreError> {
        self.rows(LIST, values![&self.tenant]).await?.iter().map(application).collect()
    }

    async fn change_plan(&self, act: Act, id: &AppId, plan: &str) -> Stored<Application> {
        let (id, plan) = (id.clone(), plan.to_owned());
        let work = job!(|tx| {
            let record = load_application(tx, &id).await?;
            write_application(tx, Application { plan, ..record }).await
        });
        self.write(act, work).await
    }

    async fn set_application_state(&self, act: Act, id: &AppId, state: State) -> Stored<Application> {
        let id = id.clone();
        let work = job!(|tx| {
            let record = load_application(tx, &id).await?;
            write_application(tx, Application { state, ..record }).await
        });
        self.write(act, work).await
    }

    async fn create_key(&self, act: Act, new: KeyRecord) -> Stored<KeyRecord> {
        let work = job!(|tx| {
            load_application(tx, &new.application).await?;
            insert_key(tx, new).await
        });
        self.write(act, work).await
    }

    async fn import_keys(&self, new: Vec<(Act, KeyRecord)>) -> Stored<Vec<KeyRecord>> {
        let work = job!(|tx| {
            let mut made = Vec::with_capacity(new.len());
            let mut application = None;
            for (act, record) in new {
                if application.as_ref() != Some(&record.application) {
                    application = Some(load_application(tx, &record.application).await?.id);
                }
                if let Some(record) = try_insert_key(tx, record).await? {
                    tx.chain_act(act).await?;
                    made.push(record);
                }
            }
            Ok(made)
        });
        self.write_each(work).await
    }

    async fn find_key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.one(FIND_KEY, values![&self.tenant, id]).await?.map(|row| row.json(0)).transpose()
    }

    async fn find_key_by_digest(&self, digest: &Digest) -> Result<Option<KeyRecord>, StoreError> {
        self.one(FIND_KEY_BY_DIGEST, values![&self.tenant, digest]).await?.map(|row| row.json(0)).transpose()
    }

    async fn list_keys(&self, application: Option<&AppId>) -> Result<Vec<KeyRecord>, StoreError> {
        let rows = match application {
            Some(id) => self.rows(LIST_KEYS_OF, values![&self.tenant, id]).await?,
            None => self.rows(LIST_KEYS, values![&self.tenant]).await?,
        };
        rows.iter().map(|row| row.json(0)).collect()
    }

    async fn rotate_key(&self, act: Act, id: &KeyId, successor: KeyRecord, old_until: Timestamp) -> Stored<KeyRecord> {
        let id = id.clone();
        let work = job!(|tx| {
            let mut old = load_key(tx, &id).await?;
            reject_revoked(&old)?;
            if old.application != successor.application {
                return conflict("a key's successor must be of the same application");
            }
            // A rotation never lengthens a key's life.
            old.expires_at = Some(old.expires_at.map_or(old_until, |end| end.min(old_until)));
            change_key(tx, old).await?;
            insert_key(tx, successor).await
        });
        self.write(act, work).await
    }

    async fn set_key_state(&self, act: Act, id: &KeyId, state: State) -> Stored<KeyRecord> {
        let id = id.clone();
        let work = job!(|tx| {
            let record = load_key(tx, &id).await?;
            reject_revoked(&record)?;
            change_key(tx, KeyRecord { state, ..record }).await
        });
        self.write(act, work).await
    }

    async fn mark_key_exposed(&self, act: Act, id: &KeyId, at: Timestamp) -> Stored<KeyRecord> {
        let id = id.clone();
        let work = job!(|tx| {
            let record = load_key(tx, &id).await?;
            if record.exposed_at.is_some() {
                return Ok(record);
            }
            change_key(tx, KeyRecord { exposed_at: Some(at), ..record }).await
        });
        self.write(act, work).await
    }
}
