//! One request, asked in every form of the gate. `Asked` says what came of it, in words that all forms share.

use super::{
    TestTrigate,
    http::{Reply, parse},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use trigate_core::audit::Record;

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
    /// Identity that the API gets; in the proxy form its API saw it, and nothing stands here.
    pub identity: Vec<(String, String)>,
}

pub enum Form {
    Proxy(Session),
    ForwardAuth(Session),
    EnvoyHttp(Session),
    EnvoyGrpc(Box<Bridge>),
}

impl Form {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proxy(_) => "reverse proxy",
            Self::ForwardAuth(_) => "forward-auth",
            Self::EnvoyHttp(_) => "ext_authz over HTTP",
            Self::EnvoyGrpc(_) => "ext_authz over gRPC",
        }
    }

    /// Every form that this build and this machine have. `t` was started with [`ASKED`].
    pub fn all(t: &TestTrigate) -> Vec<Self> {
        let asked = t.running.forward_auth_addr.unwrap();
        let mut forms = vec![
            Self::Proxy(Session::to(t.running.gate_addr)),
            Self::ForwardAuth(Session::to(asked)),
            Self::EnvoyHttp(Session::to(asked)),
        ];
        forms.extend(Bridge::start(asked).map(|bridge| Self::EnvoyGrpc(Box::new(bridge))));
        forms
    }

    pub async fn ask(&mut self, ask: &Ask) -> Asked {
        match self {
            Self::Proxy(session) => of_reply(session.send(&ask.method, &ask.target, &ask.host, &ask.headers).await),
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
        identity: sorted(ours.cloned().collect()),
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
        identity: sorted(identity),
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

/// Every decision of the trail by its request, without what no two requests share.
pub fn decisions(t: &TestTrigate) -> HashMap<String, Value> {
    let decisions = t.records().into_iter().filter_map(|record| match record {
        Record::Decision(decision) => Some(*decision),
        _ => None,
    });
    decisions
        .map(|decision| {
            let mut value = serde_json::to_value(&decision).unwrap();
            let fields = value.as_object_mut().unwrap();
            fields.remove("at");
            fields.remove("request");
            // How far the feed had come: a key that came in a URL is marked, which is a change.
            fields.remove("position");
            (decision.request.to_string(), value)
        })
        .collect()
}
