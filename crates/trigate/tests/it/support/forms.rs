//! One request, asked in every form of the gate. `Asked` says what came of it, in words that all forms share.

use super::{
    TestTrigate,
    http::{Reply, parse},
    process::{GateProcess, fix_gate_ports},
};
use crate::remote::{gate_key, write_gate_toml};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer as _, Service as _};
use trigate::config;
use trigate_audit::{SegmentLog, SegmentSettings, own_key};
use trigate_core::audit::Record;
use trigate_gates::{
    Permit,
    layer::{GateLayer, PeerAddress},
    remote::{Remote, RemoteSettings},
    system::SystemClock,
};

/// The listener of the proxies, open to this machine.
pub const ASKED: &str = "[forward_auth]\nlisten = \"127.0.0.1:0\"\nproxies = [\"127.0.0.1\"]\n";

/// A request, free of any form.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub host: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Ask {
    pub fn get(target: &str, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { method: "GET".into(), host: "localhost".into(), target: target.into(), headers }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub status: u16,
    /// All challenges in one line.
    pub challenge: String,
    pub body: String,
    pub request_id: Option<String>,
    /// Identity that the API gets; `None` in the forms of a proxy: its API saw it.
    pub identity: Option<Vec<(String, String)>>,
}

pub enum Form {
    Proxy(Session),
    /// `trigate gate`, a process of its own that knows what the desk tells.
    GateProcess(Session, Box<(GateProcess, tempfile::TempDir)>),
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
        let mut forms = vec![
            Self::Proxy(Session::to(t.running.gate_addr)),
            Self::ForwardAuth(Session::to(asked)),
            Self::EnvoyHttp(Session::to(asked)),
            Self::Library(Box::new(Library::start(t).await)),
            gate_process(t).await,
        ];
        forms.extend(Bridge::start(asked).map(|bridge| Self::EnvoyGrpc(Box::new(bridge))));
        forms
    }

    /// A gate elsewhere signs no assertions: its file has no such route.
    pub fn carries(&self, ask: &Ask) -> bool {
        !matches!(self, Self::GateProcess(..)) || !ask.target.starts_with("/api/asserted")
    }

    /// Where its decisions are written, if not in the desk's own trail.
    fn trail(&self) -> Option<(PathBuf, &'static str)> {
        match self {
            Self::GateProcess(_, process) => Some((process.1.path().join("audit"), GATE)),
            Self::Library(library) => Some((library.folder.path().join("audit"), LIBRARY)),
            _ => None,
        }
    }

    pub async fn ask(&mut self, ask: &Ask) -> Asked {
        match self {
            Self::Proxy(session) | Self::GateProcess(session, _) => {
                let reply = session.send(&ask.method, &ask.target, &ask.host, &ask.headers).await;
                Asked { identity: None, ..of_reply(reply) }
            }
            Self::Library(library) => library.ask(ask).await,
            Self::ForwardAuth(session) => {
                let mut headers = ask.headers.clone();
                headers.push(("X-Original-Method".into(), ask.method.clone()));
                headers.push(("X-Original-URI".into(), ask.target.clone()));
                headers.push(("X-Original-Host".into(), ask.host.clone()));
                add_hop(&mut headers);
                of_reply(session.send("GET", "/forward-auth/nginx", "trigate", &headers).await)
            }
            Self::EnvoyHttp(session) => {
                let mut headers = ask.headers.clone();
                headers.push(("X-Original-Address".into(), "127.0.0.1".into()));
                let target = format!("/forward-auth/envoy{}", ask.target);
                of_reply(session.send(&ask.method, &target, &ask.host, &headers).await)
            }
            Self::EnvoyGrpc(bridge) => of_check(&bridge.ask(ask, true)),
        }
    }
}

const GATE: &str = "gate-1";
const LIBRARY: &str = "library";

async fn gate_process(t: &TestTrigate) -> Form {
    let folder = tempfile::tempdir().unwrap();
    write_gate_toml(&t.folder(), folder.path(), GATE, "127.0.0.1:0", "127.0.0.1:0");
    fix_gate_ports(folder.path());
    let key = gate_key(t, GATE).await;
    trigate::operator::folder::write_private(&folder.path().join("gate.key"), key.as_bytes()).unwrap();
    let process = GateProcess::start(folder.path(), &format!("http://{}", t.running.desk_addr)).await;
    Form::GateProcess(Session::to(process.gate.0), Box::new((process, folder)))
}

/// The gates inside a program of one's own: the desk's routes, before a service that tells what it was told.
pub struct Library {
    gate: GateLayer,
    desk: Arc<Remote>,
    folder: tempfile::TempDir,
}

impl Library {
    async fn start(t: &TestTrigate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = own_key(&folder.path().join("checkpoint.key")).unwrap();
        let desk = format!("http://{}", t.running.desk_addr);
        let desk = Remote::connect(RemoteSettings::new(&desk, &gate_key(t, LIBRARY).await, LIBRARY)).await.unwrap();
        let clock = Arc::new(SystemClock::new());
        let audit = SegmentLog::open(&folder.path().join("audit"), LIBRARY, SegmentSettings::default(), clock, key);
        let config = config::load(&t.folder().join("trigate.toml")).unwrap();
        let rules = config::road_rules(&config, &t.running.urls, 1).unwrap();
        Self { gate: GateLayer::new(desk.gates(audit.unwrap()), Arc::new(rules)), desk, folder }
    }

    async fn ask(&self, ask: &Ask) -> Asked {
        let mut request = http::Request::builder().method(ask.method.as_str()).uri(&ask.target);
        for (name, value) in std::iter::once(&("host".to_owned(), ask.host.clone())).chain(&ask.headers) {
            request = request.header(name, value);
        }
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(PeerAddress([127, 0, 0, 1].into()));
        let reply = self.gate.layer(tower::service_fn(told)).call(request).await.unwrap();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let head = reply.headers();
        Asked {
            status: reply.status().as_u16(),
            challenge: head.get_all("www-authenticate").iter().map(text).collect::<Vec<_>>().join(", "),
            body: String::from_utf8_lossy(reply.body()).into_owned(),
            request_id: head.get("x-request-id").map(text),
            identity: Some(sorted(
                head.iter()
                    .filter(|(name, _)| is_identity(name.as_str()))
                    .map(|(name, value)| (name.as_str().to_owned(), text(value)))
                    .collect(),
            )),
        }
    }
}

/// The service behind the layer: gives back the headers that it got, which are the layer's word.
async fn told(request: http::Request<()>) -> Result<http::Response<Vec<u8>>, std::convert::Infallible> {
    let permit = request.extensions().get::<Arc<Permit>>().unwrap();
    assert_eq!(request.uri().path(), permit.path().as_str(), "what was judged is what is routed");
    let mut reply = http::Response::new(Vec::new());
    reply.headers_mut().extend(request.headers().clone());
    reply.headers_mut().insert("x-request-id", permit.request_id().as_str().parse().unwrap());
    Ok(reply)
}

/// As `$proxy_add_x_forwarded_for` writes it.
fn add_hop(headers: &mut Vec<(String, String)>) {
    let is_hop = |name: &str| name.eq_ignore_ascii_case("x-forwarded-for");
    let mut hops: Vec<String> =
        headers.iter().filter(|(name, _)| is_hop(name)).map(|(_, value)| value.clone()).collect();
    headers.retain(|(name, _)| !is_hop(name));
    hops.push("127.0.0.1".into());
    headers.push(("X-Forwarded-For".into(), hops.join(", ")));
}

pub fn of_reply(reply: Reply) -> Asked {
    let meant = reply.header("x-trigate-status").map(|status| status.parse().unwrap());
    let ours = reply.head.iter().filter(|(name, _)| is_identity(name));
    Asked {
        status: meant.unwrap_or(reply.status),
        challenge: reply.headers("www-authenticate").collect::<Vec<_>>().join(", "),
        body: String::from_utf8_lossy(&reply.body).into_owned(),
        request_id: reply.header("x-request-id").map(str::to_owned),
        identity: Some(sorted(ours.cloned().collect())),
    }
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

pub fn of_check(answer: &Value) -> Asked {
    let pairs = |name: &str| -> Vec<(String, String)> { serde_json::from_value(answer[name].clone()).unwrap() };
    assert!(answer["error"].is_null(), "{answer}");
    let headers = pairs("headers");
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut identity = pairs("set");
    identity.retain(|(name, _)| is_identity(name));
    Asked {
        status: u16::try_from(answer["status"].as_u64().unwrap()).unwrap(),
        challenge: find("www-authenticate").unwrap_or_default(),
        body: answer["body"].as_str().unwrap().to_owned(),
        request_id: find("x-request-id"),
        identity: Some(sorted(identity)),
    }
}

/// One connection, opened again when the server has closed it.
pub struct Session {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Session {
    pub fn to(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    pub async fn send(&mut self, method: &str, target: &str, host: &str, headers: &[(String, String)]) -> Reply {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE") {
            request.push_str("Content-Length: 0\r\n");
        }
        request.push_str("\r\n");
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.unwrap(),
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        let reply = read_one(&mut stream, method == "HEAD").await;
        if reply.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        reply
    }
}

async fn read_one(stream: &mut TcpStream, bodiless: bool) -> Reply {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            let mut reply = parse(&read[..end + 4]).remove(0);
            let length = reply.header("content-length").map_or(0, |n| n.parse::<usize>().unwrap());
            let length = if bodiless { 0 } else { length };
            if read.len() >= end + 4 + length {
                reply.body = read[end + 4..end + 4 + length].to_vec();
                return reply;
            }
        }
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "closed after {:?}", String::from_utf8_lossy(&read));
    }
}

/// `conformance/clients/ext_authz.py`: gRPC and Envoy's messages as others have written them.
pub struct Bridge {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Bridge {
    pub fn start(address: SocketAddr) -> Option<Self> {
        let python = crate::foreign::part("TRIGATE_TEST_PYTHON")?;
        let mut child = Command::new(python)
            .arg(crate::foreign::scripts().join("ext_authz.py"))
            .arg(address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, to, from })
    }

    pub fn ask(&mut self, ask: &Ask, raw: bool) -> Value {
        self.ask_with(ask, raw, "")
    }

    /// With a client certificate, as Envoy writes it.
    pub fn ask_with(&mut self, ask: &Ask, raw: bool, certificate: &str) -> Value {
        let line = json!({
            "method": ask.method, "path": ask.target, "host": ask.host, "headers": ask.headers, "peer": "127.0.0.1",
            "raw": raw, "certificate": certificate,
        });
        let mut answer = String::new();
        tokio::task::block_in_place(|| {
            writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
            self.from.read_line(&mut answer).unwrap();
        });
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: `{answer}`"))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// Ends what of the forms is a process or follows a desk.
pub async fn end(forms: Vec<Form>) {
    for form in forms {
        match form {
            Form::GateProcess(_, process) => process.0.end(),
            Form::Library(library) => library.desk.stop().await,
            _ => {}
        }
    }
}

/// Every decision of all trails by its request, without what no two requests share.
pub fn decisions(t: &TestTrigate, forms: &[Form]) -> HashMap<String, Value> {
    let elsewhere = forms.iter().filter_map(Form::trail).flat_map(|(folder, node)| settled(&folder, node));
    let decisions = t.records().into_iter().chain(elsewhere).filter_map(|record| match record {
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
