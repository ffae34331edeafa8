//! When has a change that was made offline reached every gate? A command that runs beside no server still answers for
//! its revocations: gates on other machines may share the store.

use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use trigate_core::{
    change::Position,
    port::{LEASE_LIFE_MS, Propagation, PropagationError, SystemStore},
};

/// Asks the store which gates hold a lease, until each has applied the position or has lost its lease.
pub struct LeaseBarrier {
    system: Arc<dyn SystemStore>,
    /// A server that has just ended may have given out leases that nobody else knows of.
    blind: bool,
}

impl LeaseBarrier {
    pub fn new(system: Arc<dyn SystemStore>, blind: bool) -> Arc<Self> {
        Arc::new(Self { system, blind })
    }
}

const PAUSE: Duration = Duration::from_millis(50);
/// Leases live 10 s by default; twice that without an answer is a fault.
const ROUNDS: u32 = 400;

#[async_trait]
impl Propagation for LeaseBarrier {
    async fn everywhere(&self, position: Position) -> Result<(), PropagationError> {
        if self.blind {
            tokio::time::sleep(Duration::from_millis(LEASE_LIFE_MS)).await;
        }
        let mut behind = Vec::new();
        for _ in 0..ROUNDS {
            let holders =
                self.system.holders().await.map_err(|error| PropagationError::Unconfirmed(error.to_string()))?;
            behind = holders
                .into_iter()
                .filter(|holder| holder.remaining_ms > 0 && holder.applied < position)
                .map(|holder| holder.node)
                .collect();
            if behind.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(PropagationError::Unconfirmed(format!("waiting for {}", behind.join(", "))))
    }
}
