//! Where does a chunked body end? // RFC 9112 §7.1
//!
//! Trusts nothing. No bare line feed, no blank before a size, no size beyond 64 bits; extensions and trailers are read
//! past, within bounds, and thrown away.

use bytes::{Buf, Bytes, BytesMut};

/// One line: a size with its extensions, or a trailer.
const MAX_LINE_BYTES: usize = 4096;
/// All trailers together.
const MAX_TRAILER_BYTES: usize = 16 << 10;

/// How far the body was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Chunked {
    #[default]
    Size,
    Data(u64),
    /// The line's end behind a chunk's data.
    AfterData,
    /// Bytes of trailers so far.
    Trailers(usize),
}

/// What comes next of the body.
pub enum Piece {
    /// Nothing before more bytes have come.
    More,
    Data(Bytes),
    End,
}

impl Chunked {
    /// Takes the next piece off the bytes that came.
    pub fn take(&mut self, came: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = take_line(came)? else { return Ok(Piece::More) };
                    *self = match read_size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    };
                }
                Self::Data(_) if came.is_empty() => return Ok(Piece::More),
                Self::Data(left) => {
                    let now = usize::try_from(*left).map_or(came.len(), |left| left.min(came.len()));
                    *left -= now as u64;
                    if *left == 0 {
                        *self = Self::AfterData;
                    }
                    return Ok(Piece::Data(came.split_to(now).freeze()));
                }
                Self::AfterData => match came.get(..2) {
                    None => return Ok(Piece::More),
                    Some(b"\r\n") => {
                        came.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err("a chunk's end"),
                },
                Self::Trailers(read) => {
                    let Some(line) = take_line(came)? else { return Ok(Piece::More) };
                    *read += line.len();
                    match line.len() {
                        0 => return Ok(Piece::End),
                        _ if *read > MAX_TRAILER_BYTES => return Err("its trailers are too long"),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// A line without its end; `None` until it is whole.
fn take_line(came: &mut BytesMut) -> Result<Option<BytesMut>, &'static str> {
    let Some(end) = came.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') else {
        return if came.len() < MAX_LINE_BYTES { Ok(None) } else { Err("a line is too long") };
    };
    let mut line = came.split_to(end);
    came.advance(1);
    match line.split_last() {
        Some((b'\r', text)) if !text.contains(&b'\r') => line.truncate(end - 1),
        _ => return Err("a bare line end"),
    }
    Ok(Some(line))
}

fn read_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // RFC 9112 §7.1.1: blanks stand before an extension, if at all.
    let blanks = digits.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let digits = digits.get(..digits.len() - blanks).unwrap_or_default();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("a chunk's size");
    }
    let size = digits.iter().filter_map(|digit| char::from(*digit).to_digit(16));
    Ok(size.fold(0, |sum, digit| sum << 4 | u64::from(digit)))
}
