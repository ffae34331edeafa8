//! How does one record lie in a file, and how is a file taken apart again?
//!
//! A frame never ends in a zero byte (the payload is JSON), so zeros at the end of a file are room that was never
//! filled, and an incomplete last frame can be told from a damaged one.

use serde::{Deserialize, Serialize};
use std::{
    cell::Cell,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};
use trigate_core::audit::{ChainHead, Link, ROOM, Record};

const MAGIC: &[u8; 8] = b"TRIGSEG1";
/// Length, checksum and link before each payload.
const PREFIX_BYTES: usize = 40;
/// Longest payload. A length beyond it is damage, not a frame that was cut.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// A larger frame's memory is given back.
const KEPT_BYTES: usize = 16 << 10;

thread_local! {
    /// The last frame's memory, for the next: appending allocates nothing.
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A frame ready but for its link, which only the chain's lock can give.
pub struct Frame {
    /// Room for what is hashed with the payload, where its prefix will end up, and the payload.
    bytes: Vec<u8>,
    crc: u32,
}

impl Frame {
    /// # Errors
    /// The payload's length, when it is too long.
    pub fn of(record: &Record) -> Result<Self, usize> {
        Self::new(|bytes| record.encode(bytes))
    }

    fn new(write: impl FnOnce(&mut Vec<u8>)) -> Result<Self, usize> {
        let mut bytes = KEPT.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        bytes.resize(ROOM, 0);
        write(&mut bytes);
        let length = bytes.len().saturating_sub(ROOM);
        if length > MAX_PAYLOAD_BYTES {
            return Err(length);
        }
        let crc = crc32fast::hash(bytes.get(ROOM..).unwrap_or_default());
        Ok(Self { bytes, crc })
    }

    /// The head after this one.
    pub fn chain(&mut self, head: &ChainHead) -> ChainHead {
        head.append_behind(&mut self.bytes)
    }

    /// The whole frame, as it lies in the file.
    pub fn link(&mut self, link: &Link) -> &[u8] {
        let length = u32::try_from(self.bytes.len().saturating_sub(ROOM)).unwrap_or(u32::MAX);
        let from = ROOM - PREFIX_BYTES;
        if let Some(prefix) = self.bytes.get_mut(from..).and_then(|frame| frame.first_chunk_mut::<PREFIX_BYTES>()) {
            prefix[..4].copy_from_slice(&length.to_le_bytes());
            prefix[4..8].copy_from_slice(&self.crc.to_le_bytes());
            prefix[8..].copy_from_slice(link);
        }
        self.bytes.get(from..).unwrap_or_default()
    }

    /// Bytes in the file.
    pub const fn len(&self) -> u64 {
        (self.bytes.len() - (ROOM - PREFIX_BYTES)) as u64
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if self.bytes.capacity() <= KEPT_BYTES {
            // Not kept when the thread is at its end.
            let _ = KEPT.try_with(|kept| kept.set(std::mem::take(&mut self.bytes)));
        }
    }
}

/// What a segment says of itself. All of it follows from the chain, so nothing in it can be changed unseen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub node: String,
    pub segment: u64,
    /// Number of the first record.
    pub first: u64,
}

/// The bytes that a new segment starts with; the header's link is the head before the first record.
pub fn opening(node: &str, segment: u64, head: &ChainHead) -> Vec<u8> {
    let header = Header { node: node.to_owned(), segment, first: head.length };
    let mut bytes = MAGIC.to_vec();
    // Writing into memory does not fail.
    if let Ok(mut frame) = Frame::new(|bytes| drop(serde_json::to_writer(bytes, &header))) {
        bytes.extend_from_slice(frame.link(&head.hash));
    }
    bytes
}

pub enum Step {
    Entry {
        link: Link,
        payload: Vec<u8>,
    },
    /// Nothing more, as yet.
    End,
    /// The rest is an entry that was never completed.
    Torn,
    Damaged(&'static str),
}

/// Reads one segment from its start.
pub struct SegmentFile {
    input: BufReader<File>,
    /// Where the next frame starts.
    offset: u64,
}

impl SegmentFile {
    /// Opens and reads the header; `Ok(Err(_))` when it is none.
    pub fn open(path: &Path) -> io::Result<Result<(Self, Header, Link), &'static str>> {
        let mut file = Self { input: BufReader::with_capacity(1 << 17, File::open(path)?), offset: 0 };
        let mut magic = [0; 8];
        if file.read(&mut magic)? != magic.len() || magic != *MAGIC {
            return Ok(Err("the file does not begin as a segment does"));
        }
        file.offset = 8;
        Ok(match file.step()? {
            Step::Entry { link, payload } => match serde_json::from_slice(&payload) {
                Ok(header) => Ok((file, header, link)),
                Err(_) => Err("the segment's header is not readable"),
            },
            _ => Err("the segment's header is damaged"),
        })
    }

    /// End of the last whole frame.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame, its checksum compared. After anything but an entry the same place is read again.
    pub fn step(&mut self) -> io::Result<Step> {
        let mut step = self.try_step()?;
        // Beside a running writer an entry can be half there when it is read and whole when it is judged: damage is
        // what stays.
        for _ in 0..3 {
            if matches!(step, Step::Damaged(_)) {
                self.input.seek(SeekFrom::Start(self.offset))?;
                step = self.try_step()?;
            }
        }
        if !matches!(step, Step::Entry { .. }) {
            self.input.seek(SeekFrom::Start(self.offset))?;
        }
        Ok(step)
    }

    fn try_step(&mut self) -> io::Result<Step> {
        let mut prefix = [0; PREFIX_BYTES];
        let got = self.read(&mut prefix)?;
        if got == 0 {
            return Ok(Step::End);
        }
        let (length, crc, link) = take_apart(&prefix);
        if got < PREFIX_BYTES || length == 0 || length > MAX_PAYLOAD_BYTES {
            return self.judge(PREFIX_BYTES as u64, "no frame starts here");
        }
        let frame_bytes = (PREFIX_BYTES + length) as u64;
        let mut payload = vec![0; length];
        if self.read(&mut payload)? < length {
            return self.judge(frame_bytes, "the entry goes on beyond the end");
        }
        if crc32fast::hash(&payload) != crc {
            return self.judge(frame_bytes, "the entry's bytes are not those that were written");
        }
        self.offset += frame_bytes;
        Ok(Step::Entry { link, payload })
    }

    /// A frame that needs more than the file's bytes (zeros at its end not counted) was cut while being written.
    fn judge(&mut self, frame_bytes: u64, what: &'static str) -> io::Result<Step> {
        self.input.seek(SeekFrom::Start(self.offset))?;
        let (mut filled, mut at, mut chunk) = (0u64, 0u64, [0; 4096]);
        loop {
            let got = self.read(&mut chunk)?;
            if let Some(last) = chunk.iter().take(got).rposition(|byte| *byte != 0) {
                filled = at + last as u64 + 1;
            }
            // More than one frame's worth: not the last entry.
            if got == 0 || filled > frame_bytes {
                break;
            }
            at += got as u64;
        }
        Ok(if filled < frame_bytes { Step::Torn } else { Step::Damaged(what) })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

fn take_apart(prefix: &[u8; PREFIX_BYTES]) -> (usize, u32, Link) {
    let (mut length, mut crc, mut link) = ([0; 4], [0; 4], Link::default());
    length.copy_from_slice(&prefix[..4]);
    crc.copy_from_slice(&prefix[4..8]);
    link.copy_from_slice(&prefix[8..]);
    (u32::from_le_bytes(length) as usize, u32::from_le_bytes(crc), link)
}
