//! What do the gates judge by? Turns a checked file into `trigate_gates::Rules`, one set for each listener that has
//! gates before it.

use super::{
    Config,
    file::{self, File},
};
use http::Method;
use std::{sync::Arc, time::Duration};
use trigate_core::{
    id::{AppId, TenantId},
    oauth::{Scope, ScopeSet},
    permission::Demand,
    port::Policy,
};
use trigate_gates::{
    Cors, Demands, Enforce, IssuerRule, KeySource, Limit, MachineMatch, MachineRule, Pattern, Plan, ProofRules,
    RouteKind, RouteRule, Routes, Rules, SubjectKind, UriPattern, WithoutLease,
};

/// Our own addresses as clients write them, known once the ports are bound.
#[derive(Clone, Debug)]
pub struct Urls {
    pub gate: String,
    pub issuer: String,
    pub desk: String,
    /// Of the listener for client certificates.
    pub mtls: Option<String>,
    /// Of the issuer's one.
    pub issuer_mtls: Option<String>,
}

/// Two routes of the file, by index, that claim the same request.
pub struct Conflict {
    pub first: usize,
    pub second: usize,
    pub message: String,
}

/// The rules of the road.
pub fn road_rules(config: &Config, urls: &Urls, epoch: u64) -> Result<Rules, String> {
    let mut routes = route_rules(&config.file)?;
    let policy = super::policy::load(config, &routes)?;
    routes.extend(RouteRule::whoami());
    routes.push(internal(JWKS, "/.trigate/jwks.json", vec![Method::GET])?);
    // Nothing of an upstream is ever reached under our own prefix, whatever a catch-all says.
    routes.push(internal("reserved", "/.trigate/**", vec![])?);
    let ours = if config.file.issuer.audiences.is_empty() {
        vec![urls.gate.clone()]
    } else {
        config.file.issuer.audiences.clone()
    };
    let mut issuers = vec![our_issuer(config, urls, ours)];
    for issuer in &config.file.trusted_issuer {
        issuers.push(super::issuers::foreign_issuer(config, issuer)?);
    }
    let mut rules = base(config, epoch);
    rules.proof = super::proof::rules(&config.file.dpop, [Some(&urls.gate), urls.mtls.as_ref()]);
    rules.enforce = match config.file.server.enforce {
        file::Enforce::Enforce => Enforce::Enforce,
        file::Enforce::Observe => Enforce::Observe,
    };
    rules.routes = Routes::new(routes).map_err(|conflict| conflict.to_string())?;
    rules.issuers = issuers;
    rules.policy = policy.map(|policies| policies as Arc<dyn Policy>);
    rules.machines = config.file.machine.iter().map(machine_rule).collect::<Result<_, _>>()?;
    Ok(rules)
}

/// Name of the route that answers with the keys of assertions.
pub const JWKS: &str = "assertion keys";

fn internal(name: &str, path: &str, methods: Vec<Method>) -> Result<RouteRule, String> {
    let mut rule = RouteRule::new(name, Pattern::parse(path).map_err(|error| error.to_string())?, Demands::none());
    rule.public = true;
    rule.methods = methods;
    rule.kind = RouteKind::Internal;
    Ok(rule)
}

/// Before the operators' API: a token for the desk with the operators' scope and role, on every path.
pub fn desk_rules(config: &Config, urls: &Urls, epoch: u64) -> Result<Rules, String> {
    let pattern = Pattern::parse("/**").map_err(|error| error.to_string())?;
    let mut rule = RouteRule::new("desk", pattern, "token".parse::<Demands>().map_err(|error| error.to_string())?);
    // SECURITY: the scope alone would let in every person who logs in with the command line's client.
    rule.demand =
        Demand { scopes: scope_set([crate::operator::SCOPE])?, any_role: vec![crate::operator::ROLE.to_owned()] };
    rule.kind = RouteKind::AdminApi;
    rule.description = "The operators' API.".to_owned();
    let mut rules = base(config, epoch);
    rules.proof = super::proof::rules(&config.file.dpop, [Some(&urls.desk), None]);
    rules.routes = Routes::new(vec![rule]).map_err(|conflict| conflict.to_string())?;
    rules.issuers = vec![our_issuer(config, urls, vec![urls.desk.clone()])];
    Ok(rules)
}

/// Before the issuer's userinfo endpoint. // OpenID Connect Core §5.3
pub fn issuer_rules(config: &Config, urls: &Urls, epoch: u64) -> Result<Rules, String> {
    let pattern = Pattern::parse("/oauth/userinfo").map_err(|error| error.to_string())?;
    let mut rule = RouteRule::new("userinfo", pattern, "token".parse::<Demands>().map_err(|error| error.to_string())?);
    rule.methods = vec![Method::GET, Method::POST];
    rule.subjects = vec![SubjectKind::User];
    rule.demand = Demand { scopes: scope_set(["openid"])?, any_role: vec![] };
    rule.kind = RouteKind::Userinfo;
    rule.description = "What the issuer says of the user.".to_owned();
    let mut audiences = vec![urls.gate.clone(), urls.issuer.clone(), urls.desk.clone()];
    audiences.extend(config.file.issuer.audiences.iter().cloned());
    let mut rules = base(config, epoch);
    rules.proof = super::proof::rules(&config.file.dpop, [Some(&urls.issuer), urls.issuer_mtls.as_ref()]);
    rules.routes = Routes::new(vec![rule]).map_err(|conflict| conflict.to_string())?;
    rules.issuers = vec![our_issuer(config, urls, audiences)];
    Ok(rules)
}

pub(super) fn base(config: &Config, epoch: u64) -> Rules {
    let server = &config.file.server;
    let plans =
        config.file.plans.iter().filter_map(|(name, plan)| Some((name.clone(), Plan::read(name, &plan.words()).ok()?)));
    Rules {
        epoch,
        tenant: TenantId::default_tenant(),
        enforce: Enforce::Enforce,
        routes: Routes::default(),
        issuers: Vec::new(),
        plans: plans.collect(),
        machines: Vec::new(),
        policy: None,
        realm: server.realm.clone(),
        address_limit: server.address_limit.as_deref().and_then(|limit| limit.parse::<Limit>().ok()),
        trusted_proxies: server.trusted_proxies.iter().filter_map(|text| network(text)).collect(),
        proof: ProofRules::default(),
    }
}

pub(super) fn network(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from))
}

fn our_issuer(config: &Config, urls: &Urls, audiences: Vec<String>) -> IssuerRule {
    let mut rule = IssuerRule::new(&urls.issuer, KeySource::Ours, audiences);
    if let Some(life) = config.file.issuer.max_token_life_s {
        rule.max_life_s = life;
    }
    rule.bound = config.file.issuer.bound;
    rule
}

pub(super) fn route_rules(file: &File) -> Result<Vec<RouteRule>, String> {
    file.route.iter().map(|route| route_rule(route, file)).collect()
}

fn route_rule(route: &file::Route, file: &File) -> Result<RouteRule, String> {
    let pattern = Pattern::parse(&route.path).map_err(|error| error.to_string())?;
    let demands = match &route.demands {
        Some(text) => text.parse::<Demands>().map_err(|error| error.to_string())?,
        None => Demands::none(),
    };
    let mut rule = RouteRule::new(&route_name(route), pattern, demands);
    rule.description = route.description.clone().unwrap_or_default();
    rule.hosts = route.host.iter().map(str::to_ascii_lowercase).collect();
    rule.methods = methods(&route.methods)?;
    rule.public = route.public;
    rule.subjects =
        route.subject.iter().map(|word| word.parse().map_err(|error| format!("{error}"))).collect::<Result<_, _>>()?;
    rule.demand = Demand { scopes: scope_set(route.scopes.iter())?, any_role: route.roles.0.clone() };
    rule.agree = route.agree.unwrap_or(true);
    rule.sensitive = route.sensitive;
    rule.sensitive_max_age_s = route.max_age_s.unwrap_or(300);
    rule.without_lease = match route.without_lease {
        None | Some(file::WithoutLease::Deny) => WithoutLease::Deny,
        Some(file::WithoutLease::Introspect) => WithoutLease::Introspect,
        Some(file::WithoutLease::Allow) => WithoutLease::Allow,
    };
    rule.introspection_cache_s = route.introspection_cache_s.unwrap_or(rule.introspection_cache_s);
    rule.max_authentication_age_s = route.max_authentication_age_s;
    rule.acr = route.acr.0.clone();
    rule.limit = route.limit.as_deref().map(|limit| limit.parse().map_err(|error| format!("{error}"))).transpose()?;
    let of_users = route.user_limit.as_deref();
    rule.user_limit = of_users.map(|limit| limit.parse().map_err(|error| format!("{error}"))).transpose()?;
    rule.cors = route.cors.as_ref().map(cors);
    rule.policy = route.policy;
    rule.upstream = route.upstream.clone();
    rule.max_body_bytes = route.max_body_bytes.unwrap_or(file.limits.body_bytes);
    rule.websocket = route.upgrade == Some(file::Upgrade::WebSocket);
    rule.assertion = route.assertion;
    rule.client_cert = route.client_cert;
    rule.pass_credentials = route.pass_credentials;
    rule.bound = route.bound;
    rule.dpop_nonce = route.dpop_nonce.unwrap_or(file.dpop.nonce);
    Ok(rule)
}

fn route_name(route: &file::Route) -> String {
    route.name.clone().unwrap_or_else(|| {
        let methods = route.methods.0.join("|");
        let host = route.host.0.join("|");
        format!("{methods} {host}{}", route.path).trim_start().to_owned()
    })
}

fn methods(words: &file::Words) -> Result<Vec<Method>, String> {
    words.iter().map(|word| Method::from_bytes(word.as_bytes()).map_err(|_| format!("`{word}` is no method"))).collect()
}

fn cors(cors: &file::Cors) -> Cors {
    let lower = |words: &file::Words| words.iter().map(str::to_ascii_lowercase).collect();
    Cors {
        origins: cors.origins.0.clone(),
        headers: lower(&cors.headers),
        expose: lower(&cors.expose),
        credentials: cors.credentials,
        max_age: cors.max_age_s.map(|s| Duration::from_secs(u64::from(s))),
    }
}

fn machine_rule(machine: &file::Machine) -> Result<MachineRule, String> {
    let matches = match (&machine.san_uri, &machine.san_dns, &machine.subject) {
        (Some(uri), None, None) => MachineMatch::SanUri(UriPattern::parse(uri).map_err(|error| error.to_string())?),
        (None, Some(dns), None) => MachineMatch::SanDns(dns.to_ascii_lowercase()),
        (None, None, Some(subject)) => {
            MachineMatch::Subject(trigate_x509::distinguished_name(subject).ok_or_else(|| {
                format!("`{subject}` is no name: write it as `openssl x509 -noout -subject -nameopt RFC2253` does")
            })?)
        }
        _ => return Err("a machine is named by exactly one of `san_uri`, `san_dns`, `subject`".to_owned()),
    };
    let application = machine.application.as_deref().ok_or("a machine belongs to an application: add `application`")?;
    Ok(MachineRule {
        matches,
        name: machine.name.clone(),
        application: AppId::parse(application).map_err(|error| error.to_string())?,
        scopes: scope_set(machine.scopes.iter())?,
        roles: machine.roles.0.clone(),
    })
}

pub(super) fn scope_set<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<ScopeSet, String> {
    words.into_iter().map(|word| Scope::parse(word).map_err(|error| format!("`{word}`: {error}"))).collect()
}

/// Complaints about one machine, for the check.
pub fn check_machine(machine: &file::Machine) -> Result<(), String> {
    machine_rule(machine).map(|_| ())
}

/// The first two routes of the file that claim the same requests, or the same name.
pub fn find_conflict(file: &File) -> Result<(), Conflict> {
    // Routes that are broken in themselves are complained about elsewhere.
    let Ok(rules) = route_rules(file) else { return Ok(()) };
    let names: Vec<String> = rules.iter().map(|rule| rule.name.to_string()).collect();
    let Err(conflict) = Routes::new(rules) else { return Ok(()) };
    let first = names.iter().position(|name| *name == conflict.first).unwrap_or_default();
    let second = names.iter().rposition(|name| *name == conflict.second).unwrap_or_default();
    Err(Conflict { first, second, message: conflict.to_string() })
}
