//! Who is connected to whom? The one file that names all rooms: it opens the store, starts issuer, gates, desk and
//! tasks, binds the listeners, and ends everything in order.

mod answers;
mod gate;
mod reload;
mod secrets;
mod sockets;

pub use gate::RunningGate;
pub(crate) use reload::load_issuers;
pub use reload::{pace, upstream_bounds, upstream_tls};
pub use secrets::{check_private, checkpoint_keys, load_checkpoint_key, load_master_key, open_store};
pub use sockets::{Listeners, on_core, serve_road};

use answers::{GatesExplainer, Health, IssuerExtras, health};
use reload::Reload;
use sockets::{InsideParts, Sockets};

use crate::{
    config::{self, Config, Urls},
    edge::trust::Trust,
    gate_api::{GateDoor, Lessor, Quiet},
    metrics::Metrics,
    operator::{
        Operator, OperatorParts,
        folder::{DataFolder, FolderLock},
        keys::KeyRotation,
    },
    proxy::RoadParts,
    system::{SystemClock, SystemRng},
    tasks::{self, Acknowledged, Barrier, DeskFetch, DeskLookup},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use trigate_audit::{SegmentLog, SegmentSettings};
use trigate_core::{
    Position,
    id::{RequestId, TenantId},
    jose::SigningKey,
    port::{
        AuditSink, Clock, Feed, Hasher, LEASE_LIFE_MS, Leases, Monotonic, Propagation, Rng, Store, StoreError,
        TenantStore,
    },
    seal::MasterKey,
};
use trigate_gates::{Gates, GatesParts, Issuers, Known, follow::Follower, usage::UsageReporter};
use trigate_issuer::{Issuer, IssuerConfig, IssuerParts, MutualTls, ScopeDescription, account::password::Argon2Pool};
use trigate_outbound::{Outbound, OutboundSettings};

/// Why nothing was started; says what helps.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Time and dice: the machine's, or a test's.
#[derive(Clone)]
pub struct Machine {
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
}

impl Machine {
    pub fn real() -> Self {
        Self { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng::default()) }
    }
}

/// A whole Trigate in this process.
pub struct Server;

/// What runs; ends by [`Running::stop`].
pub struct Running {
    pub gate_addr: SocketAddr,
    pub issuer_addr: SocketAddr,
    pub desk_addr: SocketAddr,
    pub mtls_addr: Option<SocketAddr>,
    pub issuer_mtls_addr: Option<SocketAddr>,
    pub forward_auth_addr: Option<SocketAddr>,
    pub urls: Urls,
    pub operator: Arc<Operator>,
    pub store: Arc<dyn Store>,
    pub issuer: Arc<Issuer>,
    pub known: Arc<Known>,
    pub metrics: Arc<Metrics>,
    pub machine: Machine,
    audit: Arc<SegmentLog>,
    reload: Arc<Reload>,
    usage: Arc<UsageReporter>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    lock: Mutex<Option<FolderLock>>,
}

impl Server {
    /// Starts everything on this (multi-thread) runtime, which becomes the desk's; the road gets threads of its own.
    /// The data folder is the one that holds the configuration file.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        Self::start_on(config, Machine::real()).await
    }

    pub async fn start_on(config: Config, machine: Machine) -> Result<Running, StartError> {
        let folder = DataFolder::at(&config.base);
        let lock = folder.lock().map_err(|error| StartError(format!("{error}\n  help: {}", error.remedy())))?;
        let (stop_sender, stop) = watch::channel(false);
        let sockets = Sockets::bind(&config)?;
        let urls = sockets.urls(&config);
        let mut base = Base::open(&config, &machine, &folder, stop.clone()).await?;
        let issuer = start_issuer(&config, &urls, &base, &machine).await?;
        base.known.set_checksum_key(issuer.checksum_key().clone());
        let outbound = open_outbound(&config)?;
        let (issuers, gates) = start_gates(&config, &base, &machine, outbound.clone())?;
        let reload = Arc::new(Reload::first(
            config.clone(),
            urls.clone(),
            Arc::clone(&issuers),
            Box::new(|path| config::load(path).map_err(|error| error.to_string())),
        )?);
        let operator = open_desk(&reload, &base, &machine, &gates, &issuer, folder);
        let receiver = Arc::new(crate::signals::Receiver {
            settings: Arc::clone(&reload.signals),
            issuers: Arc::clone(&issuers),
            operator: Arc::clone(&operator),
            clock: Arc::clone(&machine.clock),
        });

        let usage = base.usage(&config, &machine, &gates);
        // SECURITY: before the first request, or a restart would give every quota back.
        usage.learn().await.map_err(StartError::of)?;
        let notices = crate::leaks::Notices::default();
        let teller = crate::leaks::Teller {
            notices: notices.clone(),
            issuer: Arc::clone(&issuer),
            outbound: outbound.clone(),
            clock: Arc::clone(&machine.clock),
        };
        let leaks = Arc::new(crate::leaks::Reports::new(
            Arc::clone(&reload.leaks),
            Arc::clone(&operator),
            Arc::clone(&machine.clock),
            outbound.clone(),
            notices,
        ));
        let mut running_tasks = std::mem::take(&mut base.tasks);
        running_tasks.push(tokio::spawn(Arc::clone(&usage).run(stop.clone())));
        running_tasks.push(tokio::spawn(tasks::rotate_keys(Arc::clone(&issuer), stop.clone())));
        running_tasks.push(tokio::spawn(crate::signals::poll(Arc::clone(&receiver), outbound, stop.clone())));
        running_tasks.push(tokio::spawn(teller.tell(stop.clone())));
        running_tasks.push(tokio::spawn(tasks::refresh_issuers(Arc::clone(&issuers), stop.clone())));
        let sections = [(&config.file.mtls, &reload.trust), (&config.file.issuer.mtls, &reload.issuer_trust)];
        for (mtls, trust) in sections {
            let fetcher = list_fetcher(mtls.as_ref(), trust, &reload, &base.metrics)?;
            running_tasks.push(tokio::spawn(tasks::fetch_lists(fetcher, stop.clone())));
        }
        let audit: Arc<dyn AuditSink> = base.audit.clone();
        let extras = Arc::new(IssuerExtras { issuer: Arc::clone(&issuer), desk: Handle::current() });
        let road = RoadParts {
            gates: Arc::clone(&gates),
            current: Arc::clone(&reload.road),
            audit: Arc::clone(&audit),
            clock: Arc::clone(&machine.clock),
            metrics: Arc::clone(&base.metrics),
            node: config.file.server.node().into(),
            extras,
            upstream_tls: upstream_tls()?,
            trust: Arc::clone(&reload.trust),
        };
        running_tasks.push(tokio::spawn(crate::proxy::check_health(
            Arc::clone(&reload.road),
            Arc::clone(&road.upstream_tls),
            Arc::clone(&machine.clock),
            stop.clone(),
        )));
        running_tasks.push(tokio::spawn(reload::watch_files(
            Arc::clone(&reload),
            Arc::clone(&base.metrics),
            stop.clone(),
        )));
        let addresses = sockets.addresses();
        let gate_gates = Arc::new(base.gates(&config, &machine, &issuers, Arc::new(Quiet(Arc::clone(&audit)))));
        let gate_door = Arc::new(base.gate_door(&machine, &issuer, &reload));
        let inside = InsideParts {
            gates,
            gate_door,
            gate_gates,
            gate_rules: Arc::clone(&reload.gate_rules),
            issuer_rules: Arc::clone(&reload.issuer_rules),
            desk_rules: Arc::clone(&reload.desk_rules),
            issuer: Arc::clone(&issuer),
            operator: Arc::clone(&operator),
            receiver,
            issuer_trust: Arc::clone(&reload.issuer_trust),
            leaks,
            health: health(Health {
                store: Arc::clone(&base.store),
                known: Arc::clone(&base.known),
                clock: Arc::clone(&machine.clock),
                audit: Arc::clone(&base.audit),
                metrics: Arc::clone(&base.metrics),
                probed: Arc::default(),
            }),
            desk: Handle::current(),
        };
        let threads = sockets.serve(&config, &reload, road, inside, &stop)?;
        tracing::info!(gate = %addresses[0], issuer = %addresses[1], desk = %addresses[2], "trigate serves");
        Ok(Running {
            gate_addr: addresses[0],
            issuer_addr: addresses[1],
            desk_addr: addresses[2],
            mtls_addr: threads.mtls,
            issuer_mtls_addr: threads.issuer_mtls,
            forward_auth_addr: threads.forward_auth,
            urls,
            operator,
            store: base.store,
            issuer,
            known: base.known,
            metrics: base.metrics,
            machine,
            audit: base.audit,
            reload,
            usage,
            stop: stop_sender,
            threads: Mutex::new(threads.handles),
            tasks: Mutex::new(running_tasks),
            lock: Mutex::new(Some(lock)),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHangUp {
    Reload,
    End,
}

impl Running {
    /// Takes the file's new contents into force, whole or not at all; the listeners' addresses stay.
    pub fn reload(&self) -> Result<(), String> {
        let outcome = self.reload.again();
        reload::count(&self.metrics, &outcome);
        outcome
    }

    /// Serves until Ctrl-C or SIGTERM. SIGHUP reloads a service, and ends what belongs to a terminal that was closed.
    pub async fn until_signal(&self, on_hang_up: OnHangUp) -> Result<(), StartError> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hang_up = signal(SignalKind::hangup()).map_err(StartError::of)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::of)?;
        loop {
            tokio::select! {
                outcome = tokio::signal::ctrl_c() => return outcome.map_err(StartError::of),
                _ = terminate.recv() => return Ok(()),
                _ = hang_up.recv() => match on_hang_up {
                    OnHangUp::End => return Ok(()),
                    OnHangUp::Reload => self.reload_loudly(),
                },
            }
        }
    }

    fn reload_loudly(&self) {
        match self.reload() {
            Ok(()) => tracing::info!("the new configuration is in force"),
            Err(error) => tracing::error!("RELOAD FAILED, the old configuration stays in force: {error}"),
        }
    }

    /// Accepts no more, lets requests in flight end (10 s at most), writes what is left, gives lease and lock back.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = tokio::time::timeout(Duration::from_secs(5), task).await;
        }
        if let Err(error) = self.usage.report().await {
            tracing::warn!(%error, "what the last requests used of their quotas is not kept");
        }
        let audit = Arc::clone(&self.audit);
        match tokio::task::spawn_blocking(move || audit.close()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the audit log was not closed cleanly"),
            Err(error) => tracing::error!(%error, "the audit log was not closed"),
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The parts that everything else stands on.
struct Base {
    store: Arc<dyn Store>,
    tenant: Arc<dyn TenantStore>,
    seal: Arc<MasterKey>,
    hasher: Arc<dyn Hasher>,
    known: Arc<Known>,
    audit: Arc<SegmentLog>,
    propagation: Arc<dyn Propagation>,
    metrics: Arc<Metrics>,
    checkpoint: Arc<SigningKey>,
    exposed: Arc<tasks::ExposedKeys>,
    acknowledged: Arc<Acknowledged>,
    lessor: Lessor,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Base {
    async fn open(
        config: &Config,
        machine: &Machine,
        folder: &DataFolder,
        stop: tasks::Stop,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::default());
        let store = open_store(config, Arc::clone(&machine.clock)).await?;
        let (tenant_id, system) = (TenantId::default_tenant(), store.system());
        let tenant = store.tenant(&tenant_id);
        let seal = load_master_key(config, Arc::clone(&machine.rng))?;
        let checkpoint = load_checkpoint_key(&*tenant, &*seal, machine).await?;
        let node = config.file.server.node().to_owned();
        let audit_dir = config.audit_dir();
        crate::operator::folder::create_private_dir(&audit_dir).map_err(StartError::of)?;
        let shared = config.store().starts_with("postgres");
        let mut segments = SegmentSettings::default();
        if shared {
            // Other nodes see this one's decisions when they are indexed, hence sealed.
            segments.seal_after = Duration::from_secs(60);
        }
        let audit = SegmentLog::open(&audit_dir, &node, segments, Arc::clone(&machine.clock), Arc::clone(&checkpoint))
            .map_err(StartError::of)?;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
        let hasher: Arc<dyn Hasher> =
            Arc::new(Argon2Pool::start(threads, Arc::clone(&machine.rng)).map_err(StartError::of)?);
        let known = Arc::new(Known::new(tenant_id.clone(), Arc::clone(&machine.clock)));
        let (applied_sender, applied) = watch::channel(Position::default());
        let bell = Arc::new(Notify::new());
        // SECURITY: the lease is this process's own. Under the node's name alone, two nodes that were left with one name
        // would share a lease, and a revocation would be answered for the one that had not heard of it.
        let holder = format!("{node}~{}", RequestId::mint(&*machine.rng).as_str());
        let follower = Arc::new(Follower {
            feed: Arc::clone(&system) as Arc<dyn Feed>,
            leases: Arc::clone(&system) as Arc<dyn Leases>,
            known: Arc::clone(&known),
            tenant: tenant_id,
            clock: Arc::clone(&machine.clock),
            holder: holder.clone(),
            acknowledges: shared,
            applied: applied_sender,
            bell: Arc::clone(&bell),
            on_applied: None,
            on_trouble: Box::new(|error, errors| {
                tracing::error!(%error, errors, "the change feed cannot be followed: the lease runs out unless it comes back");
            }),
            turn: Mutex::default(),
        });
        let acknowledged: Arc<Acknowledged> = Arc::default();
        let lessor = Lessor::of(folder);
        // In PostgreSQL the leases outlive the process that gave them out.
        let blind = !shared && lessor.was_before();
        let blind_until = if blind { machine.clock.monotonic().0.saturating_add(LEASE_LIFE_MS * 1_000) } else { 0 };
        let keeper = Arc::new(tasks::Keeper {
            system: Arc::clone(&system),
            known: Arc::clone(&known),
            clock: Arc::clone(&machine.clock),
            kept: folder.root().join("revoked-tokens.kept"),
        });
        keeper.load().await.map_err(StartError::of)?;
        follower.renew().await.map_err(StartError::of)?;
        let propagation = Arc::new(Barrier {
            system: Arc::clone(&system),
            known: Arc::clone(&known),
            clock: Arc::clone(&machine.clock),
            node: holder,
            applied,
            bell,
            acknowledged: Arc::clone(&acknowledged),
            blind_until: Monotonic(blind_until),
        });
        let exposed = Arc::new(tasks::ExposedKeys::default());
        let indexer = tasks::Indexer {
            dir: audit_dir,
            node,
            store: Arc::clone(&tenant),
            clock: Arc::clone(&machine.clock),
            rng: Arc::clone(&machine.rng),
            metrics: Arc::clone(&metrics),
            exposed: Arc::clone(&exposed),
        };
        let tasks = vec![
            tokio::spawn(Arc::clone(&follower).follow(stop.clone())),
            tokio::spawn(keeper.keep_tokens(stop.clone())),
            tokio::spawn(follower.keep_lease(stop.clone())),
            tokio::spawn(tasks::index_audit(indexer, stop.clone())),
            tokio::spawn(tasks::sweep(system, Arc::clone(&known), Arc::clone(&machine.clock), stop)),
        ];
        tracing::debug!(folder = %folder.root().display(), "the data folder is open");
        Ok(Self {
            store,
            tenant,
            seal,
            hasher,
            known,
            audit,
            propagation,
            metrics,
            checkpoint,
            acknowledged,
            lessor,
            exposed,
            tasks,
        })
    }
}

async fn start_issuer(config: &Config, urls: &Urls, base: &Base, machine: &Machine) -> Result<Arc<Issuer>, StartError> {
    let parts = IssuerParts {
        tenant: TenantId::default_tenant(),
        store: Arc::clone(&base.tenant),
        clock: Arc::clone(&machine.clock),
        rng: Arc::clone(&machine.rng),
        seal: base.seal.clone(),
        hasher: Arc::clone(&base.hasher),
        propagation: Arc::clone(&base.propagation),
        config: issuer_config(config, urls)?,
    };
    Issuer::start(parts).await.map_err(StartError::of)
}

fn issuer_config(config: &Config, urls: &Urls) -> Result<IssuerConfig, StartError> {
    let file = &config.file.issuer;
    let mut issuer =
        IssuerConfig { issuer: urls.issuer.clone(), default_audience: urls.gate.clone(), ..IssuerConfig::default() };
    if let Some(audience) = file.audiences.first() {
        issuer.default_audience.clone_from(audience);
    }
    if let Some(name) = &file.name {
        issuer.brand.clone_from(name);
    }
    if let Some(algorithm) = &file.algorithm {
        issuer.algorithm = algorithm.parse().map_err(StartError::of)?;
    }
    issuer.session_idle_s = file.session_idle_s.unwrap_or(issuer.session_idle_s);
    issuer.session_life_s = file.session_life_s.unwrap_or(issuer.session_life_s);
    issuer.max_token_life_s = file.max_token_life_s.unwrap_or(issuer.max_token_life_s);
    for (name, description) in &file.scopes {
        issuer.scopes.retain(|scope| scope.name != *name);
        issuer.scopes.push(ScopeDescription { name: name.clone(), description: description.clone() });
    }
    issuer.dpop_algorithms = crate::config::proof_algorithms(&config.file.dpop);
    issuer.dpop_nonce = config.file.dpop.nonce;
    issuer.mtls = file.mtls.as_ref().map(|_| MutualTls { alias: urls.issuer_mtls.clone() });
    Ok(issuer)
}

/// For whom the file names: they may be on this machine, the operator said so.
fn open_outbound(config: &Config) -> Result<Outbound, StartError> {
    let settings = OutboundSettings { allow_networks: issuer_networks(config), ..OutboundSettings::default() };
    Outbound::new(settings).map_err(StartError::of)
}

fn start_gates(
    config: &Config,
    base: &Base,
    machine: &Machine,
    outbound: Outbound,
) -> Result<(Arc<Issuers>, Arc<Gates>), StartError> {
    let desk = Handle::current();
    let fetch = Arc::new(DeskFetch { desk: desk.clone(), inner: Arc::new(outbound) });
    let issuers = Arc::new(Issuers::new(fetch, Arc::clone(&machine.clock)));
    let gates = base.gates(config, machine, &issuers, base.audit.clone());
    Ok((issuers, Arc::new(gates)))
}

/// Renews revocation lists beside the requests.
fn list_fetcher(
    mtls: Option<&config::Mtls>,
    trust: &Arc<Trust>,
    reload: &Arc<Reload>,
    metrics: &Arc<Metrics>,
) -> Result<tasks::ListFetcher, StartError> {
    let lists =
        mtls.into_iter().flat_map(|mtls| mtls.crl.iter().chain(mtls.host.iter().flat_map(|host| host.crl.iter())));
    // A list that the file names may be on this machine: the operator said so.
    let allow_networks = if lists.map(str::to_owned).any(|url| is_local(&url)) { loopback() } else { vec![] };
    let outbound = Outbound::new(OutboundSettings { allow_networks, ..OutboundSettings::default() });
    let renewed = Arc::clone(reload);
    Ok(tasks::ListFetcher {
        trust: Arc::clone(trust),
        renew: Arc::new(move || renewed.renew_trust()),
        fetch: Arc::new(outbound.map_err(StartError::of)?),
        metrics: Arc::clone(metrics),
    })
}

fn is_local(url: &str) -> bool {
    url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

impl Base {
    fn gates(&self, config: &Config, machine: &Machine, issuers: &Arc<Issuers>, audit: Arc<dyn AuditSink>) -> Gates {
        let (desk, store, clock) = (Handle::current(), Arc::clone(&self.tenant), Arc::clone(&machine.clock));
        let exposed = Arc::clone(&self.exposed);
        Gates::new(GatesParts {
            known: Arc::clone(&self.known),
            clock: Arc::clone(&machine.clock),
            rng: Arc::clone(&machine.rng),
            audit,
            lookup: Arc::new(DeskLookup { desk, store, clock }),
            issuers: Arc::clone(issuers),
            node: config.file.server.node().into(),
            // One that is missed by a crash in between is found in the records, when they are indexed.
            on_exposed: Some(Arc::new(move |key, request| exposed.tell(key, request))),
        })
    }

    /// The counters of plans' quotas, kept in the store.
    fn usage(&self, config: &Config, machine: &Machine, gates: &Gates) -> Arc<UsageReporter> {
        let holder = format!("{}~{}", config.file.server.node(), RequestId::mint(&*machine.rng).as_str());
        let desk = Arc::new(tasks::StoredUsage(Arc::clone(&self.tenant)));
        let on_trouble = Box::new(|error: &StoreError, errors| {
            tracing::error!(%error, errors, "what plans' quotas are used up by is not kept: it is told later");
        });
        Arc::new(UsageReporter::new(gates, desk, Arc::clone(&machine.clock), holder, on_trouble))
    }

    fn gate_door(&self, machine: &Machine, issuer: &Arc<Issuer>, reload: &Arc<Reload>) -> GateDoor {
        let reload = Arc::clone(reload);
        GateDoor {
            tenant: TenantId::default_tenant(),
            system: self.store.system(),
            store: Arc::clone(&self.tenant),
            clock: Arc::clone(&machine.clock),
            rng: Arc::clone(&machine.rng),
            checksum: issuer.checksum_key().clone(),
            welcome: Arc::new(move || reload.welcome()),
            acknowledged: Arc::clone(&self.acknowledged),
            lessor: self.lessor.clone(),
        }
    }
}

/// Loopback, when somebody whom the file names is there.
pub(crate) fn issuer_networks(config: &Config) -> Vec<ipnet::IpNet> {
    let local = |url: &String| is_local(url);
    let issuers = config.file.trusted_issuer.iter().flat_map(|issuer| {
        let asked = issuer.introspection.as_ref().map(|asks| &asks.url);
        [Some(&issuer.url), issuer.jwks.as_ref(), asked]
    });
    let streams = config.file.signals.iter();
    let streams = streams.flat_map(|stream| [Some(&stream.issuer), stream.jwks.as_ref(), stream.poll_url.as_ref()]);
    let scanners = config.file.leak_reports.iter().flat_map(|scanner| [Some(&scanner.keys), scanner.webhook.as_ref()]);
    if issuers.chain(streams).chain(scanners).flatten().any(local) { loopback() } else { vec![] }
}

/// Both loopback networks.
pub fn loopback() -> Vec<ipnet::IpNet> {
    ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|net| net.parse().ok()).collect()
}

fn open_desk(
    reload: &Arc<Reload>,
    base: &Base,
    machine: &Machine,
    gates: &Arc<Gates>,
    issuer: &Arc<Issuer>,
    folder: DataFolder,
) -> Arc<Operator> {
    let (road, trusting) = (Arc::clone(&reload.road), Arc::clone(&reload.road));
    Operator::new(OperatorParts {
        tenant: TenantId::default_tenant(),
        store: Arc::clone(&base.tenant),
        system: base.store.system(),
        propagation: Arc::clone(&base.propagation),
        clock: Arc::clone(&machine.clock),
        rng: Arc::clone(&machine.rng),
        hasher: Arc::clone(&base.hasher),
        folder,
        issuer_url: reload.urls.issuer.clone(),
        default_audience: issuer.config().default_audience.clone(),
        plans: Arc::new(move || {
            let mut plans: Vec<String> = road.load().rules.plans.keys().cloned().collect();
            plans.sort();
            plans
        }),
        trusted_issuers: Arc::new(move || {
            let rules = &trusting.load().rules;
            rules.issuers.iter().filter(|issuer| !issuer.ours).map(|issuer| issuer.issuer.clone()).collect()
        }),
        takes_certificates: issuer.config().mtls.is_some(),
        checkpoint_keys: vec![base.checkpoint.verifying_key().clone()],
        rotation: Some(Arc::new(Arc::clone(issuer)) as Arc<dyn KeyRotation>),
        explainer: Some(Arc::new(GatesExplainer {
            gates: Arc::clone(gates),
            reload: Arc::clone(reload),
            clock: Arc::clone(&machine.clock),
        })),
    })
}
