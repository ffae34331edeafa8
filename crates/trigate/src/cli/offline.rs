//! What are the verbs made of when no server runs? The store of the data folder, opened under its lock.

use super::failure::Failure;
use crate::{
    config::{self, Config, Urls},
    edge::trust::Trust,
    operator::{
        By, Operator, OperatorError, OperatorParts,
        barrier::LeaseBarrier,
        explain::{Explainer, Question},
        folder::DataFolder,
        keys::KeyRotation,
    },
    system::{SystemClock, SystemRng},
    tasks::DeskLookup,
    wiring,
};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::runtime::Handle;
use trigate_core::{
    audit::Record,
    id::TenantId,
    port::{AuditSink, Clock, Fetch, Hasher, Mark, Monotonic, Propagation, Rng, Slot, Store, SystemStore, TenantStore},
};
use trigate_gates::{Gates, GatesParts, Issuers, Known, Rules};
use trigate_issuer::{Issuer, IssuerConfig, IssuerParts, account::password::Argon2Pool};
use trigate_outbound::{Outbound, OutboundSettings};
use trigate_store::Location;

/// Opens the store that the folder's configuration names.
pub async fn open_store(folder: &DataFolder) -> Result<Arc<dyn Store>, Failure> {
    let config = config::load(&folder.config()).map_err(Failure::plain)?;
    open(&config).await
}

async fn open(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let location: Location = config.store().parse().map_err(Failure::plain)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    trigate_store::open(location, clock)
        .await
        .map_err(|error| Failure::new(error.to_string(), "check `store` in trigate.toml, and that the database runs"))
}

/// What else a command needs, beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Store,
    /// The keys of the audit trail's checkpoints: they lie sealed under the master key.
    CheckpointKeys,
}

/// The verbs over the folder's store. The caller holds the folder's lock.
pub async fn operator(folder: &DataFolder, need: Need) -> Result<Arc<Operator>, Failure> {
    let config = config::load(&folder.config()).map_err(Failure::plain)?;
    let store = open(&config).await?;
    let tenant = TenantId::default_tenant();
    let system = store.system();
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::default());
    let server = &config.file.server;
    let url = |said: &Option<String>, port: u16| said.clone().unwrap_or_else(|| format!("http://localhost:{port}"));
    let plans: Vec<String> = config.file.plans.keys().cloned().collect();
    let takes_certificates = config.file.issuer.mtls.is_some();
    let trusted: Vec<String> = config.file.trusted_issuer.iter().map(|issuer| issuer.url.clone()).collect();
    let store = store.tenant(&tenant);
    let checkpoint_keys = match need {
        Need::Store => Vec::new(),
        Need::CheckpointKeys => wiring::checkpoint_keys(&config, &rng, store.as_ref()).await.map_err(Failure::plain)?,
    };
    let issuer_url = url(&config.file.issuer.url, server.issuer.port());
    let default_audience = url(&server.url, server.gate.port());
    let propagation: Arc<dyn Propagation> = LeaseBarrier::new(system.clone(), folder.gates().exists());
    let hasher: Arc<dyn Hasher> = Arc::new(Argon2Pool::start(1, rng.clone()).map_err(Failure::plain)?);
    let on_demand = Arc::new(OnDemand {
        urls: Urls {
            gate: url(&server.url, server.gate.port()),
            issuer: issuer_url.clone(),
            desk: url(&config.file.desk.url, server.desk.port()),
            mtls: None,
            issuer_mtls: None,
        },
        config,
        store: store.clone(),
        system: system.clone(),
        rng: rng.clone(),
        hasher: hasher.clone(),
        propagation: propagation.clone(),
    });
    Ok(Operator::new(OperatorParts {
        propagation,
        clock: Arc::new(SystemClock::new()),
        hasher,
        folder: folder.clone(),
        issuer_url,
        default_audience,
        plans: Arc::new(move || plans.clone()),
        trusted_issuers: Arc::new(move || trusted.clone()),
        takes_certificates,
        checkpoint_keys,
        rotation: Some(on_demand.clone()),
        explainer: Some(on_demand),
        tenant,
        store,
        system,
        rng,
    }))
}

/// Issuer and gates, made only for the verbs that ask them: nothing else offline needs the master key.
struct OnDemand {
    config: Config,
    urls: Urls,
    store: Arc<dyn TenantStore>,
    system: Arc<dyn SystemStore>,
    rng: Arc<dyn Rng>,
    hasher: Arc<dyn Hasher>,
    propagation: Arc<dyn Propagation>,
}

fn broken(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::broken(error.to_string(), "check trigate.toml and the master key")
}

impl OnDemand {
    async fn issuer(&self) -> Result<Arc<Issuer>, OperatorError> {
        let mut config = IssuerConfig {
            issuer: self.urls.issuer.clone(),
            default_audience: self.urls.gate.clone(),
            ..IssuerConfig::default()
        };
        if let Some(algorithm) = &self.config.file.issuer.algorithm {
            config.algorithm = algorithm.parse().map_err(broken)?;
        }
        let parts = IssuerParts {
            tenant: TenantId::default_tenant(),
            store: self.store.clone(),
            clock: Arc::new(SystemClock::new()),
            rng: self.rng.clone(),
            seal: wiring::load_master_key(&self.config, self.rng.clone()).map_err(broken)?,
            hasher: self.hasher.clone(),
            propagation: self.propagation.clone(),
            config,
        };
        Issuer::start(parts).await.map_err(broken)
    }

    /// The road's gates over what the store holds now. They let nothing through: nobody listens.
    async fn gates(&self, rules: &Rules, clock: &Arc<dyn Clock>) -> Result<Gates, OperatorError> {
        let tenant = TenantId::default_tenant();
        let known = Known::new(tenant.clone(), clock.clone());
        known.load(self.system.snapshot(&tenant, clock.now()).await?);
        known.set_checksum_key(self.issuer().await?.checksum_key().clone());
        // The lock of the data folder is held: what was just read stays true.
        known.hold_lease(Monotonic(u64::MAX));
        let settings =
            OutboundSettings { allow_networks: wiring::issuer_networks(&self.config), ..OutboundSettings::default() };
        let outbound: Arc<dyn Fetch> = Arc::new(Outbound::new(settings).map_err(broken)?);
        let issuers = Arc::new(Issuers::new(outbound, clock.clone()));
        wiring::load_issuers(&issuers, rules, &[]).map_err(broken)?;
        issuers.refresh_due().await;
        Ok(Gates::new(GatesParts {
            known: Arc::new(known),
            clock: clock.clone(),
            rng: self.rng.clone(),
            audit: Arc::new(NoRecords),
            lookup: Arc::new(DeskLookup { desk: Handle::current(), store: self.store.clone(), clock: clock.clone() }),
            issuers,
            node: self.config.file.server.node().into(),
            on_exposed: None,
        }))
    }
}

#[async_trait]
impl KeyRotation for OnDemand {
    async fn rotate(&self, by: &By, now: bool) -> Result<Vec<String>, OperatorError> {
        self.issuer().await?.rotate(by, now).await
    }

    /// No issuer of this process has a key in memory.
    async fn forget_revoked(&self) -> Result<(), OperatorError> {
        Ok(())
    }
}

#[async_trait]
impl Explainer for OnDemand {
    async fn explain(&self, question: &Question) -> Result<serde_json::Value, OperatorError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let rules = Arc::new(config::road_rules(&self.config, &self.urls, 1).map_err(broken)?);
        let gates = Box::pin(self.gates(&rules, &clock)).await?;
        let trust = Trust::default().prepare(&self.config, self.config.file.mtls.as_ref()).map_err(broken)?;
        let trusted = trust.is_configured().then_some(&trust);
        Box::pin(crate::proxy::explain(&gates, &rules, question, trusted, clock.now())).await
    }
}

/// An explanation decides nothing: no slot is ever asked for, and none is given.
struct NoRecords;

impl AuditSink for NoRecords {
    fn reserve(&self) -> Option<Slot<'_>> {
        None
    }

    fn release(&self) {}

    fn append(&self, _: &Record) -> Option<Mark> {
        None
    }

    fn flush_to(&self, _: Mark) -> bool {
        false
    }

    fn sync_to(&self, _: Mark) -> bool {
        false
    }

    fn note(&self, _: &Record) {}
}
