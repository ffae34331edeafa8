//! Which thread serves which socket? One single-threaded runtime per core for the road, one more for the desk's sockets.

use super::{StartError, reload::Reload};
use crate::{
    admin_api,
    config::{Config, Urls},
    edge::{self, Bounds, Core, Mode, Recorder, listen, tls, trust::Trust},
    gate_api::{self, GateDoor},
    metrics::Metrics,
    operator::Operator,
    proxy::{ClientCertificates, ForwardAuth, Guarded, Inside, Pool, Road, RoadParts, SideDoor, Watch},
    tasks,
};
use arc_swap::ArcSwap;
use axum::{Router, routing::get};
use std::{future::Future, net::SocketAddr, rc::Rc, sync::Arc, thread::JoinHandle};
use tokio::{runtime::Handle, task::LocalSet};
use trigate_core::port::{AuditSink, Clock};
use trigate_gates::Gates;
use trigate_issuer::{Issuer, UserinfoError};

/// What the desk's and the issuer's listeners need.
#[derive(Clone)]
pub(super) struct InsideParts {
    pub(super) gates: Arc<Gates>,
    pub(super) issuer_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    pub(super) desk_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) operator: Arc<Operator>,
    pub(super) receiver: Arc<crate::signals::Receiver>,
    pub(super) leaks: Arc<crate::leaks::Reports>,
    /// What gates elsewhere ask, and the gates before it.
    pub(super) gate_door: Arc<GateDoor>,
    pub(super) gate_gates: Arc<Gates>,
    pub(super) gate_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    /// Whose certificates prove clients of the issuer.
    pub(super) issuer_trust: Arc<Trust>,
    pub(super) health: Router,
    pub(super) desk: Handle,
}

/// All listeners, bound before anything else starts.
pub(super) struct Sockets {
    pub(super) gate: listen::Listening,
    pub(super) issuer: listen::Listening,
    pub(super) desk: listen::Listening,
    pub(super) mtls: Option<listen::Listening>,
    pub(super) issuer_mtls: Option<listen::Listening>,
    pub(super) forward_auth: Option<listen::Listening>,
    pub(super) cores: usize,
}

pub(super) struct Threads {
    pub(super) handles: Vec<JoinHandle<()>>,
    pub(super) mtls: Option<SocketAddr>,
    pub(super) issuer_mtls: Option<SocketAddr>,
    pub(super) forward_auth: Option<SocketAddr>,
}

impl Sockets {
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let server = &config.file.server;
        let cores = match server.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            n => n,
        };
        let bind = |name, address, cores| listen::listen(name, address, cores).map_err(StartError::of);
        Ok(Self {
            gate: bind("gate", server.gate, cores)?,
            issuer: bind("issuer", server.issuer, 1)?,
            desk: bind("desk", server.desk, 1)?,
            mtls: server.mtls.map(|address| bind("mtls", address, cores)).transpose()?,
            issuer_mtls: server.issuer_mtls.map(|address| bind("issuer_mtls", address, 1)).transpose()?,
            forward_auth: config
                .file
                .forward_auth
                .as_ref()
                .map(|asked| bind("forward_auth", asked.listen, cores))
                .transpose()?,
            cores,
        })
    }

    /// The road's alone; the probes stand where the desk would.
    pub(super) fn bind_gate(config: &Config, health: SocketAddr) -> Result<Self, StartError> {
        let mut config = config.clone();
        config.file.server.desk = health;
        config.file.server.issuer = SocketAddr::from(([127, 0, 0, 1], 0));
        config.file.server.issuer_mtls = None;
        Self::bind(&config)
    }

    pub(super) fn addresses(&self) -> [SocketAddr; 3] {
        [self.gate.address, self.issuer.address, self.desk.address]
    }

    pub(super) fn urls(&self, config: &Config) -> Urls {
        let own = |url: &Option<String>, address: SocketAddr| {
            url.clone().unwrap_or_else(|| format!("http://localhost:{}", address.port()))
        };
        let scheme = if config.file.tls.is_empty() { "http" } else { "https" };
        let gate = || format!("{scheme}://localhost:{}", self.gate.address.port());
        let gate = config.file.server.url.clone().unwrap_or_else(gate);
        let issuer = own(&config.file.issuer.url, self.issuer.address);
        let beside_issuer = || crate::config::beside(&issuer, self.issuer_mtls.as_ref()?.address.port());
        Urls {
            issuer_mtls: config.file.issuer.mtls_url.clone().or_else(beside_issuer),
            mtls: self.mtls.as_ref().and_then(|listening| crate::config::beside(&gate, listening.address.port())),
            gate,
            issuer,
            desk: own(&config.file.desk.url, self.desk.address),
        }
    }

    pub(super) fn serve(
        self,
        config: &Config,
        reload: &Reload,
        road: RoadParts,
        inside: InsideParts,
        stop: &tasks::Stop,
    ) -> Result<Threads, StartError> {
        let mtls = self.mtls.as_ref().map(|listening| listening.address);
        let issuer_mtls = self.issuer_mtls.as_ref().map(|listening| listening.address);
        let forward_auth = self.forward_auth.as_ref().map(|listening| listening.address);
        let (issuer, desk) = (self.issuer, self.desk);
        let secure = self.issuer_mtls.map(|it| it.sockets).unwrap_or_default().into_iter().next();
        let secure = secure.zip(reload.issuer_tls.clone());
        let ports = Ports { gate: self.gate, mtls: self.mtls, forward_auth: self.forward_auth, cores: self.cores };
        let mut handles = ports.serve(config, reload, &road, stop)?;
        let recorder = Recorders {
            audit: road.audit,
            clock: road.clock,
            node: config.file.server.node().to_owned(),
            metrics: road.metrics,
        };
        let sockets = InsideSockets { issuer: issuer.sockets, desk: desk.sockets, secure };
        let (bounds, stop) = (Bounds::of(&config.file.limits, 1), stop.clone());
        let thread = std::thread::Builder::new().name("desk-io".into());
        let handle = thread.spawn(move || on_core(serve_inside(inside, sockets, recorder, bounds, stop)));
        handles.push(handle.map_err(StartError::of)?);
        Ok(Threads { handles, mtls, issuer_mtls, forward_auth })
    }
}

/// The road's listeners.
pub(super) struct Ports {
    pub(super) gate: listen::Listening,
    pub(super) mtls: Option<listen::Listening>,
    pub(super) forward_auth: Option<listen::Listening>,
    pub(super) cores: usize,
}

impl Ports {
    /// The road on each core.
    pub(super) fn serve(
        self,
        config: &Config,
        reload: &Reload,
        road: &RoadParts,
        stop: &tasks::Stop,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let bounds = Bounds::of(&config.file.limits, self.cores);
        let mut asked = self.forward_auth.map(|listening| listening.sockets).unwrap_or_default().into_iter();
        let mut secure = self.mtls.map(|listening| listening.sockets).unwrap_or_default().into_iter();
        let mut handles = Vec::new();
        for (index, plain) in self.gate.sockets.into_iter().enumerate() {
            let (road, bounds, stop) = (road.clone(), Arc::clone(&bounds), stop.clone());
            let secure = secure.next().zip(reload.tls.clone());
            let mode = reload.gate_tls.clone().map_or(Mode::Plain, Mode::Tls);
            let listeners = Listeners { open: (plain, mode), secure, asked: asked.next() };
            let thread = std::thread::Builder::new().name(format!("road-{index}"));
            let handle = thread.spawn(move || on_core(serve_road(road, listeners, bounds, stop)));
            handles.push(handle.map_err(StartError::of)?);
        }
        Ok(handles)
    }
}

/// One single-threaded runtime, for as long as `work` lasts.
pub fn on_core(work: impl Future<Output = ()>) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => LocalSet::new().block_on(&runtime, work),
        Err(error) => tracing::error!(%error, "a thread has no runtime"),
    }
}

struct Recorders {
    audit: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    node: String,
    metrics: Arc<Metrics>,
}

impl Recorders {
    fn of(&self, listener: &'static str) -> Rc<Recorder> {
        Rc::new(Recorder::new(
            Arc::clone(&self.audit),
            Arc::clone(&self.clock),
            &self.node,
            listener,
            Arc::clone(&self.metrics),
        ))
    }
}

/// The sockets of one core of the road.
pub struct Listeners {
    /// The gate's own.
    pub open: (std::net::TcpListener, Mode),
    pub secure: Option<(std::net::TcpListener, tls::Current)>,
    /// For proxies that ask.
    pub asked: Option<std::net::TcpListener>,
}

/// One core of the road: its listeners share one pool of upstream connections.
pub async fn serve_road(parts: RoadParts, listeners: Listeners, bounds: Arc<Bounds>, stop: tasks::Stop) {
    let recorders = Recorders {
        audit: Arc::clone(&parts.audit),
        clock: Arc::clone(&parts.clock),
        node: parts.node.to_string(),
        metrics: Arc::clone(&parts.metrics),
    };
    let watch = Watch::new(Arc::clone(&parts.gates), Arc::clone(&parts.clock));
    let watching = tokio::task::spawn_local(Rc::clone(&watch).run());
    let pool = Pool::new(Arc::clone(&parts.upstream_tls));
    let core = |listener, mode| {
        let recorder = recorders.of(listener);
        let handler =
            Road::new(parts.clone(), Rc::clone(&pool), Rc::clone(&watch), Rc::clone(&recorder), bounds.requests);
        Core::new(handler, Arc::clone(&bounds), recorder, mode)
    };
    let Listeners { open: (socket, mode), secure, asked } = listeners;
    let open = edge::accept(socket, core("gate", mode), stop.clone());
    let closed = async {
        match secure {
            Some((socket, current)) => edge::accept(socket, core("mtls", Mode::Tls(current)), stop.clone()).await,
            None => Ok(()),
        }
    };
    let asked = async {
        let Some(socket) = asked else { return Ok(()) };
        let recorder = recorders.of("forward_auth");
        let handler = ForwardAuth::new(parts.clone(), Rc::clone(&recorder));
        let core = Core::new(handler, Arc::clone(&bounds), recorder, Mode::Plain);
        edge::accept(socket, core, stop.clone()).await
    };
    let (open, closed, asked) = tokio::join!(open, closed, asked);
    for outcome in [open, closed, asked] {
        if let Err(error) = outcome {
            tracing::error!(%error, "a listener of the road ended");
        }
    }
    watching.abort();
}

struct InsideSockets {
    issuer: Vec<std::net::TcpListener>,
    desk: Vec<std::net::TcpListener>,
    /// The issuer's for client certificates.
    secure: Option<(std::net::TcpListener, tls::Current)>,
}

async fn serve_inside(
    parts: InsideParts,
    sockets: InsideSockets,
    recorders: Recorders,
    bounds: Arc<Bounds>,
    stop: tasks::Stop,
) {
    let of_issuer = |open| Doors {
        guarded: Guarded::Only(&["/oauth/userinfo"]),
        side: None,
        certificates: Some(ClientCertificates::new(Arc::clone(&parts.issuer_trust))),
        closed: userinfo(&parts.issuer),
        open,
    };
    let all = trigate_issuer::router(Arc::clone(&parts.issuer))
        .merge(crate::signals::router(Arc::clone(&parts.receiver)))
        .merge(crate::leaks::router(Arc::clone(&parts.leaks)));
    let issuer_side = inside(&parts, &parts.issuer_rules, of_issuer(all), recorders.of("issuer"), &recorders);
    let clients = trigate_issuer::client_router(Arc::clone(&parts.issuer));
    let clients_side = inside(&parts, &parts.issuer_rules, of_issuer(clients), recorders.of("issuer_mtls"), &recorders);
    let verbs = admin_api::router(Arc::clone(&parts.operator)).merge(gate_api::router(Arc::clone(&parts.gate_door)));
    let side = SideDoor {
        prefix: trigate_core::desk::PREFIX,
        gates: Arc::clone(&parts.gate_gates),
        rules: Arc::clone(&parts.gate_rules),
    };
    let operators = Doors {
        guarded: Guarded::AllBut(&["/healthz", "/readyz", "/metrics"]),
        side: Some(side),
        certificates: None,
        closed: verbs,
        open: parts.health.clone(),
    };
    let desk_side = inside(&parts, &parts.desk_rules, operators, recorders.of("desk"), &recorders);
    let serve = |sockets: Vec<std::net::TcpListener>, handler: Rc<Inside>, mode: Mode| {
        let (bounds, stop) = (Arc::clone(&bounds), stop.clone());
        async move {
            for socket in sockets {
                let recorder = Rc::clone(&handler.recorder);
                let core = Core::new(Rc::clone(&handler), Arc::clone(&bounds), recorder, mode.clone());
                if let Err(error) = edge::accept(socket, core, stop.clone()).await {
                    tracing::error!(%error, "a listener of the desk ended");
                }
            }
        }
    };
    let secure = async {
        if let Some((socket, current)) = sockets.secure {
            serve(vec![socket], clients_side, Mode::Tls(current)).await;
        }
    };
    tokio::join!(serve(sockets.issuer, issuer_side, Mode::Plain), serve(sockets.desk, desk_side, Mode::Plain), secure);
}

/// What a listener of our own answers, and to whom.
struct Doors {
    guarded: Guarded,
    side: Option<SideDoor>,
    certificates: Option<ClientCertificates>,
    closed: Router,
    open: Router,
}

fn inside(
    parts: &InsideParts,
    rules: &Arc<ArcSwap<trigate_gates::Rules>>,
    doors: Doors,
    recorder: Rc<Recorder>,
    recorders: &Recorders,
) -> Rc<Inside> {
    Rc::new(Inside {
        gates: Arc::clone(&parts.gates),
        rules: Arc::clone(rules),
        guarded: doors.guarded,
        side: doors.side,
        certificates: doors.certificates,
        clock: Arc::clone(&recorders.clock),
        closed: doors.closed,
        open: doors.open,
        desk: parts.desk.clone(),
        recorder,
        metrics: Arc::clone(&recorders.metrics),
    })
}

/// The issuer's userinfo endpoint, for a caller that the gates let in. // OpenID Connect Core §5.3
fn userinfo(issuer: &Arc<Issuer>) -> Router {
    let issuer = Arc::clone(issuer);
    let answer = move |axum::Extension(caller): axum::Extension<trigate_core::identity::Caller>| {
        let issuer = Arc::clone(&issuer);
        async move {
            trigate_issuer::userinfo(&issuer, &caller)
                .await
                .map(|claims| ([(http::header::CACHE_CONTROL, "no-store")], axum::Json(claims)))
                .map_err(|error| userinfo_refusal(&error))
        }
    };
    Router::new().route("/oauth/userinfo", get(answer.clone()).post(answer))
}

/// RFC 6750 §3.1.
fn userinfo_refusal(error: &UserinfoError) -> (http::StatusCode, http::HeaderMap) {
    let (status, challenge) = match error {
        UserinfoError::NoScope => {
            (http::StatusCode::FORBIDDEN, Some("Bearer error=\"insufficient_scope\", scope=\"openid\""))
        }
        UserinfoError::NotAUser => (http::StatusCode::UNAUTHORIZED, Some("Bearer error=\"invalid_token\"")),
        UserinfoError::Store(error) => {
            tracing::warn!(%error, "userinfo: the store did not answer");
            (http::StatusCode::SERVICE_UNAVAILABLE, None)
        }
    };
    let mut headers = http::HeaderMap::new();
    if let Some(challenge) = challenge {
        headers.insert(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static(challenge));
    }
    (status, headers)
}
