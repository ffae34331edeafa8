//! What do all endpoints do with HTTP? Read it once, strictly; answer with the headers that keep a page safe.

pub(crate) mod assets;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod forms;
pub(crate) mod headers;
pub(crate) mod incoming;
pub(crate) mod json;
pub(crate) mod page;
pub(crate) mod params;
pub(crate) mod plain;

pub(crate) use incoming::Incoming;
pub(crate) use params::Params;

use crate::Issuer;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// RFC 9700 §4.12: 303, so that a browser never repeats a POST with its password to another place.
pub(crate) fn see_other(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What another site posted, as a GET: the login cookie (`SameSite=Lax`) does not come along with its form, and does with
/// what follows.
pub(crate) fn as_get(issuer: &Issuer, path: &str, form: &Params) -> Response {
    let query = form.to_query();
    if query.len() > incoming::MAX_QUERY_BYTES {
        return page::bad_body(issuer, incoming::BadBody::TooLarge);
    }
    see_other(&with_query(path, &query))
}

/// `path?query`, or the path alone.
pub(crate) fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
