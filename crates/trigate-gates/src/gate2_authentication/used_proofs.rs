//! Was this DPoP proof used before? One memory for all cores of a process: of any number of simultaneous uses one passes.
//!
//! INVARIANT: a proof is forgotten only when its own `iat` refuses it, whatever the clock does. What cannot be remembered
//! is not taken. Other processes have other memories: routes with `dpop_nonce` take proofs of their own nonces alone.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};
use trigate_core::{credential::Digest, reason::Reason};

const SHARDS: usize = 16;
/// A million proofs in all, some 40 MB: over 8,000 a second for their whole life.
const MAX_PER_SHARD: usize = 65_536;
/// Seconds whose proofs are forgotten together.
const SLOT_S: i64 = 16;

type Ids = HashSet<u128, foldhash::fast::RandomState>;

pub(crate) struct UsedProofs {
    shards: [Mutex<Shard>; SHARDS],
    max_per_shard: usize,
}

#[derive(Default)]
struct Shard {
    /// By the slot in which they end.
    slots: BTreeMap<i64, Ids>,
    count: usize,
    /// What ends at or before this second may have been forgotten.
    forgotten_to_s: i64,
}

impl Default for UsedProofs {
    fn default() -> Self {
        Self { shards: Default::default(), max_per_shard: MAX_PER_SHARD }
    }
}

impl UsedProofs {
    /// Takes the proof, once.
    pub fn remember(&self, id: &Digest, usable_until_s: i64, now_s: i64) -> Result<(), Reason> {
        let (head, _) = id.bytes().split_at(16);
        let id = head.iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        let [first, ..] = &self.shards;
        let shard = self.shards.get((id >> 124) as usize).unwrap_or(first);
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(now_s);
        if usable_until_s <= shard.forgotten_to_s {
            // The clock was set back: it might be one of those.
            return Err(Reason::ProofTime);
        }
        // In whatever slot: a `jti` is used once, not once for each `iat`.
        if shard.slots.values().any(|ids| ids.contains(&id)) {
            return Err(Reason::ProofReplayed);
        }
        if shard.count >= self.max_per_shard {
            return Err(Reason::ProofUncounted);
        }
        shard.count += 1;
        shard.slots.entry(usable_until_s.div_euclid(SLOT_S)).or_default().insert(id);
        Ok(())
    }
}

impl Shard {
    fn forget(&mut self, now_s: i64) {
        while let Some(slot) = self.slots.first_entry() {
            let end_s = slot.key().saturating_mul(SLOT_S).saturating_add(SLOT_S - 1);
            if end_s >= now_s {
                break;
            }
            self.count = self.count.saturating_sub(slot.remove().len());
            self.forgotten_to_s = self.forgotten_to_s.max(end_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Digest {
        Digest::of(&n.to_string())
    }

    #[test]
    fn rfc9449_11_1_a_proof_is_taken_once_in_its_life() {
        let used = UsedProofs::default();
        assert_eq!(used.remember(&id(1), 1_060, 1_000), Ok(()));
        assert_eq!(used.remember(&id(1), 1_060, 1_060), Err(Reason::ProofReplayed));
        assert_eq!(used.remember(&id(1), 1_090, 1_030), Err(Reason::ProofReplayed), "though it has another `iat`");
        assert_eq!(used.remember(&id(2), 1_060, 1_000), Ok(()));
        assert_eq!(used.remember(&id(3), 1_200, 1_140), Ok(()), "and the first are forgotten");
    }

    #[test]
    fn rfc9449_11_1_a_clock_that_goes_back_brings_no_proof_back() {
        let used = UsedProofs { max_per_shard: usize::MAX, ..UsedProofs::default() };
        for n in 0..64 {
            used.remember(&id(n), 1_060, 1_000).unwrap();
        }
        for n in 64..256 {
            used.remember(&id(n), 1_360, 1_300).unwrap();
        }
        for n in 0..64 {
            assert!(used.remember(&id(n), 1_060, 1_000).is_err(), "{n}");
        }
    }

    #[test]
    fn rfc9449_11_1_what_cannot_be_remembered_is_not_taken() {
        let used = UsedProofs { max_per_shard: 1, ..UsedProofs::default() };
        let taken = (0..100).filter(|n| used.remember(&id(*n), 1_060, 1_000).is_ok()).count();
        assert_eq!(taken, SHARDS, "one in each");
        assert!((0..100).any(|n| used.remember(&id(n), 1_060, 1_000) == Err(Reason::ProofUncounted)));
    }

    #[test]
    fn rfc9449_11_1_a_place_is_free_again_in_the_second_after_its_slot() {
        let used = UsedProofs { max_per_shard: 1, ..UsedProofs::default() };
        // 1,055 is the last second of its slot.
        assert_eq!(used.remember(&id(0), 1_055, 1_000), Ok(()));
        let beside = (1..).map(id).find(|id| used.remember(id, 1_055, 1_000) == Err(Reason::ProofUncounted)).unwrap();
        assert_eq!(used.remember(&beside, 1_115, 1_055), Err(Reason::ProofUncounted));
        assert_eq!(used.remember(&beside, 1_116, 1_056), Ok(()));
    }

    #[test]
    fn r18_of_simultaneous_uses_on_all_cores_one_passes() {
        let used = UsedProofs::default();
        let taken = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..10_000 {
                        if used.remember(&id(n), 1_060, 1_000).is_ok() {
                            taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 10_000);
    }
}
