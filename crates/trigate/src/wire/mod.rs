//! How are messages of HTTP/1.1 read and written? What both ends of the gate share: lines, lengths, chunks.
//!
//! Trusts no peer. Where a message's end could be read in two ways, there is none.

mod alarm;
mod chunked;
mod fields;

pub use alarm::Alarm;
pub use chunked::{Chunked, Piece};
pub use fields::{Field, MAX_FIELDS, Malformed, content_length, fields_of, headers, says_close, write_line};

/// Read at once.
pub const ROOM: usize = 16 << 10;
