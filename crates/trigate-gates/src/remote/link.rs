//! How does a gate reach its desk? HTTP/1.1 over connections that are kept, with a key, a deadline and a bound for each
//! answer.
//!
//! Trusts the URL that the operator wrote. Never sends the key over plain HTTP beyond this machine, never follows a
//! redirect.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use trigate_core::{
    desk::PREFIX,
    port::{LookupError, StoreError},
};

/// Why the desk gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("`{0}` is no URL of a desk: {1}")]
    BadUrl(String, &'static str),
    #[error("the gate key is no API key of a Trigate\n  help: make one with `trigate gate-key create NAME`")]
    BadKey,
    #[error("the desk does not answer: {0}")]
    Unreachable(String),
    #[error(
        "the desk refuses this gate ({0})\n  help: is the gate key alive? `trigate key list` on the desk's machine"
    )]
    Refused(StatusCode),
    /// Nothing is wrong with the gate but its place in the feed.
    #[error("{0}")]
    Behind(String),
    #[error("the desk answers in other words: {0}")]
    Unreadable(String),
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Behind(why) => Self::Conflict(why),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<LinkError> for LookupError {
    fn from(error: LinkError) -> Self {
        Self(error.to_string())
    }
}

/// The desk's address, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    tls: bool,
    host: String,
    port: u16,
    /// As the `Host` header says it.
    authority: String,
    /// Path before ours, without a slash at its end.
    prefix: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, LinkError> {
        let bad = |why| LinkError::BadUrl(url.split(['?', '#', '@']).next().unwrap_or_default().to_owned(), why);
        let uri: http::Uri = url.parse().map_err(|_| bad("it cannot be read"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it does not begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(bad("it has a user, a password or a query"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        // SECURITY: the key and every change would be there for whoever listens.
        if !tls && host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            return Err(bad("plain http is for this machine alone: use https"));
        }
        if tls && !cfg!(feature = "remote-tls") {
            return Err(bad("https needs the feature `remote-tls` of trigate-gates"));
        }
        Ok(Self {
            tls,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            host,
        })
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// The way to one desk.
pub(super) struct Link {
    target: Target,
    key: HeaderValue,
    /// Open connections without a request.
    idle: Mutex<Vec<Sender>>,
    #[cfg(feature = "remote-tls")]
    tls: tokio_rustls::TlsConnector,
}

const CONNECT: Duration = Duration::from_secs(5);
/// Connections that are kept: the feed's, the lease's, some look-ups.
const MAX_IDLE: usize = 16;
/// The longest answer that is read whole: a thousand changes.
const MAX_ANSWER: usize = 64 << 20;

impl Link {
    pub fn new(url: &str, key: &str) -> Result<Self, LinkError> {
        trigate_core::credential::ApiKey::parse(key).ok_or(LinkError::BadKey)?;
        let mut key = HeaderValue::from_str(key).map_err(|_| LinkError::BadKey)?;
        key.set_sensitive(true);
        Ok(Self {
            target: Target::parse(url)?,
            key,
            idle: Mutex::default(),
            #[cfg(feature = "remote-tls")]
            tls: connector()?,
        })
    }

    /// Asks for `path`, with `body` as JSON where there is one, and reads the whole answer as JSON.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
        patience: Duration,
    ) -> Result<T, LinkError> {
        let body =
            body.map(serde_json::to_vec).transpose().map_err(|error| LinkError::Unreadable(error.to_string()))?;
        let (status, bytes) = timeout(patience, Box::pin(self.exchange(path, body.map(Bytes::from))))
            .await
            .map_err(|_| LinkError::Unreachable(format!("nothing came in {} ms", patience.as_millis())))??;
        match status {
            StatusCode::OK => serde_json::from_slice(&bytes).map_err(|error| LinkError::Unreadable(error.to_string())),
            other => Err(refused(other, &bytes)),
        }
    }

    /// Asks for `path` and hands over the answer's bytes as they come. `patience` is for each part.
    pub async fn stream(
        &self,
        path: &str,
        patience: Duration,
        mut take: impl FnMut(&[u8]) -> Result<(), LinkError> + Send,
    ) -> Result<(), LinkError> {
        let late = |_| LinkError::Unreachable("the answer stopped half-way".to_owned());
        let mut sender = self.connect().await?;
        let answer = sender.send_request(self.request(path, None)?);
        let answer = timeout(patience, answer).await.map_err(late)?.map_err(broken)?;
        let status = answer.status();
        let mut body = answer.into_body();
        if status != StatusCode::OK {
            return Err(refused(status, &[]));
        }
        while let Some(frame) = timeout(patience, body.frame()).await.map_err(late)? {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                take(&data)?;
            }
        }
        Ok(())
    }

    async fn exchange(&self, path: &str, body: Option<Bytes>) -> Result<(StatusCode, Vec<u8>), LinkError> {
        // A connection that the desk has closed meanwhile shows only when it is used: then a new one is made. Nothing that
        // is asked here does harm when asked twice.
        while let Some(mut sender) = self.take_idle() {
            if let Ok(answer) = sender.send_request(self.request(path, body.clone())?).await {
                return self.read(sender, answer).await;
            }
        }
        let mut sender = self.connect().await?;
        let answer = sender.send_request(self.request(path, body)?).await.map_err(broken)?;
        self.read(sender, answer).await
    }

    async fn read(&self, sender: Sender, answer: http::Response<Incoming>) -> Result<(StatusCode, Vec<u8>), LinkError> {
        let status = answer.status();
        let mut body = answer.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if bytes.len() + data.len() > MAX_ANSWER {
                return Err(LinkError::Unreadable("the answer is too long".to_owned()));
            }
            bytes.extend_from_slice(&data);
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(sender);
        }
        Ok((status, bytes))
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn request(&self, path: &str, body: Option<Bytes>) -> Result<Request<Full<Bytes>>, LinkError> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{PREFIX}{path}", self.target.prefix))
            .header(header::HOST, &self.target.authority)
            .header(header::USER_AGENT, concat!("trigate-gate/", env!("CARGO_PKG_VERSION")))
            .header("x-api-key", self.key.clone());
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body.unwrap_or_default())).map_err(|error| LinkError::Unreadable(error.to_string()))
    }

    async fn connect(&self) -> Result<Sender, LinkError> {
        let connecting = async {
            let address = (self.target.host.as_str(), self.target.port);
            let stream =
                TcpStream::connect(address).await.map_err(|error| LinkError::Unreachable(error.to_string()))?;
            let _ = stream.set_nodelay(true);
            if self.target.tls { self.secure(stream).await } else { shake_hands(stream).await }
        };
        let late = |_| LinkError::Unreachable("no connection in time".to_owned());
        timeout(CONNECT, Box::pin(connecting)).await.map_err(late)?
    }

    #[cfg(feature = "remote-tls")]
    async fn secure(&self, stream: TcpStream) -> Result<Sender, LinkError> {
        let unreachable = |error: String| LinkError::Unreachable(format!("TLS: {error}"));
        let name = rustls::pki_types::ServerName::try_from(self.target.host.clone())
            .map_err(|error| unreachable(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| unreachable(error.to_string()))?;
        shake_hands(stream).await
    }

    #[cfg(not(feature = "remote-tls"))]
    #[allow(clippy::unused_async, reason = "the same form as with TLS")]
    async fn secure(&self, _: TcpStream) -> Result<Sender, LinkError> {
        Err(LinkError::Unreachable("https needs the feature `remote-tls`".to_owned()))
    }
}

async fn shake_hands(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Sender, LinkError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with its sender, or with the other side.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn broken(error: hyper::Error) -> LinkError {
    LinkError::Unreachable(error.to_string())
}

fn refused(status: StatusCode, body: &[u8]) -> LinkError {
    match status {
        StatusCode::CONFLICT => {
            let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let why = problem.get("detail").and_then(serde_json::Value::as_str).unwrap_or("the gate is behind");
            LinkError::Behind(why.to_owned())
        }
        other if other.is_server_error() => LinkError::Unreachable(format!("it answered {}", other.as_u16())),
        other => LinkError::Refused(other),
    }
}

#[cfg(feature = "remote-tls")]
fn connector() -> Result<tokio_rustls::TlsConnector, LinkError> {
    let mut roots = rustls::RootCertStore::empty();
    let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LinkError::Unreachable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_key_never_leaves_this_machine_in_the_open() {
        for (url, good) in [
            ("http://127.0.0.1:8082", true),
            ("http://localhost:8082/", true),
            ("http://[::1]:8082", true),
            ("http://desk.example", false),
            ("http://127.0.0.1.example", false),
            ("http://0.0.0.0:1", false),
            ("https://desk.example/trigate/", cfg!(feature = "remote-tls")),
            ("https://user@desk.example", false),
            ("https://desk.example/?a=b", false),
            ("ftp://localhost", false),
            ("localhost:8082", false),
            ("", false),
        ] {
            assert_eq!(Target::parse(url).is_ok(), good, "{url}");
        }
        let target = Target::parse("http://[::1]:8082/a/").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.prefix.as_str()), ("::1", 8082, "/a"));
    }
}
