//! Where does the chain stand, in memory and on disk? Records are chained into a buffer; one `write(2)` takes all that
//! was buffered; a sync and a signature follow.
//!
//! Trusts the kernel with what `write(2)` took, and the disk with what `fdatasync(2)` acknowledged. Never lets a
//! partial entry stand, never goes on after a failed sync, never says "written" when it was not.

use crate::{
    AuditError, Health, SegmentSettings,
    checkpoint::{Checkpoint, CheckpointKind, to_hex},
    folder::Folder,
    frame::{self, Frame},
    recover::Place,
};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
};
use trigate_core::{
    audit::{ChainHead, Record},
    jose::SigningKey,
    port::{Clock, Mark, Monotonic},
};

/// Whoever appends beyond this writes the buffer out first.
const MAX_BUFFER_BYTES: u64 = 256 << 10;
/// Ended generations whose marks can still be judged; older ones count as not written.
const ENDED_GENERATIONS: usize = 64;

/// Locks are taken in this order: `syncing`, `files`, `tail`, `failure`.
pub struct Inner {
    pub folder: Folder,
    pub settings: SegmentSettings,
    clock: Arc<dyn Clock>,
    signer: Arc<SigningKey>,
    tail: Mutex<Tail>,
    files: Mutex<Files>,
    failure: Mutex<Option<Failure>>,
    /// No failure and not closed. Cleared with the tail's lock held, so nothing is appended after.
    pub writing: AtomicBool,
    pub free: AtomicUsize,
    pub lost_notes: AtomicU64,
    /// Rises with each failure, before any number of the chain is given anew.
    generation: AtomicU64,
    /// Records in the kernel's hands; never falls.
    written: AtomicU64,
    /// Records on stable storage.
    synced: AtomicU64,
    /// Records that the last checkpoint covers.
    signed: AtomicU64,
    /// One sync at a time: those who wait for it find their records synced by it.
    syncing: Mutex<()>,
    pub dirty: AtomicBool,
    pub stop: AtomicBool,
    pub waker: OnceLock<Thread>,
}

/// Where the chain ends in memory.
struct Tail {
    head: ChainHead,
    /// Where the segment ends once all of `buffer` is written, in bytes.
    segment_end: u64,
    /// No record in this segment yet.
    fresh: bool,
    /// Whole frames, chained, in nobody's hands yet.
    buffer: Vec<u8>,
    /// How many of them are notes.
    notes: u64,
    /// Generations that ended, with the records that were written until then.
    ended: VecDeque<(u64, u64)>,
}

/// Where the chain ends in the kernel's hands.
struct Files {
    segment: u64,
    file: Arc<File>,
    /// End of the last whole entry, in bytes.
    end: u64,
    head: ChainHead,
    checkpoints: Arc<File>,
    checkpoints_end: u64,
    sequence: u64,
    signed_at: Monotonic,
    /// When this segment was begun, or the log opened.
    begun_at: Monotonic,
    /// The other buffer: appending goes on in one while this is written.
    spare: Vec<u8>,
}

struct Failure {
    message: String,
    /// A probe may end it.
    passing: bool,
}

/// What stops the log.
struct Trouble {
    error: AuditError,
    /// Until a probe has shown that writing works again. A failed sync is for good: the kernel may have dropped the
    /// pages and would call the next sync a success.
    passing: bool,
}

impl Trouble {
    const fn passing(error: AuditError) -> Self {
        Self { error, passing: true }
    }

    const fn for_good(error: AuditError) -> Self {
        Self { error, passing: false }
    }
}

/// INVARIANT: every holder leaves the state whole at each step, so a poisoned lock is as good as any.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
    pub fn open(
        folder: Folder,
        settings: SegmentSettings,
        clock: Arc<dyn Clock>,
        signer: Arc<SigningKey>,
        place: Place,
    ) -> Result<Self, AuditError> {
        let (file, end) = open_end(folder.segment(place.segment))?;
        file.sync_all().map_err(AuditError::io(folder.path()))?;
        let (checkpoints, checkpoints_end) = open_end(folder.checkpoints(place.segment))?;
        let head = place.head;
        let tail = Tail {
            head,
            segment_end: end,
            fresh: head.length == 0,
            buffer: Vec::new(),
            notes: 0,
            ended: VecDeque::new(),
        };
        let files = Files {
            segment: place.segment,
            file,
            end,
            head,
            checkpoints,
            checkpoints_end,
            sequence: place.sequence,
            signed_at: clock.monotonic(),
            begun_at: clock.monotonic(),
            spare: Vec::new(),
        };
        let inner = Self {
            folder,
            clock,
            signer,
            tail: Mutex::new(tail),
            files: Mutex::new(files),
            failure: Mutex::new(None),
            writing: AtomicBool::new(true),
            free: AtomicUsize::new(settings.slots),
            lost_notes: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            written: AtomicU64::new(head.length),
            synced: AtomicU64::new(head.length),
            signed: AtomicU64::new(head.length),
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
            self.write_checkpoint(&file, end, &seal).map_err(|trouble| trouble.error)?;
        }
        let mut files = lock(&self.files);
        let opened =
            self.checkpoint(CheckpointKind::Opened, files.segment, files.sequence, files.head, place.dropped_bytes);
        files.checkpoints_end = self
            .write_checkpoint(&files.checkpoints, files.checkpoints_end, &opened)
            .map_err(|trouble| trouble.error)?;
        files.sequence += 1;
        self.folder.sync().map_err(AuditError::io(self.folder.path()))
    }

    // Appending and writing.

    /// Chains one record into the buffer.
    pub fn append(&self, record: &Record, note: bool) -> Result<Mark, AuditError> {
        let mut frame = Frame::of(record).map_err(AuditError::TooLong)?;
        loop {
            let mut tail = lock(&self.tail);
            self.check_writing()?;
            if self.is_full(&tail, frame.len()) {
                drop(tail);
                self.make_room(frame.len())?;
                continue;
            }
            let next = frame.chain(&tail.head);
            tail.buffer.extend_from_slice(frame.link(&next.hash));
            tail.segment_end += frame.len();
            tail.head = next;
            tail.fresh = false;
            tail.notes += u64::from(note);
            // It changes with this lock held only.
            let mark = Mark { generation: self.generation.load(Ordering::Relaxed), length: next.length };
            drop(tail);
            self.wake();
            return Ok(mark);
        }
    }

    fn is_full(&self, tail: &Tail, bytes: u64) -> bool {
        let buffered = tail.buffer.len() as u64;
        self.is_segment_full(tail, bytes)
            || self.is_unsigned_too_far(tail)
            || (buffered > 0 && buffered + bytes > MAX_BUFFER_BYTES)
    }

    const fn is_segment_full(&self, tail: &Tail, bytes: u64) -> bool {
        !tail.fresh && tail.segment_end + bytes > self.settings.segment_bytes
    }

    fn is_unsigned_too_far(&self, tail: &Tail) -> bool {
        tail.head.length - self.signed.load(Ordering::Acquire) >= self.most_unsigned()
    }

    /// Writes out, seals, signs: what a record of so many bytes needs before it can be appended. All writers wait.
    fn make_room(&self, bytes: u64) -> Result<(), AuditError> {
        let mut files = lock(&self.files);
        let mut tail = lock(&self.tail);
        self.check_writing()?;
        let full = self.is_segment_full(&tail, bytes);
        // The worker fell behind; the bound is signed, so it must hold.
        let unsigned = self.is_unsigned_too_far(&tail);
        let done = self.write_out(&mut files, &mut tail).and_then(|()| {
            if full {
                self.rotate(&mut files)?;
                (tail.segment_end, tail.fresh) = (files.end, true);
            } else if unsigned {
                self.sign_now(&mut files)?;
            }
            Ok(())
        });
        done.map_err(|trouble| self.fail(&files, &mut tail, trouble))
    }

    fn write_out(&self, files: &mut Files, tail: &mut Tail) -> Result<(), Trouble> {
        self.write_bytes(files, &tail.buffer, tail.head)?;
        tail.buffer.clear();
        tail.notes = 0;
        Ok(())
    }

    fn write_bytes(&self, files: &mut Files, bytes: &[u8], head: ChainHead) -> Result<(), Trouble> {
        if bytes.is_empty() {
            return Ok(());
        }
        append_whole(&files.file, files.end, bytes)
            .map_err(|error| Trouble::passing(AuditError::io(&self.folder.segment(files.segment))(error)))?;
        files.end += bytes.len() as u64;
        files.head = head;
        self.written.store(head.length, Ordering::Release);
        Ok(())
    }

    /// Hands all that is buffered to the kernel. Others append meanwhile.
    fn flush_files(&self, files: &mut Files) -> Result<(), AuditError> {
        let (head, notes) = {
            let mut tail = lock(&self.tail);
            self.check_writing()?;
            std::mem::swap(&mut tail.buffer, &mut files.spare);
            (tail.head, std::mem::take(&mut tail.notes))
        };
        let bytes = std::mem::take(&mut files.spare);
        let written = self.write_bytes(files, &bytes, head);
        files.spare = bytes;
        files.spare.clear();
        written.map_err(|trouble| {
            let mut tail = lock(&self.tail);
            tail.notes += notes;
            self.fail(files, &mut tail, trouble)
        })
    }

    pub fn flush(&self) -> Result<(), AuditError> {
        self.flush_files(&mut lock(&self.files))
    }

    /// The record of this mark, and all before it, in the kernel's hands.
    pub fn flush_to(&self, mark: Mark) -> Result<(), AuditError> {
        if self.is_written(mark) {
            return Ok(());
        }
        let mut files = lock(&self.files);
        if self.is_written(mark) {
            return Ok(());
        }
        // SECURITY: what was buffered when a write failed was dropped, and its numbers are given anew: another's record
        // of the same number does not make this one written.
        if self.generation.load(Ordering::Acquire) == mark.generation {
            return self.flush_files(&mut files);
        }
        let tail = lock(&self.tail);
        let mut ended = tail.ended.iter();
        match ended.find(|(generation, _)| *generation == mark.generation) {
            Some((_, written)) if mark.length <= *written => Ok(()),
            _ => Err(AuditError::NotWriting("the record was dropped when a write failed".to_owned())),
        }
    }

    fn is_written(&self, mark: Mark) -> bool {
        // In this order: a length that belongs to a later generation comes with that generation's number.
        self.written.load(Ordering::Acquire) >= mark.length
            && self.generation.load(Ordering::Acquire) == mark.generation
    }

    fn wake(&self) {
        // Loaded first: under load it is set already, and all cores may share it.
        if !self.dirty.load(Ordering::Acquire)
            && !self.dirty.swap(true, Ordering::AcqRel)
            && let Some(worker) = self.waker.get()
        {
            worker.unpark();
        }
    }

    // Failing and going on.

    fn check_writing(&self) -> Result<(), AuditError> {
        if self.writing.load(Ordering::Acquire) {
            return Ok(());
        }
        let message = lock(&self.failure).as_ref().map(|failure| failure.message.clone());
        Err(AuditError::NotWriting(message.unwrap_or_else(|| "it is closed".to_owned())))
    }

    /// Nothing passes from here on. What was buffered is dropped: nobody was told that it was written, and now nobody is.
    fn fail(&self, files: &Files, tail: &mut Tail, trouble: Trouble) -> AuditError {
        if self.writing.swap(false, Ordering::AcqRel) {
            let generation = self.generation.fetch_add(1, Ordering::AcqRel);
            tail.ended.push_back((generation, files.head.length));
            if tail.ended.len() > ENDED_GENERATIONS {
                tail.ended.pop_front();
            }
        }
        (tail.head, tail.segment_end) = (files.head, files.end);
        tail.buffer.clear();
        self.lost_notes.fetch_add(std::mem::take(&mut tail.notes), Ordering::Relaxed);
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|failure| failure.passing) {
            *failure = Some(Failure { message: trouble.error.to_string(), passing: trouble.passing });
        }
        trouble.error
    }

    fn fail_with(&self, files: &Files, trouble: Trouble) -> AuditError {
        self.fail(files, &mut lock(&self.tail), trouble)
    }

    /// Are the files still the ones that we write to? A removed, replaced or shortened file would take our records
    /// along unseen.
    pub fn check_in_place(&self) -> Result<(), AuditError> {
        let files = lock(&self.files);
        let segment = (self.folder.segment(files.segment), &files.file, files.end);
        let checkpoints = (self.folder.checkpoints(files.segment), &files.checkpoints, files.checkpoints_end);
        for (path, file, end) in [segment, checkpoints] {
            let look = || Ok((fs::metadata(&path)?, file.metadata()?));
            let (named, held) =
                look().map_err(|error| self.fail_with(&files, Trouble::passing(AuditError::io(&path)(error))))?;
            if !same_file(&named, &held) || held.len() < end {
                let what = format!("`{}` was replaced or cut while it was written", path.display());
                return Err(self.fail_with(&files, Trouble::passing(AuditError::NotWriting(what))));
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
        let files = lock(&self.files);
        let tries = [(&files.file, files.end), (&files.checkpoints, files.checkpoints_end)];
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

    // Syncing and signing.

    pub const fn most_unsigned(&self) -> u64 {
        self.settings.checkpoint_records.saturating_mul(8)
    }

    /// The first `length` records on stable storage.
    pub fn sync_to(&self, length: u64) -> Result<(), AuditError> {
        let _one = lock(&self.syncing);
        if self.synced.load(Ordering::Acquire) >= length {
            return Ok(());
        }
        let (file, written) = {
            let mut files = lock(&self.files);
            self.flush_files(&mut files)?;
            (Arc::clone(&files.file), files.head.length)
        };
        // Segments before this one were synced when they were sealed.
        file.sync_data().map_err(|error| {
            let trouble = Trouble::for_good(AuditError::io(self.folder.path())(error));
            self.fail_with(&lock(&self.files), trouble)
        })?;
        self.synced.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    pub fn sync(&self) -> Result<(), AuditError> {
        self.flush()?;
        self.sync_to(self.written.load(Ordering::Acquire))
    }

    fn sync_files(&self, files: &Files) -> Result<(), Trouble> {
        files.file.sync_data().map_err(|error| Trouble::for_good(AuditError::io(self.folder.path())(error)))?;
        self.synced.fetch_max(files.head.length, Ordering::AcqRel);
        Ok(())
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
    fn write_checkpoint(&self, file: &File, end: u64, checkpoint: &Checkpoint) -> Result<u64, Trouble> {
        let mut line = checkpoint.sign(&self.signer).map_err(|error| Trouble::passing(error.into()))?;
        line.push('\n');
        let path = self.folder.checkpoints(checkpoint.segment);
        append_whole(file, end, line.as_bytes()).map_err(|error| Trouble::passing(AuditError::io(&path)(error)))?;
        file.sync_data().map_err(|error| Trouble::for_good(AuditError::io(&path)(error)))?;
        Ok(end + line.len() as u64)
    }

    /// Syncs and signs where the chain stands, with all writers waiting.
    fn sign_now(&self, files: &mut Files) -> Result<(), Trouble> {
        self.sync_files(files)?;
        let head = files.head;
        self.sign(files, CheckpointKind::Running, head)
    }

    fn sign(&self, files: &mut Files, kind: CheckpointKind, head: ChainHead) -> Result<(), Trouble> {
        let checkpoint = self.checkpoint(kind, files.segment, files.sequence, head, 0);
        files.checkpoints_end = self.write_checkpoint(&files.checkpoints, files.checkpoints_end, &checkpoint)?;
        files.sequence += 1;
        files.signed_at = self.clock.monotonic();
        self.signed.store(head.length, Ordering::Release);
        Ok(())
    }

    /// Signs a checkpoint if one is due. The sync comes first and without the lock.
    pub fn sign_if_due(&self) -> Result<(), AuditError> {
        let (head, segment) = {
            let files = lock(&self.files);
            let fresh = files.head.length - self.signed.load(Ordering::Acquire);
            let age_us = self.clock.monotonic().0.saturating_sub(files.signed_at.0);
            let old = u128::from(age_us) >= self.settings.checkpoint_every.as_micros();
            if fresh == 0 || (fresh < self.settings.checkpoint_records && !old) {
                return Ok(());
            }
            (files.head, files.segment)
        };
        self.sync_to(head.length)?;
        let mut files = lock(&self.files);
        // Sealed or signed further by a writer in the meantime: nothing is due any more.
        if files.segment != segment || self.signed.load(Ordering::Acquire) >= head.length {
            return Ok(());
        }
        let signed = self.sign(&mut files, CheckpointKind::Running, head);
        signed.map_err(|trouble| self.fail_with(&files, trouble))
    }

    /// Seals this segment and goes on in the next. The next one is there before the seal is, so a seal without a
    /// successor is always somebody's doing.
    fn rotate(&self, files: &mut Files) -> Result<(), Trouble> {
        let number = files.segment + 1;
        self.sync_files(files)?;
        let path = self.folder.segment(number);
        let begin = || {
            self.folder.place(&path, &frame::opening(self.folder.node(), number, &files.head))?;
            Ok((open_end(path.clone())?, open_end(self.folder.checkpoints(number))?))
        };
        let undo = || {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(self.folder.checkpoints(number));
        };
        let ((file, end), (checkpoints, checkpoints_end)) = begin().map_err(|error| {
            undo();
            Trouble::passing(error)
        })?;
        let head = files.head;
        self.sign(files, CheckpointKind::Sealed, head).inspect_err(|_| undo())?;
        (files.segment, files.file, files.end) = (number, file, end);
        (files.checkpoints, files.checkpoints_end) = (checkpoints, checkpoints_end);
        files.begun_at = self.clock.monotonic();
        Ok(())
    }

    /// Seals a segment that has become old.
    pub fn seal_if_due(&self) -> Result<(), AuditError> {
        let mut files = lock(&self.files);
        let age_us = self.clock.monotonic().0.saturating_sub(files.begun_at.0);
        if u128::from(age_us) < self.settings.seal_after.as_micros() {
            return Ok(());
        }
        let mut tail = lock(&self.tail);
        if tail.fresh {
            return Ok(());
        }
        self.check_writing()?;
        let sealed = self.write_out(&mut files, &mut tail).and_then(|()| self.rotate(&mut files));
        sealed.map_err(|trouble| self.fail(&files, &mut tail, trouble))?;
        (tail.segment_end, tail.fresh) = (files.end, true);
        Ok(())
    }

    pub fn close(&self) -> Result<ChainHead, AuditError> {
        let mut files = lock(&self.files);
        let mut tail = lock(&self.tail);
        self.check_writing()?;
        let closed = self.write_out(&mut files, &mut tail).and_then(|()| {
            self.sync_files(&files)?;
            let head = files.head;
            self.sign(&mut files, CheckpointKind::Closed, head)
        });
        closed.map_err(|trouble| self.fail(&files, &mut tail, trouble))?;
        self.writing.store(false, Ordering::Release);
        Ok(files.head)
    }

    // Telling.

    pub fn written_head(&self) -> ChainHead {
        lock(&self.files).head
    }

    pub fn health(&self) -> Health {
        let head = self.written_head();
        Health {
            failure: lock(&self.failure).as_ref().map(|failure| failure.message.clone()),
            head,
            synced: self.synced.load(Ordering::Acquire).min(head.length),
            signed: self.signed.load(Ordering::Acquire),
            free_slots: self.free.load(Ordering::Relaxed),
            lost_notes: self.lost_notes.load(Ordering::Relaxed),
        }
    }

    pub fn signed_head(&self) -> Result<String, AuditError> {
        let (head, segment, sequence) = {
            let mut files = lock(&self.files);
            self.flush_files(&mut files)?;
            (files.head, files.segment, files.sequence)
        };
        self.sync_to(head.length)?;
        Ok(self.checkpoint(CheckpointKind::Outside, segment, sequence, head, 0).sign(&self.signer)?)
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
