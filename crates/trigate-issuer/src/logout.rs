//! The way out (OpenID Connect RP-Initiated Logout): always asks, ends the session everywhere, and leads on only to an
//! address that the client registered for it (O36).

use crate::{
    Issuer,
    authorize::redirect,
    login, mint,
    web::{
        self, Incoming, Params,
        cookie::Cookie,
        forms,
        page::{self, Frame},
        plain,
    },
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, header};
use std::sync::Arc;
use trigate_core::{Actor, change::Target, client::Client, id::ClientId, port::StoreError};
use url::form_urlencoded::Serializer;

const FORM: &str = "logout";

#[derive(Template)]
#[template(path = "logout.html")]
struct LogoutPage {
    frame: Frame,
    client: Option<String>,
    action: String,
    csrf: String,
}

#[derive(Template)]
#[template(path = "logged_out.html")]
struct LoggedOutPage {
    frame: Frame,
    /// The client's own address to go on to.
    next: Option<String>,
    client: Option<String>,
}

/// Who sent the browser here, and where it may go on to; both proven or absent.
#[derive(Default)]
struct Sender {
    client: Option<Client>,
    next: Option<String>,
}

pub(crate) async fn show(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    let Ok(sender) = sender(&issuer, &incoming.query).await else { return page::unavailable(&issuer) };
    match login::current(&issuer, &incoming).await {
        Ok(Some(login)) => {
            let page = LogoutPage {
                frame: Frame::new(&issuer, "Log out?"),
                client: sender.client.map(|client| plain::shown(&client.name)),
                action: web::with_query("/logout", &incoming.query),
                csrf: forms::token(&issuer, FORM, login.cookie.reveal()),
            };
            page::html(StatusCode::OK, &page, None)
        }
        Ok(None) => goodbye(&issuer, sender),
        Err(response) => response,
    }
}

pub(crate) async fn submit(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    let form = match incoming.form() {
        Ok(form) => form,
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    // RP-Initiated Logout §2: clients may post too. Without its cookie such a request says nothing about who is logged in.
    if form.get("csrf").is_none() && incoming.query.is_empty() {
        return web::as_get(&issuer, "/logout", &form);
    }
    let Ok(sender) = sender(&issuer, &incoming.query).await else { return page::unavailable(&issuer) };
    let login = match login::current(&issuer, &incoming).await {
        Ok(Some(login)) => login,
        Ok(None) => return goodbye(&issuer, sender),
        Err(response) => return response,
    };
    if forms::check(&issuer, &incoming, &form, FORM, Some(login.cookie.reveal())).is_err() {
        return page::forged(&issuer);
    }
    let session = &login.session;
    let act = issuer
        .act(Actor::User { user: session.user.clone() }, "session.end", &session.id)
        .user(&session.user)
        .address(incoming.peer);
    let target = Target::Session { id: session.id.clone(), issuer: None };
    let Ok(committed) = issuer.store.revoke(act, target, issuer.no_token_alive_at()).await else {
        return page::unavailable(&issuer);
    };
    // The page says "logged out": it must be so at every gate.
    if committed.everywhere(&*issuer.propagation).await.is_err() {
        return page::unavailable(&issuer);
    }
    let mut response = goodbye(&issuer, sender);
    if let Some(line) = Cookie::Session.clear(&issuer) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
    response
}

fn goodbye(issuer: &Issuer, sender: Sender) -> Response {
    let page = LoggedOutPage {
        frame: Frame::new(issuer, "You are logged out"),
        next: sender.next,
        client: sender.client.map(|client| plain::shown(&client.name)),
    };
    page::html(StatusCode::OK, &page, None)
}

async fn sender(issuer: &Issuer, query: &str) -> Result<Sender, StoreError> {
    let Some(params) = Params::parse(query).ok().filter(|params| !params.has_repeated()) else {
        return Ok(Sender::default());
    };
    let Some(id) = client_id(issuer, &params) else { return Ok(Sender::default()) };
    let Some(client) = issuer.store.find_client(&id).await? else { return Ok(Sender::default()) };
    // RP-Initiated Logout §3: an exact match, or no way on.
    let next = params.get("post_logout_redirect_uri").filter(|uri| {
        // `javascript:` in a registration would run when the link is followed.
        client.post_logout_redirect_uris.iter().any(|have| have == uri) && redirect::check_registration(uri).is_ok()
    });
    let next = next.map(|uri| with_state(uri, params.get("state")));
    Ok(Sender { client: Some(client), next })
}

/// RP-Initiated Logout §2: hint and client id must agree.
fn client_id(issuer: &Issuer, params: &Params) -> Option<ClientId> {
    let named = params.get("client_id").and_then(|id| ClientId::parse(id).ok());
    match params.get("id_token_hint") {
        None => named,
        Some(hint) => {
            let (_, client) = mint::read_hint(issuer, hint)?;
            named.is_none_or(|named| named == client).then_some(client)
        }
    }
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else { return uri.to_owned() };
    let joint = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joint}{}", Serializer::new(String::new()).append_pair("state", state).finish())
}
