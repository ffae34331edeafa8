//! OAuth clients.

use super::{Narrowed, applications::load_application, conflict, enabled, job, narrow};
use crate::{
    dialect::{json, values},
    store::Tenant,
    writer::Tx,
};
use async_trait::async_trait;
use trigate_core::{
    Act,
    application::State,
    change::{ClientFace, What},
    client::Client,
    id::ClientId,
    port::{Clients, StoreError, Stored},
};

const FIND: &str = "SELECT record FROM clients WHERE tenant = $1 AND id = $2";
pub const LIST: &str = "SELECT record FROM clients WHERE tenant = $1 ORDER BY created_at, id";

pub fn face(client: &Client) -> ClientFace {
    ClientFace {
        id: client.id.clone(),
        application: client.application.clone(),
        name: client.name.clone(),
        state: client.state,
    }
}

pub async fn load_client(tx: &mut Tx, id: &ClientId) -> Result<Client, StoreError> {
    tx.one(FIND, values![&tx.tenant, id]).await?.ok_or(StoreError::Missing("client"))?.json(0)
}

async fn update_client(tx: &mut Tx, client: Client) -> Result<Client, StoreError> {
    const UPDATE: &str = "UPDATE clients SET application = $3, enabled = $4, record = $5 WHERE tenant = $1 AND id = $2";
    let row = values![&tx.tenant, &client.id, &client.application, enabled(client.state), json(&client)?];
    tx.execute(UPDATE, row).await?;
    raise_longest_life(tx, &client).await?;
    tx.change(What::Client { record: face(&client) }).await?;
    Ok(client)
}

/// Never lowered: tokens of the longer life may still be out.
async fn raise_longest_life(tx: &mut Tx, client: &Client) -> Result<(), StoreError> {
    const RAISE: &str = "INSERT INTO token_lives (tenant, longest_s) VALUES ($1, $2) ON CONFLICT (tenant) \
                         DO UPDATE SET longest_s = excluded.longest_s WHERE token_lives.longest_s < excluded.longest_s";
    tx.execute(RAISE, values![&tx.tenant, client.access_token_life_s]).await.map(drop)
}

/// What the change takes away is taken from the tokens that are out, too.
async fn narrow_tokens(tx: &mut Tx, old: &Client, new: &Client) -> Result<(), StoreError> {
    let keep_until = tx.tokens_over().await?;
    let (client, scopes) = (new.id.clone(), old.scopes.minus(&new.scopes));
    if !scopes.is_empty() {
        let names: Vec<_> = scopes.iter().map(ToString::to_string).collect();
        let position = tx.change(What::ClientScopesNarrowed { client: client.clone(), scopes, keep_until }).await?;
        narrow(tx, Narrowed::ClientScope, client.as_str(), &names, position, keep_until).await?;
    }
    let roles: Vec<_> = old.roles.iter().filter(|role| !new.roles.contains(role)).cloned().collect();
    if !roles.is_empty() {
        let what = What::ClientRolesNarrowed { client: client.clone(), roles: roles.clone(), keep_until };
        let position = tx.change(what).await?;
        narrow(tx, Narrowed::ClientRole, client.as_str(), &roles, position, keep_until).await?;
    }
    Ok(())
}

#[async_trait]
impl Clients for Tenant {
    async fn create_client(&self, act: Act, new: Client) -> Stored<Client> {
        const INSERT: &str = "INSERT INTO clients \
             (tenant, id, application, enabled, revoked_at_position, created_at, record) \
             VALUES ($1, $2, $3, $4, 0, $5, $6) ON CONFLICT DO NOTHING";
        let work = job!(|tx| {
            load_application(tx, &new.application).await?;
            let client = Client { born: tx.next_position(), ..new };
            let row = values![
                &tx.tenant,
                &client.id,
                &client.application,
                enabled(client.state),
                client.created_at,
                json(&client)?,
            ];
            if tx.execute(INSERT, row).await? == 0 {
                return conflict("a client of this id is there already");
            }
            raise_longest_life(tx, &client).await?;
            tx.change(What::Client { record: face(&client) }).await?;
            Ok(client)
        });
        self.write(act, work).await
    }

    async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.one(FIND, values![&self.tenant, id]).await?.map(|row| row.json(0)).transpose()
    }

    async fn list_clients(&self) -> Result<Vec<Client>, StoreError> {
        self.rows(LIST, values![&self.tenant]).await?.iter().map(|row| row.json(0)).collect()
    }

    async fn change_client(&self, act: Act, changed: Client) -> Stored<Client> {
        let work = job!(|tx| {
            let old = load_client(tx, &changed.id).await?;
            load_application(tx, &changed.application).await?;
            let new = Client { born: old.born, created_at: old.created_at, state: old.state, ..changed };
            let new = update_client(tx, new).await?;
            narrow_tokens(tx, &old, &new).await?;
            Ok(new)
        });
        self.write(act, work).await
    }

    async fn set_client_state(&self, act: Act, id: &ClientId, state: State) -> Stored<Client> {
        let id = id.clone();
        let work = job!(|tx| {
            let client = load_client(tx, &id).await?;
            update_client(tx, Client { state, ..client }).await
        });
        self.write(act, work).await
    }
}
