//! What does a gRPC client read when the gate answers for the API? The HTTP status stays what it is; beside it stands the
//! status that gRPC gives it, so that a client need not guess.

use super::watch::End;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

pub fn speaks(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// For an answer of our own to a request that is gRPC.
pub fn dress(request: &HeaderMap, status: StatusCode, headers: &mut HeaderMap) {
    if speaks(request) && !headers.contains_key(STATUS) {
        headers.insert(STATUS, HeaderValue::from_static(code(status)));
        headers.insert(MESSAGE, HeaderValue::from_static(status.canonical_reason().unwrap_or("refused")));
    }
}

/// Trailers for an answer that is ended in its middle.
pub fn trailers(end: End) -> HeaderMap {
    let (code, message) = match end {
        End::Refused(_) => ("16", "the credential no longer stands"),
        End::Silent => ("14", "nothing came for too long"),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static(code));
    trailers.insert(MESSAGE, HeaderValue::from_static(message));
    trailers
}

/// As gRPC maps HTTP (`http-grpc-status-mapping`), except where the gate knows better than a proxy between would.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => "3",
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "4",
        StatusCode::FORBIDDEN => "7",
        StatusCode::TOO_MANY_REQUESTS => "8",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => "12",
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => "14",
        StatusCode::UNAUTHORIZED => "16",
        _ => "2",
    }
}
