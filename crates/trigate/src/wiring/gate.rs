//! What is a gate that runs elsewhere? The road of this file's routes over what a desk tells: no store, no issuer, no
//! master key. The one private key here signs the checkpoints of this gate's own audit trail, and nothing else.

use super::{
    Machine, StartError,
    reload::{self, Reload},
    sockets::{Ports, Sockets},
    upstream_tls,
};
use crate::{
    config::{self, Config, Urls},
    edge::{Bounds, Core, Mode, Recorder, accept},
    metrics::Metrics,
    operator::folder::{DataFolder, FolderLock, create_private_dir},
    proxy::{Guarded, Inside, NoExtras, RoadParts},
    tasks::{self, DeskFetch, FarLookup},
};
use arc_swap::ArcSwap;
use axum::{Router, routing::get};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
};
use tokio::{runtime::Handle, sync::watch};
use trigate_audit::{SegmentLog, SegmentSettings, own_key};
use trigate_core::{
    desk::{PlanWords, Welcome},
    jose::SigningKey,
    port::{AuditSink, Clock},
};
use trigate_gates::{
    Gates, GatesParts, Issuers,
    remote::{Remote, RemoteSettings},
    usage::UsageReporter,
};

/// A gate process that runs; ends by [`RunningGate::stop`].
pub struct RunningGate {
    pub gate_addr: SocketAddr,
    pub mtls_addr: Option<SocketAddr>,
    pub health_addr: SocketAddr,
    pub remote: Arc<Remote>,
    pub metrics: Arc<Metrics>,
    reload: Arc<Reload>,
    audit: Arc<SegmentLog>,
    usage: Arc<UsageReporter>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: FolderLock,
}

impl RunningGate {
    /// Starts a gate on this (multi-thread) runtime. Its folder is the one that holds the configuration.
    ///
    /// # Errors
    /// Why it does not start; says what helps.
    pub async fn start(config: Config, desk: &str, key: &str, machine: Machine) -> Result<Self, StartError> {
        let lock = DataFolder::at(&config.base).lock();
        let lock = lock.map_err(|error| StartError(format!("{error}\n  help: {}", error.remedy())))?;
        let gate = config.file.gate.clone().unwrap_or_default();
        let sockets = Sockets::bind_gate(&config, gate.health)?;
        let checkpoint = own_key(&config.base.join("checkpoint.key")).map_err(StartError::of)?;
        let node = config.file.server.node().to_owned();
        let remote = Remote::connect_on(
            RemoteSettings {
                snapshot: Some(config.resolve(&gate.snapshot)),
                checkpoint_key: Some(checkpoint.verifying_key().clone()),
                on_trouble: Box::new(|error, errors| {
                    tracing::error!(%error, errors, "the desk cannot be followed: the lease runs out unless it comes back");
                }),
                ..RemoteSettings::new(desk, key, &node)
            },
            Arc::clone(&machine.clock),
            Arc::clone(&machine.rng),
        )
        .await
        .map_err(StartError::of)?;
        let audit = open_audit(&config, &node, &machine, checkpoint)?;
        let (issuers, gates) = open_gates(&config, &remote, &machine, Arc::clone(&audit) as Arc<dyn AuditSink>)?;
        let reload = first_rules(config.clone(), desk, &sockets, &remote, Arc::clone(&issuers))?;
        let (stop_sender, stop) = watch::channel(false);
        tokio::spawn(tasks::refresh_issuers(issuers, stop.clone()));
        let usage = remote.usage(&gates);
        // With the desk away it counts by itself, and learns when the desk is there.
        let _ = usage.learn().await;
        tokio::spawn(Arc::clone(&usage).run(stop.clone()));
        let metrics: Arc<Metrics> = Arc::default();
        let road = RoadParts {
            gates: Arc::clone(&gates),
            current: Arc::clone(&reload.road),
            audit: Arc::clone(&audit) as Arc<dyn AuditSink>,
            clock: Arc::clone(&machine.clock),
            metrics: Arc::clone(&metrics),
            node: node.as_str().into(),
            extras: Arc::new(NoExtras),
            upstream_tls: upstream_tls()?,
            trust: Arc::clone(&reload.trust),
        };
        tokio::spawn(crate::proxy::check_health(
            Arc::clone(&reload.road),
            Arc::clone(&road.upstream_tls),
            Arc::clone(&machine.clock),
            stop.clone(),
        ));
        tokio::spawn(tasks::fetch_lists(
            super::list_fetcher(config.file.mtls.as_ref(), &reload.trust, &reload, &metrics)?,
            stop.clone(),
        ));
        tokio::spawn(reload::watch_files(Arc::clone(&reload), Arc::clone(&metrics), stop.clone()));
        let health = Health {
            remote: Arc::clone(&remote),
            audit: Arc::clone(&audit),
            metrics: Arc::clone(&metrics),
            clock: machine.clock,
        };
        let (gate_addr, mtls_addr) = (sockets.gate.address, sockets.mtls.as_ref().map(|listening| listening.address));
        let threads = serve(sockets, &config, &reload, road, health, gates, &stop)?;
        tracing::info!(gate = %gate_addr, health = %threads.health, "a gate of `{desk}` serves");
        Ok(Self {
            gate_addr,
            mtls_addr,
            health_addr: threads.health,
            remote,
            metrics,
            reload,
            audit,
            usage,
            stop: stop_sender,
            threads: Mutex::new(threads.handles),
            _lock: lock,
        })
    }

    /// Takes the file's new routes, upstreams and issuers into force, whole or not at all.
    pub fn reload(&self) -> Result<(), String> {
        self.reload.again()
    }

    /// Accepts no more, lets requests in flight end, gives the lease back.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let audit = Arc::clone(&self.audit);
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
            audit.close()
        });
        if let Ok(Err(error)) = ended.await {
            tracing::error!(%error, "the audit log was not closed cleanly");
        }
        // What the last requests counted.
        let _ = self.usage.report().await;
        self.remote.stop().await;
    }
}

/// The rules of the gate's file, completed by what its desk tells, now and at each reload.
fn first_rules(
    config: Config,
    desk: &str,
    sockets: &Sockets,
    remote: &Remote,
    issuers: Arc<Issuers>,
) -> Result<Arc<Reload>, StartError> {
    let Welcome { issuer, audiences, plans, .. } = remote.welcome().clone();
    let own = format!("http://localhost:{}", sockets.gate.address.port());
    let gate = config.file.server.url.clone().unwrap_or(own);
    let mtls = sockets.mtls.as_ref().and_then(|listening| config::beside(&gate, listening.address.port()));
    let urls = Urls { gate, issuer, desk: desk.to_owned(), mtls, issuer_mtls: None };
    let config = told(config, &audiences, &plans);
    let again: reload::Loader = Box::new(move |path| {
        let config = config::load_gate(path).map_err(|error| error.to_string())?;
        Ok(told(config, &audiences, &plans))
    });
    Reload::first(config, urls, issuers, again).map(Arc::new)
}

/// What the file leaves open is as the desk says: which audiences its tokens have here, and the plans.
fn told(mut config: Config, audiences: &[String], plans: &BTreeMap<String, PlanWords>) -> Config {
    if config.file.issuer.audiences.is_empty() && config.file.server.url.is_none() {
        config.file.issuer.audiences = audiences.to_vec();
    }
    if config.file.plans.is_empty() {
        config.file.plans = plans.iter().map(|(name, words)| (name.clone(), words.clone().into())).collect();
    }
    config
}

fn open_audit(
    config: &Config,
    node: &str,
    machine: &Machine,
    checkpoint: Arc<SigningKey>,
) -> Result<Arc<SegmentLog>, StartError> {
    let dir = config.audit_dir();
    create_private_dir(&dir).map_err(StartError::of)?;
    SegmentLog::open(&dir, node, SegmentSettings::default(), Arc::clone(&machine.clock), checkpoint)
        .map_err(StartError::of)
}

fn open_gates(
    config: &Config,
    remote: &Remote,
    machine: &Machine,
    audit: Arc<dyn AuditSink>,
) -> Result<(Arc<Issuers>, Arc<Gates>), StartError> {
    let desk = Handle::current();
    let outbound = super::open_outbound(config)?;
    let fetch = Arc::new(DeskFetch { desk: desk.clone(), inner: Arc::new(outbound) });
    let issuers = Arc::new(Issuers::new(fetch, Arc::clone(&machine.clock)));
    let gates = Gates::new(GatesParts {
        known: Arc::clone(remote.known()),
        clock: Arc::clone(&machine.clock),
        rng: Arc::clone(&machine.rng),
        audit,
        lookup: Arc::new(FarLookup { desk, inner: remote.lookup() }),
        issuers: Arc::clone(&issuers),
        node: config.file.server.node().into(),
        on_exposed: None,
    });
    Ok((issuers, Arc::new(gates)))
}

/// What the probes look at.
#[derive(Clone)]
struct Health {
    remote: Arc<Remote>,
    audit: Arc<SegmentLog>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Health {
    fn router(self) -> Router {
        let ready = self.clone();
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(move || std::future::ready(ready.readiness())))
            .route("/metrics", get(move || std::future::ready(self.numbers())))
    }

    fn readiness(&self) -> (http::StatusCode, axum::Json<serde_json::Value>) {
        let (health, audit) = (self.remote.health(), self.audit.health().failure.is_none());
        let ready = health.lease && audit;
        let status = if ready { http::StatusCode::OK } else { http::StatusCode::SERVICE_UNAVAILABLE };
        let body = serde_json::json!({ "ready": ready, "lease": health.lease, "desk": health.desk, "audit": audit, "snapshot": health.snapshot, "position": health.position });
        (status, axum::Json(body))
    }

    fn numbers(&self) -> impl axum::response::IntoResponse + use<> {
        let known = self.remote.known();
        self.metrics.audit_next.store(self.audit.head().length, Ordering::Relaxed);
        self.metrics.feed_position.store(known.position().0, Ordering::Relaxed);
        let remaining = known.lease_remaining_ms(self.clock.monotonic());
        self.metrics.lease_remaining_ms.store(remaining, Ordering::Relaxed);
        ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], self.metrics.render())
    }
}

struct Threads {
    handles: Vec<JoinHandle<()>>,
    health: SocketAddr,
}

fn serve(
    sockets: Sockets,
    config: &Config,
    reload: &Reload,
    road: RoadParts,
    health: Health,
    gates: Arc<Gates>,
    stop: &tasks::Stop,
) -> Result<Threads, StartError> {
    let probes = Probes {
        address: sockets.desk.address,
        sockets: sockets.desk.sockets,
        gates,
        rules: Arc::new(ArcSwap::from(Arc::clone(&road.current.load().rules))),
        router: health.router(),
        recorder: Recording {
            audit: Arc::clone(&road.audit),
            clock: Arc::clone(&road.clock),
            node: road.node.to_string(),
            metrics: Arc::clone(&road.metrics),
        },
        desk: Handle::current(),
        bounds: Bounds::of(&config.file.limits, 1),
    };
    let health = probes.address;
    let ports =
        Ports { gate: sockets.gate, mtls: sockets.mtls, forward_auth: sockets.forward_auth, cores: sockets.cores };
    let mut handles = ports.serve(config, reload, &road, stop)?;
    let stop = stop.clone();
    let thread = std::thread::Builder::new().name("health-io".into());
    let handle = thread.spawn(move || super::on_core(probes.serve(stop)));
    handles.push(handle.map_err(StartError::of)?);
    Ok(Threads { handles, health })
}

struct Recording {
    audit: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    node: String,
    metrics: Arc<Metrics>,
}

/// The small listener beside the road: open to whoever reaches it, tells nothing but health.
struct Probes {
    address: SocketAddr,
    sockets: Vec<std::net::TcpListener>,
    gates: Arc<Gates>,
    rules: Arc<ArcSwap<trigate_gates::Rules>>,
    router: Router,
    recorder: Recording,
    desk: Handle,
    bounds: Arc<Bounds>,
}

impl Probes {
    async fn serve(self, stop: tasks::Stop) {
        let Recording { audit, clock, node, metrics } = self.recorder;
        let recorder = Rc::new(Recorder::new(audit, Arc::clone(&clock), &node, "health", Arc::clone(&metrics)));
        let handler = Rc::new(Inside {
            gates: self.gates,
            rules: self.rules,
            guarded: Guarded::Only(&[]),
            side: None,
            certificates: None,
            clock,
            closed: Router::new(),
            open: self.router,
            desk: self.desk,
            recorder: Rc::clone(&recorder),
            metrics,
        });
        for socket in self.sockets {
            let core = Core::new(Rc::clone(&handler), Arc::clone(&self.bounds), Rc::clone(&recorder), Mode::Plain);
            if let Err(error) = accept(socket, core, stop.clone()).await {
                tracing::error!(%error, "the health listener ended");
            }
        }
    }
}
