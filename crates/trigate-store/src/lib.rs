//! Where does state live? The ports of the core in SQL, for SQLite and PostgreSQL alike.
//! A verb's rows, its act and its changes are one transaction; what is answered as committed is on stable storage.
//! No function outside `dialect` asks which database it speaks to.

mod dialect;
mod reader;
mod sql;
mod store;
mod writer;

#[cfg(feature = "contract")]
pub mod contract;

use std::{path::PathBuf, str::FromStr, sync::Arc};
use trigate_core::port::{Clock, Store, StoreError};

/// Which database, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file; made when it is not there. One process serves it.
    Sqlite(PathBuf),
    /// A connection URL. Several processes may share it.
    Postgres(String),
}

/// The text names no database that Trigate can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLocation;

impl std::fmt::Display for BadLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store is `sqlite:PATH` or `postgres://USER@HOST/DATABASE`")
    }
}

impl std::error::Error for BadLocation {}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(BadLocation),
        }
    }
}

/// SECURITY: a connection URL may hold a password; it is not shown.
impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

/// Opens the store and brings its schema up to date. Must be called within a tokio runtime, which then serves
/// PostgreSQL's connections; SQLite has threads of its own.
///
/// # Errors
/// `Unavailable` when it cannot be reached; `Conflict` when it is not ours or of a newer schema.
pub async fn open(location: Location, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, StoreError> {
    let store = match location {
        Location::Sqlite(path) => dialect::sqlite::open(path, clock).await?,
        Location::Postgres(url) => dialect::postgres::open(url, clock).await?,
    };
    Ok(Arc::new(store))
}
