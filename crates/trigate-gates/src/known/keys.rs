//! Which API keys does this gate know? Millions of them in few bytes: of each what it is judged by, and no more. Labels,
//! and when a key was made, are the store's to know.
//!
//! Trusts the feed's records. Never finds a key by a part of it: the digest of its whole text, or nothing.

use arc_swap::ArcSwap;
use foldhash::{SharedSeed, fast::SeedableRandomState};
use hashbrown::{HashTable, hash_table::Entry};
use http::HeaderName;
use ipnet::IpNet;
use std::{
    collections::HashSet,
    hash::BuildHasher as _,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};
use trigate_core::{
    Position, Timestamp,
    application::{KeyRecord, State},
    credential::Digest,
    id::{AppId, KeyId},
    oauth::ScopeSet,
};

/// A key as gates judge it: 104 bytes, beside its id's text.
#[derive(Debug)]
pub(crate) struct HeldKey {
    pub digest: Digest,
    pub id: KeyId,
    pub application: Arc<AppId>,
    pub born: Position,
    /// `NEVER`: has no end.
    ends_at: Timestamp,
    bounds: Option<Arc<Bounds>>,
    pub state: State,
    pub revoked: bool,
}

const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

/// What many keys do not have, and what those that do have in common.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Bounds {
    scopes: Option<ScopeSet>,
    /// Where it may be used from; an entry that could not be read allows nothing.
    networks: Option<Vec<IpNet>>,
    not_before: Option<Timestamp>,
    header: Option<HeaderName>,
}

impl HeldKey {
    /// Narrows what a request with this key may do; `None` leaves it to the routes.
    pub fn scopes(&self) -> Option<&ScopeSet> {
        self.bounds.as_ref()?.scopes.as_ref()
    }

    pub fn not_before(&self) -> Option<Timestamp> {
        self.bounds.as_ref()?.not_before
    }

    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.ends_at != NEVER).then_some(self.ends_at)
    }

    /// The header that an imported key arrives in.
    pub fn header(&self) -> Option<&HeaderName> {
        self.bounds.as_ref()?.header.as_ref()
    }

    pub fn may_come_from(&self, client: IpAddr) -> bool {
        let networks = self.bounds.as_ref().and_then(|bounds| bounds.networks.as_ref());
        networks.is_none_or(|networks| networks.iter().any(|network| network.contains(&client)))
    }
}

const SHARDS: usize = 16;
/// The same for all tables of a process, so that one can take another's place.
const SEED: u64 = 7;

type Table = HashTable<Arc<HeldKey>>;

/// Keys by their digests, in shards: readers seldom meet the one writer, and no lock is held across more than one look.
#[derive(Default)]
pub(crate) struct Keys {
    shards: [RwLock<Table>; SHARDS],
    common: Mutex<Common>,
    own_headers: ArcSwap<Vec<HeaderName>>,
}

/// What keys have in common is there once.
#[derive(Default)]
struct Common {
    applications: HashSet<Arc<AppId>>,
    bounds: HashSet<Arc<Bounds>>,
    /// At so many, those that no key has any more go.
    tidy_at: usize,
}

impl Common {
    fn application(&mut self, id: AppId) -> Arc<AppId> {
        if let Some(known) = self.applications.get(&id) {
            return Arc::clone(known);
        }
        let new = Arc::new(id);
        self.applications.insert(Arc::clone(&new));
        new
    }

    fn bounds(&mut self, bounds: Bounds) -> Option<Arc<Bounds>> {
        if bounds == Bounds::default() {
            return None;
        }
        if let Some(known) = self.bounds.get(&bounds) {
            return Some(Arc::clone(known));
        }
        if self.bounds.len() >= self.tidy_at {
            self.bounds.retain(|bounds| Arc::strong_count(bounds) > 1);
            self.tidy_at = (self.bounds.len() * 2).max(1_024);
        }
        let new = Arc::new(bounds);
        self.bounds.insert(Arc::clone(&new));
        Some(new)
    }

    fn hold(&mut self, record: KeyRecord) -> HeldKey {
        let network = |entry: &String| match entry.parse::<IpNet>() {
            Ok(network) => Some(network),
            Err(_) => entry.parse::<IpAddr>().ok().map(|address| address.to_canonical().into()),
        };
        let networks = (!record.allowed_addresses.is_empty())
            .then(|| record.allowed_addresses.iter().filter_map(network).collect());
        let header = record.header.as_deref().and_then(super::own_header);
        let bounds = Bounds { scopes: record.scopes, networks, not_before: record.not_before, header };
        HeldKey {
            digest: record.digest,
            id: record.id,
            application: self.application(record.application),
            born: record.born,
            ends_at: record.expires_at.unwrap_or(NEVER),
            bounds: self.bounds(bounds),
            state: record.state,
            revoked: record.revoked_at.is_some(),
        }
    }
}

impl Keys {
    /// The key whose digest this is: the exact key or none (K04).
    pub fn find(&self, digest: &Digest) -> Option<Arc<HeldKey>> {
        let hash = hash(digest);
        read(self.shard(hash)).find(hash, |key| key.digest == *digest).cloned()
    }

    /// INVARIANT: the digest of a key never changes, so its record is found under it again.
    pub fn put(&self, record: KeyRecord) {
        let key = Arc::new(self.common().hold(record));
        if let Some(header) = key.header() {
            self.note_header(header);
        }
        let hash = hash(&key.digest);
        let mut table = write(self.shard(hash));
        match table.entry(hash, |held| held.digest == key.digest, |held| self::hash(&held.digest)) {
            Entry::Occupied(mut held) => *held.get_mut() = key,
            Entry::Vacant(place) => {
                place.insert(key);
            }
        }
    }

    /// Takes the place of all that was known.
    pub fn replace(&self, new: Self) {
        let Self { shards, common, own_headers } = new;
        // Headers first: a key that is found is looked for in its header.
        own_headers.load().iter().for_each(|header| self.note_header(header));
        *self.common() = common.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (shard, new) in self.shards.iter().zip(shards) {
            *write(shard) = new.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// The headers that imported keys arrive in.
    pub fn own_headers(&self) -> Arc<Vec<HeaderName>> {
        self.own_headers.load_full()
    }

    fn note_header(&self, header: &HeaderName) {
        let names = self.own_headers.load();
        if !names.contains(header) {
            let mut names = names.as_ref().clone();
            names.push(header.clone());
            self.own_headers.store(Arc::new(names));
        }
    }

    fn common(&self) -> MutexGuard<'_, Common> {
        self.common.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, hash: u64) -> &RwLock<Table> {
        let [first, ..] = &self.shards;
        // Neither the low bits nor the seven high ones: the table inside uses them.
        self.shards.get((hash >> 48) as usize % SHARDS).unwrap_or(first)
    }
}

fn hash(digest: &Digest) -> u64 {
    SeedableRandomState::with_seed(SEED, SharedSeed::global_random()).hash_one(digest.bytes())
}

/// Keys on their way in, page by page, before they are known all at once.
#[derive(Default)]
pub struct LoadedKeys(pub(super) Keys);

impl FromIterator<KeyRecord> for LoadedKeys {
    fn from_iter<I: IntoIterator<Item = KeyRecord>>(records: I) -> Self {
        let mut keys = Self::default();
        records.into_iter().for_each(|record| keys.take(record));
        keys
    }
}

impl LoadedKeys {
    pub fn take(&mut self, record: KeyRecord) {
        self.0.put(record);
    }
}

/// A poisoned lock means that a writer panicked between two whole operations of the table: its state is sound.
fn read(lock: &RwLock<Table>) -> std::sync::RwLockReadGuard<'_, Table> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(lock: &RwLock<Table>) -> std::sync::RwLockWriteGuard<'_, Table> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trigate_core::credential::Environment;

    fn record(n: u64) -> KeyRecord {
        KeyRecord {
            id: KeyId::parse(&format!("key_{n}")).unwrap(),
            application: AppId::parse(&format!("app_{}", n % 3)).unwrap(),
            digest: Digest::of(&n.to_string()),
            label: "a label".into(),
            environment: Environment::Live,
            scopes: None,
            allowed_addresses: vec![],
            not_before: None,
            expires_at: None,
            header: None,
            state: State::Enabled,
            created_at: Timestamp::from_seconds(1),
            exposed_at: None,
            revoked_at: None,
            born: Position(n),
        }
    }

    #[test]
    fn what_is_held_is_what_was_said() {
        let keys = Keys::default();
        let whole = KeyRecord {
            scopes: Some(ScopeSet::parse("a b").unwrap()),
            allowed_addresses: vec!["10.0.0.0/8".into(), "::ffff:192.0.2.7".into(), "nonsense".into()],
            not_before: Some(Timestamp::from_seconds(5)),
            expires_at: Some(Timestamp::from_seconds(9)),
            header: Some("X-Acme-Key".into()),
            state: State::Disabled,
            revoked_at: Some(Timestamp::from_seconds(7)),
            ..record(1)
        };
        keys.put(whole.clone());
        let held = keys.find(&whole.digest).unwrap();
        assert_eq!((&held.id, &*held.application, held.born), (&whole.id, &whole.application, whole.born));
        assert_eq!(held.scopes(), whole.scopes.as_ref());
        assert_eq!((held.not_before(), held.expires_at()), (whole.not_before, whole.expires_at));
        assert_eq!((held.state, held.revoked), (State::Disabled, true));
        assert_eq!(held.header().unwrap(), "x-acme-key");
        assert_eq!(keys.own_headers().len(), 1);
        let from = |text: &str| held.may_come_from(text.parse().unwrap());
        assert_eq!(["10.1.2.3", "192.0.2.7", "192.0.2.8"].map(from), [true, true, false]);

        keys.put(record(2));
        let held = keys.find(&record(2).digest).unwrap();
        assert_eq!((held.scopes(), held.not_before(), held.expires_at(), held.header()), (None, None, None, None));
        assert!(held.may_come_from("192.0.2.8".parse().unwrap()) && !held.revoked);
        // Entries of which none can be read allow nobody.
        keys.put(KeyRecord { allowed_addresses: vec!["nonsense".into()], ..record(2) });
        assert!(!keys.find(&record(2).digest).unwrap().may_come_from("192.0.2.8".parse().unwrap()));
        assert_eq!(keys.len(), 2);
        assert!(keys.find(&Digest::of("3")).is_none());
    }

    #[test]
    fn what_keys_have_in_common_is_there_once_and_goes_with_the_last() {
        let keys = Keys::default();
        let until = |n: u64, from: i64| KeyRecord { not_before: Some(Timestamp::from_seconds(from)), ..record(n) };
        for n in 0..5_000 {
            keys.put(until(n, 1));
        }
        let count = || {
            let common = keys.common();
            (common.applications.len(), common.bounds.len())
        };
        assert_eq!(count(), (3, 1));
        for round in 0..5 {
            for n in 0..1_000 {
                keys.put(until(n, 10_000 * (round + 1) + i64::try_from(n).unwrap()));
            }
        }
        assert!(count().1 <= 2_100, "{:?}", count());
        assert_eq!(keys.len(), 5_000);
    }

    #[test]
    fn tidying_takes_nothing_that_a_key_still_has() {
        let keys = Keys::default();
        let from = |n: u64, from: i64| KeyRecord { not_before: Some(Timestamp::from_seconds(from)), ..record(n) };
        keys.put(from(0, 1));
        // One key after another lets go of its own.
        (0..3_000).for_each(|at| keys.put(from(1, 10 + at)));
        keys.put(from(2, 1));
        let bounds = |n: u64| keys.find(&record(n).digest).unwrap().bounds.clone().unwrap();
        assert!(Arc::ptr_eq(&bounds(0), &bounds(2)));
        assert!(keys.common().bounds.len() < 1_100);
    }

    #[test]
    fn keys_are_spread_over_all_shards() {
        let keys = Keys::default();
        (0..1_600).for_each(|n| keys.put(record(n)));
        let held: Vec<usize> = keys.shards.iter().map(|shard| read(shard).len()).collect();
        assert!(held.iter().all(|held| (40..200).contains(held)), "{held:?}");
    }

    #[test]
    fn another_set_takes_the_place_of_the_whole() {
        let keys = Keys::default();
        (0..100).for_each(|n| keys.put(record(n)));
        let mut new = LoadedKeys::default();
        (50..200).for_each(|n| new.take(KeyRecord { header: Some("X-Old".into()), ..record(n) }));
        keys.replace(new.0);
        assert_eq!((keys.len(), keys.own_headers().len()), (150, 1));
        assert!(keys.find(&record(10).digest).is_none());
        assert!((50..200).all(|n| keys.find(&record(n).digest).is_some()));
    }

    #[test]
    fn a_key_takes_few_bytes() {
        assert!(size_of::<HeldKey>() <= 88, "{}", size_of::<HeldKey>());
    }
}
