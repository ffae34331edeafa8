//! Is a node's chain whole? Walks every segment, link by link and checkpoint by checkpoint.
//!
//! Trusts the public keys and the head it is handed, and nothing on disk. Reads checkpoints before the records they
//! cover, so it can run beside the writer.

use crate::{
    AuditError, Broken, CheckpointKind,
    checkpoint::{Checkpoint, read_checkpoint, read_lines},
    folder::Folder,
    frame::{self, Header, SegmentFile, Step},
};
use std::{fs, path::Path};
use trigate_core::{audit::ChainHead, jose::VerifyingKey};

/// A chain that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records that were read.
    pub records: u64,
    pub segments: u64,
    pub head: ChainHead,
    /// Checkpoints whose signature and place are right.
    pub checkpoints: u64,
    /// Number of the first record: above 0 when older ones were pruned.
    pub first: u64,
    /// Records after the last checkpoint: chained, but signed by nobody yet.
    pub unsigned: u64,
    /// The log was closed and nothing came after.
    pub closed: bool,
    /// An incomplete entry is at the end: the writer was killed, or is writing just now.
    pub torn: bool,
    /// Bytes that were dropped after crashes, as signed when the log was opened again.
    pub dropped_bytes: u64,
}

/// Verifies the chain of `node` under `dir`. `keys`: every key that signed checkpoints, the retired ones too.
/// `expected`: a head kept outside; the chain must pass through it.
///
/// # Errors
/// The first record that is bad or missing. A folder that cannot be read is broken too.
pub fn verify(dir: &Path, node: &str, keys: &[VerifyingKey], expected: Option<ChainHead>) -> Result<Verified, Broken> {
    let broken = |error: AuditError| Broken { node: node.to_owned(), index: 0, segment: 0, what: error.to_string() };
    let folder = Folder::of(dir, node).map_err(broken)?;
    let numbers = folder.numbers(".seg").map_err(broken)?;
    let mut walk = Walk::start(&folder, keys, expected)?;
    let (first, first_segment) = (walk.head.length, walk.segment);
    let last = walk.all(numbers.last().copied().unwrap_or(0))?;
    walk.check_expected_reached()?;
    if walk.checkpoints == 0 {
        return Err(walk.broken("there is no checkpoint".to_owned()));
    }
    Ok(Verified {
        records: walk.head.length - first,
        segments: walk.segment - first_segment + 1,
        head: walk.head,
        checkpoints: walk.checkpoints,
        first,
        unsigned: walk.head.length - walk.signed,
        closed: walk.last_kind == Some(CheckpointKind::Closed),
        torn: last.torn,
        dropped_bytes: walk.dropped_bytes,
    })
}

/// How a segment ended.
#[derive(Clone, Copy)]
pub struct SegmentEnd {
    pub sealed: bool,
    /// End of the last whole entry, in bytes.
    pub offset: u64,
    pub torn: bool,
    /// End of the last whole checkpoint line, in bytes.
    pub checkpoints_end: u64,
}

/// Where the verification stands.
#[derive(Clone)]
pub struct Walk<'a> {
    folder: &'a Folder,
    keys: &'a [VerifyingKey],
    expected: Option<ChainHead>,
    /// Damage after the last checkpoint ends the walk instead of breaking it.
    pub lenient: bool,
    pub head: ChainHead,
    pub segment: u64,
    /// Number that the next checkpoint must have.
    pub sequence: u64,
    checkpoints: u64,
    dropped_bytes: u64,
    /// Records covered by the last checkpoint, and how many may follow it.
    signed: u64,
    within: u64,
    last_kind: Option<CheckpointKind>,
}

impl<'a> Walk<'a> {
    /// At the first record: of the chain, or after the pruned ones.
    pub fn start(folder: &'a Folder, keys: &'a [VerifyingKey], expected: Option<ChainHead>) -> Result<Self, Broken> {
        let mut walk = Self {
            folder,
            keys,
            expected,
            lenient: false,
            head: ChainHead::start(folder.node()),
            segment: 1,
            sequence: 0,
            checkpoints: 0,
            dropped_bytes: 0,
            signed: 0,
            within: 0,
            last_kind: None,
        };
        let text = match fs::read_to_string(folder.pruned()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(walk),
            Err(error) => return Err(walk.broken(format!("`pruned.jws` cannot be read: {error}"))),
            Ok(text) => text,
        };
        let pruned = walk.read(text.trim_end(), "`pruned.jws`")?;
        // Any other checkpoint here would pass a deletion off as pruning.
        if pruned.kind != CheckpointKind::Pruned {
            return Err(walk.broken("`pruned.jws` is not a statement of pruning".to_owned()));
        }
        walk.jump_after(&pruned, pruned.segment);
        if walk.expected.is_some_and(|expected| expected.length < walk.head.length) {
            return Err(walk.broken("the expected head is older than the pruning".to_owned()));
        }
        Ok(walk)
    }

    /// At the start of segment `number`, trusting the seal of the one before.
    pub fn at(folder: &'a Folder, keys: &'a [VerifyingKey], number: u64) -> Result<Self, Broken> {
        let mut walk = Self::start(folder, keys, None)?;
        if number <= walk.segment {
            return Ok(walk);
        }
        walk.segment = number - 1;
        let seal = walk.seal()?.ok_or_else(|| walk.broken("the segment was never sealed".to_owned()))?;
        walk.jump_after(&seal, number);
        Ok(walk)
    }

    fn jump_after(&mut self, checkpoint: &Checkpoint, segment: u64) {
        self.head = checkpoint.head().unwrap_or(self.head);
        self.segment = segment;
        self.sequence = checkpoint.sequence + 1;
        self.signed = checkpoint.length;
        self.within = checkpoint.within;
        self.checkpoints += 1;
        self.dropped_bytes += checkpoint.dropped_bytes;
        self.last_kind = Some(checkpoint.kind);
    }

    /// The seal of this segment, if it is sealed.
    pub fn seal(&self) -> Result<Option<Checkpoint>, Broken> {
        let (lines, _) = self.lines()?;
        let Some(line) = lines.last() else { return Ok(None) };
        let checkpoint = self.read(line, "the last checkpoint")?;
        Ok((checkpoint.kind == CheckpointKind::Sealed && checkpoint.segment == self.segment).then_some(checkpoint))
    }

    /// Every segment from here. `last` is the highest that was seen; later ones may come while we read.
    pub fn all(&mut self, last: u64) -> Result<SegmentEnd, Broken> {
        loop {
            let before = self.clone();
            let mut end = self.one()?;
            let more = self.folder.has(self.segment + 1);
            if more && !end.sealed {
                // Sealed while we read it? A successor that has records at this moment says so.
                let successor = self.folder.segment(self.segment + 1);
                let begun = fs::read(successor).map_err(|error| self.broken(error.to_string()))?;
                *self = before;
                end = self.one()?;
                if !end.sealed && begun == frame::opening(self.folder.node(), self.segment + 1, &self.head) {
                    // About to be sealed, or killed just then: the chain ends here.
                    return Ok(end);
                }
                if !end.sealed {
                    return Err(self.broken("the segment has a successor and was never sealed".to_owned()));
                }
            }
            if !more && (end.sealed || last > self.segment) {
                self.segment += 1;
                return Err(self.broken("the segment is missing".to_owned()));
            }
            if !more {
                return Ok(end);
            }
            self.segment += 1;
        }
    }

    /// This segment: checkpoints, header, records.
    pub fn one(&mut self) -> Result<SegmentEnd, Broken> {
        // Measured first: what the writer adds from here on may not be signed in what we read next.
        let visible = fs::metadata(self.folder.segment(self.segment)).map_or(0, |file| file.len());
        let (lines, checkpoints_end) = self.lines()?;
        let checkpoints = self.check_lines(&lines)?;
        let sealed = checkpoints.last().is_some_and(|last| last.kind == CheckpointKind::Sealed);
        let mut waiting = checkpoints.into_iter().peekable();
        let mut file = self.check_header()?;
        let mut torn = false;
        loop {
            while let Some(checkpoint) = waiting.next_if(|next| next.length == self.head.length) {
                self.check_checkpoint(&checkpoint)?;
            }
            self.check_expected()?;
            match file.step().map_err(|error| self.broken(format!("the segment cannot be read: {error}")))? {
                Step::Entry { link, payload } => {
                    let sealed_here = sealed && waiting.peek().is_none();
                    if sealed_here || self.last_kind == Some(CheckpointKind::Closed) {
                        return Err(
                            self.broken("a record was added after the last checkpoint closed the log".to_owned())
                        );
                    }
                    self.head =
                        self.head.follow(&payload, &link).map_err(|found| self.broken(found.what.to_owned()))?;
                    if waiting.peek().is_none() && file.offset() <= visible {
                        self.check_bound()?;
                    }
                }
                Step::End => break,
                Step::Torn => {
                    torn = true;
                    break;
                }
                Step::Damaged(_) if self.lenient && waiting.peek().is_none() => {
                    torn = true;
                    break;
                }
                Step::Damaged(what) => return Err(self.broken(what.to_owned())),
            }
        }
        if let Some(checkpoint) = waiting.next() {
            let (from, to, number) = (self.head.length, checkpoint.length, checkpoint.sequence);
            return Err(
                self.broken(format!("records {from} to {to} (exclusive) are missing: checkpoint {number} signs them"))
            );
        }
        if sealed && torn {
            return Err(self.broken("bytes were added after the segment was sealed".to_owned()));
        }
        Ok(SegmentEnd { sealed, offset: file.offset(), torn, checkpoints_end })
    }

    fn lines(&self) -> Result<(Vec<String>, u64), Broken> {
        read_lines(&self.folder.checkpoints(self.segment))
            .map_err(|error| self.broken_at(self.signed, format!("the checkpoints cannot be read: {error}")))
    }

    fn check_lines(&self, lines: &[String]) -> Result<Vec<Checkpoint>, Broken> {
        let mut checkpoints: Vec<Checkpoint> = Vec::with_capacity(lines.len());
        for line in lines {
            let (number, after) = (self.sequence + checkpoints.len() as u64, checkpoints.last());
            let least = after.map_or(self.head.length, |last| last.length);
            let at = |what: String| self.broken_at(least, what);
            let next = self.read(line, &format!("checkpoint {number}")).map_err(|broken| at(broken.what))?;
            let sealed = after.is_some_and(|last| last.kind == CheckpointKind::Sealed);
            let outside = matches!(next.kind, CheckpointKind::Pruned | CheckpointKind::Outside);
            if next.sequence != number || next.segment != self.segment || next.length < least || sealed || outside {
                return Err(at(format!("checkpoint {number} is missing or moved")));
            }
            checkpoints.push(next);
        }
        Ok(checkpoints)
    }

    fn check_header(&self) -> Result<SegmentFile, Broken> {
        let unreadable = |error| self.broken(format!("the segment cannot be read: {error}"));
        let opened = SegmentFile::open(&self.folder.segment(self.segment)).map_err(unreadable)?;
        let (file, header, link) = opened.map_err(|what| self.broken(what.to_owned()))?;
        let wanted = Header { node: self.folder.node().to_owned(), segment: self.segment, first: self.head.length };
        if header != wanted || link != self.head.hash {
            return Err(self.broken("the segment does not follow the one before".to_owned()));
        }
        Ok(file)
    }

    fn check_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), Broken> {
        if checkpoint.head() != Some(self.head) {
            let (from, to, number) = (self.signed, checkpoint.length, checkpoint.sequence);
            let what = format!("records {from} to {to} (exclusive) are not those that checkpoint {number} signs");
            return Err(self.broken_at(from, what));
        }
        self.jump_after(checkpoint, self.segment);
        Ok(())
    }

    /// Checkpoints cut off the end would leave more unsigned records than the last one allows.
    fn check_bound(&self) -> Result<(), Broken> {
        if self.checkpoints > 0 && self.head.length - self.signed > self.within {
            return Err(self.broken_at(self.signed, format!("a checkpoint is missing after {} records", self.within)));
        }
        Ok(())
    }

    fn check_expected(&self) -> Result<(), Broken> {
        match self.expected {
            Some(expected) if expected.length == self.head.length && expected.hash != self.head.hash => {
                let what = "the records up to here are not those of the expected head".to_owned();
                Err(self.broken_at(self.signed.min(expected.length.saturating_sub(1)), what))
            }
            _ => Ok(()),
        }
    }

    fn check_expected_reached(&self) -> Result<(), Broken> {
        match self.expected {
            Some(expected) if expected.length > self.head.length => {
                let (from, to) = (self.head.length, expected.length);
                Err(self.broken(format!("records {from} to {to} (exclusive) of the expected head are missing")))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, text: &str, which: &str) -> Result<Checkpoint, Broken> {
        read_checkpoint(text, self.folder.node(), self.keys)
            .map_err(|what| self.broken_at(self.signed, format!("{which} does not hold: {what}")))
    }

    pub fn broken(&self, what: String) -> Broken {
        self.broken_at(self.head.length, what)
    }

    fn broken_at(&self, index: u64, what: String) -> Broken {
        Broken { node: self.folder.node().to_owned(), index, segment: self.segment, what }
    }
}
