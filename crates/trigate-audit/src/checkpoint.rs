//! Who says that the chain stood so? A head of the chain, numbered and signed.
//!
//! Trusts the keys it is handed. A checkpoint is written only after the records it covers are on stable storage, so a
//! chain shorter than its checkpoints was cut by hand and not by a crash.

use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};
use trigate_core::{
    Timestamp,
    audit::{ChainHead, Link},
    jose::{Compact, JoseError, MAX_TOKEN_BYTES, SigningKey, VerifyingKey},
};

const TYP: &str = "trigate-checkpoint+jwt";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// The log was opened for writing here.
    Opened,
    Running,
    /// The segment ends here and another follows.
    Sealed,
    /// Nothing follows until the log is opened again.
    Closed,
    /// The chain starts here: what came before was pruned.
    Pruned,
    /// Made to be kept elsewhere; not part of the numbered ones.
    Outside,
}

/// A signed head of a node's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub node: String,
    pub kind: CheckpointKind,
    pub segment: u64,
    /// Number of this checkpoint among all of the node's, from 0, without gaps.
    pub sequence: u64,
    /// Records so far.
    pub length: u64,
    /// Link of the last record, as 64 hexadecimal digits.
    pub hash: String,
    /// At most so many records come before the next checkpoint.
    pub within: u64,
    /// Bytes after the last whole record that were dropped when the log was opened.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_bytes: u64,
    pub at: Timestamp,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Checkpoint {
    pub(crate) fn sign(&self, key: &SigningKey) -> Result<String, JoseError> {
        key.sign_jws(TYP, self)
    }

    /// The head that was signed; `None` when `hash` is no link.
    #[must_use]
    pub fn head(&self) -> Option<ChainHead> {
        Some(ChainHead { length: self.length, hash: from_hex(&self.hash)? })
    }
}

/// Reads a checkpoint that one of `keys` signed for `node`.
///
/// # Errors
/// Why it is not one.
pub fn read_checkpoint(text: &str, node: &str, keys: &[VerifyingKey]) -> Result<Checkpoint, String> {
    let compact = Compact::parse(text, MAX_TOKEN_BYTES).map_err(|error| error.to_string())?;
    // RFC 8725 §3.11: no other statement of the same key is a checkpoint.
    if !compact.typ_is(TYP) {
        return Err("it is signed as something else".to_owned());
    }
    let payload = keys.iter().find_map(|key| compact.verify(key).ok()).ok_or("no key of ours signed it")?;
    let checkpoint: Checkpoint = serde_json::from_slice(payload.bytes()).map_err(|error| error.to_string())?;
    if checkpoint.node != node || checkpoint.head().is_none() {
        return Err("it is of another node".to_owned());
    }
    Ok(checkpoint)
}

/// The complete lines of a checkpoint file and their length in bytes. A last line without its end was cut by a crash;
/// no file, no lines: whether there should be some is the chain's to say.
pub(crate) fn read_lines(path: &Path) -> io::Result<(Vec<String>, u64)> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let whole = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    Ok((whole.lines().map(str::to_owned).collect(), end as u64))
}

pub(crate) fn to_hex(link: &Link) -> String {
    link.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn from_hex(text: &str) -> Option<Link> {
    let mut link = Link::default();
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in link.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(link)
}
