//! What has come from a client, and what is still to go? The two buffers of one connection, and the request's body
//! between them.
//!
//! Never reads further ahead than a head may be long. Never hands a body's bytes to an earlier request.

use super::head::{Head, Most, Reader, Rest};
use crate::{
    edge::{Bounds, head::BadHead, stream::Stream, watched::Watched},
    wire::{Piece, ROOM},
};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

const LEAST_ROOM: usize = 4 << 10;
/// So much of a body that nobody wants is read for the sake of the next request.
const SKIPPED: usize = 64 << 10;

pub struct Wire {
    stream: Watched<Stream>,
    /// Read, and not yet understood.
    came: BytesMut,
    /// Said, and not yet sent.
    pub out: BytesMut,
    /// More to send behind `out`, not copied.
    pub behind: Bytes,
    reader: Reader,
    most: Most,
    rest: Rest,
    /// The client waits for `100 Continue`.
    waits: bool,
    /// The client will send no more.
    ended: bool,
    /// The answer to the request has begun.
    answering: bool,
    /// Number of the request that `rest` belongs to.
    request: u64,
    /// Of whoever waits for the body.
    reader_of_body: Option<Waker>,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyBroken {
    #[error("the request's body is malformed: {0}")]
    Malformed(&'static str),
    #[error("the client went away")]
    Gone,
}

impl Wire {
    pub fn new(stream: Stream, bounds: &Bounds) -> Self {
        Self {
            stream: Watched::new(stream, bounds.write_stall),
            came: BytesMut::new(),
            out: BytesMut::new(),
            behind: Bytes::new(),
            reader: Reader::default(),
            most: Most { bytes: bounds.header_bytes, fields: bounds.headers.min(crate::wire::MAX_FIELDS) },
            rest: Rest::Ended,
            waits: false,
            ended: false,
            answering: false,
            request: 0,
            reader_of_body: None,
        }
    }

    /// The stream, with what came and was not understood.
    pub fn into_parts(self) -> (Watched<Stream>, BytesMut) {
        (self.stream, self.came)
    }

    pub fn came(&self) -> &[u8] {
        &self.came
    }

    /// Number of the request whose body is coming.
    pub const fn request(&self) -> u64 {
        self.request
    }

    pub fn body_ended(&self) -> bool {
        self.rest == Rest::Ended
    }

    /// Bytes of the body that are still to come, if that was said.
    pub const fn body_left(&self) -> Option<u64> {
        match self.rest {
            Rest::Ended => Some(0),
            Rest::Length(left) => Some(left),
            Rest::Chunked(_) => None,
        }
    }

    /// The next head among the bytes that came.
    pub fn take_head(&mut self) -> Result<Option<Head>, BadHead> {
        if self.came.is_empty() {
            return Ok(None);
        }
        let head = self.reader.take(&mut self.came, self.most)?;
        Ok(head.map(|mut head| {
            self.waits = head.waits;
            self.rest = std::mem::take(&mut head.rest);
            head
        }))
    }

    /// An answer begins: from here on nothing else is said.
    pub const fn begin_answer(&mut self) {
        self.waits = false;
        self.answering = true;
    }

    /// The request was answered, or given up. SECURITY: what is left of its body is nobody's: whoever still reads it, be it
    /// another task, learns that it broke off, and neither takes it for whole nor reads the next request's.
    pub fn over(&mut self) {
        self.request += 1;
        self.answering = false;
        if let Some(waker) = self.reader_of_body.take() {
            waker.wake();
        }
    }

    /// Gives large buffers back while nothing comes.
    pub fn rest(&mut self) {
        if self.came.is_empty() && self.came.capacity() > 2 * ROOM {
            self.came = BytesMut::new();
        }
        if self.out.capacity() > 2 * ROOM {
            self.out = BytesMut::new();
        }
    }

    /// Reads what is there. `Ok(0)`: the client will send no more.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        // Not for a little room: while a request's head is in use, more would be a new buffer.
        if self.came.capacity() - self.came.len() < LEAST_ROOM {
            self.came.reserve(ROOM);
        }
        let read = ready!(pin!(self.stream.read_buf(&mut self.came)).poll(cx));
        self.ended = !matches!(read, Ok(1..));
        Poll::Ready(read)
    }

    /// Has the client gone while it should wait? Reads ahead, as far as one head may be long.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.body_ended() && self.came.len() < self.most.bytes {
            match ready!(self.poll_read(cx)) {
                Ok(1..) => {}
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// The next piece of the request's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyBroken>>> {
        if self.waits && self.came.is_empty() && !self.body_ended() {
            // RFC 9110 §10.1.1
            self.waits = false;
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        // An answer is sent by its own task alone: the socket wakes whoever asked it last.
        if !self.answering && !self.out.is_empty() && matches!(self.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Some(Err(BodyBroken::Gone)));
        }
        loop {
            match self.take_body() {
                Ok(Some(data)) => {
                    self.waits = false;
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(None) if self.body_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Some(Err(BodyBroken::Gone))),
                Poll::Pending => {
                    self.reader_of_body = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    fn take_body(&mut self) -> Result<Option<Bytes>, BodyBroken> {
        match &mut self.rest {
            Rest::Ended => Ok(None),
            Rest::Length(_) if self.came.is_empty() => Ok(None),
            Rest::Length(left) => {
                let now = usize::try_from(*left).map_or(self.came.len(), |left| left.min(self.came.len()));
                *left -= now as u64;
                if *left == 0 {
                    self.rest = Rest::Ended;
                }
                Ok(Some(self.came.split_to(now).freeze()))
            }
            Rest::Chunked(chunked) => match chunked.take(&mut self.came).map_err(BodyBroken::Malformed)? {
                Piece::More => Ok(None),
                Piece::Data(data) => Ok(Some(data)),
                Piece::End => {
                    self.rest = Rest::Ended;
                    Ok(None)
                }
            },
        }
    }

    /// Throws away what came of a body that nobody wanted. `false`: more of it would have to come.
    pub fn skip_body(&mut self) -> bool {
        while matches!(self.take_body(), Ok(Some(_))) {}
        self.body_ended()
    }

    /// As [`Self::skip_body`], with what the socket holds now.
    pub fn skip_at_hand(&mut self, cx: &mut Context<'_>) -> bool {
        let mut read = 0;
        while !self.skip_body() && read < SKIPPED {
            match self.poll_read(cx) {
                Poll::Ready(Ok(now @ 1..)) => read += now,
                _ => return false,
            }
        }
        self.body_ended()
    }

    /// Sends all that was said.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() || !self.behind.is_empty() {
            let sent = ready!(self.poll_write(cx))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let first = sent.min(self.out.len());
            self.out.advance(first);
            self.behind.advance(sent - first);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        match (self.out.is_empty(), self.behind.is_empty()) {
            (false, false) => stream.poll_write_vectored(cx, &[IoSlice::new(&self.out), IoSlice::new(&self.behind)]),
            (true, _) => stream.poll_write(cx, &self.behind),
            (false, true) => stream.poll_write(cx, &self.out),
        }
    }

    /// Says that no more will be said.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Throws away what comes; `Ready` when nothing more will, or enough has.
    pub fn poll_drain(&mut self, left: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            *left = left.saturating_sub(self.came.len());
            self.came.clear();
            if *left == 0 || !matches!(ready!(self.poll_read(cx)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
    }
}
