//! Rules about the users, clients and sessions of other issuers: by issuer first, since a name means something only there.
//!
//! Trusts that whoever made the rule was entitled to speak for that issuer. Never lets one issuer's rule reach another's
//! tokens.

use super::rules::{GRACE_S, Rule};
use crate::sharded::Sharded;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use trigate_core::Timestamp;

/// Issuer to name to rule. Two looks and no allocation for a request.
#[derive(Default)]
pub(super) struct ForeignRules(Sharded<String, HashMap<String, Rule, RandomState>>);

impl ForeignRules {
    pub fn add(&self, issuer: String, name: String, rule: Rule) {
        self.0.change(issuer, |names| names.entry(name).or_default().tighten(rule));
    }

    /// Was a token with this `iat` made before the rule? A clock ahead by the leeway says more than was true.
    pub fn hits(&self, issuer: &str, name: &str, issued_at: Option<Timestamp>, leeway_s: u32) -> bool {
        let hit = |rule: &Rule| rule.hits_issued_at(issued_at, leeway_s);
        self.0.with(issuer, |names| names.get(name).is_some_and(hit)) == Some(true)
    }

    pub fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, names| {
            names.retain(|_, rule| rule.keep_until.plus_seconds(GRACE_S) >= now);
            !names.is_empty()
        });
    }
}
