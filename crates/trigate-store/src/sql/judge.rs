//! Is a token of ours still good, and for what? The truth from the tables, for introspection. Whatever is unknown is
//! not good.

use super::Narrowed;
use crate::dialect::{Row, Sql, Value, values};
use trigate_core::{
    Timestamp,
    application::State,
    client::Client,
    id::TenantId,
    identity::{Identity, TokenFacts},
    key::SigningKeyRecord,
    port::StoreError,
};

struct Judge<'a> {
    sql: &'a mut dyn Sql,
    tenant: &'a TenantId,
    /// A token without a position is as old as can be: every revocation hits it.
    minted: i64,
}

pub async fn judge(
    sql: &mut dyn Sql,
    tenant: &TenantId,
    facts: TokenFacts,
    now: Timestamp,
) -> Result<Option<TokenFacts>, StoreError> {
    if now >= facts.expires_at || facts.not_before.is_some_and(|from| now < from) {
        return Ok(None);
    }
    let minted = facts.position.and_then(|position| i64::try_from(position.0).ok()).unwrap_or(0);
    let mut judge = Judge { sql, tenant, minted };
    if judge.token_revoked(&facts).await? || !judge.session_good(&facts).await? || !judge.grant_good(&facts).await? {
        return Ok(None);
    }
    let Some(client) = judge.good_client(&facts).await? else { return Ok(None) };
    let Some(roles) = judge.roles_held(&facts, &client).await? else { return Ok(None) };
    judge.narrow(facts, &client, &roles).await.map(Some)
}

impl Judge<'_> {
    async fn one(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.sql.query(sql, values).await?.into_iter().next())
    }

    async fn token_revoked(&mut self, facts: &TokenFacts) -> Result<bool, StoreError> {
        const TOKEN: &str = "SELECT token FROM revoked_tokens WHERE tenant = $1 AND token = $2";
        const KEY: &str = "SELECT record FROM signing_keys WHERE tenant = $1 AND kid = $2";
        if self.one(TOKEN, values![self.tenant, facts.token.to_string()]).await?.is_some() {
            return Ok(true);
        }
        let Some(kid) = &facts.kid else { return Ok(false) };
        match self.one(KEY, values![self.tenant, kid]).await? {
            Some(row) => Ok(row.json::<SigningKeyRecord>(0)?.revoked),
            None => Ok(true),
        }
    }

    async fn session_good(&mut self, facts: &TokenFacts) -> Result<bool, StoreError> {
        const SESSION: &str = "SELECT user_id FROM sessions WHERE tenant = $1 AND id = $2 AND revoked = 0";
        let Some(session) = &facts.session else { return Ok(true) };
        match self.one(SESSION, values![self.tenant, session]).await? {
            Some(row) => Ok(row.text(0)? == facts.subject),
            None => Ok(false),
        }
    }

    async fn grant_good(&mut self, facts: &TokenFacts) -> Result<bool, StoreError> {
        const GRANT: &str = "SELECT user_id, client FROM grants WHERE tenant = $1 AND id = $2 AND revoked = 0";
        let Some(grant) = &facts.grant else { return Ok(true) };
        match self.one(GRANT, values![self.tenant, grant]).await? {
            Some(row) => {
                let client = row.text(1)?;
                Ok(row.text(0)? == facts.subject && facts.client.as_ref().is_some_and(|id| id.as_str() == client))
            }
            None => Ok(false),
        }
    }

    async fn good_client(&mut self, facts: &TokenFacts) -> Result<Option<Client>, StoreError> {
        const CLIENT: &str = "SELECT c.record FROM clients c \
             JOIN applications a ON a.tenant = c.tenant AND a.id = c.application \
             WHERE c.tenant = $1 AND c.id = $2 AND c.enabled = 1 AND a.enabled = 1 \
             AND c.revoked_at_position <= $3 AND a.revoked_at_position <= $3";
        let Some(id) = &facts.client else { return Ok(None) };
        let Some(row) = self.one(CLIENT, values![self.tenant, id, self.minted]).await? else { return Ok(None) };
        let client: Client = row.json(0)?;
        let same = facts.application.as_ref().is_none_or(|application| *application == client.application);
        Ok(same.then_some(client))
    }

    /// The roles that the subject has today; `None` when it may not act at all.
    async fn roles_held(&mut self, facts: &TokenFacts, client: &Client) -> Result<Option<Vec<String>>, StoreError> {
        const USER: &str = "SELECT roles FROM users \
             WHERE tenant = $1 AND id = $2 AND enabled = 1 AND revoked_at_position <= $3";
        match &facts.identity {
            Identity::User { id, .. } => {
                let row = self.one(USER, values![self.tenant, id, self.minted]).await?;
                row.map(|row| row.json(0)).transpose()
            }
            Identity::Service { client: id } => {
                Ok((*id == client.id && client.state == State::Enabled).then(|| client.roles.clone()))
            }
            Identity::Machine { .. } => Ok(None),
        }
    }

    /// Takes away what was narrowed since the minting, even if it was given again.
    async fn narrow(
        &mut self,
        mut facts: TokenFacts,
        client: &Client,
        roles: &[String],
    ) -> Result<TokenFacts, StoreError> {
        let (kind, subject) = match &facts.identity {
            Identity::User { id, .. } => (Narrowed::UserRole, id.to_string()),
            Identity::Service { .. } | Identity::Machine { .. } => (Narrowed::ClientRole, client.id.to_string()),
        };
        let lost = self.lost(kind, &subject).await?;
        facts.roles.retain(|role| roles.contains(role) && !lost.contains(role));
        let lost = self.lost(Narrowed::ClientScope, client.id.as_str()).await?;
        let kept = facts.scopes.intersection(&client.scopes);
        facts.scopes = kept.iter().filter(|scope| !lost.iter().any(|name| name == scope.as_str())).cloned().collect();
        Ok(facts)
    }

    async fn lost(&mut self, kind: Narrowed, id: &str) -> Result<Vec<String>, StoreError> {
        const LOST: &str = "SELECT name FROM narrowings WHERE tenant = $1 AND kind = $2 AND id = $3 AND position > $4";
        let rows = self.sql.query(LOST, values![self.tenant, kind.as_str(), id, self.minted]).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }
}
