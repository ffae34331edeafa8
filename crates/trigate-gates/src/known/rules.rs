//! Revocation and narrowing rules by target. Several rules on one target are one rule that is as strict as all.

use crate::sharded::Sharded;
use std::{collections::HashMap, hash::Hash};
use trigate_core::{Position, Timestamp};

/// What a rule hits: credentials born before `position` (ours), or issued at or before `at` (foreign).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub position: Position,
    pub at: Timestamp,
    pub keep_until: Timestamp,
}

impl Rule {
    /// INVARIANT: strictest wins in each part, so no order and no repetition of rules lets a credential live.
    pub(super) fn tighten(&mut self, other: Self) {
        self.position = self.position.max(other.position);
        self.at = self.at.max(other.at);
        self.keep_until = self.keep_until.max(other.keep_until);
    }

    /// `iat` has whole seconds: one in the second of the rule may have been before it, hence is hit. So is one without.
    pub(super) fn hits_issued_at(&self, issued_at: Option<Timestamp>, leeway_s: u32) -> bool {
        let last = self.at.seconds().saturating_add(i64::from(leeway_s));
        issued_at.is_none_or(|issued_at| issued_at.seconds() <= last)
    }
}

/// Two hours on top of what a rule says: a clock that was ahead and is set back must not wake the revoked (R05).
pub(super) const GRACE_S: i64 = 2 * 3_600;

pub(super) struct RuleSet<K>(Sharded<K, Rule>);

impl<K: Hash + Eq> Default for RuleSet<K> {
    fn default() -> Self {
        Self(Sharded::default())
    }
}

impl<K: Hash + Eq> RuleSet<K> {
    pub fn add(&self, key: K, rule: Rule) {
        self.0.change(key, |kept| kept.tighten(rule));
    }

    /// Is there any rule? For targets that never come back.
    pub fn any<Q>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.contains(key)
    }

    pub fn hits_position(&self, key: &K, born: Position) -> bool {
        self.0.with(key, |rule| born < rule.position) == Some(true)
    }

    pub fn hits_issued_at(&self, key: &K, issued_at: Option<Timestamp>, leeway_s: u32) -> bool {
        self.0.with(key, |rule| rule.hits_issued_at(issued_at, leeway_s)) == Some(true)
    }

    pub fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, rule| rule.keep_until.plus_seconds(GRACE_S) >= now);
    }
}

/// What was taken from each target, item by item, with the last position at which it was.
pub(super) struct Narrowings<K, I>(Sharded<K, HashMap<I, Rule>>);

impl<K: Hash + Eq, I> Default for Narrowings<K, I> {
    fn default() -> Self {
        Self(Sharded::default())
    }
}

impl<K: Hash + Eq, I: Hash + Eq + Clone> Narrowings<K, I> {
    pub fn add(&self, key: K, items: impl IntoIterator<Item = I>, rule: Rule) {
        self.0.change(key, |gone| {
            for item in items {
                gone.entry(item).or_default().tighten(rule);
            }
        });
    }

    pub fn has(&self, key: &K) -> bool {
        self.0.contains(key)
    }

    /// What a token minted at `minted` may no longer claim.
    pub fn gone(&self, key: &K, minted: Position) -> Option<Vec<I>> {
        self.0.with(key, |gone| {
            let hit = gone.iter().filter(|(_, rule)| minted < rule.position);
            hit.map(|(item, _)| item.clone()).collect()
        })
    }

    pub fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, gone| {
            gone.retain(|_, rule| rule.keep_until.plus_seconds(GRACE_S) >= now);
            !gone.is_empty()
        });
    }
}
