//! PostgreSQL.
use crate::store::SqlStore;
use std::sync::Arc;
use trigate_core::port::{Clock, StoreError};

pub async fn open(_url: String, _clock: Arc<dyn Clock>) -> Result<SqlStore, StoreError> {
    Err(StoreError::Unavailable("not yet".to_owned()))
}
