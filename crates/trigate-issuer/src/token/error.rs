//! What the token endpoint says when it says no (RFC 6749 §5.2), in one table.

use super::{BadForm, client_auth::ClientAuthError};
use crate::{
    mint::MintError,
    web::{incoming::BadBody, json::Wire},
};
use http::StatusCode;
use trigate_core::{oauth::ErrorCode, port::StoreError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    Form(BadForm),
    Missing(&'static str),
    Client(ClientAuthError),
    GrantUnknown,
    GrantNotAllowed,
    /// Unknown, used, expired, another client's, wrong verifier: a guesser learns nothing.
    Grant,
    Scope,
    Target,
    /// Missing where it is needed, bent, stale, used: RFC 9449 §5.
    Proof,
    /// The client's tokens are bound to a certificate, and none came that could serve. // RFC 8705 §3.4
    CertificateMissing,
    /// With the nonce to use. // RFC 9449 §8
    NonceWanted(String),
    Unavailable,
    Internal,
}

impl TokenError {
    pub(super) fn wire(&self) -> Wire {
        let bad = |code, description| Wire::new(StatusCode::BAD_REQUEST, code, description);
        match self {
            Self::Form(form) => form.wire(),
            Self::Missing(description) => bad(ErrorCode::InvalidRequest, description),
            Self::Client(error) => error.wire(),
            Self::GrantUnknown => bad(
                ErrorCode::UnsupportedGrantType,
                "grant_type must be authorization_code, client_credentials or refresh_token",
            ),
            Self::GrantNotAllowed => bad(ErrorCode::UnauthorizedClient, "this client may not use this grant_type"),
            Self::Grant => bad(ErrorCode::InvalidGrant, "the code or refresh token is not valid for this request"),
            Self::Scope => bad(ErrorCode::InvalidScope, "the scope is more than was allowed"),
            Self::Target => bad(ErrorCode::InvalidTarget, "the resource is not one that was allowed"),
            Self::Proof => bad(ErrorCode::InvalidDpopProof, "a DPoP proof is needed that is good for this request"),
            Self::CertificateMissing => bad(ErrorCode::InvalidRequest, "this client must show a client certificate"),
            Self::NonceWanted(_) => bad(ErrorCode::UseDpopNonce, "the DPoP proof must carry the nonce of this answer"),
            Self::Unavailable => unavailable(),
            Self::Internal => internal(),
        }
    }
}

pub(crate) fn unavailable() -> Wire {
    let wire = Wire::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable, "try again later");
    Wire { retry_after_s: Some(1), ..wire }
}

pub(crate) const fn internal() -> Wire {
    Wire::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError, "the server failed; nothing was given out")
}

impl BadForm {
    pub(crate) const fn wire(self) -> Wire {
        let code = ErrorCode::InvalidRequest;
        match self {
            Self::Body(BadBody::TooLarge) => Wire::new(StatusCode::PAYLOAD_TOO_LARGE, code, "the request is too large"),
            Self::Body(BadBody::NotForm) => {
                Wire::new(StatusCode::BAD_REQUEST, code, "the body must be application/x-www-form-urlencoded")
            }
            Self::Body(BadBody::Malformed) => Wire::new(StatusCode::BAD_REQUEST, code, "the body is malformed"),
            Self::Query => Wire::new(StatusCode::BAD_REQUEST, code, "parameters must not be in the URL"),
            Self::Repeated => Wire::new(StatusCode::BAD_REQUEST, code, "a parameter came more than once"),
        }
    }
}

impl From<BadBody> for TokenError {
    fn from(bad: BadBody) -> Self {
        Self::Form(BadForm::Body(bad))
    }
}

impl From<BadForm> for TokenError {
    fn from(bad: BadForm) -> Self {
        Self::Form(bad)
    }
}

impl From<ClientAuthError> for TokenError {
    fn from(error: ClientAuthError) -> Self {
        Self::Client(error)
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "token endpoint: the store did not do it");
        match error {
            StoreError::Unavailable(_) => Self::Unavailable,
            // A user, client or grant that went away in this very moment.
            StoreError::Conflict(_) | StoreError::Missing(_) => Self::Grant,
            StoreError::Corrupt(_) => Self::Internal,
        }
    }
}

impl From<MintError> for TokenError {
    fn from(error: MintError) -> Self {
        match error {
            MintError::Store(error) => error.into(),
            error => {
                tracing::error!(%error, "token endpoint: the token could not be made");
                Self::Internal
            }
        }
    }
}
