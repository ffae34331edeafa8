//! What do a head's lines say? One reading of names, values, lengths and wishes to close, for requests and answers.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::ops::Range;

/// A head with more lines is refused, whatever the configuration says.
pub const MAX_FIELDS: usize = 256;

/// A head that has no one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Where one line's name and value stand in a head's bytes.
#[derive(Clone, Debug)]
pub struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// Where the lines that were parsed stand in `head`, whose parts they borrow.
pub fn fields_of(head: &[u8], parsed: &[httparse::Header<'_>], fields: &mut Vec<Field>) {
    let place = |part: &[u8]| {
        let start = (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        start..start.wrapping_add(part.len())
    };
    fields.clear();
    fields.extend(parsed.iter().map(|line| Field { name: place(line.name.as_bytes()), value: place(line.value) }));
}

/// The lines as a map whose values share `head`'s bytes. `more`: room for what will be put beside them.
///
/// # Errors
/// A name or a value that HTTP does not allow.
pub fn headers(head: &Bytes, fields: &[Field], more: usize) -> Result<HeaderMap, Malformed> {
    let malformed = Malformed("a line of its head");
    let mut headers = HeaderMap::with_capacity(fields.len() + more);
    for Field { name, value } in fields {
        let name = head.get(name.clone()).and_then(|name| HeaderName::from_bytes(name).ok()).ok_or(malformed)?;
        let value = head.get(value.clone()).map(|_| head.slice(value.clone())).ok_or(malformed)?;
        headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| malformed)?);
    }
    Ok(headers)
}

/// One length, however often it is said. // RFC 9110 §8.6
///
/// # Errors
/// Two lengths, or one that is no number.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for line in headers.get_all(header::CONTENT_LENGTH) {
        let text = line.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let one: u64 = text.and_then(|text| text.parse().ok()).ok_or(Malformed("its length"))?;
        if length.is_some_and(|other| other != one) {
            return Err(Malformed("two lengths"));
        }
        length = Some(one);
    }
    Ok(length)
}

/// Does the sender end the connection with this message? // RFC 9112 §9.6
pub fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|line| {
        // What cannot be read could say `close`.
        line.to_str().map_or(true, |line| line.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")))
    })
}

/// INVARIANT: names are those of a `HeaderName`, values those of a `HeaderValue`: neither holds a line break.
pub fn write_line(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
