//! Which endpoints may a page of another origin call, and read the answer? Those of clients that live in a browser: token
//! and revocation. Any origin, never with cookies: these endpoints look at none, so that a page gets nothing that its own
//! server could not have got.
//!
//! Not the authorization endpoint (RFC 9700 §2.6), and not introspection, which is for servers.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// Seconds that a browser may keep the answer to its question.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Fetch §3.3.3: the answer to what a browser asks before it sends an `Authorization` header.
pub(crate) async fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type, dpop"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Whatever the endpoint answered, errors too: a client must be able to read why.
pub(crate) async fn allow(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = HeaderValue::from_static("www-authenticate, retry-after, dpop-nonce");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    response
}
