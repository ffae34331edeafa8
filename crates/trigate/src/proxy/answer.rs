//! What do we say ourselves? Problem bodies for what goes wrong around the gates (RFC 9457). No word of the request is
//! repeated in them.

use super::body::Answer;
use crate::edge::head::BadHead;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use trigate_core::id::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A problem of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The head goes no further.
    BadHead(BadHead),
    NotFound,
    TooLarge,
    TooSlow,
    BodyBroken,
    BadGateway,
    GatewayTimeout,
    /// No address of the API is well, or all have enough to do.
    Unavailable,
    /// No longer allowed, before the answer began.
    Ended,
    /// The route does not become what the client wishes.
    NoUpgrade,
    /// This core has enough to do.
    Overloaded,
}

impl Problem {
    const fn wire(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadHead(bad) => (bad.status, "malformed request", bad.detail),
            Self::NotFound => (StatusCode::NOT_FOUND, "not found", "nothing is here"),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body too large", "the body is larger than this route carries")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body too slow", "the body came too slowly"),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, "body broke off", "the body ended before its end"),
            Self::BadGateway => {
                (StatusCode::BAD_GATEWAY, "bad gateway", "the API behind the gate could not be reached")
            }
            Self::GatewayTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "gateway timeout", "the API behind the gate did not answer in time")
            }
            Self::Ended => (StatusCode::FORBIDDEN, "ended", "what allowed this request no longer stands"),
            Self::NoUpgrade => (StatusCode::NOT_IMPLEMENTED, "not upgraded", "this route is not upgraded"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the API behind the gate cannot take requests now")
            }
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "the gate has too much to do"),
        }
    }

    pub const fn status(self) -> StatusCode {
        self.wire().0
    }

    /// Whether the connection must end: what follows on it cannot be trusted to be a request.
    const fn closes(self) -> bool {
        !matches!(self, Self::NotFound | Self::BadGateway | Self::GatewayTimeout | Self::Unavailable | Self::Overloaded)
    }

    pub fn answer(self, request: Option<&RequestId>, http1: bool) -> Response<Answer> {
        let (status, title, detail) = self.wire();
        let mut body =
            serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        if let (Some(request), Some(body)) = (request, body.as_object_mut()) {
            body.insert("request_id".into(), request.as_str().into());
        }
        let mut response = json(status, "application/problem+json", body.to_string());
        if let Some(request) = request {
            put_request_id(&mut response, request);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if http1 && self.closes() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

pub fn json(status: StatusCode, kind: &'static str, body: String) -> Response<Answer> {
    let mut response = Response::new(Answer::own(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub fn put_request_id(response: &mut Response<Answer>, request: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(request.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}
