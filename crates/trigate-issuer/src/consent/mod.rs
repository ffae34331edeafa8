//! Does this person allow this client this much? The consent page and its form.
//!
//! Only records the answer; the authorization endpoint judges the whole request again. The form is bound to the login's
//! own cookie: another session's token is worth nothing (O34).

use crate::{
    Issuer,
    account::session::Login,
    authorize::{self, Authorization, redirect},
    login,
    web::{
        self, Incoming, forms,
        page::{self, Frame},
        plain,
    },
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use std::sync::Arc;
use trigate_core::{Actor, oauth::Scope, port::StoreError, user::User};

const FORM: &str = "consent";

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage {
    frame: Frame,
    client: String,
    email: String,
    /// Where the browser goes afterwards.
    place: String,
    wishes: Vec<Wish>,
    /// Something was allowed before, and this is more.
    is_addition: bool,
    action: String,
    other_account: String,
    csrf: String,
}

struct Wish {
    text: String,
    is_new: bool,
}

struct Visit {
    incoming: Incoming,
    request: Authorization,
    login: Login,
}

pub(crate) async fn show(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let visit = match visit(&issuer, request).await {
        Ok(visit) => visit,
        Err(response) => return response,
    };
    render(&issuer, &visit).await.unwrap_or_else(|_| page::unavailable(&issuer))
}

pub(crate) async fn submit(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let visit = match visit(&issuer, request).await {
        Ok(visit) => visit,
        Err(response) => return response,
    };
    let form = match visit.incoming.form() {
        Ok(form) if !form.has_repeated() => form,
        Ok(_) => return page::bad_body(&issuer, web::incoming::BadBody::Malformed),
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    if forms::check(&issuer, &visit.incoming, &form, FORM, Some(visit.login.cookie.reveal())).is_err() {
        return page::forged(&issuer);
    }
    match form.get("decision") {
        Some("allow") => record(&issuer, &visit).await.unwrap_or_else(|_| page::unavailable(&issuer)),
        // Whatever is not a yes is a no.
        _ => visit.request.answer.with_denial(),
    }
}

/// The request, judged again, and the login. Without a login the way begins anew.
async fn visit(issuer: &Issuer, request: Request) -> Result<Visit, Response> {
    let incoming = Incoming::read(request).await.map_err(|bad| page::bad_body(issuer, bad))?;
    let request = authorize::check(issuer, &incoming.query).await.map_err(|stop| stop.into_response(issuer))?;
    match login::current(issuer, &incoming).await? {
        Some(login) => Ok(Visit { incoming, request, login }),
        None => Err(web::see_other(&web::with_query("/oauth/authorize", &incoming.query))),
    }
}

async fn record(issuer: &Issuer, visit: &Visit) -> Result<Response, StoreError> {
    let (user, client) = (&visit.login.session.user, &visit.request.client);
    let act = issuer
        .act(Actor::User { user: user.clone() }, "consent.give", &client.id)
        .user(user)
        .client(&client.id)
        .application(&client.application)
        .address(visit.incoming.peer)
        .fact("scope", &visit.request.scopes);
    issuer.store.record_consent(act, user, &client.id, &visit.request.scopes).await?.gives_only();
    Ok(web::see_other(&web::with_query("/oauth/authorize", &visit.incoming.query)))
}

async fn render(issuer: &Issuer, visit: &Visit) -> Result<Response, StoreError> {
    let (request, session) = (&visit.request, &visit.login.session);
    let user = issuer.store.find_user(&session.user).await?;
    let before = issuer.store.find_consent(&session.user, &request.client.id).await?;
    let allowed = |scope: &Scope| before.as_ref().is_some_and(|consent| consent.scopes.contains(scope));
    // In the order of the configuration, which is that of importance.
    let mut wanted: Vec<&Scope> = request.scopes.iter().collect();
    wanted.sort_by_key(|scope| rank(issuer, scope));
    let wishes: Vec<Wish> =
        wanted.into_iter().map(|scope| Wish { text: in_words(issuer, scope), is_new: !allowed(scope) }).collect();
    let consent = ConsentPage {
        frame: Frame::new(issuer, "Allow access?"),
        client: plain::shown(&request.client.name),
        email: user.map(|user: User| plain::shown(&user.email)).unwrap_or_default(),
        place: plain::shown(&redirect::place(request.answer.redirect_uri())),
        is_addition: wishes.iter().any(|wish| wish.is_new) && wishes.iter().any(|wish| !wish.is_new),
        wishes,
        action: web::with_query("/consent", &visit.incoming.query),
        other_account: web::with_query("/login", &visit.incoming.query),
        csrf: forms::token(issuer, FORM, visit.login.cookie.reveal()),
    };
    let target = redirect::policy_source(request.answer.redirect_uri());
    Ok(page::html(StatusCode::OK, &consent, target.as_deref()))
}

fn rank(issuer: &Issuer, scope: &Scope) -> usize {
    let known = issuer.config.scopes.iter().position(|known| known.name == scope.as_str());
    known.unwrap_or(usize::MAX)
}

fn in_words(issuer: &Issuer, scope: &Scope) -> String {
    let described = issuer.config.scopes.iter().find(|known| known.name == scope.as_str());
    described.map_or_else(|| format!("use the permission “{scope}”"), |known| known.description.clone())
}
