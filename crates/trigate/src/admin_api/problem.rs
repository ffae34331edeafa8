//! How does the desk say no? RFC 9457 problem bodies that name the remedy; never a stack, never a secret.

use crate::operator::OperatorError;
use axum::{
    extract::rejection::JsonRejection,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;

/// An error on its way out.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    remedy: String,
}

impl Problem {
    pub fn not_behind_gates() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "broken",
            detail: "this request did not come through the gates".to_owned(),
            remedy: "report this: the desk is wired wrongly".to_owned(),
        }
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %error, "an operator's verb failed");
        }
        Self { status, code: error.code(), detail: error.to_string(), remedy: error.remedy().to_owned() }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        // SECURITY: serde's text may quote the value that it could not read, which may be a secret.
        let detail = trigate_core::credential::mask_secrets(&rejection.body_text());
        Self {
            status: rejection.status(),
            code: "invalid",
            detail,
            remedy: "send JSON as the reference describes".to_owned(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:trigate:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "remedy": self.remedy,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

pub async fn no_such_path(uri: Uri) -> Problem {
    Problem {
        status: StatusCode::NOT_FOUND,
        code: "missing",
        detail: format!("the desk has no `{}`", uri.path().escape_default()),
        remedy: "see the reference of the desk's API".to_owned(),
    }
}

pub async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "invalid",
        detail: format!("`{}` does not answer to {method}", uri.path().escape_default()),
        remedy: "see the reference of the desk's API".to_owned(),
    }
}
