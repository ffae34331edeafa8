//! How is one request put on a connection to an API, and where does its answer end? HTTP/1.1 as a client, without a task
//! and a channel between the request and its socket.
//!
//! Trusts an API with its own answers alone. An answer whose end could be read in more than one way is an error, and a
//! connection serves the next request only when both messages of the last have ended and not one byte is left over.

use crate::{
    proxy::body::CarriedIn,
    wire::{
        Alarm, Chunked, Field, MAX_FIELDS, Malformed, Piece, ROOM, content_length, fields_of, headers, says_close,
        write_line,
    },
};
use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use std::{
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Heads of answers that are longer are refused.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// `100 Continue`, `103 Early Hints` and their kind, before one answer.
const MAX_INTERIM: usize = 16;
/// A byte stream to an API.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl From<Malformed> for WireError {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Malformed(what)
    }
}

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it was closed before the answer")]
    Closed,
    #[error("it was closed within the answer")]
    Incomplete,
    #[error("the answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the request's body broke off")]
    RequestBody,
    #[error("it did not come in time")]
    Slow,
}

/// A connection between two exchanges.
pub struct Connection {
    io: Box<dyn Stream>,
    /// What came and was not read yet; empty between exchanges.
    came: BytesMut,
    /// What is still to be sent.
    out: BytesMut,
    /// Lines of the head that was read last.
    fields: Vec<Field>,
    alarm: Alarm,
}

impl Connection {
    pub fn new(io: impl Stream + 'static) -> Self {
        Self {
            io: Box::new(io),
            came: BytesMut::new(),
            out: BytesMut::new(),
            fields: Vec::new(),
            alarm: Alarm::default(),
        }
    }

    /// Nothing came since the last answer: neither an end nor bytes that nobody asked for. (It costs a system call only
    /// when something may have come.)
    pub fn is_idle(&mut self) -> bool {
        let mut one = [0];
        let mut cx = Context::from_waker(Waker::noop());
        // SECURITY: asked beyond the task's budget, a socket says that nothing came whatever did, and the next caller would
        // read what an API left here.
        let look = poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut ReadBuf::new(&mut one)));
        pin!(tokio::task::unconstrained(look)).poll(&mut cx).is_pending()
    }

    /// Sends the request and waits for the head of its answer, so long and no longer.
    ///
    /// # Errors
    /// [`Failed`]; with the body when not a byte of the request was sent.
    pub async fn send(
        mut self,
        head: &impl Head,
        body: CarriedIn,
        within: Duration,
    ) -> Result<Response<Incoming>, Box<Failed>> {
        let framing = write_head(head, &body, &mut self.out);
        // The first bytes by themselves: up to here the request may be sent elsewhere.
        let Self { io, out, alarm, .. } = &mut self;
        alarm.stop();
        let first = poll_fn(|cx| match Pin::new(&mut *io).poll_write(cx, out) {
            Poll::Pending => alarm.poll(within, cx).map(|()| Err(WireError::Slow)),
            sent => sent.map_err(WireError::Io),
        });
        match first.await {
            Ok(0) => return Err(Failed::unsent(WireError::Closed, body)),
            Err(error) => return Err(Failed::unsent(error, body)),
            Ok(sent) => out.advance(sent),
        }
        let head_only = *head.method() == Method::HEAD;
        let mut exchange =
            Box::new(Exchange { connection: self, body: Some(body), framing, sent: false, interim: 0, broken: None });
        let answer = poll_fn(|cx| match exchange.poll_answer(head_only, cx) {
            Poll::Pending => exchange.connection.alarm.poll(within, cx).map(|()| Err(WireError::Slow)),
            answer => answer,
        });
        let (response, end) = answer.await.map_err(Failed::sent)?;
        let reusable = is_kept(&response);
        Ok(response.map(|()| Incoming { exchange: Some(exchange), end, reusable, broken_off: false }))
    }
}

/// Why a request has no answer.
pub struct Failed {
    pub error: WireError,
    /// The request's body, when nothing of it was sent.
    pub unsent: Option<CarriedIn>,
}

impl Failed {
    fn unsent(error: WireError, body: CarriedIn) -> Box<Self> {
        Box::new(Self { error, unsent: Some(body) })
    }

    fn sent(error: WireError) -> Box<Self> {
        Box::new(Self { error, unsent: None })
    }
}

/// How the request's body is framed. // RFC 9112 §6
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Bytes still to be sent.
    Length(u64),
    Chunked,
}

impl Framing {
    /// SECURITY: never more than the head has promised: the rest would be read as another request.
    fn put(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            _ if data.is_empty() => {}
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WireError::RequestBody)?;
                out.extend_from_slice(data);
            }
            Self::Chunked => {
                out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn end(self, out: &mut BytesMut) -> Result<(), WireError> {
        match self {
            Self::Length(0) => {}
            Self::Length(_) => return Err(WireError::RequestBody),
            Self::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
        }
        Ok(())
    }
}

/// What a request says before its body.
pub trait Head {
    fn method(&self) -> &Method;
    /// Path and query.
    fn write_target(&self, out: &mut BytesMut);
    /// Every line but those that frame the body.
    fn write_lines(&self, out: &mut BytesMut);
}

/// Writes the head; says how the body follows.
fn write_head(head: &impl Head, body: &CarriedIn, out: &mut BytesMut) -> Framing {
    let method = head.method();
    out.clear();
    out.reserve(1024);
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    head.write_target(out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    head.write_lines(out);
    let framing = body.size_hint().exact().map_or(Framing::Chunked, Framing::Length);
    match framing {
        // RFC 9110 §8.6: no length where nobody expects a body.
        Framing::Length(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {}
        Framing::Length(length) => {
            write_line(out, header::CONTENT_LENGTH.as_str(), itoa::Buffer::new().format(length).as_bytes())
        }
        Framing::Chunked => write_line(out, header::TRANSFER_ENCODING.as_str(), b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// A request under way: its body goes out while its answer comes in.
struct Exchange {
    connection: Connection,
    /// `None` when it has ended.
    body: Option<CarriedIn>,
    framing: Framing,
    /// All of the request has left.
    sent: bool,
    /// Answers that announce another, so far.
    interim: usize,
    /// Sending broke; an answer that came before is read all the same.
    broken: Option<WireError>,
}

impl Exchange {
    /// Sends what can be sent now.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        if !self.sent
            && self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.try_send(cx)
        {
            self.broken = Some(error);
        }
    }

    fn try_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        loop {
            let Connection { io, out, .. } = &mut self.connection;
            while !out.is_empty() {
                let sent = ready!(Pin::new(&mut *io).poll_write(cx, out))?;
                if sent == 0 {
                    return Poll::Ready(Err(WireError::Closed));
                }
                out.advance(sent);
            }
            let Some(body) = self.body.as_mut() else {
                ready!(Pin::new(&mut *io).poll_flush(cx))?;
                self.sent = true;
                return Poll::Ready(Ok(()));
            };
            let frame = if body.is_end_stream() { Poll::Ready(None) } else { Pin::new(body).poll_frame(cx) };
            match frame {
                Poll::Pending => {
                    // What was written must not wait in a buffer of TLS for a body that is slow.
                    ready!(Pin::new(&mut *io).poll_flush(cx))?;
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(WireError::RequestBody)),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.framing.put(&data, out)?;
                    }
                }
                Poll::Ready(None) => {
                    self.framing.end(out)?;
                    self.body = None;
                }
            }
        }
    }

    fn poll_answer(&mut self, head_only: bool, cx: &mut Context<'_>) -> Poll<Result<(Response<()>, End), WireError>> {
        loop {
            self.poll_send(cx);
            while let Some(response) = parse_head(&mut self.connection)? {
                match response.status() {
                    // Nobody asked for another protocol.
                    StatusCode::SWITCHING_PROTOCOLS => {
                        return Poll::Ready(Err(WireError::Malformed("it switches protocols")));
                    }
                    status if status.is_informational() && self.interim < MAX_INTERIM => self.interim += 1,
                    status if status.is_informational() => {
                        return Poll::Ready(Err(WireError::Malformed("too many interim answers")));
                    }
                    _ => {
                        let end = End::of(&response, head_only)?;
                        return Poll::Ready(Ok((response, end)));
                    }
                }
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.broken.take().unwrap_or(WireError::Closed))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broken.take().unwrap_or(error.into()))),
                Poll::Ready(Ok(_)) => {}
                // A request that cannot be sent on will not be answered, as a rule; the answer had its chance.
                Poll::Pending => match self.broken.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => return Poll::Pending,
                },
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Connection { io, came, .. } = &mut self.connection;
        came.reserve(ROOM);
        pin!(io.read_buf(came)).poll(cx)
    }
}

/// Takes one head off the bytes that came; `None` until it is whole.
fn parse_head(connection: &mut Connection) -> Result<Option<Response<()>>, WireError> {
    let Connection { came, fields, .. } = connection;
    if came.is_empty() {
        return Ok(None);
    }
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, came, &mut lines);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(httparse::Status::Partial) if came.len() <= MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(WireError::Malformed("its head is too long")),
        Err(_) => return Err(WireError::Malformed("its head")),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed("its status"))?;
    let version = if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    fields_of(came, head.headers, fields);
    let bytes = came.split_to(length).freeze();
    let mut response = Response::new(());
    (*response.status_mut(), *response.version_mut()) = (status, version);
    // With room for what the gate says beside it.
    *response.headers_mut() = headers(&bytes, fields, 8)?;
    Ok(Some(response))
}

/// May the connection serve another request after this answer? // RFC 9112 §9.3
fn is_kept(response: &Response<()>) -> bool {
    response.version() == Version::HTTP_11 && !says_close(response.headers())
}

/// Where the answer's body ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Bytes still to come.
    Length(u64),
    Chunked(Chunked),
    /// With the connection.
    Close,
    /// It has ended.
    Ended,
}

impl End {
    /// RFC 9112 §6.3. SECURITY: no guess where two readings are possible: the rest of the connection could be taken for
    /// another caller's answer.
    fn of(response: &Response<()>, head_only: bool) -> Result<Self, WireError> {
        let status = response.status();
        let mut codings = response.headers().get_all(header::TRANSFER_ENCODING).iter();
        let coding = codings.next();
        let length = content_length(response.headers())?;
        if head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Self::Ended);
        }
        match (coding, length) {
            (None, Some(0)) => Ok(Self::Ended),
            (None, Some(length)) => Ok(Self::Length(length)),
            (None, None) => Ok(Self::Close),
            (Some(_), Some(_)) => Err(WireError::Malformed("a length and a transfer coding")),
            (Some(one), None)
                if codings.next().is_none()
                    && one.as_bytes().eq_ignore_ascii_case(b"chunked")
                    && response.version() == Version::HTTP_11 =>
            {
                Ok(Self::Chunked(Chunked::default()))
            }
            (Some(_), None) => Err(WireError::Malformed("an unknown transfer coding")),
        }
    }
}

/// An answer's body as it comes.
pub struct Incoming {
    /// `None` when the connection was taken for another request.
    exchange: Option<Box<Exchange>>,
    end: End,
    reusable: bool,
    broken_off: bool,
}

impl Incoming {
    /// The connection, when both messages have ended and nothing is left over.
    pub fn take_connection(&mut self) -> Option<Connection> {
        let clean = self.reusable
            && self.end == End::Ended
            && self.exchange.as_ref().is_some_and(|exchange| exchange.sent && exchange.connection.came.is_empty());
        if clean { self.exchange.take().map(|exchange| exchange.connection) } else { None }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, WireError>> {
        loop {
            let Some(exchange) = self.exchange.as_mut().filter(|_| self.end != End::Ended) else {
                return Poll::Ready(Ok(None));
            };
            // An answer may begin while its request is still under way.
            exchange.poll_send(cx);
            let came = &mut exchange.connection.came;
            if let Some(data) = self.end.take(came)? {
                return Poll::Ready(Ok(Some(data)));
            }
            if self.end == End::Ended {
                return Poll::Ready(Ok(None));
            }
            let read = ready!(exchange.poll_read(cx));
            if matches!(read, Ok(0)) && self.end == End::Close {
                self.end = End::Ended;
                self.reusable = false;
            } else if !matches!(read, Ok(1..)) {
                if self.broken_off {
                    return Poll::Ready(Err(WireError::Incomplete));
                }
                // What came of it leaves before the error ends the caller's connection.
                self.broken_off = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl End {
    /// The next bytes of the body among those that came; `None` when more must come, or when it has ended.
    fn take(&mut self, came: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        match self {
            Self::Ended => Ok(None),
            Self::Close if came.is_empty() => Ok(None),
            Self::Close => Ok(Some(came.split().freeze())),
            Self::Length(_) if came.is_empty() => Ok(None),
            Self::Length(left) => {
                let now = usize::try_from(*left).map_or(came.len(), |left| left.min(came.len()));
                *left -= now as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Some(came.split_to(now).freeze()))
            }
            Self::Chunked(chunked) => match chunked.take(came).map_err(WireError::Malformed)? {
                Piece::More => Ok(None),
                Piece::Data(data) => Ok(Some(data)),
                Piece::End => {
                    *self = Self::Ended;
                    Ok(None)
                }
            },
        }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = WireError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        self.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Length(left) => SizeHint::with_exact(left),
            End::Ended => SizeHint::with_exact(0),
            End::Chunked(_) | End::Close => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
