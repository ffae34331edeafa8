//! Applications and their API keys.

use super::{StoreError, Stored};
use crate::{
    act::Act,
    application::{Application, KeyRecord, State},
    credential::Digest,
    id::{AppId, KeyId},
    time::Timestamp,
};
use async_trait::async_trait;

#[derive(Clone, Debug)]
pub struct NewApplication {
    pub id: AppId,
    pub name: String,
    pub plan: String,
}

#[async_trait]
pub trait Applications: Send + Sync {
    /// `Conflict` when the id or the name is taken.
    async fn create_application(&self, act: Act, new: NewApplication) -> Stored<Application>;
    async fn find_application(&self, id: &AppId) -> Result<Option<Application>, StoreError>;
    async fn find_application_by_name(&self, name: &str) -> Result<Option<Application>, StoreError>;
    async fn list_applications(&self) -> Result<Vec<Application>, StoreError>;
    async fn change_plan(&self, act: Act, id: &AppId, plan: &str) -> Stored<Application>;
    async fn set_application_state(&self, act: Act, id: &AppId, state: State) -> Stored<Application>;

    /// `Conflict` when id or digest is taken. `born` is set by the store.
    async fn create_key(&self, act: Act, new: KeyRecord) -> Stored<KeyRecord>;
    /// Makes keys that were given out elsewhere, in one step, each by its own act. Those whose digest is there
    /// already are left out.
    async fn import_keys(&self, new: Vec<(Act, KeyRecord)>) -> Stored<Vec<KeyRecord>>;
    async fn find_key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;
    /// By the SHA-256 of its whole text.
    async fn find_key_by_digest(&self, digest: &Digest) -> Result<Option<KeyRecord>, StoreError>;
    async fn list_keys(&self, application: Option<&AppId>) -> Result<Vec<KeyRecord>, StoreError>;
    /// Makes `successor` and lets the old key expire at `old_until`, in one step.
    async fn rotate_key(&self, act: Act, id: &KeyId, successor: KeyRecord, old_until: Timestamp) -> Stored<KeyRecord>;
    async fn set_key_state(&self, act: Act, id: &KeyId, state: State) -> Stored<KeyRecord>;
    /// Notes that the key was seen where it must not be.
    async fn mark_key_exposed(&self, act: Act, id: &KeyId, at: Timestamp) -> Stored<KeyRecord>;
}
