//! Codes, refresh tokens and what rests on them. Single use is decided in the writer, one job at a time: of two
//! simultaneous presentations the second sees what the first did.

use super::{clients::load_client, conflict, job, users::user};
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
    client::Client,
    credential::Digest,
    id::{ClientId, GrantId, UserId},
    identity::TokenFacts,
    oauth::ScopeSet,
    port::{
        CodeOutcome, CodeRefusal, Grants, Issuance, NewCode, NewRefresh, OpaqueRecord, RedeemCode, RefreshOutcome,
        RefreshRefusal, RotateRefresh, StoreError, Stored,
    },
    proof::Confirmation,
    user::{Grant, User},
};

/// A grant with all that it stands on.
macro_rules! select_line {
    ($rest:literal) => {
        concat!(
            "SELECT g.record, g.keep_until, c.record, c.enabled, a.enabled, \
             CASE WHEN g.revoked = 1 OR g.born < u.revoked_at_position OR g.born < c.revoked_at_position \
             OR g.born < a.revoked_at_position OR (g.session IS NOT NULL AND COALESCE(s.revoked, 1) = 1) \
             THEN 1 ELSE 0 END AS dead, \
             u.id, u.email, u.email_verified, u.name, u.roles, u.enabled, u.created_at \
             FROM grants g \
             JOIN users u ON u.tenant = g.tenant AND u.id = g.user_id \
             JOIN clients c ON c.tenant = g.tenant AND c.id = g.client \
             JOIN applications a ON a.tenant = g.tenant AND a.id = c.application \
             LEFT JOIN sessions s ON s.tenant = g.tenant AND s.id = g.session \
             WHERE g.tenant = $1 ",
            $rest
        )
    };
}

const FIND: &str = select_line!("AND g.id = $2");

struct Line {
    grant: Grant,
    keep_until: Timestamp,
    client: Client,
    client_usable: bool,
    user: User,
}

fn line(row: &Row) -> Result<Line, StoreError> {
    let grant: Grant = row.json(0)?;
    Ok(Line {
        grant: Grant { revoked: row.int(5)? != 0, ..grant },
        keep_until: row.time(1)?,
        client: row.json(2)?,
        client_usable: row.truth(3)? && row.truth(4)?,
        user: user(row, 6)?,
    })
}

impl Line {
    /// The scopes that the client may still have, of those asked.
    fn issuance(self, asked: Option<ScopeSet>, tx: &Tx) -> Box<Issuance> {
        let scopes = asked.as_ref().unwrap_or(&self.grant.scopes).intersection(&self.client.scopes);
        Box::new(Issuance { scopes, grant: self.grant, user: self.user, client: self.client, position: tx.position() })
    }

    /// The grant lives as long as the last thing that was issued under it.
    async fn prolong(&self, tx: &mut Tx, refresh: Option<&NewRefresh>) -> Result<(), StoreError> {
        const UPDATE: &str = "UPDATE grants SET keep_until = $3 WHERE tenant = $1 AND id = $2 AND keep_until < $3";
        let token_end = tx.now.plus_seconds(i64::from(self.client.access_token_life_s));
        let end = refresh.map_or(token_end, |refresh| refresh.expires_at.max(token_end));
        if end > self.keep_until {
            tx.execute(UPDATE, values![&tx.tenant, &self.grant.id, end]).await?;
        }
        Ok(())
    }
}

async fn find_line(tx: &mut Tx, id: &GrantId) -> Result<Option<Line>, StoreError> {
    tx.one(FIND, values![&tx.tenant, id]).await?.as_ref().map(line).transpose()
}

/// Marks the grant; codes, refresh tokens and access tokens under it are judged by the mark.
pub async fn revoke_grant(tx: &mut Tx, id: &GrantId, keep_until: Timestamp) -> Result<(), StoreError> {
    const REVOKE: &str = "UPDATE grants SET revoked = 1 WHERE tenant = $1 AND id = $2";
    if tx.execute(REVOKE, values![&tx.tenant, id]).await? == 0 {
        return Err(StoreError::Missing("grant"));
    }
    tx.change(What::Revoked { target: Target::Grant { id: id.clone() }, keep_until }).await?;
    Ok(())
}

/// A secret came a second time: someone else has it too.
async fn revoke_leaked(tx: &mut Tx, id: &GrantId) -> Result<(), StoreError> {
    let keep_until = tx.tokens_over().await?;
    revoke_grant(tx, id, keep_until).await
}

async fn insert_refresh(tx: &mut Tx, new: &NewRefresh, grant: &GrantId, client: &ClientId) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO refresh_tokens (tenant, digest, grant_id, client, expires_at) \
                          VALUES ($1, $2, $3, $4, $5)";
    tx.execute(INSERT, values![&tx.tenant, &new.digest, grant, client, new.expires_at]).await.map(drop)
}

/// Says in the act what came of it, and for whom.
fn note(tx: &mut Tx, outcome: &str, line: Option<&Line>) {
    tx.note(|act| {
        let mut act = act.fact("outcome", outcome);
        if let Some(line) = line {
            act = act.fact("grant", &line.grant.id);
            act.user.get_or_insert_with(|| line.user.id.clone());
            act.client.get_or_insert_with(|| line.client.id.clone());
            act.application.get_or_insert_with(|| line.client.application.clone());
        }
        act
    });
}

// --- codes ---

async fn check_parties(tx: &mut Tx, grant: &Grant) -> Result<Client, StoreError> {
    const SESSION: &str = "SELECT s.user_id FROM sessions s JOIN users u ON u.tenant = s.tenant AND u.id = s.user_id \
         WHERE s.tenant = $1 AND s.id = $2 AND s.revoked = 0 AND s.born >= u.revoked_at_position";
    if super::users::load_user(tx, &grant.user).await?.state == State::Disabled {
        return conflict("the user is disabled");
    }
    let client = check_client(tx, &grant.client).await?;
    if let Some(session) = &grant.session {
        let row = tx.one(SESSION, values![&tx.tenant, session]).await?;
        match row {
            Some(row) if row.text(0)? == grant.user.as_str() => {}
            _ => return conflict("the session has ended"),
        }
    }
    Ok(client)
}

async fn check_client(tx: &mut Tx, id: &ClientId) -> Result<Client, StoreError> {
    let client = load_client(tx, id).await?;
    if client.state == State::Disabled {
        return conflict("the client is disabled");
    }
    if super::applications::load_application(tx, &client.application).await?.state == State::Disabled {
        return conflict("the client's application is disabled");
    }
    Ok(client)
}

async fn issue_code(tx: &mut Tx, new: NewCode) -> Result<Grant, StoreError> {
    const GRANT: &str = "INSERT INTO grants \
         (tenant, id, user_id, client, session, revoked, born, created_at, keep_until, record) \
         VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    const CODE: &str = "INSERT INTO codes (tenant, digest, grant_id, client, redirect_uri, challenge, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let client = check_parties(tx, &new.grant).await?;
    let grant = Grant { application: client.application, revoked: false, born: tx.position(), ..new.grant };
    let grant_row = values![
        &tx.tenant,
        &grant.id,
        &grant.user,
        &grant.client,
        grant.session.as_ref(),
        grant.born,
        grant.created_at,
        new.expires_at,
        json(&grant)?,
    ];
    let code_row =
        values![&tx.tenant, &new.digest, &grant.id, &grant.client, new.redirect_uri, new.challenge, new.expires_at,];
    if tx.execute(GRANT, grant_row).await? == 0 || tx.execute(CODE, code_row).await? == 0 {
        return conflict("a grant or code like this is there already");
    }
    Ok(grant)
}

/// A code at rest.
struct Code {
    grant: GrantId,
    client: String,
    redirect_uri: String,
    challenge: Option<String>,
    expires_at: Timestamp,
    used: bool,
}

async fn find_code(tx: &mut Tx, digest: &Digest) -> Result<Option<Code>, StoreError> {
    const FIND: &str = "SELECT grant_id, client, redirect_uri, challenge, expires_at, used_at FROM codes \
                        WHERE tenant = $1 AND digest = $2";
    let Some(row) = tx.one(FIND, values![&tx.tenant, digest]).await? else { return Ok(None) };
    Ok(Some(Code {
        grant: row.parse(0)?,
        client: row.text(1)?.to_owned(),
        redirect_uri: row.text(2)?.to_owned(),
        challenge: row.opt_text(3)?.map(str::to_owned),
        expires_at: row.time(4)?,
        used: row.opt_int(5)?.is_some(),
    }))
}

/// Why an unused code is refused; none of these consumes it, so that a thief cannot spoil it for its owner.
fn refuse_code(code: &Code, line: &Line, redeem: &RedeemCode) -> Option<CodeRefusal> {
    if redeem.now >= code.expires_at {
        return Some(CodeRefusal::Expired);
    }
    if redeem.redirect_uri.as_ref().is_some_and(|uri| *uri != code.redirect_uri) {
        // RFC 6749 §4.1.3
        return Some(CodeRefusal::OtherRedirect);
    }
    if line.grant.dpop_jkt.is_some() && line.grant.dpop_jkt != redeem.shown.jkt {
        // RFC 9449 §10
        return Some(CodeRefusal::OtherKey);
    }
    if redeem.challenge != code.challenge {
        // RFC 7636 §4.6; RFC 9700 §2.1.1: a verifier without a challenge is refused as well.
        return Some(CodeRefusal::Verifier);
    }
    match refuse_line(line)? {
        LineRefusal::Revoked => Some(CodeRefusal::GrantRevoked),
        LineRefusal::User => Some(CodeRefusal::UserUnusable),
        LineRefusal::Client => Some(CodeRefusal::ClientUnusable),
    }
}

enum LineRefusal {
    Revoked,
    User,
    Client,
}

fn refuse_line(line: &Line) -> Option<LineRefusal> {
    if line.grant.revoked {
        Some(LineRefusal::Revoked)
    } else if line.user.state == State::Disabled {
        Some(LineRefusal::User)
    } else if !line.client_usable {
        Some(LineRefusal::Client)
    } else {
        None
    }
}

async fn redeem_code(tx: &mut Tx, redeem: RedeemCode) -> Result<CodeOutcome, StoreError> {
    const USE: &str = "UPDATE codes SET used_at = $3 WHERE tenant = $1 AND digest = $2 AND used_at IS NULL";
    let refused = |tx: &mut Tx, refusal: CodeRefusal, line: Option<&Line>| {
        note(tx, &format!("refused: {refusal:?}"), line);
        Ok(CodeOutcome::Refused(refusal))
    };
    let Some(code) = find_code(tx, &redeem.digest).await? else { return refused(tx, CodeRefusal::Unknown, None) };
    let Some(line) = find_line(tx, &code.grant).await? else { return refused(tx, CodeRefusal::Unknown, None) };
    if code.client != redeem.client.as_str() {
        // RFC 6749 §4.1.3: neither consumed nor revoked, or any client could end what another was given.
        return refused(tx, CodeRefusal::OtherClient, Some(&line));
    }
    if code.used {
        // RFC 6749 §4.1.2, §10.5
        note(tx, "replayed", Some(&line));
        revoke_leaked(tx, &code.grant).await?;
        return Ok(CodeOutcome::Replayed { grant: code.grant });
    }
    if let Some(refusal) = refuse_code(&code, &line, &redeem) {
        return refused(tx, refusal, Some(&line));
    }
    if tx.execute(USE, values![&tx.tenant, &redeem.digest, redeem.now]).await? != 1 {
        return Err(StoreError::Unavailable("the code was used by someone else just now".to_owned()));
    }
    if let Some(wanted) = &redeem.binds {
        bind(tx, &line.grant, wanted).await?;
    }
    line.prolong(tx, redeem.refresh.as_ref()).await?;
    if let Some(refresh) = &redeem.refresh {
        insert_refresh(tx, refresh, &code.grant, &redeem.client).await?;
    }
    note(tx, "redeemed", Some(&line));
    Ok(CodeOutcome::Redeemed(line.issuance(None, tx)))
}

/// RFC 9449 §5, RFC 8705 §4: from now on refresh tokens of this grant want these keys.
async fn bind(tx: &mut Tx, grant: &Grant, wanted: &Confirmation) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE grants SET record = $3 WHERE tenant = $1 AND id = $2";
    let bound = Grant { confirmation: Some(Box::new(wanted.clone())), ..grant.clone() };
    tx.execute(UPDATE, values![&tx.tenant, &grant.id, json(&bound)?]).await.map(drop)
}

// --- refresh tokens ---

/// A refresh token at rest.
struct Refresh {
    grant: GrantId,
    client: String,
    expires_at: Timestamp,
    used: bool,
    /// The sealed successor, while a repetition may have it again.
    repeatable: Option<Vec<u8>>,
}

async fn find_refresh(tx: &mut Tx, digest: &Digest, now: Timestamp) -> Result<Option<Refresh>, StoreError> {
    const FIND: &str = "SELECT t.grant_id, t.client, t.expires_at, t.used_at, t.repeat_until, t.sealed_successor, \
         n.used_at FROM refresh_tokens t \
         LEFT JOIN refresh_tokens n ON n.tenant = t.tenant AND n.digest = t.successor \
         WHERE t.tenant = $1 AND t.digest = $2";
    let Some(row) = tx.one(FIND, values![&tx.tenant, digest]).await? else { return Ok(None) };
    let within = row.opt_time(4)?.is_some_and(|until| now < until) && row.opt_int(6)?.is_none();
    Ok(Some(Refresh {
        grant: row.parse(0)?,
        client: row.text(1)?.to_owned(),
        expires_at: row.time(2)?,
        used: row.opt_int(3)?.is_some(),
        repeatable: row.opt_blob(5)?.filter(|_| within).map(<[u8]>::to_vec),
    }))
}

fn refuse_refresh(refresh: &Refresh, line: &Line, rotate: &RotateRefresh) -> Option<RefreshRefusal> {
    if rotate.now >= refresh.expires_at {
        return Some(RefreshRefusal::Expired);
    }
    match refuse_line(line) {
        Some(LineRefusal::Revoked) => return Some(RefreshRefusal::GrantRevoked),
        Some(LineRefusal::User) => return Some(RefreshRefusal::UserUnusable),
        Some(LineRefusal::Client) => return Some(RefreshRefusal::ClientUnusable),
        None => {}
    }
    // RFC 9449 §5, RFC 8705 §4: a stolen refresh token of a public client is worth nothing without its key.
    if line.grant.confirmation.as_ref().is_some_and(|wanted| !wanted.is_met_by(&rotate.shown)) {
        return Some(RefreshRefusal::OtherKey);
    }
    // RFC 6749 §6: no scope that was not granted.
    let exceeds = rotate.scopes.as_ref().is_some_and(|asked| !asked.is_subset(&line.grant.scopes));
    exceeds.then_some(RefreshRefusal::ScopeExceeded)
}

/// Uses the token up and puts its successor in its place.
async fn succeed(tx: &mut Tx, rotate: &RotateRefresh, line: &Line) -> Result<(), StoreError> {
    const USE: &str = "UPDATE refresh_tokens SET used_at = $3, successor = $4, repeat_until = $5, sealed_successor = $6 \
                       WHERE tenant = $1 AND digest = $2 AND used_at IS NULL";
    // The predecessor's seal has done its work once its successor is used.
    const FORGET: &str = "UPDATE refresh_tokens SET sealed_successor = NULL \
                          WHERE tenant = $1 AND successor = $2 AND sealed_successor IS NOT NULL";
    let Some(successor) = &rotate.successor else { return Ok(()) };
    let repeat_until = rotate.now.plus_seconds(i64::from(rotate.window_s));
    let sealed = (rotate.window_s > 0).then(|| rotate.sealed_successor.clone());
    let row = values![&tx.tenant, &rotate.digest, rotate.now, &successor.digest, repeat_until, sealed];
    if tx.execute(USE, row).await? != 1 {
        return Err(StoreError::Unavailable("the token was used by someone else just now".to_owned()));
    }
    tx.execute(FORGET, values![&tx.tenant, &rotate.digest]).await?;
    insert_refresh(tx, successor, &line.grant.id, &rotate.client).await
}

async fn rotate_refresh(tx: &mut Tx, rotate: RotateRefresh) -> Result<RefreshOutcome, StoreError> {
    let refused = |tx: &mut Tx, refusal: RefreshRefusal, line: Option<&Line>| {
        note(tx, &format!("refused: {refusal:?}"), line);
        Ok(RefreshOutcome::Refused(refusal))
    };
    let Some(refresh) = find_refresh(tx, &rotate.digest, rotate.now).await? else {
        return refused(tx, RefreshRefusal::Unknown, None);
    };
    let Some(line) = find_line(tx, &refresh.grant).await? else {
        return refused(tx, RefreshRefusal::Unknown, None);
    };
    if refresh.client != rotate.client.as_str() {
        return refused(tx, RefreshRefusal::OtherClient, Some(&line));
    }
    if refresh.used && refresh.repeatable.is_none() && !line.grant.revoked {
        // RFC 9700 §4.14.2
        note(tx, "reused", Some(&line));
        erase_seals(tx, &rotate.digest).await?;
        revoke_leaked(tx, &refresh.grant).await?;
        return Ok(RefreshOutcome::Reused { grant: refresh.grant });
    }
    if let Some(refusal) = refuse_refresh(&refresh, &line, &rotate) {
        return refused(tx, refusal, Some(&line));
    }
    if let (true, Some(sealed_successor)) = (refresh.used, refresh.repeatable) {
        note(tx, "repeated", Some(&line));
        line.prolong(tx, None).await?;
        return Ok(RefreshOutcome::Again { issuance: line.issuance(rotate.scopes, tx), sealed_successor });
    }
    succeed(tx, &rotate, &line).await?;
    line.prolong(tx, rotate.successor.as_ref()).await?;
    note(tx, if rotate.successor.is_some() { "rotated" } else { "kept" }, Some(&line));
    Ok(RefreshOutcome::Rotated(line.issuance(rotate.scopes, tx)))
}

async fn erase_seals(tx: &mut Tx, digest: &Digest) -> Result<(), StoreError> {
    const ERASE: &str = "UPDATE refresh_tokens SET sealed_successor = NULL WHERE tenant = $1 AND digest = $2";
    tx.execute(ERASE, values![&tx.tenant, digest]).await.map(drop)
}

#[async_trait]
impl Grants for Tenant {
    async fn issue_code(&self, act: Act, new: NewCode) -> Stored<Grant> {
        self.write(act, job!(|tx| { issue_code(tx, new).await })).await
    }

    async fn redeem_code(&self, act: Act, redeem: RedeemCode) -> Stored<CodeOutcome> {
        self.write(act, job!(|tx| { redeem_code(tx, redeem).await })).await
    }

    async fn rotate_refresh_token(&self, act: Act, rotate: RotateRefresh) -> Stored<RefreshOutcome> {
        self.write(act, job!(|tx| { rotate_refresh(tx, rotate).await })).await
    }

    async fn find_refresh_grant(&self, digest: &Digest) -> Result<Option<(Grant, Timestamp)>, StoreError> {
        const TOKEN: &str = "SELECT grant_id, CASE WHEN used_at < expires_at THEN used_at ELSE expires_at END \
                             FROM refresh_tokens WHERE tenant = $1 AND digest = $2";
        let (tenant, digest) = (self.tenant.clone(), *digest);
        self.view(move |sql| {
            Box::pin(async move {
                let rows = sql.query(TOKEN, values![&tenant, &digest]).await?;
                let Some(token) = rows.first() else { return Ok(None) };
                let rows = sql.query(FIND, values![&tenant, token.text(0)?]).await?;
                let Some(row) = rows.first() else { return Ok(None) };
                Ok(Some((line(row)?.grant, token.time(1)?)))
            })
        })
        .await
    }

    async fn find_grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        let row = self.one(FIND, values![&self.tenant, id]).await?;
        row.map(|row| Ok(line(&row)?.grant)).transpose()
    }

    async fn list_grants(&self, user: &UserId) -> Result<Vec<Grant>, StoreError> {
        const LIST: &str = select_line!("AND g.user_id = $2 ORDER BY g.created_at DESC, g.id");
        self.rows(LIST, values![&self.tenant, user]).await?.iter().map(|row| Ok(line(row)?.grant)).collect()
    }

    async fn record_mint(&self, act: Act, client: &ClientId) -> Stored<Client> {
        let id = client.clone();
        self.write(act, job!(|tx| { check_client(tx, &id).await })).await
    }

    async fn store_opaque_token(&self, act: Act, record: OpaqueRecord) -> Stored<()> {
        const INSERT: &str = "INSERT INTO opaque_tokens (tenant, digest, expires_at, facts) VALUES ($1, $2, $3, $4)";
        let work = job!(|tx| {
            let row = values![&tx.tenant, &record.digest, record.facts.expires_at, json(&record.facts)?];
            tx.execute(INSERT, row).await.map(drop)
        });
        self.write(act, work).await
    }

    async fn find_opaque_token(&self, digest: &Digest) -> Result<Option<TokenFacts>, StoreError> {
        const FIND: &str = "SELECT facts FROM opaque_tokens WHERE tenant = $1 AND digest = $2";
        self.one(FIND, values![&self.tenant, digest]).await?.map(|row| row.json(0)).transpose()
    }

    async fn judge_token(&self, facts: TokenFacts, now: Timestamp) -> Result<Option<TokenFacts>, StoreError> {
        let tenant = self.tenant.clone();
        self.view(move |sql| Box::pin(async move { super::judge::judge(sql, &tenant, facts, now).await })).await
    }
}
