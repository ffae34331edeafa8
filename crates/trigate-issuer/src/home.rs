//! The small page at `/`: who is logged in here, and the way out.

use crate::{
    Issuer, login,
    web::{
        Incoming,
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

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    email: Option<String>,
}

pub(crate) async fn home(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    let login = match login::current(&issuer, &incoming).await {
        Ok(login) => login,
        Err(response) => return response,
    };
    let email = match login {
        None => None,
        Some(login) => match issuer.store.find_user(&login.session.user).await {
            Ok(user) => user.map(|user| plain::shown(&user.email)),
            Err(_) => return page::unavailable(&issuer),
        },
    };
    page::html(StatusCode::OK, &HomePage { frame: Frame::new(&issuer, "Your account"), email }, None)
}
