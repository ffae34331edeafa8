//! When has a change reached every gate? Behind the answer to every revocation.

use super::feed::LEASE_LIFE_MS;
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use trigate_core::{
    Position,
    port::{Clock, Propagation, PropagationError, SystemStore},
};
use trigate_gates::Known;

/// Waits for this process by its own memory, and for others by their leases.
pub struct Barrier {
    pub system: Arc<dyn SystemStore>,
    pub known: Arc<Known>,
    pub clock: Arc<dyn Clock>,
    pub node: String,
    pub applied: watch::Receiver<Position>,
    pub bell: Arc<Notify>,
    /// Other nodes share the store.
    pub shared: bool,
}

const ASK_AGAIN: Duration = Duration::from_millis(10);

#[async_trait]
impl Propagation for Barrier {
    async fn everywhere(&self, position: Position) -> Result<(), PropagationError> {
        // One lease at worst, and a second for the clocks.
        let longest = Duration::from_millis(LEASE_LIFE_MS + 1_000);
        let all = async {
            self.here(position).await;
            if self.shared { self.elsewhere(position).await } else { Ok(()) }
        };
        match timeout(longest, all).await {
            Ok(outcome) => outcome,
            Err(_) => Err(PropagationError::Unconfirmed("a gate holds a lease and has not acknowledged".to_owned())),
        }
    }
}

impl Barrier {
    /// All cores share one memory: what it has applied, every request that starts from now on is judged by.
    async fn here(&self, position: Position) {
        let mut applied = self.applied.clone();
        self.bell.notify_one();
        while self.known.position() < position {
            // A gate that does not trust itself lets nothing by on its memory.
            if !self.known.trusted(self.clock.monotonic()) {
                return;
            }
            let _ = timeout(Duration::from_millis(50), applied.wait_for(|applied| *applied >= position)).await;
        }
    }

    async fn elsewhere(&self, position: Position) -> Result<(), PropagationError> {
        loop {
            let holders =
                self.system.holders().await.map_err(|error| PropagationError::Unconfirmed(error.to_string()))?;
            let behind = holders
                .iter()
                .any(|holder| holder.node != self.node && holder.remaining_ms > 0 && holder.applied < position);
            if !behind {
                return Ok(());
            }
            sleep(ASK_AGAIN).await;
        }
    }
}
