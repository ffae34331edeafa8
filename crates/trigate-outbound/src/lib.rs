//! How does Trigate fetch what others publish (key sets, metadata, introspection) without being led inward?
//!
//! Trusts the configuration's list of networks and roots. Never trusts a URL, whoever wrote it: a name is resolved
//! once, each of its addresses is judged, and the connection goes to the address that was judged, so that a second
//! answer of the name server changes nothing. Never follows a redirect, never uses a proxy of the environment, never
//! reads more or longer than it was told.

mod address;
mod exchange;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use async_trait::async_trait;
use exchange::Call;
use ipnet::IpNet;
use std::{sync::Arc, time::Duration};
use target::Target;
use tokio::time::timeout;
use trigate_core::port::{Fetch, FetchError, Fetched};

/// Whom to trust as a server.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The roots of the operating system.
    #[default]
    Native,
    /// Certificates in PEM, and no others.
    Pem(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct OutboundSettings {
    /// Networks that may be called although they are not of the public Internet.
    pub allow_networks: Vec<IpNet>,
    /// For one call from resolving to the last byte, in milliseconds.
    pub timeout_ms: u64,
    pub roots: Roots,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self { allow_networks: Vec::new(), timeout_ms: 5_000, roots: Roots::Native }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("the roots are not PEM certificates: {0}")]
    Roots(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The guarded HTTP client. Cheap to clone; works inside any tokio runtime with time and network.
#[derive(Clone)]
pub struct Outbound {
    allowed: Arc<[IpNet]>,
    timeout: Duration,
    tls: tls::Connector,
}

impl Outbound {
    /// # Errors
    /// When the roots given are no certificates.
    pub fn new(settings: OutboundSettings) -> Result<Self, OutboundError> {
        Ok(Self {
            allowed: settings.allow_networks.into(),
            timeout: Duration::from_millis(settings.timeout_ms),
            tls: tls::Connector::new(&settings.roots)?,
        })
    }

    /// POST of JSON with a bearer token, for polling (RFC 8936).
    ///
    /// # Errors
    /// As every call.
    pub async fn post_json(
        &self,
        url: &str,
        body: String,
        bearer: &str,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        self.call(url, Call::json(body, bearer), max_bytes).await
    }

    /// POST of a text that proves itself, such as a signed event (RFC 8935).
    ///
    /// # Errors
    /// As every call.
    pub async fn post(
        &self,
        url: &str,
        kind: &'static str,
        body: String,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        self.call(url, Call::Post { body, kind, authorization: None }, max_bytes).await
    }

    async fn call(&self, url: &str, call: Call, max_bytes: usize) -> Result<Fetched, FetchError> {
        let target = Target::parse(url)?;
        let run = async {
            let addresses = target.resolve(&self.allowed).await?;
            let stream = target.connect(&addresses, self.timeout).await?;
            if target.is_plain() {
                exchange::run(stream, &target, call, max_bytes).await
            } else {
                let stream = self.tls.connect(&target, stream).await?;
                exchange::run(stream, &target, call, max_bytes).await
            }
        };
        let late = |_| target.failed(format!("it took longer than {} ms", self.timeout.as_millis()));
        timeout(self.timeout, Box::pin(run)).await.map_err(late)?
    }
}

#[async_trait]
impl Fetch for Outbound {
    async fn get(&self, url: &str, max_bytes: usize) -> Result<Fetched, FetchError> {
        self.call(url, Call::Get, max_bytes).await
    }

    async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        self.call(url, Call::form(form, basic), max_bytes).await
    }
}
