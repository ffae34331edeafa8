//! What is an OAuth client, and what may it ask for? (RFC 6749 §2, RFC 7591 §2)

use crate::{
    application::State,
    certificate::CertificateRule,
    change::Position,
    credential::Digest,
    id::{AppId, ClientId},
    oauth::ScopeSet,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A registered client with the policy that the issuer applies to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub id: ClientId,
    pub application: AppId,
    /// Shown on the consent page.
    pub name: String,
    pub authentication: ClientAuthentication,
    /// Current secrets; two while one replaces the other.
    pub secrets: Vec<Digest>,
    /// Public keys for `private_key_jwt`: a JWK set as JSON.
    pub jwks: Option<serde_json::Value>,
    /// Compared as exact strings; a loopback address may vary its port (RFC 8252 §7.3).
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    pub grants: Vec<GrantType>,
    /// All that the client may ever ask for.
    pub scopes: ScopeSet,
    /// Roles of the client itself, for client-credentials tokens.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Audiences that its tokens may be for (RFC 8707); the first is the default.
    pub resources: Vec<String>,
    /// This client is a resource server for these audiences: it may introspect tokens meant for them.
    pub introspects: Vec<String>,
    pub token_form: TokenForm,
    /// Seconds that an access token lives.
    pub access_token_life_s: u32,
    /// Seconds that a refresh-token line lives; `None` gives out no refresh tokens.
    pub refresh_token_life_s: Option<u32>,
    pub rotate_refresh_tokens: bool,
    /// Seconds in which a repeated refresh gets the same successor again; 0 refuses repetition.
    pub refresh_window_s: u32,
    pub pkce: Pkce,
    /// `false` only for first-party clients: no consent page.
    pub asks_consent: bool,
    /// RFC 9449 §5.2: without a proof it gets no token.
    #[serde(default)]
    pub dpop_bound_access_tokens: bool,
    /// What its certificate must say or be.
    #[serde(default)]
    pub certificate: Option<CertificateRule>,
    /// RFC 8705 §3.4: its access tokens are bound to the certificate that it shows; without one it gets none.
    #[serde(default)]
    pub tls_client_certificate_bound_access_tokens: bool,
    pub state: State,
    pub created_at: Timestamp,
    pub born: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// A public client (RFC 6749 §2.1).
    None,
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    /// A certificate of an authority that the issuer trusts. // RFC 8705 §2.1
    TlsClientAuth,
    /// A certificate that was registered. // RFC 8705 §2.2
    SelfSignedTlsClientAuth,
}

impl ClientAuthentication {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
        }
    }

    /// Is it proven in the handshake and nowhere else?
    pub const fn is_by_certificate(self) -> bool {
        matches!(self, Self::TlsClientAuth | Self::SelfSignedTlsClientAuth)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    RefreshToken,
}

impl GrantType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenForm {
    #[default]
    Jwt,
    Opaque,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pkce {
    #[default]
    Required,
    /// The named override, for confidential clients alone.
    OptionalForConfidentialClient,
}

impl Client {
    pub fn is_public(&self) -> bool {
        self.authentication == ClientAuthentication::None
    }

    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }
}
