//! How does a change become durable? One writer takes all waiting jobs into one transaction, each in a savepoint of its
//! own, and answers them after the commit. A job's rows, act and changes stand or fall together.

use crate::dialect::{BoxFuture, Row, Sql, Value, json, values};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot, watch};
use trigate_core::{
    Act, Position, Timestamp,
    audit::ChainHead,
    change::What,
    id::TenantId,
    port::{Clock, Committed, StoreError, Stored},
};

/// Jobs that may wait; beyond it callers hear `Unavailable` at once.
pub const QUEUE: usize = 4096;
/// Jobs that share one commit.
const BATCH: usize = 256;
/// Seconds that one batch may take, reconnecting included, before its jobs are answered `Unavailable`.
const DEADLINE_S: u64 = 10;
/// Gates accept a token for a while after its end (clock leeway); what narrows it is kept longer than that.
const SLACK_S: i64 = 3600;

/// Makes connections, at the start and after each loss.
pub trait Connector: Send {
    fn connect(&mut self) -> BoxFuture<'_, Result<Box<dyn Sql>, StoreError>>;
}

/// A job within the writer's transaction.
pub struct Tx {
    sql: Box<dyn Sql>,
    heads: Heads,
    pub tenant: TenantId,
    /// The store's clock when the job began.
    pub now: Timestamp,
    act: Option<Act>,
}

/// Ends of the feed and of the act chains; the rows that hold them are written once per batch.
#[derive(Clone, Default)]
struct Heads {
    position: i64,
    chains: BTreeMap<TenantId, ChainHead>,
}

impl Tx {
    fn new(sql: Box<dyn Sql>) -> Self {
        Self { sql, heads: Heads::default(), tenant: TenantId::default_tenant(), now: Timestamp::default(), act: None }
    }

    pub fn sql(&mut self) -> &mut dyn Sql {
        self.sql.as_mut()
    }

    pub async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        self.sql.execute(sql, values).await
    }

    pub async fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.sql.query(sql, values).await
    }

    pub async fn one(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.sql.query(sql, values).await?.into_iter().next())
    }

    /// Where the feed stands within this transaction.
    pub fn position(&self) -> Position {
        Position(self.heads.position.unsigned_abs())
    }

    /// Where the next change will stand.
    pub fn next_position(&self) -> Position {
        self.position().next()
    }

    /// For an import alone: the feed goes on from where the exported one stood.
    pub fn set_position(&mut self, position: i64) {
        self.heads.position = position;
    }

    /// Adds a fact to the act of this job.
    pub fn note(&mut self, note: impl FnOnce(Act) -> Act) {
        self.act = self.act.take().map(note);
    }

    /// Appends a change to the feed.
    pub async fn change(&mut self, what: What) -> Result<Position, StoreError> {
        const INSERT: &str = "INSERT INTO changes (position, tenant, at, keep_until, what) VALUES ($1, $2, $3, $4, $5)";
        let position = self.next_position();
        let row = values![position, &self.tenant, self.now, keep_until(&what), json(&what)?];
        self.sql.execute(INSERT, row).await?;
        self.heads.position += 1;
        Ok(position)
    }

    /// When no access token minted up to now can be alive any more.
    pub async fn tokens_over(&mut self) -> Result<Timestamp, StoreError> {
        const FIND: &str = "SELECT longest_s FROM token_lives WHERE tenant = $1";
        let row = self.one(FIND, values![&self.tenant]).await?;
        let longest = row.map_or(Ok(0), |row| row.int(0))?;
        Ok(self.now.plus_seconds(longest.saturating_add(SLACK_S)))
    }

    /// Chains the job's act, if it has one.
    async fn finish(&mut self) -> Result<(), StoreError> {
        match self.act.take() {
            Some(act) => self.chain_act(act).await,
            None => Ok(()),
        }
    }

    /// Appends one act to the chain. Of a job that makes several changes, each has its own.
    pub async fn chain_act(&mut self, act: Act) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO acts (tenant, place, at, user_id, client, application, target, bytes, hash) \
                              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let bytes = serde_json::to_vec(&act).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let before = self.chain().await?;
        let after = before.append(&bytes);
        let row = values![
            &self.tenant,
            before.length,
            act.at,
            act.user.as_ref(),
            act.client.as_ref(),
            act.application.as_ref(),
            &act.target,
            bytes,
            after.hash.as_slice(),
        ];
        self.sql.execute(INSERT, row).await?;
        self.heads.chains.insert(self.tenant.clone(), after);
        Ok(())
    }

    async fn chain(&mut self) -> Result<ChainHead, StoreError> {
        match self.heads.chains.get(&self.tenant) {
            Some(head) => Ok(*head),
            None => load_chain(self.sql.as_mut(), &self.tenant).await,
        }
    }

    /// Writes the ends that this batch moved.
    async fn store_heads(&mut self, before: i64) -> Result<(), StoreError> {
        const CHAIN: &str = "INSERT INTO act_heads (tenant, length, hash) VALUES ($1, $2, $3) \
                             ON CONFLICT (tenant) DO UPDATE SET length = excluded.length, hash = excluded.hash";
        const FEED: &str = "UPDATE feed_head SET position = $1 WHERE id = 1";
        for (tenant, head) in std::mem::take(&mut self.heads.chains) {
            self.sql.execute(CHAIN, values![&tenant, head.length, head.hash.as_slice()]).await?;
        }
        if self.heads.position != before {
            self.sql.execute(FEED, values![self.heads.position]).await?;
            self.sql.announce(self.heads.position).await?;
        }
        Ok(())
    }
}

/// The head of a tenant's act chain.
pub async fn load_chain(sql: &mut dyn Sql, tenant: &TenantId) -> Result<ChainHead, StoreError> {
    const FIND: &str = "SELECT length, hash FROM act_heads WHERE tenant = $1";
    match sql.query(FIND, values![tenant]).await?.first() {
        Some(row) => Ok(ChainHead { length: row.number(0)?, hash: row.bytes32(1)? }),
        None => Ok(ChainHead::start(tenant.as_str())),
    }
}

/// Changes that a gate must hear of when it starts, for as long as they can hit something.
const fn keep_until(what: &What) -> Option<Timestamp> {
    match what {
        What::RolesNarrowed { keep_until, .. }
        | What::ClientRolesNarrowed { keep_until, .. }
        | What::ClientScopesNarrowed { keep_until, .. }
        | What::GrantNarrowed { keep_until, .. }
        | What::Revoked { keep_until, .. } => Some(*keep_until),
        What::Application { .. }
        | What::Key { .. }
        | What::Client { .. }
        | What::SigningKey { .. }
        | What::UserState { .. } => None,
    }
}

/// Tells the compiler what a closure is to be.
pub fn job<T, W>(work: W) -> W
where
    W: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
{
    work
}

/// One waiting change.
pub trait Job: Send {
    /// `false`: what it wrote must be undone.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool>;
    /// Called after the commit, or with the reason why there was none.
    fn answer(self: Box<Self>, batch: Result<(), StoreError>);
}

struct Ticket<T, W> {
    tenant: TenantId,
    clock: Arc<dyn Clock>,
    act: Option<Act>,
    work: Option<W>,
    outcome: Option<Stored<T>>,
    reply: oneshot::Sender<Stored<T>>,
}

impl<T, W> Job for Ticket<T, W>
where
    T: Send,
    W: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            tx.tenant = self.tenant.clone();
            tx.now = self.clock.now();
            tx.act = self.act.take();
            let outcome = match work(tx).await {
                Ok(value) => tx.finish().await.map(|()| Committed::new(value, tx.position())),
                Err(error) => Err(error),
            };
            let good = outcome.is_ok();
            self.outcome = Some(outcome);
            good
        })
    }

    fn answer(self: Box<Self>, batch: Result<(), StoreError>) {
        let never = || Err(StoreError::Unavailable("the change was not tried".to_owned()));
        let outcome = match batch {
            Ok(()) => self.outcome.unwrap_or_else(never),
            // INVARIANT: nothing is claimed that was not committed; a job's own error stays what it was.
            Err(error) => self.outcome.filter(Result::is_err).unwrap_or(Err(error)),
        };
        // Whoever asked may have gone; the change stands all the same.
        let _ = self.reply.send(outcome);
    }
}

/// The door to the writer.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Box<dyn Job>>);

pub type Jobs = mpsc::Receiver<Box<dyn Job>>;

impl Writer {
    pub fn new() -> (Self, Jobs) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        (Self(sender), jobs)
    }

    /// Queues a job and waits until it is durable, or was refused.
    pub async fn commit<T, W>(&self, tenant: &TenantId, clock: &Arc<dyn Clock>, act: Option<Act>, work: W) -> Stored<T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let ticket =
            Ticket { tenant: tenant.clone(), clock: clock.clone(), act, work: Some(work), outcome: None, reply };
        self.0.try_send(Box::new(ticket)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Unavailable("too many changes are waiting".to_owned()),
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".to_owned())
}

/// The writer's life. Ends when every door to it is gone.
pub async fn serve(mut connector: Box<dyn Connector>, mut queue: Jobs, head: watch::Sender<i64>) {
    let mut connection: Option<Tx> = None;
    let mut jobs = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        let batch = commit_batch(&mut connection, connector.as_mut(), &mut jobs);
        let outcome = match tokio::time::timeout(Duration::from_secs(DEADLINE_S), batch).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable("the database did not answer in time".to_owned())),
        };
        if let Ok(position) = outcome {
            head.send_if_modified(|known| std::mem::replace(known, position.max(*known)) < position);
        } else {
            // Whatever the transaction's state, closing its connection undoes it.
            connection = None;
        }
        let outcome = outcome.map(drop);
        for job in jobs.drain(..) {
            job.answer(outcome.clone());
        }
    }
}

async fn commit_batch(
    connection: &mut Option<Tx>,
    connector: &mut dyn Connector,
    jobs: &mut [Box<dyn Job>],
) -> Result<i64, StoreError> {
    let tx = match connection {
        Some(tx) if tx.sql.alive() => tx,
        _ => connection.insert(Tx::new(connector.connect().await?)),
    };
    let before = tx.sql.begin_write().await?;
    tx.heads = Heads { position: before, chains: BTreeMap::new() };
    for job in jobs {
        run_in_savepoint(tx, job.as_mut()).await?;
    }
    tx.store_heads(before).await?;
    tx.sql.commit().await?;
    Ok(tx.heads.position)
}

/// SECURITY: when a savepoint cannot be rolled back (SQLite may have ended the whole transaction on a full disk), the
/// batch fails: no later job may commit as if the earlier ones still stood.
async fn run_in_savepoint(tx: &mut Tx, job: &mut dyn Job) -> Result<(), StoreError> {
    tx.execute("SAVEPOINT job", Vec::new()).await?;
    let heads = tx.heads.clone();
    if !job.run(tx).await {
        tx.execute("ROLLBACK TO SAVEPOINT job", Vec::new()).await?;
        tx.heads = heads;
    }
    tx.execute("RELEASE SAVEPOINT job", Vec::new()).await?;
    Ok(())
}
