//! Is it this person? One try: counted, then judged, then recorded.

use crate::{
    Issuer,
    account::{
        password::MAX_PASSWORD_BYTES,
        session::{self, Login},
    },
    web::{Incoming, Params},
};
use trigate_core::{
    Actor,
    application::State,
    credential::Digest,
    port::{AttemptRules, AttemptVerdict, HasherError, StoreError},
    user::{User, login_name},
};
use zeroize::Zeroizing;

pub(super) enum Outcome {
    LoggedIn(Box<Login>),
    /// Unknown, wrong, too long, disabled: nobody outside learns which.
    Wrong,
    TooMany {
        retry_after_s: u32,
    },
}

/// Store or hashing pool did not answer: 503, whatever was typed.
pub(super) struct Failed;

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "login: the store did not answer");
        Self
    }
}

pub(super) async fn judge(issuer: &Issuer, incoming: &Incoming, form: &Params) -> Result<Outcome, Failed> {
    let name = login_name(form.get("email").unwrap_or_default());
    let password = Zeroizing::new(form.get("password").unwrap_or_default().to_owned());
    let account = Digest::of(&format!("account:{name}"));
    // INVARIANT: counted before it is judged; parallel tries cannot outrun the counter (L03).
    if let Some(retry_after_s) = count(issuer, incoming, &account).await? {
        return Ok(Outcome::TooMany { retry_after_s });
    }
    let found = issuer.store.find_login(&name).await?;
    let is_right = check_password(issuer, password, found.as_ref().and_then(|(_, phc)| phc.clone())).await?;
    let user = found.map(|(user, _)| user);
    match user.as_ref().filter(|user| is_right && user.state == State::Enabled) {
        Some(user) => enter(issuer, incoming, user, &account).await,
        None => refuse(issuer, incoming, user.as_ref()).await,
    }
}

/// Seconds to wait when the source or the account has had its tries.
async fn count(issuer: &Issuer, incoming: &Incoming, account: &Digest) -> Result<Option<u32>, Failed> {
    let source = source_of(incoming);
    let counters: [(&Digest, AttemptRules); 2] =
        [(&source, issuer.config.source_attempts), (account, issuer.config.login_attempts)];
    for (subject, rules) in counters {
        if let AttemptVerdict::Refused { retry_after_s } =
            issuer.store.count_attempt(subject, rules, issuer.now()).await?
        {
            return Ok(Some(retry_after_s));
        }
    }
    Ok(None)
}

fn source_of(incoming: &Incoming) -> Digest {
    Digest::of(&format!("source:{}", incoming.source()))
}

async fn check_password(issuer: &Issuer, password: Zeroizing<String>, phc: Option<String>) -> Result<bool, Failed> {
    // L05: nobody makes us hash a megabyte; the answer is that of a wrong password.
    if password.len() > MAX_PASSWORD_BYTES {
        return Ok(false);
    }
    match issuer.hasher.verify(password, phc).await {
        Ok(is_right) => Ok(is_right),
        // A damaged hash is the operator's to see; outside it is one more wrong password.
        Err(error @ HasherError::Unreadable) => {
            tracing::error!(%error, "login: an account's password hash is damaged");
            Ok(false)
        }
        Err(error @ HasherError::Busy) => {
            tracing::warn!(%error, "login: refused");
            Err(Failed)
        }
    }
}

async fn enter(issuer: &Issuer, incoming: &Incoming, user: &User, account: &Digest) -> Result<Outcome, Failed> {
    let earlier = session::find(issuer, &incoming.headers).await?;
    let replaces = earlier.as_ref().map(|login| &login.session.id);
    match session::begin(issuer, incoming, user, replaces).await {
        Ok(login) => {
            issuer.store.clear_attempts(account).await?;
            // Many people may share an address; whoever tries passwords there gets none of his wrong tries back.
            issuer.store.forgive_attempt(&source_of(incoming)).await?;
            Ok(Outcome::LoggedIn(Box::new(login)))
        }
        // Disabled between look-up and login.
        Err(StoreError::Conflict(_)) => refuse(issuer, incoming, Some(user)).await,
        Err(error) => Err(error.into()),
    }
}

/// Recorded for known and unknown alike, by id and never by what was typed: people type passwords into the wrong field.
async fn refuse(issuer: &Issuer, incoming: &Incoming, user: Option<&User>) -> Result<Outcome, Failed> {
    let target = user.map_or("unknown", |user| user.id.as_str());
    let mut act = issuer.act(Actor::Stranger, "login.refuse", target).address(incoming.peer);
    if let Some(user) = user {
        act = act.user(&user.id);
    }
    issuer.store.record_act(act).await?.gives_only();
    Ok(Outcome::Wrong)
}
