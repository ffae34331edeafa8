//! Which key signs now, and which are published? Birth, rotation with pre-publication, retirement.
//!
//! Trusts the store's record of times. Never holds a private key that the master key did not open, and never signs
//! with one that is not yet published long enough, or revoked.

mod ring;

pub(crate) use ring::Keyring;

use crate::Issuer;
use ring::HeldKey;
use std::sync::Arc;
use trigate_core::{
    Actor, Timestamp,
    jose::{Algorithm, JoseError, SigningKey},
    key::SigningKeyRecord,
    port::StoreError,
};

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("signing key `{0}` in the store does not open: is this the master key that it was sealed under?")]
    Sealed(String),
    #[error("signing key `{0}`: {1}")]
    Key(String, JoseError),
    #[error("no name is left for a signing key born this month")]
    NoName,
    #[error("the key could not be made: {0}")]
    Interrupted(String),
}

/// When a new key begins to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Once every verifier can have it: the rule.
    AfterPublication,
    /// There is no other key, or the other one is revoked.
    Now,
}

/// Loads what the store has; on the first start makes what is missing.
pub(crate) async fn prepare(issuer: &Issuer) -> Result<(), KeysError> {
    reload(issuer).await?;
    for algorithm in algorithms(issuer) {
        if issuer.keyring.load().signer(algorithm, issuer.now()).is_none() {
            birth(issuer, algorithm, Begin::Now, Actor::System).await?;
        }
    }
    Ok(())
}

/// Tokens are signed by the configured algorithm, assertions to upstreams always by EdDSA.
fn algorithms(issuer: &Issuer) -> Vec<Algorithm> {
    let mut algorithms = vec![issuer.config.algorithm, Algorithm::EdDSA];
    algorithms.dedup();
    algorithms
}

impl Issuer {
    /// Publishes a successor to every signing key; it signs after `key_prepublish_s`, and the old key stays published until
    /// its last token has expired. Returns the new `kid`s.
    ///
    /// # Errors
    /// The store's; the old keys then go on.
    pub async fn rotate_keys(&self, actor: Actor) -> Result<Vec<String>, KeysError> {
        self.replace_keys(actor, Begin::AfterPublication).await
    }

    /// As [`Self::rotate_keys`], but the new keys sign at once: for a key that is no longer trusted.
    ///
    /// # Errors
    /// The store's.
    pub async fn replace_keys_now(&self, actor: Actor) -> Result<Vec<String>, KeysError> {
        self.replace_keys(actor, Begin::Now).await
    }

    async fn replace_keys(&self, actor: Actor, begin: Begin) -> Result<Vec<String>, KeysError> {
        reload(self).await?;
        let mut kids = Vec::new();
        for algorithm in algorithms(self) {
            kids.push(birth(self, algorithm, begin, actor.clone()).await?);
        }
        Ok(kids)
    }

    /// Follows what other nodes and operators did, and rotates what is old. For a task that runs each minute.
    ///
    /// # Errors
    /// The store's; the keys in memory then stay as they are.
    pub async fn keys_due(&self) -> Result<(), KeysError> {
        prepare(self).await?;
        let old = self.now().plus_seconds(-i64::from(self.config.key_life_s));
        for algorithm in algorithms(self) {
            let newest = self.keyring.load().newest_birth(algorithm);
            if newest.is_some_and(|born| born <= old) {
                birth(self, algorithm, Begin::AfterPublication, Actor::System).await?;
            }
        }
        Ok(())
    }
}

async fn reload(issuer: &Issuer) -> Result<(), KeysError> {
    let records = issuer.store.list_signing_keys().await?;
    let held = issuer.keyring.load();
    let keys = records.into_iter().map(|record| hold(issuer, &held, record)).collect::<Result<Vec<_>, _>>()?;
    issuer.keyring.store(Arc::new(Keyring::new(keys)));
    Ok(())
}

fn hold(issuer: &Issuer, held: &Keyring, record: SigningKeyRecord) -> Result<HeldKey, KeysError> {
    if let Some(key) = held.key(&record.kid) {
        return Ok(HeldKey { record, key });
    }
    let kid = record.kid.clone();
    let der = issuer
        .seal
        .open(&seal_context(issuer, &kid), &record.sealed_private)
        .map_err(|_| KeysError::Sealed(kid.clone()))?;
    let key = SigningKey::from_pkcs8(record.algorithm, &kid, &der).map_err(|error| KeysError::Key(kid, error))?;
    Ok(HeldKey { record, key: Arc::new(key) })
}

fn seal_context(issuer: &Issuer, kid: &str) -> String {
    format!("signing_key:{}:{kid}", issuer.tenant)
}

/// Two nodes may start at once: the one that loses the name looks again before it makes another key.
async fn birth(issuer: &Issuer, algorithm: Algorithm, begin: Begin, actor: Actor) -> Result<String, KeysError> {
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        let now = issuer.now();
        let kid = issuer.keyring.load().free_kid(now);
        let record = make(issuer, algorithm, &kid, begin, now).await?;
        let retired = retired_at(issuer, record.signs_from);
        let act = issuer.act(actor.clone(), "signing_key.create", &kid).fact("algorithm", algorithm);
        match issuer.store.add_signing_key(act, record, retired).await {
            Ok(committed) => {
                committed.gives_only();
                reload(issuer).await?;
                return Ok(kid);
            }
            Err(StoreError::Conflict(_)) => reload(issuer).await?,
            Err(error) => return Err(error.into()),
        }
        let ring = issuer.keyring.load();
        if let Some(other) = ring.signer(algorithm, now).filter(|_| begin == Begin::Now && actor == Actor::System) {
            return Ok(other.kid().to_owned());
        }
    }
    Err(KeysError::NoName)
}

async fn make(
    issuer: &Issuer,
    algorithm: Algorithm,
    kid: &str,
    begin: Begin,
    now: Timestamp,
) -> Result<SigningKeyRecord, KeysError> {
    let name = kid.to_owned();
    // RSA takes up to a second: not on a thread that serves requests.
    let key = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm, &name))
        .await
        .map_err(|error| KeysError::Interrupted(error.to_string()))?
        .map_err(|error| KeysError::Key(kid.to_owned(), error))?;
    let private = key.to_pkcs8().map_err(|error| KeysError::Key(kid.to_owned(), error))?;
    let signs_from = match begin {
        Begin::Now => now,
        Begin::AfterPublication => now.plus_seconds(i64::from(issuer.config.key_prepublish_s)),
    };
    Ok(SigningKeyRecord {
        kid: kid.to_owned(),
        algorithm,
        public_jwk: key.public_jwk(),
        sealed_private: issuer.seal.seal(&seal_context(issuer, kid), &private),
        created_at: now,
        signs_from,
        signs_until: None,
        published_until: None,
        revoked: false,
    })
}

/// When the last token that an old key signed has expired.
fn retired_at(issuer: &Issuer, stops: Timestamp) -> Timestamp {
    const MARGIN_S: i64 = 120;
    let longest = issuer.config.max_token_life_s.max(issuer.config.id_token_life_s);
    stops.plus_seconds(i64::from(longest) + MARGIN_S)
}
