//! Revoked token ids: exact sets of 128-bit ids, in buckets by the time at which no such token can be alive any more.
//! A bucket goes as a whole when its time is over.

use super::rules::GRACE_S;
use foldhash::fast::RandomState;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{PoisonError, RwLock},
};
use trigate_core::{Timestamp, id::TokenId};

const SHARDS: usize = 64;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

/// Second at which the bucket ends, to its ids.
type Buckets = BTreeMap<i64, HashSet<u128, RandomState>>;

pub(super) struct RevokedTokens {
    shards: [RwLock<Buckets>; SHARDS],
}

impl Default for RevokedTokens {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl RevokedTokens {
    fn shard(&self, id: TokenId) -> &RwLock<Buckets> {
        let [first, ..] = &self.shards;
        // Ids are random or digests: their own bits spread them.
        self.shards.get((id.bits() >> 122) as usize).unwrap_or(first)
    }

    pub fn add(&self, id: TokenId, keep_until: Timestamp, now: Timestamp) {
        // Hours for what ends soon, days beyond: few buckets to look into, whatever lives were configured.
        let width = if keep_until.seconds_since(now) <= 2 * DAY_S { HOUR_S } else { DAY_S };
        let end = keep_until.seconds().div_euclid(width).saturating_add(1).saturating_mul(width);
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        shard.entry(end).or_default().insert(id.bits());
    }

    pub fn contains(&self, id: TokenId) -> bool {
        let shard = self.shard(id).read().unwrap_or_else(PoisonError::into_inner);
        shard.values().any(|bucket| bucket.contains(&id.bits()))
    }

    pub fn sweep(&self, now: Timestamp) {
        let over = now.seconds().saturating_sub(GRACE_S);
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            if shard.first_key_value().is_some_and(|(end, _)| *end < over) {
                *shard = shard.split_off(&over);
            }
        }
    }

    pub fn len(&self) -> usize {
        let lock = |shard: &RwLock<Buckets>| {
            shard.read().unwrap_or_else(PoisonError::into_inner).values().map(HashSet::len).sum::<usize>()
        };
        self.shards.iter().map(lock).sum()
    }
}
