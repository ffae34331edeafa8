//! What are the verbs made of when no server runs? The store of the data folder, opened under its lock.

use super::failure::Failure;
use crate::{
    config::{self, Config},
    operator::{Operator, OperatorParts, barrier::LeaseBarrier, folder::DataFolder},
    system::{SystemClock, SystemRng},
};
use std::sync::Arc;
use trigate_core::{
    id::TenantId,
    port::{Clock, Rng, Store},
};
use trigate_issuer::account::password::Argon2Pool;
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

/// The verbs over the folder's store. The caller holds the folder's lock.
pub async fn operator(folder: &DataFolder) -> Result<Arc<Operator>, Failure> {
    let config = config::load(&folder.config()).map_err(Failure::plain)?;
    let store = open(&config).await?;
    let tenant = TenantId::default_tenant();
    let system = store.system();
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::default());
    let server = &config.file.server;
    let url = |said: &Option<String>, port: u16| said.clone().unwrap_or_else(|| format!("http://localhost:{port}"));
    let plans: Vec<String> = config.file.plans.keys().cloned().collect();
    let store = store.tenant(&tenant);
    let checkpoint_keys = crate::wiring::checkpoint_keys(&config, &rng, store.as_ref()).await.unwrap_or_default();
    Ok(Operator::new(OperatorParts {
        propagation: LeaseBarrier::new(system.clone()),
        clock: Arc::new(SystemClock::new()),
        hasher: Arc::new(Argon2Pool::start(1, rng.clone()).map_err(Failure::plain)?),
        folder: folder.clone(),
        issuer_url: url(&config.file.issuer.url, server.issuer.port()),
        default_audience: url(&server.url, server.gate.port()),
        plans: Arc::new(move || plans.clone()),
        checkpoint_keys,
        rotation: None,
        explainer: None,
        tenant,
        store,
        system,
        rng,
    }))
}
