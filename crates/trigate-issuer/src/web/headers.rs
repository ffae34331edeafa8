//! Which headers does every answer carry, whoever wrote it? Filled in where the endpoint said nothing else.

use crate::Issuer;
use axum::{extract::State, response::Response};
use http::{HeaderName, HeaderValue, header};

/// What does not change from answer to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Always {
    https: bool,
}

impl Always {
    pub(crate) fn of(issuer: &Issuer) -> Self {
        Self { https: issuer.config.issuer.starts_with("https://") }
    }
}

pub(crate) async fn fill(State(always): State<Always>, mut response: Response) -> Response {
    const DEFAULTS: [(HeaderName, &str); 5] = [
        // RFC 6749 §5.1; pages name a person or a client.
        (header::CACHE_CONTROL, "no-store"),
        // RFC 9700 §4.16: no frames, no scripts, no foreign anything.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        // RFC 9700 §4.2: state and code stay out of Referer.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    let headers = response.headers_mut();
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if always.https {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static("max-age=63072000"));
    }
    response
}
