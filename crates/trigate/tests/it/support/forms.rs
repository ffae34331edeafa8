//! One request, asked in every form of the gate. `Asked` says what came of it, in words that all forms share.

mod envoy;
mod library;
mod road;

pub use envoy::Bridge;
pub use library::Library;
pub use road::{Road, Session};

use super::{
    TestTrigate,
    http::Reply,
    process::{GateProcess, fix_gate_ports},
    upstream::Seen,
};
use crate::remote::{gate_key, write_gate_toml};
use serde_json::Value;
use std::{
    collections::HashMap,
    fmt::Debug,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};
use trigate_core::audit::Record;

/// The listener of the proxies, open to this machine.
pub const ASKED: &str = "[forward_auth]\nlisten = \"127.0.0.1:0\"\nproxies = [\"127.0.0.1\"]\n";
/// As [`ASKED`], and their word about certificates is taken.
pub const ASKED_WITH_CERTIFICATES: &str = "[forward_auth]\nlisten = \"127.0.0.1:0\"\nproxies = [\"127.0.0.1\"]\n\
     client_certificates = [\"nginx\", \"caddy\", \"envoy\"]\n";

pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A request, free of any form.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub host: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Where the caller's connection comes from.
    pub peer: IpAddr,
    pub certificate: Option<Arc<Shown>>,
}

/// A client certificate with its key, in PEM.
#[derive(Default)]
pub struct Shown {
    pub pem: String,
    /// Of the authorities between, which only a handshake carries.
    pub chain: String,
    pub key: String,
    /// The authorities in force vouch for it now.
    pub good: bool,
}

impl Shown {
    fn whole(&self) -> String {
        format!("{}{}", self.pem, self.chain)
    }
}

impl Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {} certificate", if self.good { "good" } else { "bad" })
    }
}

impl Ask {
    pub fn get(target: &str, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self {
            method: "GET".into(),
            host: "localhost".into(),
            target: target.into(),
            headers,
            peer: LOCAL,
            certificate: None,
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(target: &str, token: &str) -> Self {
        Self::get(target, &[("Authorization", &format!("Bearer {token}"))])
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub status: u16,
    pub body: String,
    /// Headers of the answer.
    pub head: Vec<(String, String)>,
    /// Identity that the API gets; `None` where nothing went on to it.
    pub identity: Option<Vec<(String, String)>>,
    /// All headers that the API gets; `None` where nothing went on, and for nginx, whose own file says it: the real one is
    /// asked in `forward_auth.rs`.
    pub api: Option<Vec<(String, String)>>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All challenges in one line.
    pub fn challenge(&self) -> String {
        let all = self.head.iter().filter(|(name, _)| name == "www-authenticate");
        all.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub fn request_id(&self) -> Option<&str> {
        self.header("x-request-id")
    }
}

pub enum Form {
    Proxy(Road),
    /// `trigate gate`, a process of its own that knows what the desk tells.
    GateProcess(Road, Box<(GateProcess, tempfile::TempDir)>),
    /// `trigate-gates` as a tower layer before a service, with a desk elsewhere.
    Library(Box<Library>),
    ForwardAuth(Session),
    EnvoyHttp(Session),
    EnvoyGrpc(Box<Bridge>),
}

impl Form {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proxy(_) => "reverse proxy",
            Self::GateProcess(..) => "gate process",
            Self::Library(_) => "library",
            Self::ForwardAuth(_) => "forward-auth",
            Self::EnvoyHttp(_) => "ext_authz over HTTP",
            Self::EnvoyGrpc(_) => "ext_authz over gRPC",
        }
    }

    /// Every form that this build and this machine have. `t` was started with [`ASKED`].
    pub async fn all(t: &TestTrigate) -> Vec<Self> {
        let asked = t.running.forward_auth_addr.unwrap();
        let tls = t.running.mtls_addr.unwrap();
        let mut forms = vec![
            Self::Proxy(Road::to(t.running.gate_addr, tls, t.upstream.clone())),
            Self::ForwardAuth(Session::to(asked)),
            Self::EnvoyHttp(Session::to(asked)),
            Self::Library(Box::new(Library::start(t).await)),
            gate_process(t).await,
        ];
        forms.extend(Bridge::start(asked).map(|bridge| Self::EnvoyGrpc(Box::new(bridge))));
        forms
    }

    /// Forms of one process share what it counts and remembers: limits, used proofs, fetched keys.
    pub const PROCESSES: usize = 3;

    pub fn carries(&self, ask: &Ask) -> bool {
        match self {
            // A gate elsewhere signs no assertions: its file has no such route.
            Self::GateProcess(..) if ask.target.starts_with("/api/asserted") => false,
            // What no authority vouches for ends in the handshake, before any request ([`Road::shake_hands`]); their
            // listeners are IPv4 alone, so no caller has a mapped address.
            Self::Proxy(_) | Self::GateProcess(..) => {
                ask.peer.is_ipv4() && ask.certificate.as_ref().is_none_or(|shown| shown.good)
            }
            _ => true,
        }
    }

    /// Where its decisions are written, if not in the desk's own trail.
    fn trail(&self) -> Option<(PathBuf, &'static str)> {
        match self {
            Self::GateProcess(_, process) => Some((process.1.path().join("audit"), GATE)),
            Self::Library(library) => Some((library.trail(), library::NAME)),
            _ => None,
        }
    }

    pub async fn ask(&mut self, ask: &Ask) -> Asked {
        match self {
            Self::Proxy(road) | Self::GateProcess(road, _) => {
                let (reply, seen) = road.send(ask).await;
                let api = seen.map(|Seen { headers, .. }| headers);
                let identity = api.as_ref().map(|api| identity_in(api));
                Asked { identity, api, ..of_reply(reply) }
            }
            Self::Library(library) => library.ask(ask).await,
            Self::ForwardAuth(session) => of_reply(session.send("GET", NGINX, "trigate", &as_nginx_tells(ask)).await),
            Self::EnvoyHttp(session) => {
                let headers = as_envoy_tells(ask);
                let reply = session.send(&ask.method, &behind_envoy(ask), &ask.host, &headers).await;
                let remove = reply.header("x-envoy-auth-headers-to-remove").unwrap_or_default();
                let remove: Vec<String> = remove.split(',').map(str::to_owned).collect();
                let set = reply.head.iter().filter(|(name, _)| name.starts_with("x-trigate-") || name == "cookie");
                let set: Vec<_> = set.cloned().collect();
                let api = (reply.status == 200).then(|| carried_on(&ask.headers, &remove, &set));
                Asked { api, ..of_reply(reply) }
            }
            Self::EnvoyGrpc(bridge) => of_check(ask, &bridge.ask(ask, true)),
        }
    }

    /// Of a request that is larger than some forms read: `None` where it was not answered at all, which lets nobody in.
    pub async fn ask_or_closed(&mut self, ask: &Ask) -> Option<Asked> {
        match self {
            Self::Proxy(road) | Self::GateProcess(road, _) => road.send_or_closed(ask).await.map(of_reply),
            // No longer address fits into an `http::Uri`: a service of this kind never sees one.
            Self::Library(_) if ask.target.len() >= usize::from(u16::MAX) - 1 => None,
            Self::Library(library) => Some(library.ask(ask).await),
            Self::ForwardAuth(session) => {
                session.send_or_closed("GET", NGINX, "trigate", &as_nginx_tells(ask)).await.map(of_reply)
            }
            Self::EnvoyHttp(session) => {
                let headers = as_envoy_tells(ask);
                session.send_or_closed(&ask.method, &behind_envoy(ask), &ask.host, &headers).await.map(of_reply)
            }
            Self::EnvoyGrpc(bridge) => {
                let answer = bridge.ask(ask, true);
                answer["error"].is_null().then(|| of_check(ask, &answer))
            }
        }
    }
}

const NGINX: &str = "/forward-auth/nginx";

fn as_nginx_tells(ask: &Ask) -> Vec<(String, String)> {
    let mut headers = ask.headers.clone();
    set(&mut headers, "X-Original-Method", &ask.method);
    set(&mut headers, "X-Original-URI", &ask.target);
    set(&mut headers, "X-Original-Host", &ask.host);
    if let Some(shown) = &ask.certificate {
        set(&mut headers, "X-SSL-Client-Cert", &escaped(&shown.pem));
    }
    add_hop(&mut headers, ask.peer);
    headers
}

fn as_envoy_tells(ask: &Ask) -> Vec<(String, String)> {
    let mut headers = ask.headers.clone();
    set(&mut headers, "X-Original-Address", &ask.peer.to_string());
    if let Some(shown) = &ask.certificate {
        let told = format!("Hash=ab;Cert=\"{}\"", escaped(&shown.pem));
        set(&mut headers, "X-Forwarded-Client-Cert", &told);
    }
    headers
}

fn behind_envoy(ask: &Ask) -> String {
    format!("/forward-auth/envoy{}", ask.target)
}

const GATE: &str = "gate-1";

async fn gate_process(t: &TestTrigate) -> Form {
    let folder = tempfile::tempdir().unwrap();
    write_gate_toml(&t.folder(), folder.path(), GATE, "127.0.0.1:0", "127.0.0.1:0");
    fix_gate_ports(folder.path());
    let key = gate_key(t, GATE).await;
    trigate::operator::folder::write_private(&folder.path().join("gate.key"), key.as_bytes()).unwrap();
    let process = GateProcess::start(folder.path(), &format!("http://{}", t.running.desk_addr)).await;
    let road = Road::to(process.gate.0, process.mtls, t.upstream.clone());
    Form::GateProcess(road, Box::new((process, folder)))
}

/// In place of whatever the client wrote under this name.
fn set(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), value.to_owned()));
}

/// As `$proxy_add_x_forwarded_for` writes it.
fn add_hop(headers: &mut Vec<(String, String)>, peer: IpAddr) {
    let is_hop = |name: &str| name.eq_ignore_ascii_case("x-forwarded-for");
    let mut hops: Vec<String> =
        headers.iter().filter(|(name, _)| is_hop(name)).map(|(_, value)| value.clone()).collect();
    hops.push(peer.to_string());
    set(headers, "X-Forwarded-For", &hops.join(", "));
}

/// As `$ssl_client_escaped_cert` and Envoy write it.
pub fn escaped(pem: &str) -> String {
    url::form_urlencoded::byte_serialize(pem.as_bytes()).collect::<String>().replace('+', "%20")
}

/// What Envoy sends on: the client's headers without these, and with those.
fn carried_on(client: &[(String, String)], remove: &[String], set: &[(String, String)]) -> Vec<(String, String)> {
    let replaced = |name: &String| set.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let removed = |name: &String| remove.iter().any(|known| known.eq_ignore_ascii_case(name));
    let kept = client.iter().filter(|(name, _)| !replaced(name) && !removed(name));
    kept.chain(set).map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

pub fn of_reply(reply: Reply) -> Asked {
    let meant = reply.header("x-trigate-status").map(|status| status.parse().unwrap());
    Asked {
        status: meant.unwrap_or(reply.status),
        body: String::from_utf8_lossy(&reply.body).into_owned(),
        identity: Some(identity_in(&reply.head)),
        api: None,
        head: reply.head,
    }
}

pub fn of_check(ask: &Ask, answer: &Value) -> Asked {
    let pairs = |name: &str| -> Vec<(String, String)> { serde_json::from_value(answer[name].clone()).unwrap() };
    assert!(answer["error"].is_null(), "{answer}");
    let (status, set) = (u16::try_from(answer["status"].as_u64().unwrap()).unwrap(), pairs("set"));
    let remove: Vec<String> = serde_json::from_value(answer["remove"].clone()).unwrap();
    Asked {
        status,
        body: answer["body"].as_str().unwrap().to_owned(),
        head: pairs("headers"),
        identity: Some(identity_in(&set)),
        api: (status == 200).then(|| carried_on(&ask.headers, &remove, &set)),
    }
}

fn identity_in(head: &[(String, String)]) -> Vec<(String, String)> {
    sorted(head.iter().filter(|(name, value)| is_identity(name) && !value.is_empty()).cloned().collect())
}

/// The same for the same caller: neither about the answer nor about this one request.
fn is_identity(name: &str) -> bool {
    name.starts_with("x-trigate-")
        && !["x-trigate-status", "x-trigate-target", "x-trigate-request-id", "x-trigate-assertion"].contains(&name)
}

fn sorted(mut pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.sort();
    pairs
}

/// Asks in every form that carries it; all must agree with `status`, with each other's challenge, body and identity, and
/// leave the same record. What the first form answered is given back, line by line.
pub async fn ask_everywhere(t: &TestTrigate, forms: &mut [Form], lines: &[(Ask, u16)]) -> Vec<Asked> {
    ask_each(t, forms, lines, Ask::clone).await
}

/// As [`ask_everywhere`], with a request of its own for each form: of what is good once.
pub async fn ask_each<L>(
    t: &TestTrigate,
    forms: &mut [Form],
    lines: &[(L, u16)],
    make: impl Fn(&L) -> Ask,
) -> Vec<Asked> {
    let (mut asks, mut all) = (Vec::new(), Vec::new());
    for (line, status) in lines {
        let (mut made, mut answers) = (Vec::new(), Vec::new());
        for form in forms.iter_mut() {
            let ask = make(line);
            let asked = if form.carries(&ask) { Some(form.ask(&ask).await) } else { None };
            if let Some(asked) = &asked {
                assert_eq!(asked.status, *status, "{}: {}: {}", form.name(), shortened(&ask), asked.body);
            }
            made.push(ask);
            answers.push(asked);
        }
        asks.extend(made.into_iter().next());
        all.push(answers);
    }
    compare(t, forms, asks.iter(), &all);
    all.into_iter().map(|answers| answers.into_iter().flatten().next().unwrap()).collect()
}

/// All answers to one line are one answer, and all records one record.
pub fn compare<'a>(t: &TestTrigate, forms: &[Form], asks: impl Iterator<Item = &'a Ask>, all: &[Vec<Option<Asked>>]) {
    let records = decisions(t, forms);
    for (ask, answers) in asks.zip(all) {
        let record = |asked: &Asked| asked.request_id().map(|id| &records[id]);
        let first = answers.iter().flatten().next().unwrap();
        let identity = answers.iter().flatten().find_map(|asked| asked.identity.as_ref());
        for (form, asked) in forms.iter().zip(answers) {
            let Some(asked) = asked else { continue };
            let says = || format!("{}: {}", form.name(), shortened(ask));
            assert_eq!(asked.status, first.status, "{}", says());
            assert_eq!(asked.challenge(), first.challenge(), "{}", says());
            assert_eq!(record(asked), record(first), "{}", says());
            assert!(asked.identity.is_none() || asked.identity.as_ref() == identity, "{}: {asked:?}", says());
            if first.status != 200 && ask.method != "HEAD" {
                assert_eq!(asked.body, first.body, "{}", says());
            }
            if matches!(asked.status, 401 | 403 | 429) {
                let record = record(asked).unwrap_or_else(|| panic!("no record: {}", says()));
                assert!(record["reason"].is_string() && record["status"] == asked.status, "{}: {record}", says());
            }
        }
    }
}

/// Tokens may be long.
fn shortened(ask: &Ask) -> String {
    let text = format!("{ask:?}");
    if text.len() < 3_000 { text } else { format!("{}…", text.chars().take(3_000).collect::<String>()) }
}

/// Refusals of one route to callers with the same kinds of credential are one answer, whatever the reason was.
pub fn assert_one_answer(refused: &[Asked]) {
    let told = |asked: &Asked| (asked.status, asked.body.clone());
    for asked in refused {
        assert_eq!(told(asked), told(&refused[0]));
    }
}

/// Ends what of the forms is a process or follows a desk.
pub async fn end(forms: Vec<Form>) {
    for form in forms {
        match form {
            Form::GateProcess(_, process) => process.0.end(),
            Form::Library(library) => library.stop().await,
            _ => {}
        }
    }
}

/// Every decision of all trails by its request, without what no two requests share.
pub fn decisions(t: &TestTrigate, forms: &[Form]) -> HashMap<String, Value> {
    let decisions = settled_everywhere(t, forms).into_iter().filter_map(|record| match record {
        Record::Decision(decision) => Some(*decision),
        _ => None,
    });
    decisions
        .map(|decision| {
            let mut value = serde_json::to_value(&decision).unwrap();
            let fields = value.as_object_mut().unwrap();
            fields.remove("at");
            fields.remove("request");
            // Each of the three trails has a name.
            fields.remove("node");
            // How far the feed had come: a key that came in a URL is marked, which is a change.
            fields.remove("position");
            (decision.request.to_string(), value)
        })
        .collect()
}

/// Every record of all trails.
pub fn settled_everywhere(t: &TestTrigate, forms: &[Form]) -> Vec<Record> {
    let elsewhere = forms.iter().filter_map(Form::trail).flat_map(|(folder, node)| settled(&folder, node));
    t.records().into_iter().chain(elsewhere).collect()
}

/// Every record of a node, once no more come.
pub fn settled(folder: &Path, node: &str) -> Vec<Record> {
    let read = || {
        // Completions, which nobody waits for, are written after 5 ms.
        std::thread::sleep(std::time::Duration::from_millis(30));
        trigate_audit::next_batch(folder, node, 0, 100_000).unwrap()
    };
    let mut batch = read();
    loop {
        let again = read();
        if again.len() == batch.len() {
            return again.into_iter().map(|(_, record)| record).collect();
        }
        batch = again;
    }
}
