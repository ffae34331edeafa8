//! How does a Rust service put the gates before its own handlers? A tower layer: it judges each request, answers for those
//! that may not go on, and tells the handler who the others are from.
//!
//! Trusts its embedder for the peer's address and the client's certificate, and nothing in the request. Never lets a
//! request on without a [`Permit`] in its extensions.

use crate::{
    ClientCertificate, Gates, Permit, Refusal, Request, Rules,
    authority::{Authority, BadAuthority},
};
use http::{Extensions, HeaderValue, Response, StatusCode, header};
use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower::{Layer, Service};

/// The other end of a request's connection, put into its extensions by whoever accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

/// The request came over TLS: put into its extensions by whoever accepted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverTls;

/// Finds the other end of a connection in a request's extensions.
pub type FindPeer = Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;

/// Puts the gates before a service.
#[derive(Clone)]
pub struct GateLayer {
    gates: Arc<Gates>,
    rules: Arc<Rules>,
    find_peer: FindPeer,
}

impl GateLayer {
    /// The peer's address comes from [`PeerAddress`] or a plain [`SocketAddr`] among a request's extensions.
    pub fn new(gates: Arc<Gates>, rules: Arc<Rules>) -> Self {
        let find_peer = |extensions: &Extensions| {
            let socket = || extensions.get::<SocketAddr>().map(SocketAddr::ip);
            extensions.get::<PeerAddress>().map(|peer| peer.0).or_else(socket)
        };
        Self { gates, rules, find_peer: Arc::new(find_peer) }
    }

    /// Where the peer's address is to be found, for servers that have a word of their own for it.
    #[must_use]
    pub fn peer(mut self, find: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.find_peer = Arc::new(find);
        self
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService { gate: self.clone(), inner }
    }
}

/// A service behind the gates.
#[derive(Clone)]
pub struct GateService<S> {
    gate: GateLayer,
    inner: S,
}

type Answering<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

impl<S, B, R> Service<http::Request<B>> for GateService<S>
where
    S: Service<http::Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Vec<u8>> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answering<Response<R>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let gate = self.gate.clone();
        // The one that was made ready is taken; its copy stays.
        let copy = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, copy);
        Box::pin(async move {
            let Some(peer) = (gate.find_peer)(request.extensions()) else { return Ok(unknown_peer()) };
            // SECURITY: one reading of the host in every form of the gate, or routes of a host could be walked around (G09).
            let Authority { host, port } = match Authority::of(request.uri(), request.headers()) {
                Ok(authority) => authority,
                Err(bad) => return Ok(bad_host(bad)),
            };
            let permit = {
                let secure = request.extensions().get::<OverTls>().is_some();
                let certificate = request.extensions().get::<ClientCertificate>().cloned();
                let (method, uri, headers) =
                    (request.method().clone(), request.uri().clone(), request.headers().clone());
                let asked = Request {
                    tenant: &gate.rules.tenant,
                    method: &method,
                    host: &host,
                    port,
                    secure,
                    path: uri.path(),
                    query: uri.query(),
                    headers: &headers,
                    peer,
                    certificate: certificate.as_ref(),
                };
                match gate.gates.admit(&gate.rules, asked).await {
                    Ok(permit) => permit,
                    Err(refusal) => return Ok(refused(&refusal)),
                }
            };
            let limits = permit.limit_headers();
            tell(&mut request, permit);
            let mut response = inner.call(request).await?;
            response.headers_mut().extend(limits);
            Ok(response)
        })
    }
}

/// What the handler gets: the permit and the caller among the extensions, the path in its one normal form, the headers
/// without credentials (unless the route passes them on) and without anything that pretends to come from us.
fn tell<B>(request: &mut http::Request<B>, permit: Permit) {
    let headers = permit.forwarded_headers(request.headers(), None);
    *request.headers_mut() = headers;
    // SECURITY: what was judged is what the handler's router reads.
    let mut target = permit.path().as_str().to_owned();
    if let Some(query) = request.uri().query() {
        target.push('?');
        target.push_str(query);
    }
    if let Ok(uri) = target.parse() {
        *request.uri_mut() = uri;
    }
    if let Some(caller) = permit.caller() {
        request.extensions_mut().insert(caller);
    }
    request.extensions_mut().insert(Arc::new(permit));
}

fn refused<R: From<Vec<u8>>>(refusal: &Refusal) -> Response<R> {
    let mut response = Response::new(R::from(refusal.body().to_vec()));
    *response.status_mut() = refusal.status();
    *response.headers_mut() = refusal.headers().clone();
    response
}

/// SECURITY: without the peer's address there is no limit by address, and no network that a key could be bound to.
fn unknown_peer<R: From<Vec<u8>>>() -> Response<R> {
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the service does not tell its gates the peer's address\n")
}

fn bad_host<R: From<Vec<u8>>>(bad: BadAuthority) -> Response<R> {
    plain(StatusCode::BAD_REQUEST, &format!("{bad}\n"))
}

fn plain<R: From<Vec<u8>>>(status: StatusCode, text: &str) -> Response<R> {
    let mut response = Response::new(R::from(text.as_bytes().to_vec()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
