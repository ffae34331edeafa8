//! Answers for machines: JSON, and the error object of RFC 6749 §5.2.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use trigate_core::oauth::ErrorCode;

pub(crate) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            (status, [(header::CONTENT_TYPE, "application/json"), (header::PRAGMA, "no-cache")], bytes).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What an error looks like on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) description: &'static str,
    pub(crate) retry_after_s: Option<u32>,
}

impl Wire {
    pub(crate) const fn new(status: StatusCode, code: ErrorCode, description: &'static str) -> Self {
        Self { status, code, description, retry_after_s: None }
    }
}

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    error_description: &'static str,
}

impl IntoResponse for Wire {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: self.code.as_str(), error_description: self.description };
        let mut response = answer(self.status, &body);
        // RFC 9110 §15.5.2: every 401 names a scheme; RFC 6749 §5.2 wants it of those who used the header.
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"trigate\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
