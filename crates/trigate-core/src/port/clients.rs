//! OAuth clients.

use super::{StoreError, Stored};
use crate::{act::Act, application::State, client::Client, id::ClientId};
use async_trait::async_trait;

#[async_trait]
pub trait Clients: Send + Sync {
    /// `Conflict` when the id is taken; `Missing` when its application is.
    async fn create_client(&self, act: Act, new: Client) -> Stored<Client>;
    async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, StoreError>;
    async fn list_clients(&self) -> Result<Vec<Client>, StoreError>;
    /// Replaces all but id, `born`, `created_at` and state. Scopes and roles that it loses are narrowed in the feed.
    async fn change_client(&self, act: Act, changed: Client) -> Stored<Client>;
    async fn set_client_state(&self, act: Act, id: &ClientId, state: State) -> Stored<Client>;
}
