//! How is a statement run? The door between our SQL and a database, and all that differs between databases behind it.
//! Statements are constants; values never enter a statement's text.

pub mod postgres;
pub mod sqlite;
mod tls;

use std::{future::Future, pin::Pin};
use trigate_core::{Timestamp, credential::Digest, port::StoreError};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A column's value. Times are microseconds, truth is 0 or 1, lists are JSON in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// One connection. Placeholders are `$1`, `$2`, …
pub trait Sql: Send {
    /// Runs a statement; answers how many rows it touched.
    fn execute<'a>(&'a mut self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'a, Result<u64, StoreError>>;
    fn query<'a>(&'a mut self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, StoreError>>;
    /// Runs one statement for many rows, as cheaply as the database can.
    fn execute_many<'a>(
        &'a mut self,
        sql: &'static str,
        rows: Vec<Vec<Value>>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Opens a transaction that sees one state of all tables.
    fn begin_read(&mut self) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Opens a transaction that writes, takes the head row until its end, and answers the feed's position.
    /// INVARIANT: no other transaction commits a change between this and the end.
    fn begin_write(&mut self) -> BoxFuture<'_, Result<i64, StoreError>>;
    /// Tells other processes, when the transaction commits, that the feed has reached `position`.
    fn announce(&mut self, position: i64) -> BoxFuture<'_, Result<(), StoreError>>;
    /// INVARIANT: `Ok` means that everything since `begin_write` is on stable storage.
    fn commit(&mut self) -> BoxFuture<'_, Result<(), StoreError>>;
    fn rollback(&mut self) -> BoxFuture<'_, Result<(), StoreError>>;
    /// `false` when the connection is lost and a new one is needed.
    fn alive(&self) -> bool;
}

/// The values of one answered row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

fn corrupt(column: usize, wanted: &str) -> StoreError {
    StoreError::Corrupt(format!("column {column} is no {wanted}"))
}

/// An older Trigate must not touch what a newer one wrote.
fn newer_schema(found: i64, known: i64) -> StoreError {
    StoreError::Conflict(format!(
        "the database has schema {found}, but this Trigate knows only up to {known}: use the newer Trigate"
    ))
}

impl Row {
    pub fn value(&self, column: usize) -> Result<&Value, StoreError> {
        self.0.get(column).ok_or_else(|| corrupt(column, "column"))
    }

    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| corrupt(column, "number"))
    }

    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.value(column)? {
            Value::Int(number) => Ok(Some(*number)),
            Value::Null => Ok(None),
            _ => Err(corrupt(column, "number")),
        }
    }

    pub fn number(&self, column: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_| corrupt(column, "count"))
    }

    pub fn truth(&self, column: usize) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    pub fn time(&self, column: usize) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_micros(self.int(column)?))
    }

    pub fn opt_time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    pub fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.opt_text(column)?.ok_or_else(|| corrupt(column, "text"))
    }

    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.value(column)? {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            _ => Err(corrupt(column, "text")),
        }
    }

    pub fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.value(column)? {
            Value::Blob(bytes) => Ok(Some(bytes)),
            Value::Null => Ok(None),
            _ => Err(corrupt(column, "bytes")),
        }
    }

    pub fn blob(&self, column: usize) -> Result<&[u8], StoreError> {
        self.opt_blob(column)?.ok_or_else(|| corrupt(column, "bytes"))
    }

    pub fn bytes32(&self, column: usize) -> Result<[u8; 32], StoreError> {
        self.blob(column)?.try_into().map_err(|_| corrupt(column, "digest"))
    }

    /// Anything that reads itself from a text: ids of every kind.
    pub fn parse<T: std::str::FromStr>(&self, column: usize) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| corrupt(column, "id"))
    }

    /// What was stored as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T, StoreError> {
        serde_json::from_str(self.text(column)?)
            .map_err(|error| StoreError::Corrupt(format!("column {column}: {error}")))
    }
}

/// Writes a value as JSON, for a text column.
pub fn json<T: serde::Serialize>(value: &T) -> Result<Value, StoreError> {
    serde_json::to_string(value).map(Value::Text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// Counts beyond `i64` do not occur; they are stored as the largest number that fits.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Int(i64::from(truth))
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Int(at.micros())
    }
}

impl From<trigate_core::Position> for Value {
    fn from(position: trigate_core::Position) -> Self {
        position.0.into()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl From<&Digest> for Value {
    fn from(digest: &Digest) -> Self {
        Self::Blob(digest.bytes().to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! ids {
    ($($kind:ident)*) => {$(
        impl From<&trigate_core::id::$kind> for Value {
            fn from(id: &trigate_core::id::$kind) -> Self {
                Self::Text(id.as_str().to_owned())
            }
        }
    )*};
}

ids! { TenantId AppId ClientId UserId KeyId SessionId GrantId ActId RequestId }

/// The values of one statement, in the order of its placeholders.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::dialect::Value::from($value)),*] };
}
pub(crate) use values;
