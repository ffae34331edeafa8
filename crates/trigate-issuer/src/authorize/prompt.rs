//! How shall the person be involved? `prompt`, `max_age` and `id_token_hint` (OpenID Connect Core §3.1.2.1).

use super::answer::ClientError;
use crate::{Issuer, account::session::Login, mint, web::Params};
use trigate_core::{Timestamp, id::UserId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// `none`: no page may be shown.
    pub(super) silent: bool,
    wants_login: bool,
    pub(super) wants_consent: bool,
    max_age_s: Option<i64>,
    /// The person that the client means.
    hint: Option<UserId>,
}

pub(super) fn read(issuer: &Issuer, params: &Params) -> Result<Prompt, ClientError> {
    let mut prompt = Prompt { max_age_s: read_max_age(params)?, hint: read_hint(issuer, params)?, ..Prompt::default() };
    let words: Vec<&str> = params.get("prompt").map(|words| words.split(' ').collect()).unwrap_or_default();
    for word in &words {
        match *word {
            // "none" beside others is an error, not a preference.
            "none" if words.len() == 1 => prompt.silent = true,
            "login" | "select_account" => prompt.wants_login = true,
            "consent" => prompt.wants_consent = true,
            _ => return Err(ClientError::Prompt),
        }
    }
    Ok(prompt)
}

fn read_max_age(params: &Params) -> Result<Option<i64>, ClientError> {
    let Some(text) = params.get("max_age") else { return Ok(None) };
    let seconds = text.parse::<u32>().map_err(|_| ClientError::MaxAge)?;
    Ok(Some(i64::from(seconds)))
}

fn read_hint(issuer: &Issuer, params: &Params) -> Result<Option<UserId>, ClientError> {
    let Some(text) = params.get("id_token_hint") else { return Ok(None) };
    mint::read_hint(issuer, text).map(|(user, _)| Some(user)).ok_or(ClientError::Hint)
}

impl Prompt {
    /// `since`: the person logged in after this request was first seen.
    pub(super) fn accepts(&self, login: &Login, since: bool, now: Timestamp) -> bool {
        let age_s = now.seconds_since(login.session.authenticated_at);
        let is_fresh = since || (!self.wants_login && self.max_age_s.is_none_or(|max| age_s < max));
        self.means(login) && is_fresh
    }

    /// Is it the person of the hint?
    pub(super) fn means(&self, login: &Login) -> bool {
        self.hint.as_ref().is_none_or(|user| *user == login.session.user)
    }
}
