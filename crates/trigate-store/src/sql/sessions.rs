//! Logins, and what people allowed.

use super::{conflict, job, users::load_user};
use crate::{
    dialect::{Row, json, values},
    store::Tenant,
    writer::Tx,
};
use async_trait::async_trait;
use trigate_core::{
    Act, Timestamp,
    application::State,
    change::{Target, What},
    credential::Digest,
    id::{ClientId, GrantId, SessionId, UserId},
    oauth::ScopeSet,
    port::{Sessions, StoreError, Stored},
    user::{Consent, Session},
};

/// Alive: its cookie is the line's last, and neither it nor its user was ended since.
macro_rules! select_alive {
    ($rest:literal) => {
        concat!(
            "SELECT s.record, s.last_seen_at FROM sessions s \
             JOIN users u ON u.tenant = s.tenant AND u.id = s.user_id \
             WHERE s.tenant = $1 AND s.expires_at > $2 AND s.replaced = 0 AND s.revoked = 0 \
             AND u.enabled = 1 AND s.born >= u.revoked_at_position ",
            $rest
        )
    };
}

fn session(row: &Row) -> Result<Session, StoreError> {
    let record: Session = row.json(0)?;
    Ok(Session { last_seen_at: row.time(1)?, ..record })
}

/// Ends the session that `replaces` names and answers the root of its line. Its tokens live on under the new session:
/// whoever revokes one of the line revokes the line. Another person's session ends wholly.
async fn replace(tx: &mut Tx, old: &SessionId, user: &UserId) -> Result<Option<String>, StoreError> {
    const FIND: &str = "SELECT user_id, root, revoked FROM sessions WHERE tenant = $1 AND id = $2";
    const END: &str = "UPDATE sessions SET replaced = 1 WHERE tenant = $1 AND id = $2";
    let Some(row) = tx.one(FIND, values![&tx.tenant, old]).await? else { return Ok(None) };
    tx.execute(END, values![&tx.tenant, old]).await?;
    if row.text(0)? == user.as_str() {
        return Ok((!row.truth(2)?).then_some(row.text(1)?.to_owned()));
    }
    let keep_until = tx.tokens_over().await?;
    revoke_session(tx, old, keep_until).await?;
    Ok(None)
}

/// Revokes the whole line of sessions that `id` belongs to.
pub async fn revoke_session(tx: &mut Tx, id: &SessionId, keep_until: Timestamp) -> Result<(), StoreError> {
    const LINE: &str = "SELECT id FROM sessions WHERE tenant = $1 AND root = \
                        (SELECT root FROM sessions WHERE tenant = $1 AND id = $2)";
    const REVOKE: &str = "UPDATE sessions SET revoked = 1 WHERE tenant = $1 AND root = \
                          (SELECT root FROM sessions WHERE tenant = $1 AND id = $2)";
    let line = tx.query(LINE, values![&tx.tenant, id]).await?;
    if line.is_empty() {
        return Err(StoreError::Missing("session"));
    }
    tx.execute(REVOKE, values![&tx.tenant, id]).await?;
    for row in line {
        let target = Target::Session { id: row.parse(0)?, issuer: None };
        tx.change(What::Revoked { target, keep_until }).await?;
    }
    Ok(())
}

const FIND_CONSENT: &str =
    "SELECT user_id, client, scopes, given_at FROM consents WHERE tenant = $1 AND user_id = $2 AND client = $3";

fn consent(row: &Row) -> Result<Consent, StoreError> {
    Ok(Consent { user: row.parse(0)?, client: row.parse(1)?, scopes: row.json(2)?, given_at: row.time(3)? })
}

#[async_trait]
impl Sessions for Tenant {
    async fn create_session(&self, act: Act, new: Session, replaces: Option<&SessionId>) -> Stored<Session> {
        const INSERT: &str = "INSERT INTO sessions \
             (tenant, id, user_id, cookie, root, replaced, revoked, born, last_seen_at, expires_at, record) \
             VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
        let replaces = replaces.cloned();
        let work = job!(|tx| {
            if load_user(tx, &new.user).await?.state == State::Disabled {
                return conflict("the user is disabled");
            }
            let root = match &replaces {
                Some(old) => replace(tx, old, &new.user).await?,
                None => None,
            };
            let root = root.unwrap_or_else(|| new.id.to_string());
            let session = Session { born: tx.position(), ..new };
            let row = values![
                &tx.tenant,
                &session.id,
                &session.user,
                &session.cookie,
                root,
                session.born,
                session.last_seen_at,
                session.expires_at,
                json(&session)?,
            ];
            if tx.execute(INSERT, row).await? == 0 {
                return conflict("a session of this id or cookie is there already");
            }
            Ok(session)
        });
        self.write(act, work).await
    }

    async fn find_session(&self, cookie: &Digest, now: Timestamp, idle_s: u32) -> Result<Option<Session>, StoreError> {
        const FIND: &str = select_alive!("AND s.cookie = $3 AND s.last_seen_at > $4");
        let idle_since = now.plus_seconds(-i64::from(idle_s));
        self.one(FIND, values![&self.tenant, now, cookie, idle_since]).await?.as_ref().map(session).transpose()
    }

    async fn list_sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        const LIST: &str = select_alive!("AND s.user_id = $3 ORDER BY s.last_seen_at DESC, s.id");
        self.rows(LIST, values![&self.tenant, now, user]).await?.iter().map(session).collect()
    }

    async fn find_consent(&self, user: &UserId, client: &ClientId) -> Result<Option<Consent>, StoreError> {
        self.one(FIND_CONSENT, values![&self.tenant, user, client]).await?.as_ref().map(consent).transpose()
    }

    async fn record_consent(&self, act: Act, user: &UserId, client: &ClientId, scopes: &ScopeSet) -> Stored<Consent> {
        const UPSERT: &str = "INSERT INTO consents (tenant, user_id, client, scopes, given_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, user_id, client) \
             DO UPDATE SET scopes = excluded.scopes, given_at = excluded.given_at";
        let (user, client, scopes) = (user.clone(), client.clone(), scopes.clone());
        let work = job!(|tx| {
            load_user(tx, &user).await?;
            super::clients::load_client(tx, &client).await?;
            let before = tx.one(FIND_CONSENT, values![&tx.tenant, &user, &client]).await?;
            let scopes = match before.as_ref().map(consent).transpose()? {
                Some(before) => before.scopes.union(&scopes),
                None => scopes,
            };
            tx.execute(UPSERT, values![&tx.tenant, &user, &client, json(&scopes)?, tx.now]).await?;
            Ok(Consent { user, client, scopes, given_at: tx.now })
        });
        self.write(act, work).await
    }

    async fn withdraw_consent(&self, act: Act, user: &UserId, client: &ClientId) -> Stored<()> {
        const FORGET: &str = "DELETE FROM consents WHERE tenant = $1 AND user_id = $2 AND client = $3";
        const GRANTS: &str = "SELECT id FROM grants WHERE tenant = $1 AND user_id = $2 AND client = $3 AND revoked = 0";
        let (user, client) = (user.clone(), client.clone());
        let work = job!(|tx| {
            tx.execute(FORGET, values![&tx.tenant, &user, &client]).await?;
            let keep_until = tx.tokens_over().await?;
            for row in tx.query(GRANTS, values![&tx.tenant, &user, &client]).await? {
                let grant: GrantId = row.parse(0)?;
                super::grants::revoke_grant(tx, &grant, keep_until).await?;
            }
            Ok(())
        });
        self.write(act, work).await
    }

    async fn list_consents(&self, user: &UserId) -> Result<Vec<Consent>, StoreError> {
        const LIST: &str = "SELECT user_id, client, scopes, given_at FROM consents \
                            WHERE tenant = $1 AND user_id = $2 ORDER BY given_at DESC, client";
        self.rows(LIST, values![&self.tenant, user]).await?.iter().map(consent).collect()
    }
}
