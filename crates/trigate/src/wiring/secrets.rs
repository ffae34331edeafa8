//! Where do the secrets of this process come from? The master key from environment or file, the rest sealed in the store.

use super::{Machine, StartError};
use crate::{
    config::{self, Config},
    system::SystemClock,
};
use std::sync::Arc;
use trigate_core::{
    Act, Actor,
    id::TenantId,
    jose::{Algorithm, SigningKey, VerifyingKey},
    port::{Clock, Rng, Seal, Store, TenantStore},
    seal::MasterKey,
};

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
                StartError(format!("the master key `{}` cannot be read: {error}\n  help: put back the key that this folder was made with, or set TRIGATE_MASTER_KEY; `trigate init` makes a new folder with a key of its own", path.display()))
            })?)
        }
    };
    MasterKey::from_text(&text, rng).map(Arc::new).map_err(StartError::of)
}

/// SECURITY: a key that others can read protects nothing.
pub fn check_private(path: &std::path::Path) -> Result<(), StartError> {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path) {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(StartError(format!(
                "the key `{0}` can be read by others\n  help: chmod 600 {0}",
                path.display()
            )));
        }
    }
    Ok(())
}

/// The key that signs the audit trail's checkpoints: in the store, sealed, made on first use. Offline commands verify by
/// its public part.
pub async fn load_checkpoint_key(
    store: &dyn TenantStore,
    seal: &dyn Seal,
    machine: &Machine,
) -> Result<Arc<SigningKey>, StartError> {
    const NAME: &str = "audit_checkpoint";
    let fresh = SigningKey::generate(Algorithm::EdDSA, NAME).and_then(|key| key.to_pkcs8()).map_err(StartError::of)?;
    let context = format!("secret:{}:{NAME}", TenantId::default_tenant());
    let act = Act::new(&*machine.clock, &*machine.rng, Actor::System, "secret.create", NAME);
    let stored = store.load_or_create_secret(act, NAME, seal.seal(&context, &fresh)).await.map_err(StartError::of)?;
    let der = seal.open(&context, &stored.gives_only()).map_err(|error| {
        StartError(format!(
            "the audit checkpoint key: {error}\n  help: start with the master key that this store was made with"
        ))
    })?;
    SigningKey::from_pkcs8(Algorithm::EdDSA, NAME, &der).map(Arc::new).map_err(StartError::of)
}

/// The public parts of every key that signed checkpoints of this store's trail, for offline verification.
pub async fn checkpoint_keys(
    config: &Config,
    rng: &Arc<dyn Rng>,
    store: &dyn TenantStore,
) -> Result<Vec<VerifyingKey>, StartError> {
    let machine = Machine { clock: Arc::new(SystemClock::new()), rng: Arc::clone(rng) };
    let seal = load_master_key(config, Arc::clone(rng))?;
    let key = load_checkpoint_key(store, &*seal, &machine).await?;
    Ok(vec![key.verifying_key().clone()])
}
