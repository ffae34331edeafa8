//! What does a refused caller see? Status and challenge by one exhaustive match over the reasons; the body by what the
//! route demands and which kinds of credential came, never by why one was bad.

use crate::{
    established::{Established, Stop},
    gate1_identification::rate_limit::put_limit_headers,
    passage::Passage,
    rules::{CredentialKind, Kinds, RouteRule, Rules, SubjectKind},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use std::{fmt, sync::Arc};
use trigate_core::{id::RequestId, reason::Reason};

/// The answer to a request that may not go on.
#[derive(Clone)]
pub struct Refusal(Box<Answer>);

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    reason: Reason,
    request: RequestId,
    route: Option<Arc<RouteRule>>,
}

impl Refusal {
    pub(crate) fn new(passage: &Passage<'_>, stop: &Stop) -> Self {
        let status = status(stop.reason);
        Self(Box::new(Answer {
            status,
            headers: headers(passage, stop),
            body: body(status, stop.established.as_deref()),
            reason: stop.reason,
            request: passage.id.clone(),
            route: stop.established.as_ref().map(|established| Arc::clone(&established.route)),
        }))
    }

    /// For what the hall itself refuses before or after the gates: a body too large, a malformed request, overload.
    pub fn plain(reason: Reason, request: RequestId) -> Self {
        let status = status(reason);
        let mut headers = plain_headers(&request);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Self(Box::new(Answer { status, headers, body: body(status, None), reason, request, route: None }))
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Challenge, `Retry-After`, `RateLimit`, `Content-Type`, `X-Request-Id`.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// `application/problem+json` (RFC 9457). Byte-identical for one route, one status and one set of presented kinds.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// For the record and the operator; never for the caller.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    pub fn request_id(&self) -> &RequestId {
        &self.0.request
    }

    /// The route that was found before it was refused, if one was.
    pub fn route(&self) -> Option<&RouteRule> {
        self.0.route.as_deref()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({} {})", self.0.status.as_u16(), self.0.reason)
    }
}

/// What `WWW-Authenticate` says beside the schemes that the route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Challenge {
    None,
    /// Shows what to bring.
    Bring,
    /// RFC 6750 §3.1 `invalid_token`.
    InvalidToken,
    /// RFC 6750 §3.1 `insufficient_scope`, with all scopes that the route demands.
    InsufficientScope,
    /// RFC 9470 §3 `insufficient_user_authentication`.
    StepUp,
    /// RFC 9449 §7.1 `invalid_dpop_proof`.
    InvalidProof,
    /// RFC 9449 §9 `use_dpop_nonce`.
    UseNonce,
}

/// The one place where a reason becomes an answer. A new reason does not compile without its line.
const fn answer(reason: Reason) -> (StatusCode, Challenge) {
    use Challenge::{Bring, InsufficientScope, InvalidProof, InvalidToken, None, StepUp, UseNonce};
    use StatusCode as S;
    match reason {
        Reason::RouteUnknown => (S::NOT_FOUND, None),
        Reason::MethodUnknown => (S::METHOD_NOT_ALLOWED, None),
        Reason::PathAmbiguous | Reason::RequestMalformed => (S::BAD_REQUEST, None),
        Reason::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, None),
        Reason::AddressLimited | Reason::ApplicationLimited | Reason::QuotaExhausted | Reason::UserLimited => {
            (S::TOO_MANY_REQUESTS, None)
        }
        Reason::AuditUnavailable
        | Reason::Overloaded
        | Reason::LookupUnavailable
        | Reason::GateStale
        | Reason::ProofUncounted => (S::SERVICE_UNAVAILABLE, None),
        Reason::KeyMissing
        | Reason::KeyDuplicate
        | Reason::KeyMalformed
        | Reason::KeyUnknown
        | Reason::KeyRevoked
        | Reason::KeyExpired
        | Reason::KeyNotYetValid
        | Reason::KeyDisabled
        | Reason::KeyAddress
        | Reason::ApplicationDisabled
        | Reason::TokenMissing
        | Reason::CertificateMissing
        | Reason::CertificateInvalid
        | Reason::CertificateRevoked
        | Reason::CertificateStatus
        | Reason::CertificateUnmapped => (S::UNAUTHORIZED, Bring),
        Reason::TokenDuplicate
        | Reason::TokenMalformed
        | Reason::TokenAlgorithm
        | Reason::TokenType
        | Reason::TokenIssuer
        | Reason::TokenKeyUnknown
        | Reason::TokenSignature
        | Reason::TokenClaims
        | Reason::TokenAudience
        | Reason::TokenExpired
        | Reason::TokenNotYetValid
        | Reason::TokenLifetime
        | Reason::TokenTooOld
        | Reason::TokenRevoked
        | Reason::TokenInactive
        | Reason::TokenBound
        | Reason::TokenUnbound
        | Reason::SessionRevoked
        | Reason::GrantRevoked
        | Reason::UserRevoked
        | Reason::UserDisabled
        | Reason::ClientRevoked
        | Reason::ClientDisabled
        | Reason::ApplicationRevoked
        | Reason::SigningKeyRevoked => (S::UNAUTHORIZED, InvalidToken),
        Reason::ProofMissing
        | Reason::ProofMalformed
        | Reason::ProofSignature
        | Reason::ProofRequest
        | Reason::ProofTime
        | Reason::ProofToken
        | Reason::ProofKey
        | Reason::ProofReplayed => (S::UNAUTHORIZED, InvalidProof),
        Reason::ProofNonce => (S::UNAUTHORIZED, UseNonce),
        Reason::AuthenticationOld => (S::UNAUTHORIZED, StepUp),
        Reason::ScopeMissing | Reason::KeyScopeMissing => (S::FORBIDDEN, InsufficientScope),
        Reason::SubjectNotUser
        | Reason::SubjectNotService
        | Reason::RoleMissing
        | Reason::ApplicationsDiffer
        | Reason::PolicyDenied => (S::FORBIDDEN, None),
    }
}

pub(crate) const fn status(reason: Reason) -> StatusCode {
    answer(reason).0
}

fn headers(passage: &Passage<'_>, stop: &Stop) -> HeaderMap {
    let established = stop.established.as_deref();
    let states = established.map_or(stop.limits.as_slice(), |established| &established.limits);
    let mut headers = HeaderMap::new();
    put_limit_headers(states, &mut headers);
    headers.extend(plain_headers(&passage.id));
    let (status, challenge) = answer(stop.reason);
    if let Some(established) = established {
        put_challenges(&mut headers, passage.rules, established, challenge);
        if let Some(nonce) = &established.next_nonce {
            put(&mut headers, "dpop-nonce", nonce); // RFC 9449 §9
        }
    }
    let unavailable = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
    if let Some(seconds) = stop.retry_after_s.or(unavailable) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed: Vec<&str> = stop.allowed.iter().map(http::Method::as_str).collect();
        put(&mut headers, "allow", &allowed.join(", "));
    }
    headers
}

fn plain_headers(request: &RequestId) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    put(&mut headers, "x-request-id", request.as_str());
    headers
}

fn put(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.append(name, value);
    }
}

/// RFC 9110 §11.6.1: a 401 always carries a challenge; one header line per scheme that the route takes.
fn put_challenges(headers: &mut HeaderMap, rules: &Rules, established: &Established, challenge: Challenge) {
    let realm = format!("realm=\"{}\"", quoted(&rules.realm));
    let route = &established.route;
    let scopes = quoted(&route.demand.scopes.to_string());
    let key = format!("ApiKey {realm}");
    let dpop = format!("DPoP {realm}, algs=\"{}\"", algorithms(rules));
    let bearer = format!("Bearer {realm}");
    let by_key = established
        .token_seen
        .as_ref()
        .is_some_and(|facts| facts.confirmation.as_deref().is_some_and(|wanted| wanted.jkt.is_some()));
    // Whom the error is about: without a token in the request it is the key.
    let by_token = established.came.has(CredentialKind::Token);
    let lines = match challenge {
        Challenge::None => Vec::new(),
        Challenge::InsufficientScope => {
            let scheme = if established.by_dpop {
                dpop
            } else if by_token {
                bearer
            } else {
                key
            };
            vec![format!("{scheme}, error=\"insufficient_scope\", scope=\"{scopes}\"")]
        }
        Challenge::InvalidProof => vec![format!("{dpop}, error=\"invalid_dpop_proof\"")],
        Challenge::UseNonce => vec![format!("{dpop}, error=\"use_dpop_nonce\"")],
        Challenge::StepUp if established.by_dpop => {
            vec![format!("{dpop}, error=\"insufficient_user_authentication\"{}", step_up(route))]
        }
        Challenge::StepUp => vec![format!("{bearer}, error=\"insufficient_user_authentication\"{}", step_up(route))],
        Challenge::Bring | Challenge::InvalidToken => {
            let invalid = challenge == Challenge::InvalidToken && by_token;
            let detail = match (invalid, scopes.is_empty()) {
                (true, _) => ", error=\"invalid_token\"".to_owned(),
                (false, true) => String::new(),
                (false, false) => format!(", scope=\"{scopes}\""),
            };
            let taken = |kind| route.demands.ever(kind);
            let token = invalid || taken(CredentialKind::Token);
            // RFC 9449 §7.1: where a bearer token is not enough, the scheme that is.
            let proof = (token && (by_key || route.bound || established.by_dpop)).then(|| dpop + &detail);
            let token = (token && !route.bound).then(|| bearer + &detail);
            let key = taken(CredentialKind::Key).then_some(key);
            // No scheme is registered for certificates; the line says at least what is wanted.
            let nothing = token.is_none() && proof.is_none() && key.is_none();
            let certificate = (nothing || taken(CredentialKind::Certificate)).then(|| format!("Certificate {realm}"));
            [token, proof, key, certificate].into_iter().flatten().collect()
        }
    };
    for line in lines {
        put(headers, "www-authenticate", &line);
    }
}

fn algorithms(rules: &Rules) -> String {
    rules.proof.algorithms.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>().join(" ")
}

// RFC 9470 §3
fn step_up(route: &RouteRule) -> String {
    let acr =
        if route.acr.is_empty() { String::new() } else { format!(", acr_values=\"{}\"", quoted(&route.acr.join(" "))) };
    let age = route.max_authentication_age_s.map(|seconds| format!(", max_age={seconds}")).unwrap_or_default();
    acr + &age
}

/// Inside a quoted string: visible ASCII without its own marks.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect()
}

/// SECURITY: depends on status, route and presented kinds alone, so that it tells nothing about a presented
/// credential. The request's id goes into a header for the same reason.
fn body(status: StatusCode, established: Option<&Established>) -> Vec<u8> {
    let (kind, title) = match status {
        StatusCode::UNAUTHORIZED => ("unauthenticated", "Authentication needed"),
        StatusCode::FORBIDDEN => ("forbidden", "Not allowed"),
        StatusCode::TOO_MANY_REQUESTS => ("rate-limited", "Too many requests"),
        StatusCode::NOT_FOUND => ("no-route", "Not found"),
        StatusCode::METHOD_NOT_ALLOWED => ("no-method", "Method not allowed"),
        StatusCode::BAD_REQUEST => ("bad-request", "Bad request"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "Content too large"),
        _ => ("unavailable", "Service unavailable"),
    };
    let detail = match (status, established) {
        (StatusCode::UNAUTHORIZED, Some(established)) => missing(&established.route, established.came),
        (StatusCode::FORBIDDEN, Some(established)) => permission(&established.route),
        (StatusCode::TOO_MANY_REQUESTS, _) => "More requests came than the limit allows; see `Retry-After`.".to_owned(),
        (StatusCode::NOT_FOUND, _) => "No route is configured for this host and path.".to_owned(),
        (StatusCode::METHOD_NOT_ALLOWED, _) => "This path does not take this method; see `Allow`.".to_owned(),
        (StatusCode::BAD_REQUEST, _) => "The request has a spelling that servers read differently.".to_owned(),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => "The content is larger than this route takes.".to_owned(),
        _ => "The request cannot be judged now; try again.".to_owned(),
    };
    let problem = json!({
        "type": format!("urn:trigate:problem:{kind}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    problem.to_string().into_bytes()
}

/// What a 401 says: what is missing, by the route's demands and what came.
fn missing(route: &RouteRule, came: Kinds) -> String {
    let nearest = route.demands.nearest(came);
    let lacking = nearest.minus(came);
    if lacking.is_empty() {
        return "The credentials that came are not accepted here.".to_owned();
    }
    let only_token = lacking == Kinds::NONE.with(CredentialKind::Token);
    if only_token && came.has(CredentialKind::Key) {
        return format!("An API key identifies an application; this route needs {}.", token_words(route));
    }
    let alternatives = route.demands.alternatives().iter().map(|set| {
        let words = set.iter().map(|kind| match kind {
            CredentialKind::Key => "an API key".to_owned(),
            CredentialKind::Token => token_words(route),
            CredentialKind::Certificate => "a client certificate".to_owned(),
        });
        words.collect::<Vec<_>>().join(" and ")
    });
    format!("This route needs {}.", alternatives.collect::<Vec<_>>().join(", or "))
}

fn token_words(route: &RouteRule) -> String {
    match route.subjects.as_slice() {
        [SubjectKind::User] => "a user's access token".to_owned(),
        [SubjectKind::Service] => "a service's access token".to_owned(),
        _ => "an access token".to_owned(),
    }
}

/// What a 403 says: all that the route demands beyond genuine credentials.
fn permission(route: &RouteRule) -> String {
    let mut wants = Vec::new();
    if !route.subjects.is_empty() {
        let kinds: Vec<&str> = route.subjects.iter().map(|kind| kind.as_str()).collect();
        wants.push(format!("a subject of the kind {}", kinds.join(" or ")));
    }
    if !route.demand.scopes.is_empty() {
        wants.push(format!("the scopes `{}`", route.demand.scopes));
    }
    if !route.demand.any_role.is_empty() {
        wants.push(format!("one of the roles `{}`", route.demand.any_role.join("`, `")));
    }
    if route.agree && route.demands.alternatives().iter().any(|set| set.len() > 1) {
        wants.push("credentials of one application".to_owned());
    }
    if wants.is_empty() {
        return "What these credentials stand for may not do this.".to_owned();
    }
    format!("This route needs {}.", wants.join(", and "))
}
