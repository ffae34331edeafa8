//! Which HTTP/2 connection carries it to the API? One per core and address, shared by as many requests as it may carry.

use super::{Failed, UpstreamBounds, UpstreamError, UpstreamUrl, dial::dial};
use crate::{edge::Local, proxy::body::CarriedIn};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Mutex, task::spawn_local, time::timeout};

type Sender = http2::SendRequest<CarriedIn>;

/// The HTTP/2 connections of one core.
pub struct Http2 {
    connections: RefCell<HashMap<UpstreamUrl, Rc<Shared>>>,
    tls: Arc<rustls::ClientConfig>,
}

#[derive(Default)]
struct Shared {
    /// Locked while one connects: the others wait for that connection.
    sender: Mutex<Option<Sender>>,
    streams: Cell<usize>,
}

/// One request on a shared connection, until its response's body has ended.
pub struct Stream(Rc<Shared>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
    }
}

impl Http2 {
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { connections: RefCell::default(), tls }
    }

    /// Sends one request; `again` as in [`super::Pool::send`].
    pub async fn send(
        &self,
        upstream: &UpstreamUrl,
        bounds: UpstreamBounds,
        mut request: Request<CarriedIn>,
        again: impl Fn() -> Option<Request<CarriedIn>>,
    ) -> Result<(Response<Incoming>, Stream), Failed> {
        let Some(stream) = self.open(upstream, bounds.streams) else {
            return Err(Failed::unsent(UpstreamError::Full, request.into_body()));
        };
        let mut retried = false;
        loop {
            let (mut sender, fresh) = match timeout(bounds.connect, self.sender(&stream.0, upstream)).await {
                Err(_) => return Err(Failed::unsent(UpstreamError::Slow("connection"), request.into_body())),
                Ok(Err(why)) => return Err(Failed::unsent(UpstreamError::Connect(why), request.into_body())),
                Ok(Ok(sender)) => sender,
            };
            match timeout(bounds.response, sender.try_send_request(request)).await {
                Err(_) => return Err(UpstreamError::Slow("response").into()),
                Ok(Ok(response)) => return Ok((response, stream)),
                Ok(Err(mut failed)) => {
                    // RFC 9113 §8.7: what was not processed may be sent again, on a connection that was not made for it.
                    let unsent = failed.take_message().or_else(&again).filter(|_| !fresh && !retried);
                    match unsent {
                        Some(retry) => request = retry,
                        None => return Err(UpstreamError::Broken(failed.into_error().into()).into()),
                    }
                    retried = true;
                }
            }
        }
    }

    fn open(&self, upstream: &UpstreamUrl, most: usize) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        if !connections.contains_key(upstream) {
            // Addresses and certificates of earlier configurations end with their last request.
            connections.retain(|_, shared| {
                Rc::strong_count(shared) > 1
                    || shared
                        .sender
                        .try_lock()
                        .is_ok_and(|sender| sender.as_ref().is_some_and(|sender| !sender.is_closed()))
            });
            connections.insert(upstream.clone(), Rc::default());
        }
        let shared = connections.get(upstream)?;
        if shared.streams.get() >= most {
            return None;
        }
        shared.streams.set(shared.streams.get() + 1);
        Some(Stream(Rc::clone(shared)))
    }

    async fn sender(&self, shared: &Shared, upstream: &UpstreamUrl) -> Result<(Sender, bool), String> {
        let mut held = shared.sender.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), false));
        }
        let stream = TokioIo::new(dial(upstream, &self.tls).await?);
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(2 << 20)
            .max_send_buf_size(256 << 10)
            .max_header_list_size(64 << 10)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .handshake(stream)
            .await
            .map_err(|error| error.to_string())?;
        spawn_local(async move {
            // Its end shows in the sender.
            let _ = connection.await;
        });
        *held = Some(sender.clone());
        Ok((sender, true))
    }
}
