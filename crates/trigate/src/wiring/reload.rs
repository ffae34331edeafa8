//! Which rules are in force? Made whole from the file, swapped at once, kept when the new file is broken.

use super::StartError;
use crate::{
    config::{self, Config, Urls},
    edge::tls,
    proxy::{PaceRule, RoadConfig, UpstreamBounds, UpstreamUrl},
};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use trigate_gates::{Issuers, KeySource};

/// What a reload changes, and how it is made anew.
pub(super) struct Reload {
    pub(super) config: Mutex<Config>,
    pub(super) urls: Urls,
    pub(super) epoch: AtomicU64,
    pub(super) issuers: Arc<Issuers>,
    pub(super) road: Arc<ArcSwap<RoadConfig>>,
    pub(super) desk_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    pub(super) issuer_rules: Arc<ArcSwap<trigate_gates::Rules>>,
    pub(super) tls: Option<tls::Current>,
}

impl Reload {
    pub(super) fn first(config: Config, urls: Urls, issuers: Arc<Issuers>) -> Result<Self, StartError> {
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
    pub(super) fn again(&self) -> Result<(), String> {
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let config = config::load(&current.path).map_err(|error| error.to_string())?;
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        let road = road_config(&config, &self.urls, epoch)?;
        let desk = config::desk_rules(&config, &self.urls, epoch)?;
        let issuer = config::issuer_rules(&config, &self.urls, epoch)?;
        let tls = load_tls(&config)?;
        check_files(&road.rules)?;
        let (old, new) = (&current.file.server, &config.file.server);
        if (old.gate, old.issuer, old.desk, old.mtls, &old.store)
            != (new.gate, new.issuer, new.desk, new.mtls, &new.store)
        {
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
        trigate_core::jose::Jwks::parse(&read_key_file(path)?)
            .map_err(|error| format!("the key set `{}`: {error}", path.display()))?;
    }
    Ok(())
}

pub(crate) fn load_issuers(issuers: &Issuers, rules: &trigate_gates::Rules) -> Result<(), String> {
    issuers.load(rules);
    for (issuer, path) in key_files(rules) {
        issuers
            .put_file(issuer, &read_key_file(path)?)
            .map_err(|error| format!("the key set `{}`: {error}", path.display()))?;
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
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(StartError::of)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
