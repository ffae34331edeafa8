//! Which rules are in force? Made whole from the file, swapped at once, kept when the new file is broken.

use super::StartError;
use crate::{
    config::{self, Config, Urls},
    edge::{tls, trust::Trust},
    leaks,
    metrics::Metrics,
    proxy::{
        Ejection, HealthRule, PaceRule, RoadConfig, TlsSettings, Upstream, UpstreamBounds, UpstreamUrl, carry_over,
    },
    signals, tasks,
};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use trigate_core::{desk::Welcome, jose::MAX_JWKS_BYTES};
use trigate_gates::{Issuers, KeySource};

/// What a reload changes, and how it is made anew.
pub(super) struct Reload {
    loader: Loader,
    pub(super) config: Mutex<Config>,
    pub(super) urls: Urls,
    pub(super) epoch: AtomicU64,
    pub(super) issuers: Arc<Issuers>,
    pub(super) road: Arc<ArcSwap<RoadConfig>>,
    pub(super) desk_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    pub(super) issuer_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    pub(super) signals: Arc<ArcSwap<signals::Settings>>,
    pub(super) leaks: Arc<ArcSwap<leaks::Settings>>,
    pub(super) gate_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    /// Of the mTLS listener.
    pub(super) tls: Option<tls::Current>,
    /// Of the gate's own listener, where it has certificates.
    pub(super) gate_tls: Option<tls::Current>,
    pub(super) trust: Arc<Trust>,
    /// Of the issuer's listener for client certificates.
    pub(super) issuer_tls: Option<tls::Current>,
    /// Whose certificates prove clients.
    pub(super) issuer_trust: Arc<Trust>,
}

/// How the file is read again.
pub(super) type Loader = Box<dyn Fn(&Path) -> Result<Config, String> + Send + Sync>;

impl Reload {
    pub(super) fn first(config: Config, urls: Urls, issuers: Arc<Issuers>, loader: Loader) -> Result<Self, StartError> {
        let road = road_config(&config, &urls, 1, &HashMap::new()).map_err(StartError)?;
        let signals = signals::Settings::of(&config).map_err(StartError)?;
        let leaks = leaks::Settings::of(&config).map_err(StartError)?;
        load_issuers(&issuers, &road.rules, &signals.keys).map_err(StartError)?;
        let desk = config::desk_rules(&config, &urls, 1).map_err(StartError)?;
        let issuer = config::issuer_rules(&config, &urls, 1).map_err(StartError)?;
        let (trust, issuer_trust) = (Arc::new(Trust::default()), Arc::new(Trust::default()));
        trust.put(trust.prepare(&config, config.file.mtls.as_ref()).map_err(StartError::of)?);
        issuer_trust.put(issuer_trust.prepare(&config, config.file.issuer.mtls.as_ref()).map_err(StartError::of)?);
        let gates = config::gate_rules(&config, 1).map_err(StartError)?;
        let shared = |tls| Arc::new(ArcSwap::from_pointee(tls));
        let tls = load_tls(&config, &trust).map_err(StartError)?.map(shared);
        let gate_tls = load_gate_tls(&config).map_err(StartError)?.map(shared);
        let issuer_tls = load_issuer_tls(&config).map_err(StartError)?.map(shared);
        Ok(Self {
            loader,
            config: Mutex::new(config),
            urls,
            epoch: AtomicU64::new(1),
            issuers,
            road: Arc::new(ArcSwap::from_pointee(road)),
            desk_rules: Arc::new(ArcSwap::from_pointee(desk)),
            issuer_rules: Arc::new(ArcSwap::from_pointee(issuer)),
            signals: Arc::new(ArcSwap::from_pointee(signals)),
            leaks: Arc::new(ArcSwap::from_pointee(leaks)),
            gate_rules: Arc::new(ArcSwap::from_pointee(gates)),
            tls,
            gate_tls,
            trust,
            issuer_tls,
            issuer_trust,
        })
    }

    /// What a gate elsewhere must know of this desk.
    pub(super) fn welcome(&self) -> Welcome {
        let rules = Arc::clone(&self.road.load().rules);
        Welcome {
            tenant: rules.tenant.clone(),
            issuer: self.urls.issuer.clone(),
            audiences: rules.our_issuer().map(|issuer| issuer.audiences.clone()).unwrap_or_default(),
            plans: rules.plans.iter().map(|(name, plan)| (name.clone(), plan.words())).collect(),
        }
    }

    /// Reads the file again, and all files that it names.
    pub(super) fn again(&self) -> Result<(), String> {
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let config = (self.loader)(&current.path)?;
        self.take(&mut current, config)
    }

    /// Reads the files again that the configuration in force names: certificates and keys.
    pub(super) fn certificates_again(&self) -> Result<(), String> {
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let config = current.clone();
        self.take(&mut current, config)
    }

    /// The certificates, keys, key sets and secrets that the configuration in force names.
    pub(super) fn certificate_files(&self) -> Vec<PathBuf> {
        let current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let file = &current.file;
        let mtls = file.mtls.iter().chain(&file.issuer.mtls).flat_map(|mtls| [&mtls.certificate, &mtls.key]);
        let own = file.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key]);
        let upstreams = file.upstreams.values().flat_map(|it| [&it.0.ca, &it.0.certificate, &it.0.key]).flatten();
        let named = mtls.chain(own).chain(upstreams).chain(issuer_files(file)).map(|path| current.resolve(path));
        let (trust, issuer) = (self.trust.now(), self.issuer_trust.now());
        named.chain(trust.files().iter().chain(issuer.files()).cloned()).collect()
    }

    /// INVARIANT: everything is made before anything is swapped; an error leaves all as it was.
    fn take(&self, current: &mut Config, config: Config) -> Result<(), String> {
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        let road = road_config(&config, &self.urls, epoch, &self.road.load().upstreams)?;
        let desk = config::desk_rules(&config, &self.urls, epoch)?;
        let issuer = config::issuer_rules(&config, &self.urls, epoch)?;
        let tls = load_tls(&config, &self.trust)?;
        let trust = self.trust.prepare(&config, config.file.mtls.as_ref()).map_err(|error| error.to_string())?;
        let issuer_tls = load_issuer_tls(&config)?;
        let issuer_trust = self.issuer_trust.prepare(&config, config.file.issuer.mtls.as_ref());
        let issuer_trust = issuer_trust.map_err(|error| error.to_string())?;
        let gates = config::gate_rules(&config, epoch)?;
        let gate_tls = load_gate_tls(&config)?;
        if gate_tls.is_some() != self.gate_tls.is_some() {
            return Err("the gate's listener begins or ends to speak TLS: that needs a restart".to_owned());
        }
        let signals = signals::Settings::of(&config)?;
        let leaks = leaks::Settings::of(&config)?;
        check_files(&road.rules, &signals.keys)?;
        let (old, new) = (&current.file.server, &config.file.server);
        if (old.gate, old.issuer, old.desk, old.mtls, old.issuer_mtls, &old.store)
            != (new.gate, new.issuer, new.desk, new.mtls, new.issuer_mtls, &new.store)
        {
            tracing::warn!("listeners and store are as they were: changing them needs a restart");
        }
        load_issuers(&self.issuers, &road.rules, &signals.keys)?;
        self.signals.store(Arc::new(signals));
        self.leaks.store(Arc::new(leaks));
        self.road.store(Arc::new(road));
        self.desk_rules.store(Arc::new(desk));
        self.issuer_rules.store(Arc::new(issuer));
        self.gate_rules.store(Arc::new(gates));
        if let (Some(current), Some(new)) = (&self.tls, tls) {
            current.store(Arc::new(new));
        }
        if let (Some(current), Some(new)) = (&self.gate_tls, gate_tls) {
            current.store(Arc::new(new));
        }
        if let (Some(current), Some(new)) = (&self.issuer_tls, issuer_tls) {
            current.store(Arc::new(new));
        }
        self.trust.put(trust);
        self.issuer_trust.put(issuer_trust);
        self.epoch.store(epoch, Ordering::Relaxed);
        *current = config;
        Ok(())
    }

    /// Client authorities and revocation lists made anew, with what was fetched; the rest stays.
    pub(super) fn renew_trust(&self) -> Result<(), String> {
        let current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = self.trust.prepare(&current, current.file.mtls.as_ref()).map_err(|error| error.to_string())?;
        let issuer = self.issuer_trust.prepare(&current, current.file.issuer.mtls.as_ref());
        self.issuer_trust.put(issuer.map_err(|error| error.to_string())?);
        self.trust.put(gate);
        Ok(())
    }
}

pub(super) fn count(metrics: &Metrics, outcome: &Result<(), String>) {
    let counter = if outcome.is_ok() { &metrics.reloads } else { &metrics.reloads_failed };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Takes replaced certificates and keys into force within two seconds. What cannot be used is said once, and the last good
/// ones stay (M13).
pub(super) async fn watch_files(reload: Arc<Reload>, metrics: Arc<Metrics>, mut stop: tasks::Stop) {
    let mut seen = stamps(&reload.certificate_files());
    while tasks::pause(&mut stop, Duration::from_secs(1)).await {
        let now = stamps(&reload.certificate_files());
        if now == seen {
            continue;
        }
        seen = now;
        let outcome = reload.certificates_again();
        count(&metrics, &outcome);
        match outcome {
            Ok(()) => tracing::info!("changed certificates are in force"),
            Err(error) => tracing::error!("CHANGED CERTIFICATES CANNOT BE USED, the old ones stay in force: {error}"),
        }
    }
}

/// What tells a replaced file from the one before.
fn stamps(paths: &[PathBuf]) -> Vec<Option<(u64, u64, i64, i64)>> {
    use std::os::unix::fs::MetadataExt as _;
    let stamp = |path: &PathBuf| {
        std::fs::metadata(path).ok().map(|file| (file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

fn road_config(
    config: &Config,
    urls: &Urls,
    epoch: u64,
    old: &HashMap<String, Arc<Upstream>>,
) -> Result<RoadConfig, String> {
    let rules = config::road_rules(config, urls, epoch)?;
    let upstreams = config.file.upstreams.iter().map(|(name, table)| {
        let mut upstream = upstream(config, name, &table.0).map_err(|why| format!("upstream `{name}`: {why}"))?;
        carry_over(old, &mut upstream);
        Ok((name.clone(), Arc::new(upstream)))
    });
    let asking = config.file.forward_auth.as_ref();
    Ok(RoadConfig {
        rules: Arc::new(rules),
        upstreams: upstreams.collect::<Result<HashMap<_, _>, String>>()?,
        pace: pace(&config.file.limits),
        asked_by: asking.map(config::ForwardAuth::networks).unwrap_or_default(),
        certificates_from: asking.map(|it| it.client_certificates.clone()).unwrap_or_default(),
    })
}

fn upstream(config: &Config, name: &str, table: &config::UpstreamTable) -> Result<Upstream, String> {
    let file = |path: &String| config.resolve(path);
    let settings = TlsSettings {
        ca: table.ca.as_ref().map(file),
        identity: table.certificate.as_ref().zip(table.key.as_ref()).map(|(chain, key)| (file(chain), file(key))),
        server_name: table.server_name.clone(),
        http2: table.http2,
    };
    let own = settings.ca.is_some() || settings.identity.is_some() || settings.server_name.is_some() || settings.http2;
    let client = own.then(|| settings.load().map(Arc::new)).transpose()?;
    let urls = table.addresses.iter().map(|address| {
        let mut url = UpstreamUrl::parse(address).map_err(|why| format!("`{address}`: {why}"))?;
        url.http2 |= table.http2;
        url.client.clone_from(&client);
        Ok(url)
    });
    let seconds = |s: u64| Duration::from_secs(s.max(1));
    let mut bounds = upstream_bounds(&config.file.limits);
    bounds.connect = table.connect_s.map_or(bounds.connect, seconds);
    bounds.response = table.response_s.map_or(bounds.response, seconds);
    bounds.silence = table.idle_s.map_or(bounds.silence, seconds);
    bounds.streams = table.streams.map_or(bounds.streams, |streams| streams.max(1));
    let health = table.health.as_ref().map(|health| HealthRule {
        path: health.path.clone(),
        interval: seconds(health.interval_s),
        timeout: seconds(health.timeout_s),
        healthy: health.healthy,
        unhealthy: health.unhealthy,
    });
    let eject = table.eject.clone().unwrap_or_default();
    let ejection = Ejection { failures: eject.failures, rest: Duration::from_secs(eject.for_s) };
    Ok(Upstream::new(name, urls.collect::<Result<_, String>>()?, bounds, health, ejection))
}

/// The configured bounds of calls to upstreams.
pub fn upstream_bounds(limits: &config::Limits) -> UpstreamBounds {
    UpstreamBounds {
        connect: Duration::from_secs(limits.connect_s.max(1)),
        response: Duration::from_secs(limits.response_s.max(1)),
        silence: Duration::from_secs(limits.idle_s.max(1)),
        idle: limits.idle_per_upstream,
        streams: STREAMS,
    }
}

/// More than servers commonly grant one connection; the rest waits in the client's own queue.
const STREAMS: usize = 1_000;

/// The configured pace of bodies.
pub fn pace(limits: &config::Limits) -> PaceRule {
    PaceRule { grace: Duration::from_secs(limits.body_grace_s.max(1)), rate: limits.body_rate.max(1) }
}

/// What other issuers are read by: key sets and secrets.
fn issuer_files(file: &config::File) -> impl Iterator<Item = &String> {
    let is_file = |jwks: &&String| !jwks.starts_with("https://") && !jwks.starts_with("http://");
    let asks = file.trusted_issuer.iter().filter_map(|issuer| issuer.introspection.as_ref()?.secret_file.as_ref());
    let keys = file.trusted_issuer.iter().filter_map(|issuer| issuer.jwks.as_ref());
    let streams = file.signals.iter();
    let stream = streams.flat_map(|stream| [&stream.push_secret_file, &stream.poll_token_file]).flatten();
    let signers = file.signals.iter().filter_map(|stream| stream.jwks.as_ref());
    let scanners = file.leak_reports.iter().map(|scanner| &scanner.keys);
    keys.chain(signers).chain(scanners).filter(is_file).chain(asks).chain(stream)
}

fn key_files<'a>(
    rules: &'a trigate_gates::Rules,
    others: &'a [(String, KeySource)],
) -> impl Iterator<Item = (&'a str, &'a std::path::Path)> {
    let all = others.iter().map(|(issuer, keys)| (issuer, keys));
    all.chain(rules.issuers.iter().map(|rule| (&rule.issuer, &rule.keys))).filter_map(|(issuer, keys)| match keys {
        KeySource::JwksFile(path) => Some((issuer.as_str(), path.as_path())),
        _ => None,
    })
}

/// Of sensible size: a device or a log in its place is no key set.
fn read_key_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let unread = |error: std::io::Error| format!("the key set `{}` cannot be read: {error}", path.display());
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(MAX_JWKS_BYTES as u64 + 1).read_to_end(&mut text).map_err(unread)?;
    Ok(text)
}

fn check_files(rules: &trigate_gates::Rules, others: &[(String, KeySource)]) -> Result<(), String> {
    for (_, path) in key_files(rules, others) {
        trigate_core::jose::Jwks::parse(&read_key_file(path)?)
            .map_err(|error| format!("the key set `{}`: {error}", path.display()))?;
    }
    Ok(())
}

pub(crate) fn load_issuers(
    issuers: &Issuers,
    rules: &trigate_gates::Rules,
    others: &[(String, KeySource)],
) -> Result<(), String> {
    issuers.load_with(rules, others);
    for (issuer, path) in key_files(rules, others) {
        issuers
            .put_file(issuer, &read_key_file(path)?)
            .map_err(|error| format!("the key set `{}`: {error}", path.display()))?;
    }
    Ok(())
}

fn load_tls(config: &Config, trust: &Arc<Trust>) -> Result<Option<rustls::ServerConfig>, String> {
    let Some(mtls) = config.file.mtls.as_ref().filter(|_| config.file.server.mtls.is_some()) else { return Ok(None) };
    let path = |name: &String| config.resolve(name);
    let let_in = tls::LetIn::Trusted(Arc::clone(trust));
    tls::load(let_in, &path(&mtls.certificate), &path(&mtls.key)).map(Some).map_err(|error| error.to_string())
}

/// Anybody's certificate comes in: what it proves is the token endpoint's question. // RFC 8705 §2.2
fn load_issuer_tls(config: &Config) -> Result<Option<rustls::ServerConfig>, String> {
    let listens = config.file.server.issuer_mtls.is_some();
    let Some(mtls) = config.file.issuer.mtls.as_ref().filter(|_| listens) else { return Ok(None) };
    let path = |name: &String| config.resolve(name);
    let loaded = tls::load(tls::LetIn::Anybody, &path(&mtls.certificate), &path(&mtls.key));
    loaded.map(Some).map_err(|error| error.to_string())
}

fn load_gate_tls(config: &Config) -> Result<Option<rustls::ServerConfig>, String> {
    if config.file.tls.is_empty() {
        return Ok(None);
    }
    let identities: Vec<tls::Identity> = (config.file.tls.iter())
        .map(|tls| tls::Identity {
            certificate: config.resolve(&tls.certificate),
            key: config.resolve(&tls.key),
            names: tls.names.0.clone(),
        })
        .collect();
    tls::load_open(&identities).map(Some).map_err(|error| error.to_string())
}

/// For upstreams on TLS: the roots of the operating system.
pub fn upstream_tls() -> Result<Arc<rustls::ClientConfig>, StartError> {
    let mut roots = rustls::RootCertStore::empty();
    let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(StartError::of)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
