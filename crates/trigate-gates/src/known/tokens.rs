//! Revoked token ids: an exact set of 128-bit ids, each with the hour at which no such token can be alive any more.
//! Twenty bytes an entry in open tables that are three fifths to three quarters full.
//!
//! Never keeps readers waiting for more than one entry to be written: a table that must grow or be swept is made anew
//! beside the old one, and swapped in.

use super::{
    rules::GRACE_S,
    sieve::{STALE, Sieve},
};
use foldhash::fast::RandomState;
use std::{
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use trigate_core::{Timestamp, id::TokenId};

/// A table of ten million in so many shards has ten thousand entries: made anew in a tenth of a millisecond.
const SHARD_BITS: u32 = 10;
const HOUR_S: i64 = 3_600;
/// One look-up may begin anywhere in the table; in the empty ones too.
const LEAST_PLACES: usize = 8;

pub(super) struct RevokedTokens {
    /// By the first bits of the id. Ids are random or digests: their own bits spread them.
    shards: Box<[RwLock<Shard>]>,
    /// Nobody outside may choose where ids meet.
    mixer: RandomState,
    /// Asked first.
    sieve: Sieve,
    /// Ids noted in the sieve since it was renewed. SECURITY: held by every writer: what is put into a shard that is just
    /// made anew would be lost, and a revoked token accepted.
    writing: Mutex<usize>,
}

#[derive(Default)]
struct Shard {
    table: Table,
    /// The id that marks an empty place, should it be revoked.
    zero: Option<u32>,
    /// No entry ends before this hour.
    soonest: u32,
}

/// Open addressing with linear steps; an id of zero is an empty place.
#[derive(Default)]
struct Table {
    ids: Box<[u128]>,
    /// Beside them: the hour at which the entry is over. Look-ups never touch it.
    ends: Box<[u32]>,
    used: usize,
}

impl Table {
    fn of(places: usize) -> Self {
        Self { ids: vec![0; places].into(), ends: vec![0; places].into(), used: 0 }
    }

    /// Three quarters full is full.
    const fn takes(&self, more: usize) -> bool {
        (self.used + more) * 4 <= self.ids.len() * 3
    }

    /// The place of the id, or the empty one where it would be. `None`: there are no places.
    fn place(&self, hash: u64, id: u128) -> Option<usize> {
        let places = self.ids.len();
        // The hash as a fraction of the table's length.
        let start = usize::try_from((u128::from(hash) * places as u128) >> 64).unwrap_or(0);
        let (before, from) = self.ids.split_at_checked(start)?;
        // INVARIANT: never full, so the search ends.
        let hit = |held: &u128| *held == id || *held == 0;
        from.iter().position(hit).map(|at| start + at).or_else(|| before.iter().position(hit))
    }

    fn put(&mut self, hash: u64, id: u128, end: u32) {
        let Some(place) = self.place(hash, id) else { return };
        if let (Some(held), Some(held_end)) = (self.ids.get_mut(place), self.ends.get_mut(place)) {
            self.used += usize::from(*held == 0);
            *held = id;
            // INVARIANT: the strictest wins: revoked twice is kept for the longer of both.
            *held_end = (*held_end).max(end);
        }
    }

    fn entries(&self) -> impl Iterator<Item = (u128, u32)> {
        self.ids.iter().copied().zip(self.ends.iter().copied()).filter(|(id, _)| *id != 0)
    }
}

impl Default for RevokedTokens {
    fn default() -> Self {
        let shards = (0..1usize << SHARD_BITS).map(|_| RwLock::default()).collect();
        Self { shards, mixer: RandomState::default(), sieve: Sieve::default(), writing: Mutex::default() }
    }
}

impl RevokedTokens {
    fn shard(&self, id: u128) -> Option<&RwLock<Shard>> {
        self.shards.get((id >> (128 - SHARD_BITS)) as usize)
    }

    pub fn add(&self, id: TokenId, keep_until: Timestamp) {
        self.put(&mut self.lock(), id.bits(), end_of(keep_until));
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, noted: &mut usize, id: u128, end: u32) {
        let Some(shard) = self.shard(id) else { return };
        *noted += 1;
        self.sieve.note(self.mixer.hash_one(id));
        if !read(shard).table.takes(1) {
            self.remake(shard, 1, |_| true);
        }
        let mut shard = write(shard);
        let first = shard.table.used == 0 && shard.zero.is_none();
        shard.soonest = if first { end } else { shard.soonest.min(end) };
        if id == 0 {
            shard.zero = shard.zero.max(Some(end));
        } else {
            shard.table.put(self.mixer.hash_one(id), id, end);
        }
    }

    /// Room for so many more, spread evenly: spares growing step by step.
    pub fn reserve(&self, more: usize) {
        let _writing = self.lock();
        // A twentieth on top: shards differ.
        let each = more / self.shards.len() + more / self.shards.len() / 20;
        for shard in &self.shards {
            if !read(shard).table.takes(each) {
                self.remake(shard, each, |_| true);
            }
        }
    }

    /// The table anew, with room for `more`, of the entries that `keep` keeps. Readers go on in the old one.
    fn remake(&self, shard: &RwLock<Shard>, more: usize, keep: impl Fn(u32) -> bool) {
        let (table, zero) = {
            let old = read(shard);
            let kept = old.table.entries().filter(|(_, end)| keep(*end)).count();
            // Full at three quarters, made for three fifths.
            let mut table = Table::of(((kept + more) * 5 / 3).max(LEAST_PLACES));
            for (id, end) in old.table.entries().filter(|(_, end)| keep(*end)) {
                table.put(self.mixer.hash_one(id), id, end);
            }
            (table, old.zero.filter(|end| keep(*end)))
        };
        let soonest = table.entries().map(|(_, end)| end).chain(zero).min().unwrap_or(0);
        let mut shard = write(shard);
        let old = std::mem::replace(&mut *shard, Shard { table, zero, soonest });
        drop(shard);
        drop(old);
    }

    pub fn contains(&self, id: TokenId) -> bool {
        let hash = self.mixer.hash_one(id.bits());
        if self.sieve.surely_not(hash) {
            return false;
        }
        let Some(shard) = self.shard(id.bits()) else { return false };
        let shard = read(shard);
        if id.bits() == 0 {
            return shard.zero.is_some();
        }
        let place = shard.table.place(hash, id.bits());
        place.and_then(|place| shard.table.ids.get(place)) == Some(&id.bits())
    }

    /// Forgets what is over, and two hours more: see [`GRACE_S`].
    pub fn sweep(&self, now: Timestamp) {
        let over = now.seconds().saturating_sub(GRACE_S);
        let keep = |end: u32| i64::from(end).saturating_mul(HOUR_S) >= over;
        for shard in &self.shards {
            // Changes come in between.
            let _writing = self.lock();
            let due = {
                let shard = read(shard);
                (shard.table.used > 0 || shard.zero.is_some()) && !keep(shard.soonest)
            };
            if due {
                self.remake(shard, 0, keep);
            }
        }
        let mut noted = self.lock();
        let held = self.len();
        if *noted > held + STALE {
            *noted = held;
            self.renew_sieve();
        }
    }

    fn renew_sieve(&self) {
        self.sieve.renew(self.shards.iter().flat_map(|shard| {
            let shard = read(shard);
            let ids: Vec<u128> = shard.table.entries().map(|(id, _)| id).chain(shard.zero.map(|_| 0)).collect();
            ids.into_iter().map(|id| self.mixer.hash_one(id))
        }));
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(read).map(|shard| shard.table.used + usize::from(shard.zero.is_some())).sum()
    }

    /// Every entry, in ascending order of the id's first bits; locks one shard at a time.
    pub fn each(&self, mut take: impl FnMut(&[(u128, u32)]) -> std::io::Result<()>) -> std::io::Result<()> {
        let mut entries = Vec::new();
        for shard in &self.shards {
            {
                let shard = read(shard);
                entries.extend(shard.table.entries().chain(shard.zero.map(|end| (0, end))));
            }
            entries.sort_unstable();
            take(&entries)?;
            entries.clear();
        }
        Ok(())
    }

    /// Puts in many; quickest when they come sorted.
    pub fn put_all(&self, entries: &[(u128, u32)]) {
        let mut noted = self.lock();
        for group in entries.chunk_by(|(one, _), (other, _)| one >> (128 - SHARD_BITS) == other >> (128 - SHARD_BITS)) {
            let shard = group.first().and_then(|(id, _)| self.shard(*id));
            if let Some(shard) = shard.filter(|shard| !read(shard).table.takes(group.len())) {
                self.remake(shard, group.len(), |_| true);
            }
            group.iter().for_each(|(id, end)| self.put(&mut noted, *id, *end));
        }
    }

    /// Bytes of all tables.
    pub fn bytes(&self) -> usize {
        let places: usize = self.shards.iter().map(|shard| read(shard).table.ids.len()).sum();
        places * 20 + self.shards.len() * size_of::<RwLock<Shard>>() + self.sieve.bytes()
    }
}

/// The first whole hour after `keep_until`, since 1970.
pub(super) fn end_of(keep_until: Timestamp) -> u32 {
    let hours = keep_until.seconds().div_euclid(HOUR_S).saturating_add(1);
    u32::try_from(hours.max(0)).unwrap_or(u32::MAX)
}

/// INVARIANT: writers leave a shard whole at each step, so a poisoned lock is as good as any.
fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn id(bits: u128) -> TokenId {
        TokenId::from_bits(bits)
    }

    proptest! {
        /// Few ids in one shard, so that they meet; zero among them.
        #[test]
        fn r05_the_set_is_exact_through_growing_and_sweeping(
            adds in prop::collection::vec((0u128..400, 0i64..100), 0..600), swept_at in 0i64..110,
        ) {
            let (set, mut model) = (RevokedTokens::default(), HashMap::new());
            for (bits, hours) in adds {
                let until = NOW.plus_seconds(hours * HOUR_S);
                set.add(id(bits), until);
                let kept = model.entry(bits).or_insert(until);
                *kept = (*kept).max(until);
            }
            prop_assert_eq!(set.len(), model.len());
            for bits in 0..410 {
                prop_assert_eq!(set.contains(id(bits)), model.contains_key(&bits));
            }
            let now = NOW.plus_seconds(swept_at * HOUR_S);
            set.sweep(now);
            for (bits, until) in &model {
                let over = until.plus_seconds(GRACE_S + HOUR_S) < now;
                prop_assert!(over || set.contains(id(*bits)), "{} is forgotten too early", bits);
                prop_assert!(!over || !set.contains(id(*bits)), "{} is kept", bits);
            }
        }
    }

    /// Places of the shard of ids with these first bits.
    fn places(set: &RevokedTokens, first: u128) -> usize {
        read(set.shard(first << (128 - SHARD_BITS)).unwrap()).table.ids.len()
    }

    #[test]
    fn tables_are_made_for_three_fifths_and_full_at_three_quarters() {
        let table = |used: usize| Table { used, ..Table::of(16) };
        assert!(table(0).takes(12) && !table(0).takes(13) && table(11).takes(1) && !table(12).takes(1));
        let set = RevokedTokens::default();
        set.sweep(NOW);
        assert_eq!(places(&set, 3), 0, "nothing is made anew of nothing");
        let of_shard = |first: u128, n: u128| id(first << (128 - SHARD_BITS) | n);
        (1..=6).for_each(|n| set.add(of_shard(3, n), NOW));
        assert_eq!((places(&set, 3), places(&set, 4)), (LEAST_PLACES, 0));
        set.add(of_shard(3, 7), NOW);
        assert_eq!(places(&set, 3), 11, "seven of them, at three fifths");
        let many = |first: u128| (1..=90).map(|n| (of_shard(first, n).bits(), end_of(NOW))).collect::<Vec<_>>();
        set.put_all(&[many(5), many(6)].concat());
        assert_eq!((places(&set, 5), places(&set, 6), set.len()), (150, 150, 187));
        set.put_all(&many(5));
        assert_eq!((places(&set, 5), set.len()), (300, 187), "the same again: room for all is made first");
        // For 102,400: a hundred each and a twentieth.
        let set = RevokedTokens::default();
        set.reserve(102_400);
        assert_eq!((places(&set, 0), places(&set, 1_023)), (175, 175));
        set.reserve(102_400);
        assert_eq!(places(&set, 7), 175, "there is room already");
        let rows = 1_024 * 175 * 20;
        assert_eq!(set.bytes() - set.sieve.bytes() - 1_024 * size_of::<RwLock<Shard>>(), rows);
    }

    /// Nearly all hashes at the table's end: the search goes on at its beginning.
    #[test]
    fn an_id_is_found_round_the_tables_end() {
        let mut table = Table::of(8);
        (1..=6).for_each(|n| table.put(u64::MAX, n, 1));
        assert_eq!(table.ids.as_ref(), [2, 3, 4, 5, 6, 0, 0, 1]);
        assert_eq!((table.used, table.place(u64::MAX, 6), table.place(u64::MAX, 9)), (6, Some(4), Some(5)));
        assert_eq!((Table::default().place(u64::MAX, 1), table.place(0, 0)), (None, Some(5)));
        table.put(u64::MAX, 3, 0);
        assert_eq!((table.used, table.ends[1]), (6, 1), "the longer of both");
    }

    #[test]
    fn end_hours_are_whole_and_after_the_end() {
        let end = |seconds: i64| end_of(Timestamp::from_seconds(seconds));
        assert_eq!([end(0), end(3_599), end(3_600), end(-1), end(-7_201)], [1, 1, 2, 0, 0]);
    }

    #[test]
    fn what_is_written_out_is_all_and_in_order() {
        let set = RevokedTokens::default();
        let ids = [0, 1, 5, 1 << 118, (1 << 118) + 9, u128::MAX];
        ids.iter().rev().for_each(|bits| set.add(id(*bits), NOW));
        let mut seen = Vec::new();
        set.each(|entries| {
            seen.extend(entries.iter().map(|(id, end)| (*id, *end)));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, ids.map(|bits| (bits, end_of(NOW))));
        assert_eq!(set.len(), 6);
    }

    #[test]
    fn an_id_that_is_revoked_is_seen_revoked_while_the_tables_grow() {
        let set = RevokedTokens::default();
        let spread = |n: u128| id(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        set.add(spread(1), NOW);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| (0..200_000).all(|_| set.contains(spread(1))));
            (2..100_000).for_each(|n| set.add(spread(n), NOW));
            assert!(reader.join().unwrap());
        });
        assert_eq!(set.len(), 99_999);
        assert!((1..100_000).all(|n| set.contains(spread(n))) && !set.contains(spread(100_000)));
        let tables = set.bytes() - set.sieve.bytes();
        assert!(tables / set.len() <= 38, "{} bytes an entry", tables / set.len());
    }

    /// Every sweep makes all tables anew: what another thread puts in meanwhile must not be lost with the old ones.
    #[test]
    fn r05_what_is_revoked_during_a_sweep_stays_revoked() {
        let set = RevokedTokens::default();
        let spread = |n: u128| id(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let over = NOW.plus_seconds(-GRACE_S - 2 * HOUR_S);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..50_000).for_each(|n| set.add(spread(n), NOW)));
            while !writer.is_finished() {
                // Something that is over, in each shard: it is due.
                (0..1u128 << SHARD_BITS).for_each(|n| set.add(id(n << (128 - SHARD_BITS) | 1), over));
                set.sweep(NOW);
            }
        });
        assert_eq!((1..50_000).filter(|n| !set.contains(spread(*n))).count(), 0);
    }

    #[test]
    fn the_sieve_is_renewed_and_forgets_nothing_that_stands() {
        let set = RevokedTokens::default();
        set.add(id(0), NOW);
        set.add(id(7), NOW);
        set.add(id(9), NOW.plus_seconds(-24 * HOUR_S));
        *set.lock() += STALE - 1;
        let in_vain = || !set.sieve.surely_not(set.mixer.hash_one(9u128));
        set.sweep(NOW);
        assert_eq!((*set.lock(), in_vain()), (2 + STALE, true), "so few are no reason");
        *set.lock() += 1;
        set.sweep(NOW);
        assert_eq!((*set.lock(), in_vain()), (2, false));
        assert!(set.contains(id(0)) && set.contains(id(7)) && !set.contains(id(8)));
    }
}
