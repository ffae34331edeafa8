//! Who is connected to whom? The one file that names all rooms: it opens the store, starts issuer, gates, desk and
//! tasks, binds the listeners, and ends everything in order.

use crate::{
    admin_api,
    config::{self, Config, Urls},
    edge::{self, Bounds, Core, Mode, Recorder, listen, tls},
    metrics::Metrics,
    operator::{
        Operator, OperatorParts,
        explain::{Explainer, Question},
        folder::{DataFolder, FolderLock},
        keys::KeyRotation,
    },
    proxy::{Extras, Guarded, Inside, PaceRule, Pool, Road, RoadConfig, RoadParts, UpstreamBounds, UpstreamUrl},
    system::{SystemClock, SystemRng},
    tasks::{self, Barrier, DeskFetch, DeskLookup, Follower},
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::{Router, routing::get};
use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::LocalSet,
};
use tower::ServiceExt as _;
use trigate_audit::{SegmentLog, SegmentSettings};
use trigate_core::{
    Act, Actor, Position,
    id::TenantId,
    jose::{Algorithm, SigningKey, VerifyingKey},
    port::{AuditSink, Clock, Hasher, Propagation, Rng, Seal, Store, TenantStore},
    seal::MasterKey,
};
use trigate_gates::{Gates, GatesParts, Issuers, KeySource, Known, Permit};
use trigate_issuer::{AssertionRequest, Issuer, IssuerConfig, IssuerParts, ScopeDescription, account::password::Argon2Pool};
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

/// Opens the store that the configuration names.
pub async fn open_store(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, StartError> {
    let location = config.store().parse().map_err(StartError::of)?;
    trigate_store::open(location, clock).await.map_err(StartError::of)
}

/// The master key from the environment or its file.
pub fn load_master_key(config: &Config, rng: Arc<dyn Rng>) -> Result<Arc<MasterKey>, StartError> {
    let path = config.master_key_path();
    let text = match config::master_key_from_environment() {
        Some(text) => text,
        None => {
            check_private(&path)?;
            let read = std::fs::read_to_string(&path);
            zeroize::Zeroizing::new(read.map_err(|error| {
                StartError(format!("the master key `{}` cannot be read: {error}\n  help: `trigate init` makes one; or set TRIGATE_MASTER_KEY", path.display()))
            })?)
        }
    };
    MasterKey::from_text(&text, rng).map(Arc::new).map_err(StartError::of)
}

/// SECURITY: a master key that others can read protects nothing.
fn check_private(path: &std::path::Path) -> Result<(), StartError> {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path) {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(StartError(format!("the master key `{0}` can be read by others\n  help: chmod 600 {0}", path.display())));
        }
    }
    Ok(())
}

/// The key that signs the audit trail's checkpoints: in the store, sealed, made on first use. Offline commands verify by
/// its public part.
pub async fn load_checkpoint_key(store: &dyn TenantStore, seal: &dyn Seal, machine: &Machine) -> Result<Arc<SigningKey>, StartError> {
    const NAME: &str = "audit_checkpoint";
    let fresh = SigningKey::generate(Algorithm::EdDSA, NAME).and_then(|key| key.to_pkcs8()).map_err(StartError::of)?;
    let context = format!("secret:{}:{NAME}", TenantId::default_tenant());
    let act = Act::new(&*machine.clock, &*machine.rng, Actor::System, "secret.create", NAME);
    let stored = store.load_or_create_secret(act, NAME, seal.seal(&context, &fresh)).await.map_err(StartError::of)?;
    let der = seal.open(&context, &stored.gives_only()).map_err(|error| {
        StartError(format!("the audit checkpoint key: {error}\n  help: start with the master key that this store was made with"))
    })?;
    SigningKey::from_pkcs8(Algorithm::EdDSA, NAME, &der).map(Arc::new).map_err(StartError::of)
}

/// The public parts of every key that signed checkpoints of this store's trail, for offline verification.
pub async fn checkpoint_keys(config: &Config, rng: &Arc<dyn Rng>, store: &dyn TenantStore) -> Result<Vec<VerifyingKey>, StartError> {
    let machine = Machine { clock: Arc::new(SystemClock::new()), rng: Arc::clone(rng) };
    let seal = load_master_key(config, Arc::clone(rng))?;
    let key = load_checkpoint_key(store, &*seal, &machine).await?;
    Ok(vec![key.verifying_key().clone()])
}

/// A whole Trigate in this process.
pub struct Server;

/// What runs; ends by [`Running::stop`].
pub struct Running {
    pub gate_addr: SocketAddr,
    pub issuer_addr: SocketAddr,
    pub desk_addr: SocketAddr,
    pub mtls_addr: Option<SocketAddr>,
    pub urls: Urls,
    pub operator: Arc<Operator>,
    pub store: Arc<dyn Store>,
    pub issuer: Arc<Issuer>,
    pub known: Arc<Known>,
    pub metrics: Arc<Metrics>,
    pub machine: Machine,
    audit: Arc<SegmentLog>,
    reload: Arc<Reload>,
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
        let base = Base::open(&config, &machine, &folder, stop.clone()).await?;
        let issuer = start_issuer(&config, &urls, &base, &machine).await?;
        base.known.set_checksum_key(issuer.checksum_key().clone());
        let (issuers, gates) = start_gates(&config, &base, &machine, &issuer)?;
        let reload = Arc::new(Reload::first(config.clone(), urls.clone(), Arc::clone(&issuers))?);
        let operator = open_desk(&reload, &base, &machine, &gates, &issuer, folder);

        let mut running_tasks = base.tasks;
        running_tasks.push(tokio::spawn(tasks::rotate_keys(Arc::clone(&issuer), stop.clone())));
        running_tasks.push(tokio::spawn(tasks::refresh_issuers(Arc::clone(&issuers), stop.clone())));
        let audit: Arc<dyn AuditSink> = base.audit.clone();
        let extras = Arc::new(IssuerExtras { issuer: Arc::clone(&issuer), desk: Handle::current() });
        let road = RoadParts {
            gates: Arc::clone(&gates),
            current: Arc::clone(&reload.road),
            audit: Arc::clone(&audit),
            clock: Arc::clone(&machine.clock),
            metrics: Arc::clone(&base.metrics),
            node: config.file.server.node.as_str().into(),
            extras,
            upstream_tls: upstream_tls()?,
        };
        let addresses = sockets.addresses();
        let inside = InsideParts {
            gates,
            issuer_rules: Arc::clone(&reload.issuer_rules),
            desk_rules: Arc::clone(&reload.desk_rules),
            issuer: Arc::clone(&issuer),
            operator: Arc::clone(&operator),
            health: health(Health {
                store: Arc::clone(&base.store),
                known: Arc::clone(&base.known),
                clock: Arc::clone(&machine.clock),
                audit: Arc::clone(&base.audit),
                metrics: Arc::clone(&base.metrics),
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
            urls,
            operator,
            store: base.store,
            issuer,
            known: base.known,
            metrics: base.metrics,
            machine,
            audit: base.audit,
            reload,
            stop: stop_sender,
            threads: Mutex::new(threads.handles),
            tasks: Mutex::new(running_tasks),
            lock: Mutex::new(Some(lock)),
        })
    }
}

impl Running {
    /// Takes the file's new contents into force, whole or not at all; the listeners' addresses stay.
    pub fn reload(&self) -> Result<(), String> {
        let outcome = self.reload.again();
        let counter = if outcome.is_ok() { &self.metrics.reloads } else { &self.metrics.reloads_failed };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Serves until Ctrl-C or SIGTERM; SIGHUP reloads.
    pub async fn until_signal(&self) -> Result<(), StartError> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hang_up = signal(SignalKind::hangup()).map_err(StartError::of)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::of)?;
        loop {
            tokio::select! {
                outcome = tokio::signal::ctrl_c() => return outcome.map_err(StartError::of),
                _ = terminate.recv() => return Ok(()),
                _ = hang_up.recv() => match self.reload() {
                    Ok(()) => tracing::info!("the new configuration is in force"),
                    Err(error) => tracing::error!("RELOAD FAILED, the old configuration stays in force: {error}"),
                },
            }
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
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Base {
    async fn open(config: &Config, machine: &Machine, folder: &DataFolder, stop: tasks::Stop) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::default());
        let store = open_store(config, Arc::clone(&machine.clock)).await?;
        let (tenant_id, system) = (TenantId::default_tenant(), store.system());
        let tenant = store.tenant(&tenant_id);
        let seal = load_master_key(config, Arc::clone(&machine.rng))?;
        let checkpoint = load_checkpoint_key(&*tenant, &*seal, machine).await?;
        let node = config.file.server.node.clone();
        let audit_dir = config.audit_dir();
        crate::operator::folder::create_private_dir(&audit_dir).map_err(StartError::of)?;
        let audit = SegmentLog::open(&audit_dir, &node, SegmentSettings::default(), Arc::clone(&machine.clock), Arc::clone(&checkpoint))
            .map_err(StartError::of)?;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
        let hasher: Arc<dyn Hasher> = Arc::new(Argon2Pool::start(threads, Arc::clone(&machine.rng)).map_err(StartError::of)?);
        let known = Arc::new(Known::new(tenant_id.clone(), Arc::clone(&machine.clock)));
        let (applied_sender, applied) = watch::channel(Position::default());
        let bell = Arc::new(Notify::new());
        let shared = config.store().starts_with("postgres");
        let follower = Arc::new(Follower {
            system: Arc::clone(&system),
            known: Arc::clone(&known),
            tenant: tenant_id,
            clock: Arc::clone(&machine.clock),
            node: node.clone(),
            metrics: Arc::clone(&metrics),
            shared,
            applied: applied_sender,
            bell: Arc::clone(&bell),
            turn: tokio::sync::Mutex::new(()),
        });
        follower.start().await.map_err(StartError::of)?;
        let propagation = Arc::new(Barrier {
            system: Arc::clone(&system),
            known: Arc::clone(&known),
            clock: Arc::clone(&machine.clock),
            node: node.clone(),
            applied,
            bell,
            shared,
        });
        let indexer = tasks::Indexer {
            dir: audit_dir,
            node,
            store: Arc::clone(&tenant),
            clock: Arc::clone(&machine.clock),
            rng: Arc::clone(&machine.rng),
            metrics: Arc::clone(&metrics),
        };
        let tasks = vec![
            tokio::spawn(Arc::clone(&follower).follow(stop.clone())),
            tokio::spawn(follower.keep_lease(stop.clone())),
            tokio::spawn(tasks::index_audit(indexer, stop.clone())),
            tokio::spawn(tasks::sweep(system, Arc::clone(&known), Arc::clone(&machine.clock), stop)),
        ];
        tracing::debug!(folder = %folder.root().display(), "the data folder is open");
        Ok(Self { store, tenant, seal, hasher, known, audit, propagation, metrics, checkpoint, tasks })
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
    let mut issuer = IssuerConfig { issuer: urls.issuer.clone(), default_audience: urls.gate.clone(), ..IssuerConfig::default() };
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
    Ok(issuer)
}

fn start_gates(config: &Config, base: &Base, machine: &Machine, _issuer: &Issuer) -> Result<(Arc<Issuers>, Arc<Gates>), StartError> {
    let desk = Handle::current();
    // Issuers that the file names may be on this machine or in this network: the operator said so.
    let outbound = Outbound::new(OutboundSettings { allow_networks: issuer_networks(config), ..OutboundSettings::default() }).map_err(StartError::of)?;
    let fetch = Arc::new(DeskFetch { desk: desk.clone(), inner: Arc::new(outbound) });
    let issuers = Arc::new(Issuers::new(fetch, Arc::clone(&machine.clock)));
    let gates = Gates::new(GatesParts {
        known: Arc::clone(&base.known),
        clock: Arc::clone(&machine.clock),
        rng: Arc::clone(&machine.rng),
        audit: base.audit.clone(),
        lookup: Arc::new(DeskLookup { desk, store: Arc::clone(&base.tenant), clock: Arc::clone(&machine.clock) }),
        issuers: Arc::clone(&issuers),
        policy: None,
        node: config.file.server.node.clone(),
        // The indexer marks exposed keys from the records: none is missed by a crash in between.
        on_exposed: None,
    });
    Ok((issuers, Arc::new(gates)))
}

/// Loopback, when a trusted issuer of the file is there.
fn issuer_networks(config: &Config) -> Vec<ipnet::IpNet> {
    let local = |url: &String| {
        url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).is_some_and(|host| {
            host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    };
    let any = config.file.trusted_issuer.iter().any(|issuer| local(&issuer.url) || issuer.jwks.as_ref().is_some_and(local));
    if any { loopback() } else { vec![] }
}

/// Both loopback networks.
pub fn loopback() -> Vec<ipnet::IpNet> {
    ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|net| net.parse().ok()).collect()
}

fn open_desk(reload: &Arc<Reload>, base: &Base, machine: &Machine, gates: &Arc<Gates>, issuer: &Arc<Issuer>, folder: DataFolder) -> Arc<Operator> {
    let road = Arc::clone(&reload.road);
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
        checkpoint_keys: vec![base.checkpoint.verifying_key().clone()],
        rotation: Some(Arc::new(Arc::clone(issuer)) as Arc<dyn KeyRotation>),
        explainer: Some(Arc::new(GatesExplainer { gates: Arc::clone(gates), reload: Arc::clone(reload), clock: Arc::clone(&machine.clock) })),
    })
}

/// What a reload changes, and how it is made anew.
struct Reload {
    config: Mutex<Config>,
    urls: Urls,
    epoch: AtomicU64,
    issuers: Arc<Issuers>,
    road: Arc<ArcSwap<RoadConfig>>,
    desk_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    issuer_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    tls: Option<tls::Current>,
}

impl Reload {
    fn first(config: Config, urls: Urls, issuers: Arc<Issuers>) -> Result<Self, StartError> {
        let road = road_config(&config, &urls, 1).map_err(StartError)?;
        load_issuers(&issuers, &road.rules).map_err(StartError)?;
        let desk = config::desk_rules(&config, &urls, 1).map_err(StartError)?;
        let issuer = config::issuer_rules(&config, &urls, 1).map_err(StartError)?;
        let tls = load_tls(&config).map_err(StartError)?.map(|tls| Arc::new(ArcSwap::from_pointee(tls)));
        Ok(Self {
            config: Mutex::new(config),
            urls,
            epoch: AtomicU64::new(1),
            issuers,
            road: Arc::new(ArcSwap::from_pointee(road)),
            desk_rules: Arc::new(ArcSwap::from_pointee(desk)),
            issuer_rules: Arc::new(ArcSwap::from_pointee(issuer)),
            tls,
        })
    }

    /// INVARIANT: everything is made before anything is swapped; an error leaves all as it was.
    fn again(&self) -> Result<(), String> {
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let config = config::load(&current.path).map_err(|error| error.to_string())?;
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        let road = road_config(&config, &self.urls, epoch)?;
        let desk = config::desk_rules(&config, &self.urls, epoch)?;
        let issuer = config::issuer_rules(&config, &self.urls, epoch)?;
        let tls = load_tls(&config)?;
        check_files(&road.rules)?;
        let (old, new) = (&current.file.server, &config.file.server);
        if (old.gate, old.issuer, old.desk, old.mtls, &old.store) != (new.gate, new.issuer, new.desk, new.mtls, &new.store) {
            tracing::warn!("listeners and store are as they were: changing them needs a restart");
        }
        load_issuers(&self.issuers, &road.rules)?;
        self.road.store(Arc::new(road));
        self.desk_rules.store(Arc::new(desk));
        self.issuer_rules.store(Arc::new(issuer));
        if let (Some(current), Some(new)) = (&self.tls, tls) {
            current.store(Arc::new(new));
        }
        self.epoch.store(epoch, Ordering::Relaxed);
        *current = config;
        Ok(())
    }
}

fn road_config(config: &Config, urls: &Urls, epoch: u64) -> Result<RoadConfig, String> {
    let rules = config::road_rules(config, urls, epoch)?;
    let limits = &config.file.limits;
    let upstreams = config.file.upstreams.iter().map(|(name, url)| {
        let url = UpstreamUrl::parse(url).map_err(|why| format!("upstream `{name}`: {why}"))?;
        Ok((name.clone(), url))
    });
    Ok(RoadConfig {
        rules: Arc::new(rules),
        upstreams: upstreams.collect::<Result<HashMap<_, _>, String>>()?,
        bounds: upstream_bounds(limits),
        pace: pace(limits),
    })
}

/// The configured bounds of calls to upstreams.
pub fn upstream_bounds(limits: &config::Limits) -> UpstreamBounds {
    UpstreamBounds {
        connect: Duration::from_secs(limits.connect_s.max(1)),
        response: Duration::from_secs(limits.response_s.max(1)),
        idle: limits.idle_per_upstream,
    }
}

/// The configured pace of bodies.
pub fn pace(limits: &config::Limits) -> PaceRule {
    PaceRule { grace: Duration::from_secs(limits.body_grace_s.max(1)), rate: limits.body_rate.max(1) }
}

fn key_files(rules: &trigate_gates::Rules) -> impl Iterator<Item = (&str, &std::path::Path)> {
    rules.issuers.iter().filter_map(|issuer| match &issuer.keys {
        KeySource::JwksFile(path) => Some((issuer.issuer.as_str(), path.as_path())),
        _ => None,
    })
}

fn read_key_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("the key set `{}` cannot be read: {error}", path.display()))
}

fn check_files(rules: &trigate_gates::Rules) -> Result<(), String> {
    for (_, path) in key_files(rules) {
        trigate_core::jose::Jwks::parse(&read_key_file(path)?).map_err(|error| format!("the key set `{}`: {error}", path.display()))?;
    }
    Ok(())
}

fn load_issuers(issuers: &Issuers, rules: &trigate_gates::Rules) -> Result<(), String> {
    issuers.load(rules);
    for (issuer, path) in key_files(rules) {
        issuers.put_file(issuer, &read_key_file(path)?).map_err(|error| format!("the key set `{}`: {error}", path.display()))?;
    }
    Ok(())
}

fn load_tls(config: &Config) -> Result<Option<rustls::ServerConfig>, String> {
    let Some(mtls) = config.file.mtls.as_ref().filter(|_| config.file.server.mtls.is_some()) else { return Ok(None) };
    let path = |name: &String| config.resolve(name);
    tls::load(&path(&mtls.ca), &path(&mtls.certificate), &path(&mtls.key)).map(Some).map_err(|error| error.to_string())
}

/// For upstreams on TLS: the roots of the operating system.
pub fn upstream_tls() -> Result<Arc<rustls::ClientConfig>, StartError> {
    let mut roots = rustls::RootCertStore::empty();
    let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(StartError::of)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Signs assertions with the issuer's keys.
struct IssuerExtras {
    issuer: Arc<Issuer>,
    desk: Handle,
}

impl Extras for IssuerExtras {
    fn assertion(&self, permit: &Permit, upstream: &str) -> Option<String> {
        let facts = permit.facts();
        let subject = facts.user.as_ref().map(ToString::to_string).or_else(|| facts.machine.clone());
        let subject = subject.or_else(|| facts.client.as_ref().map(ToString::to_string));
        let subject = subject.or_else(|| facts.application.as_ref().map(ToString::to_string)).unwrap_or_else(|| "anonymous".to_owned());
        let mut claims = serde_json::Map::new();
        if let Ok(serde_json::Value::Object(facts)) = serde_json::to_value(facts) {
            claims.extend(facts.into_iter().filter(|(name, _)| name != "issuer" && name != "policies"));
        }
        claims.insert("request".into(), permit.request_id().as_str().into());
        let request = AssertionRequest { audience: upstream, subject: &subject, claims };
        self.issuer.mint_assertion(request).map_err(|error| tracing::error!(%error, "no assertion was signed")).ok()
    }

    fn jwks(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> {
        let (issuer, desk) = (Arc::clone(&self.issuer), self.desk.clone());
        Box::pin(async move {
            let request = http::Request::get("/.well-known/jwks.json").body(axum::body::Body::empty()).ok()?;
            let answer = desk.spawn(trigate_issuer::router(issuer).oneshot(request)).await.ok()?.ok()?;
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.ok()?;
            String::from_utf8(bytes.to_vec()).ok()
        })
    }
}

/// Answers `trigate explain` by the code that judges requests.
struct GatesExplainer {
    gates: Arc<Gates>,
    reload: Arc<Reload>,
    clock: Arc<dyn Clock>,
}

/// What the desk's probes look at.
#[derive(Clone)]
struct Health {
    store: Arc<dyn Store>,
    known: Arc<Known>,
    clock: Arc<dyn Clock>,
    audit: Arc<SegmentLog>,
    metrics: Arc<Metrics>,
}

fn health(health: Health) -> Router {
    let ready = health.clone();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || readiness(ready.clone())))
        .route(
            "/metrics",
            get(move || {
                let health = health.clone();
                async move {
                    health.metrics.audit_next.store(health.audit.head().length, Ordering::Relaxed);
                    ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics.render())
                }
            }),
        )
}

async fn readiness(health: Health) -> (http::StatusCode, axum::Json<serde_json::Value>) {
    let system = health.store.system();
    let store = matches!(tokio::time::timeout(Duration::from_secs(2), system.check_ready()).await, Ok(Ok(())));
    let lease = health.known.trusted(health.clock.monotonic());
    let audit = health.audit.health().failure.is_none();
    let ready = store && lease && audit;
    let status = if ready { http::StatusCode::OK } else { http::StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": ready, "store": store, "lease": lease, "audit": audit, "position": health.known.position() });
    (status, axum::Json(body))
}

/// What the desk's and the issuer's listeners need.
#[derive(Clone)]
struct InsideParts {
    gates: Arc<Gates>,
    issuer_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    desk_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    issuer: Arc<Issuer>,
    operator: Arc<Operator>,
    health: Router,
    desk: Handle,
}

/// All listeners, bound before anything else starts.
struct Sockets {
    gate: listen::Listening,
    issuer: listen::Listening,
    desk: listen::Listening,
    mtls: Option<listen::Listening>,
    cores: usize,
}

struct Threads {
    handles: Vec<JoinHandle<()>>,
    mtls: Option<SocketAddr>,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, StartError> {
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
            cores,
        })
    }

    fn addresses(&self) -> [SocketAddr; 3] {
        [self.gate.address, self.issuer.address, self.desk.address]
    }

    fn urls(&self, config: &Config) -> Urls {
        let own = |url: &Option<String>, address: SocketAddr| url.clone().unwrap_or_else(|| format!("http://localhost:{}", address.port()));
        Urls {
            gate: own(&config.file.server.url, self.gate.address),
            issuer: own(&config.file.issuer.url, self.issuer.address),
            desk: own(&config.file.desk.url, self.desk.address),
        }
    }

    fn serve(self, config: &Config, reload: &Reload, road: RoadParts, inside: InsideParts, stop: &tasks::Stop) -> Result<Threads, StartError> {
        let bounds = Bounds::of(&config.file.limits, self.cores);
        let mtls = self.mtls.as_ref().map(|listening| listening.address);
        let mut secure = self.mtls.map(|listening| listening.sockets).unwrap_or_default().into_iter();
        let mut handles = Vec::new();
        for (index, plain) in self.gate.sockets.into_iter().enumerate() {
            let (road, bounds, stop) = (road.clone(), Arc::clone(&bounds), stop.clone());
            let secure = secure.next().zip(reload.tls.clone());
            let thread = std::thread::Builder::new().name(format!("road-{index}"));
            let handle = thread.spawn(move || on_core(serve_road(road, plain, secure, bounds, stop)));
            handles.push(handle.map_err(StartError::of)?);
        }
        let recorder = Recorders { audit: road.audit, clock: road.clock, node: config.file.server.node.clone(), metrics: road.metrics };
        let (issuer, desk) = (self.issuer.sockets, self.desk.sockets);
        let (bounds, stop) = (Bounds::of(&config.file.limits, 1), stop.clone());
        let thread = std::thread::Builder::new().name("desk-io".into());
        let handle = thread.spawn(move || on_core(serve_inside(inside, issuer, desk, recorder, bounds, stop)));
        handles.push(handle.map_err(StartError::of)?);
        Ok(Threads { handles, mtls })
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
        Rc::new(Recorder::new(Arc::clone(&self.audit), Arc::clone(&self.clock), &self.node, listener, Arc::clone(&self.metrics)))
    }
}

/// One core of the road: its listeners share one pool of upstream connections.
pub async fn serve_road(
    parts: RoadParts,
    plain: std::net::TcpListener,
    secure: Option<(std::net::TcpListener, tls::Current)>,
    bounds: Arc<Bounds>,
    stop: tasks::Stop,
) {
    let recorders = Recorders {
        audit: Arc::clone(&parts.audit),
        clock: Arc::clone(&parts.clock),
        node: parts.node.to_string(),
        metrics: Arc::clone(&parts.metrics),
    };
    let pool = Pool::new(Arc::clone(&parts.clock), Arc::clone(&parts.upstream_tls));
    let core = |listener, mode| {
        let recorder = recorders.of(listener);
        let handler = Road::new(parts.clone(), Rc::clone(&pool), Rc::clone(&recorder));
        Core { handler, bounds: Arc::clone(&bounds), recorder, mode }
    };
    let open = edge::accept(plain, core("gate", Mode::Plain), stop.clone());
    let closed = async {
        match secure {
            Some((socket, current)) => edge::accept(socket, core("mtls", Mode::Tls(current)), stop.clone()).await,
            None => Ok(()),
        }
    };
    let (open, closed) = tokio::join!(open, closed);
    for outcome in [open, closed] {
        if let Err(error) = outcome {
            tracing::error!(%error, "a listener of the road ended");
        }
    }
}

async fn serve_inside(
    parts: InsideParts,
    issuer: Vec<std::net::TcpListener>,
    desk: Vec<std::net::TcpListener>,
    recorders: Recorders,
    bounds: Arc<Bounds>,
    stop: tasks::Stop,
) {
    let issuer_routes = trigate_issuer::router(Arc::clone(&parts.issuer));
    let issuer_side = inside(&parts, &parts.issuer_rules, Guarded::Only(&["/oauth/userinfo"]), userinfo(&parts.issuer), issuer_routes, recorders.of("issuer"), &recorders);
    let desk_side = inside(
        &parts,
        &parts.desk_rules,
        Guarded::AllBut(&["/healthz", "/readyz", "/metrics"]),
        admin_api::router(Arc::clone(&parts.operator)),
        parts.health.clone(),
        recorders.of("desk"),
        &recorders,
    );
    let serve = |sockets: Vec<std::net::TcpListener>, handler: Rc<Inside>| {
        let (bounds, stop) = (Arc::clone(&bounds), stop.clone());
        async move {
            for socket in sockets {
                let core = Core { handler: Rc::clone(&handler), bounds: Arc::clone(&bounds), recorder: Rc::clone(&handler.recorder), mode: Mode::Plain };
                if let Err(error) = edge::accept(socket, core, stop.clone()).await {
                    tracing::error!(%error, "a listener of the desk ended");
                }
            }
        }
    };
    tokio::join!(serve(issuer, issuer_side), serve(desk, desk_side));
}

fn inside(
    parts: &InsideParts,
    rules: &Arc<ArcSwap<trigate_gates::Rules>>,
    guarded: Guarded,
    closed: Router,
    open: Router,
    recorder: Rc<Recorder>,
    recorders: &Recorders,
) -> Rc<Inside> {
    Rc::new(Inside {
        gates: Arc::clone(&parts.gates),
        rules: Arc::clone(rules),
        guarded,
        closed,
        open,
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
            match trigate_issuer::userinfo(&issuer, &caller).await {
                Ok(claims) => Ok(([(http::header::CACHE_CONTROL, "no-store")], axum::Json(claims))),
                Err(error) => {
                    tracing::warn!(%error, "userinfo was not answered");
                    Err(http::StatusCode::UNAUTHORIZED)
                }
            }
        }
    };
    Router::new().route("/oauth/userinfo", get(answer.clone()).post(answer))
}

#[async_trait]
impl Explainer for GatesExplainer {
    async fn explain(&self, question: &Question) -> Result<serde_json::Value, crate::operator::OperatorError> {
        let authorities = {
            let config = self.reload.config.lock().unwrap_or_else(PoisonError::into_inner);
            config.file.mtls.as_ref().map(|mtls| config.resolve(&mtls.ca))
        };
        let rules = Arc::clone(&self.reload.road.load().rules);
        crate::proxy::explain(&self.gates, &rules, question, authorities.as_deref(), self.clock.now()).await
    }
}
