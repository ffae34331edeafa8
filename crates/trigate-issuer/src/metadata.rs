//! What can this server do, and where? RFC 8414 and OpenID Connect Discovery, from one table.

use crate::{Issuer, account::session::ACR_PASSWORD, config::PUBLIC_MAX_AGE_S};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use serde_json::{Value, json};
use std::sync::Arc;
use trigate_core::jose::Algorithm;

pub(crate) async fn document(State(issuer): State<Arc<Issuer>>) -> Response {
    public_json(&metadata(&issuer))
}

/// Anybody may read it, from any page, and keep it for five minutes.
pub(crate) fn public_json(document: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CACHE_CONTROL, format!("public, max-age={PUBLIC_MAX_AGE_S}")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*".to_owned()),
    ];
    (headers, document.to_string()).into_response()
}

fn metadata(issuer: &Issuer) -> Value {
    let base = &issuer.config.issuer;
    let at = |path: &str| format!("{base}{path}");
    let mut client_auth = vec!["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
    if issuer.config.mtls.is_some() {
        client_auth.extend(["tls_client_auth", "self_signed_tls_client_auth"]); // RFC 8705 §2.1.1, §2.2.1
    }
    let confidential = client_auth.get(1..).unwrap_or_default();
    let scopes: Vec<&str> = issuer.config.scopes.iter().map(|scope| scope.name.as_str()).collect();
    let mut metadata = json!({
        "issuer": base,
        "authorization_endpoint": at("/oauth/authorize"),
        "token_endpoint": at("/oauth/token"),
        "introspection_endpoint": at("/oauth/introspect"),
        "revocation_endpoint": at("/oauth/revoke"),
        "userinfo_endpoint": at("/oauth/userinfo"),
        "end_session_endpoint": at("/logout"),
        "jwks_uri": at("/.well-known/jwks.json"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": client_auth,
        "token_endpoint_auth_signing_alg_values_supported": Algorithm::ALL,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": Algorithm::ALL,
        "revocation_endpoint_auth_methods_supported": client_auth,
        "revocation_endpoint_auth_signing_alg_values_supported": Algorithm::ALL,
        "dpop_signing_alg_values_supported": issuer.config.dpop_algorithms, // RFC 9449 §5.1
        "authorization_response_iss_parameter_supported": true, // RFC 9207 §3
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [issuer.config.algorithm],
        "claims_supported": ["iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "name", "email", "email_verified"],
        "claim_types_supported": ["normal"],
        "acr_values_supported": [ACR_PASSWORD],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "ui_locales_supported": ["en"],
        "tls_client_certificate_bound_access_tokens": issuer.config.mtls.is_some(), // RFC 8705 §3.3
    });
    if let (Some(alias), Some(metadata)) = (issuer.config.mtls_alias(), metadata.as_object_mut()) {
        metadata.insert("mtls_endpoint_aliases".to_owned(), aliases(alias));
    }
    metadata
}

/// RFC 8705 §5: the endpoints that clients call by themselves.
fn aliases(base: &str) -> Value {
    json!({
        "token_endpoint": format!("{base}/oauth/token"),
        "introspection_endpoint": format!("{base}/oauth/introspect"),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "userinfo_endpoint": format!("{base}/oauth/userinfo"),
    })
}
