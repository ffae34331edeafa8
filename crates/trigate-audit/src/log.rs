//! How does a decision get on record before the answer leaves? One chain per node, written by all cores: the handle that
//! the gates hold. What happens behind it is in `chain`.

use crate::{
    AuditError, Recovery,
    chain::{Inner, lock},
    folder::Folder,
    recover, worker,
};
use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};
use trigate_core::{
    audit::{ChainHead, Record},
    jose::{SigningKey, VerifyingKey},
    port::{AuditSink, Clock, Mark, Slot},
};

#[derive(Clone, Debug)]
pub struct SegmentSettings {
    /// A segment is sealed before it grows beyond this.
    pub segment_bytes: u64,
    /// A segment that has records is sealed at this age: sealed ones are indexed, the rest is read at each question.
    pub seal_after: Duration,
    /// Records that may be on their way at once; beyond, nothing passes (503).
    pub slots: usize,
    /// A record is on stable storage this long after it was written, plus the time that the disk takes.
    pub sync_within: Duration,
    /// A checkpoint is signed after so many records. At most eight times as many ever wait for one.
    pub checkpoint_records: u64,
    /// A checkpoint is signed after this time if there are new records.
    pub checkpoint_every: Duration,
    /// Keys that signed earlier checkpoints.
    pub former_keys: Vec<VerifyingKey>,
    /// A head kept outside: a log that is shorter does not open.
    pub expected: Option<ChainHead>,
    /// DANGER: after a power cut the last records, which no checkpoint covers, can be damaged and not only incomplete.
    /// That looks like tampering; with this the log opens all the same, drops them, and signs that it did.
    pub accept_damaged_tail: bool,
}

impl Default for SegmentSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            seal_after: Duration::from_secs(600),
            slots: 10_000,
            sync_within: Duration::from_millis(20),
            checkpoint_records: 8192,
            checkpoint_every: Duration::from_secs(10),
            former_keys: Vec::new(),
            expected: None,
            accept_damaged_tail: false,
        }
    }
}

/// How the log does.
#[derive(Clone, Debug)]
pub struct Health {
    /// Why nothing is written; `None` when all is well.
    pub failure: Option<String>,
    pub head: ChainHead,
    /// Records on stable storage.
    pub synced: u64,
    /// Records covered by a checkpoint.
    pub signed: u64,
    pub free_slots: usize,
    /// Completions and connections that could not be written.
    pub lost_notes: u64,
}

/// The one writer of a node's chain. Dropping it closes it.
pub struct SegmentLog {
    inner: Arc<Inner>,
    worker: Mutex<Option<JoinHandle<()>>>,
    recovery: Recovery,
    _lock: File,
}

impl SegmentLog {
    /// Opens the chain of `node` under `dir`, or begins it. The last segment is verified; an entry that was never
    /// completed is dropped.
    ///
    /// # Errors
    /// `Broken` when the last segment is not as it was left: nothing may be written behind it. `Locked`, `Io`.
    pub fn open(
        dir: &Path,
        node: &str,
        settings: SegmentSettings,
        clock: Arc<dyn Clock>,
        checkpoint_signer: Arc<SigningKey>,
    ) -> Result<Arc<Self>, AuditError> {
        let folder = Folder::of(dir, node)?;
        let lock = folder.lock()?;
        let mut keys = vec![checkpoint_signer.verifying_key().clone()];
        keys.extend(settings.former_keys.iter().cloned());
        let place = recover::find_place(&folder, &keys, &settings, clock.now())?;
        let recovery = Recovery { records: place.head.length, dropped_bytes: place.dropped_bytes };
        let inner = Arc::new(Inner::open(folder, settings, clock, checkpoint_signer, place)?);
        let worker = worker::start(Arc::clone(&inner)).map_err(AuditError::io(inner.folder.path()))?;
        Ok(Arc::new(Self { inner, worker: Mutex::new(Some(worker)), recovery, _lock: lock }))
    }

    /// What was found when this log was opened.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// Records in the kernel's hands, and the link of the last one.
    pub fn head(&self) -> ChainHead {
        self.inner.written_head()
    }

    /// The head of what is on stable storage now, signed, to be kept outside; see [`crate::read_checkpoint`].
    ///
    /// # Errors
    /// `Signing`, `NotWriting`.
    pub fn signed_head(&self) -> Result<String, AuditError> {
        self.inner.signed_head()
    }

    /// What the worker does now and then.
    #[cfg(test)]
    pub(crate) fn look_at_files(&self) -> Result<(), AuditError> {
        self.inner.check_in_place()
    }

    /// Writes what is left, signs that the chain ends here, and takes no more. Idempotent.
    ///
    /// # Errors
    /// When the last records could not be synced or the last checkpoint not be written.
    pub fn close(&self) -> Result<ChainHead, AuditError> {
        let Some(worker) = lock(&self.worker).take() else { return Ok(self.head()) };
        self.inner.stop.store(true, Ordering::Release);
        worker.thread().unpark();
        // The worker does not panic; if it did, what it had to do is done below.
        let _ = worker.join();
        self.inner.close()
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        // Whoever wants to know calls `close`.
        let _ = self.close();
    }
}

impl AuditSink for SegmentLog {
    fn reserve(&self) -> Option<Slot<'_>> {
        self.inner.writing.load(Ordering::Acquire).then_some(())?;
        let take = |free: usize| free.checked_sub(1);
        self.inner.free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).ok()?;
        Some(Slot::taken(self))
    }

    fn release(&self) {
        self.inner.free.fetch_add(1, Ordering::AcqRel);
    }

    fn append(&self, record: &Record) -> Option<Mark> {
        self.inner.append(record, false).ok()
    }

    fn flush_to(&self, mark: Mark) -> bool {
        self.inner.flush_to(mark).is_ok()
    }

    fn sync_to(&self, mark: Mark) -> bool {
        self.inner.flush_to(mark).and_then(|()| self.inner.sync_to(mark.length)).is_ok()
    }

    fn note(&self, record: &Record) {
        if self.inner.append(record, true).is_err() {
            self.inner.lost_notes.fetch_add(1, Ordering::Relaxed);
        }
    }
}
