//! How does the endpoint answer? By redirect to the proven redirect URI, or, while nothing is proven, by a page that
//! leads nowhere.

use crate::{
    Issuer,
    web::{self, Params, page},
};
use axum::response::Response;
use http::StatusCode;
use trigate_core::{oauth::ErrorCode, port::StoreError};
use url::form_urlencoded::Serializer;

/// Where answers to the client go.
#[derive(Clone)]
pub(crate) struct Answer {
    redirect_uri: String,
    state: Option<String>,
    issuer: String,
}

impl Answer {
    pub(super) fn new(issuer: &Issuer, redirect_uri: String, params: &Params) -> Self {
        // Of two states neither is the client's.
        let state = params.get("state").filter(|_| !params.is_repeated("state")).map(str::to_owned);
        Self { redirect_uri, state, issuer: issuer.config.issuer.clone() }
    }

    pub(crate) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn with_code(&self, code: &str) -> Response {
        self.with(&[("code", code)])
    }

    pub(crate) fn with_denial(&self) -> Response {
        self.with_error(ClientError::AccessDenied)
    }

    pub(super) fn with_error(&self, error: ClientError) -> Response {
        let (code, description) = error.wire();
        self.with(&[("error", code.as_str()), ("error_description", description)])
    }

    fn with(&self, params: &[(&str, &str)]) -> Response {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(params);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &self.issuer); // RFC 9207 §2: in success and in error
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        web::see_other(&format!("{}{joint}{}", self.redirect_uri, query.finish()))
    }
}

/// Why the endpoint stops.
pub(crate) enum Stop {
    /// Nothing about the client is proven: tell the person, redirect nowhere.
    Page(PageError),
    Redirect(Box<Answer>, ClientError),
    Unavailable,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "authorization: the store did not answer");
        Self::Unavailable
    }
}

impl Stop {
    pub(crate) fn into_response(self, issuer: &Issuer) -> Response {
        match self {
            Self::Page(error) => error.page(issuer),
            Self::Redirect(answer, error) => answer.with_error(error),
            Self::Unavailable => page::unavailable(issuer),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageError {
    Malformed,
    TwoPlaces,
    ClientUnknown,
    ClientRepeated,
    RedirectMissing,
    RedirectRepeated,
    RedirectUnregistered,
}

impl PageError {
    /// The code, the parameter at fault, and the sentence for the person.
    const fn wire(self) -> (ErrorCode, &'static str, &'static str) {
        use ErrorCode::{InvalidClient, InvalidRequest};
        match self {
            Self::Malformed => (InvalidRequest, "", "The link that brought you here is damaged."),
            Self::TwoPlaces => {
                (InvalidRequest, "", "The request says one thing in its address and another in its body.")
            }
            Self::ClientUnknown => {
                (InvalidClient, "client_id", "The app that sent you here is not known to us, or it is switched off.")
            }
            Self::ClientRepeated => (InvalidRequest, "client_id", "The request names more than one app."),
            Self::RedirectMissing => {
                (InvalidRequest, "redirect_uri", "The request does not say where to go afterwards.")
            }
            Self::RedirectRepeated => {
                (InvalidRequest, "redirect_uri", "The request names more than one place to go afterwards.")
            }
            Self::RedirectUnregistered => (
                InvalidRequest,
                "redirect_uri",
                "The request wants to send you to an address that this app has not registered.",
            ),
        }
    }

    fn page(self, issuer: &Issuer) -> Response {
        let (code, parameter, text) = self.wire();
        page::Problem {
            status: StatusCode::BAD_REQUEST,
            title: "This request cannot go on",
            text,
            hint: "For your safety we stopped here. Go back to the app and try again. If it happens again, tell the people who make the app.",
            code: code.as_str(),
            parameter,
        }
        .page(issuer)
    }
}

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientError {
    Repeated,
    RequestObject,
    RequestUri,
    TooLong,
    ResponseTypeMissing,
    ResponseType,
    ResponseMode,
    GrantNotAllowed,
    ChallengeMissing,
    ChallengeMethod,
    ChallengeForm,
    Key,
    ScopeMissing,
    Scope,
    Target,
    Prompt,
    MaxAge,
    Hint,
    LoginRequired,
    ConsentRequired,
    AccessDenied,
    Withdrawn,
}

impl ClientError {
    /// RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6, RFC 8707 §2.
    const fn wire(self) -> (ErrorCode, &'static str) {
        use ErrorCode::*;
        match self {
            Self::Repeated => (InvalidRequest, "a parameter came more than once"),
            Self::RequestObject => (RequestNotSupported, "request objects are not supported"),
            Self::RequestUri => (RequestUriNotSupported, "request_uri is not supported"),
            Self::TooLong => (InvalidRequest, "state or nonce is too long"),
            Self::ResponseTypeMissing => (InvalidRequest, "response_type is missing"),
            Self::ResponseType => (UnsupportedResponseType, "response_type must be code"),
            Self::ResponseMode => (InvalidRequest, "response_mode must be query"),
            Self::GrantNotAllowed => (UnauthorizedClient, "this client may not use the authorization code grant"),
            Self::ChallengeMissing => (InvalidRequest, "code_challenge is missing (PKCE is required)"),
            Self::ChallengeMethod => (InvalidRequest, "code_challenge_method must be S256"),
            Self::ChallengeForm => (InvalidRequest, "code_challenge must be 43 characters of base64url"),
            Self::Key => (InvalidRequest, "dpop_jkt must be a SHA-256 thumbprint in base64url"),
            Self::ScopeMissing => (InvalidScope, "scope is missing"),
            Self::Scope => (InvalidScope, "the client may not ask for this scope"),
            Self::Target => (InvalidTarget, "the client may not ask for this resource"),
            Self::Prompt => (InvalidRequest, "prompt must be none, or of login and consent"),
            Self::MaxAge => (InvalidRequest, "max_age must be a number of seconds"),
            Self::Hint => (InvalidRequest, "id_token_hint is not an ID token of this issuer"),
            Self::LoginRequired => (LoginRequired, "the person must log in"),
            Self::ConsentRequired => (ConsentRequired, "the person must be asked"),
            Self::AccessDenied => (AccessDenied, "the person said no"),
            Self::Withdrawn => (UnauthorizedClient, "the client or its application is switched off"),
        }
    }
}
