//! What would Trigate say about my API? Stands before one upstream, trusts one issuer, needs no configuration and keeps
//! nothing. Observes unless told to enforce, and says each decision as it happens.

use crate::{
    config::Limits,
    edge::{Bounds, Mode, listen},
    metrics::Metrics,
    proxy::{NoExtras, RoadConfig, RoadParts, Upstream, UpstreamUrl},
    tasks::{self, DeskFetch},
    wiring::{Listeners, Machine, StartError, loopback, on_core, pace, serve_road, upstream_bounds, upstream_tls},
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use std::{
    collections::HashMap,
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{runtime::Handle, sync::watch};
use trigate_core::{
    audit::{Decision, Outcome, Record},
    credential::Digest,
    id::TenantId,
    identity::TokenFacts,
    port::{AuditSink, Lookup, LookupError, Mark, Monotonic, Slot},
};
use trigate_gates::{
    Demands, Enforce, Gates, GatesParts, IssuerRule, Issuers, KeySource, Known, Pattern, ProofRules, RouteRule, Routes,
    Rules,
};
use trigate_outbound::{Outbound, OutboundSettings};

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct TryArgs {
    pub issuer: String,
    pub upstream: String,
    /// Empty: tokens for any audience pass, and that is said aloud.
    pub audience: Vec<String>,
    pub listen: SocketAddr,
    pub enforce: bool,
}

/// Where the lines go: the terminal, or a test.
pub type Out = Box<dyn Write + Send>;

/// Runs until Ctrl-C.
pub async fn run(args: TryArgs) -> Result<(), StartError> {
    let trying = start(args, Box::new(std::io::stdout())).await?;
    tokio::signal::ctrl_c().await.map_err(|error| StartError(error.to_string()))?;
    trying.stop().await;
    Ok(())
}

/// A running trial.
pub struct Trying {
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Trying {
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

/// Opens the listener and begins to judge.
pub async fn start(args: TryArgs, out: Out) -> Result<Trying, StartError> {
    let machine = Machine::real();
    let upstream = UpstreamUrl::parse(&args.upstream)
        .map_err(|why| StartError(format!("`--upstream {}`: {why}", args.upstream)))?;
    check_issuer(&args.issuer)?;
    let rules = Arc::new(rules(&args)?);
    let listening = listen::listen("try", args.listen, cores()).map_err(|error| StartError(error.to_string()))?;
    let lines = Arc::new(Lines { out: Mutex::new(out), enforce: args.enforce });
    lines.say(&banner(&args, listening.address));

    let settings = OutboundSettings { allow_networks: networks(&args.issuer), ..OutboundSettings::default() };
    let outbound = Outbound::new(settings).map_err(|error| StartError(error.to_string()))?;
    let fetch = Arc::new(DeskFetch { desk: Handle::current(), inner: Arc::new(outbound) });
    let issuers = Arc::new(Issuers::new(fetch, Arc::clone(&machine.clock)));
    issuers.load(&rules);
    issuers.refresh_due().await;
    for status in issuers.status() {
        match status.last_failure {
            None => lines.say(&format!("  keys      {} usable keys of {}\n", status.keys, status.issuer)),
            Some(failure) => lines.say(&format!("  WARNING   no keys yet: {failure}; asked again in 30 s\n")),
        }
    }
    let known = Known::new(TenantId::default_tenant(), Arc::clone(&machine.clock));
    // There is no desk that could revoke anything.
    known.hold_lease(Monotonic(u64::MAX));
    let gates = Gates::new(GatesParts {
        known: Arc::new(known),
        clock: Arc::clone(&machine.clock),
        rng: Arc::clone(&machine.rng),
        audit: Arc::new(Printer(Arc::clone(&lines))),
        lookup: Arc::new(NoLookup),
        issuers: Arc::clone(&issuers),
        node: "try".into(),
        on_exposed: None,
    });
    let limits = Limits::default();
    let upstream = Upstream::single(UPSTREAM, upstream, upstream_bounds(&limits));
    let config = RoadConfig {
        rules,
        upstreams: HashMap::from([(UPSTREAM.to_owned(), Arc::new(upstream))]),
        pace: pace(&limits),
        asked_by: Vec::new(),
        certificates_from: Vec::new(),
    };
    let parts = RoadParts {
        gates: Arc::new(gates),
        current: Arc::new(ArcSwap::from_pointee(config)),
        audit: Arc::new(Printer(lines)),
        clock: machine.clock,
        metrics: Arc::new(Metrics::default()),
        node: "try".into(),
        extras: Arc::new(NoExtras),
        trust: Arc::default(),
        upstream_tls: upstream_tls()?,
    };
    let (sender, stop) = watch::channel(false);
    tokio::spawn(tasks::refresh_issuers(issuers, stop.clone()));
    let bounds = Bounds::of(&limits, cores());
    let threads = listening.sockets.into_iter().map(|socket| {
        let (parts, bounds, stop) = (parts.clone(), Arc::clone(&bounds), stop.clone());
        std::thread::Builder::new().name("road".into()).spawn(move || {
            on_core(serve_road(
                parts,
                Listeners { open: (socket, Mode::Plain), secure: None, asked: None },
                bounds,
                stop,
            ))
        })
    });
    let threads = threads.collect::<Result<Vec<_>, _>>().map_err(|error| StartError(error.to_string()))?;
    Ok(Trying { address: listening.address, stop: sender, threads })
}

const UPSTREAM: &str = "api";

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn check_issuer(issuer: &str) -> Result<(), StartError> {
    let url = url::Url::parse(issuer).map_err(|_| StartError(format!("`--issuer {issuer}` is no URL")))?;
    if url.scheme() == "https" || !networks(issuer).is_empty() {
        return Ok(());
    }
    Err(StartError(format!(
        "`--issuer {issuer}` is not https: whoever changes its keys on the way is let in\n  help: plain http is taken from this machine alone"
    )))
}

/// Loopback, when the issuer that was named is there.
fn networks(issuer: &str) -> Vec<ipnet::IpNet> {
    let local = url::Url::parse(issuer).is_ok_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    });
    if local { loopback() } else { vec![] }
}

fn rules(args: &TryArgs) -> Result<Rules, StartError> {
    let text = |error: &dyn std::fmt::Display| StartError(error.to_string());
    let demands: Demands = "token".parse().map_err(|error| text(&error))?;
    let mut route = RouteRule::new("api", Pattern::parse("/**").map_err(|error| text(&error))?, demands);
    route.upstream = UPSTREAM.to_owned();
    // The API keeps its own checks while it is tried: it gets what it always got.
    route.pass_credentials = true;
    let mut issuer = IssuerRule::new(&args.issuer, KeySource::Discovery, args.audience.clone());
    issuer.typ = vec!["at+jwt".to_owned(), "jwt".to_owned()];
    issuer.danger_any_audience = args.audience.is_empty();
    let routes = RouteRule::whoami().into_iter().chain([route]).collect();
    Ok(Rules {
        epoch: 1,
        tenant: TenantId::default_tenant(),
        enforce: if args.enforce { Enforce::Enforce } else { Enforce::Observe },
        routes: Routes::new(routes).map_err(|error| text(&error))?,
        issuers: vec![issuer],
        plans: HashMap::new(),
        machines: vec![],
        policy: None,
        realm: "trigate try".to_owned(),
        address_limit: None,
        trusted_proxies: vec![],
        proof: ProofRules::default(),
    })
}

fn banner(args: &TryArgs, address: SocketAddr) -> String {
    let mut text = format!(
        "trigate try\n  listens   http://{address}\n  upstream  {}\n  issuer    {}\n",
        args.upstream, args.issuer
    );
    if args.enforce {
        text.push_str("  mode      ENFORCE: what is refused does not reach the API\n");
    } else {
        text.push_str(
            "  mode      *** OBSERVE: nothing is refused, everything reaches the API. Add --enforce to refuse. ***\n",
        );
    }
    if args.audience.is_empty() {
        text.push_str("  WARNING   no --audience: tokens that this issuer made for other APIs pass here too\n");
    }
    text.push_str(
        "  note      tokens of type `JWT` are taken beside `at+jwt`: an ID token may pass for an access token\n",
    );
    text.push_str("  note      nothing is kept: no store, no audit trail, no revocation\n");
    text
}

/// Prints each decision in place of an audit log.
struct Lines {
    out: Mutex<Out>,
    enforce: bool,
}

impl Lines {
    fn say(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed terminal is no reason to stop.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn print(&self, record: &Record) {
        match record {
            Record::Decision(decision) => self.say(&line(decision)),
            Record::Connection(refused) => {
                self.say(&format!("{}  CONNECTION REFUSED  {}  {}\n", refused.at, refused.code, plain(&refused.detail)))
            }
            Record::Completion(done) if self.enforce && done.status < 500 => {}
            Record::Completion(done) if done.status >= 500 => {
                self.say(&format!("{}  the API answered {} ({})\n", done.at, done.status, done.request))
            }
            Record::Completion(_) => {}
        }
    }
}

fn line(decision: &Decision) -> String {
    let verdict = match decision.outcome {
        Outcome::Allowed => "allow       ".to_owned(),
        Outcome::Refused => format!("REFUSE {}  ", decision.status),
        Outcome::Observed => "WOULD REFUSE".to_owned(),
    };
    let mut text = format!("{}  {verdict}  {} {}", decision.at, decision.method, plain(&decision.path));
    let facts = &decision.facts;
    let named = [
        ("user", facts.user.as_ref().map(ToString::to_string)),
        ("client", facts.client.as_ref().map(ToString::to_string)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            text.push_str(&format!("  {name}={}", plain(&value)));
        }
    }
    if !facts.scopes.is_empty() {
        text.push_str(&format!("  scopes={}", plain(&facts.scopes.to_string())));
    }
    if let Some(reason) = decision.reason {
        text.push_str(&format!("  {}: {}", reason.code(), reason.explanation()));
    }
    text.push('\n');
    text
}

/// One line each, whatever a client wrote (G24).
fn plain(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The sink that the gates write to.
struct Printer(Arc<Lines>);

impl AuditSink for Printer {
    fn reserve(&self) -> Option<Slot<'_>> {
        Some(Slot::taken(self))
    }

    fn release(&self) {}

    fn append(&self, record: &Record) -> Option<Mark> {
        self.0.print(record);
        Some(Mark { generation: 0, length: 0 })
    }

    fn flush_to(&self, _: Mark) -> bool {
        true
    }

    fn sync_to(&self, _: Mark) -> bool {
        true
    }

    fn note(&self, record: &Record) {
        self.0.print(record);
    }
}

/// There is nobody to ask.
struct NoLookup;

#[async_trait]
impl Lookup for NoLookup {
    async fn find_opaque_token(&self, _: Digest) -> Result<Option<TokenFacts>, LookupError> {
        Ok(None)
    }

    async fn introspect(&self, _: TokenFacts) -> Result<Option<TokenFacts>, LookupError> {
        Ok(None)
    }
}
