//! How does one connection speak HTTP/1.1? One request after the other, read, handed to the handler and answered in one
//! task without a channel. What a head or a body may look like stands in `head`, `wire` and `reply`.
//!
//! Never reads another request from a connection whose last one has no certain end.

mod date;
mod head;
mod reply;
mod wire;

pub use date::Dates;
pub use head::{Head, Most, Reader, Rest};
pub use wire::{BodyBroken, Wire};

use self::reply::{Asked, Reply};
use super::{
    Connection, Core, Handler, Incoming,
    head::BadHead,
    incoming::RequestBody,
    stream::{Ahead, Stream},
    watched::Watched,
};
use crate::wire::Alarm;
use http::{Method, Request, Response, StatusCode, header};
use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

/// How HTTP/2 begins. // RFC 9113 §3.4
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So much of an unwanted body is read after the answer, for so long: a reset would take the answer from the client.
const LINGER_BYTES: usize = 256 << 10;
const LINGER: Duration = Duration::from_secs(1);

/// Why no request came.
enum NoHead {
    /// The client is done, or so are we.
    Closed,
    Http2,
    Bad(BadHead),
    /// Half a request, or none at all on a new connection.
    Slow,
    Incomplete,
}

/// Serves until the connection ends. `stop`: no further request is taken. `Some`: the client speaks HTTP/2, and has not
/// been read beyond its preface.
pub async fn serve<H: Handler>(
    core: &Rc<Core<H>>,
    wire: Wire,
    connection: &Rc<Connection>,
    stop: watch::Receiver<bool>,
) -> Option<Wire> {
    let wire = Rc::new(RefCell::new(wire));
    let mut idle = Idle::new(core.bounds.header_deadline, stop.clone());
    loop {
        let head = match idle.head(&wire).await {
            Ok(head) => head,
            Err(NoHead::Http2) => return Rc::try_unwrap(wire).ok().map(RefCell::into_inner),
            Err(none) => {
                refuse(core, &wire, connection, none).await;
                return None;
            }
        };
        match exchange(core, &wire, connection, head, &stop).await {
            Next::Request => {}
            Next::Nothing => return None,
            Next::Switched(taker) => {
                let own = Rc::try_unwrap(wire).ok().map(RefCell::into_inner);
                let _ = taker.send(own.map(|wire| wire.into_parts()).map(|(stream, came)| Ahead::new(came, stream)));
                return None;
            }
        }
    }
}

/// What follows on a connection.
enum Next {
    Request,
    Nothing,
    /// Another protocol, as was agreed with the client.
    Switched(Taker),
}

type Taker = oneshot::Sender<Option<Upgraded>>;

/// One request and its answer.
async fn exchange<H: Handler>(
    core: &Rc<Core<H>>,
    wire: &Rc<RefCell<Wire>>,
    connection: &Rc<Connection>,
    head: Head,
    stop: &watch::Receiver<bool>,
) -> Next {
    let mut asked =
        Asked { head_only: head.parts.method == Method::HEAD, version: head.parts.version, persists: head.persists };
    let (request, taker) = request(wire, head);
    // G05: what follows a wish for another protocol is that protocol's, or nothing.
    asked.persists &= taker.is_none();
    let answered = respond(core, wire, connection, request, asked, stop).await;
    wire.borrow_mut().over();
    match (answered, taker) {
        (None, _) => Next::Nothing,
        (Some((StatusCode::SWITCHING_PROTOCOLS, _)), Some(taker)) => Next::Switched(taker),
        (Some((_, true)), _) if wire.borrow_mut().skip_body() => Next::Request,
        _ => {
            linger(wire).await;
            Next::Nothing
        }
    }
}

/// The status that was answered, and whether another request may follow. `None`: no answer, or none that was sent whole.
async fn respond<H: Handler>(
    core: &Rc<Core<H>>,
    wire: &Rc<RefCell<Wire>>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    mut asked: Asked,
    stop: &watch::Receiver<bool>,
) -> Option<(StatusCode, bool)> {
    // A client that goes away takes its request with it.
    let response = {
        let mut handling = pin!(Rc::clone(&core.handler).handle(request, Rc::clone(connection)));
        poll_fn(|cx| match handling.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => wire.borrow_mut().poll_gone(cx).map(|()| None),
        })
        .await?
    };
    if Rc::strong_count(wire) == 1 && !wire.borrow().body_ended() {
        // Nobody reads the body any more. Where the rest of it is not there, the answer says that it is the last.
        asked.persists &= poll_fn(|cx| Poll::Ready(wire.borrow_mut().skip_at_hand(cx))).await;
    }
    asked.persists &= !*stop.borrow();
    let status = response.status();
    answer(core, wire, response, asked).await.map(|persists| (status, persists))
}

/// `None`: the answer could not be sent whole. `Some(false)`: it was the last.
async fn answer<H: Handler>(
    core: &Core<H>,
    wire: &Rc<RefCell<Wire>>,
    response: Response<H::Body>,
    asked: Asked,
) -> Option<bool> {
    let (parts, body) = response.into_parts();
    wire.borrow_mut().begin_answer();
    let mut reply = Reply::begin(&parts, body, asked, &core.dates, &mut wire.borrow_mut().out);
    drop(parts);
    poll_fn(|cx| match reply.poll_send(wire, cx) {
        Poll::Ready(sent) => Poll::Ready(sent.ok().map(|()| reply.persists)),
        Poll::Pending => wire.borrow_mut().poll_gone(cx).map(|()| None),
    })
    .await
}

/// The request as handlers see it; where it wishes for another protocol, with the other end of [`Upgrading`].
fn request(wire: &Rc<RefCell<Wire>>, head: Head) -> (Request<Incoming>, Option<Taker>) {
    let mut parts = head.parts;
    let taker = parts.headers.contains_key(header::UPGRADE).then(|| {
        let (sender, receiver) = oneshot::channel();
        parts.extensions.insert(Upgrading(Arc::new(Mutex::new(Some(receiver)))));
        sender
    });
    let body = if wire.borrow().body_ended() { Incoming::None } else { Incoming::Http1(RequestBody::of(wire)) };
    (Request::from_parts(parts, body), taker)
}

async fn refuse<H: Handler>(core: &Core<H>, wire: &Rc<RefCell<Wire>>, connection: &Connection, none: NoHead) {
    let peer = connection.peer.ip();
    match none {
        NoHead::Closed | NoHead::Http2 => {}
        NoHead::Slow => core.recorder.refused(peer, "deadline.header", "no request came in time"),
        NoHead::Incomplete => core.recorder.refused(peer, "http.incomplete", "the connection closed within a request"),
        NoHead::Bad(bad) => {
            core.recorder.refused(peer, bad.code, bad.detail);
            reply::refuse(bad.status, &core.dates, &mut wire.borrow_mut().out);
            if poll_fn(|cx| wire.borrow_mut().poll_flush(cx)).await.is_ok() {
                linger(wire).await;
            }
        }
    }
}

/// Ends the connection without taking the answer away from a client that is still sending.
async fn linger(wire: &Rc<RefCell<Wire>>) {
    let mut left = LINGER_BYTES;
    let drained = async {
        if poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx)).await.is_ok() {
            poll_fn(|cx| wire.borrow_mut().poll_drain(&mut left, cx)).await;
        }
    };
    let _ = timeout(LINGER, drained).await;
}

/// Waits for heads.
struct Idle {
    deadline: Duration,
    alarm: Alarm,
    stopped: Pin<Box<dyn Future<Output = ()>>>,
    requests: u64,
}

impl Idle {
    fn new(deadline: Duration, mut stop: watch::Receiver<bool>) -> Self {
        let stopped = Box::pin(async move {
            let _ = stop.wait_for(|stop| *stop).await;
        });
        Self { deadline, alarm: Alarm::default(), stopped, requests: 0 }
    }

    async fn head(&mut self, wire: &RefCell<Wire>) -> Result<Head, NoHead> {
        self.alarm.stop();
        let head = poll_fn(|cx| {
            let wire = &mut *wire.borrow_mut();
            loop {
                if self.requests == 0 && PREFACE.starts_with(wire.came().get(..PREFACE.len()).unwrap_or(wire.came())) {
                    if wire.came().len() >= PREFACE.len() {
                        return Poll::Ready(Err(NoHead::Http2));
                    }
                } else if let Some(head) = wire.take_head().map_err(NoHead::Bad)? {
                    return Poll::Ready(Ok(head));
                }
                let nothing = wire.came().is_empty();
                match wire.poll_read(cx) {
                    // The time of a head begins with its first byte, that of the first one with the connection.
                    Poll::Ready(Ok(1..)) if nothing && self.requests > 0 => self.alarm.stop(),
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) if wire.came().is_empty() => return Poll::Ready(Err(NoHead::Closed)),
                    Poll::Ready(_) => return Poll::Ready(Err(NoHead::Incomplete)),
                    Poll::Pending => {
                        wire.rest();
                        return self.poll_idle(nothing, cx);
                    }
                }
            }
        })
        .await;
        self.requests += 1;
        head
    }

    /// Nothing more has come. INVARIANT: a head is there within the deadline, however it trickles (G18).
    fn poll_idle<T>(&mut self, nothing: bool, cx: &mut Context<'_>) -> Poll<Result<T, NoHead>> {
        if nothing && self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(NoHead::Closed));
        }
        ready!(self.alarm.poll(self.deadline, cx));
        Poll::Ready(Err(if nothing && self.requests > 0 { NoHead::Closed } else { NoHead::Slow }))
    }
}

/// What the client's connection becomes once it was answered 101.
pub type Upgraded = Ahead<Watched<Stream>>;

/// Taken by who answers 101. The connection comes when the answer has left.
#[derive(Clone)]
pub struct Upgrading(Arc<Mutex<Option<oneshot::Receiver<Option<Upgraded>>>>>);

impl Upgrading {
    /// `None`: the answer was another, or could not be sent.
    pub async fn upgraded(self) -> Option<Upgraded> {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        receiver.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests;
