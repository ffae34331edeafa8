//! Who may speak to us, how long and how much? Every socket of the hall opens here: listeners, TLS, deadlines, caps.
//! Trusts no byte that arrives. Never decides about a request: it hands heads to a [`Handler`].

mod accept;
pub mod client_cert;
pub mod head;
pub mod http1;
mod http2;
mod incoming;
pub mod listen;
mod records;
mod stream;
pub mod tls;
pub mod trust;
mod watched;

pub use accept::{Core, Mode, accept};
pub use http1::{Dates, Upgraded, Upgrading};
pub use http2::Local;
pub use incoming::{Incoming, IncomingError};
pub use records::Recorder;

use bytes::Bytes;
use http::{Request, Response};
use std::{future::Future, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

/// What is known of a connection before its first request.
#[derive(Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    pub tls: bool,
    /// Its key was proven in the handshake; the chain is judged for each request, by what is trusted then.
    pub certificate: Option<trust::Presented>,
    /// Held while anything of the connection lives, upgraded or not.
    pub place: Option<accept::Place>,
}

/// Answers requests on one core. Errors are answers too.
pub trait Handler: 'static {
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;
    fn handle(
        self: Rc<Self>,
        request: Request<Incoming>,
        connection: Rc<Connection>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}

/// Bounds of every connection.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// A request's head must have come within this.
    pub header_deadline: Duration,
    /// A handshake must be over within this.
    pub handshake_deadline: Duration,
    /// A peer that takes no byte for so long is let go.
    pub write_stall: Duration,
    /// HTTP/2 connections without a request for so long are closed.
    pub idle: Duration,
    pub header_bytes: usize,
    pub headers: usize,
    /// Per core.
    pub connections: usize,
    /// Per core and address.
    pub connections_per_address: usize,
    /// Requests of one core and listener whose answer has not begun.
    pub requests: usize,
    pub drain: Duration,
}

impl Bounds {
    /// The configured limits, shared out over `cores`.
    pub fn of(limits: &crate::config::Limits, cores: usize) -> Arc<Self> {
        let share = |n: usize| n.div_ceil(cores.max(1)).max(1);
        Arc::new(Self {
            header_deadline: Duration::from_secs(limits.header_deadline_s.max(1)),
            handshake_deadline: Duration::from_secs(limits.header_deadline_s.max(1)),
            write_stall: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            header_bytes: limits.header_bytes.max(8 << 10),
            headers: limits.headers.max(1),
            connections: share(limits.connections.min(affordable_connections())),
            connections_per_address: share(limits.connections_per_address),
            requests: share(limits.requests),
            drain: Duration::from_secs(limits.drain_s),
        })
    }
}

/// As many as leave descriptors for upstreams, store and audit: a flood must not close the files that a decision needs
/// (R13). A connection that is carried needs two.
fn affordable_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = open_files.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(usize::MAX, |soft| (soft / 2).saturating_sub(64).max(16))
}
