//! SQLite: one file, one writing thread, a few reading threads, WAL with `synchronous=FULL`. One process serves a file.

use super::{BoxFuture, Row, Sql, Value, corrupt};
use crate::{
    reader::{self, Reader},
    store::{LeaseBook, Shared, SqlStore, behind},
    writer::{self, Connector, Writer},
};
use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, types::ValueRef};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use trigate_core::{
    Position,
    port::{Clock, LeaseHolder, Monotonic, StoreError},
};

const READERS: usize = 2;
const BUSY: Duration = Duration::from_secs(5);
/// `TRGT`: marks a file as ours.
const APPLICATION_ID: i64 = 0x5452_4754;
const MIGRATIONS: [&str; 1] = [include_str!("migrations/sqlite_0001.sql")];

pub async fn open(path: PathBuf, clock: Arc<dyn Clock>) -> Result<SqlStore, StoreError> {
    let prepared = path.clone();
    let position = tokio::task::spawn_blocking(move || prepare_file(&prepared))
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))??;
    let (writer, jobs) = Writer::new();
    let (reader, questions) = Reader::new();
    let (announce, head) = watch::channel(position);
    let connector = Box::new(File { path: path.clone(), readonly: false });
    start_thread("store-writer", move || Box::pin(writer::serve(connector, jobs, announce)))?;
    for _ in 0..READERS {
        let (connector, questions) = (Box::new(File { path: path.clone(), readonly: true }), questions.clone());
        start_thread("store-reader", move || Box::pin(reader::serve(connector, questions)))?;
    }
    let leases = Arc::new(Memory { clock: clock.clone(), head: head.clone(), held: Mutex::default() });
    Ok(SqlStore(Arc::new(Shared { writer, reader, head, leases, clock })))
}

fn start_thread(name: &str, life: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(life()))
        .map(drop)
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// Makes or checks the file and its schema; answers the feed's position.
fn prepare_file(path: &Path) -> Result<i64, StoreError> {
    let mut connection = connect(path, false)?;
    migrate(&mut connection)?;
    connection.query_row("SELECT position FROM feed_head WHERE id = 1", [], |row| row.get(0)).map_err(translate)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(translate)?;
    let pragma = |name: &str| {
        transaction.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).map_err(translate)
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(translate)?;
    if application != APPLICATION_ID && (tables > 0 || application != 0 || version != 0) {
        return Err(StoreError::Conflict("the file is a database of some other program; name another file".to_owned()));
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(super::newer_schema(version, known));
    }
    for (sql, number) in MIGRATIONS.iter().zip(1..).skip_while(|(_, number)| *number <= version) {
        transaction.execute_batch(sql).map_err(translate)?;
        transaction.pragma_update(None, "user_version", number).map_err(translate)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(translate)?;
    transaction.commit().map_err(translate)
}

fn connect(path: &Path, readonly: bool) -> Result<Connection, StoreError> {
    let flags = if readonly {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(translate)?;
    connection.busy_timeout(BUSY).map_err(translate)?;
    connection.set_prepared_statement_cache_capacity(256);
    if !readonly {
        connection.pragma_update(None, "journal_mode", "WAL").map_err(translate)?;
        // A power cut loses nothing that was answered.
        connection.pragma_update(None, "synchronous", "FULL").map_err(translate)?;
        check_durable(&connection)?;
    }
    Ok(connection)
}

/// Some file systems refuse WAL without an error; then what is answered as committed might not be.
fn check_durable(connection: &Connection) -> Result<(), StoreError> {
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(translate)?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).map_err(translate)?;
    if mode == "wal" && synchronous == 2 {
        return Ok(());
    }
    Err(StoreError::Unavailable("this file system does not let SQLite commit durably (WAL, synchronous)".to_owned()))
}

fn translate(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            StoreError::Conflict("something of that name is there already".to_owned())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch) => {
            StoreError::Corrupt(error.to_string())
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

struct File {
    path: PathBuf,
    readonly: bool,
}

impl Connector for File {
    fn connect(&mut self) -> BoxFuture<'_, Result<Box<dyn Sql>, StoreError>> {
        Box::pin(async move { Ok(Box::new(Lite(connect(&self.path, self.readonly)?)) as Box<dyn Sql>) })
    }
}

struct Lite(Connection);

impl Lite {
    fn prepare(&self, sql: &'static str, values: &[Value]) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        let mut statement = self.0.prepare_cached(sql).map_err(translate)?;
        bind(&mut statement, values)?;
        Ok(statement)
    }

    fn run(&self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        let changed = self.prepare(sql, values)?.raw_execute().map_err(translate)?;
        Ok(changed as u64)
    }

    fn read(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare(sql, values)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut answer = Vec::new();
        while let Some(row) = rows.next().map_err(translate)? {
            let cells = (0..columns).map(|column| cell(row.get_ref(column).map_err(translate)?, column));
            answer.push(Row(cells.collect::<Result<_, _>>()?));
        }
        Ok(answer)
    }
}

/// SQLite numbers `$n` by first appearance, so each is bound by its name.
fn bind(statement: &mut rusqlite::Statement<'_>, values: &[Value]) -> Result<(), StoreError> {
    for index in 1..=statement.parameter_count() {
        let place = statement.parameter_name(index).and_then(|name| name.trim_start_matches('$').parse::<usize>().ok());
        let value = place.and_then(|place| values.get(place.wrapping_sub(1)));
        let value = value.ok_or_else(|| StoreError::Corrupt("a statement lacks a value".to_owned()))?;
        match value {
            Value::Null => statement.raw_bind_parameter(index, rusqlite::types::Null),
            Value::Int(number) => statement.raw_bind_parameter(index, number),
            Value::Text(text) => statement.raw_bind_parameter(index, text),
            Value::Blob(bytes) => statement.raw_bind_parameter(index, bytes),
        }
        .map_err(translate)?;
    }
    Ok(())
}

fn cell(value: ValueRef<'_>, column: usize) -> Result<Value, StoreError> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Int(number)),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).map(Value::Text).map_err(|_| corrupt(column, "text")),
        ValueRef::Blob(bytes) => Ok(Value::Blob(bytes.to_vec())),
        ValueRef::Real(_) => Err(corrupt(column, "value that we store")),
    }
}

/// SQLite answers at once: these futures never wait.
fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Sql for Lite {
    fn execute<'a>(&'a mut self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'a, Result<u64, StoreError>> {
        ready(self.run(sql, &values))
    }

    fn query<'a>(&'a mut self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        ready(self.read(sql, &values))
    }

    fn execute_many<'a>(
        &'a mut self,
        sql: &'static str,
        rows: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        ready(rows.iter().try_for_each(|row| self.run(sql, row).map(drop)))
    }

    fn begin_read(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(self.run("BEGIN", &[]).map(drop))
    }

    fn begin_write(&mut self) -> BoxFuture<'_, Result<i64, StoreError>> {
        let position = self.run("BEGIN IMMEDIATE", &[]).and_then(|_| {
            let rows = self.read("SELECT position FROM feed_head WHERE id = 1", &[])?;
            rows.first().ok_or_else(|| corrupt(0, "head"))?.int(0)
        });
        ready(position)
    }

    /// No other process listens.
    fn announce(&mut self, _position: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        // A transaction that SQLite itself ended (full disk) is no transaction to commit.
        if self.0.is_autocommit() {
            return ready(Err(StoreError::Unavailable("the transaction was ended by an error".to_owned())));
        }
        ready(self.run("COMMIT", &[]).map(drop))
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(self.run("ROLLBACK", &[]).map(drop))
    }

    fn alive(&self) -> bool {
        true
    }
}

/// Leases of the one process.
struct Memory {
    clock: Arc<dyn Clock>,
    head: watch::Receiver<i64>,
    held: Mutex<HashMap<String, (Position, Monotonic)>>,
}

#[async_trait]
impl LeaseBook for Memory {
    async fn renew(&self, node: &str, applied: Position, life_ms: u64) -> Result<(), StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let live = held.get(node).is_some_and(|(_, until)| *until > now);
        let head = *self.head.borrow();
        if !live && applied.0 < head.unsigned_abs() {
            return Err(behind(head));
        }
        let until = Monotonic(now.0.saturating_add(life_ms.saturating_mul(1000)));
        held.insert(node.to_owned(), (applied, until));
        Ok(())
    }

    async fn release(&self, node: &str) -> Result<(), StoreError> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
        Ok(())
    }

    async fn holders(&self) -> Result<Vec<LeaseHolder>, StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        held.retain(|_, (_, until)| *until > now);
        let holder = |(node, (applied, until)): (&String, &(Position, Monotonic))| LeaseHolder {
            node: node.clone(),
            applied: *applied,
            // Rounded up: never shorter than it is.
            remaining_ms: until.0.saturating_sub(now.0).div_ceil(1000),
        };
        Ok(held.iter().map(holder).collect())
    }
}
