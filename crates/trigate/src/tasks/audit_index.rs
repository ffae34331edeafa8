//! How do decisions become answerable by a query? Copies them from the segments into the store, in batches, behind the
//! requests; and marks keys that were seen where they must not be.

use super::{Stop, pause};
use crate::metrics::Metrics;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use trigate_audit::Reader;
use trigate_core::{
    Act, Actor,
    audit::{Decision, Record},
    port::{Clock, IndexedDecision, Rng, TenantStore},
};

const BATCH: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(200);

pub struct Indexer {
    pub dir: PathBuf,
    pub node: String,
    pub store: Arc<dyn TenantStore>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub metrics: Arc<Metrics>,
}

/// Follows this node's segments until told to end, and then to their end.
pub async fn index_audit(indexer: Indexer, mut stop: Stop) {
    let mut reader = None;
    loop {
        let going = pause(&mut stop, PAUSE).await;
        match indexer.catch_up(reader.take()).await {
            Ok(kept) => reader = kept,
            Err(error) => {
                tracing::warn!(%error, "audit records were not indexed: they stay in the segments");
                if going {
                    let _ = pause(&mut stop, Duration::from_secs(2)).await;
                }
            }
        }
        if !going {
            return;
        }
    }
}

impl Indexer {
    async fn catch_up(&self, reader: Option<Reader>) -> Result<Option<Reader>, String> {
        let mut reader = match reader {
            Some(reader) => reader,
            None => {
                let from = self.store.indexed_up_to(&self.node).await.map_err(|error| error.to_string())?;
                let (dir, node) = (self.dir.clone(), self.node.clone());
                let opened = blocking(move || Reader::open(&dir, &node, from)).await?;
                match opened {
                    Some(reader) => reader,
                    None => return Ok(None),
                }
            }
        };
        loop {
            let (back, batch) = blocking(move || reader.next_batch(BATCH).map(|batch| (reader, batch))).await?;
            reader = back;
            let Some(next) = batch.last().map(|(index, _)| index + 1) else { return Ok(Some(reader)) };
            self.index(batch, next).await?;
        }
    }

    async fn index(&self, batch: Vec<(u64, Record)>, next: u64) -> Result<(), String> {
        let mut decisions = Vec::with_capacity(batch.len());
        for (index, record) in batch {
            if let Record::Decision(decision) = record {
                self.mark_exposed(&decision).await;
                decisions.push(IndexedDecision { node: self.node.clone(), index, decision: *decision });
            }
        }
        self.store.index_decisions(&self.node, decisions, next).await.map_err(|error| error.to_string())?;
        self.metrics.audit_indexed.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// A real key came in a URL: its owner should replace it (K01).
    async fn mark_exposed(&self, decision: &Decision) {
        let Some(key) = decision.facts.key.as_ref().filter(|_| decision.exposed) else { return };
        match self.store.find_key(key).await {
            Ok(Some(record)) if record.exposed_at.is_none() => {}
            _ => return,
        }
        let mut act = Act::new(&*self.clock, &*self.rng, Actor::System, "key.exposed", key.as_str());
        act.request = Some(decision.request.clone());
        match self.store.mark_key_exposed(act, key, decision.at).await {
            Ok(marked) => {
                marked.gives_only();
                tracing::warn!(%key, request = %decision.request, "an API key came in a URL: its owner should replace it");
            }
            Err(error) => tracing::warn!(%key, %error, "an exposed key was not marked"),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, trigate_audit::AuditError> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
