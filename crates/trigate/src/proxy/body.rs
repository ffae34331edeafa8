//! How much goes through, and did it arrive whole? Bodies are streamed, counted, capped and timed; the completion
//! record is written when the response's body ends, however it ends.

use super::{
    grpc,
    road::{RoadParts, answer_headers},
    upstream::{ApiBody, Busy},
    watch::{End, Watch, Watched},
};
use crate::edge::{Incoming, IncomingError};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use trigate_core::{
    audit::{Completion, Record},
    id::RequestId,
    port::Monotonic,
};
use trigate_gates::Standing;

pub type BodyError = IncomingError;

/// Why a request's body was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    TooLarge,
    TooSlow,
    /// The client went away or broke the framing.
    Broken,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request's body is larger than the route allows",
            Self::TooSlow => "the request's body came too slowly",
            Self::Broken => "the request's body broke off",
        })
    }
}

impl std::error::Error for Cut {}

/// What request and response sides tell each other.
#[derive(Debug, Default)]
pub struct Flow {
    pub bytes_in: Cell<u64>,
    pub cut: Cell<Option<Cut>>,
    pub in_ended: Cell<bool>,
}

/// A request's body on its way to the API.
pub struct CarriedIn {
    body: Option<Incoming>,
    flow: Rc<Flow>,
    max: u64,
    pace: Pace,
}

/// A body may take `grace`; after that it must keep `rate` bytes a second on the whole (G18).
#[derive(Clone, Copy, Debug)]
pub struct PaceRule {
    pub grace: Duration,
    pub rate: u64,
}

struct Pace {
    rule: PaceRule,
    /// Begins when the API first asks for the body.
    timer: Option<Pin<Box<Sleep>>>,
    counted: u64,
}

impl CarriedIn {
    pub fn new(body: Incoming, flow: Rc<Flow>, max: u64, rule: PaceRule) -> Self {
        let none = body.is_end_stream();
        flow.in_ended.set(none);
        Self { body: (!none).then_some(body), flow, max, pace: Pace { rule, timer: None, counted: 0 } }
    }

    pub fn none(flow: Rc<Flow>) -> Self {
        flow.in_ended.set(true);
        let rule = PaceRule { grace: Duration::ZERO, rate: 1 };
        Self { body: None, flow, max: 0, pace: Pace { rule, timer: None, counted: 0 } }
    }

    fn cut(&self, why: Cut) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.flow.cut.set(Some(why));
        Poll::Ready(Some(Err(Box::new(why))))
    }

    fn poll_pace(&mut self, cx: &mut Context<'_>) -> bool {
        let read = self.flow.bytes_in.get();
        let grace = self.pace.rule.grace;
        let timer = self.pace.timer.get_or_insert_with(|| Box::pin(sleep(grace)));
        while timer.as_mut().poll(cx).is_ready() {
            // Each window earns the next by the bytes that came in it.
            let earned = read.saturating_sub(self.pace.counted) / self.pace.rule.rate.max(1);
            self.pace.counted = read;
            if earned == 0 {
                return false;
            }
            timer.set(sleep(Duration::from_secs(earned.min(grace.as_secs().max(1)))));
        }
        true
    }
}

impl Body for CarriedIn {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => {
                if self.poll_pace(cx) {
                    Poll::Pending
                } else {
                    self.cut(Cut::TooSlow)
                }
            }
            Poll::Ready(None) => {
                self.flow.in_ended.set(true);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => self.cut(Cut::Broken),
            Poll::Ready(Some(Ok(frame))) => {
                // RFC 9110 §6.5.1: trailers may be dropped, and are: they could carry names that we strip, after the
                // head was judged. gRPC has none in requests.
                let Ok(data) = frame.into_data() else {
                    self.flow.in_ended.set(true);
                    return Poll::Ready(None);
                };
                let total = self.flow.bytes_in.get().saturating_add(data.len() as u64);
                self.flow.bytes_in.set(total);
                if total > self.max {
                    return self.cut(Cut::TooLarge);
                }
                if self.body.as_ref().is_some_and(Body::is_end_stream) {
                    self.flow.in_ended.set(true);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What answers carry.
pub enum Answer {
    /// Our own words.
    Own(Option<Bytes>),
    /// The API's.
    Carried(Box<CarriedOut>),
}

impl Answer {
    pub fn own(text: impl Into<Bytes>) -> Self {
        let bytes = text.into();
        Self::Own((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Carried(carried) => carried.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Carried(carried) => carried.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Carried(carried) => carried.body.size_hint(),
        }
    }
}

/// A response's body on its way to the client.
pub struct CarriedOut {
    pub body: ApiBody,
    pub busy: Option<Busy>,
    /// Written when this is dropped.
    pub ending: Ending,
    failed: bool,
    watching: Watching,
    /// An end before the end is told in trailers.
    grpc: bool,
}

/// Bodies that arrive whole with their head are not watched: they cost nothing here.
pub enum Watching {
    Not,
    /// Begins when there is something to wait for.
    Before(Rc<Watch>, Option<Standing>, Duration),
    Now(Watched),
}

impl Watching {
    fn begin(&mut self) -> Option<&Watched> {
        if let Self::Before(..) = self
            && let Self::Before(watch, standing, silence) = std::mem::replace(self, Self::Not)
        {
            *self = Self::Now(watch.open(standing, silence));
        }
        match self {
            Self::Now(watched) => Some(watched),
            _ => None,
        }
    }
}

impl CarriedOut {
    pub fn new(body: ApiBody, busy: Option<Busy>, ending: Ending, watching: Watching, grpc: bool) -> Box<Self> {
        let mut this = Box::new(Self { body, busy, ending, failed: false, watching, grpc });
        this.settle();
        this
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Watching::Now(watched) = &self.watching
            && let Some(end) = watched.end()
        {
            return self.end(end);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => {
                self.ending.whole = true;
                self.settle();
            }
            Poll::Ready(Some(Err(_))) => self.failed = true,
            Poll::Ready(Some(Ok(frame))) => {
                self.ending.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.settle();
                if !self.ending.whole
                    && let Some(watched) = self.watching.begin()
                {
                    watched.moved();
                }
            }
            Poll::Pending => {
                if let Some(watched) = self.watching.begin()
                    && let Poll::Ready(end) = watched.poll(cx)
                {
                    return self.end(end);
                }
            }
        }
        match polled {
            // What an API may not say in a header it may not say in a trailer.
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_trailers() {
                Ok(trailers) => Frame::trailers(answer_headers(trailers)),
                Err(data) => data,
            }))),
            other => other,
        }
    }

    /// Ends here what may not flow on.
    fn end(&mut self, end: End) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ending.ended.replace(end).is_some() {
            return Poll::Ready(None);
        }
        self.failed = true;
        if self.grpc {
            return Poll::Ready(Some(Ok(Frame::trailers(grpc::trailers(end)))));
        }
        Poll::Ready(Some(Err(Box::new(end))))
    }

    /// The connection may serve the next request once both bodies have ended.
    fn settle(&mut self) {
        if self.ending.ended.is_none() && (self.ending.whole || self.body.is_end_stream()) {
            self.ending.whole = true;
            if !self.failed && self.ending.flow.in_ended.get() && self.ending.flow.cut.get().is_none() {
                self.body.done();
                self.busy = None;
            }
        }
    }
}

/// Everything that the completion record needs, filled as it goes.
pub struct Ending {
    pub parts: Rc<RoadParts>,
    pub request: RequestId,
    pub started: Monotonic,
    pub status: u16,
    pub bytes_out: u64,
    pub flow: Rc<Flow>,
    pub whole: bool,
    /// Ended by the gate.
    pub ended: Option<End>,
}

impl Ending {
    /// With an answer of our own, which is whole.
    pub fn end(mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.whole = true;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let RoadParts { audit, clock, metrics, node, .. } = self.parts.as_ref();
        let duration_us = clock.monotonic().0.saturating_sub(self.started.0);
        metrics.completed(self.status, Duration::from_micros(duration_us));
        audit.note(&Record::Completion(Completion {
            at: clock.now(),
            node: Arc::clone(node),
            request: self.request.clone(),
            status: self.status,
            bytes_in: self.flow.bytes_in.get(),
            bytes_out: self.bytes_out,
            duration_us,
            cut: !self.whole,
            ended: self.ended.map(|end| end.code().to_owned()),
        }));
    }
}
