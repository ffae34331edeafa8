//! Which connection carries it to the API? One pool of HTTP/1.1 connections per core: no lock, no other core's socket.

mod balance;
mod dial;
mod health;
mod http2;
mod tls;

pub use balance::{Busy, Ejection, HealthRule, Target, Tried, Upstream, carry_over};
pub use dial::dial;
pub use health::check_health;
pub use tls::{TlsClient, TlsSettings};

use self::http2::Http2;
use super::body::CarriedIn;
use http::{Request, Response, Uri};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};
use tokio::{task::spawn_local, time::timeout};
use trigate_core::port::{Clock, Monotonic};

/// Where an API is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Put before every path; empty, or without a slash at its end.
    pub prefix: String,
    /// Spoken to in HTTP/2: `h2c://`, or `https://` where the configuration says so.
    pub http2: bool,
    /// Where it has TLS settings of its own. Part of what makes connections alike.
    pub client: Option<Arc<TlsClient>>,
}

impl UpstreamUrl {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
        let (tls, http2) = match uri.scheme_str() {
            Some("http") => (false, false),
            Some("h2c") => (false, true),
            Some("https") => (true, false),
            _ => return Err("it begins with `http://`, `https://` or `h2c://`"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong in a URL");
        }
        if uri.query().is_some() {
            return Err("it has a query");
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        if !prefix.is_empty() && trigate_gates::NormalPath::parse(&prefix).is_err() {
            return Err("its path has an ambiguous spelling");
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: authority.host().to_owned(), port, prefix, http2, client: None })
    }

    /// Scheme and authority, as HTTP/2 carries them.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.host_header())
    }

    /// The `Host` that the API reads.
    pub fn host_header(&self) -> String {
        if self.port == if self.tls { 443 } else { 80 } {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.tls, self.http2) {
            (true, _) => "https",
            (false, true) => "h2c",
            (false, false) => "http",
        };
        write!(f, "{scheme}://{}{}", self.host_header(), self.prefix)
    }
}

/// Bounds of calls to upstreams.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamBounds {
    pub connect: Duration,
    pub response: Duration,
    /// A response's body that is silent for so long is cut.
    pub silence: Duration,
    /// Idle HTTP/1.1 connections kept.
    pub idle: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: usize,
}

/// Why the API did not answer.
#[derive(Debug)]
pub enum UpstreamError {
    /// No connection: 502.
    Connect(String),
    /// No answer in time: 504.
    Slow(&'static str),
    /// The connection broke: 502.
    Broken(hyper::Error),
    /// As many requests are under way as may be: 503.
    Full,
}

/// A request that got no answer.
pub struct Failed {
    pub error: UpstreamError,
    /// Nothing of it was sent: another address may get it, whatever it is.
    pub unsent: Option<Request<CarriedIn>>,
}

impl Failed {
    pub const fn unsent(error: UpstreamError, request: Request<CarriedIn>) -> Self {
        Self { error, unsent: Some(request) }
    }
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        Self { error, unsent: None }
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Slow(what) => write!(f, "no {what} in time"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Full => f.write_str("too many requests are under way"),
        }
    }
}

type Sender = http1::SendRequest<CarriedIn>;

/// Idle connections older than this are not trusted: servers commonly close after a minute.
const IDLE_LIFE_US: u64 = 45_000_000;

struct Idle {
    sender: Sender,
    since: Monotonic,
}

/// The connections of one core.
pub struct Pool {
    idle: RefCell<HashMap<UpstreamUrl, Vec<Idle>>>,
    clock: Arc<dyn Clock>,
    pub tls: Arc<rustls::ClientConfig>,
    pub http2: Http2,
}

impl Pool {
    pub fn new(clock: Arc<dyn Clock>, tls: Arc<rustls::ClientConfig>) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), clock, http2: Http2::new(Arc::clone(&tls)), tls })
    }

    /// Sends one request. `again` makes it anew when it may be repeated: a pooled connection that the API closed just
    /// now must not become an error for the caller (RFC 9110 §9.2.2).
    pub async fn send(
        self: &Rc<Self>,
        upstream: &UpstreamUrl,
        bounds: UpstreamBounds,
        request: Request<CarriedIn>,
        again: impl Fn() -> Option<Request<CarriedIn>>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let mut request = request;
        let mut fresh = false;
        loop {
            let pooled = if fresh { None } else { self.take(upstream).await };
            let reused = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                None => match self.connect(upstream, bounds.connect).await {
                    Ok(sender) => sender,
                    Err(error) => return Err(Failed::unsent(error, request)),
                },
            };
            match timeout(bounds.response, sender.try_send_request(request)).await {
                Err(_) => return Err(UpstreamError::Slow("response").into()),
                Ok(Ok(response)) => {
                    let lease = Lease {
                        pool: Rc::downgrade(self),
                        upstream: upstream.clone(),
                        sender: Some(sender),
                        keep: bounds.idle,
                    };
                    return Ok((response, lease));
                }
                Ok(Err(mut failed)) => {
                    // Never written: safe to send whatever it was. Written on a connection that was closing: only what is safe.
                    let unsent = failed.take_message().filter(|_| reused);
                    match unsent.or_else(|| again().filter(|_| reused)) {
                        Some(retry) => request = retry,
                        None => return Err(UpstreamError::Broken(failed.into_error()).into()),
                    }
                    fresh = true;
                }
            }
        }
    }

    async fn take(&self, upstream: &UpstreamUrl) -> Option<Sender> {
        loop {
            let mut idle = self.idle.borrow_mut().get_mut(upstream)?.pop()?;
            let age = self.clock.monotonic().0.saturating_sub(idle.since.0);
            if age > IDLE_LIFE_US || idle.sender.is_closed() {
                continue;
            }
            if idle.sender.is_ready()
                || matches!(timeout(Duration::from_millis(20), idle.sender.ready()).await, Ok(Ok(())))
            {
                return Some(idle.sender);
            }
        }
    }

    async fn connect(&self, upstream: &UpstreamUrl, within: Duration) -> Result<Sender, UpstreamError> {
        let connecting = async { handshake(TokioIo::new(dial(upstream, &self.tls).await?)).await };
        match timeout(within, connecting).await {
            Ok(connected) => connected.map_err(UpstreamError::Connect),
            Err(_) => Err(UpstreamError::Slow("connection")),
        }
    }

    fn put(&self, upstream: &UpstreamUrl, sender: Sender, keep: usize) {
        let mut idle = self.idle.borrow_mut();
        if !idle.contains_key(upstream) {
            idle.insert(upstream.clone(), Vec::new());
        }
        let now = self.clock.monotonic();
        if let Some(list) = idle.get_mut(upstream) {
            // The oldest stand first: those past their time go.
            let stale = list
                .iter()
                .take_while(|old| now.0.saturating_sub(old.since.0) > IDLE_LIFE_US || old.sender.is_closed())
                .count();
            list.drain(..stale);
            if list.len() < keep {
                list.push(Idle { sender, since: now });
            }
        }
    }
}

async fn handshake<S: hyper::rt::Read + hyper::rt::Write + Unpin + 'static>(stream: S) -> Result<Sender, String> {
    let (sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
    spawn_local(async move {
        // Its end shows in the sender.
        let _ = connection.await;
    });
    Ok(sender)
}

/// A connection in use; goes back to the pool only when the exchange ended cleanly.
pub struct Lease {
    pool: Weak<Pool>,
    upstream: UpstreamUrl,
    sender: Option<Sender>,
    keep: usize,
}

impl Lease {
    pub fn give_back(&mut self) {
        if let (Some(sender), Some(pool)) = (self.sender.take(), self.pool.upgrade()) {
            pool.put(&self.upstream, sender, self.keep);
        }
    }
}

/// What a response holds while its body flows.
pub struct Held {
    pub lease: Carrier,
    pub busy: Option<Busy>,
}

pub enum Carrier {
    Http1(Lease),
    Http2(http2::Stream),
    /// A connection for this one exchange.
    Single,
}

impl Held {
    /// The exchange ended cleanly, or at all.
    pub fn done(&mut self) {
        if let Carrier::Http1(lease) = &mut self.lease {
            lease.give_back();
        }
        self.busy = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_urls_are_read() {
        let url = UpstreamUrl::parse("http://127.0.0.1:3000/base/").unwrap();
        assert_eq!((url.port, url.prefix.as_str(), url.host_header().as_str()), (3000, "/base", "127.0.0.1:3000"));
        assert_eq!(UpstreamUrl::parse("https://api.example").unwrap().host_header(), "api.example");
        for bad in ["", "api.example", "ftp://x", "http://u:p@x", "http://x/?a=b", "http://x/a/../b"] {
            assert!(UpstreamUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
