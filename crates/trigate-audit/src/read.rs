//! What was recorded? Reads records in order, also while they are being written.
//!
//! Compares checksums, not links: whether the chain is whole is for `verify`.

use crate::{
    AuditError, Broken,
    folder::Folder,
    frame::{SegmentFile, Step},
};
use std::{fs, path::Path};
use trigate_core::audit::Record;

/// One record's bytes and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number in the node's chain, from 0.
    pub index: u64,
    pub segment: u64,
    /// The bytes that were chained: JSON.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// Known without taking it apart: the kind comes first.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        self.bytes.starts_with(br#"{"record":"decision""#)
    }

    /// # Errors
    /// `Unreadable` when this version does not know such a record.
    pub fn record(&self) -> Result<Record, AuditError> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| AuditError::Unreadable { index: self.index, what: error.to_string() })
    }
}

/// Reads a node's records in order. At the end it answers `None`, and goes on when more were written.
pub struct Reader {
    folder: Folder,
    segment: u64,
    file: SegmentFile,
    next: u64,
}

impl Reader {
    /// At record `from`, or at the first one kept if it was pruned. `Ok(None)`: the node has no records yet.
    ///
    /// # Errors
    /// `Io`, `BadNode`, `Broken` for a segment that cannot be read as one.
    pub fn open(dir: &Path, node: &str, from: u64) -> Result<Option<Self>, AuditError> {
        let folder = Folder::of(dir, node)?;
        let numbers = folder.numbers(".seg")?;
        let Some(first) = numbers.first() else { return Ok(None) };
        let mut reader = Self::at(folder.clone(), *first)?;
        // The last segment that starts at or before `from`.
        for number in numbers.iter().skip(1).rev() {
            let later = Self::at(folder.clone(), *number)?;
            if later.next <= from {
                reader = later;
                break;
            }
        }
        while reader.next < from {
            if reader.next_entry()?.is_none() {
                break;
            }
        }
        Ok(Some(reader))
    }

    fn at(folder: Folder, segment: u64) -> Result<Self, AuditError> {
        let path = folder.segment(segment);
        match SegmentFile::open(&path).map_err(AuditError::io(&path))? {
            Ok((file, header, _)) => Ok(Self { folder, segment, file, next: header.first }),
            Err(what) => {
                Err(Broken { node: folder.node().to_owned(), index: 0, segment, what: what.to_owned() }.into())
            }
        }
    }

    /// Number of the record that comes next.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// The next record's bytes; `None` when there is none yet.
    ///
    /// # Errors
    /// `Io`, `Broken` for damaged bytes.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, AuditError> {
        loop {
            // Asked before reading: a record written here later cannot be passed over.
            let more = self.folder.has(self.segment + 1);
            let path = self.folder.segment(self.segment);
            match self.file.step().map_err(AuditError::io(&path))? {
                Step::Entry { payload, .. } => {
                    let index = self.next;
                    self.next += 1;
                    return Ok(Some(Entry { index, segment: self.segment, bytes: payload }));
                }
                Step::End if more => {
                    let next = Self::at(self.folder.clone(), self.segment + 1)?;
                    if next.next != self.next {
                        return Err(self.broken("records are missing before the next segment"));
                    }
                    *self = next;
                }
                Step::End => return Ok(None),
                Step::Torn if !more => return Ok(None),
                Step::Torn => return Err(self.broken("the segment ends in an incomplete entry")),
                Step::Damaged(what) => return Err(self.broken(what)),
            }
        }
    }

    /// At most `max` records from here.
    ///
    /// # Errors
    /// As [`Self::next_entry`], and `Unreadable`; records before the bad one are lost to this call only.
    pub fn next_batch(&mut self, max: usize) -> Result<Vec<(u64, Record)>, AuditError> {
        let mut batch = Vec::with_capacity(max.min(1024));
        while batch.len() < max
            && let Some(entry) = self.next_entry()?
        {
            batch.push((entry.index, entry.record()?));
        }
        Ok(batch)
    }

    fn broken(&self, what: &str) -> AuditError {
        let node = self.folder.node().to_owned();
        Broken { node, index: self.next, segment: self.segment, what: what.to_owned() }.into()
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, AuditError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// At most `max` records from `from_index` on. Finds its place anew each time: who calls often keeps a [`Reader`].
///
/// # Errors
/// As [`Reader::open`] and [`Reader::next_batch`].
pub fn next_batch(dir: &Path, node: &str, from_index: u64, max: usize) -> Result<Vec<(u64, Record)>, AuditError> {
    match Reader::open(dir, node, from_index)? {
        None => Ok(Vec::new()),
        Some(mut reader) => reader.next_batch(max),
    }
}

/// The nodes that have a chain under `dir`, sorted.
///
/// # Errors
/// `Io`.
pub fn nodes(dir: &Path) -> Result<Vec<String>, AuditError> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(AuditError::io(dir)(error)),
    };
    for entry in entries {
        let name = entry.map_err(AuditError::io(dir))?.file_name();
        let Some(folder) = name.to_str().and_then(|name| Folder::of(dir, name).ok()) else { continue };
        // A folder whose segments are gone is still a node: verifying it must say so.
        let known = folder.path().is_dir()
            && (folder.has(1) || folder.pruned().exists() || folder.path().join("lock").exists());
        if known {
            found.push(folder.node().to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// Number of the first record that is in no sealed segment: the records before it will never be added to.
///
/// # Errors
/// As [`Reader::open`].
pub fn sealed_up_to(dir: &Path, node: &str) -> Result<u64, AuditError> {
    let folder = Folder::of(dir, node)?;
    match folder.numbers(".seg")?.last() {
        Some(last) => Ok(Reader::at(folder, *last)?.next),
        None => Ok(0),
    }
}

/// A node's segments with the number of the first record of each, ascending: for pruning and for progress.
///
/// # Errors
/// As [`Reader::open`].
pub fn segments(dir: &Path, node: &str) -> Result<Vec<(u64, u64)>, AuditError> {
    let folder = Folder::of(dir, node)?;
    let numbers = folder.numbers(".seg")?;
    numbers.into_iter().map(|number| Ok((number, Reader::at(folder.clone(), number)?.next))).collect()
}
