//! What does this gate know when it starts beside its store? The snapshot, and millions of revoked tokens from a file; the
//! follower goes on from there.

use super::{Stop, kept::KeptFile, pause};
use std::{path::PathBuf, sync::Arc, time::Duration};
use trigate_core::port::{Clock, LeftOut, StoreError, SystemStore};
use trigate_gates::{Known, LoadedKeys};

const PAGE: u32 = 10_000;
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// Fills the memory at the start, and keeps what is slow to read.
pub struct Keeper {
    pub system: Arc<dyn SystemStore>,
    pub known: Arc<Known>,
    pub clock: Arc<dyn Clock>,
    /// Where revoked tokens are kept for the next start.
    pub kept: PathBuf,
}

impl Keeper {
    /// Loads everything. Nothing may be trusted before the follower has caught up and taken a lease.
    pub async fn load(&self) -> Result<(), StoreError> {
        let (now, tenant) = (self.clock.now(), self.known.tenant());
        let mut position = self.file().load().await?;
        let snapshot = self.system.snapshot_without(tenant, now, LeftOut::KeysAndRevokedTokens).await?;
        // INVARIANT: read after the snapshot, to their end: no token that was revoked before its position is missing.
        loop {
            let tokens = self.system.revoked_tokens(tenant, position, now, PAGE).await?;
            let Some(last) = tokens.last() else { break };
            position = last.position;
            self.known.revoke_tokens(&tokens);
        }
        self.known.load_with(snapshot, self.keys().await?);
        Ok(())
    }

    async fn keys(&self) -> Result<LoadedKeys, StoreError> {
        let (mut keys, mut last) = (LoadedKeys::default(), None);
        loop {
            let page = self.system.keys_after(self.known.tenant(), last.as_ref(), PAGE).await?;
            let Some(key) = page.last() else { return Ok(keys) };
            last = Some(key.id.clone());
            page.into_iter().for_each(|key| keys.take(key));
        }
    }

    fn file(&self) -> KeptFile {
        KeptFile { path: self.kept.clone(), system: Arc::clone(&self.system), known: Arc::clone(&self.known) }
    }

    /// Keeps the revoked tokens in a file until told to end, and once more then.
    pub async fn keep_tokens(self: Arc<Self>, mut stop: Stop) {
        let kept = self.file();
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
}
