//! How does a decision get on record before the answer leaves? One chain per node, written by all cores.
//!
//! Trusts the kernel with what `write(2)` took, and the disk with what `fdatasync(2)` acknowledged. Never lets a
//! partial entry stand, never goes on after a failed sync, never says "written" when it was not.

use crate::{
    AuditError, Recovery,
    checkpoint::{Checkpoint, CheckpointKind, to_hex},
    folder::Folder,
    frame::{self, Frame},
    recover::{self, Place},
    worker,
};
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};
use trigate_core::{
    audit::{ChainHead, Record},
    jose::{SigningKey, VerifyingKey},
    port::{AuditSink, Clock, Monotonic, Slot},
};

#[derive(Clone, Debug)]
pub struct SegmentSettings {
    /// A segment is sealed before it grows beyond this.
    pub segment_bytes: u64,
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
        let inner = Arc::new(Inner::new(folder, settings, clock, checkpoint_signer, place)?);
        let worker = worker::start(Arc::clone(&inner)).map_err(AuditError::io(inner.folder.path()))?;
        Ok(Arc::new(Self { inner, worker: Mutex::new(Some(worker)), recovery, _lock: lock }))
    }

    /// What was found when this log was opened.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    pub fn health(&self) -> Health {
        let state = lock(&self.inner.state);
        let (head, signed) = (state.head, state.signed);
        drop(state);
        Health {
            failure: lock(&self.inner.failure).as_ref().map(|failure| failure.message.clone()),
            head,
            synced: self.inner.synced.load(Ordering::Acquire).min(head.length),
            signed,
            free_slots: self.inner.free.load(Ordering::Relaxed),
            lost_notes: self.inner.lost_notes.load(Ordering::Relaxed),
        }
    }

    /// Records so far, and the link of the last one.
    pub fn head(&self) -> ChainHead {
        lock(&self.inner.state).head
    }

    /// The head of what is on stable storage now, signed, to be kept outside; see [`crate::read_checkpoint`].
    ///
    /// # Errors
    /// `Signing`, `NotWriting`.
    pub fn signed_head(&self) -> Result<String, AuditError> {
        let (head, segment, sequence) = {
            let state = lock(&self.inner.state);
            (state.head, state.segment, state.sequence)
        };
        self.inner.sync_to(head.length)?;
        let kind = CheckpointKind::Outside;
        Ok(self.inner.checkpoint(kind, segment, sequence, head, 0).sign(&self.inner.signer)?)
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
    fn reserve(&self) -> Option<Box<dyn Slot>> {
        self.inner.writing.load(Ordering::Acquire).then_some(())?;
        let take = |free: usize| free.checked_sub(1);
        self.inner.free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).ok()?;
        Some(Box::new(SegmentSlot(Arc::clone(&self.inner))))
    }

    fn note(&self, record: &Record) {
        if self.inner.append(record).is_err() {
            self.inner.lost_notes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct SegmentSlot(Arc<Inner>);

impl Slot for SegmentSlot {
    fn write(self: Box<Self>, record: &Record, sync: bool) -> bool {
        let written = self.0.append(record);
        match written {
            Ok(length) if sync => self.0.sync_to(length).is_ok(),
            written => written.is_ok(),
        }
    }
}

impl Drop for SegmentSlot {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
    }
}

struct Failure {
    message: String,
    /// A probe may end it.
    passing: bool,
}

pub struct Inner {
    pub folder: Folder,
    pub settings: SegmentSettings,
    pub clock: Arc<dyn Clock>,
    signer: Arc<SigningKey>,
    state: Mutex<State>,
    failure: Mutex<Option<Failure>>,
    /// No failure and not closed.
    pub writing: AtomicBool,
    free: AtomicUsize,
    lost_notes: AtomicU64,
    /// Records on stable storage.
    synced: AtomicU64,
    /// One sync at a time: those who wait for it find their records synced by it.
    syncing: Mutex<()>,
    pub dirty: AtomicBool,
    pub stop: AtomicBool,
    pub waker: OnceLock<Thread>,
}

struct State {
    segment: u64,
    file: Arc<File>,
    /// End of the last whole entry, in bytes.
    end: u64,
    head: ChainHead,
    checkpoints: Arc<File>,
    checkpoints_end: u64,
    sequence: u64,
    /// Records that the last checkpoint covers, and when it was made.
    signed: u64,
    signed_at: Monotonic,
}

/// INVARIANT: every holder leaves the state whole at each step, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For appending: each write goes to the end, wherever that is after a cut.
fn open_end(path: PathBuf) -> Result<(Arc<File>, u64), AuditError> {
    let file = File::options().append(true).create(true).open(&path).map_err(AuditError::io(&path))?;
    let end = file.metadata().map_err(AuditError::io(&path))?.len();
    Ok((Arc::new(file), end))
}

/// All of `bytes` or none.
fn append_whole(file: &File, end: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut to = file;
    to.write_all(bytes).inspect_err(|_| {
        // If even this fails, the probe tries again before anything else is written.
        let _ = file.set_len(end);
    })
}

impl Inner {
    fn new(
        folder: Folder,
        settings: SegmentSettings,
        clock: Arc<dyn Clock>,
        signer: Arc<SigningKey>,
        place: Place,
    ) -> Result<Self, AuditError> {
        let (file, end) = open_end(folder.segment(place.segment))?;
        file.sync_all().map_err(AuditError::io(folder.path()))?;
        let (checkpoints, checkpoints_end) = open_end(folder.checkpoints(place.segment))?;
        let state = State {
            segment: place.segment,
            file,
            end,
            head: place.head,
            checkpoints,
            checkpoints_end,
            sequence: place.sequence,
            signed: place.head.length,
            signed_at: clock.monotonic(),
        };
        let inner = Self {
            folder,
            clock,
            signer,
            state: Mutex::new(state),
            failure: Mutex::new(None),
            writing: AtomicBool::new(true),
            free: AtomicUsize::new(settings.slots),
            lost_notes: AtomicU64::new(0),
            synced: AtomicU64::new(place.head.length),
            syncing: Mutex::new(()),
            dirty: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            waker: OnceLock::new(),
            settings,
        };
        inner.finish_opening(&place)?;
        Ok(inner)
    }

    fn finish_opening(&self, place: &Place) -> Result<(), AuditError> {
        if let Some((head, _)) = place.unsealed {
            let (file, end) = open_end(self.folder.checkpoints(place.segment - 1))?;
            let seal = self.checkpoint(CheckpointKind::Sealed, place.segment - 1, place.sequence - 1, head, 0);
            self.write_checkpoint(&file, end, &seal)?;
        }
        let mut state = lock(&self.state);
        let opened =
            self.checkpoint(CheckpointKind::Opened, state.segment, state.sequence, state.head, place.dropped_bytes);
        state.checkpoints_end = self.write_checkpoint(&state.checkpoints, state.checkpoints_end, &opened)?;
        state.sequence += 1;
        self.folder.sync().map_err(AuditError::io(self.folder.path()))
    }

    /// Chains and writes one record; how many there are then. It is in the kernel's hands when this returns.
    fn append(&self, record: &Record) -> Result<u64, AuditError> {
        let mut frame = Frame::new(record).map_err(AuditError::TooLong)?;
        let mut state = lock(&self.state);
        self.check_writing()?;
        if state.end + frame.len() > self.settings.segment_bytes && state.head.length > 0 {
            self.rotate(&mut state)?;
        }
        if state.head.length - state.signed >= self.most_unsigned() {
            // The worker fell behind; the bound is signed, so it must hold.
            self.sign_now(&mut state)?;
        }
        let next = state.head.append(frame.payload());
        append_whole(&state.file, state.end, frame.link(&next.hash))
            .map_err(|error| self.fail(AuditError::io(&self.folder.segment(state.segment))(error)))?;
        state.end += frame.len();
        state.head = next;
        drop(state);
        self.wake();
        Ok(next.length)
    }

    fn wake(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel)
            && let Some(worker) = self.waker.get()
        {
            worker.unpark();
        }
    }

    pub const fn most_unsigned(&self) -> u64 {
        self.settings.checkpoint_records.saturating_mul(8)
    }

    fn check_writing(&self) -> Result<(), AuditError> {
        if self.writing.load(Ordering::Acquire) {
            return Ok(());
        }
        let message = lock(&self.failure).as_ref().map(|failure| failure.message.clone());
        Err(AuditError::NotWriting(message.unwrap_or_else(|| "it is closed".to_owned())))
    }

    /// Nothing passes until a probe has shown that writing works again.
    fn fail(&self, error: AuditError) -> AuditError {
        self.note_failure(error, true)
    }

    /// Nothing passes until the log is opened anew. A failed sync is such: the kernel may have dropped the pages and
    /// would call the next sync a success.
    fn fail_for_good(&self, error: AuditError) -> AuditError {
        self.note_failure(error, false)
    }

    fn note_failure(&self, error: AuditError, passing: bool) -> AuditError {
        let mut failure = lock(&self.failure);
        self.writing.store(false, Ordering::Release);
        if failure.as_ref().is_none_or(|failure| failure.passing) {
            *failure = Some(Failure { message: error.to_string(), passing });
        }
        error
    }

    /// The first `length` records on stable storage.
    pub fn sync_to(&self, length: u64) -> Result<(), AuditError> {
        let _one = lock(&self.syncing);
        if self.synced.load(Ordering::Acquire) >= length {
            return Ok(());
        }
        let (file, written) = {
            let state = lock(&self.state);
            (Arc::clone(&state.file), state.head.length)
        };
        // Segments before this one were synced when they were sealed.
        file.sync_data().map_err(|error| self.fail_for_good(AuditError::io(self.folder.path())(error)))?;
        self.synced.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    pub fn sync(&self) -> Result<(), AuditError> {
        let written = lock(&self.state).head.length;
        self.sync_to(written)
    }

    fn checkpoint(
        &self,
        kind: CheckpointKind,
        segment: u64,
        sequence: u64,
        head: ChainHead,
        dropped_bytes: u64,
    ) -> Checkpoint {
        Checkpoint {
            node: self.folder.node().to_owned(),
            kind,
            segment,
            sequence,
            length: head.length,
            hash: to_hex(&head.hash),
            within: self.most_unsigned(),
            dropped_bytes,
            at: self.clock.now(),
        }
    }

    /// The file's new end.
    fn write_checkpoint(&self, file: &File, end: u64, checkpoint: &Checkpoint) -> Result<u64, AuditError> {
        let mut line = checkpoint.sign(&self.signer)?;
        line.push('\n');
        let path = self.folder.checkpoints(checkpoint.segment);
        append_whole(file, end, line.as_bytes()).map_err(|error| self.fail(AuditError::io(&path)(error)))?;
        file.sync_data().map_err(|error| self.fail_for_good(AuditError::io(&path)(error)))?;
        Ok(end + line.len() as u64)
    }

    /// Syncs and signs where the chain stands, with all writers waiting.
    fn sign_now(&self, state: &mut State) -> Result<(), AuditError> {
        state.file.sync_data().map_err(|error| self.fail_for_good(AuditError::io(self.folder.path())(error)))?;
        self.synced.fetch_max(state.head.length, Ordering::AcqRel);
        self.sign(state, CheckpointKind::Running, state.head)
    }

    fn sign(&self, state: &mut State, kind: CheckpointKind, head: ChainHead) -> Result<(), AuditError> {
        let checkpoint = self.checkpoint(kind, state.segment, state.sequence, head, 0);
        state.checkpoints_end = self.write_checkpoint(&state.checkpoints, state.checkpoints_end, &checkpoint)?;
        state.sequence += 1;
        state.signed = head.length;
        state.signed_at = self.clock.monotonic();
        Ok(())
    }

    /// Signs a checkpoint if one is due. The sync comes first and without the lock.
    pub fn sign_if_due(&self) -> Result<(), AuditError> {
        let (head, segment) = {
            let state = lock(&self.state);
            let fresh = state.head.length - state.signed;
            let age_us = self.clock.monotonic().0.saturating_sub(state.signed_at.0);
            let old = u128::from(age_us) >= self.settings.checkpoint_every.as_micros();
            if fresh == 0 || (fresh < self.settings.checkpoint_records && !old) {
                return Ok(());
            }
            (state.head, state.segment)
        };
        self.sync_to(head.length)?;
        let mut state = lock(&self.state);
        // Sealed or signed further by a writer in the meantime: nothing is due any more.
        if state.segment != segment || state.signed >= head.length {
            return Ok(());
        }
        self.sign(&mut state, CheckpointKind::Running, head)
    }

    /// Seals this segment and goes on in the next. The next one is there before the seal is, so a seal without a
    /// successor is always somebody's doing.
    fn rotate(&self, state: &mut State) -> Result<(), AuditError> {
        let number = state.segment + 1;
        state.file.sync_data().map_err(|error| self.fail_for_good(AuditError::io(self.folder.path())(error)))?;
        self.synced.fetch_max(state.head.length, Ordering::AcqRel);
        let path = self.folder.segment(number);
        let begin = || {
            self.folder.place(&path, &frame::opening(self.folder.node(), number, &state.head))?;
            Ok((open_end(path.clone())?, open_end(self.folder.checkpoints(number))?))
        };
        let undo = || {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(self.folder.checkpoints(number));
        };
        let ((file, end), (checkpoints, checkpoints_end)) = begin().map_err(|error| {
            undo();
            self.fail(error)
        })?;
        self.sign(state, CheckpointKind::Sealed, state.head).inspect_err(|_| undo())?;
        (state.segment, state.file, state.end) = (number, file, end);
        (state.checkpoints, state.checkpoints_end) = (checkpoints, checkpoints_end);
        Ok(())
    }

    /// Are the files still the ones that we write to? A removed, replaced or shortened file would take our records
    /// along unseen.
    pub fn check_in_place(&self) -> Result<(), AuditError> {
        let state = lock(&self.state);
        let segment = (self.folder.segment(state.segment), &state.file, state.end);
        let checkpoints = (self.folder.checkpoints(state.segment), &state.checkpoints, state.checkpoints_end);
        for (path, file, end) in [segment, checkpoints] {
            let named = fs::metadata(&path).map_err(|error| self.fail(AuditError::io(&path)(error)))?;
            let held = file.metadata().map_err(|error| self.fail(AuditError::io(&path)(error)))?;
            if !same_file(&named, &held) || held.len() < end {
                let what = format!("`{}` was replaced or cut while it was written", path.display());
                return Err(self.fail(AuditError::NotWriting(what)));
            }
        }
        Ok(())
    }

    /// After a failure: cuts what was left half-written, and tries whether the disk takes bytes again.
    pub fn probe(&self) {
        let passing = lock(&self.failure).as_ref().is_some_and(|failure| failure.passing);
        if !passing || self.check_in_place().is_err() {
            return;
        }
        let state = lock(&self.state);
        let tries = [(&state.file, state.end), (&state.checkpoints, state.checkpoints_end)];
        // Zeros are room that was never filled, should the process die between the two steps.
        let works = tries.iter().all(|(file, end)| {
            let mut to: &File = file;
            file.set_len(*end).is_ok() & to.write_all(&[0; 4096]).is_ok() & file.set_len(*end).is_ok()
        });
        if works {
            *lock(&self.failure) = None;
            self.writing.store(!self.stop.load(Ordering::Acquire), Ordering::Release);
        }
    }

    fn close(&self) -> Result<ChainHead, AuditError> {
        self.check_writing()?;
        let mut state = lock(&self.state);
        self.writing.store(false, Ordering::Release);
        state.file.sync_data().map_err(|error| self.fail_for_good(AuditError::io(self.folder.path())(error)))?;
        self.synced.fetch_max(state.head.length, Ordering::AcqRel);
        let head = state.head;
        self.sign(&mut state, CheckpointKind::Closed, head)?;
        Ok(head)
    }
}

#[cfg(unix)]
fn same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    one.created().ok() == other.created().ok()
}
