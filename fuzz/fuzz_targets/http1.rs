//! The bytes of a connection, whole and in pieces: the same heads and bodies, or none; no head with two readings; never a
//! panic.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use trigate::{
    edge::http1::{Head, Most, Reader, Rest},
    wire::{Chunked, Piece},
};

const MOST: Most = Most { bytes: 2048, fields: 16 };

/// A head's text, and the body behind it as far as it came. `None`: it goes no further.
type Read = Option<(String, Vec<u8>, bool)>;

fn read(data: &[u8], step: usize) -> Read {
    let (mut reader, mut came, mut left) = (Reader::default(), BytesMut::new(), data);
    let head = loop {
        let (now, rest) = left.split_at(step.min(left.len()));
        came.extend_from_slice(now);
        left = rest;
        match reader.take(&mut came, MOST) {
            Ok(Some(head)) => break head,
            Ok(None) if left.is_empty() => return None,
            Ok(None) => {}
            Err(_) => return None,
        }
    };
    check(&head, data);
    let said = format!("{:?} {:?} {:?} {}", head.parts, head.rest, head.waits, head.persists);
    came.extend_from_slice(left);
    let (body, whole) = body(head.rest, &mut came, step)?;
    Some((said, body, whole))
}

/// RFC 9112 §2.2, §6: what the next server reads is what was read here.
fn check(head: &Head, data: &[u8]) {
    let headers = &head.parts.headers;
    let codings = headers.get_all("transfer-encoding").iter().count();
    assert!(codings == 0 || (codings == 1 && !headers.contains_key("content-length")));
    assert_eq!(codings == 1, matches!(head.rest, Rest::Chunked(_)));
    let mut lines = [httparse::EMPTY_HEADER; 16];
    let mut again = httparse::Request::new(&mut lines);
    let Ok(httparse::Status::Complete(length)) = again.parse(data) else { panic!("not to a second reader") };
    assert_eq!(again.method, Some(head.parts.method.as_str()));
    assert_eq!(again.headers.len(), headers.len());
    let text = &data[..length];
    assert!(text.iter().enumerate().all(|(at, byte)| *byte != b'\n' || text[at - 1] == b'\r'));
}

fn body(rest: Rest, came: &mut BytesMut, step: usize) -> Option<(Vec<u8>, bool)> {
    let mut chunked = match rest {
        Rest::Ended => return Some((Vec::new(), true)),
        Rest::Length(length) => return Some((Vec::new(), came.len() as u64 >= length)),
        Rest::Chunked(chunked) => chunked,
    };
    let all = came.split();
    chunks(&mut chunked, &all, step)
}

fn chunks(chunked: &mut Chunked, all: &[u8], step: usize) -> Option<(Vec<u8>, bool)> {
    let (mut came, mut body) = (BytesMut::new(), Vec::new());
    for piece in all.chunks(step.max(1)) {
        came.extend_from_slice(piece);
        loop {
            match chunked.take(&mut came) {
                Ok(Piece::Data(data)) => body.extend_from_slice(&data),
                Ok(Piece::More) => break,
                Ok(Piece::End) => return Some((body, true)),
                Err(_) => return None,
            }
        }
    }
    Some((body, false))
}

fuzz_target!(|data: &[u8]| {
    let Some((step, data)) = data.split_first() else { return };
    let whole = read(data, data.len().max(1));
    let pieces = read(data, usize::from(*step) % 64 + 1);
    // What is malformed may be seen later in pieces, when what came first was well.
    match (whole, pieces) {
        (Some(whole), Some(pieces)) => assert_eq!(whole, pieces),
        (None, None) => {}
        (whole, pieces) => panic!("whole {whole:?}, in pieces {pieces:?}"),
    }
});
