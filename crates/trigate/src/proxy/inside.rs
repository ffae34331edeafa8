//! How are the desk and the issuer reached? Their routers run on the desk's runtime; what needs a caller passes the same
//! gates as every API, and gets a plain `Caller` instead of a credential.

use super::{
    certificate::{ClientCertificates, Shown},
    handed::{give, handed},
    road::gates_request,
};
use crate::{
    edge::{Connection, Handler, Incoming, Recorder, head},
    gate_api::GateCaller,
    metrics::Metrics,
};
use arc_swap::ArcSwap;
use axum::{Router, body::Body};
use http::{HeaderValue, Request, Response, StatusCode, header};
use std::{rc::Rc, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_local},
};
use tower::ServiceExt as _;
use trigate_core::{audit::Outcome, port::Clock};
use trigate_gates::{Gates, Refusal, RouteKind, Rules};

/// Which paths of a listener need a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// All but these exact ones.
    AllBut(&'static [&'static str]),
    /// These exact ones.
    Only(&'static [&'static str]),
}

impl Guarded {
    fn guards(self, path: &str) -> bool {
        match self {
            Self::AllBut(open) => !open.contains(&path),
            Self::Only(closed) => closed.contains(&path),
        }
    }
}

/// Verbs on the same listener that judge by rules of their own: no plan and no address limit slows a gate.
pub struct SideDoor {
    /// Every path below is theirs.
    pub prefix: &'static str,
    pub gates: Arc<Gates>,
    pub rules: Arc<ArcSwap<Rules>>,
}

/// A listener whose answers are our own.
pub struct Inside {
    pub gates: Arc<Gates>,
    pub rules: Arc<ArcSwap<Rules>>,
    pub guarded: Guarded,
    pub side: Option<SideDoor>,
    /// Where client certificates are taken.
    pub certificates: Option<ClientCertificates>,
    pub clock: Arc<dyn Clock>,
    /// For requests that the gates let in: with a `Caller` among the extensions.
    pub closed: Router,
    /// For the rest: with a `Peer`.
    pub open: Router,
    pub desk: Handle,
    pub recorder: Rc<Recorder>,
    pub metrics: Arc<Metrics>,
}

/// No answer of ours takes longer; a body that comes slower than that is none.
const LONGEST: Duration = Duration::from_secs(120);

impl Handler for Inside {
    type Body = Body;

    async fn handle(self: Rc<Self>, request: Request<Incoming>, connection: Rc<Connection>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let trigate_gates::authority::Authority { host, port } = match head::check(&head) {
            Ok(authority) => authority,
            Err(bad) => {
                self.recorder.refused(connection.peer.ip(), bad.code, bad.detail);
                return own(bad.status);
            }
        };
        let (gates, rules) = self.judges(head.uri.path());
        let shown = self.shown(&head.headers, &host, &connection);
        let mut extra = http::HeaderMap::new();
        let (mut caller, mut gate) = (None, None);
        let guarded = self.guarded.guards(head.uri.path());
        if guarded {
            match gates.admit(&rules, gates_request(&rules, &head, (&host, port), &connection, shown.as_ref())).await {
                Ok(permit) => {
                    self.metrics.passage(&permit.route().name, Outcome::Allowed, None);
                    extra = permit.limit_headers();
                    caller = permit.caller();
                    gate = gate_caller(&permit);
                }
                Err(refusal) => return self.refuse(&refusal),
            }
        }
        let (body, _pump) = sendable(body);
        let mut request = Request::from_parts(head, body);
        let peer = trigate_gates::client_address(connection.peer.ip(), request.headers(), &rules.trusted_proxies);
        request.extensions_mut().insert(trigate_issuer::Peer(peer));
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        if let Some(gate) = gate {
            request.extensions_mut().insert(gate);
        }
        if let Some(shown) = shown {
            // SECURITY: the desk's own word, which holds when a revocation is answered.
            let revoked = self.gates.known().check_certificate(&shown.certificate).is_err();
            let certificate = shown.certificate;
            request.extensions_mut().insert(trigate_issuer::PresentedCertificate { certificate, revoked });
        }
        let router = if guarded { self.closed.clone() } else { self.open.clone() };
        // A task of its own: a client that goes away does not stop a change half-way.
        let answering = self.desk.spawn(async move { router.oneshot(request).await });
        let mut response = match tokio::time::timeout(LONGEST, answering).await {
            Ok(Ok(Ok(response))) => response,
            Ok(_) => own(StatusCode::INTERNAL_SERVER_ERROR),
            Err(_) => own(StatusCode::REQUEST_TIMEOUT),
        };
        response.headers_mut().extend(extra);
        response
    }
}

/// The body for another thread. A body of HTTP/1.1 is read from the connection on this one: the pump stops with the guard.
fn sendable(body: Incoming) -> (Body, Option<Pump>) {
    match body {
        Incoming::None => (Body::empty(), None),
        Incoming::Http2(body) => (Body::new(body), None),
        Incoming::Http1(_) => {
            let (giver, body_there) = handed();
            (Body::new(body_there), Some(Pump(spawn_local(give(body, giver)))))
        }
    }
}

/// Reads until it is dropped: nobody reads a request after it was answered.
struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The key of a gate that asks what gates may ask.
fn gate_caller(permit: &trigate_gates::Permit) -> Option<GateCaller> {
    let key = permit.facts().key.clone().filter(|_| permit.route().kind == RouteKind::GateApi)?;
    Some(GateCaller { key, address: permit.client_address(), request: permit.request_id().clone() })
}

impl Inside {
    fn judges(&self, path: &str) -> (&Gates, Arc<Rules>) {
        match &self.side {
            Some(side) if path.starts_with(side.prefix) => (&side.gates, side.rules.load_full()),
            _ => (&self.gates, self.rules.load_full()),
        }
    }

    fn shown(&self, headers: &http::HeaderMap, host: &str, connection: &Connection) -> Option<Shown> {
        self.certificates.as_ref()?.of(headers, host, connection, self.gates.known(), self.clock.now())
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        self.metrics.passage("desk", Outcome::Refused, Some(refusal.reason().code()));
        let mut response = Response::new(Body::from(refusal.body().to_vec()));
        *response.status_mut() = refusal.status();
        *response.headers_mut() = refusal.headers().clone();
        response
    }
}

fn own(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
