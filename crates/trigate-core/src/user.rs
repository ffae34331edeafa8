//! Who is a person to Trigate: the account, the login, what was allowed to whom.

use crate::{
    application::State,
    change::Position,
    credential::Digest,
    id::{AppId, ClientId, GrantId, SessionId, UserId},
    oauth::ScopeSet,
    proof::Confirmation,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub email_verified: bool,
    pub name: String,
    pub roles: Vec<String>,
    pub state: State,
    pub created_at: Timestamp,
}

/// The form by which accounts are compared: no one gets a second counter by writing a name differently (L03).
pub fn login_name(presented: &str) -> String {
    presented.trim().to_lowercase()
}

/// One login of one person in one browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    pub cookie: Digest,
    /// When the person last proved who they are (claim `auth_time`).
    pub authenticated_at: Timestamp,
    /// Methods used (RFC 8176): `pwd`.
    pub amr: Vec<String>,
    pub acr: String,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// The absolute end; idle life is judged from `last_seen_at`.
    pub expires_at: Timestamp,
    pub address: String,
    pub agent: String,
    pub born: Position,
}

/// What a person allowed a client, remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub user: UserId,
    pub client: ClientId,
    pub scopes: ScopeSet,
    pub given_at: Timestamp,
}

/// What one authorization gave one client; tokens carry its id as `gid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub user: UserId,
    pub client: ClientId,
    pub application: AppId,
    pub session: Option<SessionId>,
    pub scopes: ScopeSet,
    /// Audiences of its access tokens (RFC 8707).
    pub resources: Vec<String>,
    pub nonce: Option<String>,
    /// The key that must redeem the code. // RFC 9449 §10
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop_jkt: Option<String>,
    /// The key to which a public client's refresh tokens are bound. // RFC 9449 §5
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Box<Confirmation>>,
    pub authenticated_at: Timestamp,
    pub amr: Vec<String>,
    pub acr: String,
    pub created_at: Timestamp,
    pub revoked: bool,
    pub born: Position,
}
