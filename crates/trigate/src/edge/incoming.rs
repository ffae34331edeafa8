//! What does a request carry? Its body, by whichever version of HTTP it comes.

use super::http1::{BodyBroken, Wire};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

pub type IncomingError = Box<dyn std::error::Error + Send + Sync>;

pub enum Incoming {
    None,
    Http1(RequestBody),
    Http2(hyper::body::Incoming),
}

/// On a connection that it shares with the requests before and after.
pub struct RequestBody {
    wire: Rc<RefCell<Wire>>,
    request: u64,
}

impl RequestBody {
    /// Of the request whose head was read last.
    pub fn of(wire: &Rc<RefCell<Wire>>) -> Self {
        Self { wire: Rc::clone(wire), request: wire.borrow().request() }
    }

    /// SECURITY: a body that outlives its request must not read another's.
    fn is_over(&self) -> bool {
        self.wire.borrow().request() != self.request
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyBroken>>> {
        if self.is_over() {
            return Poll::Ready(Some(Err(BodyBroken::Gone)));
        }
        self.wire.borrow_mut().poll_body(cx)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Http1(body) => body.poll(cx).map(|data| data.map(|data| data.map(Frame::data).map_err(Into::into))),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map(|it| it.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(body) => !body.is_over() && body.wire.borrow().body_ended(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Http1(body) if body.is_over() => SizeHint::default(),
            Self::Http1(body) => body.wire.borrow().body_left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
