//! Signing keys, their private parts sealed.

use super::{StoreError, Stored};
use crate::{act::Act, key::SigningKeyRecord, time::Timestamp};
use async_trait::async_trait;

#[async_trait]
pub trait SigningKeys: Send + Sync {
    /// All that are not deleted, oldest first.
    async fn list_signing_keys(&self) -> Result<Vec<SigningKeyRecord>, StoreError>;
    /// Adds a key; every key of the same algorithm that still signs stops at `new.signs_from` and stays published
    /// until `old_published_until`. `Conflict` when the `kid` is taken.
    async fn add_signing_key(&self, act: Act, new: SigningKeyRecord, old_published_until: Timestamp) -> Stored<()>;

    /// A sealed secret of this tenant by name (`opaque_checksum`, `csrf`), made by `or_else` on first use.
    async fn load_or_create_secret(&self, act: Act, name: &str, or_else: Vec<u8>) -> Stored<Vec<u8>>;
}
