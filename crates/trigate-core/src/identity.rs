//! Who proved what? The outcome of authentication, in words that the gates, the records and the upstream share.

use crate::{
    id::{AppId, ClientId, GrantId, SessionId, TokenId, UserId},
    oauth::ScopeSet,
    proof::Confirmation,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What kind of party a credential speaks for. An API key is no identity: it names an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Identity {
    /// A person, through a client that they allowed.
    User { id: UserId, email: Option<String> },
    /// A client that speaks for itself (RFC 6749 §4.4); never a user.
    Service { client: ClientId },
    /// The holder of a certificate's private key.
    Machine { name: String },
}

impl Identity {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::Service { .. } => "service",
            Self::Machine { .. } => "machine",
        }
    }
}

/// The facts of a verified access token, from a JWT, a look-up or an introspection answer alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    pub issuer: Arc<str>,
    pub subject: String,
    pub client: Option<ClientId>,
    pub application: Option<AppId>,
    pub identity: Identity,
    pub token: TokenId,
    pub session: Option<SessionId>,
    pub grant: Option<GrantId>,
    pub audiences: Vec<String>,
    pub scopes: ScopeSet,
    pub roles: Vec<String>,
    pub issued_at: Option<Timestamp>,
    pub not_before: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub authenticated_at: Option<Timestamp>,
    pub acr: Option<String>,
    /// Feed position at minting; only our own tokens carry it.
    pub position: Option<crate::Position>,
    /// The actor of a delegated token (RFC 8693 §4.1).
    pub actor: Option<String>,
    pub kid: Option<String>,
    /// The key that its holder must show; `None` for a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Box<Confirmation>>,
}

/// How it was shown that a token came from the one it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderProof {
    /// RFC 9449.
    Dpop,
    /// RFC 8705 §3.
    Certificate,
    DpopAndCertificate,
}

/// Who asks, told to code behind the gates (userinfo, the desk's API): it never sees a credential.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub application: Option<AppId>,
    pub client: Option<ClientId>,
    pub session: Option<SessionId>,
    pub grant: Option<GrantId>,
    pub scopes: ScopeSet,
    pub roles: Vec<String>,
    pub request: crate::id::RequestId,
    pub address: std::net::IpAddr,
}
