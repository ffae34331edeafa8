//! What changed, in which order? The feed that every gate follows. A gate that has applied position p knows of every
//! change up to p.

use crate::{
    application::{Application, KeyRecord, State},
    credential::ChecksumKey,
    id::{AppId, ClientId, GrantId, KeyId, SessionId, TenantId, TokenId, UserId},
    key::{CertificateRecord, SigningKeyRecord},
    oauth::ScopeSet,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A place in the feed. Tokens carry the position at their minting: a rule at position p hits tokens minted before p,
/// whatever the clocks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub position: Position,
    pub tenant: TenantId,
    pub at: Timestamp,
    pub what: What,
}

/// A token's revocation, in few bytes: there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    pub position: Position,
    pub id: TokenId,
    pub keep_until: Timestamp,
}

impl Change {
    pub const fn revokes_token(&self) -> bool {
        matches!(self.what, What::Revoked { target: Target::Token { .. }, .. })
    }
}

/// What changed. A revocation is never undone; disabling is state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Made or changed: the gate replaces what it knew under this id.
    Application {
        record: Application,
    },
    Key {
        record: KeyRecord,
    },
    Client {
        record: ClientFace,
    },
    SigningKey {
        record: PublicKey,
    },
    /// Disabled or enabled. (Applications, keys and clients carry their state in their records.)
    UserState {
        user: UserId,
        state: State,
    },
    /// What a token minted before this position may no longer claim. The gate takes it away from the token.
    RolesNarrowed {
        user: UserId,
        roles: Vec<String>,
        keep_until: Timestamp,
    },
    ClientRolesNarrowed {
        client: ClientId,
        roles: Vec<String>,
        keep_until: Timestamp,
    },
    ClientScopesNarrowed {
        client: ClientId,
        scopes: ScopeSet,
        keep_until: Timestamp,
    },
    GrantNarrowed {
        grant: GrantId,
        scopes: ScopeSet,
        keep_until: Timestamp,
    },
    /// Revoked: every credential of the target that was made before this position.
    Revoked {
        target: Target,
        keep_until: Timestamp,
    },
}

/// What can be revoked. `keep_until` of the change says when no such credential can be alive any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    Token {
        id: TokenId,
    },
    /// `issuer` is `None` for our own.
    Session {
        id: SessionId,
        issuer: Option<String>,
    },
    Grant {
        id: GrantId,
    },
    /// Everything issued about this user before now; a login afterwards works. `issuer` is `None` for our own.
    User {
        id: UserId,
        issuer: Option<String>,
    },
    Client {
        id: ClientId,
        issuer: Option<String>,
    },
    Application {
        id: AppId,
    },
    Key {
        id: KeyId,
    },
    /// By SHA-256 of the certificate (DER, lower-case hexadecimal).
    Certificate {
        fingerprint: String,
    },
    /// By its authority's name and number.
    CertificateSerial {
        issuer: String,
        /// Lower-case hexadecimal without leading zeros.
        serial: String,
    },
    /// Every certificate of this public key, by SHA-256 of its SPKI (lower-case hexadecimal).
    CertificateKey {
        spki: String,
    },
    /// Every certificate of this SPIFFE id that was made before now.
    SpiffeId {
        id: String,
    },
    SigningKey {
        kid: String,
    },
}

impl Target {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token",
            Self::Session { .. } => "session",
            Self::Grant { .. } => "grant",
            Self::User { .. } => "user",
            Self::Client { .. } => "client",
            Self::Application { .. } => "application",
            Self::Key { .. } => "key",
            Self::Certificate { .. } => "certificate",
            Self::CertificateSerial { .. } => "certificate_serial",
            Self::CertificateKey { .. } => "certificate_key",
            Self::SpiffeId { .. } => "spiffe_id",
            Self::SigningKey { .. } => "signing_key",
        }
    }

    /// The foreign issuer whose word the id is.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::Session { issuer, .. } | Self::User { issuer, .. } | Self::Client { issuer, .. } => issuer.as_deref(),
            _ => None,
        }
    }

    /// The target's id as text, for acts and answers.
    pub fn id(&self) -> String {
        match self {
            Self::Token { id } => id.to_string(),
            Self::Session { id, .. } => id.to_string(),
            Self::Grant { id } => id.to_string(),
            Self::User { id, .. } => id.to_string(),
            Self::Client { id, .. } => id.to_string(),
            Self::Application { id } => id.to_string(),
            Self::Key { id } => id.to_string(),
            Self::Certificate { fingerprint } => fingerprint.clone(),
            Self::CertificateSerial { issuer, serial } => format!("{serial} of {issuer}"),
            Self::CertificateKey { spki } => spki.clone(),
            Self::SpiffeId { id } => id.clone(),
            Self::SigningKey { kid } => kid.clone(),
        }
    }
}

/// What a gate may know of a client: no secret, no redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFace {
    pub id: ClientId,
    pub application: AppId,
    pub name: String,
    pub state: State,
}

/// What a gate may know of a signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    pub kid: String,
    pub jwk: serde_json::Value,
    pub published_until: Option<Timestamp>,
    pub revoked: bool,
}

impl From<&SigningKeyRecord> for PublicKey {
    fn from(record: &SigningKeyRecord) -> Self {
        Self {
            kid: record.kid.clone(),
            jwk: record.public_jwk.clone(),
            published_until: record.published_until,
            revoked: record.revoked,
        }
    }
}

/// All that a gate of one tenant knows at one position; the feed's tail from there keeps it true.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub position: Position,
    pub applications: Vec<Application>,
    pub keys: Vec<KeyRecord>,
    pub clients: Vec<ClientFace>,
    pub signing_keys: Vec<PublicKey>,
    pub disabled_users: Vec<UserId>,
    /// Revocations and narrowings that can still hit a living credential, in the feed's order.
    pub standing: Vec<Change>,
    pub opaque_checksum: Option<ChecksumKey>,
}

/// A certificate's revocation in the snapshot comes as a standing change; this names what was revoked.
pub fn certificate_target(record: &CertificateRecord) -> Target {
    Target::Certificate { fingerprint: record.fingerprint.clone() }
}
