//! Did the person log in, or agree, *after* this request came? When a request is sent on to a page, it gets a signed mark
//! with the time; `prompt=login`, `prompt=consent` and `max_age` are met only by what happened since.
//!
//! SECURITY: the mark is bound to the request's own text, so that an old one cannot be hung on another request.

use crate::Issuer;
use trigate_core::Timestamp;

const NAME: &str = "trigate_since";
/// Seconds in which the person must be done; then they are asked again.
const LIFE_S: i64 = 3600;

pub(crate) struct Since {
    pub(super) at: Timestamp,
}

/// The client's own query, and the mark if a good one hangs on it.
pub(super) fn split(issuer: &Issuer, query: &str) -> (String, Option<Since>) {
    let is_mark = |pair: &&str| pair.split('=').next() == Some(NAME);
    let (marks, own): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_mark);
    let own = own.join("&");
    let since = match marks.as_slice() {
        [mark] => read(issuer, mark, &own),
        _ => None,
    };
    (own, since)
}

/// The query with a mark of now; a good mark that is there already stays.
pub(super) fn mark(issuer: &Issuer, query: &str) -> String {
    let (own, since) = split(issuer, query);
    let at = since.map_or_else(|| issuer.now(), |since| since.at).micros().to_string();
    let mac = issuer.mac("since", &[&at, &own]);
    format!("{own}&{NAME}={at}.{mac}")
}

fn read(issuer: &Issuer, mark: &str, own: &str) -> Option<Since> {
    let (at, mac) = mark.split_once('=')?.1.split_once('.')?;
    if !issuer.check_mac(mac, "since", &[at, own]) {
        return None;
    }
    let at = Timestamp::from_micros(at.parse().ok()?);
    (0..LIFE_S).contains(&issuer.now().seconds_since(at)).then_some(Since { at })
}
