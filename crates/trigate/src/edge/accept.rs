//! Which connections are taken? The accept loop of one core: caps, back-off when descriptors run out, drain at the end.

use super::{
    Bounds, Connection, Dates, Handler, Recorder,
    http1::{self, Wire},
    http2,
    stream::{Ahead, Stream},
    tls,
};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch, task::spawn_local, time::sleep};

/// How connections of a listener begin.
#[derive(Clone)]
pub enum Mode {
    Plain,
    /// TLS; the configuration is read anew at each handshake.
    Tls(tls::Current),
}

/// What one listener on one core works with.
pub struct Core<H> {
    pub handler: Rc<H>,
    pub bounds: Arc<Bounds>,
    pub recorder: Rc<Recorder>,
    pub mode: Mode,
    pub dates: Dates,
}

impl<H> Core<H> {
    pub fn new(handler: Rc<H>, bounds: Arc<Bounds>, recorder: Rc<Recorder>, mode: Mode) -> Self {
        let dates = Dates::new(Arc::clone(recorder.clock()));
        Self { handler, bounds, recorder, mode, dates }
    }
}

/// Accepts until `stop` says so, then waits for requests in flight. Runs inside a `LocalSet`.
pub async fn accept<H: Handler>(
    listener: std::net::TcpListener,
    core: Core<H>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let core = Rc::new(core);
    let graceful = GracefulShutdown::new();
    let open = Rc::new(RefCell::new(Open::default()));
    let mut pause = BACK_OFF_FROM;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = BACK_OFF_FROM;
                begin(&core, &open, (graceful.watcher(), stop.clone()), stream, peer);
            }
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                // Out of descriptors, as a rule: a busy loop would make it worse (R13).
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF_TO);
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(core.bounds.drain, graceful.shutdown()).await;
    Ok(())
}

const BACK_OFF_FROM: Duration = Duration::from_millis(20);
const BACK_OFF_TO: Duration = Duration::from_secs(1);

fn is_about_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

/// Whom to tell that a connection lives, and where to read that it should end.
type Ends = (Watcher, watch::Receiver<bool>);

fn begin<H: Handler>(core: &Rc<Core<H>>, open: &Rc<RefCell<Open>>, ends: Ends, stream: TcpStream, peer: SocketAddr) {
    let address = peer.ip().to_canonical();
    let Some(place) = Open::enter(open, address, &core.bounds) else {
        core.recorder.refused(address, "limit.connections", "too many connections are open");
        return;
    };
    let _ = stream.set_nodelay(true);
    let core = Rc::clone(core);
    spawn_local(async move {
        let place = Some(place);
        let peer = SocketAddr::new(address, peer.port());
        match core.mode.clone() {
            Mode::Plain => {
                let connection = Connection { peer, tls: false, certificate: None, place };
                serve(&core, Stream::Plain(stream), connection, ends).await;
            }
            Mode::Tls(current) => match tls::handshake(stream, &current, core.bounds.handshake_deadline).await {
                Ok((stream, certificate)) => {
                    let connection = Connection { peer, tls: true, certificate, place };
                    serve(&core, Stream::Tls(Box::new(stream)), connection, ends).await;
                }
                Err(refused) => core.recorder.refused(address, refused.code, &refused.detail),
            },
        }
    });
}

async fn serve<H: Handler>(core: &Rc<Core<H>>, stream: Stream, connection: Connection, (watcher, stop): Ends) {
    let connection = Rc::new(connection);
    let wire = Wire::new(stream, &core.bounds);
    if let Some(wire) = http1::serve(core, wire, &connection, stop).await {
        let (stream, came) = wire.into_parts();
        http2::serve(core, Ahead::new(came, stream), connection, watcher).await;
    }
}

/// How many are open on this core, and from where.
#[derive(Debug, Default)]
pub struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One open connection; gone when dropped.
#[derive(Debug)]
pub struct Place {
    open: Rc<RefCell<Open>>,
    address: IpAddr,
}

impl Open {
    fn enter(open: &Rc<RefCell<Self>>, address: IpAddr, bounds: &Bounds) -> Option<Place> {
        let mut this = open.borrow_mut();
        let address = trigate_core::address::party(address);
        let here = this.by_address.get(&address).copied().unwrap_or_default();
        if this.all >= bounds.connections || here >= bounds.connections_per_address {
            return None;
        }
        this.all += 1;
        this.by_address.insert(address, here + 1);
        Some(Place { open: Rc::clone(open), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.borrow_mut();
        open.all = open.all.saturating_sub(1);
        let left = open.by_address.get(&self.address).map_or(0, |n| n.saturating_sub(1));
        if left == 0 {
            open.by_address.remove(&self.address);
        } else {
            open.by_address.insert(self.address, left);
        }
    }
}
