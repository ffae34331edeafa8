//! A transmitter pushes one security event: taken or not? (RFC 8935)

use super::{Receiver, Refused, event};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use trigate_core::credential::Digest;

pub(super) async fn endpoint(
    State(receiver): State<Arc<Receiver>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let settings = receiver.settings.load_full();
    let Some(stream) = settings.streams.get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Before the signature: a stranger makes us verify nothing.
    if stream.push.is_none_or(|secret| Digest::of(text(header::AUTHORIZATION)) != secret) {
        return answer(StatusCode::UNAUTHORIZED, "authentication_failed", "the credential of this stream is another");
    }
    // RFC 8935 §2.1
    if !text(header::CONTENT_TYPE).eq_ignore_ascii_case("application/secevent+jwt") {
        return answer(StatusCode::BAD_REQUEST, "invalid_request", "the content is no `application/secevent+jwt`");
    }
    let Ok(text) = std::str::from_utf8(&body) else {
        return answer(StatusCode::BAD_REQUEST, "invalid_request", "no security event token");
    };
    match event::take(&receiver, stream, text).await {
        // RFC 8935 §2.2: acknowledged, with nothing in the body.
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(Refused::Bad(code, why)) => {
            tracing::warn!(stream = name, code, why, "a security event was refused");
            answer(StatusCode::BAD_REQUEST, code, why)
        }
        Err(Refused::Later) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// RFC 8935 §2.3
fn answer(status: StatusCode, code: &str, why: &str) -> Response {
    let mut response = (status, Json(json!({ "err": code, "description": why }))).into_response();
    response.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
