//! Authorization beyond scopes and roles: the same port for both, so that policies can be added without moving walls.

use crate::{id::AppId, identity::Identity, oauth::ScopeSet};

/// What a policy may judge by. Pure: no look-ups.
#[derive(Debug)]
pub struct Question<'a> {
    pub route: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    /// Of the caller: the peer's, or the one that trusted proxies tell.
    pub address: std::net::IpAddr,
    pub application: Option<&'a AppId>,
    pub identity: Option<&'a Identity>,
    /// Of the token, where it is not our own: two issuers may call two people by one name.
    pub issuer: Option<&'a str>,
    pub client: Option<&'a str>,
    pub acr: Option<&'a str>,
    pub scopes: &'a ScopeSet,
    pub roles: &'a [String],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyVerdict {
    Allow { policies: Vec<String> },
    Deny { reason: crate::reason::Reason, policies: Vec<String> },
}

pub trait Policy: Send + Sync + std::fmt::Debug {
    fn judge(&self, question: &Question<'_>) -> PolicyVerdict;
}
