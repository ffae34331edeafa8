//! How does the command line speak to the desk and to the issuer? One request per connection, no redirects, bounded.
//!
//! SECURITY: sends credentials only where the operator's own file, option or the issuer's metadata points, and never in
//! a URL; plain http only to this machine.

use super::failure::Failure;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};

/// Bytes of an answer: ten thousand decisions.
const MAX_ANSWER: usize = 64 << 20;
const CONNECT_S: u64 = 5;
/// A revocation may wait for a lease to run out; a backup takes as long as it takes.
const ANSWER_S: u64 = 600;

pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

pub enum Content<'a> {
    None,
    Json(&'a Value),
    Form(&'a [(&'a str, &'a str)]),
}

/// Sends one request and reads the whole answer.
pub async fn send(method: Method, url: &Url, bearer: Option<&str>, content: Content<'_>) -> Result<Reply, Failure> {
    check_destination(url)?;
    let host = url.host_str().ok_or_else(|| Failure::plain(format!("`{url}` names no host")))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let address = (host.trim_matches(['[', ']']), port);
    let unreachable = |why: String| {
        Failure::new(
            format!("`{}` does not answer: {why}", url.origin().ascii_serialization()),
            "start the server with `trigate serve`, or name another desk with --desk; when its ports were changed in \
             trigate.toml, stop it and run `trigate init --operator`",
        )
    };
    let stream = timeout(Duration::from_secs(CONNECT_S), TcpStream::connect(address))
        .await
        .map_err(|_| unreachable("no connection in 5 seconds".into()))?
        .map_err(|error| unreachable(error.to_string()))?;
    let request = build(method, url, bearer, content)?;
    if url.scheme() == "https" {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable(error.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(tls()?);
        let stream = connector.connect(name, stream).await.map_err(|error| unreachable(error.to_string()))?;
        exchange(stream, request).await.map_err(unreachable)
    } else {
        exchange(stream, request).await.map_err(unreachable)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Reply, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = timeout(Duration::from_secs(ANSWER_S), async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
        Ok(Reply { status, body: body.to_bytes() })
    })
    .await
    .map_err(|_| "no answer in 10 minutes".to_owned())?;
    driver.abort();
    answer
}

fn build(
    method: Method,
    url: &Url,
    bearer: Option<&str>,
    content: Content<'_>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let target = url
        .as_str()
        .split_once("://")
        .map_or("", |(_, rest)| rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or("/")));
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let mut request = Request::builder().method(method).uri(target).header(header::HOST, authority);
    request = request
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("trigate/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match content {
        Content::None => Bytes::new(),
        Content::Json(value) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::from(value.to_string())
        }
        Content::Form(pairs) => {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            Bytes::from(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
        }
    };
    request.body(Full::new(body)).map_err(Failure::plain)
}

/// SECURITY: a token over plain http belongs to everybody on the way.
fn check_destination(url: &Url) -> Result<(), Failure> {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        _ => Err(Failure::usage(format!("`{url}` would carry credentials in the clear"), "use https, or localhost")),
    }
}

fn tls() -> Result<Arc<rustls::ClientConfig>, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::plain)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
