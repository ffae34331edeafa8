//! How does a gate live without a database? It gets all that it knows from the desk of another Trigate: a snapshot, the
//! feed's tail, a lease for as long as it may trust that, and answers about opaque tokens.
//!
//! Trusts the desk that its URL names. Never holds a private key, a password hash or a token's secret: the desk has no
//! words to tell them in ([`trigate_core::desk`]).

mod journal;
mod link;

pub use link::LinkError;

use crate::{
    Gates, GatesParts, IssuerRule, Issuers, KeySource, Known, LoadedKeys, Plan, RouteConflict, RouteRule, Routes,
    Rules,
    follow::{Follower, OnTrouble},
    system::{SystemClock, SystemRng},
    usage::UsageReporter,
};
use async_trait::async_trait;
use journal::Journal;
use link::Link;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use trigate_core::{
    Position, Timestamp,
    application::KeyRecord,
    change::{Change, Snapshot},
    credential::Digest,
    desk::{
        Changes, FindToken, Found, Hello, LeaseAsked, LeaseGiven, LeaseReleased, SnapshotReader, UsageAsked,
        UsageTotals, Welcome,
    },
    id::{AppId, RequestId},
    identity::TokenFacts,
    jose::VerifyingKey,
    port::{
        AuditSink, Clock, Feed, Fetch, FetchError, Fetched, LeaseHolder, Leases, Lookup, LookupError, Quotas, Rng,
        StoreError,
    },
    quota::{Period, Usage, UsageReport},
};

/// Which desk, and as whom.
pub struct RemoteSettings {
    /// `https://desk.example`; plain http on this machine alone.
    pub desk: String,
    /// Made by `trigate gate-key create`.
    pub key: String,
    /// This gate's name in its records.
    pub node: String,
    /// Where what is known is kept, so that the gate starts while the desk is away.
    pub snapshot: Option<PathBuf>,
    /// Public half of the key that signs the checkpoints of this gate's audit segments.
    pub checkpoint_key: Option<VerifyingKey>,
    /// Told of what goes wrong on the way to the desk.
    pub on_trouble: OnTrouble,
}

impl RemoteSettings {
    pub fn new(desk: &str, key: &str, node: &str) -> Self {
        Self {
            desk: desk.to_owned(),
            key: key.to_owned(),
            node: node.to_owned(),
            snapshot: None,
            checkpoint_key: None,
            on_trouble: Box::new(|error, times| eprintln!("trigate: the desk ({times}): {error}")),
        }
    }
}

/// Why the gate cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0}, and there is no snapshot to start from")]
    Nothing(LinkError),
    #[error("the snapshot file: {0}")]
    File(String),
    #[error("the desk cannot be followed: {0}")]
    Feed(#[from] StoreError),
}

/// A gate's connection to its desk, with all that it knows.
pub struct Remote {
    link: Arc<Link>,
    welcome: Welcome,
    known: Arc<Known>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    node: String,
    journal: Option<Arc<Journal>>,
    follower: Arc<Follower>,
    /// The last word from the desk was good.
    reachable: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

/// For words that ask for no more than a look into memory.
const SOON: Duration = Duration::from_secs(3);
/// Between two parts of a snapshot.
const PART: Duration = Duration::from_secs(20);

impl Remote {
    /// Learns all there is from the desk, or from the snapshot file when the desk is away, and follows from then on, on
    /// this runtime.
    ///
    /// # Errors
    /// When nothing is known: the desk is away and no file is there, or the desk refuses this gate.
    pub async fn connect(settings: RemoteSettings) -> Result<Arc<Self>, RemoteError> {
        Self::connect_on(settings, Arc::new(SystemClock::new()), Arc::new(SystemRng::default())).await
    }

    /// As [`Remote::connect`], with time and dice of one's own.
    pub async fn connect_on(
        settings: RemoteSettings,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Arc<Self>, RemoteError> {
        let link = Arc::new(Link::new(&settings.desk, &settings.key)?);
        let journal = settings.snapshot.map(|path| (journal::read(&path), Arc::new(Journal::new(path))));
        let (kept, journal) = journal.map_or((None, None), |(kept, journal)| (kept, Some(journal)));
        let hello = Hello {
            node: settings.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            checkpoint_key: settings.checkpoint_key.as_ref().map(VerifyingKey::to_jwk),
        };
        let welcome = match (link.ask("/hello", Some(&hello), SOON).await, &kept) {
            (Ok(welcome), _) => Ok(welcome),
            // SECURITY: a gate whose key was ended learns nothing more, and starts from nothing old either.
            (Err(error @ LinkError::Refused(_)), _) => return Err(error.into()),
            (Err(error), Some(kept)) => Err((error, kept.welcome.clone())),
            (Err(error), None) => return Err(RemoteError::Nothing(error)),
        };
        let (welcome, trouble) = welcome.map_or_else(|(error, old)| (old, Some(error)), |welcome| (welcome, None));
        let known = Arc::new(Known::new(welcome.tenant.clone(), Arc::clone(&clock)));
        let reachable = Arc::new(AtomicBool::new(trouble.is_none()));
        let desk = Arc::new(Desk { link: Arc::clone(&link), reachable: Arc::clone(&reachable) });
        let written = journal.clone();
        let follower = Arc::new(Follower {
            feed: Arc::clone(&desk) as Arc<dyn Feed>,
            leases: desk,
            known: Arc::clone(&known),
            tenant: welcome.tenant.clone(),
            clock: Arc::clone(&clock),
            holder: format!("{}~{}", settings.node, RequestId::mint(&*rng).as_str()),
            acknowledges: true,
            applied: watch::Sender::default(),
            bell: Arc::new(Notify::new()),
            on_applied: written
                .map(|journal| Box::new(move |changes: &[Change]| journal.append(changes)) as crate::follow::OnApplied),
            on_trouble: settings.on_trouble,
            turn: Mutex::default(),
        });
        let remote = Arc::new(Self {
            link,
            welcome,
            known,
            clock,
            rng,
            node: settings.node,
            journal,
            follower,
            reachable,
            stop: watch::Sender::new(false),
        });
        // Another issuer or other plans than the file knows: it is written anew.
        let kept = kept.filter(|kept| kept.welcome == remote.welcome);
        match (kept, trouble) {
            (Some(kept), trouble) => remote.resume(kept, trouble).await?,
            (None, None) => remote.load().await?,
            (None, Some(error)) => return Err(RemoteError::Nothing(error)),
        }
        remote.live();
        Ok(remote)
    }

    /// Goes on from the file.
    async fn resume(&self, kept: journal::Kept, trouble: Option<LinkError>) -> Result<(), RemoteError> {
        let tail = kept.since.len() as u64;
        self.known.load_with(kept.snapshot, kept.keys);
        for change in &kept.since {
            self.known.apply(change);
        }
        if let Some(journal) = &self.journal {
            journal.resume(tail).map_err(|error| RemoteError::File(error.to_string()))?;
        }
        match trouble {
            Some(error) => (self.follower.on_trouble)(&error.into(), 1),
            None => self.follower.renew().await?,
        }
        Ok(())
    }

    /// Everything anew from the desk.
    async fn load(&self) -> Result<(), RemoteError> {
        let mut keys = LoadedKeys::default();
        let snapshot = self.fetch_snapshot(|key| keys.take(key)).await?;
        self.known.load_with(snapshot, keys);
        self.follower.renew().await?;
        Ok(())
    }

    /// Fetches a snapshot, and keeps it where a file was asked for.
    async fn fetch_snapshot(&self, on_key: impl FnMut(KeyRecord) + Send) -> Result<Snapshot, RemoteError> {
        let file = |error: std::io::Error| RemoteError::File(error.to_string());
        let Some(journal) = &self.journal else { return Ok(fetch(&self.link, |_| Ok(()), on_key).await?) };
        let mut new = journal.begin(&self.welcome).map_err(file)?;
        let keep = |bytes: &[u8]| {
            new.write(bytes).map_err(|error| LinkError::Unreadable(format!("the snapshot file: {error}")))
        };
        match fetch(&self.link, keep, on_key).await {
            Ok(snapshot) => {
                journal.replace(new, snapshot.position).map_err(file)?;
                Ok(snapshot)
            }
            Err(error) => {
                journal.abandon();
                Err(error.into())
            }
        }
    }

    /// Follows, keeps the lease and tidies up, until [`Remote::stop`] or the end of the last handle.
    fn live(self: &Arc<Self>) {
        let stop = self.stop.subscribe();
        tokio::spawn(Arc::clone(&self.follower).follow(stop.clone()));
        tokio::spawn(Arc::clone(&self.follower).keep_lease(stop.clone()));
        tokio::spawn(tidy_up(Arc::downgrade(self), stop));
    }

    /// Trusts itself no longer, and gives the lease back: no revocation waits for this gate.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        self.known.drop_lease();
        let _ = self.follower.leases.release(&self.follower.holder).await;
    }

    pub const fn known(&self) -> &Arc<Known> {
        &self.known
    }

    pub const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Opaque tokens and the truth about a token, from the desk.
    pub fn lookup(&self) -> Arc<dyn Lookup> {
        Arc::new(self.desk())
    }

    pub fn health(&self) -> RemoteHealth {
        RemoteHealth {
            lease: self.known.trusted(self.clock.monotonic()),
            desk: self.reachable.load(Ordering::Relaxed),
            position: self.known.position(),
            snapshot: self.journal.as_ref().map(|journal| journal.is_kept()),
        }
    }

    /// The gates over what the desk tells, for a program that embeds them. They take the desk's own tokens and keys;
    /// whoever trusts foreign issuers builds [`GatesParts`] with a [`Fetch`] of their own.
    pub fn gates(&self, audit: Arc<dyn AuditSink>) -> Arc<Gates> {
        let issuers = Arc::new(Issuers::new(Arc::new(NoFetch), Arc::clone(&self.clock)));
        let gates = Arc::new(Gates::new(GatesParts {
            known: Arc::clone(&self.known),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
            audit,
            lookup: self.lookup(),
            issuers,
            node: self.node.as_str().into(),
            on_exposed: None,
        }));
        tokio::spawn(self.usage(&gates).run(self.stop.subscribe()));
        gates
    }

    /// Reports what these gates count for the quotas of plans. Whoever builds gates of their own runs it beside them.
    pub fn usage(&self, gates: &Gates) -> Arc<UsageReporter> {
        let desk = Arc::new(self.desk());
        // A day that is not summed is counted by each gate alone: the follower says often enough that the desk is away.
        let quiet = Box::new(|_: &StoreError, _| {});
        // Each with numbers of its own.
        let holder = format!("{}~{}", self.node, RequestId::mint(&*self.rng).as_str());
        Arc::new(UsageReporter::new(gates, desk, Arc::clone(&self.clock), holder, quiet))
    }

    fn desk(&self) -> Desk {
        Desk { link: Arc::clone(&self.link), reachable: Arc::clone(&self.reachable) }
    }

    /// Rules for these routes: the desk's own tokens for `audience`, and the desk's plans.
    ///
    /// # Errors
    /// When two routes claim the same request.
    pub fn rules(&self, audience: &str, routes: Vec<RouteRule>) -> Result<Arc<Rules>, RouteConflict> {
        let plans =
            self.welcome.plans.iter().filter_map(|(name, words)| Some((name.clone(), Plan::read(name, words).ok()?)));
        Ok(Arc::new(Rules {
            epoch: 1,
            tenant: self.welcome.tenant.clone(),
            enforce: crate::Enforce::Enforce,
            routes: Routes::new(routes)?,
            issuers: vec![IssuerRule::new(&self.welcome.issuer, KeySource::Ours, vec![audience.to_owned()])],
            plans: plans.collect(),
            machines: Vec::new(),
            policy: None,
            realm: "trigate".to_owned(),
            address_limit: None,
            trusted_proxies: Vec::new(),
            proof: crate::ProofRules { origins: vec![audience.to_owned()], ..crate::ProofRules::default() },
        }))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// How a gate does without looking into its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RemoteHealth {
    /// It trusts itself.
    pub lease: bool,
    /// The desk answered when it was last asked.
    pub desk: bool,
    pub position: Position,
    /// What is known is on disk; `None` where no file was asked for.
    pub snapshot: Option<bool>,
}

/// Now and then: rules whose time is over go, and a snapshot file with a long tail is written anew.
async fn tidy_up(remote: std::sync::Weak<Remote>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        let Some(remote) = remote.upgrade() else { return };
        remote.known.sweep();
        if remote.journal.as_ref().is_some_and(|journal| journal.wants_replacing())
            && let Err(error) = remote.fetch_snapshot(|_| {}).await
        {
            (remote.follower.on_trouble)(&StoreError::Unavailable(error.to_string()), 1);
        }
    }
}

async fn fetch(
    link: &Link,
    mut keep: impl FnMut(&[u8]) -> Result<(), LinkError> + Send,
    on_key: impl FnMut(KeyRecord) + Send,
) -> Result<Snapshot, LinkError> {
    let mut reader = SnapshotReader::new(on_key);
    link.stream("/snapshot", PART, |bytes| {
        keep(bytes)?;
        reader.push(bytes).map_err(|error| LinkError::Unreadable(error.to_string()))
    })
    .await?;
    let (snapshot, _) = reader.finish().map_err(|error| LinkError::Unreadable(error.to_string()))?;
    Ok(snapshot)
}

/// The desk as the ports see it.
struct Desk {
    link: Arc<Link>,
    reachable: Arc<AtomicBool>,
}

impl Desk {
    async fn changes(&self, after: Position, limit: u32, wait_ms: u64) -> Result<Changes, LinkError> {
        let path = format!("/changes?after={}&limit={limit}&wait_ms={wait_ms}", after.0);
        let patience = SOON + Duration::from_millis(wait_ms);
        self.note(self.link.ask(&path, None::<&()>, patience).await)
    }

    fn note<T>(&self, answer: Result<T, LinkError>) -> Result<T, LinkError> {
        let good = !matches!(&answer, Err(error) if !matches!(error, LinkError::Behind(_)));
        self.reachable.store(good, Ordering::Relaxed);
        answer
    }
}

#[async_trait]
impl Feed for Desk {
    async fn head(&self) -> Result<Position, StoreError> {
        Ok(self.changes(Position(u64::MAX >> 1), 0, 0).await?.head)
    }

    async fn changes_after(&self, position: Position, limit: u32) -> Result<Vec<Change>, StoreError> {
        Ok(self.changes(position, limit, 0).await?.changes)
    }

    async fn wait_beyond(&self, position: Position, timeout_ms: u64) -> Result<(), StoreError> {
        self.changes(position, 1, timeout_ms).await?;
        Ok(())
    }

    async fn changes_beyond(&self, position: Position, limit: u32, timeout_ms: u64) -> Result<Vec<Change>, StoreError> {
        Ok(self.changes(position, limit, timeout_ms).await?.changes)
    }
}

#[async_trait]
impl Leases for Desk {
    async fn renew(&self, node: &str, applied: Position, life_ms: u64) -> Result<Position, StoreError> {
        let asked = LeaseAsked { holder: node.to_owned(), applied, life_ms };
        let given: LeaseGiven = self.note(self.link.ask("/lease", Some(&asked), SOON).await)?;
        Ok(given.head)
    }

    async fn release(&self, node: &str) -> Result<(), StoreError> {
        let released = LeaseReleased { holder: node.to_owned() };
        self.link.ask::<serde_json::Value>("/release", Some(&released), SOON).await?;
        Ok(())
    }

    /// Who else follows the desk is the desk's business.
    async fn holders(&self) -> Result<Vec<LeaseHolder>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Lookup for Desk {
    async fn find_opaque_token(&self, digest: Digest) -> Result<Option<TokenFacts>, LookupError> {
        let found: Found = self.link.ask("/tokens/find", Some(&FindToken { digest }), SOON).await?;
        Ok(found.facts)
    }

    async fn introspect(&self, facts: TokenFacts) -> Result<Option<TokenFacts>, LookupError> {
        let found: Found = self.link.ask("/tokens/introspect", Some(&Found { facts: Some(facts) }), SOON).await?;
        Ok(found.facts)
    }
}

#[async_trait]
impl Quotas for Desk {
    async fn report_usage(&self, report: &UsageReport) -> Result<Vec<Usage>, StoreError> {
        let totals: UsageTotals = self.link.ask("/usage", Some(report), SOON).await?;
        Ok(totals.usage)
    }

    /// By the desk's own clock.
    async fn list_usage(
        &self,
        _: Timestamp,
        after: Option<(AppId, Period)>,
        limit: u32,
    ) -> Result<Vec<Usage>, StoreError> {
        let asked = UsageAsked { after, limit };
        let totals: UsageTotals = self.link.ask("/usage/list", Some(&asked), SOON).await?;
        Ok(totals.usage)
    }
}

/// For gates that trust nobody but their desk.
struct NoFetch;

#[async_trait]
impl Fetch for NoFetch {
    async fn get(&self, url: &str, _: usize) -> Result<Fetched, FetchError> {
        Err(FetchError::Forbidden(url.to_owned(), "this gate asks its desk alone".to_owned()))
    }

    async fn post_form(
        &self,
        url: &str,
        _: &[(&str, &str)],
        _: Option<(&str, &str)>,
        _: usize,
    ) -> Result<Fetched, FetchError> {
        Err(FetchError::Forbidden(url.to_owned(), "this gate asks its desk alone".to_owned()))
    }
}
