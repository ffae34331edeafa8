//! What does a person see? Templates rendered with a policy that allows our style sheet and nothing else: no script runs
//! here, whatever slips into a page.

use super::{assets::CSS_PATH, incoming::BadBody};
use crate::Issuer;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;

/// What frames every page.
pub(crate) struct Frame {
    pub(crate) brand: String,
    pub(crate) css: &'static str,
    pub(crate) title: &'static str,
    /// Host that the browser's address bar must show.
    pub(crate) host: String,
}

impl Frame {
    pub(crate) fn new(issuer: &Issuer, title: &'static str) -> Self {
        let host = issuer.origin.split_once("://").map_or(issuer.origin.as_str(), |(_, host)| host);
        Self { brand: issuer.config.brand.clone(), css: &CSS_PATH, title, host: host.to_owned() }
    }
}

/// `form_target`: where a form of this page may lead beside ourselves, the validated redirect's origin.
pub(crate) fn html(status: StatusCode, template: &impl Template, form_target: Option<&str>) -> Response {
    let Ok(text) = template.render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy(form_target)) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Chromium applies `form-action` to the redirects that follow a form, so the client's origin must be named.
fn policy(form_target: Option<&str>) -> String {
    let target = form_target.map(|origin| format!(" {origin}")).unwrap_or_default();
    format!("default-src 'none'; style-src 'self'; form-action 'self'{target}; frame-ancestors 'none'; base-uri 'none'")
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    frame: Frame,
    problem: &'a Problem,
}

/// A page that says what went wrong and leads nowhere.
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    pub(crate) hint: &'static str,
    /// For the app's makers, or empty.
    pub(crate) code: &'static str,
    pub(crate) parameter: &'static str,
}

impl Problem {
    pub(crate) fn page(&self, issuer: &Issuer) -> Response {
        html(self.status, &Message { frame: Frame::new(issuer, self.title), problem: self }, None)
    }
}

pub(crate) fn unavailable(issuer: &Issuer) -> Response {
    let problem = Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Not possible right now",
        text: "We could not do this at the moment.",
        hint: "Please try again in a little while.",
        code: "temporarily_unavailable",
        parameter: "",
    };
    let mut response = problem.page(issuer);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// The form did not come from our page.
pub(crate) fn forged(issuer: &Issuer) -> Response {
    let problem = Problem {
        status: StatusCode::FORBIDDEN,
        title: "This form has expired",
        text: "We could not tell that this form was sent from our own page, so nothing was done.",
        hint: "Go back to the app that you came from and start again. Cookies must be allowed for this site.",
        code: "forbidden",
        parameter: "",
    };
    problem.page(issuer)
}

pub(crate) fn bad_body(issuer: &Issuer, bad: BadBody) -> Response {
    let status = match bad {
        BadBody::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        BadBody::NotForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        BadBody::Malformed => StatusCode::BAD_REQUEST,
    };
    let problem = Problem {
        status,
        title: "This request cannot be read",
        text: "What arrived here is not a form of ours.",
        hint: "",
        code: "invalid_request",
        parameter: "",
    };
    problem.page(issuer)
}

pub(crate) async fn not_found(State(issuer): State<Arc<Issuer>>) -> Response {
    let problem = Problem {
        status: StatusCode::NOT_FOUND,
        title: "Page not found",
        text: "There is nothing at this address.",
        hint: "",
        code: "",
        parameter: "",
    };
    problem.page(&issuer)
}
