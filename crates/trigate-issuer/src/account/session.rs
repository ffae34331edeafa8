//! Which login is this browser's? Found by the cookie's digest, judged by the store: ended, idle and expired ones do not
//! come back.

use crate::{
    Issuer,
    web::{Incoming, cookie::Cookie},
};
use http::HeaderMap;
use trigate_core::{
    Actor, Position,
    credential::SessionCookie,
    id::SessionId,
    port::StoreError,
    user::{Session, User},
};

/// Methods of authentication as the tokens say them (RFC 8176).
const AMR_PASSWORD: &str = "pwd";
/// One factor that the person knows.
pub(crate) const ACR_PASSWORD: &str = "urn:trigate:acr:password";
/// Seconds in which a visit is not worth a write.
const TOUCH_AFTER_S: i64 = 60;
/// The browser's name for itself, as far as it is kept.
const MAX_AGENT_CHARS: usize = 200;

/// A login, with the cookie that its forms are bound to.
pub(crate) struct Login {
    pub(crate) session: Session,
    pub(crate) cookie: SessionCookie,
}

pub(crate) async fn find(issuer: &Issuer, headers: &HeaderMap) -> Result<Option<Login>, StoreError> {
    let Some(cookie) = Cookie::Session.read(issuer, headers).and_then(SessionCookie::parse) else {
        return Ok(None);
    };
    let found = issuer.store.find_session(&cookie.digest(), issuer.now(), issuer.config.session_idle_s).await?;
    Ok(found.map(|session| Login { session, cookie }))
}

pub(crate) async fn touch(issuer: &Issuer, login: &Login) -> Result<(), StoreError> {
    let now = issuer.now();
    if now.seconds_since(login.session.last_seen_at) < TOUCH_AFTER_S {
        return Ok(());
    }
    issuer.store.touch_session(&login.session.id, now).await
}

/// A new id and a new cookie at each login; the browser's earlier session ends in the same step (L06).
pub(crate) async fn begin(
    issuer: &Issuer,
    incoming: &Incoming,
    user: &User,
    replaces: Option<&SessionId>,
) -> Result<Login, StoreError> {
    let cookie = SessionCookie::mint(&*issuer.rng);
    let now = issuer.now();
    let agent = incoming.header("user-agent").unwrap_or_default();
    let session = Session {
        id: SessionId::mint(&*issuer.rng),
        user: user.id.clone(),
        cookie: cookie.digest(),
        authenticated_at: now,
        amr: vec![AMR_PASSWORD.to_owned()],
        acr: ACR_PASSWORD.to_owned(),
        created_at: now,
        last_seen_at: now,
        expires_at: now.plus_seconds(i64::from(issuer.config.session_life_s)),
        address: incoming.peer.to_string(),
        agent: agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT_CHARS).collect(),
        born: Position::default(),
    };
    let act = issuer
        .act(Actor::User { user: user.id.clone() }, "session.create", &session.id)
        .user(&user.id)
        .address(incoming.peer);
    let committed = issuer.store.create_session(act, session, replaces).await?;
    let session = committed.value().clone();
    if replaces.is_none() {
        committed.gives_only();
    } else if let Err(error) = committed.everywhere(&*issuer.propagation).await {
        // The earlier session has ended and no gate will miss it; the person need not wait for that.
        tracing::warn!(%error, session = %session.id, "the end of an earlier session is not confirmed everywhere yet");
    }
    Ok(Login { session, cookie })
}
