//! How is an answer put on the wire, and where does its body end? // RFC 9112 §4, §6
//!
//! INVARIANT: exactly as many bytes follow a head as it promises, or the connection ends: what came after would be read as
//! the next answer.

use super::{date::Dates, wire::Wire};
use crate::wire::{says_close, write_line};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version, header, response::Parts};
use http_body::Body;
use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Frames up to this are copied behind what is sent anyway; larger ones leave from where they are.
const COPIED: usize = 8 << 10;

/// What of the request decides how it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub head_only: bool,
    pub version: Version,
    /// Another request may follow.
    pub persists: bool,
}

/// How the answer's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is none.
    Bare,
    /// Bytes still to be sent.
    Length(u64),
    Chunked,
    /// It ends with the connection.
    Close,
}

/// An answer on its way.
pub struct Reply<B> {
    body: B,
    framing: Framing,
    ended: bool,
    /// The connection serves another request afterwards.
    pub persists: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Reply<B> {
    /// Writes the head.
    pub fn begin(parts: &Parts, body: B, asked: Asked, dates: &Dates, out: &mut BytesMut) -> Self {
        let bare = asked.head_only || has_no_body(parts.status);
        let framing = match body.size_hint().exact() {
            _ if bare => Framing::Bare,
            Some(length) => Framing::Length(length),
            None if asked.version == Version::HTTP_11 => Framing::Chunked,
            None => Framing::Close,
        };
        let closes = !asked.persists || framing == Framing::Close || says_close(&parts.headers);
        write_head(parts, framing, asked.head_only, closes, dates, out);
        Self { body, framing, ended: false, persists: !closes }
    }

    /// Sends what there is. `Err`: the connection cannot go on.
    pub fn poll_send(&mut self, wire: &RefCell<Wire>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            // INVARIANT: what is not `Ready` here has left a waker: with the body, or with the socket.
            let filled = if self.ended || !wire.borrow().behind.is_empty() {
                Poll::Ready(())
            } else {
                self.poll_fill(wire, cx)?
            };
            let more = filled.is_ready() && !self.ended;
            if more && wire.borrow().behind.is_empty() && wire.borrow().out.len() < COPIED {
                // What follows at once leaves with it.
                continue;
            }
            ready!(wire.borrow_mut().poll_flush(cx))?;
            ready!(filled);
            if self.ended {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes the body's next frame to the wire.
    fn poll_fill(&mut self, wire: &RefCell<Wire>, cx: &mut Context<'_>) -> Result<Poll<()>, SendError> {
        // INVARIANT: the wire is not borrowed here: an answer's body may read the request's.
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(frame) => frame,
        };
        match frame {
            None => self.end(&mut wire.borrow_mut().out)?,
            Some(Err(_)) => return Err(SendError::Body),
            Some(Ok(frame)) => {
                // RFC 9110 §6.5.1: trailers may be dropped; nobody has been promised any.
                let Ok(data) = frame.into_data() else { return Ok(Poll::Ready(())) };
                self.put(data, &mut wire.borrow_mut())?;
                if self.framing == Framing::Length(0) {
                    // The body may have something to do at its end.
                    drop(Pin::new(&mut self.body).poll_frame(cx));
                    self.ended = true;
                }
            }
        }
        Ok(Poll::Ready(()))
    }

    fn put(&mut self, data: Bytes, wire: &mut Wire) -> Result<(), SendError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => *left = left.checked_sub(data.len() as u64).ok_or(SendError::Length)?,
            Framing::Chunked => wire.out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes()),
            Framing::Close => {}
            Framing::Bare => return Ok(()),
        }
        if self.framing == Framing::Chunked || data.len() <= COPIED {
            wire.out.extend_from_slice(&data);
        } else {
            wire.behind = data;
        }
        if self.framing == Framing::Chunked {
            wire.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<(), SendError> {
        self.ended = true;
        match self.framing {
            Framing::Length(1..) => return Err(SendError::Length),
            Framing::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
            Framing::Bare | Framing::Close | Framing::Length(0) => {}
        }
        Ok(())
    }
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the peer takes no more: {0}")]
    Io(#[from] io::Error),
    #[error("the answer's body broke off")]
    Body,
    #[error("the answer's body is longer or shorter than its head said")]
    Length,
}

/// RFC 9110 §6.4.1
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn write_head(parts: &Parts, framing: Framing, head_only: bool, closes: bool, dates: &Dates, out: &mut BytesMut) {
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    out.reserve(1024);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let (mut dated, mut told) = (false, false);
    for (name, value) in &parts.headers {
        match *name {
            // Written below, as it really is. What stands here of a body that is not sent tells of the one that would be.
            header::TRANSFER_ENCODING => continue,
            header::CONTENT_LENGTH if told || framing != Framing::Bare || !tells_length(parts.status, head_only) => {
                continue;
            }
            header::CONTENT_LENGTH => told = true,
            header::CONNECTION if !switches => continue,
            header::DATE => dated = true,
            _ => {}
        }
        write_line(out, name.as_str(), value.as_bytes());
    }
    match framing {
        Framing::Length(length) => {
            write_line(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked => write_line(out, "transfer-encoding", b"chunked"),
        Framing::Bare | Framing::Close => {}
    }
    if closes && !switches {
        write_line(out, "connection", b"close");
    }
    if !dated {
        // RFC 9110 §6.6.1
        write_line(out, "date", &dates.now());
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110 §8.6: an answer without a body may say how long it would have been.
fn tells_length(status: StatusCode, head_only: bool) -> bool {
    status == StatusCode::NOT_MODIFIED || (head_only && !has_no_body(status))
}

/// The answer to a head that goes no further.
pub fn refuse(status: StatusCode, dates: &Dates, out: &mut BytesMut) {
    let mut parts = http::Response::new(()).into_parts().0;
    parts.status = status;
    write_head(&parts, Framing::Length(0), false, true, dates, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use trigate_core::{Timestamp, port::testing::StoppedClock};

    #[test]
    fn heads_say_how_the_body_ends() {
        let dates = Dates::new(std::sync::Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000))));
        let head = |status: u16, framing, head_only, lines: &[(&'static str, &str)]| {
            let mut parts = http::Response::new(()).into_parts().0;
            parts.status = StatusCode::from_u16(status).unwrap();
            for (name, value) in lines {
                parts.headers.append(*name, value.parse().unwrap());
            }
            let mut out = BytesMut::new();
            write_head(&parts, framing, head_only, false, &dates, &mut out);
            let text = String::from_utf8(out.to_vec()).unwrap();
            text.lines().filter(|line| !line.starts_with("date")).collect::<Vec<_>>().join("|")
        };
        let length = [("content-length", "9"), ("transfer-encoding", "chunked"), ("connection", "x-hop")];
        assert_eq!(head(200, Framing::Length(2), false, &length), "HTTP/1.1 200 OK|content-length: 2|");
        assert_eq!(head(200, Framing::Chunked, false, &length), "HTTP/1.1 200 OK|transfer-encoding: chunked|");
        assert_eq!(head(200, Framing::Bare, true, &length), "HTTP/1.1 200 OK|content-length: 9|");
        assert_eq!(head(204, Framing::Bare, false, &length), "HTTP/1.1 204 No Content|");
        assert_eq!(head(204, Framing::Bare, true, &length), "HTTP/1.1 204 No Content|");
        assert_eq!(head(304, Framing::Bare, false, &length), "HTTP/1.1 304 Not Modified|content-length: 9|");
        assert_eq!(head(299, Framing::Close, false, &[]), "HTTP/1.1 299 |");
    }
}
