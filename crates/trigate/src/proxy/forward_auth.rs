//! May this request pass, asks a proxy that carries it itself? nginx, Caddy, Traefik and Envoy tell the request; the
//! gates judge it as if it had come to them, and the record is the same.
//!
//! Trusts the configured proxies' word about a request, and reads nothing from anybody else (G10). Never carries one.

mod certificate;
mod original;

use super::{ClientCertificates, RoadConfig, RoadParts, ext_authz};
use crate::config::CertificateTeller;
use crate::edge::{Connection, Handler, Incoming, Recorder};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use trigate_core::{audit::Outcome, port::Monotonic, reason::Reason};
use trigate_gates::{Permit, Refusal, RouteKind, fold_address};

pub(super) use certificate::Wording;
pub(super) use original::{Original, Untold, from_envoy};

/// The listener of the proxies, on one core.
pub struct ForwardAuth {
    parts: RoadParts,
    recorder: Rc<Recorder>,
    certificates: ClientCertificates,
}

/// Who asks in which words; the proxy's configuration chooses by the path, a client of the proxy never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door<'a> {
    Nginx,
    Caddy,
    Traefik,
    /// Envoy's HTTP service, with the original target.
    EnvoyHttp(&'a str),
    EnvoyGrpc,
}

impl<'a> Door<'a> {
    /// SECURITY: whose word about certificates is taken; from the others, a header is the client's own (M10).
    fn teller(self, config: &RoadConfig) -> Option<CertificateTeller> {
        let teller = match self {
            Self::Nginx => CertificateTeller::Nginx,
            Self::Caddy => CertificateTeller::Caddy,
            Self::EnvoyHttp(_) | Self::EnvoyGrpc => CertificateTeller::Envoy,
            Self::Traefik => return None,
        };
        config.certificates_from.contains(&teller).then_some(teller)
    }

    /// The query is not read: Caddy leaves the original's on.
    fn of(target: &'a str) -> Option<Self> {
        match target.split('?').next().unwrap_or_default() {
            "/forward-auth/nginx" => Some(Self::Nginx),
            "/forward-auth/caddy" => Some(Self::Caddy),
            "/forward-auth/traefik" => Some(Self::Traefik),
            ext_authz::CHECK => Some(Self::EnvoyGrpc),
            _ => target.strip_prefix("/forward-auth/envoy").map(Self::EnvoyHttp),
        }
    }
}

impl ForwardAuth {
    pub fn new(parts: RoadParts, recorder: Rc<Recorder>) -> Rc<Self> {
        let certificates = ClientCertificates::new(Arc::clone(&parts.trust));
        Rc::new(Self { parts, recorder, certificates })
    }
}

impl Handler for ForwardAuth {
    type Body = Told;

    async fn handle(self: Rc<Self>, request: Request<Incoming>, connection: Rc<Connection>) -> Response<Told> {
        let config = self.parts.current.load_full();
        let peer = connection.peer.ip();
        if !is_proxy(peer, &config) {
            self.recorder.refused(peer, "forward_auth.peer", "this address is none of `forward_auth.proxies`");
            return bare(StatusCode::FORBIDDEN);
        }
        let (mut head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let Some(door) = Door::of(&target) else { return bare(StatusCode::NOT_FOUND) };
        if door == Door::EnvoyGrpc {
            return ext_authz::check(&self, &config, &head, body, peer).await;
        }
        let certificate = door.teller(&config).and_then(|teller| certificate::take(&mut head.headers, teller));
        let told = match door {
            Door::Nginx => original::from_nginx(head),
            Door::EnvoyHttp(rest) => original::from_envoy_http(rest, head),
            Door::Caddy | Door::Traefik | Door::EnvoyGrpc => original::from_forwarded(head),
        };
        let verdict = self.ask(&config, told.map(|told| Original { certificate, ..told }), peer).await;
        match door {
            Door::Nginx => nginx(verdict),
            Door::Caddy => caddy(verdict),
            Door::EnvoyHttp(_) => envoy_http(verdict),
            Door::Traefik | Door::EnvoyGrpc => plain(verdict),
        }
    }
}

fn is_proxy(peer: IpAddr, config: &RoadConfig) -> bool {
    let peer = fold_address(peer);
    config.asked_by.iter().any(|net| net.contains(&peer))
}

/// What the gates said, before it is put into a proxy's words.
pub(super) enum Verdict {
    Pass(Pass),
    Refuse { status: StatusCode, headers: HeaderMap, body: Bytes },
}

pub(super) struct Pass {
    /// Identity, to be put in place of whatever the client wrote under these names.
    pub set: HeaderMap,
    /// The client's headers that must not reach the API: credentials, and what pretends to come from a gate.
    pub remove: Vec<HeaderName>,
    /// For the client: limits and the request's id.
    pub answer: HeaderMap,
    /// The normal path with the query: what was judged.
    pub target: String,
}

/// Does Envoy's word about certificates count?
pub(super) fn hears_envoy(config: &RoadConfig) -> bool {
    Door::EnvoyGrpc.teller(config).is_some()
}

impl ForwardAuth {
    pub(super) fn malformed(&self, peer: IpAddr, code: &'static str, detail: &'static str) {
        self.recorder.refused(peer, code, detail);
    }

    pub(super) async fn ask(&self, config: &Arc<RoadConfig>, told: Result<Original, Untold>, proxy: IpAddr) -> Verdict {
        match told {
            Ok(original) => self.judge(config, &original).await,
            Err(untold) => {
                self.malformed(proxy, untold.code, untold.detail);
                if untold.status == StatusCode::INTERNAL_SERVER_ERROR {
                    tracing::warn!(%proxy, "a proxy asks without telling the request: {}", untold.detail);
                }
                Verdict::Refuse { status: untold.status, headers: HeaderMap::new(), body: Bytes::new() }
            }
        }
    }

    async fn judge(&self, config: &Arc<RoadConfig>, original: &Original) -> Verdict {
        let started = self.parts.clock.monotonic();
        let shown = original
            .certificate
            .as_ref()
            .map(|told| self.certificates.told_as(&told.key(), || told.read(), &original.host, self.parts.clock.now()));
        let request = trigate_gates::Request {
            tenant: &config.rules.tenant,
            method: &original.method,
            host: &original.host,
            port: original.port,
            secure: original.secure,
            path: &original.path,
            query: original.query.as_deref(),
            headers: &original.headers,
            peer: original.peer,
            certificate: shown.as_ref().map(|shown| shown.certificate.as_ref()),
        };
        let verdict = match self.parts.gates.admit(&config.rules, request).await {
            Ok(permit) => self.pass(original, &permit),
            Err(refusal) => {
                self.parts.metrics.passage("", Outcome::Refused, Some(refusal.reason().code()));
                refuse(&refusal)
            }
        };
        self.finish(&verdict, started);
        verdict
    }

    fn pass(&self, original: &Original, permit: &Permit) -> Verdict {
        let observed = permit.observed();
        let outcome = if observed.is_some() { Outcome::Observed } else { Outcome::Allowed };
        self.parts.metrics.passage(&permit.route().name, outcome, observed.map(|reason| reason.code()));
        // What the gate answers itself is asked of the gate itself: the API has nothing there.
        if permit.route().kind != RouteKind::Upstream {
            return refuse(&Refusal::plain(Reason::RouteUnknown, permit.request_id().clone()));
        }
        let route = permit.route();
        let assertion = route.assertion.then(|| self.parts.extras.assertion(permit, &route.upstream)).flatten();
        if route.assertion && assertion.is_none() {
            return refuse(&Refusal::plain(Reason::Overloaded, permit.request_id().clone()));
        }
        let forwarded = permit.forwarded_headers(&original.headers, assertion.as_deref());
        let mut answer = permit.limit_headers();
        if let Ok(value) = HeaderValue::from_str(permit.request_id().as_str()) {
            answer.insert(HeaderName::from_static("x-request-id"), value);
        }
        if let Some(nonce) = permit.next_nonce() {
            answer.insert("dpop-nonce", nonce); // RFC 9449 §8.2
        }
        let query = original.query.as_deref();
        Verdict::Pass(Pass {
            set: to_set(&original.headers, &forwarded),
            remove: to_remove(&original.headers, &forwarded),
            answer,
            target: query.map_or_else(|| permit.path().to_string(), |query| format!("{}?{query}", permit.path())),
        })
    }

    fn finish(&self, verdict: &Verdict, started: Monotonic) {
        let status = match verdict {
            Verdict::Pass(_) => StatusCode::OK,
            Verdict::Refuse { status, .. } => *status,
        };
        let took = self.parts.clock.monotonic().0.saturating_sub(started.0);
        self.parts.metrics.completed(status.as_u16(), Duration::from_micros(took));
    }
}

fn refuse(refusal: &Refusal) -> Verdict {
    let mut headers = refusal.headers().clone();
    fold_challenges(&mut headers);
    Verdict::Refuse { status: refusal.status(), headers, body: Bytes::copy_from_slice(refusal.body()) }
}

/// One line with all challenges: what copies headers one by one keeps only one line of a name. // RFC 9110 §11.6.1
fn fold_challenges(headers: &mut HeaderMap) {
    let lines: Vec<&str> =
        headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok()).collect();
    if let Ok(line) = HeaderValue::from_str(&lines.join(", "))
        && !line.is_empty()
    {
        headers.insert(header::WWW_AUTHENTICATE, line);
    }
}

/// Identity, and the cookies without Trigate's own.
fn to_set(original: &HeaderMap, forwarded: &HeaderMap) -> HeaderMap {
    let changed = |name: &HeaderName| *name == header::COOKIE && original.get(name) != forwarded.get(name);
    let ours = forwarded.iter().filter(|(name, _)| name.as_str().starts_with("x-trigate-") || changed(name));
    ours.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Connection headers are the proxy's own business, and these two forwarding headers it has written itself.
fn to_remove(original: &HeaderMap, forwarded: &HeaderMap) -> Vec<HeaderName> {
    const KEPT: [&str; 11] = [
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "x-forwarded-for",
        "x-forwarded-proto",
    ];
    let gone = original.keys().filter(|name| !forwarded.contains_key(*name) && !KEPT.contains(&name.as_str()));
    gone.cloned().collect()
}

/// All names under which identity is told.
const IDENTITY: [&str; 13] = [
    "x-trigate-application",
    "x-trigate-assertion",
    "x-trigate-client",
    "x-trigate-email",
    "x-trigate-key",
    "x-trigate-machine",
    "x-trigate-plan",
    "x-trigate-request-id",
    "x-trigate-roles",
    "x-trigate-scopes",
    "x-trigate-session",
    "x-trigate-subject-kind",
    "x-trigate-user",
];

/// SECURITY: Caddy leaves a client's header in place that the answer does not name (CVE-2026-30851), or writes the
/// text of its own placeholder over it: every name is answered, empty where nothing was proven.
fn caddy(verdict: Verdict) -> Response<Told> {
    let mut response = plain(verdict);
    if response.status() == StatusCode::OK {
        for name in IDENTITY {
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(""));
        }
    }
    response
}

/// Caddy and Traefik hand a refusal to the client as it is.
fn plain(verdict: Verdict) -> Response<Told> {
    match verdict {
        Verdict::Pass(pass) => {
            let mut response = bare(StatusCode::OK);
            response.headers_mut().extend(pass.answer);
            response.headers_mut().extend(pass.set);
            put(&mut response, "x-trigate-target", &pass.target);
            response
        }
        Verdict::Refuse { status, headers, body } => {
            let mut response = Response::new(Told::data(body));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
    }
}

/// nginx knows 401 and 403 alone; the status that is meant stands beside it, for its `error_page`.
fn nginx(verdict: Verdict) -> Response<Told> {
    let mut response = plain(verdict);
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::UNAUTHORIZED) {
        *response.status_mut() = StatusCode::FORBIDDEN;
        put(&mut response, "x-trigate-status", status.as_str());
    }
    response
}

fn envoy_http(verdict: Verdict) -> Response<Told> {
    let remove = match &verdict {
        Verdict::Pass(pass) => pass.remove.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(","),
        Verdict::Refuse { .. } => String::new(),
    };
    let mut response = plain(verdict);
    if !remove.is_empty() {
        put(&mut response, "x-envoy-auth-headers-to-remove", &remove);
    }
    response
}

fn put(response: &mut Response<Told>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

pub(super) fn bare(status: StatusCode) -> Response<Told> {
    let mut response = Response::new(Told::default());
    *response.status_mut() = status;
    response
}

/// The body of a verdict: all there at once, with the trailers that gRPC wants.
#[derive(Debug, Default)]
pub struct Told {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Told {
    fn data(data: Bytes) -> Self {
        Self { data: Some(data).filter(|data| !data.is_empty()), trailers: None }
    }

    pub(super) fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self { trailers: Some(trailers), ..Self::data(data) }
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.data.take().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.trailers {
            None => http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64)),
            Some(_) => http_body::SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_is_chosen_by_the_whole_path() {
        assert_eq!(Door::of("/forward-auth/nginx"), Some(Door::Nginx));
        assert_eq!(Door::of("/forward-auth/caddy?a=/b"), Some(Door::Caddy));
        assert_eq!(Door::of("/forward-auth/traefik"), Some(Door::Traefik));
        assert_eq!(Door::of("/forward-auth/envoy/a?b"), Some(Door::EnvoyHttp("/a?b")));
        assert_eq!(Door::of("/envoy.service.auth.v3.Authorization/Check"), Some(Door::EnvoyGrpc));
        for no in ["/", "/forward-auth", "/forward-auth/nginx/", "/forward-auth/other", "/?/forward-auth/nginx"] {
            assert_eq!(Door::of(no), None, "{no}");
        }
    }

    #[test]
    fn g01_every_name_of_identity_is_answered_and_stands_in_the_examples() {
        let permit = include_str!("../../../trigate-gates/src/permit.rs");
        let mut told: Vec<&str> =
            permit.split('"').skip(1).step_by(2).filter(|text| text.starts_with("x-trigate-")).collect();
        told.sort_unstable();
        assert_eq!(told, IDENTITY);
        let nginx = include_str!("../../../../examples/forward-auth/nginx.conf").to_lowercase();
        let caddy = include_str!("../../../../examples/forward-auth/Caddyfile").to_lowercase();
        for name in IDENTITY {
            assert!(nginx.contains(&format!("proxy_set_header {name} ")), "{name}");
            assert!(caddy.lines().any(|line| line.contains("copy_headers") && line.contains(name)), "{name}");
        }
    }

    #[test]
    fn g01_what_the_client_pretended_is_named_for_removal() {
        let names = |pairs: &[&str]| -> HeaderMap {
            pairs.iter().map(|name| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_static("1"))).collect()
        };
        let original =
            names(&["x_trigate_user", "authorization", "accept", "te", "host", "x-forwarded-for", "x-real-ip"]);
        let mut removed: Vec<String> =
            to_remove(&original, &names(&["accept"])).iter().map(ToString::to_string).collect();
        removed.sort();
        assert_eq!(removed, ["authorization", "x-real-ip", "x_trigate_user"]);
    }
}
