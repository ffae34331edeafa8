//! How does one connection speak HTTP/2? hyper parses; deadlines, caps and the record of what it refused are ours.

use super::{Connection, Core, Handler, Incoming};
use http::{Request, Response};
use hyper::{
    body::{Body, Frame, SizeHint},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use std::{
    cell::Cell,
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
    time::sleep,
};

/// Runs hyper's tasks on this core.
#[derive(Clone, Copy)]
pub struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// What a connection and its requests know of each other.
#[derive(Debug, Default)]
struct Progress {
    requests: Cell<u64>,
    in_flight: Cell<u64>,
}

pub async fn serve<H: Handler, S>(core: &Rc<Core<H>>, stream: S, connection: Rc<Connection>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let progress = Rc::new(Progress::default());
    let peer = connection.peer.ip();
    let service = service_fn({
        let (handler, progress) = (Rc::clone(&core.handler), Rc::clone(&progress));
        move |request: Request<hyper::body::Incoming>| {
            let (handler, connection, progress) = (Rc::clone(&handler), Rc::clone(&connection), Rc::clone(&progress));
            async move {
                let busy = Busy::begin(progress);
                let response: Response<H::Body> = handler.handle(request.map(Incoming::Http2), connection).await;
                Ok::<_, Infallible>(response.map(|body| Held { body, busy }))
            }
        }
    });
    let serving = builder(core).serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(watcher.watch(serving));
    let outcome = tokio::select! {
        outcome = &mut serving => outcome,
        () = silence(&progress, &core.bounds) => {
            if progress.requests.get() == 0 {
                core.recorder.refused(peer, "deadline.header", "no request came in time");
            }
            return;
        }
    };
    if let Err(error) = outcome {
        record(core, peer, &error);
    }
}

fn builder<H>(core: &Core<H>) -> http2::Builder<Local> {
    let bounds = &core.bounds;
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
        // CVE-2023-44487 and its kin: resets that cost us work are counted, and the connection ended.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

/// A request in flight, until its response's body has gone.
struct Busy(Rc<Progress>);

impl Busy {
    fn begin(progress: Rc<Progress>) -> Self {
        progress.requests.set(progress.requests.get() + 1);
        progress.in_flight.set(progress.in_flight.get() + 1);
        Self(progress)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

struct Held<B> {
    body: B,
    #[allow(dead_code, reason = "held for its drop")]
    busy: Busy,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns when the peer sent no first request in time, or nothing at all for long.
async fn silence(progress: &Progress, bounds: &super::Bounds) {
    sleep(bounds.header_deadline).await;
    if progress.requests.get() == 0 {
        return;
    }
    loop {
        let requests = progress.requests.get();
        sleep(bounds.idle).await;
        if progress.in_flight.get() == 0 && requests == progress.requests.get() {
            return;
        }
    }
}

fn record<H>(core: &Core<H>, peer: IpAddr, error: &hyper::Error) {
    let code = if error.is_parse_too_large() {
        "http.too_large"
    } else if error.is_parse() {
        "http.parse"
    } else if error.is_incomplete_message() {
        "http.incomplete"
    } else if has_h2_reason(error) {
        "http.protocol"
    } else {
        return;
    };
    core.recorder.refused(peer, code, &error.to_string());
}

fn has_h2_reason(error: &hyper::Error) -> bool {
    use std::error::Error;
    error.source().is_some_and(|source| {
        source.to_string().contains("PROTOCOL_ERROR") || source.to_string().contains("ENHANCE_YOUR_CALM")
    })
}
