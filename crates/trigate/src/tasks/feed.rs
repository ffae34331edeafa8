//! What does this gate know, and how long may it trust that? Applies the feed in order; renews the lease only when
//! nothing that was committed before is missing.

use super::{Stop, kept::KeptFile, pause};
use crate::metrics::Metrics;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{Notify, watch};
use trigate_core::{
    Position,
    id::TenantId,
    port::{Clock, Monotonic, StoreError, SystemStore},
};
use trigate_gates::Known;

/// A gate trusts its memory for so long after it last asked.
pub const LEASE_LIFE_MS: u64 = 10_000;
const RENEW_EVERY: Duration = Duration::from_secs(1);
const BATCH: u32 = 1_000;
const PAGE: u32 = 10_000;
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// Keeps one gate process true to the feed.
pub struct Follower {
    pub system: Arc<dyn SystemStore>,
    pub known: Arc<Known>,
    pub tenant: TenantId,
    pub clock: Arc<dyn Clock>,
    pub node: String,
    pub metrics: Arc<Metrics>,
    /// Other nodes share the store: they learn at once what this one has applied.
    pub shared: bool,
    /// Told when something was applied.
    pub applied: watch::Sender<Position>,
    /// Rung when a change was committed in this process.
    pub bell: Arc<Notify>,
    /// Where revoked tokens are kept for the next start.
    pub kept: PathBuf,
    /// One at a time applies: the order of the feed is the order in memory.
    pub turn: tokio::sync::Mutex<()>,
}

impl Follower {
    /// Loads everything, catches up, and takes the first lease: before this returns, no request may be judged.
    pub async fn start(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let kept =
            KeptFile { path: self.kept.clone(), system: Arc::clone(&self.system), known: Arc::clone(&self.known) };
        let mut position = kept.load().await?;
        let snapshot = self.system.snapshot_without_tokens(&self.tenant, now).await?;
        // INVARIANT: read after the snapshot, to their end: no token that was revoked before its position is missing.
        loop {
            let tokens = self.system.revoked_tokens(&self.tenant, position, now, PAGE).await?;
            let Some(last) = tokens.last() else { break };
            position = last.position;
            self.known.revoke_tokens(&tokens);
        }
        self.known.load(snapshot);
        self.renew().await
    }

    /// Keeps the revoked tokens in a file until told to end, and once more then.
    pub async fn keep_tokens(self: Arc<Self>, mut stop: Stop) {
        let kept =
            KeptFile { path: self.kept.clone(), system: Arc::clone(&self.system), known: Arc::clone(&self.known) };
        let mut before = self.known.position();
        loop {
            let going = pause(&mut stop, KEEP_EVERY).await;
            if self.known.position() > before {
                before = self.known.position();
                if let Err(error) = kept.save().await {
                    tracing::warn!(%error, "revoked tokens were not kept in a file: the next start takes longer");
                }
            }
            if !going {
                return;
            }
        }
    }

    /// Follows until told to end.
    pub async fn follow(self: Arc<Self>, mut stop: Stop) {
        let mut errors = 0u32;
        loop {
            let waited = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.bell.notified() => Ok(()),
                waited = self.system.wait_beyond(self.known.position(), 1_000) => waited,
            };
            let before = self.known.position();
            let outcome = match waited {
                Ok(()) => self.catch_up().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => errors = 0,
                Err(error) => {
                    errors = errors.saturating_add(1);
                    tracing::error!(%error, errors, "the change feed cannot be read: the lease runs out unless it comes back");
                    if !pause(&mut stop, Duration::from_millis(100 * u64::from(errors.min(20)))).await {
                        return;
                    }
                }
            }
            if self.shared && self.known.position() > before {
                // An acknowledgement that another node's revocation may wait for.
                let _ = self.system.renew(&self.node, self.known.position(), LEASE_LIFE_MS).await;
            }
        }
    }

    /// Renews the lease each second until told to end, then gives it back.
    pub async fn keep_lease(self: Arc<Self>, mut stop: Stop) {
        while pause(&mut stop, RENEW_EVERY).await {
            if let Err(error) = self.renew().await {
                tracing::error!(%error, "the lease was not renewed");
            }
        }
        self.known.drop_lease();
        let _ = self.system.release(&self.node).await;
    }

    async fn renew(&self) -> Result<(), StoreError> {
        // INVARIANT: counted from before it was asked for, so that this gate always stops earlier than the store believes.
        let until = Monotonic(self.clock.monotonic().0.saturating_add(LEASE_LIFE_MS * 1_000));
        self.system.renew(&self.node, self.known.position(), LEASE_LIFE_MS).await?;
        // SECURITY: whoever revoked before the store knew this lease did not wait for it: only what is caught up to the
        // head, read after the renewal, may be trusted.
        let head = self.system.head().await?;
        while self.known.position() < head {
            self.catch_up().await?;
        }
        self.known.hold_lease(until);
        let remaining = until.0.saturating_sub(self.clock.monotonic().0) / 1_000;
        self.metrics.lease_remaining_ms.store(remaining, Ordering::Relaxed);
        Ok(())
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        loop {
            let changes = self.system.changes_after(self.known.position(), BATCH).await?;
            let Some(last) = changes.last().map(|change| change.position) else { break };
            for change in &changes {
                if change.tenant == self.tenant {
                    self.known.apply(change);
                } else {
                    self.known.advance(change.position);
                }
            }
            self.known.advance(last);
        }
        let position = self.known.position();
        self.metrics.feed_position.store(position.0, Ordering::Relaxed);
        self.applied.send_replace(position);
        Ok(())
    }
}
