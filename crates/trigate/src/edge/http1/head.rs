//! What does a client ask? One head off the bytes that came, and where the body behind it ends.
//!
//! Trusts no byte. A head that could be read in two ways is refused, and with it the connection. // RFC 9112 §2, §6

use crate::{
    edge::head::BadHead,
    wire::{Chunked, Field, MAX_FIELDS, Malformed, content_length, fields_of, headers, says_close},
};
use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, header, request::Parts};
use std::mem::MaybeUninit;

/// What of a request's body is still to come.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Rest {
    #[default]
    Ended,
    /// Bytes.
    Length(u64),
    Chunked(Chunked),
}

/// One request, without its body.
#[derive(Debug)]
pub struct Head {
    pub parts: Parts,
    pub rest: Rest,
    /// RFC 9110 §10.1.1: the client waits for our word before it sends the body.
    pub waits: bool,
    /// Another request may follow on the connection.
    pub persists: bool,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub bytes: usize,
    pub fields: usize,
}

const TOO_LARGE: BadHead = BadHead {
    code: "http.too_large",
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    detail: "the request's head is larger than this listener takes",
};

const TARGET_TOO_LONG: BadHead = BadHead { status: StatusCode::URI_TOO_LONG, ..TOO_LARGE };

const fn malformed(detail: &'static str) -> BadHead {
    BadHead { code: "http.parse", status: StatusCode::BAD_REQUEST, detail }
}

/// Takes heads off the bytes of one connection.
#[derive(Default)]
pub struct Reader {
    /// Up to here no head ends. A client that sends byte by byte must not have each of them parsed from the start.
    searched: usize,
    fields: Vec<Field>,
}

impl Reader {
    /// `None` until a head is whole.
    ///
    /// # Errors
    /// What the connection ends with.
    pub fn take(&mut self, came: &mut BytesMut, most: Most) -> Result<Option<Head>, BadHead> {
        // RFC 9112 §2.2: empty lines before a request say nothing.
        while self.searched == 0 && came.starts_with(b"\r\n") {
            came.advance(2);
        }
        if came.is_empty() {
            return Ok(None);
        }
        // The first bytes at once: what is no HTTP is told so early.
        if self.searched > 0 && !self.ends(came) {
            return if came.len() < most.bytes { Ok(None) } else { Err(too_large(came)) };
        }
        self.searched = came.len();
        let Some((mut parts, length)) = self.parse(came, most)? else {
            return if came.len() < most.bytes { Ok(None) } else { Err(too_large(came)) };
        };
        self.searched = 0;
        let bytes = came.split_to(length).freeze();
        parts.headers = headers(&bytes, &self.fields, 0).map_err(|Malformed(detail)| malformed(detail))?;
        let rest = rest(&parts)?;
        let http11 = parts.version == Version::HTTP_11;
        let waits = http11 && rest != Rest::Ended && expects_continue(&parts.headers);
        let persists = http11 && !says_close(&parts.headers);
        Ok(Some(Head { parts, rest, waits, persists }))
    }

    /// Is there an empty line in what came since?
    fn ends(&mut self, came: &[u8]) -> bool {
        // The line before may have ended with the last byte that was searched.
        let from = self.searched.saturating_sub(3);
        let new = came.get(from..).unwrap_or_default();
        let ends = memchr::memchr_iter(b'\n', new).any(|at| {
            let line = new.get(..at).unwrap_or_default();
            matches!(line, [.., b'\n'] | [.., b'\n', b'\r'])
        });
        self.searched = came.len();
        ends
    }

    /// All but the headers, and the head's length in bytes.
    fn parse(&mut self, came: &[u8], most: Most) -> Result<Option<(Parts, usize)>, BadHead> {
        let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let lines = lines.get_mut(..most.fields).ok_or(TOO_LARGE)?;
        let mut head = httparse::Request::new(&mut []);
        let length = match head.parse_with_uninit_headers(came, lines) {
            Ok(httparse::Status::Complete(length)) if length <= most.bytes => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(_)) => return Err(too_large(came)),
            Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
            Err(_) => return Err(malformed("the request's head is malformed")),
        };
        let text = came.get(..length).unwrap_or_default();
        // RFC 9112 §2.2: a bare LF is a line end to some and none to others.
        if memchr::memchr_iter(b'\n', text).any(|at| at == 0 || text.get(at - 1) != Some(&b'\r')) {
            return Err(malformed("a line of the request's head ends without CR"));
        }
        let (Some(method), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
            return Ok(None);
        };
        fields_of(came, head.headers, &mut self.fields);
        let mut parts = Request::new(()).into_parts().0;
        parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| malformed("the request's method"))?;
        parts.uri = Uri::try_from(target).map_err(|_| malformed("the request's target"))?;
        parts.version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        Ok(Some((parts, length)))
    }
}

/// A head without an end whose first line has none either is all target.
fn too_large(came: &[u8]) -> BadHead {
    if memchr::memchr(b'\n', came).is_none() { TARGET_TOO_LONG } else { TOO_LARGE }
}

/// RFC 9112 §6.3. SECURITY: no guess where two readings are possible: what follows would be another's request to the next
/// server.
fn rest(head: &Parts) -> Result<Rest, BadHead> {
    let length = content_length(&head.headers).map_err(|_| malformed("the request's length"))?;
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next(), length) {
        (None, _, None | Some(0)) => Ok(Rest::Ended),
        (None, _, Some(length)) => Ok(Rest::Length(length)),
        (Some(coding), None, None)
            if head.version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(Rest::Chunked(Chunked::default()))
        }
        _ => Err(BadHead {
            code: "http.framing",
            status: StatusCode::BAD_REQUEST,
            detail: "the body's end can be read in more than one way",
        }),
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
