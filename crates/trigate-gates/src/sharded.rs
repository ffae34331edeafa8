//! A map that many cores read while one thread writes: shards, so that readers seldom meet. No lock is held across
//! anything but one look.

use foldhash::fast::RandomState;
use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

const SHARDS: usize = 16;

type Map<K, V> = HashMap<K, V, RandomState>;

pub(crate) struct Sharded<K, V> {
    hasher: RandomState,
    shards: [RwLock<Map<K, V>>; SHARDS],
}

impl<K: Hash + Eq, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl<K: Hash + Eq, V> Sharded<K, V> {
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<Map<K, V>> {
        let [first, ..] = &self.shards;
        // Neither the low bits nor the seven high ones: the map inside uses them.
        let index = (self.hasher.hash_one(key) >> 48) as usize % SHARDS;
        self.shards.get(index).unwrap_or(first)
    }

    /// What `look` makes of the value, if there is one.
    pub fn with<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        read(self.shard(key)).get(key).map(look)
    }

    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.with(key, V::clone)
    }

    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.with(key, |_| ()).is_some()
    }

    pub fn insert(&self, key: K, value: V) -> Option<V> {
        write(self.shard(&key)).insert(key, value)
    }

    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        write(self.shard(key)).remove(key)
    }

    /// Changes the value under `key`, made by `default` when there is none.
    pub fn change(&self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        change(write(self.shard(&key)).entry(key).or_default());
    }

    pub fn retain(&self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for shard in &self.shards {
            write(shard).retain(&mut keep);
        }
    }

    /// The value under `key`, made when there is none; `None` when its shard holds `cap` others already.
    pub fn get_or_make(&self, key: &K, cap: usize, make: impl FnOnce() -> V) -> Option<V>
    where
        K: Clone,
        V: Clone,
    {
        if let Some(value) = self.get(key) {
            return Some(value);
        }
        let mut shard = write(self.shard(key));
        if shard.len() >= cap && !shard.contains_key(key) {
            return None;
        }
        Some(shard.entry(key.clone()).or_insert_with(make).clone())
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    pub const fn shards() -> usize {
        SHARDS
    }
}

/// A poisoned lock means that a writer panicked between two whole operations of the map: its state is sound.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
