//! The signing keys in memory: which one signs, which verify, which are published, by the clock alone.

use std::sync::Arc;
use trigate_core::{
    Timestamp,
    jose::{Algorithm, Jwks, SigningKey, VerifyingKey},
    key::SigningKeyRecord,
};

#[derive(Debug)]
pub(super) struct HeldKey {
    pub(super) record: SigningKeyRecord,
    pub(super) key: Arc<SigningKey>,
}

impl HeldKey {
    fn is_published(&self, now: Timestamp) -> bool {
        !self.record.revoked && self.record.published_until.is_none_or(|until| now < until)
    }

    fn signs(&self, now: Timestamp) -> bool {
        !self.record.revoked && self.record.signs_from <= now && self.record.signs_until.is_none_or(|until| now < until)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Keyring(Vec<HeldKey>);

impl Keyring {
    pub(super) fn new(keys: Vec<HeldKey>) -> Self {
        Self(keys)
    }

    /// The youngest key of this algorithm that may sign now.
    pub(crate) fn signer(&self, algorithm: Algorithm, now: Timestamp) -> Option<Arc<SigningKey>> {
        let able = self.0.iter().filter(|held| held.record.algorithm == algorithm && held.signs(now));
        able.max_by_key(|held| held.record.signs_from).map(|held| held.key.clone())
    }

    /// The public key that one of our own tokens names.
    pub(crate) fn verifier(&self, kid: &str, now: Timestamp) -> Option<&VerifyingKey> {
        let held = self.0.iter().find(|held| held.record.kid == kid && held.is_published(now))?;
        Some(held.key.verifying_key())
    }

    pub(crate) fn published(&self, now: Timestamp) -> Jwks {
        let keys = self.0.iter().filter(|held| held.is_published(now)).map(|held| held.key.verifying_key().clone());
        Jwks::from_keys(keys).unwrap_or_default()
    }

    pub(super) fn key(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.0.iter().find(|held| held.record.kid == kid).map(|held| held.key.clone())
    }

    pub(super) fn newest_birth(&self, algorithm: Algorithm) -> Option<Timestamp> {
        let alive = self.0.iter().filter(|held| held.record.algorithm == algorithm && !held.record.revoked);
        alive.map(|held| held.record.created_at).max()
    }

    /// `key-2026-11`, then `key-2026-11-2`.
    pub(super) fn free_kid(&self, now: Timestamp) -> String {
        let month = format!("key-{}", now.year_month());
        let taken = |kid: &String| self.0.iter().any(|held| held.record.kid == *kid);
        let mut kid = month.clone();
        let mut number = 1;
        while taken(&kid) {
            number += 1;
            kid = format!("{month}-{number}");
        }
        kid
    }
}
