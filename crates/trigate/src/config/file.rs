//! What may stand in `trigate.toml`? The words of the file, field by field; what they mean together is judged in
//! `check.rs`. Unknown fields are refused: a misspelt safeguard is no safeguard.

use super::{
    issuers::{AskIssuer, Preset, SignalStream, TakeLogout},
    leaks::LeakReports,
    mtls::Mtls,
    plans::Plan,
    proof::Dpop,
    tls::Tls,
    upstreams::Upstream,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};

/// The configuration of one Trigate: listeners, trusted issuers, plans, upstreams, routes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub server: Server,
    pub issuer: Issuer,
    pub desk: Desk,
    /// Other authorization servers whose access tokens are accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_issuer: Vec<TrustedIssuer>,
    /// Streams of security events about users of trusted issuers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalStream>,
    /// Secret scanners that may report leaked API keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leak_reports: Vec<LeakReports>,
    /// What applications may ask for, by name: `pro = "1000/hour"`, or a table `[plans.pro]`. Applications are put on a plan.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plans: BTreeMap<String, Plan>,
    /// The APIs behind the gate by name: `orders = "http://127.0.0.1:3000"`, or a table `[upstreams.orders]`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<String, Upstream>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
    /// Which client certificates are which machines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machine: Vec<Machine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// Certificates of the gate's own listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_auth: Option<super::forward_auth::ForwardAuth>,
    /// Cedar policies, for routes with `policy = true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<super::policy::Section>,
    pub limits: Limits,
    pub dpop: Dpop,
    /// A gate that runs elsewhere (`trigate gate`): its desk, its key, its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<super::Gate>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where API requests arrive. Port 0 lets the system pick.
    pub gate: SocketAddr,
    /// Where people log in and clients get tokens.
    pub issuer: SocketAddr,
    /// Where operators work, with `/healthz`, `/readyz` and `/metrics`.
    pub desk: SocketAddr,
    /// Where API requests arrive with client certificates; needs `[mtls]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<SocketAddr>,
    /// Where clients get tokens with client certificates (RFC 8705); needs `[issuer.mtls]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_mtls: Option<SocketAddr>,
    /// The gate's own URL as clients write it: the default audience of tokens. Default: `http://localhost:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `sqlite:PATH` or `postgres://…`. Environment: `TRIGATE_STORE`.
    pub store: String,
    /// Folder of the audit segments.
    pub audit: String,
    /// File of the master key, readable by its owner alone. Environment: `TRIGATE_MASTER_KEY` holds the key itself.
    pub master_key: String,
    /// `enforce` refuses; `observe` judges and records, and refuses nothing.
    pub enforce: Enforce,
    /// This node's name in audit records. Default: `node-1`; required where nodes share a PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `realm` of the challenges.
    pub realm: String,
    /// Threads of the road; 0 takes one per core.
    pub workers: usize,
    /// Requests that one address may make, before any credential is read: `"100/second"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_limit: Option<String>,
    /// Networks whose `X-Forwarded-For` is believed. Empty: nobody's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// The named override for plain HTTP on an address that others can reach.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_http: bool,
}

impl Server {
    pub fn node(&self) -> &str {
        self.node.as_deref().unwrap_or("node-1")
    }
}

impl Default for Server {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            gate: local(8080),
            issuer: local(8081),
            desk: local(8082),
            mtls: None,
            issuer_mtls: None,
            url: None,
            store: "sqlite:trigate.db".into(),
            audit: "audit".into(),
            master_key: "master.key".into(),
            enforce: Enforce::Enforce,
            node: None,
            realm: "trigate".into(),
            workers: 0,
            address_limit: None,
            trusted_proxies: Vec::new(),
            insecure_http: false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Enforce {
    #[default]
    Enforce,
    Observe,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// The issuer's own URL, `iss` of its tokens. Default: `http://localhost:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Shown on the login page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `RS256`, `ES256` or `EdDSA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Audiences that the gate accepts in this issuer's tokens. Default: the gate's own URL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Scopes with what the consent page says about them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scopes: BTreeMap<String, String>,
    /// Seconds without use that end a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_idle_s: Option<u32>,
    /// Seconds that a session lives at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_life_s: Option<u32>,
    /// Seconds that any access token lives at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_token_life_s: Option<u32>,
    /// The gate takes no bearer token of this issuer: each must be bound to a key, and the key be shown.
    #[serde(skip_serializing_if = "is_false")]
    pub bound: bool,
    /// Client certificates at the issuer (RFC 8705): the same words as `[mtls]`, without hosts. They are not those of the
    /// gate unless the file says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// Where clients reach `server.issuer_mtls`: `mtls_endpoint_aliases` of the metadata. Default: the issuer's host with
    /// that listener's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls_url: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Desk {
    /// The desk's own URL, the audience of operators' tokens. Default: `http://localhost:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrustedIssuer {
    /// Compared with `iss` byte by byte.
    pub url: String,
    /// In the path of its logout endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A provider whose tokens are known: sets `typ`, `algorithms` and `claims`, each of which the file may still say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Audiences of which a token must carry one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// The named override: exactly `"danger: tokens meant for others pass"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_any_audience: Option<String>,
    /// File or URL of the issuer's keys. Default: found by discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// `typ` values accepted in the header. Default: `at+jwt`, `application/at+jwt`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub typ: Vec<String>,
    /// The named override for a `typ` of `JWT` without a preset: exactly `"danger: ID tokens pass as access tokens"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_tokens: Option<String>,
    /// Signature algorithms accepted. Default: all asymmetric ones known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// Which of the issuer's clients is which application; `"*"` for all others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub applications: BTreeMap<String, String>,
    /// Seconds of clock difference, at most 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leeway_s: Option<u32>,
    /// Seconds that this issuer's tokens may live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_life_s: Option<u32>,
    /// No bearer token of this issuer is taken: each must be bound to a key, and the key be shown.
    #[serde(skip_serializing_if = "is_false")]
    pub bound: bool,
    /// Names of the claims, where they differ from RFC 9068.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<AskIssuer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logout: Option<TakeLogout>,
    /// The named override for an issuer on plain HTTP that is not on this machine.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_http: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Claims {
    /// Of several the first that is there. Default: `scope`, `scp`, `scopes`. A dot reaches into an object.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub scope: Words,
    /// Default: `roles`.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub roles: Words,
    /// Default: `client_id`, `azp`.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub client: Words,
    /// Default: `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// In audit records and metrics. Default: the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Host names; empty means any.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub host: Words,
    /// `/exact`, `/prefix/**` or `/with/{segment}`.
    pub path: String,
    /// Empty means any.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub methods: Words,
    /// `"key"`, `"token"`, `"certificate"`, joined by `and` and `or`: `"key and token"`, `"certificate or token"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demands: Option<String>,
    /// Nobody has to prove anything: must be said aloud.
    #[serde(skip_serializing_if = "is_false")]
    pub public: bool,
    /// Who the request may be for: `user`, `service`, `machine`, `application`.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub subject: Words,
    /// All of these scopes are needed.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub scopes: Words,
    /// One of these roles is needed.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub roles: Words,
    /// Key, token and certificate must be of one application. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agree: Option<bool>,
    /// A young token, a live lease or introspection, and the record on disk before the response.
    #[serde(skip_serializing_if = "is_false")]
    pub sensitive: bool,
    /// Seconds that a token may be old on a sensitive route. Default: 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
    /// What a gate does that may have missed the newest revocations: `deny`, `introspect` or `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_lease: Option<WithoutLease>,
    /// Seconds that an issuer's answer about a token is used again, at most 300; a sensitive route always asks. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection_cache_s: Option<u32>,
    /// Seconds since the person logged in (RFC 9470).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_authentication_age_s: Option<u32>,
    /// Authentication contexts of which the token must carry one (RFC 9470).
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub acr: Words,
    /// Beside the plan: a limit of this route for each application: `"10/second"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Beside the plan: a limit of this route for each user of each application: `"2/second burst 10"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// The policies of `[policy]` must permit the request, after scopes and roles. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub policy: bool,
    /// Name of an upstream.
    pub upstream: String,
    /// Bytes of request body that are carried. Default: `limits.body_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// `"websocket"`: this route's connections may become WebSockets. Needs an upstream on HTTP/1.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// Hand the upstream a signed statement of who was let in.
    #[serde(skip_serializing_if = "is_false")]
    pub assertion: bool,
    /// Tell the upstream the client's certificate in `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    #[serde(skip_serializing_if = "is_false")]
    pub client_cert: bool,
    /// The named override that hands the caller's credentials to the upstream.
    #[serde(skip_serializing_if = "is_false")]
    pub pass_credentials: bool,
    /// Takes no bearer token: it must be bound to a key (DPoP or certificate), and the key be shown.
    #[serde(skip_serializing_if = "is_false")]
    pub bound: bool,
    /// DPoP proofs must carry a nonce of this gate process. Default: `dpop.nonce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpop_nonce: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    WebSocket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WithoutLease {
    Deny,
    Introspect,
    Allow,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Exact origins: `https://app.example`.
    pub origins: Words,
    /// Request headers beyond the safelisted ones.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub headers: Words,
    /// Response headers that scripts may read.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub expose: Words,
    #[serde(skip_serializing_if = "is_false")]
    pub credentials: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// SAN URI: `spiffe://acme.example/billing`, or with one trailing `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub san_uri: Option<String>,
    /// SAN DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub san_dns: Option<String>,
    /// The whole subject as RFC 4514 writes it: `CN=billing,O=Acme`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The machine's name. Default: what matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub scopes: Words,
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub roles: Words,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds in which a request's head must have come.
    pub header_deadline_s: u64,
    /// Seconds that a body may take before its pace counts.
    pub body_grace_s: u64,
    /// Bytes per second below which a body is cut.
    pub body_rate: u64,
    /// Bytes of request body, where a route says nothing else.
    pub body_bytes: u64,
    /// Bytes of request head.
    pub header_bytes: usize,
    pub headers: usize,
    /// Open connections of the whole gate.
    pub connections: usize,
    /// Open connections of one address.
    pub connections_per_address: usize,
    /// Requests whose answer has not begun; more are answered 503 at once.
    pub requests: usize,
    /// Seconds to open a connection to an upstream.
    pub connect_s: u64,
    /// Seconds until an upstream's response head.
    pub response_s: u64,
    /// Seconds that a response's body or a WebSocket may be silent.
    pub idle_s: u64,
    /// Idle connections kept to each upstream, per thread.
    pub idle_per_upstream: usize,
    /// Seconds that a stopping server waits for requests in flight.
    pub drain_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_deadline_s: 10,
            body_grace_s: 20,
            body_rate: 500,
            body_bytes: 16 << 20,
            header_bytes: 64 << 10,
            headers: 100,
            connections: 20_000,
            connections_per_address: 4_000,
            requests: 10_000,
            connect_s: 5,
            response_s: 60,
            idle_s: 300,
            idle_per_upstream: 256,
            drain_s: 10,
        }
    }
}

/// One word or a list of words: `"user"` and `["user", "service"]` are the same kind of thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "OneOrMany")]
pub struct Words(pub Vec<String>);

/// How `Words` is written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its shape is used, for the JSON Schema")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Words {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Words;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Words, E> {
                Ok(Words(vec![one.to_owned()]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}
