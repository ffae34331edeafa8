//! What goes on beside the requests? Following the feed, keeping the lease, indexing the audit trail, sweeping, rotating.
//! Each task is a loop that ends when told to; an error is logged and tried again, never fatal.

mod audit_index;
mod barrier;
mod feed;
mod kept;
mod lookup;
mod trust;
mod upkeep;
mod usage;

pub use audit_index::{ExposedKeys, Indexer, index_audit};
pub use barrier::{Acknowledged, Barrier};
pub use feed::Keeper;
pub use lookup::{DeskFetch, DeskLookup, FarLookup};
pub use trust::{ListFetcher, fetch_lists};
pub use upkeep::{refresh_issuers, rotate_keys, sweep};
pub use usage::StoredUsage;

use std::time::Duration;
use tokio::sync::watch;

/// Tells every task, listener and core to end.
pub type Stop = watch::Receiver<bool>;

/// Sleeps; `false` when it is time to end.
pub(crate) async fn pause(stop: &mut Stop, time: Duration) -> bool {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => false,
        () = tokio::time::sleep(time) => true,
    }
}
