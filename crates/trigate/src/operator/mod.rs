//! What can operators do? Every verb of the desk as a plain function, free of HTTP and terminal.
//!
//! Trusts that the caller has been let in (by the gates, or by the lock of the data folder). Never answers for a
//! revocation or a narrowing before it holds everywhere.

pub mod app;
pub mod audit;
pub mod backup;
pub mod barrier;
pub mod cert;
pub mod client;
mod client_certificate;
mod error;
pub mod explain;
pub mod folder;
pub mod gate;
pub mod key;
pub mod keys;
pub mod leak;
pub mod revoke;
pub mod role;
pub mod signal;
pub mod user;
pub mod verify;

pub use error::OperatorError;

use folder::DataFolder;
use std::{net::IpAddr, sync::Arc};
use trigate_core::{
    Act, Actor, Timestamp,
    id::{RequestId, TenantId},
    jose::VerifyingKey,
    port::{Clock, Committed, Hasher, Propagation, Rng, SystemStore, TenantStore},
};

/// The scope of the desk's API, and the role that its callers need beside it.
pub const SCOPE: &str = "trigate:operate";
pub const ROLE: &str = "operator";

pub type Answer<T> = Result<T, OperatorError>;

/// Everything that the verbs need.
pub struct OperatorParts {
    pub tenant: TenantId,
    pub store: Arc<dyn TenantStore>,
    pub system: Arc<dyn SystemStore>,
    pub propagation: Arc<dyn Propagation>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub hasher: Arc<dyn Hasher>,
    pub folder: DataFolder,
    pub issuer_url: String,
    /// What tokens are for when a client names nothing else.
    pub default_audience: String,
    /// Names of the plans that the configuration in force defines.
    pub plans: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// URLs of the other issuers that the configuration in force trusts.
    pub trusted_issuers: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Client certificates reach the issuer.
    pub takes_certificates: bool,
    /// Every key that ever signed checkpoints of the audit segments.
    pub checkpoint_keys: Vec<VerifyingKey>,
    /// Absent where no issuer runs.
    pub rotation: Option<Arc<dyn keys::KeyRotation>>,
    /// Absent where no gate runs.
    pub explainer: Option<Arc<dyn explain::Explainer>>,
}

/// The desk's verbs. One file per noun adds its own.
pub struct Operator {
    parts: OperatorParts,
}

/// Who asks, from where and why: part of every act.
#[derive(Clone, Debug)]
pub struct By {
    pub actor: Actor,
    pub address: Option<IpAddr>,
    pub request: Option<RequestId>,
    pub reason: Option<String>,
}

impl By {
    /// Somebody at the machine itself, who holds the lock of the data folder.
    pub fn local() -> Self {
        Self { actor: Actor::Operator { name: "local".to_owned() }, address: None, request: None, reason: None }
    }

    /// Trigate itself: first start, demonstrations.
    pub fn system() -> Self {
        Self { actor: Actor::System, address: None, request: None, reason: None }
    }
}

impl Operator {
    pub fn new(parts: OperatorParts) -> Arc<Self> {
        Arc::new(Self { parts })
    }

    pub fn folder(&self) -> &DataFolder {
        &self.parts.folder
    }

    /// Writes down what was done without changing anything here (a restore, a first start).
    pub async fn note(&self, by: &By, verb: &str, target: &str) -> Answer<()> {
        let act = self.act(by, verb, target);
        self.store().record_act(act).await?.gives_only();
        Ok(())
    }

    fn store(&self) -> &dyn TenantStore {
        self.parts.store.as_ref()
    }

    fn rng(&self) -> &dyn Rng {
        self.parts.rng.as_ref()
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn act(&self, by: &By, verb: &str, target: &str) -> Act {
        let mut act = Act::new(self.parts.clock.as_ref(), self.rng(), by.actor.clone(), verb, target);
        act.reason.clone_from(&by.reason);
        act.address = by.address.map(|address| address.to_string());
        act.request.clone_from(&by.request);
        act
    }

    /// INVARIANT: whatever takes something away is answered through here.
    async fn everywhere<T>(&self, committed: Committed<T>) -> Answer<T> {
        Ok(committed.everywhere(self.parts.propagation.as_ref()).await?)
    }
}

/// File work, off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Answer<T> + Send + 'static) -> Answer<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| OperatorError::broken(error.to_string(), "see the server's log"))?
}

/// A time for people and machines: RFC 3339 with `Z`.
fn when(at: Timestamp) -> String {
    at.rfc3339()
}

/// Reads a time in RFC 3339, a date (its first moment in UTC), or a span from now such as `30d`, `12h`, `15m`, `45s`.
/// A span lies in the future when `sign` is 1 and in the past when it is -1.
pub fn parse_time(text: &str, now: Timestamp, sign: i64) -> Answer<Timestamp> {
    let span = || {
        let (count, unit_s) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
            Some(count) => (
                count,
                match text.as_bytes().last() {
                    Some(b'm') => 60,
                    Some(b'h') => 3_600,
                    Some(b'd') => 86_400,
                    _ => 1,
                },
            ),
            None => return None,
        };
        let seconds = count.parse::<u32>().ok().and_then(|count| i64::from(count).checked_mul(unit_s))?;
        Some(now.plus_seconds(sign * seconds))
    };
    Timestamp::parse_rfc3339(text)
        .or_else(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")))
        .or_else(span)
        .ok_or_else(|| {
            OperatorError::invalid(
                format!("`{text}` is no time"),
                "write 2027-01-31, 2027-01-31T12:00:00Z, or a span such as 90d, 12h, 30m",
            )
        })
}

#[cfg(test)]
mod tests;
