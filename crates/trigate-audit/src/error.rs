//! What can go wrong with a log: the disk, the caller, or somebody's hands.

use std::{io, path::Path};

/// The first place where a node's chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}`, record {index} (segment {segment}): {what}")]
pub struct Broken {
    pub node: String,
    /// Number of the first record that is bad or missing, from 0.
    pub index: u64,
    pub segment: u64,
    pub what: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("`{path}`: {error}")]
    Io { path: String, error: io::Error },
    #[error("`{0}` is no node name: 1 to 64 letters, digits, `-`, `_` or `.`, the first not a `.`")]
    BadNode(String),
    #[error("`{0}` is written by another process")]
    Locked(String),
    /// help: `trigate audit verify` tells more. Move the folder away, or name the node anew, to start another chain.
    #[error("{0}")]
    Broken(#[from] Broken),
    #[error("a checkpoint could not be signed: {0}")]
    Signing(#[from] trigate_core::jose::JoseError),
    /// The chain may be whole, but this version does not know such a record.
    #[error("record {index} is not readable: {what}")]
    Unreadable { index: u64, what: String },
    #[error("the log does not take records: {0}")]
    NotWriting(String),
    #[error("a record of {0} bytes is too long")]
    TooLong(usize),
    #[error("segment {0} cannot be pruned: {1}")]
    NotPrunable(u64, &'static str),
}

impl AuditError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { path: path.display().to_string(), error }
    }
}
