//! Codes, refresh tokens and opaque tokens: each verb is one whole transition, atomic by contract.

use super::{StoreError, Stored};
use crate::{
    act::Act,
    change::Position,
    client::Client,
    credential::Digest,
    id::{ClientId, GrantId, UserId},
    identity::TokenFacts,
    oauth::ScopeSet,
    proof::Confirmation,
    time::Timestamp,
    user::{Grant, User},
};
use async_trait::async_trait;

/// A code to be remembered, with the grant that it will open.
#[derive(Clone, Debug)]
pub struct NewCode {
    pub digest: Digest,
    pub grant: Grant,
    pub redirect_uri: String,
    /// base64url(SHA-256(verifier)), RFC 7636 §4.2; `None` only where the client's policy allows it.
    pub challenge: Option<String>,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct RedeemCode {
    pub digest: Digest,
    pub client: ClientId,
    /// Compared when present (OAuth 2.1 lets it be absent).
    pub redirect_uri: Option<String>,
    /// S256 of the presented verifier.
    pub challenge: Option<String>,
    pub now: Timestamp,
    /// Keys that the request has proven.
    pub shown: Confirmation,
    /// Refresh tokens of this grant want these keys for ever.
    pub binds: Option<Box<Confirmation>>,
    /// Stored when the code is good.
    pub refresh: Option<NewRefresh>,
}

#[derive(Clone, Debug)]
pub struct NewRefresh {
    pub digest: Digest,
    pub expires_at: Timestamp,
}

/// All that a minter needs, read in the transaction that allowed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuance {
    pub grant: Grant,
    pub user: User,
    pub client: Client,
    /// Scopes of the access token: the grant's, or fewer.
    pub scopes: ScopeSet,
    /// Feed position that the token must carry.
    pub position: Position,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CodeOutcome {
    Redeemed(Box<Issuance>),
    /// The code was used before: its grant is now revoked, with all tokens (RFC 6749 §4.1.2). Wait for `everywhere`.
    Replayed {
        grant: GrantId,
    },
    Refused(CodeRefusal),
}

/// All of these are `invalid_grant` outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeRefusal {
    Unknown,
    Expired,
    OtherClient,
    OtherRedirect,
    /// Not the key that the authorization request named (RFC 9449 §10).
    OtherKey,
    /// Verifier wrong, missing, or sent although no challenge was (RFC 9700 §2.1.1).
    Verifier,
    GrantRevoked,
    UserUnusable,
    ClientUnusable,
}

#[derive(Clone, Debug)]
pub struct RotateRefresh {
    pub digest: Digest,
    pub client: ClientId,
    pub now: Timestamp,
    /// Keys that the request has proven.
    pub shown: Confirmation,
    /// Fewer scopes than the grant's, if asked (RFC 6749 §6).
    pub scopes: Option<ScopeSet>,
    /// `None`: the client does not rotate; the token stays.
    pub successor: Option<NewRefresh>,
    /// The successor's text, sealed under a key derived from the predecessor: a repeated request within the window gets
    /// it again. Erased after the window.
    pub sealed_successor: Vec<u8>,
    /// Seconds; 0 refuses repetition.
    pub window_s: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RefreshOutcome {
    Rotated(Box<Issuance>),
    /// A repetition within the window: the same successor, from its seal.
    Again {
        issuance: Box<Issuance>,
        sealed_successor: Vec<u8>,
    },
    /// Used again after the window: the whole line is revoked now (RFC 9700 §4.14.2). Wait for `everywhere`.
    Reused {
        grant: GrantId,
    },
    Refused(RefreshRefusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshRefusal {
    Unknown,
    Expired,
    OtherClient,
    GrantRevoked,
    UserUnusable,
    ClientUnusable,
    /// Not the key that the line is bound to (RFC 9449 §5, RFC 8705 §4).
    OtherKey,
    /// More scope than granted: `invalid_scope`.
    ScopeExceeded,
}

/// An opaque access token at rest.
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRecord {
    pub digest: Digest,
    pub facts: TokenFacts,
}

#[async_trait]
pub trait Grants: Send + Sync {
    async fn issue_code(&self, act: Act, new: NewCode) -> Stored<Grant>;
    /// Exactly one call per code ever returns `Redeemed`.
    async fn redeem_code(&self, act: Act, redeem: RedeemCode) -> Stored<CodeOutcome>;
    /// Exactly one successor per refresh token ever exists.
    async fn rotate_refresh_token(&self, act: Act, rotate: RotateRefresh) -> Stored<RefreshOutcome>;
    /// Finds the line that a refresh token belongs to, without using it: for revocation and introspection.
    async fn find_refresh_grant(&self, digest: &Digest) -> Result<Option<(Grant, Timestamp)>, StoreError>;
    async fn find_grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreError>;
    async fn list_grants(&self, user: &UserId) -> Result<Vec<Grant>, StoreError>;

    /// A client asks for itself. `Conflict` when it is disabled. The committed position goes into the token.
    async fn record_mint(&self, act: Act, client: &ClientId) -> Stored<Client>;
    async fn store_opaque_token(&self, act: Act, record: OpaqueRecord) -> Stored<()>;
    async fn find_opaque_token(&self, digest: &Digest) -> Result<Option<TokenFacts>, StoreError>;
    /// The store's own word on a token of ours: `false` once it, its session, grant, user, client or application was
    /// revoked, disabled or unknown. For introspection, which asks the truth itself and not a gate's memory. `facts`
    /// comes back narrowed to what still holds.
    async fn judge_token(&self, facts: TokenFacts, now: Timestamp) -> Result<Option<TokenFacts>, StoreError>;
}
