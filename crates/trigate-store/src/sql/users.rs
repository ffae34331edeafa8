//! People's accounts.

use super::{Narrowed, conflict, enabled, job, narrow, state};
use crate::{
    dialect::{Row, json, values},
    store::Tenant,
    writer::Tx,
};
use async_trait::async_trait;
use trigate_core::{
    Act,
    application::State,
    change::{Target, What},
    id::UserId,
    port::{NewUser, StoreError, Stored, Users},
    user::{User, login_name},
};

macro_rules! select_user {
    ($rest:literal) => {
        concat!(
            "SELECT id, email, email_verified, name, roles, enabled, created_at, password_hash \
             FROM users WHERE tenant = $1 ",
            $rest
        )
    };
}

const FIND: &str = select_user!("AND id = $2");
const FIND_BY_LOGIN: &str = select_user!("AND login_name = $2");
const LIST: &str = select_user!("ORDER BY created_at, id");

/// Reads a user from seven columns that begin at `from`.
pub fn user(row: &Row, from: usize) -> Result<User, StoreError> {
    Ok(User {
        id: row.parse(from)?,
        email: row.text(from + 1)?.to_owned(),
        email_verified: row.truth(from + 2)?,
        name: row.text(from + 3)?.to_owned(),
        roles: row.json(from + 4)?,
        state: state(row.truth(from + 5)?),
        created_at: row.time(from + 6)?,
    })
}

pub async fn load_user(tx: &mut Tx, id: &UserId) -> Result<User, StoreError> {
    let row = tx.one(FIND, values![&tx.tenant, id]).await?.ok_or(StoreError::Missing("user"))?;
    user(&row, 0)
}

/// Kills all that was issued about the user before now; a login afterwards works.
pub async fn revoke_user(tx: &mut Tx, id: &UserId, keep_until: trigate_core::Timestamp) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE users SET revoked_at_position = $3 WHERE tenant = $1 AND id = $2";
    let target = Target::User { id: id.clone(), issuer: None };
    let position = tx.change(What::Revoked { target, keep_until }).await?;
    match tx.execute(UPDATE, values![&tx.tenant, id, position]).await? {
        0 => Err(StoreError::Missing("user")),
        _ => Ok(()),
    }
}

async fn update_roles(tx: &mut Tx, user: &User) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE users SET roles = $3 WHERE tenant = $1 AND id = $2";
    tx.execute(UPDATE, values![&tx.tenant, &user.id, json(&user.roles)?]).await.map(drop)
}

#[async_trait]
impl Users for Tenant {
    async fn create_user(&self, act: Act, new: NewUser) -> Stored<User> {
        const INSERT: &str = "INSERT INTO users (tenant, id, login_name, email, email_verified, name, password_hash, \
             roles, enabled, revoked_at_position, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, 0, $9) ON CONFLICT DO NOTHING";
        let work = job!(|tx| {
            let row = values![
                &tx.tenant,
                &new.id,
                login_name(&new.email),
                &new.email,
                new.email_verified,
                &new.name,
                new.password_hash,
                json(&new.roles)?,
                tx.now,
            ];
            if tx.execute(INSERT, row).await? == 0 {
                return conflict("a user of this id or e-mail address is there already");
            }
            let NewUser { id, email, email_verified, name, roles, .. } = new;
            Ok(User { id, email, email_verified, name, roles, state: State::Enabled, created_at: tx.now })
        });
        self.write(act, work).await
    }

    async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.one(FIND, values![&self.tenant, id]).await?.map(|row| user(&row, 0)).transpose()
    }

    async fn find_user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        Ok(self.find_login(email).await?.map(|(user, _)| user))
    }

    async fn find_login(&self, email: &str) -> Result<Option<(User, Option<String>)>, StoreError> {
        let Some(row) = self.one(FIND_BY_LOGIN, values![&self.tenant, login_name(email)]).await? else {
            return Ok(None);
        };
        Ok(Some((user(&row, 0)?, row.opt_text(7)?.map(str::to_owned))))
    }

    async fn list_users(&self) -> Result<Vec<User>, StoreError> {
        self.rows(LIST, values![&self.tenant]).await?.iter().map(|row| user(row, 0)).collect()
    }

    async fn add_role(&self, act: Act, id: &UserId, role: &str) -> Stored<User> {
        let (id, role) = (id.clone(), role.to_owned());
        let work = job!(|tx| {
            let mut user = load_user(tx, &id).await?;
            if !user.roles.contains(&role) {
                user.roles.push(role);
                update_roles(tx, &user).await?;
            }
            Ok(user)
        });
        self.write(act, work).await
    }

    async fn remove_role(&self, act: Act, id: &UserId, role: &str) -> Stored<User> {
        let (id, roles) = (id.clone(), vec![role.to_owned()]);
        let work = job!(|tx| {
            let mut user = load_user(tx, &id).await?;
            user.roles.retain(|have| !roles.contains(have));
            update_roles(tx, &user).await?;
            // Also when the user lacked it: a second answer must mean what the first did.
            let keep_until = tx.tokens_over().await?;
            let what = What::RolesNarrowed { user: id.clone(), roles: roles.clone(), keep_until };
            let position = tx.change(what).await?;
            narrow(tx, Narrowed::UserRole, id.as_str(), &roles, position, keep_until).await?;
            Ok(user)
        });
        self.write(act, work).await
    }

    async fn set_user_state(&self, act: Act, id: &UserId, state: State) -> Stored<User> {
        const UPDATE: &str = "UPDATE users SET enabled = $3 WHERE tenant = $1 AND id = $2";
        let id = id.clone();
        let work = job!(|tx| {
            let user = load_user(tx, &id).await?;
            tx.execute(UPDATE, values![&tx.tenant, &id, enabled(state)]).await?;
            tx.change(What::UserState { user: id, state }).await?;
            Ok(User { state, ..user })
        });
        self.write(act, work).await
    }

    async fn set_password(&self, act: Act, id: &UserId, password_hash: &str) -> Stored<()> {
        const UPDATE: &str = "UPDATE users SET password_hash = $3 WHERE tenant = $1 AND id = $2";
        let (id, password_hash) = (id.clone(), password_hash.to_owned());
        let work = job!(|tx| {
            tx.execute(UPDATE, values![&tx.tenant, &id, password_hash]).await?;
            let keep_until = tx.tokens_over().await?;
            // Whoever knew the old password loses what it opened.
            revoke_user(tx, &id, keep_until).await
        });
        self.write(act, work).await
    }
}
