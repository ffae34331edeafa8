//! What does the desk tell gates that run elsewhere? Snapshot, feed, leases, and the truth about tokens.
//!
//! Trusts the gates before it: a request without a [`GateCaller`] never reaches a verb. Never says a private key, a
//! password hash, a refresh token or a session's secret. Allowed calls of the feed leave no record of their own: a gate
//! asks several times a second, for as long as it lives.

use crate::{
    admin_api::Problem,
    operator::{
        OperatorError,
        folder::{DataFolder, write_private},
    },
    tasks::Acknowledged,
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRequestParts, Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, header, request::Parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    convert::Infallible,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use trigate_core::{
    Act, Actor, Position,
    audit::{Outcome, Record},
    credential::ChecksumKey,
    desk::{
        self, Changes, FindToken, Found, Hello, LeaseAsked, LeaseGiven, LeaseReleased, Line, UsageAsked, UsageTotals,
        Welcome,
    },
    id::{KeyId, RequestId, TenantId},
    jose::VerifyingKey,
    port::{
        ActFilter, AuditSink, Clock, LEASE_LIFE_MS, LeftOut, Mark, Rng, Slot, StoreError, SystemStore, TenantStore,
    },
    quota::{MAX_REPORTED, UsageReport},
};

/// Who asks, put into a request's extensions once the gates have let its key in.
#[derive(Clone, Debug)]
pub struct GateCaller {
    pub key: KeyId,
    pub address: IpAddr,
    pub request: RequestId,
}

/// Name of the route before these verbs.
pub const ROUTE: &str = "gates";

/// What the verbs need.
pub struct GateDoor {
    pub tenant: TenantId,
    pub system: Arc<dyn SystemStore>,
    pub store: Arc<dyn TenantStore>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    /// Lets a gate refuse garbage before it asks. Whoever has it can cause look-ups, not pass them.
    pub checksum: ChecksumKey,
    pub welcome: Arc<dyn Fn() -> Welcome + Send + Sync>,
    /// Told when a gate has applied something: a revocation may wait for it.
    pub acknowledged: Arc<Acknowledged>,
    /// Written before the first lease is given out.
    pub lessor: Lessor,
}

/// Says to the next start of this desk that gates elsewhere may still hold leases: in SQLite's store they are known to
/// one process alone.
#[derive(Clone)]
pub struct Lessor {
    file: PathBuf,
    written: Arc<AtomicBool>,
}

impl Lessor {
    pub fn of(folder: &DataFolder) -> Self {
        Self { file: folder.gates(), written: Arc::default() }
    }

    /// Has a desk of this folder ever given out a lease?
    pub fn was_before(&self) -> bool {
        self.file.exists()
    }

    fn write(&self) -> Result<(), Problem> {
        if self.written.load(Ordering::Acquire) {
            return Ok(());
        }
        write_private(
            &self.file,
            b"gates elsewhere take leases here: after a start, revocations wait for one lease\n",
        )?;
        self.written.store(true, Ordering::Release);
        Ok(())
    }
}

type Door = State<Arc<GateDoor>>;

/// Bytes of a question.
const MAX_BODY: usize = 64 << 10;
/// A question may wait so long for the next change.
const MAX_WAIT_MS: u64 = 20_000;
const MAX_CHANGES: u32 = 1_000;
/// Parts of a snapshot.
const PART: usize = 64 << 10;
/// Keys of a part.
const KEYS: u32 = 500;

pub fn router(door: Arc<GateDoor>) -> Router {
    let verbs = Router::new()
        .route("/hello", post(hello))
        .route("/snapshot", get(snapshot))
        .route("/changes", get(changes))
        .route("/lease", post(lease))
        .route("/release", post(release))
        .route("/usage", post(report_usage))
        .route("/usage/list", post(list_usage))
        .route("/tokens/find", post(find_token))
        .route("/tokens/introspect", post(introspect));
    Router::new().nest(desk::PREFIX, verbs).layer(axum::extract::DefaultBodyLimit::max(MAX_BODY)).with_state(door)
}

impl<S: Sync> FromRequestParts<S> for GateCaller {
    type Rejection = Problem;

    /// INVARIANT: a router mounted without its gates answers 500 to everything.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::not_behind_gates)
    }
}

type Out<T> = Result<Answer<T>, Problem>;

struct Answer<T>(T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.0).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|_| OperatorError::invalid("the question cannot be read", "use a gate of this desk's version").into())
}

fn stored<T>(outcome: Result<T, StoreError>) -> Result<T, Problem> {
    outcome.map_err(|error| OperatorError::from(error).into())
}

/// A gate says who it is. The public key of its audit trail is noted as an act, so that whoever verifies that trail
/// later need not take the gate's word for it.
async fn hello(State(door): Door, caller: GateCaller, body: Bytes) -> Out<Welcome> {
    let hello: Hello = read(&body)?;
    check_name(&hello.node)?;
    door.note(&caller, &hello).await?;
    Ok(Answer((door.welcome)()))
}

/// Names end up in acts and leases.
fn check_name(name: &str) -> Result<(), Problem> {
    let good =
        (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
    if good {
        return Ok(());
    }
    Err(OperatorError::invalid("a gate's name has letters, digits and -_.~ only", "change `node`").into())
}

impl GateDoor {
    /// Once for each gate and key: a restart is no act.
    async fn note(&self, caller: &GateCaller, hello: &Hello) -> Result<(), Problem> {
        let key = hello.checkpoint_key.as_ref().map(VerifyingKey::from_jwk).transpose().map_err(|_| {
            Problem::from(OperatorError::invalid("`checkpoint_key` is no public key", "send a public JWK"))
        })?;
        let mut act = Act::new(
            &*self.clock,
            &*self.rng,
            Actor::Operator { name: caller.key.to_string() },
            "gate.hello",
            &hello.node,
        );
        act.address = Some(caller.address.to_string());
        act.request = Some(caller.request.clone());
        if let Some(key) = key {
            act = act.fact("checkpoint_key", key.to_jwk());
        }
        let filter = ActFilter { target: Some(hello.node.clone()), limit: 20, ..ActFilter::default() };
        let before = stored(self.store.find_acts(&filter).await)?;
        let same = |old: &Act| (&old.verb, &old.actor, &old.facts) == (&act.verb, &act.actor, &act.facts);
        if !before.iter().any(|stored| same(&stored.act)) {
            stored(self.store.record_act(act).await)?.gives_only();
        }
        Ok(())
    }

    /// Leases are kept under the key that took them: one gate cannot end another's.
    fn holder(caller: &GateCaller, name: &str) -> Result<String, Problem> {
        check_name(name)?;
        Ok(format!("gate~{}~{name}", caller.key))
    }
}

async fn snapshot(State(door): Door, _: GateCaller) -> Result<Response, Problem> {
    let snapshot = door.system.snapshot_without(&door.tenant, door.clock.now(), LeftOut::Keys).await;
    let mut snapshot = stored(snapshot)?;
    snapshot.opaque_checksum = Some(door.checksum.clone());
    let telling = Telling { door, few: Box::new(desk::lines(snapshot)), few_told: false, last_key: None, told: 0 };
    // One part at a time, as fast as the gate reads. One that fails ends it, and the gate sees that the end is missing.
    let parts = futures_util::stream::unfold(Some(telling), |telling| async {
        let mut telling = telling?;
        match telling.part().await {
            Ok((part, ended)) => Some((Ok::<_, Infallible>(part), (!ended).then_some(telling))),
            Err(error) => {
                tracing::error!(%error, "a snapshot breaks off");
                None
            }
        }
    });
    let mut response = Body::from_stream(parts).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// A snapshot on its way: what is few, then the keys page by page, never all of them at once.
struct Telling {
    door: Arc<GateDoor>,
    few: Box<dyn Iterator<Item = Line> + Send>,
    few_told: bool,
    last_key: Option<KeyId>,
    /// Lines so far, with the first.
    told: u64,
}

impl Telling {
    /// The next part, and whether it was the last.
    async fn part(&mut self) -> Result<(Bytes, bool), String> {
        let mut part = Vec::with_capacity(PART + 4096);
        while !self.few_told && part.len() < PART {
            match self.few.next() {
                Some(line) => self.tell(&line, &mut part)?,
                None => self.few_told = true,
            }
        }
        if !self.few_told {
            return Ok((part.into(), false));
        }
        let (system, tenant) = (&self.door.system, &self.door.tenant);
        let keys = system.keys_after(tenant, self.last_key.as_ref(), KEYS).await.map_err(|error| error.to_string())?;
        let ended = keys.is_empty();
        for key in keys {
            self.last_key = Some(key.id.clone());
            self.tell(&Line::Key(key), &mut part)?;
        }
        if ended {
            let lines = self.told.saturating_sub(1);
            self.tell(&Line::End { lines }, &mut part)?;
        }
        Ok((part.into(), ended))
    }

    fn tell(&mut self, line: &Line, part: &mut Vec<u8>) -> Result<(), String> {
        self.told += 1;
        line.write(part).map_err(|error| error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: u64,
    limit: u32,
    #[serde(default)]
    wait_ms: u64,
}

async fn changes(
    State(door): Door,
    _: GateCaller,
    asked: Result<Query<After>, axum::extract::rejection::QueryRejection>,
) -> Out<Changes> {
    let Query(asked) = asked.map_err(|_| {
        Problem::from(OperatorError::invalid("the question cannot be read", "ask for after, limit and wait_ms"))
    })?;
    let (after, limit) = (Position(asked.after), asked.limit.min(MAX_CHANGES));
    let head = stored(door.system.head().await)?;
    if asked.limit == 0 {
        return Ok(Answer(Changes { changes: Vec::new(), head }));
    }
    let changes = stored(door.system.changes_beyond(after, limit, asked.wait_ms.min(MAX_WAIT_MS)).await)?;
    // K11: another tenant's changes are nobody's business here.
    let changes = changes.into_iter().filter(|change| change.tenant == door.tenant).collect();
    Ok(Answer(Changes { changes, head }))
}

async fn lease(State(door): Door, caller: GateCaller, body: Bytes) -> Out<LeaseGiven> {
    let asked: LeaseAsked = read(&body)?;
    let holder = GateDoor::holder(&caller, &asked.holder)?;
    // SECURITY: a longer one would hold up every revocation for as long as its gate is silent.
    if asked.life_ms > LEASE_LIFE_MS {
        return Err(OperatorError::invalid("the lease is too long", "use a gate of this desk's version").into());
    }
    door.lessor.write()?;
    let head = stored(door.system.renew(&holder, asked.applied, asked.life_ms).await)?;
    door.acknowledged.ring();
    Ok(Answer(LeaseGiven { head }))
}

async fn release(State(door): Door, caller: GateCaller, body: Bytes) -> Out<serde_json::Value> {
    let released: LeaseReleased = read(&body)?;
    stored(door.system.release(&GateDoor::holder(&caller, &released.holder)?).await)?;
    door.acknowledged.ring();
    Ok(Answer(serde_json::json!({})))
}

/// What a gate has counted, added to what the others have.
async fn report_usage(State(door): Door, caller: GateCaller, body: Bytes) -> Out<UsageTotals> {
    let mut report: UsageReport = read(&body)?;
    report.holder = GateDoor::holder(&caller, &report.holder)?;
    if report.counted.len() > MAX_REPORTED {
        return Err(OperatorError::invalid("the report is too long", "use a gate of this desk's version").into());
    }
    Ok(Answer(UsageTotals { usage: stored(door.store.report_usage(&report).await)? }))
}

async fn list_usage(State(door): Door, _: GateCaller, body: Bytes) -> Out<UsageTotals> {
    let UsageAsked { after, limit } = read(&body)?;
    let usage = door.store.list_usage(door.clock.now(), after, limit.min(MAX_CHANGES)).await;
    Ok(Answer(UsageTotals { usage: stored(usage)? }))
}

async fn find_token(State(door): Door, _: GateCaller, body: Bytes) -> Out<Found> {
    let FindToken { digest } = read(&body)?;
    Ok(Answer(Found { facts: stored(door.store.find_opaque_token(&digest).await)? }))
}

async fn introspect(State(door): Door, _: GateCaller, body: Bytes) -> Out<Found> {
    let Found { facts } = read(&body)?;
    let Some(facts) = facts else { return Ok(Answer(Found { facts: None })) };
    Ok(Answer(Found { facts: stored(door.store.judge_token(facts, door.clock.now()).await)? }))
}

/// Records of the desk's listener: all but the allowed passages of gates that follow the feed.
pub struct Quiet(pub Arc<dyn AuditSink>);

/// For what was left out: it is nowhere to be flushed.
const LEFT_OUT: Mark = Mark { generation: u64::MAX, length: 0 };

impl AuditSink for Quiet {
    fn reserve(&self) -> Option<Slot<'_>> {
        // Its room is given back by our own slot.
        std::mem::forget(self.0.reserve()?);
        Some(Slot::taken(self))
    }

    fn release(&self) {
        self.0.release();
    }

    fn append(&self, record: &Record) -> Option<Mark> {
        if is_chatter(record) { Some(LEFT_OUT) } else { self.0.append(record) }
    }

    fn flush_to(&self, mark: Mark) -> bool {
        mark == LEFT_OUT || self.0.flush_to(mark)
    }

    fn sync_to(&self, mark: Mark) -> bool {
        mark == LEFT_OUT || self.0.sync_to(mark)
    }

    fn note(&self, record: &Record) {
        self.0.note(record);
    }
}

fn is_chatter(record: &Record) -> bool {
    let Record::Decision(decision) = record else { return false };
    decision.outcome == Outcome::Allowed
        && decision.route.as_deref() == Some(ROUTE)
        && !decision.path.ends_with("/hello")
        && !decision.path.ends_with("/snapshot")
}
