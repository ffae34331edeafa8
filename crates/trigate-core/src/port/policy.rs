//! Authorization beyond scopes and roles: the same port for both, so that policies can be added without moving walls.

use crate::{id::AppId, identity::Identity, oauth::ScopeSet};

/// What a policy may judge by. Pure: no look-ups.
#[derive(Debug)]
pub struct Question<'a> {
    pub route: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub application: Option<&'a AppId>,
    pub identity: Option<&'a Identity>,
    pub scopes: &'a ScopeSet,
    pub roles: &'a [String],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyVerdict {
    Allow { policies: Vec<String> },
    Deny { reason: crate::reason::Reason, policies: Vec<String> },
}

pub trait Policy: Send + Sync {
    fn judge(&self, question: &Question<'_>) -> PolicyVerdict;
}
