//! What does every endpoint share? One `Issuer` per tenant: its ports, its settings, its keys in memory.

use crate::{
    config::{BadConfig, IssuerConfig},
    guesses::Guesses,
    keys::{self, Keyring, KeysError},
};
use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fmt, sync::Arc};
use subtle::ConstantTimeEq;
use trigate_core::{
    Act, Actor, Timestamp,
    credential::ChecksumKey,
    id::TenantId,
    port::{Clock, Hasher, Propagation, Rng, Seal, StoreError, TenantStore},
    proof::Nonces,
};
use zeroize::Zeroizing;

/// What an issuer is built from.
pub struct IssuerParts {
    pub tenant: TenantId,
    pub store: Arc<dyn TenantStore>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub seal: Arc<dyn Seal>,
    pub hasher: Arc<dyn Hasher>,
    pub propagation: Arc<dyn Propagation>,
    pub config: IssuerConfig,
}

/// The authorization server of one tenant. Shared by all its endpoints; cheap to call, `Send + Sync`.
pub struct Issuer {
    pub(crate) tenant: TenantId,
    pub(crate) store: Arc<dyn TenantStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) seal: Arc<dyn Seal>,
    pub(crate) hasher: Arc<dyn Hasher>,
    pub(crate) propagation: Arc<dyn Propagation>,
    pub(crate) config: IssuerConfig,
    pub(crate) keyring: ArcSwap<Keyring>,
    pub(crate) guesses: Guesses,
    /// Scheme, host and port of the issuer.
    pub(crate) origin: String,
    /// Every node of this tenant makes and takes the same.
    pub(crate) nonces: Nonces,
    checksum: ChecksumKey,
    forms: hmac::Key,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the secret `{0}` in the store does not open: is this the master key that it was sealed under?")]
    Sealed(&'static str),
}

impl Issuer {
    /// Loads this tenant's keys, or makes them on the first start.
    ///
    /// # Errors
    /// An unsafe configuration, a store that does not answer, a master key that does not fit.
    pub async fn start(parts: IssuerParts) -> Result<Arc<Self>, StartError> {
        parts.config.check()?;
        let origin = parts.config.origin()?;
        let checksum = ChecksumKey::from_bytes(&load_secret(&parts, "opaque_checksum").await?);
        let forms = hmac::Key::new(hmac::HMAC_SHA256, &load_secret(&parts, "csrf").await?);
        let nonces = Nonces::from_key(&load_secret(&parts, "dpop_nonce").await?);
        let issuer = Arc::new(Self {
            tenant: parts.tenant,
            store: parts.store,
            clock: parts.clock,
            rng: parts.rng,
            seal: parts.seal,
            hasher: parts.hasher,
            propagation: parts.propagation,
            keyring: ArcSwap::from_pointee(Keyring::default()),
            guesses: Guesses::new(parts.config.wrong_guesses),
            config: parts.config,
            origin,
            nonces,
            checksum,
            forms,
        });
        keys::prepare(&issuer).await?;
        Ok(issuer)
    }

    pub fn config(&self) -> &IssuerConfig {
        &self.config
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The key behind the checksum of opaque tokens, for the gates.
    pub fn checksum_key(&self) -> &ChecksumKey {
        &self.checksum
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn act(&self, actor: Actor, verb: &str, target: impl fmt::Display) -> Act {
        Act::new(&*self.clock, &*self.rng, actor, verb, &target.to_string())
    }

    /// Signs `parts` for `purpose`, so that what a page carries away comes back unchanged or not at all.
    pub(crate) fn mac(&self, purpose: &str, parts: &[&str]) -> String {
        let mut context = hmac::Context::with_key(&self.forms);
        for part in std::iter::once(&purpose).chain(parts) {
            // Lengths first: ("ab","c") and ("a","bc") must not meet.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(context.sign().as_ref())
    }

    /// SECURITY: constant time.
    pub(crate) fn check_mac(&self, presented: &str, purpose: &str, parts: &[&str]) -> bool {
        self.mac(purpose, parts).as_bytes().ct_eq(presented.as_bytes()).into()
    }

    /// When no access token minted until now can be alive any more: how long gates remember a revocation.
    pub(crate) fn no_token_alive_at(&self) -> Timestamp {
        /// Seconds for clocks that differ, beyond any verifier's leeway.
        const MARGIN_S: i64 = 120;
        self.now().plus_seconds(i64::from(self.config.max_token_life_s) + MARGIN_S)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.config.issuer)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// 32 random bytes that every node of this tenant shares, sealed in the store.
async fn load_secret(parts: &IssuerParts, name: &'static str) -> Result<Zeroizing<Vec<u8>>, StartError> {
    let mut fresh = Zeroizing::new([0; 32]);
    parts.rng.fill(&mut *fresh);
    let context = format!("secret:{}:{name}", parts.tenant);
    let act = Act::new(&*parts.clock, &*parts.rng, Actor::System, "secret.create", name);
    let stored = parts.store.load_or_create_secret(act, name, parts.seal.seal(&context, &*fresh)).await?;
    parts.seal.open(&context, &stored.gives_only()).map_err(|_| StartError::Sealed(name))
}
