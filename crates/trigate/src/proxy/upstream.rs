//! Which connection carries it to the API? One pool of HTTP/1.1 connections per core: no lock, no other core's socket.

mod balance;
mod dial;
mod health;
mod http1;
mod http2;
mod tls;

pub use balance::{Busy, Ejection, HealthRule, Target, Tried, Upstream, carry_over};
pub use dial::dial;
pub use health::check_health;
pub use tls::{TlsClient, TlsSettings};

pub use http1::Head;

use self::{
    http1::{Connection, WireError},
    http2::Http2,
};
use super::body::{BodyError, CarriedIn};
use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{Response, Uri};
use http_body::{Body, Frame, SizeHint};
use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;
use trigate_core::port::Monotonic;

/// Where an API is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Host, and port where it is not the scheme's own: the `Host` that the API reads.
    pub authority: String,
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
        let host = authority.host().to_owned();
        let usual = port == if tls { 443 } else { 80 };
        let authority = if usual { host.clone() } else { format!("{host}:{port}") };
        Ok(Self { tls, host, port, authority, prefix, http2, client: None })
    }

    /// Scheme and authority, as HTTP/2 carries them.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.tls, self.http2) {
            (true, _) => "https",
            (false, true) => "h2c",
            (false, false) => "http",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
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
    Broken(BodyError),
    /// As many requests are under way as may be: 503.
    Full,
}

/// A request that got no answer.
pub struct Failed {
    pub error: UpstreamError,
    /// Its body, when nothing was sent: another address may get it, whatever it is.
    pub unsent: Option<CarriedIn>,
}

impl Failed {
    pub const fn unsent(error: UpstreamError, body: CarriedIn) -> Self {
        Self { error, unsent: Some(body) }
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

/// Idle connections older than this are not trusted: servers commonly close after a minute.
const IDLE_LIFE_US: u64 = 45_000_000;

struct Idle {
    connection: Connection,
    since: Monotonic,
}

/// The idle connections to one address, the oldest first.
type List = Rc<RefCell<Vec<Idle>>>;

/// The connections of one core.
pub struct Pool {
    idle: RefCell<HashMap<UpstreamUrl, List, RandomState>>,
    pub tls: Arc<rustls::ClientConfig>,
    pub http2: Http2,
}

impl Pool {
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), http2: Http2::new(Arc::clone(&tls)), tls })
    }

    /// Sends one request. `again` makes its body anew when it may be repeated: a pooled connection that the API closed
    /// just now must not become an error for the caller (RFC 9110 §9.2.2).
    pub async fn send(
        &self,
        upstream: &UpstreamUrl,
        (bounds, now): (UpstreamBounds, Monotonic),
        head: &impl Head,
        mut body: CarriedIn,
        again: impl Fn() -> Option<CarriedIn>,
    ) -> Result<Response<ApiBody>, Failed> {
        let list = self.list(upstream);
        let mut fresh = false;
        loop {
            let pooled = if fresh { None } else { take(&list, now) };
            let reused = pooled.is_some();
            let connection = match pooled {
                Some(connection) => connection,
                // Boxed: it is seldom, and would make every request's state several times as large.
                None => match Box::pin(self.connect(upstream, bounds.connect)).await {
                    Ok(connection) => connection,
                    Err(error) => return Err(Failed::unsent(error, body)),
                },
            };
            match connection.send(head, body, bounds.response).await {
                Ok(response) => {
                    let lease = Lease { list, since: now, keep: bounds.idle };
                    return Ok(response.map(|body| ApiBody::Http1(body, lease)));
                }
                Err(failed) if matches!(failed.error, WireError::Slow) => {
                    return Err(UpstreamError::Slow("response").into());
                }
                Err(failed) => {
                    // Never written: safe to send whatever it was. Written on a connection that was closing: only what is safe.
                    let closing = matches!(failed.error, WireError::Closed | WireError::Io(_));
                    let retry = failed.unsent.or_else(|| if closing { again() } else { None });
                    match retry.filter(|_| reused) {
                        Some(retry) => body = retry,
                        None => return Err(UpstreamError::Broken(failed.error.into()).into()),
                    }
                    fresh = true;
                }
            }
        }
    }

    fn list(&self, upstream: &UpstreamUrl) -> List {
        let mut idle = self.idle.borrow_mut();
        if let Some(list) = idle.get(upstream) {
            return Rc::clone(list);
        }
        Rc::clone(idle.entry(upstream.clone()).or_default())
    }

    async fn connect(&self, upstream: &UpstreamUrl, within: Duration) -> Result<Connection, UpstreamError> {
        match timeout(within, dial(upstream, &self.tls)).await {
            Ok(connected) => connected.map(Connection::new).map_err(UpstreamError::Connect),
            Err(_) => Err(UpstreamError::Slow("connection")),
        }
    }
}

fn take(list: &List, now: Monotonic) -> Option<Connection> {
    let mut list = list.borrow_mut();
    while let Some(mut idle) = list.pop() {
        if now.0.saturating_sub(idle.since.0) <= IDLE_LIFE_US && idle.connection.is_idle() {
            return Some(idle.connection);
        }
    }
    None
}

/// The way back to the pool.
pub struct Lease {
    list: List,
    /// Of the request that it was taken for: it has been idle for less.
    since: Monotonic,
    keep: usize,
}

impl Lease {
    fn give_back(&self, connection: Connection) {
        let mut list = self.list.borrow_mut();
        let since = self.since;
        let stale = list.iter().take_while(|old| since.0.saturating_sub(old.since.0) > IDLE_LIFE_US).count();
        list.drain(..stale);
        if list.len() < self.keep {
            list.push(Idle { connection, since });
        }
    }
}

/// An API's answer as it comes, with the connection that it comes on.
pub enum ApiBody {
    Http1(http1::Incoming, Lease),
    Http2(hyper::body::Incoming, http2::Stream),
    /// On a connection for this one exchange.
    Single(hyper::body::Incoming),
}

impl ApiBody {
    /// The exchange ended cleanly: the connection may serve another.
    pub fn done(&mut self) {
        if let Self::Http1(body, lease) = self
            && let Some(connection) = body.take_connection()
        {
            lease.give_back(connection);
        }
    }
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(body, _) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body, _) | Self::Single(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body, _) => body.is_end_stream(),
            Self::Http2(body, _) | Self::Single(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body, _) => body.size_hint(),
            Self::Http2(body, _) | Self::Single(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_urls_are_read() {
        let url = UpstreamUrl::parse("http://127.0.0.1:3000/base/").unwrap();
        assert_eq!((url.port, url.prefix.as_str(), url.authority.as_str()), (3000, "/base", "127.0.0.1:3000"));
        assert_eq!(UpstreamUrl::parse("https://api.example").unwrap().authority, "api.example");
        for bad in ["", "api.example", "ftp://x", "http://u:p@x", "http://x/?a=b", "http://x/a/../b"] {
            assert!(UpstreamUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
