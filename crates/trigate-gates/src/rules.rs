//! By which rules does the gate judge? The configuration as types that were checked before they came here.
//!
//! Trusts the hall to have refused what is unsafe. One request holds one `Arc<Rules>` to its end.

mod plan;

pub use plan::{BadPlan, Plan, Quota};

use crate::route::{Pattern, Routes};
use http::{HeaderMap, HeaderValue, Method, header};
use ipnet::IpNet;
use std::{collections::HashMap, fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};
use trigate_core::{
    id::{AppId, TenantId},
    jose::Algorithm,
    oauth::ScopeSet,
    permission::Demand,
    port::Policy,
    proof::DEFAULT_ALGORITHMS,
};
use zeroize::Zeroizing;

/// The rules of one tenant, as one configuration file states them.
#[derive(Debug)]
pub struct Rules {
    /// Number of the configuration in force, from 1 at each start.
    pub epoch: u64,
    pub tenant: TenantId,
    pub enforce: Enforce,
    pub routes: Routes,
    pub issuers: Vec<IssuerRule>,
    pub plans: HashMap<String, Plan>,
    pub machines: Vec<MachineRule>,
    /// Asked last, on routes that want it.
    pub policy: Option<Arc<dyn Policy>>,
    /// Stands in challenges: `Bearer realm="…"`.
    pub realm: String,
    /// For each client address, before anything else is judged.
    pub address_limit: Option<Limit>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub proof: ProofRules,
}

/// How DPoP proofs are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRules {
    /// Our own addresses as callers write them: `https://api.example.com`. A proof must be for one of them, or for a host
    /// that its route names.
    pub origins: Vec<String>,
    pub algorithms: Vec<Algorithm>,
}

impl Default for ProofRules {
    fn default() -> Self {
        Self { origins: Vec::new(), algorithms: DEFAULT_ALGORITHMS.to_vec() }
    }
}

impl Rules {
    pub fn issuer(&self, issuer: &str) -> Option<&IssuerRule> {
        // RFC 8725 §3.8: exact comparison, no case folding, no trailing slash.
        self.issuers.iter().find(|rule| rule.issuer == issuer)
    }

    /// The rule for tokens of this Trigate's own issuer.
    pub fn our_issuer(&self) -> Option<&IssuerRule> {
        self.issuers.iter().find(|rule| rule.ours)
    }

    /// The plan of this name. SECURITY: one that the file no longer names is the strictest that it does name: a line
    /// taken out must not set an application free.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        let slow = |plan: &&Plan| u128::from(plan.limit.rate) * 1_000_000_000 / u128::from(plan.limit.per_s.max(1));
        self.plans.get(name).or_else(|| self.plans.values().min_by_key(slow))
    }
}

/// Whether a refusal refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforce {
    #[default]
    Enforce,
    /// Judge and record, refuse nothing that goes to an upstream.
    Observe,
}

/// At most `burst + rate × t / per_s` pass in any t seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub rate: u64,
    pub per_s: u64,
    pub burst: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no limit: write `1000/hour`, `10/second burst 20` or `5/30s`")]
pub struct BadLimit(String);

impl Limit {
    /// `None` when a part is zero.
    pub const fn new(rate: u64, per_s: u64, burst: u64) -> Option<Self> {
        if rate == 0 || per_s == 0 || burst == 0 { None } else { Some(Self { rate, per_s, burst }) }
    }

    /// Seconds in which the whole burst comes back.
    pub(crate) fn window_s(self) -> u64 {
        let window = u128::from(self.burst) * u128::from(self.per_s) / u128::from(self.rate.max(1));
        u64::try_from(window).unwrap_or(u64::MAX).max(1)
    }
}

impl FromStr for Limit {
    type Err = BadLimit;

    /// `1000/hour`, `10/second burst 20`, `5/30s`. The burst defaults to the rate.
    fn from_str(text: &str) -> Result<Self, BadLimit> {
        let bad = || BadLimit(text.to_owned());
        let (limit, burst) = match text.split_once(" burst ") {
            Some((limit, burst)) => (limit, Some(burst.trim().parse::<u64>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let (rate, per) = limit.split_once('/').ok_or_else(bad)?;
        let rate = rate.trim().parse::<u64>().map_err(|_| bad())?;
        let per_s = match per.trim() {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            other => other.strip_suffix('s').unwrap_or(other).parse::<u64>().map_err(|_| bad())?,
        };
        Self::new(rate, per_s, burst.unwrap_or(rate)).ok_or_else(bad)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per_s {
            1 => write!(f, "{}/second", self.rate)?,
            60 => write!(f, "{}/minute", self.rate)?,
            3_600 => write!(f, "{}/hour", self.rate)?,
            86_400 => write!(f, "{}/day", self.rate)?,
            other => write!(f, "{}/{other}s", self.rate)?,
        }
        if self.burst != self.rate { write!(f, " burst {}", self.burst) } else { Ok(()) }
    }
}

/// An issuer whose tokens are believed.
#[derive(Clone, Debug)]
pub struct IssuerRule {
    /// Compared byte by byte with `iss`.
    pub issuer: String,
    /// This Trigate's own issuer: its tokens carry a feed position, and its users, clients and sessions are in the feed.
    pub ours: bool,
    /// One of them must be in `aud`, byte by byte.
    pub audiences: Vec<String>,
    /// Takes tokens for anybody: for a look at a foreign issuer (`trigate try`), never for service.
    pub danger_any_audience: bool,
    /// Accepted `typ`, without `application/`; `at+jwt` by default.
    pub typ: Vec<String>,
    pub keys: KeySource,
    /// Empty means every algorithm that exists here (all asymmetric).
    pub algorithms: Vec<Algorithm>,
    /// For clocks that differ, at most 60.
    pub leeway_s: u32,
    /// The longest life that a token may have.
    pub max_life_s: u32,
    pub claims: ClaimNames,
    /// Its tokens are asked about instead of verified; the keys then serve its other statements (logout, signals).
    pub introspection: Option<Introspection>,
    /// Claims with the text that this issuer's access tokens carry, where `typ` tells them from no others.
    pub demanded: Vec<(String, String)>,
    /// Claims of which its access tokens carry none: what has one is another kind of token.
    pub marks_of_others: Vec<String>,
    /// Any of these says that a client speaks for itself (beside `sub` = client, RFC 9068 §5).
    pub services: Vec<ServiceMark>,
    /// Client id (or `*`) to application, for foreign issuers.
    pub applications: HashMap<String, AppId>,
    /// Its tokens are taken from those alone who prove that they hold the key that the token is bound to.
    pub bound: bool,
}

impl IssuerRule {
    /// An issuer with the defaults: RFC 9068 types, every algorithm, 10 s leeway, one day at most.
    pub fn new(issuer: &str, keys: KeySource, audiences: Vec<String>) -> Self {
        let ours = keys == KeySource::Ours;
        let gty = || ServiceMark::Is("gty".to_owned(), "client-credentials".to_owned());
        Self {
            issuer: issuer.to_owned(),
            ours,
            audiences,
            danger_any_audience: false,
            typ: vec!["at+jwt".to_owned()],
            keys,
            algorithms: Vec::new(),
            leeway_s: 10,
            max_life_s: 86_400,
            claims: ClaimNames::default(),
            introspection: None,
            demanded: Vec::new(),
            marks_of_others: Vec::new(),
            services: if ours { Vec::new() } else { vec![gty()] },
            applications: HashMap::new(),
            bound: false,
        }
    }

    pub(crate) fn application_of(&self, client: Option<&str>) -> Option<&AppId> {
        client.and_then(|client| self.applications.get(client)).or_else(|| self.applications.get("*"))
    }
}

/// Where an issuer's public keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The change feed.
    Ours,
    /// `jwks_uri` of the issuer's metadata.
    Discovery,
    JwksUrl(String),
    /// Read by the hall and handed over with [`crate::Issuers::put_file`].
    JwksFile(PathBuf),
}

/// How an issuer is asked about a token (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    pub url: String,
    /// Who we are there.
    pub client: String,
    pub secret: ClientSecret,
    pub method: IntrospectionMethod,
}

/// RFC 6749 §2.3.1
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntrospectionMethod {
    Basic,
    Post,
}

/// Our secret at another issuer. Shows itself to its endpoint alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(Arc<Zeroizing<String>>);

impl ClientSecret {
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(Arc::new(text))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(redacted)")
    }
}

/// How a token shows that it was given to a client for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceMark {
    /// The claim has this text.
    Is(String, String),
    /// The claim is not there.
    Absent(String),
    /// The claim names the token's client.
    NamesClient(String),
}

/// What an issuer calls its claims: of each list the first that is there. In scopes and roles a dot reaches into an
/// object: `realm_access.roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    pub scope: Vec<String>,
    pub roles: Vec<String>,
    pub client: Vec<String>,
    pub user: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            scope: names(&["scope", "scp", "scopes"]),
            roles: names(&["roles"]),
            client: names(&["client_id", "azp"]),
            user: "sub".into(),
        }
    }
}

/// Which certificates are which machine.
#[derive(Clone, Debug)]
pub struct MachineRule {
    pub matches: MachineMatch,
    /// `None`: the machine is called by what matched.
    pub name: Option<String>,
    pub application: AppId,
    pub scopes: ScopeSet,
    pub roles: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineMatch {
    SanUri(UriPattern),
    /// Exact, lower case, without wildcard or trailing dot.
    SanDns(String),
    /// The subject's distinguished name, exactly as the edge writes it.
    Subject(String),
}

/// An exact URI, or one that ends in `/*` and matches whatever lies below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriPattern {
    prefix: String,
    below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no URI pattern: an exact URI, or one whose path ends in `/*`")]
pub struct BadUriPattern(String);

impl UriPattern {
    pub fn parse(text: &str) -> Result<Self, BadUriPattern> {
        let bad = || BadUriPattern(text.to_owned());
        let (prefix, below) = match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => (prefix, true),
            Some(_) => return Err(bad()),
            None => (text, false),
        };
        // The wildcard stands behind an authority: `spiffe://*` would trust every domain.
        let rest = prefix.split_once("://").map_or("", |(_, rest)| rest);
        if prefix.contains('*')
            || rest.is_empty()
            || rest.starts_with('/')
            || !text.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(bad());
        }
        Ok(Self { prefix: prefix.to_owned(), below })
    }

    pub fn matches(&self, uri: &str) -> bool {
        if !self.below {
            return uri == self.prefix;
        }
        // M05: `spiffe://acme.test/a/../b` must not slip below a prefix under another reading.
        let clean = |segment: &str| !matches!(segment, "" | "." | "..");
        uri.strip_prefix(&self.prefix).is_some_and(|rest| {
            rest.split('/').all(clean) && rest.bytes().all(|b| b.is_ascii_graphic() && !b"%?#\\*".contains(&b))
        })
    }
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    Key,
    Token,
    Certificate,
}

impl CredentialKind {
    pub const ALL: [Self; 3] = [Self::Key, Self::Token, Self::Certificate];

    const fn bit(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::Token => 2,
            Self::Certificate => 4,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Token => "token",
            Self::Certificate => "certificate",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Kinds(u8);

impl Kinds {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub const fn with(self, kind: CredentialKind) -> Self {
        Self(self.0 | kind.bit())
    }

    #[must_use]
    pub const fn with_if(self, kind: CredentialKind, yes: bool) -> Self {
        if yes { self.with(kind) } else { self }
    }

    pub const fn has(self, kind: CredentialKind) -> bool {
        self.0 & kind.bit() != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn iter(self) -> impl Iterator<Item = CredentialKind> {
        CredentialKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(CredentialKind::as_str).collect::<Vec<_>>().join(" and "))
    }
}

/// Which credentials a route wants: alternatives, each a set. The first that is wholly accepted wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands(Vec<Kinds>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no demand: write `key`, `token`, `certificate`, joined by `and` and `or`")]
pub struct BadDemands(String);

impl Demands {
    /// For public routes.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    pub const fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    pub fn alternatives(&self) -> &[Kinds] {
        &self.0
    }

    /// Does every alternative want this kind?
    pub fn always(&self, kind: CredentialKind) -> bool {
        !self.0.is_empty() && self.0.iter().all(|set| set.has(kind))
    }

    pub fn ever(&self, kind: CredentialKind) -> bool {
        self.0.iter().any(|set| set.has(kind))
    }

    /// The alternative that lacks least of what came; the first of equals.
    pub(crate) fn nearest(&self, came: Kinds) -> Kinds {
        self.0.iter().copied().min_by_key(|set| (set.minus(came).len(), came.minus(*set).len())).unwrap_or_default()
    }
}

impl FromStr for Demands {
    type Err = BadDemands;

    /// `key`, `key and token`, `certificate or token`; `and` binds tighter.
    fn from_str(text: &str) -> Result<Self, BadDemands> {
        let bad = || BadDemands(text.to_owned());
        let kind = |word: &str| CredentialKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(bad);
        let set = |part: &str| {
            part.split(" and ").map(str::trim).try_fold(Kinds::NONE, |set, word| kind(word).map(|kind| set.with(kind)))
        };
        text.split(" or ").map(set).collect::<Result<Vec<_>, _>>().map(Self)
    }
}

impl fmt::Display for Demands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: Vec<String> = self.0.iter().map(|set| format!("{set:?}")).collect();
        f.write_str(&sets.join(" or "))
    }
}

/// For whom a request may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    User,
    Service,
    Machine,
    /// Nobody proven: a key names software.
    Application,
}

impl SubjectKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Machine => "machine",
            Self::Application => "application",
        }
    }
}

impl FromStr for SubjectKind {
    type Err = BadSubject;
    fn from_str(text: &str) -> Result<Self, BadSubject> {
        [Self::User, Self::Service, Self::Machine, Self::Application]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| BadSubject(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no subject: write `user`, `service`, `machine` or `application`")]
pub struct BadSubject(String);

/// What a gate does that may not know the newest revocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutLease {
    #[default]
    Deny,
    Introspect,
    /// Passes and marks the record stale; never on sensitive routes.
    Allow,
}

/// What lies behind a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteKind {
    #[default]
    Upstream,
    /// `GET /.trigate/whoami`.
    Whoami,
    /// The issuer's userinfo endpoint.
    Userinfo,
    /// The operators' HTTP API.
    AdminApi,
    /// What the desk tells gates that run elsewhere.
    GateApi,
    /// What the hall answers by itself.
    Internal,
}

/// One route: who may pass, and where to.
#[derive(Clone, Debug)]
pub struct RouteRule {
    pub name: Arc<str>,
    pub description: String,
    /// Lower case, without port; empty means any.
    pub hosts: Vec<String>,
    pub pattern: Pattern,
    /// Empty means any.
    pub methods: Vec<Method>,
    /// Waives the gates. Without it a route must demand something.
    pub public: bool,
    pub demands: Demands,
    /// Empty means any.
    pub subjects: Vec<SubjectKind>,
    pub demand: Demand,
    /// `false`: key, token and certificate may be of different applications.
    pub agree: bool,
    pub sensitive: bool,
    /// Oldest token that a sensitive route takes.
    pub sensitive_max_age_s: u32,
    pub without_lease: WithoutLease,
    /// Seconds that an issuer's answer about a token is used again.
    pub introspection_cache_s: u32,
    /// RFC 9470 `max_age`.
    pub max_authentication_age_s: Option<u32>,
    /// RFC 9470 `acr_values`: one of them.
    pub acr: Vec<String>,
    /// The operator's policies must permit it, after scopes and roles.
    pub policy: bool,
    /// For each application on this route, or each address where no application is known.
    pub limit: Option<Limit>,
    /// For each user on this route; of each application apart.
    pub user_limit: Option<Limit>,
    pub cors: Option<Cors>,
    /// The upstream's name.
    pub upstream: String,
    pub max_body_bytes: u64,
    /// A key must name the demanded scopes itself: one without any scopes has none of them.
    pub scoped_keys: bool,
    /// May become a WebSocket.
    pub websocket: bool,
    /// Attach a signed assertion of the identity.
    pub assertion: bool,
    /// Pass `Authorization` and key headers on to the upstream.
    pub pass_credentials: bool,
    /// The upstream is told the client's certificate. // RFC 9440
    pub client_cert: bool,
    pub kind: RouteKind,
    /// Takes no bearer token: it must be bound to a key, and the key be shown.
    pub bound: bool,
    /// A DPoP proof must carry a nonce of this process.
    pub dpop_nonce: bool,
}

impl RouteRule {
    /// A route with the safe defaults: any host, any method, agreement demanded, denied without a lease.
    pub fn new(name: &str, pattern: Pattern, demands: Demands) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            hosts: Vec::new(),
            pattern,
            methods: Vec::new(),
            public: false,
            demands,
            subjects: Vec::new(),
            demand: Demand::default(),
            agree: true,
            sensitive: false,
            sensitive_max_age_s: 120,
            without_lease: WithoutLease::Deny,
            introspection_cache_s: 5,
            max_authentication_age_s: None,
            acr: Vec::new(),
            policy: false,
            limit: None,
            user_limit: None,
            cors: None,
            upstream: String::new(),
            max_body_bytes: 10 * 1024 * 1024,
            scoped_keys: false,
            websocket: false,
            assertion: false,
            pass_credentials: false,
            client_cert: false,
            kind: RouteKind::Upstream,
            bound: false,
            dpop_nonce: false,
        }
    }

    /// `GET /.trigate/whoami`: any credential will do, and each that came must be good. `None` cannot happen for this
    /// constant path.
    pub fn whoami() -> Option<Self> {
        let demands = "key and token or token or certificate or key".parse().ok()?;
        let mut rule = Self::new("whoami", Pattern::parse("/.trigate/whoami").ok()?, demands);
        rule.methods = vec![Method::GET];
        rule.kind = RouteKind::Whoami;
        rule.description = "Says what the server knows of the caller from this request.".to_owned();
        Some(rule)
    }

    /// A sensitive route asks anew for each request.
    pub(crate) fn introspection_age_s(&self) -> u32 {
        if self.sensitive { 0 } else { self.introspection_cache_s }
    }

    /// SECURITY: nothing passes a sensitive route by default of knowledge.
    pub(crate) fn without_lease(&self) -> WithoutLease {
        match self.without_lease {
            WithoutLease::Allow if self.sensitive => WithoutLease::Deny,
            other => other,
        }
    }
}

/// Which pages of other origins may read the answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Exact origins, `https://app.test`. `null` only when it is listed; no wildcard.
    pub origins: Vec<String>,
    /// Header names, lower case, that a page may send.
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub credentials: bool,
    pub max_age: Option<Duration>,
}

impl Cors {
    /// The answer's headers for `origin`; `None` when the origin is unknown: the answer then carries no CORS header
    /// and the browser keeps it from the page. For a preflight `methods` are the route's, else pass an empty slice.
    // Fetch §3.2; an origin ending in ours, or in another case, is another origin.
    pub fn answer(&self, origin: &str, methods: &[Method], preflight: bool) -> Option<HeaderMap> {
        let known = self.origins.iter().find(|known| known.as_str() == origin)?;
        let mut headers = HeaderMap::new();
        let mut put = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        put(header::ACCESS_CONTROL_ALLOW_ORIGIN, known);
        put(header::VARY, "origin");
        if self.credentials {
            put(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if preflight {
            let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
            put(header::ACCESS_CONTROL_ALLOW_METHODS, &methods.join(", "));
            if !self.headers.is_empty() {
                put(header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers.join(", "));
            }
            if let Some(age) = self.max_age {
                put(header::ACCESS_CONTROL_MAX_AGE, &age.as_secs().to_string());
            }
        } else if !self.expose.is_empty() {
            put(header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose.join(", "));
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_and_print_alike() {
        for text in ["1000/hour", "10/second burst 20", "5/30s", "100/day", "7/minute"] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
        }
        for text in ["", "10", "0/hour", "10/0s", "x/hour", "10/fortnight", "10/hour burst 0"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn demands_read_and_print_alike() {
        for text in ["key", "token", "key and token", "certificate or token", "key and token or certificate"] {
            assert_eq!(text.parse::<Demands>().unwrap().to_string().replace("token and key", "key and token"), text);
        }
        for text in ["", "keys", "key or", "and", "key && token"] {
            assert!(text.parse::<Demands>().is_err(), "{text}");
        }
    }

    #[test]
    fn m05_uri_patterns_are_exact_or_below() {
        let below = UriPattern::parse("spiffe://acme.test/ns/*").unwrap();
        assert!(below.matches("spiffe://acme.test/ns/warehouse"));
        for uri in [
            "spiffe://acme.test/ns/",
            "spiffe://acme.test/ns",
            "spiffe://acme.test/ns/../x",
            "spiffe://acme.test/ns/a//b",
            "spiffe://acme.test/ns/%2e%2e",
            "spiffe://acme.test.evil/ns/a",
            "SPIFFE://acme.test/ns/a",
            "spiffe://acme.test/ns/a\0",
        ] {
            assert!(!below.matches(uri), "{uri}");
        }
        for bad in ["spiffe://*", "spiffe://acme.test*", "spiffe://*/a", "spiffe:///*", "*", "acme"] {
            assert!(UriPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn g13_only_listed_origins_get_cors_headers() {
        let cors = Cors { origins: vec!["https://app.test".into()], credentials: true, ..Cors::default() };
        let answer = cors.answer("https://app.test", &[Method::GET], true).unwrap();
        assert_eq!(answer.get("access-control-allow-origin").unwrap(), "https://app.test");
        assert_eq!(answer.get("vary").unwrap(), "origin");
        for origin in [
            "null",
            "*",
            "",
            "https://evil-app.test",
            "https://app.test.evil.test",
            "https://APP.test",
            "http://app.test",
        ] {
            assert_eq!(cors.answer(origin, &[Method::GET], true), None, "{origin}");
        }
    }
}
