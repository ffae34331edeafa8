//! Access tokens: RFC 9068 JWTs, or opaque ones whose facts stay in the store. Both say the same.

use super::MintError;
use crate::Issuer;
use serde::Serialize;
use trigate_core::{
    Act, Position, Timestamp,
    client::{Client, TokenForm},
    credential::OpaqueToken,
    id::{AppId, ClientId, GrantId, SessionId, TokenId},
    identity::{Identity, TokenFacts},
    oauth::ScopeSet,
    port::OpaqueRecord,
    proof::Confirmation,
    user::{Grant, User},
};
use zeroize::Zeroizing;

/// Whom the token speaks for.
pub(crate) enum Subject<'a> {
    User {
        user: &'a User,
        grant: &'a Grant,
    },
    /// The client itself (RFC 6749 §4.4).
    Client,
}

/// What was allowed, by the transition at `position`.
pub(crate) struct Wanted<'a> {
    pub(crate) id: TokenId,
    pub(crate) subject: Subject<'a>,
    pub(crate) client: &'a Client,
    pub(crate) scopes: &'a ScopeSet,
    pub(crate) audiences: Vec<String>,
    pub(crate) position: Position,
    pub(crate) now: Timestamp,
    /// The key that its holder must show.
    pub(crate) confirmation: Option<Box<Confirmation>>,
}

pub(crate) struct AccessToken {
    pub(crate) text: Zeroizing<String>,
    pub(crate) life_s: u32,
}

pub(crate) async fn access_token(issuer: &Issuer, act: Act, wanted: &Wanted<'_>) -> Result<AccessToken, MintError> {
    let life_s = wanted.client.access_token_life_s.min(issuer.config.max_token_life_s);
    let facts = facts(issuer, wanted, life_s);
    let text = match wanted.client.token_form {
        TokenForm::Jwt => sign(issuer, &facts, wanted)?,
        TokenForm::Opaque => store(issuer, act, facts).await?,
    };
    Ok(AccessToken { text, life_s })
}

fn facts(issuer: &Issuer, wanted: &Wanted<'_>, life_s: u32) -> TokenFacts {
    let (subject, identity, roles, grant) = match &wanted.subject {
        Subject::User { user, grant } => {
            let identity = Identity::User { id: user.id.clone(), email: Some(user.email.clone()) };
            (user.id.to_string(), identity, user.roles.clone(), Some(*grant))
        }
        // INVARIANT: a subject is a client iff sub == client_id; gates rely on it. // RFC 9068 §5
        Subject::Client => {
            let identity = Identity::Service { client: wanted.client.id.clone() };
            (wanted.client.id.to_string(), identity, wanted.client.roles.clone(), None)
        }
    };
    TokenFacts {
        issuer: issuer.config.issuer.as_str().into(),
        subject,
        client: Some(wanted.client.id.clone()),
        application: Some(wanted.client.application.clone()),
        identity,
        token: wanted.id,
        session: grant.and_then(|grant| grant.session.clone()),
        grant: grant.map(|grant| grant.id.clone()),
        audiences: wanted.audiences.clone(),
        scopes: wanted.scopes.clone(),
        roles,
        issued_at: Some(Timestamp::from_seconds(wanted.now.seconds())),
        not_before: None,
        expires_at: Timestamp::from_seconds(wanted.now.seconds() + i64::from(life_s)),
        authenticated_at: grant.map(|grant| grant.authenticated_at),
        acr: grant.map(|grant| grant.acr.clone()),
        position: Some(wanted.position),
        actor: None,
        kid: None,
        confirmation: wanted.confirmation.clone(),
    }
}

/// RFC 9068 §2.2, and the claims by which our gates judge revocations without a clock.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: Audience<'a>,
    exp: i64,
    iat: i64,
    jti: String,
    client_id: &'a ClientId,
    app: &'a AppId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<&'a GrantId>,
    /// RFC 9068 §2.2.3 has one string; the list beside it is what services without an OAuth library read.
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    scopes: &'a ScopeSet,
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    pos: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<&'a [String]>,
    /// RFC 7800 §3.1
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
}

/// RFC 7519 §4.1.3: one audience is written as a string.
#[derive(Serialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(&'a str),
    Several(&'a [String]),
}

fn sign(issuer: &Issuer, facts: &TokenFacts, wanted: &Wanted<'_>) -> Result<Zeroizing<String>, MintError> {
    let key = issuer.keyring.load().signer(issuer.config.algorithm, wanted.now).ok_or(MintError::NoKey)?;
    let (email, amr) = match &wanted.subject {
        Subject::User { user, grant } => (Some(user.email.as_str()), Some(grant.amr.as_slice())),
        Subject::Client => (None, None),
    };
    let claims = Claims {
        iss: &facts.issuer,
        sub: &facts.subject,
        aud: match facts.audiences.as_slice() {
            [one] => Audience::One(one),
            several => Audience::Several(several),
        },
        exp: facts.expires_at.seconds(),
        iat: wanted.now.seconds(),
        jti: facts.token.to_string(),
        client_id: &wanted.client.id,
        app: &wanted.client.application,
        sid: facts.session.as_ref(),
        gid: facts.grant.as_ref(),
        scope: facts.scopes.to_string(),
        scopes: &facts.scopes,
        roles: &facts.roles,
        email,
        pos: wanted.position,
        auth_time: facts.authenticated_at.map(Timestamp::seconds),
        acr: facts.acr.as_deref(),
        amr,
        cnf: facts.confirmation.as_deref(),
    };
    Ok(Zeroizing::new(key.sign_jws("at+jwt", &claims)?)) // RFC 9068 §2.1
}

async fn store(issuer: &Issuer, act: Act, facts: TokenFacts) -> Result<Zeroizing<String>, MintError> {
    let token = OpaqueToken::mint(&*issuer.rng, issuer.checksum_key());
    let record = OpaqueRecord { digest: token.digest(), facts };
    issuer.store.store_opaque_token(act, record).await?.gives_only();
    Ok(Zeroizing::new(token.reveal().to_owned()))
}
