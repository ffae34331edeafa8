//! Which keys does a scanner sign its reports by? A document with identifiers and PEM keys, from a file or from its URL.
//!
//! Trusts the URL that the operator wrote, through the guarded client. Never fetches more often than the cool-down says,
//! whatever identifiers strangers send; the last good set is kept on any error, until a hard end.

use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use trigate_core::{
    jose::{MAX_KID_BYTES, VerifyingKey},
    port::{Clock, Fetch, Monotonic},
};

/// Bytes of such a document.
pub const MAX_DOCUMENT: usize = 64 * 1024;
const MAX_KEYS: usize = 100;

/// Keys by their identifiers.
#[derive(Debug, Default)]
pub struct ReportKeys(HashMap<String, VerifyingKey>);

#[derive(Deserialize)]
struct Document {
    public_keys: Vec<PublicKey>,
}

#[derive(Deserialize)]
struct PublicKey {
    key_identifier: String,
    key: String,
}

impl ReportKeys {
    /// Keys of other kinds are left out; a document without any good one is refused.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        let Document { public_keys } =
            serde_json::from_slice(document).map_err(|error| format!("no document of public keys: {error}"))?;
        if public_keys.len() > MAX_KEYS {
            return Err(format!("more than {MAX_KEYS} keys"));
        }
        let keys: HashMap<_, _> = public_keys.into_iter().filter_map(read).collect();
        if keys.is_empty() { Err("it has no ECDSA key on P-256".to_owned()) } else { Ok(Self(keys)) }
    }

    pub fn find(&self, identifier: &str) -> Option<&VerifyingKey> {
        self.0.get(identifier)
    }
}

fn read(PublicKey { key_identifier, key }: PublicKey) -> Option<(String, VerifyingKey)> {
    let named = (1..=MAX_KID_BYTES).contains(&key_identifier.len());
    let der = SubjectPublicKeyInfoDer::from_pem_slice(key.as_bytes()).ok().filter(|_| named)?;
    let key = VerifyingKey::from_p256_spki(der.as_ref(), &key_identifier).ok()?;
    Some((key_identifier, key))
}

const MINUTE_US: u64 = 60_000_000;
/// A key that was taken from the list is taken no longer after that.
const FRESH_US: u64 = 60 * MINUTE_US;
/// The last good set is good so long, when no newer can be had.
const HARD_END_US: u64 = 24 * 60 * MINUTE_US;
/// Between two tries.
const COOL_DOWN_US: u64 = MINUTE_US;

/// The documents that URLs gave.
pub struct FetchedKeys {
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    /// One fetch at a time for each URL: the others wait for it.
    sets: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Fetched>>>>,
}

#[derive(Default)]
struct Fetched {
    keys: Option<(Monotonic, Arc<ReportKeys>)>,
    tried_at: Option<Monotonic>,
}

impl FetchedKeys {
    pub fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        Self { fetch, clock, sets: Mutex::default() }
    }

    /// The keys of this URL, as new as the identifier needs; `None`: none can be had.
    pub async fn of(&self, url: &str, identifier: &str) -> Option<Arc<ReportKeys>> {
        let set =
            Arc::clone(self.sets.lock().unwrap_or_else(PoisonError::into_inner).entry(url.to_owned()).or_default());
        let mut set = set.lock().await;
        let now = self.clock.monotonic();
        let since = |then: Monotonic| now.0.saturating_sub(then.0);
        let good = set.keys.as_ref().is_some_and(|(at, keys)| since(*at) < FRESH_US && keys.find(identifier).is_some());
        if !good && set.tried_at.is_none_or(|at| since(at) >= COOL_DOWN_US) {
            set.tried_at = Some(now);
            match self.document(url).await {
                Ok(keys) => set.keys = Some((now, Arc::new(keys))),
                Err(error) => tracing::warn!(url, error, "the keys of a scanner could not be fetched"),
            }
        }
        set.keys.as_ref().filter(|(at, _)| since(*at) < HARD_END_US).map(|(_, keys)| Arc::clone(keys))
    }

    async fn document(&self, url: &str) -> Result<ReportKeys, String> {
        let fetched = self.fetch.get(url, MAX_DOCUMENT).await.map_err(|error| error.to_string())?;
        if fetched.status != 200 {
            return Err(format!("it answers {}", fetched.status));
        }
        ReportKeys::parse(&fetched.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use trigate_core::{
        Timestamp,
        port::{FetchError, Fetched as Answer, testing::StoppedClock},
    };

    fn pem() -> String {
        rcgen::KeyPair::generate().unwrap().public_key_pem()
    }

    fn document(keys: &[(&str, &str)]) -> String {
        let keys: Vec<_> = keys
            .iter()
            .map(|(id, key)| serde_json::json!({ "key_identifier": id, "key": key, "is_current": true }))
            .collect();
        serde_json::json!({ "public_keys": keys }).to_string()
    }

    #[test]
    fn keys_of_other_kinds_are_left_out() {
        let wide = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().public_key_pem();
        let text = document(&[("a", &pem()), ("b", &wide), ("c", "no key"), ("", &pem())]);
        let keys = ReportKeys::parse(text.as_bytes()).unwrap();
        assert!(keys.find("a").is_some());
        for id in ["b", "c", "", "A"] {
            assert!(keys.find(id).is_none(), "{id}");
        }
        for bad in ["", "{}", "[]", &document(&[]), &document(&[("b", &wide)])] {
            assert!(ReportKeys::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    struct Scanner {
        document: Mutex<String>,
        asked: AtomicUsize,
        down: AtomicBool,
    }

    #[async_trait]
    impl Fetch for Scanner {
        async fn get(&self, url: &str, _: usize) -> Result<Answer, FetchError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.down.load(Ordering::SeqCst) {
                return Err(FetchError::Failed(url.into(), "down".into()));
            }
            Ok(Answer { status: 200, body: self.document.lock().unwrap().clone().into_bytes() })
        }
        async fn post_form(
            &self,
            url: &str,
            _: &[(&str, &str)],
            _: Option<(&str, &str)>,
            _: usize,
        ) -> Result<Answer, FetchError> {
            Err(FetchError::Failed(url.into(), "no".into()))
        }
    }

    #[tokio::test]
    async fn keys_are_fetched_once_a_minute_at_most_kept_over_failures_and_dropped_when_taken_away() {
        let (first, second) = (pem(), pem());
        let scanner = Arc::new(Scanner {
            document: Mutex::new(document(&[("one", &first)])),
            asked: AtomicUsize::new(0),
            down: AtomicBool::new(false),
        });
        let clock = StoppedClock::at(Timestamp::from_seconds(1_800_000_000));
        let keys = FetchedKeys::new(scanner.clone(), Arc::new(clock.clone()));
        let has = async |id: &str| keys.of("u", id).await.is_some_and(|keys| keys.find(id).is_some());
        let asked = || scanner.asked.load(Ordering::SeqCst);
        assert!(has("one").await && has("one").await);
        for n in 0..50 {
            assert!(!has(&format!("stranger {n}")).await);
        }
        assert_eq!(asked(), 1, "in the cool-down no identifier makes us fetch");
        // A new key, and the old one gone.
        *scanner.document.lock().unwrap() = document(&[("two", &second)]);
        assert!(has("one").await);
        clock.advance_s(60);
        assert!(has("two").await && !has("one").await);
        assert_eq!(asked(), 2);
        scanner.down.store(true, Ordering::SeqCst);
        clock.advance_s(23 * 3_600);
        assert!(has("two").await, "the last good set");
        clock.advance_s(3_600);
        assert!(!has("two").await, "its hard end");
        scanner.down.store(false, Ordering::SeqCst);
        clock.advance_s(60);
        assert!(has("two").await);
    }
}
