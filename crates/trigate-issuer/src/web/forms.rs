//! Did our own page in this very browser send this form? A token bound to a cookie, and what the browser says about where
//! the request comes from.
//!
//! SECURITY: either alone would do for most browsers; a stranger's page can forge neither (O34, L07).

use super::{Incoming, Params, cookie::Cookie};
use crate::Issuer;
use trigate_core::credential::CsrfToken;

/// The form was not sent by our page in this browser: 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forged;

/// The token that a form carries for `purpose`, bound to a cookie's value.
pub(crate) fn token(issuer: &Issuer, purpose: &str, cookie: &str) -> String {
    issuer.mac("form", &[purpose, cookie])
}

pub(crate) fn check(
    issuer: &Issuer,
    incoming: &Incoming,
    form: &Params,
    purpose: &str,
    cookie: Option<&str>,
) -> Result<(), Forged> {
    check_origin(issuer, incoming)?;
    let (cookie, presented) = (cookie.ok_or(Forged)?, form.get("csrf").ok_or(Forged)?);
    if issuer.check_mac(presented, "form", &[purpose, cookie]) { Ok(()) } else { Err(Forged) }
}

/// Absent headers prove nothing either way (old browsers, curl): the token decides then.
fn check_origin(issuer: &Issuer, incoming: &Incoming) -> Result<(), Forged> {
    // `same-site` is refused too: another port of localhost is the same site.
    let site = incoming.header("sec-fetch-site");
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(Forged);
    }
    // With `Referrer-Policy: no-referrer` browsers send `Origin: null` from our own pages (Fetch §3.2).
    match incoming.header("origin") {
        None | Some("null") => Ok(()),
        Some(origin) if origin == issuer.origin => Ok(()),
        Some(_) => Err(Forged),
    }
}

/// The browser's form cookie, or a new one that the answer must set.
pub(crate) struct FormCookie {
    pub(crate) value: String,
    pub(crate) is_new: bool,
}

impl FormCookie {
    pub(crate) fn of(issuer: &Issuer, incoming: &Incoming) -> Self {
        match Cookie::Form.read(issuer, &incoming.headers).and_then(CsrfToken::parse) {
            Some(token) => Self { value: token.reveal().to_owned(), is_new: false },
            None => Self { value: CsrfToken::mint(&*issuer.rng).reveal().to_owned(), is_new: true },
        }
    }
}
