//! Who is this person? The login page and its form.
//!
//! Counts a try before it is judged (L03), answers an unknown account and a wrong password alike to the byte (L01), and
//! leads back to our own authorization endpoint alone.

mod attempt;

use crate::{
    Issuer,
    account::session::{self, Login},
    authorize::{self, redirect},
    web::{
        self, Incoming,
        cookie::Cookie,
        forms::{self, FormCookie},
        page::{self, Frame},
        plain,
    },
};
use askama::Template;
use attempt::Outcome;
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;

const FORM: &str = "login";

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    /// Name of the client that waits, made inert.
    client: Option<String>,
    /// Where the form goes: this page with the client's request.
    action: String,
    csrf: String,
    failure: Option<Failure>,
}

struct Failure {
    heading: &'static str,
    text: String,
}

/// What the page must know of the request that waits behind the login.
struct Waiting {
    client: Option<String>,
    form_target: Option<String>,
}

pub(crate) async fn show(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    match waiting(&issuer, &incoming.query).await {
        Ok(waiting) => render(&issuer, &incoming, waiting, None),
        Err(response) => response,
    }
}

pub(crate) async fn submit(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    let form = match incoming.form() {
        Ok(form) if !form.has_repeated() => form,
        Ok(_) => return page::bad_body(&issuer, web::incoming::BadBody::Malformed),
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    let cookie = Cookie::Form.read(&issuer, &incoming.headers);
    if forms::check(&issuer, &incoming, &form, FORM, cookie).is_err() {
        return page::forged(&issuer);
    }
    let waiting = match waiting(&issuer, &incoming.query).await {
        Ok(waiting) => waiting,
        Err(response) => return response,
    };
    match attempt::judge(&issuer, &incoming, &form).await {
        Ok(Outcome::LoggedIn(login)) => welcome(&issuer, &incoming.query, &login),
        Ok(Outcome::Wrong) => render(&issuer, &incoming, waiting, Some((StatusCode::BAD_REQUEST, wrong(), None))),
        Ok(Outcome::TooMany { retry_after_s }) => {
            let failure = Some((StatusCode::TOO_MANY_REQUESTS, too_many(retry_after_s), Some(retry_after_s)));
            render(&issuer, &incoming, waiting, failure)
        }
        Err(attempt::Failed) => page::unavailable(&issuer),
    }
}

/// A request that does not hold is answered where requests are judged.
async fn waiting(issuer: &Issuer, query: &str) -> Result<Waiting, Response> {
    if query.is_empty() {
        return Ok(Waiting { client: None, form_target: None });
    }
    let request = authorize::check(issuer, query).await.map_err(|stop| stop.into_response(issuer))?;
    Ok(Waiting {
        client: Some(plain::shown(&request.client.name)),
        form_target: redirect::policy_source(request.answer.redirect_uri()),
    })
}

fn welcome(issuer: &Issuer, query: &str, login: &Login) -> Response {
    let next = if query.is_empty() { "/".to_owned() } else { web::with_query("/oauth/authorize", query) };
    let mut response = web::see_other(&next);
    if let Some(line) = Cookie::Session.set(issuer, login.cookie.reveal()) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
    response
}

fn render(
    issuer: &Issuer,
    incoming: &Incoming,
    waiting: Waiting,
    failure: Option<(StatusCode, Failure, Option<u32>)>,
) -> Response {
    let cookie = FormCookie::of(issuer, incoming);
    let (status, failure, retry_after_s) = match failure {
        Some((status, failure, retry_after_s)) => (status, Some(failure), retry_after_s),
        None => (StatusCode::OK, None, None),
    };
    let login = LoginPage {
        // The first thing that a screen reader says.
        frame: Frame::new(issuer, if failure.is_some() { "Not logged in" } else { "Log in" }),
        client: waiting.client,
        action: web::with_query("/login", &incoming.query),
        csrf: forms::token(issuer, FORM, &cookie.value),
        failure,
    };
    let mut response = page::html(status, &login, waiting.form_target.as_deref());
    if let Some(line) = Cookie::Form.set(issuer, &cookie.value).filter(|_| cookie.is_new) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// One text for an unknown account, a wrong password, a disabled account and a password beyond the cap.
fn wrong() -> Failure {
    Failure {
        heading: "We could not log you in",
        text: "E-mail address or password is not right. Please check both and try again.".to_owned(),
    }
}

fn too_many(retry_after_s: u32) -> Failure {
    let minutes = retry_after_s.div_ceil(60).max(1);
    let wait = if minutes == 1 { "a minute".to_owned() } else { format!("{minutes} minutes") };
    Failure {
        heading: "Too many tries",
        text: format!("To protect this account we are taking a break. Please try again in {wait}."),
    }
}

/// The login behind a page that needs one.
pub(crate) async fn current(issuer: &Issuer, incoming: &Incoming) -> Result<Option<Login>, Response> {
    session::find(issuer, &incoming.headers).await.map_err(|_| page::unavailable(issuer))
}
