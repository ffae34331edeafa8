//! The gates inside a program of one's own: the desk's routes, before a service that tells what it was told.

use super::super::TestTrigate;
use super::{Ask, Asked, identity_in};
use crate::remote::gate_key;
use std::{path::PathBuf, sync::Arc};
use tower::{Layer as _, Service as _};
use trigate::{
    config,
    edge::trust::{Presented, Trust, TrustSet},
    wiring::loopback,
};
use trigate_audit::{SegmentLog, SegmentSettings, own_key};
use trigate_core::port::Clock as _;
use trigate_gates::{
    ClientCertificate, Gates, GatesParts, Issuers, KeySource, Permit, Rules,
    layer::{GateLayer, PeerAddress},
    remote::{Remote, RemoteSettings},
    system::{SystemClock, SystemRng},
};
use trigate_outbound::{Outbound, OutboundSettings};

pub const NAME: &str = "library";

pub struct Library {
    gate: GateLayer,
    desk: Arc<Remote>,
    /// Judges certificates, as whoever ends TLS does.
    trust: TrustSet,
    clock: Arc<SystemClock>,
    folder: tempfile::TempDir,
}

impl Library {
    pub async fn start(t: &TestTrigate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = own_key(&folder.path().join("checkpoint.key")).unwrap();
        let desk = format!("http://{}", t.running.desk_addr);
        let desk = Remote::connect(RemoteSettings::new(&desk, &gate_key(t, NAME).await, NAME)).await.unwrap();
        let clock = Arc::new(SystemClock::new());
        let settings = SegmentSettings::default();
        let audit = SegmentLog::open(&folder.path().join("audit"), NAME, settings, Arc::clone(&clock) as _, key);
        let config = config::load(&t.folder().join("trigate.toml")).unwrap();
        let rules = Arc::new(config::road_rules(&config, &t.running.urls, 1).unwrap());
        let trust = Trust::default().prepare(&config, config.file.mtls.as_ref()).unwrap();
        let audit = audit.unwrap();
        // One issuer: the desk's own.
        let gates = match rules.issuers.len() {
            1 => desk.gates(audit),
            _ => Arc::new(Gates::new(GatesParts {
                known: Arc::clone(desk.known()),
                clock: Arc::clone(&clock) as _,
                rng: Arc::new(SystemRng::default()),
                audit,
                lookup: desk.lookup(),
                issuers: foreign_issuers(&rules, &clock),
                node: NAME.into(),
                on_exposed: None,
            })),
        };
        Self { gate: GateLayer::new(gates, rules), desk, trust, clock, folder }
    }

    pub fn trail(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub async fn stop(&self) {
        self.desk.stop().await;
    }

    pub async fn ask(&self, ask: &Ask) -> Asked {
        let mut request = http::Request::builder().method(ask.method.as_str()).uri(&ask.target);
        for (name, value) in std::iter::once(&("host".to_owned(), ask.host.clone())).chain(&ask.headers) {
            request = request.header(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(PeerAddress(ask.peer));
        if let Some(shown) = &ask.certificate {
            request.extensions_mut().insert(self.judge(&shown.whole(), &ask.host));
        }
        let reply = self.gate.layer(tower::service_fn(told)).call(request).await.unwrap();
        let head: Vec<(String, String)> = reply
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let passed = reply.status() == 200;
        Asked {
            status: reply.status().as_u16(),
            body: String::from_utf8_lossy(reply.body()).into_owned(),
            identity: Some(identity_in(&head)),
            api: passed.then(|| head.clone()),
            head,
        }
    }

    fn judge(&self, pem: &str, host: &str) -> ClientCertificate {
        let chain = trigate_x509::read_pem(pem.as_bytes()).unwrap();
        let judged = Presented::new(chain).unwrap().at(&self.trust, host, self.clock.now());
        ClientCertificate::clone(&judged)
    }
}

/// What whoever embeds the gates does for issuers other than the desk.
fn foreign_issuers(rules: &Rules, clock: &Arc<SystemClock>) -> Arc<Issuers> {
    let settings = OutboundSettings { allow_networks: loopback(), ..OutboundSettings::default() };
    let issuers = Issuers::new(Arc::new(Outbound::new(settings).unwrap()), Arc::clone(clock) as _);
    issuers.load(rules);
    for rule in &rules.issuers {
        if let KeySource::JwksFile(path) = &rule.keys {
            issuers.put_file(&rule.issuer, &std::fs::read(path).unwrap()).unwrap();
        }
    }
    Arc::new(issuers)
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
