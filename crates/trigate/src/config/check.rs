//! Is this configuration safe to start? Every setting that opens a hole needs an override that names the danger; each
//! refusal says file, line and the literal lines that remedy it.

use super::{
    file::{File, Route, TrustedIssuer, WithoutLease},
    issuers::MAX_INTROSPECTION_CACHE_S,
    place::{Places, Step},
};
use std::{
    collections::HashSet,
    fmt::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};
use trigate_core::{id::AppId, jose::Algorithm, oauth::Scope};
use trigate_gates::{CredentialKind, Demands, Kinds, Limit, Pattern};

/// The text that an issuer without audiences must say.
pub const ANY_AUDIENCE: &str = "danger: tokens meant for others pass";

/// Seconds that a foreign issuer's token may live: revocations of foreign tokens are kept at least so long.
pub const MAX_FOREIGN_LIFE_S: u32 = 30 * 86_400;

/// What is wrong, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    pub message: String,
    /// Any one of these, applied as printed, lets it start.
    pub remedies: Vec<Remedy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Lines of TOML to add below line `below`, or in place of it.
    pub toml: String,
    pub below: usize,
    pub replaces: bool,
    /// When to choose it.
    pub when: &'static str,
}

/// All findings of one file; empty means that it starts.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub path: PathBuf,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for finding in &self.findings {
            writeln!(f, "{path}:{}: {}", finding.line, finding.message)?;
            for (index, remedy) in finding.remedies.iter().enumerate() {
                let lead = if index == 0 { "help:" } else { "  or:" };
                let verb = if remedy.replaces { "replace" } else { "add below" };
                writeln!(f, "  {lead} {}, {verb} line {}:", remedy.when, remedy.below)?;
                for line in remedy.toml.lines() {
                    writeln!(f, "      {line}")?;
                }
            }
        }
        match self.findings.len() {
            0 => writeln!(f, "{path}: ok"),
            1 => write!(f, "1 problem: not safe to start"),
            n => write!(f, "{n} problems: not safe to start"),
        }
    }
}

/// Judges what the file says. Pure: reads no other file and no network.
pub fn check(file: &File, text: &str) -> Vec<Finding> {
    let mut check = Check { file, places: Places::of(text), findings: Vec::new() };
    check.check_listeners();
    check.check_own_urls();
    check.check_addresses_differ();
    check.check_strangers();
    check.check_node();
    check.check_own_issuer();
    check.check_trusted_issuers();
    check.check_askers();
    check.check_signals();
    check.check_leak_reports();
    check.check_plans();
    check.check_upstreams();
    check.check_routes();
    check.check_same_routes();
    check.check_policies();
    check.check_machines();
    check.check_mtls();
    check.check_issuer_mtls();
    check.check_tls();
    check.check_forward_auth();
    check.check_proof();
    check.findings.sort_by_key(|finding| finding.line);
    check.findings
}

pub(super) struct Check<'a> {
    pub(super) file: &'a File,
    places: Places<'a>,
    findings: Vec<Finding>,
}

impl Check<'_> {
    pub(super) fn line(&self, path: &[Step<'_>]) -> usize {
        self.places.line(path)
    }

    pub(super) fn refuse(&mut self, line: usize, message: impl Into<String>, remedies: Vec<Remedy>) {
        self.findings.push(Finding { line, message: message.into(), remedies });
    }

    fn section(&self, name: &str) -> usize {
        self.line(&[Step::Key(name)])
    }

    fn check_listeners(&mut self) {
        let server = &self.file.server;
        let asked = self.file.forward_auth.as_ref().map(|asked| ("forward_auth", asked.listen));
        let open: Vec<(&str, SocketAddr)> = [("gate", server.gate), ("issuer", server.issuer), ("desk", server.desk)]
            .into_iter()
            .chain(asked)
            .filter(|(_, address)| !address.ip().is_loopback())
            .collect();
        // With a certificate of its own the gate speaks TLS.
        let open = open.into_iter().filter(|(name, _)| *name != "gate" || self.file.tls.is_empty()).collect::<Vec<_>>();
        if !server.insecure_http {
            for (name, address) in open {
                let (section, word) = if name == "forward_auth" { (name, "listen") } else { ("server", name) };
                let line = self.line(&[Step::Key(section), Step::Key(word)]);
                let remedies = vec![
                    Remedy {
                        toml: format!("{word} = \"127.0.0.1:{}\"", address.port()),
                        below: line,
                        replaces: true,
                        when: "to listen on this machine alone, behind something that speaks TLS",
                    },
                    below(
                        self.section("server"),
                        "insecure_http = true",
                        "if others carry the traffic over a network you trust",
                    ),
                ];
                self.refuse(
                    line,
                    format!("`{name}` listens on `{address}` without TLS: credentials would travel readable"),
                    remedies,
                );
            }
        }
    }

    fn check_addresses_differ(&mut self) {
        let server = &self.file.server;
        let mut seen = HashSet::new();
        for (name, address) in [
            ("gate", Some(server.gate)),
            ("issuer", Some(server.issuer)),
            ("desk", Some(server.desk)),
            ("mtls", server.mtls),
            ("issuer_mtls", server.issuer_mtls),
            ("forward_auth", self.file.forward_auth.as_ref().map(|asked| asked.listen)),
        ] {
            if let Some(address) = address.filter(|a| a.port() != 0)
                && !seen.insert(address)
            {
                let line = self.line(&[Step::Key("server"), Step::Key(name)]);
                self.refuse(
                    line,
                    format!("`{name}` listens on `{address}`, which another listener of this file has"),
                    vec![],
                );
            }
        }
    }

    fn check_strangers(&mut self) {
        let server = &self.file.server;
        for (index, network) in server.trusted_proxies.iter().enumerate() {
            if network.parse::<ipnet::IpNet>().is_err() && network.parse::<std::net::IpAddr>().is_err() {
                let line = self.line(&[Step::Key("server"), Step::Key("trusted_proxies"), Step::Index(index)]);
                self.refuse(line, format!("`{network}` is no network: write `10.0.0.0/8`"), vec![]);
            }
        }
        if let Some(limit) = &server.address_limit
            && let Err(why) = limit.parse::<Limit>()
        {
            let line = self.line(&[Step::Key("server"), Step::Key("address_limit")]);
            self.refuse(line, why.to_string(), vec![]);
        }
    }

    fn check_node(&mut self) {
        let server = &self.file.server;
        if server.node().is_empty()
            || !server.node().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            let line = self.line(&[Step::Key("server"), Step::Key("node")]);
            self.refuse(line, "`node` is a name of letters, digits, `-`, `_` and `.`", vec![]);
        }
        // Two nodes of one name would pass for one in the audit index.
        if server.store.starts_with("postgres") && server.node.is_none() {
            let line = self.line(&[Step::Key("server"), Step::Key("store")]);
            let remedy =
                below(self.section("server"), "node = \"node-1\"", "for one node; each further one takes another name");
            self.refuse(line, "a PostgreSQL can be shared by nodes, and this node has no name", vec![remedy]);
        }
        if let Err(why) = super::store_location(&server.store, std::path::Path::new(".")) {
            let line = self.line(&[Step::Key("server"), Step::Key("store")]);
            self.refuse(line, why, vec![]);
        }
    }

    fn check_own_urls(&mut self) {
        for (section, url) in
            [("server", &self.file.server.url), ("issuer", &self.file.issuer.url), ("desk", &self.file.desk.url)]
        {
            let Some(url) = url else { continue };
            let line = self.line(&[Step::Key(section), Step::Key("url")]);
            match url::Url::parse(url) {
                Ok(parsed) if parsed.scheme() == "https" || is_loopback_url(&parsed) => {}
                // RFC 8414 §2: an issuer is https; nothing overrides that but loopback.
                Ok(_) if section != "issuer" && self.file.server.insecure_http => {}
                Ok(parsed) => {
                    let https = format!("url = \"https://{}\"", parsed.host_str().unwrap_or("login.example"));
                    let mut remedies = vec![replace(line, &https, "to be reached over TLS")];
                    if section != "issuer" {
                        remedies.push(below(
                            self.section("server"),
                            "insecure_http = true",
                            "if others carry the traffic over a network you trust",
                        ));
                    }
                    self.refuse(line, format!("`{section}.url` `{url}` is not https"), remedies);
                }
                Err(_) => self.refuse(line, format!("`{section}.url` `{url}` is no URL"), vec![]),
            }
        }
    }

    fn check_own_issuer(&mut self) {
        if let Some(name) = &self.file.issuer.algorithm
            && !matches!(name.parse(), Ok(Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA))
        {
            let line = self.line(&[Step::Key("issuer"), Step::Key("algorithm")]);
            let remedy = replace(line, "algorithm = \"RS256\"", "to sign as every library expects");
            self.refuse(line, format!("`{name}` is no algorithm that this issuer signs with"), vec![remedy]);
        }
        for scope in self.file.issuer.scopes.keys() {
            if Scope::parse(scope).is_err() {
                let line = self.line(&[Step::Key("issuer"), Step::Key("scopes"), Step::Key(scope)]);
                self.refuse(line, format!("`{scope}` is no scope"), vec![]);
            }
        }
    }

    fn check_trusted_issuers(&mut self) {
        let mut seen = HashSet::new();
        for (index, issuer) in self.file.trusted_issuer.iter().enumerate() {
            let head = self.line(&[Step::Key("trusted_issuer"), Step::Index(index)]);
            if issuer.url.is_empty() {
                let remedy = below(head, "url = \"https://issuer.example\"", "to name it");
                self.refuse(head, "a trusted issuer without `url`", vec![remedy]);
            } else if !seen.insert(&issuer.url) {
                let line = self.issuer_line(index, "url");
                self.refuse(line, format!("issuer `{}` stands here twice", issuer.url), vec![]);
            } else {
                self.check_issuer_url(&issuer.url, issuer.insecure_http, head, self.issuer_line(index, "url"));
            }
            self.check_audiences(index, issuer, head);
            self.check_issuer_words(index, issuer);
            self.check_issuer_times(index, issuer);
            self.check_issuer_kind(index, issuer, head);
        }
    }

    pub(super) fn issuer_line(&self, index: usize, field: &str) -> usize {
        self.line(&[Step::Key("trusted_issuer"), Step::Index(index), Step::Key(field)])
    }

    /// RFC 9068 §4: an audience is what keeps a token for another API from passing here.
    fn check_audiences(&mut self, index: usize, issuer: &TrustedIssuer, head: usize) {
        if !issuer.audiences.is_empty() || issuer.accept_any_audience.as_deref() == Some(ANY_AUDIENCE) {
            return;
        }
        let any = format!("accept_any_audience = \"{ANY_AUDIENCE}\"");
        if issuer.accept_any_audience.is_some() {
            let line = self.issuer_line(index, "accept_any_audience");
            let remedy = replace(line, &any, "to accept every token of this issuer");
            return self.refuse(line, "`accept_any_audience` must name the danger", vec![remedy]);
        }
        let remedies = vec![
            below(
                head,
                "audiences = [\"https://api.example\"]",
                "to accept tokens that were made for this API (write its audience)",
            ),
            below(head, &any, "to accept every token of this issuer, also those made for other APIs"),
        ];
        self.refuse(head, format!("issuer `{}` without `audiences`", issuer.url), remedies);
    }

    fn check_issuer_words(&mut self, index: usize, issuer: &TrustedIssuer) {
        for name in issuer.algorithms.iter().filter(|name| name.parse::<Algorithm>().is_err()) {
            let why = format!("`{name}` is no algorithm known here (symmetric ones never are)");
            self.refuse(self.issuer_line(index, "algorithms"), why, vec![]);
        }
        for (client, application) in issuer.applications.iter().filter(|(_, id)| AppId::parse(id).is_err()) {
            let steps = [Step::Key("trusted_issuer"), Step::Index(index), Step::Key("applications"), Step::Key(client)];
            self.refuse(self.line(&steps), format!("`{application}` is no application id"), vec![]);
        }
    }

    fn check_issuer_times(&mut self, index: usize, issuer: &TrustedIssuer) {
        if issuer.max_life_s.is_some_and(|s| s > MAX_FOREIGN_LIFE_S) {
            let line = self.issuer_line(index, "max_life_s");
            let most = format!("max_life_s = {MAX_FOREIGN_LIFE_S}");
            let why = format!(
                "`max_life_s` is over {MAX_FOREIGN_LIFE_S} s: a revocation is kept for so long, and the token would \
                 wake up again"
            );
            self.refuse(line, why, vec![replace(line, &most, "to accept tokens of up to 30 days")]);
        }
        if issuer.leeway_s.is_some_and(|s| s > 60) {
            let line = self.issuer_line(index, "leeway_s");
            let remedy = replace(line, "leeway_s = 60", "to allow the most");
            self.refuse(line, "`leeway_s` above 60 keeps expired tokens alive", vec![remedy]);
        }
    }

    pub(super) fn check_issuer_url(&mut self, url: &str, insecure: bool, head: usize, line: usize) {
        match url::Url::parse(url) {
            Ok(parsed) if parsed.scheme() == "https" || is_loopback_url(&parsed) || insecure => {}
            Ok(_) => {
                let remedy =
                    below(head, "insecure_http = true", "if nobody between here and there can change its keys");
                self.refuse(
                    line,
                    format!("issuer `{url}` is not https: whoever changes its keys on the way is let in"),
                    vec![remedy],
                );
            }
            Err(_) => self.refuse(line, format!("issuer `{url}` is no URL"), vec![]),
        }
    }

    fn check_upstreams(&mut self) {
        for (name, upstream) in &self.file.upstreams {
            if let Err((field, why)) = upstream.check() {
                let line = self.line(&[Step::Key("upstreams"), Step::Key(name), Step::Key(field)]);
                self.refuse(line, format!("upstream `{name}`: {why}"), vec![]);
            }
        }
    }

    fn check_routes(&mut self) {
        for (index, route) in self.file.route.iter().enumerate() {
            self.check_route_shape(index, route);
            self.check_route_demands(index, route);
            self.check_route_words(index, route);
            self.check_route_cors(index, route);
        }
    }

    fn route_line(&self, index: usize, field: &str) -> usize {
        self.line(&[Step::Key("route"), Step::Index(index), Step::Key(field)])
    }

    fn check_route_shape(&mut self, index: usize, route: &Route) {
        let head = self.line(&[Step::Key("route"), Step::Index(index)]);
        if route.path.is_empty() {
            self.refuse(head, "a route without `path`", vec![below(head, "path = \"/\"", "to match the root alone")]);
        } else if let Err(why) = Pattern::parse(&route.path) {
            self.refuse(self.route_line(index, "path"), why.to_string(), vec![]);
        } else if route.path.starts_with("/.trigate") {
            self.refuse(self.route_line(index, "path"), "`/.trigate/` belongs to the gate itself", vec![]);
        }
        if route.upstream.is_empty() {
            let remedies = match self.file.upstreams.keys().next() {
                Some(name) => vec![below(head, &format!("upstream = \"{name}\""), "to send it there")],
                None => vec![],
            };
            self.refuse(head, format!("route `{}` without `upstream`", route.path), remedies);
        } else if !self.file.upstreams.contains_key(&route.upstream) {
            let line = self.route_line(index, "upstream");
            let remedies = match self.file.upstreams.keys().next() {
                Some(name) => vec![replace(line, &format!("upstream = \"{name}\""), "to use one that exists")],
                None => vec![],
            };
            self.refuse(line, format!("`{}` is not in `[upstreams]`", route.upstream), remedies);
        } else if route.upgrade.is_some()
            && self.file.upstreams.get(&route.upstream).is_some_and(super::Upstream::speaks_http2)
        {
            let line = self.route_line(index, "upgrade");
            let why = format!("`{}` is spoken to in HTTP/2, where nothing is upgraded", route.upstream);
            self.refuse(line, why, vec![]);
        }
    }

    fn check_route_demands(&mut self, index: usize, route: &Route) {
        let head = self.line(&[Step::Key("route"), Step::Index(index)]);
        let Some(text) = &route.demands else {
            if !route.public {
                let remedies = vec![
                    below(head, "demands = \"token\"", "if callers must prove who they are"),
                    below(head, "public = true", "if everybody may call it, unproven"),
                ];
                self.refuse(head, format!("route `{}` demands nothing, and does not say so", route.path), remedies);
            }
            return;
        };
        let line = self.route_line(index, "demands");
        if route.public {
            let open = self.route_line(index, "public");
            self.refuse(
                open,
                format!("route `{}` is `public` and demands `{text}`: it cannot be both", route.path),
                vec![replace(open, "public = false", "to keep the demand")],
            );
            return;
        }
        let demands = match text.parse::<Demands>() {
            Ok(demands) => demands,
            Err(why) => {
                return self.refuse(
                    line,
                    why.to_string(),
                    vec![replace(line, "demands = \"token\"", "to ask for an access token")],
                );
            }
        };
        // An API key identifies an application; whoever thinks that it stands for a user finds out here.
        let key_only = demands.alternatives().contains(&Kinds::NONE.with(CredentialKind::Key));
        if key_only && !route.subject.iter().any(|s| s == "application") {
            let remedies = vec![
                below(head, "subject = \"application\"", "if the request is for an application and for no user"),
                replace(line, "demands = \"key and token\"", "if it is for a user"),
            ];
            let existing = !route.subject.is_empty();
            let remedies = if existing {
                vec![
                    replace(
                        self.route_line(index, "subject"),
                        "subject = \"application\"",
                        "if the request is for an application and for no user",
                    ),
                    replace(line, "demands = \"key and token\"", "if it is for a user"),
                ]
            } else {
                remedies
            };
            self.refuse(
                line,
                format!(
                    "route `{}` demands an API key alone: a key identifies an application, never a user",
                    route.path
                ),
                remedies,
            );
        }
        if demands.ever(CredentialKind::Certificate) && !super::mtls::reach_the_gate(self.file) {
            self.refuse(line, format!("route `{}` takes certificates, but none reaches the gate: `[mtls]` is needed, and `server.mtls` or a proxy that tells of them", route.path), vec![]);
        }
        if route.sensitive && route.without_lease == Some(WithoutLease::Allow) {
            let line = self.route_line(index, "without_lease");
            self.refuse(
                line,
                format!("route `{}` is sensitive: it cannot go on without knowing the newest revocations", route.path),
                vec![
                    replace(line, "without_lease = \"deny\"", "to refuse then"),
                    replace(line, "without_lease = \"introspect\"", "to ask the issuer then"),
                ],
            );
        }
    }

    fn check_route_words(&mut self, index: usize, route: &Route) {
        for scope in route.scopes.iter().filter(|scope| Scope::parse(scope).is_err()) {
            self.refuse(self.route_line(index, "scopes"), format!("`{scope}` is no scope (one word each)"), vec![]);
        }
        for subject in route.subject.iter().filter(|s| !matches!(*s, "user" | "service" | "machine" | "application")) {
            self.refuse(
                self.route_line(index, "subject"),
                format!("`{subject}` is none of `user`, `service`, `machine`, `application`"),
                vec![],
            );
        }
        for method in route.methods.iter() {
            if http::Method::from_bytes(method.as_bytes()).is_err() || method.bytes().any(|b| b.is_ascii_lowercase()) {
                self.refuse(self.route_line(index, "methods"), format!("`{method}` is no method (capitals)"), vec![]);
            }
        }
        for host in route.host.iter() {
            if trigate_gates::authority::Authority::parse(host).is_err() {
                self.refuse(self.route_line(index, "host"), format!("`{host}` is no host name"), vec![]);
            }
        }
        if route.introspection_cache_s.is_some_and(|s| s > MAX_INTROSPECTION_CACHE_S) {
            let line = self.route_line(index, "introspection_cache_s");
            let most = format!("introspection_cache_s = {MAX_INTROSPECTION_CACHE_S}");
            let why = "`introspection_cache_s` is over 300 s: so long would a token work that the issuer has ended";
            self.refuse(line, why, vec![replace(line, &most, "to allow the most")]);
        }
        for (field, limit) in [("limit", &route.limit), ("user_limit", &route.user_limit)] {
            if let Some(Err(why)) = limit.as_ref().map(|limit| limit.parse::<Limit>()) {
                self.refuse(self.route_line(index, field), why.to_string(), vec![]);
            }
        }
        let takes_tokens = route
            .demands
            .as_ref()
            .is_some_and(|text| text.parse::<Demands>().is_ok_and(|demands| demands.ever(CredentialKind::Token)));
        if route.user_limit.is_some() && !takes_tokens {
            let why = format!("route `{}` takes no token: it knows no users to count", route.path);
            self.refuse(self.route_line(index, "user_limit"), why, vec![]);
        }
    }

    fn check_route_cors(&mut self, index: usize, route: &Route) {
        let Some(cors) = &route.cors else { return };
        for origin in cors.origins.iter() {
            let exact = url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == origin);
            if !exact {
                self.refuse(
                    self.route_line(index, "cors"),
                    format!(
                        "`{origin}` is no origin: write `https://app.example`, without path (there is no wildcard)"
                    ),
                    vec![],
                );
            }
        }
    }

    fn check_proof(&mut self) {
        for (index, why) in super::proof::complaints(self.file) {
            let line = match index {
                super::proof::Place::Section(field) => self.line(&[Step::Key("dpop"), Step::Key(field)]),
                super::proof::Place::Route(index, field) => self.route_line(index, field),
            };
            self.refuse(line, why, vec![]);
        }
    }

    fn check_same_routes(&mut self) {
        if let Err(conflict) = super::rules::find_conflict(self.file) {
            let line = self.route_line(conflict.second, "path");
            let first = self.route_line(conflict.first, "path");
            self.refuse(line, format!("{}: the other stands in line {first}", conflict.message), vec![]);
        }
    }

    /// A route that asks policies which nobody wrote would refuse everybody; policies that no route asks protect nothing.
    fn check_policies(&mut self) {
        let asks = self.file.route.iter().position(|route| route.policy);
        match (asks, &self.file.policy) {
            (Some(index), None) => {
                let line = self.route_line(index, "policy");
                let remedy = below(1, "[policy]\nfolder = \"policies\"", "to say where the policies are");
                self.refuse(line, "the route wants policies, and there is no `[policy]`", vec![remedy]);
            }
            (None, Some(_)) => {
                let line = self.line(&[Step::Key("policy")]);
                self.refuse(
                    line,
                    "`[policy]` has policies, and no route has `policy = true`: nothing asks them",
                    vec![],
                );
            }
            _ => {}
        }
        for index in 0..self.file.route.len() {
            let both = self.file.route.get(index).is_some_and(|route| route.policy && route.public);
            if both {
                let line = self.route_line(index, "policy");
                self.refuse(line, "a public route asks nobody, so no policy is asked either", vec![]);
            }
        }
    }

    fn check_machines(&mut self) {
        for (index, machine) in self.file.machine.iter().enumerate() {
            let head = self.line(&[Step::Key("machine"), Step::Index(index)]);
            if let Err(why) = super::rules::check_machine(machine) {
                self.refuse(head, why, vec![]);
            }
        }
    }

    fn check_tls(&mut self) {
        for (index, tls) in self.file.tls.iter().enumerate() {
            let head = self.line(&[Step::Key("tls"), Step::Index(index)]);
            if tls.certificate.is_empty() || tls.key.is_empty() {
                let remedy = below(head, "certificate = \"api.pem\"\nkey = \"api.key\"", "to name its two files");
                self.refuse(head, "`[[tls]]` needs `certificate` and `key`", vec![remedy]);
            }
            for name in tls.names.iter() {
                let plain = name.strip_prefix("*.").unwrap_or(name);
                if plain.contains(':') || trigate_gates::authority::Authority::parse(plain).is_err() {
                    let line = self.line(&[Step::Key("tls"), Step::Index(index), Step::Key("names")]);
                    self.refuse(line, format!("`{name}` is no host name"), vec![]);
                }
            }
        }
    }

    fn check_mtls(&mut self) {
        let line = self.section("mtls");
        match (&self.file.mtls, self.file.server.mtls) {
            (Some(mtls), address) => {
                for (field, why) in mtls.faults(address.is_some() || !super::mtls::are_told(self.file)) {
                    let line = self.line(&[Step::Key("mtls"), Step::Key(field)]).max(line);
                    self.refuse(line, why, vec![]);
                }
            }
            (None, Some(_)) => {
                let line = self.line(&[Step::Key("server"), Step::Key("mtls")]);
                self.refuse(
                    line,
                    "`server.mtls` listens, but `[mtls]` names no authority, certificate and key",
                    vec![],
                );
            }
            _ => {}
        }
    }

    fn check_issuer_mtls(&mut self) {
        for (place, why) in super::mtls::issuer_faults(self.file) {
            let line = self.line(&place.map(Step::Key));
            self.refuse(line, why, vec![]);
        }
    }
}

impl Check<'_> {
    fn check_forward_auth(&mut self) {
        let Some(asked) = &self.file.forward_auth else { return };
        if !asked.client_certificates.is_empty() && self.file.mtls.is_none() {
            let line = self.line(&[Step::Key("forward_auth"), Step::Key("client_certificates")]);
            self.refuse(line, "certificates are told, but `[mtls]` names no authority to judge them by", vec![]);
        }
        for (field, why, remedy) in asked.complaints() {
            let line = self.line(&[Step::Key("forward_auth"), Step::Key(field)]);
            let when = "if the proxy runs on this machine";
            let remedies = match remedy {
                Some(toml) if field == "proxies" => vec![replace(line, toml, when)],
                Some(toml) => vec![below(self.section("forward_auth"), toml, when)],
                None => vec![],
            };
            self.refuse(line, why, remedies);
        }
    }
}

pub(super) fn below(line: usize, toml: &str, when: &'static str) -> Remedy {
    Remedy { toml: toml.to_owned(), below: line, replaces: false, when }
}

pub(super) fn replace(line: usize, toml: &str, when: &'static str) -> Remedy {
    Remedy { toml: toml.to_owned(), below: line, replaces: true, when }
}

pub(super) fn is_loopback_url(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The parser's own complaint, with its line and a hint.
pub fn unreadable(text: &str, error: &toml::de::Error) -> Finding {
    let line = error.span().map_or(1, |span| {
        Places::of("").line_at(0).max(1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count())
    });
    let mut message = error.message().trim().replace('\n', " ");
    if message == "invalid socket address syntax" {
        message.push_str(": write an address and a port from 0 to 65535, such as `127.0.0.1:8080`");
    }
    if let Some(near) = nearest(&message).map(str::to_owned) {
        let _ = write!(message, " (did you mean `{near}`?)");
    }
    Finding { line, message, remedies: vec![] }
}

/// For "unknown field `x`, expected one of `a`, `b`": the one that is nearly what was written.
fn nearest(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrote = quoted.next().filter(|_| message.starts_with("unknown"))?;
    quoted.map(|known| (distance(wrote, known), known)).filter(|(d, _)| *d <= 2).min().map(|(_, known)| known)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != *y)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
