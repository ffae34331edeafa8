//! What is an application, and what are the keys that name it? An application is registered software with a plan.

use crate::{
    change::Position,
    credential::{Digest, Environment},
    id::{AppId, KeyId},
    oauth::ScopeSet,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Registered software. Its plan's rate is defined in the configuration, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    pub id: AppId,
    /// Shown to people: `Acme Weather App`.
    pub name: String,
    pub plan: String,
    pub state: State,
    pub created_at: Timestamp,
}

/// Disabling is state and can be undone; a revocation never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Enabled,
    Disabled,
}

/// What is known of an API key; never the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub id: KeyId,
    pub application: AppId,
    /// SHA-256 of the whole key: how a presented key is found.
    pub digest: Digest,
    pub label: String,
    pub environment: Environment,
    /// Narrows what a request with this key may do; `None` leaves it to the routes.
    pub scopes: Option<ScopeSet>,
    /// Networks in CIDR form that the key may be used from; empty means any.
    pub allowed_addresses: Vec<String>,
    pub not_before: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// The header that an imported key arrives in; `None` means `X-API-Key`.
    pub header: Option<String>,
    pub state: State,
    pub created_at: Timestamp,
    /// Seen where it must not be (a URL): its owner should replace it.
    pub exposed_at: Option<Timestamp>,
    /// Revoked for ever; set by the store alone.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
    /// Feed position of its birth: a revocation of the application at a later position hits it.
    pub born: Position,
}
