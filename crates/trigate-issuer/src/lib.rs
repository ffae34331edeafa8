//! Where tokens come from: the OAuth 2.1 / OpenID Connect authorization server and its pages.
//!
//! Trusts the store's verbs to be atomic, and the peer address that the listener hands in. Never opens a socket, never
//! reads a clock or dice of its own, and never shows a credential to a log.
//!
//! The way of a client: `authorize` (a list of steps) -> `login` -> `consent` -> code -> `token` -> `mint`.

pub mod account;
pub mod attacks;
mod authorize;
mod config;
mod consent;
mod guesses;
mod home;
mod introspect;
mod issuer;
mod jwks;
pub mod keys;
mod login;
mod logout;
mod metadata;
mod mint;
mod revoke;
mod token;
mod userinfo;
mod web;

pub use authorize::redirect::{BadRedirectUri, check_registration as check_redirect_uri};
pub use config::{BadConfig, IssuerConfig, MutualTls, ScopeDescription};
pub use issuer::{Issuer, IssuerParts, StartError};
pub use keys::KeysError;
pub use mint::{AssertionRequest, MintError, SecurityEvent};
pub use userinfo::{UserinfoError, userinfo};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use std::{net::IpAddr, sync::Arc};
use trigate_core::certificate::ClientCertificate;

/// Who is at the other end, as the hall's listener knows it; inserted into each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The client certificate whose key the caller has proven in the handshake, or that a believed proxy tells of; inserted
/// into each request's extensions where there is one.
#[derive(Clone, Debug)]
pub struct PresentedCertificate {
    pub certificate: Arc<ClientCertificate>,
    /// Operators took it back. What authorities say of it is its `fault`.
    pub revoked: bool,
}

/// What a client that lives in a browser calls from its own origin.
fn for_browsers() -> Router<Arc<Issuer>> {
    Router::new()
        .route("/oauth/token", post(token::endpoint).options(web::cors::preflight))
        .route("/oauth/revoke", post(revoke::endpoint).options(web::cors::preflight))
        .route_layer(middleware::map_response(web::cors::allow))
}

/// What clients call by themselves, for the listener that asks for certificates: no page, so that no browser asks a person
/// which certificate to show. // RFC 8705 §5
pub fn client_router(issuer: Arc<Issuer>) -> Router {
    let headers = web::headers::Always::of(&issuer);
    Router::new()
        .route("/oauth/token", post(token::endpoint))
        .route("/oauth/revoke", post(revoke::endpoint))
        .route("/oauth/introspect", post(introspect::endpoint))
        .with_state(issuer)
        .layer(middleware::map_response_with_state(headers, web::headers::fill))
}

/// Every endpoint of the issuer as one service; the hall mounts `/oauth/userinfo` beside it, behind the gates.
pub fn router(issuer: Arc<Issuer>) -> Router {
    let headers = web::headers::Always::of(&issuer);
    Router::new()
        .route("/", get(home::home))
        .route("/oauth/authorize", get(authorize::by_get).post(authorize::by_post))
        .route("/login", get(login::show).post(login::submit))
        .route("/consent", get(consent::show).post(consent::submit))
        .route("/logout", get(logout::show).post(logout::submit))
        .route("/oauth/introspect", post(introspect::endpoint))
        .merge(for_browsers())
        .route("/.well-known/jwks.json", get(jwks::document))
        .route("/.well-known/openid-configuration", get(metadata::document))
        .route("/.well-known/oauth-authorization-server", get(metadata::document))
        .route("/static/{file}", get(web::assets::serve))
        .fallback(web::page::not_found)
        .with_state(issuer)
        .layer(middleware::map_response_with_state(headers, web::headers::fill))
}
