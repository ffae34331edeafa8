//! One request from head to answer, on one core.

use super::{
    answer::{Problem, json, put_request_id},
    body::{Answer, CarriedIn, CarriedOut, Cut, Ending, Flow, PaceRule, Watching},
    certificate::{ClientCertificates, Shown},
    cors, grpc,
    outgoing::Outgoing,
    upgrade,
    upstream::{ApiBody, Busy, Failed, Pool, Tried, Upstream, UpstreamBounds, UpstreamError, UpstreamUrl},
    watch::{Watch, Watched},
};
use crate::{
    edge::{Connection, Handler, Incoming, Recorder, Upgrading, head, trust::Trust},
    metrics::Metrics,
};
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body;
use std::{cell::Cell, collections::HashMap, future::Future, net::IpAddr, pin::Pin, rc::Rc, sync::Arc};
use trigate_core::{
    audit::Outcome,
    id::RequestId,
    port::{AuditSink, Clock, Monotonic},
};
use trigate_gates::{Gates, Judged, Permit, Refusal, RouteKind, Rules, Unwritten, authority::Authority};

/// What a reload swaps. A request holds one to its end.
pub struct RoadConfig {
    pub rules: Arc<Rules>,
    pub upstreams: HashMap<String, Arc<Upstream>>,
    pub pace: PaceRule,
    /// The proxies that may ask for a verdict.
    pub asked_by: Vec<ipnet::IpNet>,
    /// Which of them tell clients' certificates.
    pub certificates_from: Vec<crate::config::CertificateTeller>,
}

/// What the road asks of the issuer; both answers are in memory.
pub trait Extras: Send + Sync {
    /// A signed statement for this upstream of who was let in.
    fn assertion(&self, permit: &Permit, upstream: &str) -> Option<String>;
    /// The keys that assertions are verified by.
    fn jwks(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send>>;
}

/// For a gate without an issuer.
pub struct NoExtras;

impl Extras for NoExtras {
    fn assertion(&self, _: &Permit, _: &str) -> Option<String> {
        None
    }

    fn jwks(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> {
        Box::pin(async { None })
    }
}

/// What all cores share.
#[derive(Clone)]
pub struct RoadParts {
    pub gates: Arc<Gates>,
    pub current: Arc<ArcSwap<RoadConfig>>,
    pub audit: Arc<dyn AuditSink>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub node: Arc<str>,
    pub extras: Arc<dyn Extras>,
    pub upstream_tls: Arc<rustls::ClientConfig>,
    /// Whose client certificates count.
    pub trust: Arc<Trust>,
}

/// The road on one core.
pub struct Road {
    parts: Rc<RoadParts>,
    pool: Rc<Pool>,
    watch: Rc<Watch>,
    recorder: Rc<Recorder>,
    /// Requests whose answer has not begun, and how many may be.
    in_work: Rc<Cell<usize>>,
    most: usize,
    certificates: ClientCertificates,
}

impl Road {
    pub fn new(parts: RoadParts, pool: Rc<Pool>, watch: Rc<Watch>, recorder: Rc<Recorder>, most: usize) -> Rc<Self> {
        let certificates = ClientCertificates::new(Arc::clone(&parts.trust));
        let parts = Rc::new(parts);
        Rc::new(Self { parts, pool, watch, recorder, in_work: Rc::default(), most, certificates })
    }

    /// `None`: this core has enough to do, and says so before it costs anything (R15).
    fn begin(&self) -> Option<InWork> {
        let now = self.in_work.get();
        if now >= self.most {
            return None;
        }
        self.in_work.set(now + 1);
        Some(InWork(Rc::clone(&self.in_work)))
    }
}

struct InWork(Rc<Cell<usize>>);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Handler for Road {
    type Body = Answer;

    async fn handle(self: Rc<Self>, request: Request<Incoming>, connection: Rc<Connection>) -> Response<Answer> {
        let started = self.parts.clock.monotonic();
        let config = self.parts.current.load_full();
        let (head, body) = request.into_parts();
        let Some(_in_work) = self.begin() else {
            self.recorder.refused(connection.peer.ip(), "limit.requests", "too many requests are in work");
            return Problem::Overloaded.answer(None, is_http1(&head));
        };
        let (Authority { host, port }, upgrades) = match self.check_head(&head, connection.peer.ip()) {
            Ok(checked) => checked,
            Err(problem) => return problem.answer(None, is_http1(&head)),
        };
        if let Some(answer) = cors::preflight(&config.rules, &host, &head) {
            self.parts.metrics.passage("cors preflight", Outcome::Allowed, None);
            return answer;
        }
        let now = self.parts.clock.now();
        let shown = self.certificates.of(&head.headers, &host, &connection, self.parts.gates.known(), now);
        let asked = gates_request(&config.rules, &head, (&host, port), &connection, shown.as_ref());
        let judged = self.parts.gates.judge(&config.rules, asked).await;
        let permit = match judged {
            Judged::Allowed(permit) => permit,
            Judged::Refused(refusal) => {
                self.others_first().await;
                return self.refuse(&head, &refusal.written(), started);
            }
        };
        self.count_passage(permit.permit());
        if permit.permit().route().kind == RouteKind::Upstream {
            let passage = Passage { config, head, host, connection, shown, permit, started };
            return if upgrades {
                Box::pin(self.upgrade(passage)).await
            } else {
                Box::pin(self.forward(passage, body)).await
            };
        }
        let permit = match permit.written() {
            Ok(permit) => permit,
            Err(refusal) => return self.refuse(&head, &refusal, started),
        };
        match permit.route().kind {
            RouteKind::Whoami => self.whoami(&head, &permit, started),
            RouteKind::Internal => self.internal(&permit, started).await,
            RouteKind::Upstream | RouteKind::Userinfo | RouteKind::AdminApi | RouteKind::GateApi => {
                Problem::NotFound.answer(Some(permit.request_id()), is_http1(&head))
            }
        }
    }
}

pub(super) fn gates_request<'a>(
    rules: &'a Rules,
    head: &'a Parts,
    (host, port): (&'a str, Option<u16>),
    connection: &'a Connection,
    shown: Option<&'a Shown>,
) -> trigate_gates::Request<'a> {
    trigate_gates::Request {
        tenant: &rules.tenant,
        method: &head.method,
        host,
        port,
        secure: connection.tls,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
        peer: connection.peer.ip(),
        certificate: shown.map(|shown| shown.certificate.as_ref()),
    }
}

/// The gates' own words.
fn refused(head: &Parts, refusal: &Refusal) -> Response<Answer> {
    let mut response = Response::new(Answer::own(refusal.body().to_vec()));
    *response.status_mut() = refusal.status();
    *response.headers_mut() = refusal.headers().clone();
    if let Some(route) = refusal.route() {
        cors::apply(route, &head.headers, response.headers_mut());
    }
    grpc::dress(&head.headers, refusal.status(), response.headers_mut());
    if is_http1(head) && head.headers.contains_key(header::UPGRADE) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What every answer to a request that was let in carries.
fn dress(permit: &Permit, head: &Parts, response: &mut Response<Answer>) {
    permit.put_limit_headers(response.headers_mut());
    put_next_nonce(response.headers_mut(), permit);
    cors::apply(permit.route(), &head.headers, response.headers_mut());
    put_request_id(response, permit.request_id());
}

fn is_http1(head: &Parts) -> bool {
    head.version < Version::HTTP_2
}

/// A request that was let in, with all that its answer needs.
pub(super) struct Passage {
    config: Arc<RoadConfig>,
    pub head: Parts,
    pub host: String,
    pub connection: Rc<Connection>,
    pub shown: Option<Shown>,
    pub permit: Unwritten<Permit>,
    started: Monotonic,
}

impl Road {
    /// Lets all who are ready now come as far as this, then goes on. What they write goes in one `write(2)`, and what they
    /// send leaves in one burst: the API, or the crowd of clients, wakes up once and not for each.
    async fn others_first(&self) {
        if self.in_work.get() > 1 {
            tokio::task::yield_now().await;
        }
    }

    fn count_passage(&self, permit: &Permit) {
        let observed = permit.observed();
        let outcome = if observed.is_some() { Outcome::Observed } else { Outcome::Allowed };
        self.parts.metrics.passage(&permit.route().name, outcome, observed.map(|reason| reason.code()));
    }

    /// Refuses what no route may get: heads that the next server could read differently.
    fn check_head(&self, head: &Parts, peer: IpAddr) -> Result<(Authority, bool), Problem> {
        head::check_upgradable(head).map_err(|bad| {
            self.recorder.refused(peer, bad.code, bad.detail);
            Problem::BadHead(bad)
        })
    }

    fn refuse(&self, head: &Parts, refusal: &Refusal, started: Monotonic) -> Response<Answer> {
        let name = refusal.route().map_or("", |route| route.name.as_ref());
        self.parts.metrics.passage(name, Outcome::Refused, Some(refusal.reason().code()));
        self.finish(refusal.status(), started);
        refused(head, refusal)
    }

    fn finish(&self, status: StatusCode, started: Monotonic) {
        let took = self.parts.clock.monotonic().0.saturating_sub(started.0);
        self.parts.metrics.completed(status.as_u16(), std::time::Duration::from_micros(took));
    }

    fn whoami(&self, head: &Parts, permit: &Permit, started: Monotonic) -> Response<Answer> {
        let mut response = json(StatusCode::OK, "application/json", permit.whoami().to_string());
        response.headers_mut().extend(permit.limit_headers());
        put_next_nonce(response.headers_mut(), permit);
        put_request_id(&mut response, permit.request_id());
        cors::apply(permit.route(), &head.headers, response.headers_mut());
        self.finish(StatusCode::OK, started);
        response
    }

    async fn internal(&self, permit: &Permit, started: Monotonic) -> Response<Answer> {
        let keys = if *permit.route().name == *crate::config::JWKS { self.parts.extras.jwks().await } else { None };
        let mut response = match keys {
            Some(keys) => json(StatusCode::OK, "application/jwk-set+json", keys),
            None => Problem::NotFound.answer(Some(permit.request_id()), false),
        };
        put_request_id(&mut response, permit.request_id());
        self.finish(response.status(), started);
        response
    }

    async fn forward(&self, mut passage: Passage, body: Incoming) -> Response<Answer> {
        self.others_first().await;
        // SECURITY: what may change something at the API is on record before the API hears of it.
        if !passage.head.method.is_safe() {
            match passage.permit.write_first() {
                Ok(permit) => passage.permit = permit,
                Err(refusal) => return self.refuse(&passage.head, &refusal, passage.started),
            }
        }
        let flow = Rc::new(Flow::default());
        let mut ending = self.ending(&passage, &flow);
        let silence = self.silence(&passage);
        let called = self.call(&passage, body, &flow).await;
        // What only announces an answer is none.
        let called = called.and_then(|(response, busy)| match response.status().is_informational() {
            true => Err(Problem::BadGateway),
            false => Ok((response, busy)),
        });
        self.others_first().await;
        // INVARIANT: no answer, be it of a failure, leaves before the record is written.
        let (head, permit) = match passage.permit.written() {
            Ok(permit) => (passage.head, permit),
            Err(refusal) => {
                ending.end(refusal.status());
                return refused(&passage.head, &refusal);
            }
        };
        let problem = called.as_ref().err().map(|problem| problem.status());
        let mut response = match called {
            Ok((response, busy)) => {
                let (parts, body) = response.into_parts();
                ending.status = parts.status.as_u16();
                let grpc = grpc::speaks(&parts.headers);
                let watching = Watching::Before(Rc::clone(&self.watch), Some(permit.standing()), silence);
                let mut response = Response::new(Answer::Carried(CarriedOut::new(body, busy, ending, watching, grpc)));
                *response.status_mut() = parts.status;
                *response.headers_mut() = answer_headers(parts.headers);
                response
            }
            Err(problem) => {
                ending.end(problem.status());
                problem.answer(Some(permit.request_id()), is_http1(&head))
            }
        };
        dress(&permit, &head, &mut response);
        if let Some(status) = problem {
            grpc::dress(&head.headers, status, response.headers_mut());
        }
        response
    }

    fn silence(&self, passage: &Passage) -> std::time::Duration {
        let upstream = passage.config.upstreams.get(&passage.permit.permit().route().upstream);
        upstream.map_or(std::time::Duration::MAX, |upstream| upstream.bounds.silence)
    }

    /// A WebSocket, where the route and then the API allow it. The client's connection ends with any other answer: what
    /// follows on it may be meant for another protocol (G05).
    async fn upgrade(&self, mut passage: Passage) -> Response<Answer> {
        match passage.permit.write_first() {
            Ok(permit) => passage.permit = permit,
            Err(refusal) => return self.refuse(&passage.head, &refusal, passage.started),
        }
        let flow = Rc::new(Flow::default());
        flow.in_ended.set(true);
        let mut ending = self.ending(&passage, &flow);
        let client = passage.head.extensions.remove::<Upgrading>();
        let asked = match client.filter(|_| passage.permit.permit().route().websocket) {
            Some(client) => self.ask_upgrade(&passage, &flow).await.map(|answer| (client, answer)),
            None => {
                self.recorder.refused(passage.connection.peer.ip(), "http.upgrade", "the route is not upgraded");
                Err(Problem::NoUpgrade)
            }
        };
        let mut response = match asked {
            Ok((client, answer)) => {
                ending.status = answer.status().as_u16();
                if upgrade::agreed(&answer) {
                    let watched = self.watch.open(Some(passage.permit.permit().standing()), self.silence(&passage));
                    let connection = Rc::clone(&passage.connection);
                    upgrade::Tunnel { client, watched, ending, connection }.open(answer)
                } else if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    ending.status = Problem::BadGateway.status().as_u16();
                    Problem::BadGateway.answer(Some(passage.permit.permit().request_id()), true)
                } else {
                    let watching = Watching::Before(
                        Rc::clone(&self.watch),
                        Some(passage.permit.permit().standing()),
                        self.silence(&passage),
                    );
                    upgrade::refused(answer, ending, watching)
                }
            }
            Err(problem) => {
                ending.status = problem.status().as_u16();
                ending.whole = true;
                problem.answer(Some(passage.permit.permit().request_id()), true)
            }
        };
        dress(passage.permit.permit(), &passage.head, &mut response);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn ask_upgrade(
        &self,
        passage: &Passage,
        flow: &Rc<Flow>,
    ) -> Result<Response<hyper::body::Incoming>, Problem> {
        let route = passage.permit.permit().route();
        let upstream = passage.config.upstreams.get(&route.upstream).ok_or(Problem::BadGateway)?;
        let assertion = self.assertion(passage)?;
        let mut tried = Tried::default();
        loop {
            let now = self.parts.clock.monotonic();
            let (index, target, _busy) = upstream.choose(now, tried).ok_or(Problem::Unavailable)?;
            let head = Outgoing { passage, upstream: &target.url, assertion: assertion.as_deref() };
            let request = head.request(CarriedIn::none(Rc::clone(flow))).ok_or(Problem::BadGateway)?;
            let error = match upgrade::ask(&target.url, upstream.bounds, &self.pool.tls, request).await {
                Ok(answer) => {
                    upstream.succeeded(target);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            upstream.failed(target, self.parts.clock.monotonic());
            let problem = self.explain(passage, &target.url, flow, &error);
            tried.add(index);
            if !matches!(error, UpstreamError::Connect(_)) || tried.count() == upstream.targets.len() {
                return Err(problem);
            }
        }
    }

    fn assertion(&self, passage: &Passage) -> Result<Option<String>, Problem> {
        let route = passage.permit.permit().route();
        if !route.assertion {
            return Ok(None);
        }
        self.parts.extras.assertion(passage.permit.permit(), &route.upstream).ok_or(Problem::BadGateway).map(Some)
    }

    fn ending(&self, passage: &Passage, flow: &Rc<Flow>) -> Ending {
        let request: RequestId = passage.permit.permit().request_id().clone();
        Ending {
            parts: Rc::clone(&self.parts),
            request,
            started: passage.started,
            status: 0,
            bytes_out: 0,
            flow: Rc::clone(flow),
            whole: false,
            ended: None,
        }
    }

    /// The one call to an upstream; only a permit leads here.
    async fn call(
        &self,
        passage: &Passage,
        body: Incoming,
        flow: &Rc<Flow>,
    ) -> Result<(Response<ApiBody>, Option<Busy>), Problem> {
        let permit = passage.permit.permit();
        let route = permit.route();
        let upstream = passage.config.upstreams.get(&route.upstream).ok_or(Problem::BadGateway)?;
        if body.size_hint().lower() > route.max_body_bytes {
            return Err(Problem::TooLarge);
        }
        let assertion = self.assertion(passage)?;
        // A request that is still coming while its credential is revoked goes no further.
        let uploads =
            (!body.is_end_stream()).then(|| self.watch.open(Some(permit.standing()), std::time::Duration::MAX));
        let repeatable = body.is_end_stream() && passage.head.method.is_safe();
        let mut carried = CarriedIn::new(body, Rc::clone(flow), route.max_body_bytes, passage.config.pace);
        let mut tried = Tried::default();
        let mut now = passage.started;
        loop {
            let Some((index, target, busy)) = upstream.choose(now, tried) else {
                tracing::warn!(request = %permit.request_id(), route = %route.name, upstream = %upstream.name, "no address is well");
                return Err(Problem::Unavailable);
            };
            let head = Outgoing { passage, upstream: &target.url, assertion: assertion.as_deref() };
            let again = || repeatable.then(|| CarriedIn::none(Rc::clone(flow)));
            let Failed { error, unsent } =
                match self.send_watched(uploads.as_ref(), (upstream.bounds, now), &head, carried, again).await? {
                    Ok(response) => {
                        upstream.succeeded(target);
                        return Ok((response, busy));
                    }
                    Err(failed) => failed,
                };
            now = self.parts.clock.monotonic();
            if flow.cut.get().is_none() && !matches!(error, UpstreamError::Full) {
                upstream.failed(target, now);
            }
            let problem = self.explain(passage, &target.url, flow, &error);
            tried.add(index);
            // What was not sent goes to the next address, and so does what may be sent twice, once the connection broke.
            carried = match unsent {
                Some(unsent) => unsent,
                None if repeatable && matches!(error, UpstreamError::Broken(_)) => CarriedIn::none(Rc::clone(flow)),
                None => return Err(problem),
            };
            if upstream.targets.len() == tried.count() {
                return Err(problem);
            }
        }
    }

    /// As [`Self::send`], as long as `uploads` may go on.
    async fn send_watched(
        &self,
        uploads: Option<&Watched>,
        bounds: (UpstreamBounds, Monotonic),
        head: &Outgoing<'_>,
        body: CarriedIn,
        again: impl Fn() -> Option<CarriedIn>,
    ) -> Result<Result<Response<ApiBody>, Failed>, Problem> {
        let Some(uploads) = uploads else { return Ok(self.send(bounds, head, body, again).await) };
        tokio::select! {
            biased;
            sent = Box::pin(self.send(bounds, head, body, again)) => Ok(sent),
            _ = uploads.ended() => Err(Problem::Ended),
        }
    }

    async fn send(
        &self,
        (bounds, now): (UpstreamBounds, Monotonic),
        head: &Outgoing<'_>,
        body: CarriedIn,
        again: impl Fn() -> Option<CarriedIn>,
    ) -> Result<Response<ApiBody>, Failed> {
        if !head.upstream.http2 {
            return self.pool.send(head.upstream, (bounds, now), head, body, again).await;
        }
        let unsendable = || UpstreamError::Broken("the request has no form in HTTP/2".into());
        let request = head.request(body).ok_or_else(unsendable)?;
        let again = || again().and_then(|body| head.request(body));
        let sent = Box::pin(self.pool.http2.send(head.upstream, bounds, request, again)).await;
        sent.map(|(response, stream)| response.map(|body| ApiBody::Http2(body, stream)))
    }

    fn explain(&self, passage: &Passage, upstream: &UpstreamUrl, flow: &Flow, error: &UpstreamError) -> Problem {
        match flow.cut.get() {
            Some(Cut::TooLarge) => return Problem::TooLarge,
            Some(Cut::TooSlow) => return Problem::TooSlow,
            Some(Cut::Broken) => return Problem::BodyBroken,
            None => {}
        }
        let permit = passage.permit.permit();
        self.parts.metrics.upstream_errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tracing::warn!(request = %permit.request_id(), route = %permit.route().name, %upstream, %error, "the API did not answer");
        match error {
            UpstreamError::Slow(_) => Problem::GatewayTimeout,
            UpstreamError::Full => Problem::Unavailable,
            UpstreamError::Connect(_) | UpstreamError::Broken(_) => Problem::BadGateway,
        }
    }
}

/// RFC 9449 §8.2. An API's own word on the gate's nonces goes no further.
fn put_next_nonce(headers: &mut HeaderMap, permit: &Permit) {
    if let Some(nonce) = permit.next_nonce() {
        headers.insert("dpop-nonce", nonce);
    }
}

/// The API's headers as the client reads them. // RFC 9110 §7.6.1
pub(super) fn answer_headers(mut headers: HeaderMap) -> HeaderMap {
    let mut gone: Vec<HeaderName> = headers.keys().filter(|name| ends_here(name)).cloned().collect();
    let options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let options = options.flat_map(|value| value.split(',')).map(str::trim);
    let named = options.filter(|name| !["close", "keep-alive"].iter().any(|usual| name.eq_ignore_ascii_case(usual)));
    // SECURITY: an API must not be able to take our framing away by naming it.
    gone.extend(
        named.filter_map(|name| HeaderName::try_from(name).ok()).filter(|name| *name != header::CONTENT_LENGTH),
    );
    for name in gone {
        headers.remove(name);
    }
    headers
}

/// Hop by hop, or pretending to come from us (servers read `_` as `-`).
fn ends_here(name: &HeaderName) -> bool {
    let hop_by_hop = matches!(
        *name,
        header::CONNECTION
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    );
    hop_by_hop || matches!(name.as_str(), "keep-alive" | "proxy-connection") || is_ours(name.as_str())
}

fn is_ours(name: &str) -> bool {
    let folded = name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    let ours = b"x-trigate-";
    name.len() >= ours.len() && folded.zip(ours).all(|(byte, wanted)| byte == *wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g25_hop_by_hop_and_identity_headers_end_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop, content-length"),
            ("x-hop", "1"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-trigate-user", "usr_1"),
            ("x_trigate_user", "usr_1"),
            ("etag", "\"x\""),
        ] {
            headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        let mut left: Vec<String> = answer_headers(headers).keys().map(|name| name.to_string()).collect();
        left.sort();
        assert_eq!(left, ["content-length", "etag"]);
    }
}
