//! Where does the chain go on when the log is opened? Verifies the last segment, drops an entry that was never
//! completed, and refuses to write behind anything else that is wrong.

use crate::{
    AuditError, Broken,
    checkpoint::{read_checkpoint, read_lines},
    folder::Folder,
    frame,
    log::SegmentSettings,
    verify::Walk,
};
use std::fs::{self, File};
use trigate_core::{Timestamp, audit::ChainHead, jose::VerifyingKey};

/// What was found when the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Records that were there.
    pub records: u64,
    /// Bytes after the last whole record: dropped from the chain, kept in a file `.dropped` beside the segment.
    pub dropped_bytes: u64,
}

/// The last segment as it stands, and what it still needs.
pub struct Place {
    pub head: ChainHead,
    pub segment: u64,
    pub sequence: u64,
    pub dropped_bytes: u64,
    /// Killed between making the last segment and sealing the one before: that one still wants its seal, behind its
    /// last whole checkpoint line.
    pub unsealed: Option<(ChainHead, u64)>,
}

pub fn find_place(
    folder: &Folder,
    keys: &[VerifyingKey],
    settings: &SegmentSettings,
    now: Timestamp,
) -> Result<Place, AuditError> {
    let numbers = folder.numbers(".seg")?;
    let place = match numbers.last() {
        None => begin(folder, keys)?,
        Some(last) => resume(folder, keys, settings, *last, now)?,
    };
    if let Some(expected) = settings.expected.filter(|expected| place.head.length < expected.length) {
        let what = format!("records up to {} of the expected head are missing", expected.length);
        return Err(
            Broken { node: folder.node().to_owned(), index: place.head.length, segment: place.segment, what }.into()
        );
    }
    Ok(place)
}

/// No segment: a new chain, unless something is left of an old one.
fn begin(folder: &Folder, keys: &[VerifyingKey]) -> Result<Place, AuditError> {
    let walk = Walk::start(folder, keys, None)?;
    if walk.sequence > 0 {
        return Err(walk.broken("the segments are gone".to_owned()).into());
    }
    for number in folder.numbers(".sig")? {
        let (lines, _) = read_lines(&folder.checkpoints(number)).map_err(AuditError::io(folder.path()))?;
        // A crash may leave the first checkpoint, of no records, before the first segment was there.
        let empty = |line: &String| read_checkpoint(line, folder.node(), keys).is_ok_and(|found| found.length == 0);
        if number != 1 || !lines.iter().all(empty) {
            return Err(walk.broken("the segments are gone, checkpoints of them are left".to_owned()).into());
        }
        fs::remove_file(folder.checkpoints(number)).map_err(AuditError::io(folder.path()))?;
    }
    folder.place(&folder.segment(1), &frame::opening(folder.node(), 1, &walk.head))?;
    Ok(Place { head: walk.head, segment: 1, sequence: 0, dropped_bytes: 0, unsealed: None })
}

fn resume(
    folder: &Folder,
    keys: &[VerifyingKey],
    settings: &SegmentSettings,
    last: u64,
    now: Timestamp,
) -> Result<Place, AuditError> {
    let mut unsealed = None;
    let mut walk = match Walk::at(folder, keys, last) {
        Ok(walk) => walk,
        // Only the segment before the last can lack its seal by a crash, and then nothing came after.
        Err(_) if folder.has(last.saturating_sub(1)) => {
            let mut walk = Walk::at(folder, keys, last.saturating_sub(1))?;
            let end = walk.one()?;
            if end.sealed || end.torn {
                return Err(walk.broken("the segment does not end as it should".to_owned()).into());
            }
            unsealed = Some((walk.head, end.checkpoints_end));
            walk.segment = last;
            walk
        }
        Err(broken) => return Err(broken.into()),
    };
    walk.lenient = settings.accept_damaged_tail;
    let end = walk.one()?;
    if end.sealed || (unsealed.is_some() && end.checkpoints_end > 0) {
        return Err(walk.broken("the segment after this one is missing".to_owned()).into());
    }
    if unsealed.is_some() {
        walk.sequence += 1;
    }
    let dropped_bytes = cut(folder, last, end.offset, now)?;
    cut_checkpoints(folder, last, end.checkpoints_end)?;
    if let Some((_, checkpoints_end)) = unsealed {
        cut_checkpoints(folder, last.saturating_sub(1), checkpoints_end)?;
    }
    Ok(Place { head: walk.head, segment: last, sequence: walk.sequence, dropped_bytes, unsealed })
}

/// Drops a checkpoint line that was never completed.
fn cut_checkpoints(folder: &Folder, number: u64, end: u64) -> Result<(), AuditError> {
    let path = folder.checkpoints(number);
    if !path.exists() {
        return Ok(());
    }
    let file = File::options().write(true).open(&path).map_err(AuditError::io(&path))?;
    file.set_len(end).map_err(AuditError::io(&path))
}

/// Cuts the segment at `end`; what is cut off is kept beside it, for whoever wants to know what it was.
fn cut(folder: &Folder, number: u64, end: u64, now: Timestamp) -> Result<u64, AuditError> {
    let path = folder.segment(number);
    if fs::metadata(&path).map_err(AuditError::io(&path))?.len() <= end {
        return Ok(0);
    }
    let bytes = fs::read(&path).map_err(AuditError::io(&path))?;
    let rest = usize::try_from(end).ok().and_then(|end| bytes.get(end..)).unwrap_or_default();
    folder.place(&folder.path().join(format!("{number:08}-{}.dropped", now.micros())), rest)?;
    let file = File::options().write(true).open(&path).map_err(AuditError::io(&path))?;
    file.set_len(end).and_then(|()| file.sync_all()).map_err(AuditError::io(&path))?;
    Ok(rest.len() as u64)
}
