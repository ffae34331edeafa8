//! What does this gate know, and how long may it trust that? Applies the feed in order; renews the lease only when
//! nothing that was committed before is missing. The same code beside the store and far from it.

use crate::Known;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};
use trigate_core::{
    Position,
    change::Change,
    id::TenantId,
    port::{Clock, Feed, LEASE_LIFE_MS, Leases, Monotonic, StoreError},
};

const RENEW_EVERY: Duration = Duration::from_secs(1);
const BATCH: u32 = 1_000;
const WAIT_MS: u64 = 1_000;
/// Rounds of catching up before a lease that is refused is given up until the next second.
const ROUNDS: usize = 50;

/// Told, in order, what was just applied.
pub type OnApplied = Box<dyn Fn(&[Change]) + Send + Sync>;

/// Told of what goes wrong, and how often in a row: the gate trusts itself no longer than its lease.
pub type OnTrouble = Box<dyn Fn(&StoreError, u32) + Send + Sync>;

/// Keeps one gate process true to the feed.
pub struct Follower {
    pub feed: Arc<dyn Feed>,
    pub leases: Arc<dyn Leases>,
    pub known: Arc<Known>,
    pub tenant: TenantId,
    pub clock: Arc<dyn Clock>,
    /// One process, unlike any other.
    pub holder: String,
    /// Others wait for what this gate has applied: they learn it at once.
    pub acknowledges: bool,
    /// Told when something was applied.
    pub applied: watch::Sender<Position>,
    /// Rung when a change was committed in this process.
    pub bell: Arc<Notify>,
    pub on_applied: Option<OnApplied>,
    pub on_trouble: OnTrouble,
    /// One at a time applies: the order of the feed is the order in memory, and in what `on_applied` writes down.
    pub turn: Mutex<()>,
}

impl Follower {
    /// Follows until told to end.
    pub async fn follow(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut errors = 0u32;
        loop {
            let asked = self.known.position();
            let came = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.bell.notified() => None,
                changes = self.feed.changes_beyond(asked, BATCH, WAIT_MS) => Some(changes),
            };
            let outcome = match came {
                Some(changes) => changes.map(|changes| self.apply(&changes)),
                None => self.catch_up().await,
            };
            if let Err(error) = outcome {
                errors = errors.saturating_add(1);
                (self.on_trouble)(&error, errors);
                if !pause(&mut stop, Duration::from_millis(100 * u64::from(errors.min(20)))).await {
                    return;
                }
                continue;
            }
            errors = 0;
            if self.acknowledges && self.known.position() > asked {
                self.acknowledge().await;
            }
        }
    }

    /// Somebody's revocation may wait for it. One that gets lost is made up for by the next renewal.
    async fn acknowledge(&self) {
        let _ = self.leases.renew(&self.holder, self.known.position(), LEASE_LIFE_MS).await;
    }

    /// Renews the lease each second until told to end, then gives it back.
    pub async fn keep_lease(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut errors = 0u32;
        while pause(&mut stop, RENEW_EVERY).await {
            match self.renew().await {
                Ok(()) => errors = 0,
                Err(error) => {
                    errors = errors.saturating_add(1);
                    (self.on_trouble)(&error, errors);
                }
            }
        }
        self.known.drop_lease();
        let _ = self.leases.release(&self.holder).await;
    }

    /// Takes a lease, or renews it, and trusts it once nothing is missing. The first time, a snapshot must have been loaded;
    /// before this returns, no request may be judged.
    pub async fn renew(&self) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            // INVARIANT: counted from before it was asked for, so that this gate always stops earlier than the store
            // believes.
            let until = Monotonic(self.clock.monotonic().0.saturating_add(LEASE_LIFE_MS * 1_000));
            let told = self.known.position();
            match self.leases.renew(&self.holder, told, LEASE_LIFE_MS).await {
                // SECURITY: whoever revoked before the store knew this lease did not wait for it: only what is caught up
                // to the head, read after the renewal, may be trusted.
                Ok(head) => {
                    if self.known.position() < head {
                        self.catch_up().await?;
                    }
                    if self.known.position() < head {
                        return Err(StoreError::Unavailable("the feed ends before its head".to_owned()));
                    }
                    self.known.hold_lease(until);
                    if self.acknowledges && self.known.position() > told {
                        self.acknowledge().await;
                    }
                    return Ok(());
                }
                // It holds no lease and is behind.
                Err(StoreError::Conflict(_)) => self.catch_up().await?,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable("the feed runs faster than this gate".to_owned()))
    }

    /// Applies what is there until nothing more is.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        loop {
            let changes = self.feed.changes_after(self.known.position(), BATCH).await?;
            if changes.is_empty() {
                return Ok(());
            }
            self.apply(&changes);
        }
    }

    /// INVARIANT: `changes` were asked for after a position that is applied, so nothing is missing before them; what
    /// another turn has applied meanwhile is passed over.
    fn apply(&self, changes: &[Change]) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.known.position();
        let new = changes.partition_point(|change| change.position <= done);
        let Some(new) = changes.get(new..).filter(|new| !new.is_empty()) else { return };
        for change in new {
            if change.tenant == self.tenant {
                self.known.apply(change);
            } else {
                self.known.advance(change.position);
            }
        }
        if let Some(write) = &self.on_applied {
            write(new);
        }
        self.applied.send_replace(self.known.position());
    }
}

/// Sleeps; `false` when it is time to end.
pub(crate) async fn pause(stop: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => false,
        () = tokio::time::sleep(time) => true,
    }
}
