//! How do decisions become answerable by a query? Sealed segments are copied into the store, in batches, slowly; what is
//! newer is read from the segments when a question is asked. And: keys that were seen where they must not be are marked.

use super::{Stop, pause};
use crate::metrics::Metrics;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};
use trigate_audit::{AuditError, Reader, sealed_up_to};
use trigate_core::{
    Act, Actor,
    audit::{Decision, Record},
    id::{KeyId, RequestId},
    port::{Clock, IndexedDecision, Rng, TenantStore},
};

const BATCH: u64 = 500;
/// How often is looked for keys to mark: it takes no reading of records.
const MARK_EVERY: Duration = Duration::from_millis(200);
/// How often is looked for sealed segments, in such pauses.
const LOOK_EVERY: u32 = 25;
/// A batch is followed by a rest of so many times its own time: sealing costs the requests little, and for longer.
const REST: u32 = 4;
/// At the end at most so many records that are not sealed are indexed too: other nodes may never see this one's files.
const LAST_RECORDS: u64 = 10_000;
/// More are marked when their segment is indexed.
const MAX_EXPOSED: usize = 1_000;

/// Keys that came in a URL since the last look.
#[derive(Default)]
pub struct ExposedKeys(Mutex<HashMap<KeyId, RequestId>>);

impl ExposedKeys {
    /// Called on the road.
    pub fn tell(&self, key: &KeyId, request: &RequestId) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < MAX_EXPOSED && !keys.contains_key(key) {
            keys.insert(key.clone(), request.clone());
        }
    }

    fn take(&self) -> HashMap<KeyId, RequestId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub struct Indexer {
    pub dir: PathBuf,
    pub node: String,
    pub store: Arc<dyn TenantStore>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub metrics: Arc<Metrics>,
    pub exposed: Arc<ExposedKeys>,
}

/// Follows this node's segments until told to end.
pub async fn index_audit(indexer: Indexer, mut stop: Stop) {
    let mut looks = 0u32;
    loop {
        let going = pause(&mut stop, MARK_EVERY).await;
        for (key, request) in indexer.exposed.take() {
            indexer.mark_exposed(&key, &request).await;
        }
        if !going || looks.is_multiple_of(LOOK_EVERY) {
            let outcome = if going { indexer.index_sealed(&stop).await } else { indexer.index_last().await };
            if let Err(error) = outcome {
                tracing::warn!(%error, "audit records were not indexed: they stay in the segments");
            }
        }
        looks = looks.wrapping_add(1);
        if !going {
            return;
        }
    }
}

impl Indexer {
    async fn index_sealed(&self, stop: &Stop) -> Result<(), String> {
        let (dir, node) = (self.dir.clone(), self.node.clone());
        let sealed = blocking(move || sealed_up_to(&dir, &node)).await?;
        let from = self.indexed_up_to().await?;
        let Some(mut reader) = (if from < sealed { self.open(from).await? } else { None }) else { return Ok(()) };
        while reader.position() < sealed && !*stop.borrow() {
            let started = self.clock.monotonic().0;
            let most = BATCH.min(sealed - reader.position());
            reader = self.index_some(reader, most).await?;
            let took = Duration::from_micros(self.clock.monotonic().0.saturating_sub(started));
            let _ = pause(&mut stop.clone(), took.saturating_mul(REST)).await;
        }
        Ok(())
    }

    async fn index_last(&self) -> Result<(), String> {
        let from = self.indexed_up_to().await?;
        if let Some(mut reader) = self.open(from).await? {
            let mut last = from;
            while reader.position() < from + LAST_RECORDS {
                reader = self.index_some(reader, BATCH).await?;
                if reader.position() == last {
                    break;
                }
                last = reader.position();
            }
        }
        Ok(())
    }

    async fn indexed_up_to(&self) -> Result<u64, String> {
        let indexed = self.store.indexed_up_to(&self.node).await.map_err(|error| error.to_string())?;
        self.metrics.audit_indexed.store(indexed, Ordering::Relaxed);
        Ok(indexed)
    }

    async fn open(&self, from: u64) -> Result<Option<Reader>, String> {
        let (dir, node) = (self.dir.clone(), self.node.clone());
        blocking(move || Reader::open(&dir, &node, from)).await
    }

    async fn index_some(&self, mut reader: Reader, most: u64) -> Result<Reader, String> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (reader, batch) = blocking(move || reader.next_batch(most).map(|batch| (reader, batch))).await?;
        if let Some((last, _)) = batch.last() {
            let next = last + 1;
            self.index(batch, next).await?;
        }
        Ok(reader)
    }

    async fn index(&self, batch: Vec<(u64, Record)>, next: u64) -> Result<(), String> {
        let mut decisions = Vec::with_capacity(batch.len());
        for (index, record) in batch {
            if let Record::Decision(decision) = record {
                // Those that were told and not marked before this process was killed.
                if let Some(key) = exposed_key(&decision) {
                    self.mark_exposed(key, &decision.request).await;
                }
                decisions.push(IndexedDecision { node: self.node.clone(), index, decision: *decision });
            }
        }
        self.store.index_decisions(&self.node, decisions, next).await.map_err(|error| error.to_string())?;
        self.metrics.audit_indexed.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// A real key came in a URL: its owner should replace it (K01).
    async fn mark_exposed(&self, key: &KeyId, request: &RequestId) {
        match self.store.find_key(key).await {
            Ok(Some(record)) if record.exposed_at.is_none() => {}
            _ => return,
        }
        let mut act = Act::new(&*self.clock, &*self.rng, Actor::System, "key.exposed", key.as_str());
        act.request = Some(request.clone());
        match self.store.mark_key_exposed(act, key, self.clock.now()).await {
            Ok(marked) => {
                marked.gives_only();
                tracing::warn!(%key, %request, "an API key came in a URL: its owner should replace it");
            }
            Err(error) => tracing::warn!(%key, %error, "an exposed key was not marked"),
        }
    }
}

fn exposed_key(decision: &Decision) -> Option<&KeyId> {
    decision.facts.key.as_ref().filter(|_| decision.exposed)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
