//! When has a change reached every gate? Behind the answer to every revocation.

use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use trigate_core::{
    Position,
    port::{Clock, LEASE_LIFE_MS, Monotonic, Propagation, PropagationError, SystemStore},
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
    /// Rung when a gate elsewhere has applied something.
    pub acknowledged: Arc<Acknowledged>,
    /// Until then a gate may hold a lease of which this process cannot know: the one before it gave it out.
    pub blind_until: Monotonic,
}

/// A gate elsewhere has applied something, or has given its lease back.
#[derive(Debug, Default)]
pub struct Acknowledged(Notify);

impl Acknowledged {
    pub fn ring(&self) {
        self.0.notify_waiters();
    }
}

const ASK_AGAIN: Duration = Duration::from_millis(10);

#[async_trait]
impl Propagation for Barrier {
    async fn everywhere(&self, position: Position) -> Result<(), PropagationError> {
        // One lease at worst, and a second for the clocks.
        let longest = Duration::from_millis(LEASE_LIFE_MS + 1_000);
        let all = async {
            self.here(position).await;
            self.elsewhere(position).await
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
            // A gate that does not trust itself lets nothing by on its memory, nor with a lease that is being renewed just
            // now, before it has applied the change.
            if !self.known.trusted(self.clock.monotonic()) {
                self.known.demand(position);
                return;
            }
            let _ = timeout(Duration::from_millis(50), applied.wait_for(|applied| *applied >= position)).await;
        }
    }

    async fn elsewhere(&self, position: Position) -> Result<(), PropagationError> {
        let blind_us = self.blind_until.0.saturating_sub(self.clock.monotonic().0);
        sleep(Duration::from_micros(blind_us)).await;
        loop {
            // Listening begins before the look, so that no ring is missed in between.
            let mut ring = std::pin::pin!(self.acknowledged.0.notified());
            ring.as_mut().enable();
            let holders =
                self.system.holders().await.map_err(|error| PropagationError::Unconfirmed(error.to_string()))?;
            let behind = holders
                .iter()
                .any(|holder| holder.node != self.node && holder.remaining_ms > 0 && holder.applied < position);
            if !behind {
                return Ok(());
            }
            let _ = timeout(ASK_AGAIN, ring).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trigate_core::{Timestamp, id::TenantId, port::testing::StoppedClock};

    /// The lease had run out; its renewal read the feed's head just before the revocation.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r08_a_lease_renewed_during_a_revocation_does_not_wake_the_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let at = trigate_store::Location::Sqlite(folder.path().join("trigate.db"));
        let store = trigate_store::open(at, Arc::clone(&clock)).await.unwrap();
        let known = Arc::new(Known::new(TenantId::default_tenant(), Arc::clone(&clock)));
        let (_applied, applied) = watch::channel(Position::default());
        let barrier = Barrier {
            system: store.system(),
            known: Arc::clone(&known),
            clock: Arc::clone(&clock),
            node: "n".to_owned(),
            applied,
            bell: Arc::default(),
            acknowledged: Arc::default(),
            blind_until: Monotonic(0),
        };
        barrier.everywhere(Position(1)).await.unwrap();
        known.hold_lease(Monotonic(u64::MAX));
        assert!(!known.trusted(clock.monotonic()), "the answer is out, the change is not applied");
        known.advance(Position(1));
        assert!(known.trusted(clock.monotonic()));
    }
}
