//! PostgreSQL: one writing connection, a few reading ones, one that listens. Several processes may share a database: the
//! locked head row orders their commits.

use super::{BoxFuture, Row, Sql, Value, corrupt, tls::MakeTls, values};
use crate::{
    reader::{self, Reader},
    sql::job,
    store::{LeaseBook, Shared, SqlStore, behind},
    writer::{self, Connector, Writer},
};
use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::future::{poll_fn, try_join_all};
use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Statement,
    config::{Host, SslMode},
    error::SqlState,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};
use trigate_core::{
    Position,
    id::TenantId,
    port::{Clock, LeaseHolder, StoreError},
};

const READERS: usize = 4;
const CONNECT: Duration = Duration::from_secs(5);
/// Between tries of the listener to come back.
const PAUSE: Duration = Duration::from_millis(250);
/// `TRGT`: whoever migrates holds this lock.
const LOCK: i64 = 0x5452_4754;
const MIGRATIONS: [&str; 1] = [include_str!("migrations/postgres_0001.sql")];

/// A dead peer's transaction must not hold the head row; and no commit is answered before it is on disk.
const SESSION: &str = "SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '15s'; \
     SET default_transaction_isolation = 'read committed'; \
     SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') IN ('off', 'local')";

pub async fn open(url: String, clock: Arc<dyn Clock>) -> Result<SqlStore, StoreError> {
    let database = Database::parse(&url)?;
    let position = migrate(&database).await?;
    let (writer, jobs) = Writer::new();
    let (reader, questions) = Reader::new();
    let (announce, head) = watch::channel(position);
    tokio::spawn(writer::serve(Box::new(database.clone()), jobs, announce.clone()));
    for _ in 0..READERS {
        tokio::spawn(reader::serve(Box::new(database.clone()), questions.clone()));
    }
    tokio::spawn(listen(database, announce));
    let leases = Arc::new(Table { writer: writer.clone(), clock: clock.clone() });
    Ok(SqlStore(Arc::new(Shared { writer, reader, head, leases, clock })))
}

#[derive(Clone)]
struct Database {
    config: Config,
    /// `None`: a socket or the loopback, where nobody listens in between.
    tls: Option<MakeTls>,
}

impl Database {
    fn parse(url: &str) -> Result<Self, StoreError> {
        // The parser's own words could repeat a password.
        let mut config: Config =
            url.parse().map_err(|_| StoreError::Conflict("the store's URL cannot be read".to_owned()))?;
        config.connect_timeout(CONNECT).tcp_user_timeout(CONNECT * 2).application_name("trigate");
        let local = config.get_hosts().iter().all(is_local) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        if local && config.get_ssl_mode() != SslMode::Require {
            config.ssl_mode(SslMode::Disable);
            return Ok(Self { config, tls: None });
        }
        // SECURITY: never plain text over a network, whatever the URL prefers.
        if config.get_ssl_mode() == SslMode::Disable {
            return Err(StoreError::Conflict("a database on another host is reached by TLS only".to_owned()));
        }
        config.ssl_mode(SslMode::Require);
        Ok(Self { config, tls: Some(MakeTls::new()?) })
    }

    /// A connection that lives in a task of its own; `notified` hears what the server announces.
    async fn open(&self, notified: Option<watch::Sender<i64>>) -> Result<Client, StoreError> {
        let client = match &self.tls {
            None => drive(self.config.connect(NoTls).await.map_err(translate)?, notified),
            Some(tls) => drive(self.config.connect(tls.clone()).await.map_err(translate)?, notified),
        };
        client.batch_execute(SESSION).await.map_err(translate)?;
        Ok(client)
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn drive<S, T>((client, mut connection): (Client, Connection<S, T>), notified: Option<watch::Sender<i64>>) -> Client
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let (AsyncMessage::Notification(notification), Some(head)) = (message, &notified)
                && let Ok(position) = notification.payload().parse()
            {
                raise(head, position);
            }
        }
    });
    client
}

fn raise(head: &watch::Sender<i64>, position: i64) {
    head.send_if_modified(|known| std::mem::replace(known, position.max(*known)) < position);
}

/// Hears of other processes' changes, for as long as anybody wants to know.
async fn listen(database: Database, head: watch::Sender<i64>) {
    while !head.is_closed() {
        if let Err(error) = listen_once(&database, &head).await {
            tracing::warn!(%error, "the feed's listener is reconnecting");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen_once(database: &Database, head: &watch::Sender<i64>) -> Result<(), StoreError> {
    const HEAD: &str = "SELECT position FROM feed_head WHERE id = 1";
    let client = database.open(Some(head.clone())).await?;
    client.batch_execute("LISTEN trigate_feed").await.map_err(translate)?;
    while !client.is_closed() && !head.is_closed() {
        // What was announced while nobody listened, or lost on a half-dead connection, is found here.
        let row = client.query_one(HEAD, &[]).await.map_err(translate)?;
        raise(head, row.try_get(0).map_err(translate)?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn migrate(database: &Database) -> Result<i64, StoreError> {
    let mut client = database.open(None).await?;
    let transaction = client.transaction().await.map_err(translate)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(translate)?;
    let table = "CREATE TABLE IF NOT EXISTS trigate_schema (version BIGINT NOT NULL PRIMARY KEY)";
    transaction.batch_execute(table).await.map_err(translate)?;
    let row = transaction.query_one("SELECT COALESCE(MAX(version), 0) FROM trigate_schema", &[]).await;
    let version: i64 = row.and_then(|row| row.try_get(0)).map_err(translate)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(super::newer_schema(version, known));
    }
    for (sql, number) in MIGRATIONS.iter().zip(1_i64..).skip_while(|(_, number)| *number <= version) {
        transaction.batch_execute(sql).await.map_err(translate)?;
        let note = "INSERT INTO trigate_schema (version) VALUES ($1)";
        transaction.execute(note, &[&number]).await.map_err(translate)?;
    }
    let row = transaction.query_one("SELECT position FROM feed_head WHERE id = 1", &[]).await;
    let position = row.and_then(|row| row.try_get(0)).map_err(translate)?;
    transaction.commit().await.map_err(translate)?;
    Ok(position)
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn translate(error: tokio_postgres::Error) -> StoreError {
    let Some(database) = error.as_db_error() else { return StoreError::Unavailable(error.to_string()) };
    let code = database.code();
    if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::DUPLICATE_TABLE {
        return StoreError::Conflict("something of that name is there already".to_owned());
    }
    match code.code().get(..2) {
        // Data exception: a text with a NUL, a number out of range.
        Some("22") => StoreError::Conflict("a value cannot be stored".to_owned()),
        // Wrong syntax or type: the schema is not the one that the code was written for.
        Some("42") => StoreError::Corrupt(database.to_string()),
        _ => StoreError::Unavailable(database.to_string()),
    }
}

impl Connector for Database {
    fn connect(&mut self) -> BoxFuture<'_, Result<Box<dyn Sql>, StoreError>> {
        Box::pin(async move {
            let client = self.open(None).await?;
            Ok(Box::new(Postgres { client, statements: HashMap::new() }) as Box<dyn Sql>)
        })
    }
}

struct Postgres {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Postgres {
    async fn prepare(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(translate)?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    async fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let statement = self.prepare(sql).await?;
        self.client.execute_raw(&statement, values.iter().map(|value| value as &dyn ToSql)).await.map_err(translate)
    }

    async fn read(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepare(sql).await?;
        let values: Vec<_> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = self.client.query(&statement, &values).await.map_err(translate)?;
        rows.iter().map(row).collect()
    }

    async fn batch(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).await.map_err(translate)
    }
}

fn row(row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let cells = (0..row.len()).map(|column| row.try_get::<_, Cell>(column).map(|cell| cell.0));
    cells.collect::<Result<_, _>>().map(Row).map_err(translate)
}

/// A value on its way in.
struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT8 => Value::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Int(i64::from(i32::from_sql(kind, raw)?)),
            Type::BYTEA => Value::Blob(raw.to_vec()),
            _ => Value::Text(String::from_sql(kind, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::BYTEA | Type::TEXT | Type::VARCHAR)
    }
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) if *kind == Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
            Self::Int(number) => number.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Blob(bytes) => bytes.to_sql(kind, out),
        }
    }

    /// What does not fit its column is refused by the server.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Sql for Postgres {
    fn execute<'a>(&'a mut self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(self.run(sql, values))
    }

    fn query<'a>(&'a mut self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(self.read(sql, values))
    }

    fn execute_many<'a>(
        &'a mut self,
        sql: &'static str,
        rows: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let statement = self.prepare(sql).await?;
            // Sent one behind the other without waiting; the server answers in order.
            let (client, statement) = (&self.client, &statement);
            let send = |row: Vec<Value>| async move {
                client.execute_raw(statement, row.iter().map(|value| value as &dyn ToSql)).await
            };
            try_join_all(rows.into_iter().map(send)).await.map(drop).map_err(translate)
        })
    }

    fn begin_read(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    }

    fn begin_write(&mut self) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            self.batch("BEGIN").await?;
            // A sequence would be no order: rows commit out of it. This lock is held to the commit.
            let rows = self.read("SELECT position FROM feed_head WHERE id = 1 FOR UPDATE", Vec::new()).await?;
            rows.first().ok_or_else(|| corrupt(0, "head"))?.int(0)
        })
    }

    fn announce(&mut self, position: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let payload = values![position.to_string()];
            self.read("SELECT CAST(pg_notify('trigate_feed', $1) AS TEXT)", payload).await.map(drop)
        })
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.batch("COMMIT"))
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.batch("ROLLBACK"))
    }

    fn alive(&self) -> bool {
        !self.client.is_closed()
    }
}

/// Leases of all processes, by the database's clock. Every verb runs under the head's lock, so that a lease is taken
/// either before a change commits, and the barrier sees it, or after, and the gate must know the change.
struct Table {
    writer: Writer,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl LeaseBook for Table {
    async fn renew(&self, node: &str, applied: Position, life_ms: u64) -> Result<(), StoreError> {
        const LIVE: &str = "SELECT node FROM leases WHERE node = $1 AND ends_at > clock_timestamp()";
        const TAKE: &str = "INSERT INTO leases (node, applied, ends_at) \
             VALUES ($1, $2, clock_timestamp() + CAST($3 AS BIGINT) * INTERVAL '1 millisecond') \
             ON CONFLICT (node) DO UPDATE SET applied = excluded.applied, ends_at = excluded.ends_at";
        let node = node.to_owned();
        let work = job!(|tx| {
            let live = tx.one(LIVE, values![&node]).await?.is_some();
            if !live && applied < tx.position() {
                return Err(behind(i64::try_from(tx.position().0).unwrap_or(i64::MAX)));
            }
            tx.execute(TAKE, values![&node, applied, life_ms]).await.map(drop)
        });
        self.keep(work).await
    }

    async fn release(&self, node: &str) -> Result<(), StoreError> {
        const RELEASE: &str = "DELETE FROM leases WHERE node = $1 OR ends_at < clock_timestamp() - INTERVAL '1 day'";
        let node = node.to_owned();
        self.keep(job!(|tx| { tx.execute(RELEASE, values![&node]).await.map(drop) })).await
    }

    async fn holders(&self) -> Result<Vec<LeaseHolder>, StoreError> {
        const HOLDERS: &str = "SELECT node, applied, \
             CAST(CEIL(EXTRACT(EPOCH FROM (ends_at - clock_timestamp())) * 1000) AS BIGINT) \
             FROM leases WHERE ends_at > clock_timestamp() ORDER BY node";
        let work = job!(|tx| {
            let rows = tx.query(HOLDERS, Vec::new()).await?;
            let holder = |row: &Row| {
                let remaining_ms = row.int(2)?.max(0).unsigned_abs();
                Ok(LeaseHolder { node: row.text(0)?.to_owned(), applied: Position(row.number(1)?), remaining_ms })
            };
            rows.iter().map(holder).collect::<Result<Vec<_>, StoreError>>()
        });
        self.keep(work).await
    }
}

impl Table {
    async fn keep<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut writer::Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let committed = self.writer.commit(&TenantId::default_tenant(), &self.clock, None, work).await?;
        Ok(committed.gives_only())
    }
}
