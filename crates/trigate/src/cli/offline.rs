//! What are the verbs made of when no server runs? The store of the data folder, opened under its lock.

use super::failure::Failure;
use crate::{
    config::{self, Config},
    operator::{By, Operator, OperatorError, OperatorParts, barrier::LeaseBarrier, folder::DataFolder, keys::KeyRotation},
    system::{SystemClock, SystemRng},
    wiring,
};
use async_trait::async_trait;
use std::sync::Arc;
use trigate_core::{
    id::TenantId,
    port::{Clock, Hasher, Propagation, Rng, Store, TenantStore},
};
use trigate_issuer::{Issuer, IssuerConfig, IssuerParts, account::password::Argon2Pool};
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
    let store = store.tenant(&tenant);
    let checkpoint_keys = match need {
        Need::Store => Vec::new(),
        Need::CheckpointKeys => wiring::checkpoint_keys(&config, &rng, store.as_ref()).await.map_err(Failure::plain)?,
    };
    let issuer_url = url(&config.file.issuer.url, server.issuer.port());
    let default_audience = url(&server.url, server.gate.port());
    let propagation: Arc<dyn Propagation> = LeaseBarrier::new(system.clone());
    let hasher: Arc<dyn Hasher> = Arc::new(Argon2Pool::start(1, rng.clone()).map_err(Failure::plain)?);
    let rotation = OfflineIssuer {
        config: config.clone(),
        store: store.clone(),
        rng: rng.clone(),
        hasher: hasher.clone(),
        propagation: propagation.clone(),
        issuer: IssuerConfig { issuer: issuer_url.clone(), default_audience: default_audience.clone(), ..IssuerConfig::default() },
    };
    Ok(Operator::new(OperatorParts {
        propagation,
        clock: Arc::new(SystemClock::new()),
        hasher,
        folder: folder.clone(),
        issuer_url,
        default_audience,
        plans: Arc::new(move || plans.clone()),
        checkpoint_keys,
        rotation: Some(Arc::new(rotation)),
        explainer: None,
        tenant,
        store,
        system,
        rng,
    }))
}

/// Made only when keys are rotated: nothing else offline needs the issuer, or the master key.
struct OfflineIssuer {
    config: Config,
    store: Arc<dyn TenantStore>,
    rng: Arc<dyn Rng>,
    hasher: Arc<dyn Hasher>,
    propagation: Arc<dyn Propagation>,
    issuer: IssuerConfig,
}

#[async_trait]
impl KeyRotation for OfflineIssuer {
    async fn rotate(&self, by: &By, now: bool) -> Result<Vec<String>, OperatorError> {
        let broken = |error: String| OperatorError::broken(error, "check trigate.toml and the master key");
        let mut config = self.issuer.clone();
        if let Some(algorithm) = &self.config.file.issuer.algorithm {
            config.algorithm = algorithm.parse().map_err(|error| broken(format!("`{algorithm}`: {error}")))?;
        }
        let seal = wiring::load_master_key(&self.config, self.rng.clone()).map_err(|error| broken(error.to_string()))?;
        let parts = IssuerParts {
            tenant: TenantId::default_tenant(),
            store: self.store.clone(),
            clock: Arc::new(SystemClock::new()),
            rng: self.rng.clone(),
            seal,
            hasher: self.hasher.clone(),
            propagation: self.propagation.clone(),
            config,
        };
        let issuer = Issuer::start(parts).await.map_err(|error| broken(error.to_string()))?;
        issuer.rotate(by, now).await
    }
}
