//! The whole store as JSON lines: `{"trigate_export":1,…}`, then `{"table":…,"row":[…]}`, then `{"end":ROWS}`, so that a
//! cut file shows. Bytes are base64. Secrets leave as they lie here: hashed or sealed.

use crate::{
    dialect::{Sql, Value, values},
    writer::Tx,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
};
use trigate_core::port::StoreError;

/// The schema that these tables are of.
const SCHEMA: u32 = 1;
/// SECURITY: tokens that were minted after the export carry positions that the filled store has yet to reach. It goes on
/// beyond them, or a revocation made after a restore would take them for younger than itself and let them live.
const LEAP: i64 = 1_000_000_000;
/// Rows that are held in memory at once.
const PAGE: i64 = 5_000;

struct Table {
    name: &'static str,
    select: &'static str,
    insert: &'static str,
}

macro_rules! table {
    ($name:literal ($columns:literal) ($places:literal) by $key:literal) => {
        Table {
            name: $name,
            select: concat!("SELECT ", $columns, " FROM ", $name, " ORDER BY ", $key, " LIMIT $1 OFFSET $2"),
            insert: concat!("INSERT INTO ", $name, " (", $columns, ") VALUES (", $places, ")"),
        }
    };
}

/// Every table but the feed's head, which the first line carries, and leases and gates' reports, which belong to a moment.
const TABLES: [Table; 24] = [
    table!("changes" ("position, tenant, at, keep_until, what") ("$1, $2, $3, $4, $5") by "position"),
    table!("acts" ("tenant, place, at, user_id, client, application, target, bytes, hash")
        ("$1, $2, $3, $4, $5, $6, $7, $8, $9") by "tenant, place"),
    table!("act_heads" ("tenant, length, hash") ("$1, $2, $3") by "tenant"),
    table!("token_lives" ("tenant, longest_s") ("$1, $2") by "tenant"),
    table!("applications" ("tenant, id, name, plan, enabled, revoked_at_position, created_at")
        ("$1, $2, $3, $4, $5, $6, $7") by "tenant, id"),
    table!("keys" ("tenant, id, application, digest, created_at, record") ("$1, $2, $3, $4, $5, $6") by "tenant, id"),
    table!("clients" ("tenant, id, application, enabled, revoked_at_position, created_at, record")
        ("$1, $2, $3, $4, $5, $6, $7") by "tenant, id"),
    table!("users" ("tenant, id, login_name, email, email_verified, name, password_hash, roles, enabled, \
        revoked_at_position, created_at") ("$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11") by "tenant, id"),
    table!("narrowings" ("tenant, kind, id, name, position, keep_until") ("$1, $2, $3, $4, $5, $6")
        by "tenant, kind, id, name"),
    table!("sessions" ("tenant, id, user_id, cookie, root, replaced, revoked, born, last_seen_at, expires_at, record")
        ("$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11") by "tenant, id"),
    table!("consents" ("tenant, user_id, client, scopes, given_at") ("$1, $2, $3, $4, $5")
        by "tenant, user_id, client"),
    table!("grants" ("tenant, id, user_id, client, session, revoked, born, created_at, keep_until, record")
        ("$1, $2, $3, $4, $5, $6, $7, $8, $9, $10") by "tenant, id"),
    table!("codes" ("tenant, digest, grant_id, client, redirect_uri, challenge, expires_at, used_at")
        ("$1, $2, $3, $4, $5, $6, $7, $8") by "tenant, digest"),
    table!("refresh_tokens" ("tenant, digest, grant_id, client, expires_at, used_at, successor, repeat_until, \
        sealed_successor") ("$1, $2, $3, $4, $5, $6, $7, $8, $9") by "tenant, digest"),
    table!("opaque_tokens" ("tenant, digest, expires_at, facts") ("$1, $2, $3, $4") by "tenant, digest"),
    table!("revoked_tokens" ("tenant, token, keep_until") ("$1, $2, $3") by "tenant, token"),
    table!("signing_keys" ("tenant, kid, created_at, published_until, record") ("$1, $2, $3, $4, $5") by "tenant, kid"),
    table!("secrets" ("tenant, name, sealed") ("$1, $2, $3") by "tenant, name"),
    table!("certificates" ("tenant, fingerprint, created_at, record") ("$1, $2, $3, $4") by "tenant, fingerprint"),
    table!("used_proofs" ("tenant, proof, expires_at") ("$1, $2, $3") by "tenant, proof"),
    table!("assertion_ids" ("tenant, client, jti, expires_at") ("$1, $2, $3, $4") by "tenant, client, jti"),
    table!("usages" ("tenant, application, period, used, ends_at") ("$1, $2, $3, $4, $5")
        by "tenant, application, period"),
    table!("decisions" ("tenant, node, place, at, user_id, application, client, key_id, session, certificate, address, \
        reason, record") ("$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13") by "tenant, node, place"),
    table!("indexed_nodes" ("tenant, node, next_place") ("$1, $2, $3") by "tenant, node"),
];

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Start { trigate_export: u32, schema: u32, position: i64 },
    Row { table: String, row: Vec<Cell> },
    End { end: u64 },
}

/// Texts and bytes would look alike in JSON, so bytes are wrapped.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Cell {
    Null(()),
    Int(i64),
    Text(String),
    Blob { base64: String },
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null(()),
            Value::Int(number) => Self::Int(number),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob { base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

impl Cell {
    fn value(self) -> Result<Value, StoreError> {
        Ok(match self {
            Self::Null(()) => Value::Null,
            Self::Int(number) => Value::Int(number),
            Self::Text(text) => Value::Text(text),
            Self::Blob { base64 } => {
                Value::Blob(BASE64_STANDARD.decode(base64).map_err(|error| bad_file(&format!("base64: {error}")))?)
            }
        })
    }
}

fn bad_file(why: &str) -> StoreError {
    StoreError::Corrupt(format!("the export cannot be read: {why}"))
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn io(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<(), StoreError> {
    serde_json::to_writer(&mut *out, line).map_err(|error| bad_file(&error.to_string()))?;
    out.write_all(b"\n").map_err(io)
}

/// Writes all tables, as they stand in the caller's read transaction; answers the number of rows.
pub async fn export(sql: &mut dyn Sql, path: &Path) -> Result<u64, StoreError> {
    const HEAD: &str = "SELECT position FROM feed_head WHERE id = 1";
    let rows = sql.query(HEAD, Vec::new()).await?;
    let position = rows.first().ok_or_else(|| bad_file("no head"))?.int(0)?;
    // Never over another file: the last good export is worth more than a half one.
    let mut out = BufWriter::new(File::create_new(path).map_err(io)?);
    write_line(&mut out, &Line::Start { trigate_export: 1, schema: SCHEMA, position })?;
    let mut written = 0;
    for table in TABLES {
        written += export_table(sql, &table, &mut out).await?;
    }
    write_line(&mut out, &Line::End { end: written })?;
    let file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    Ok(written)
}

async fn export_table(sql: &mut dyn Sql, table: &Table, out: &mut (impl Write + Send)) -> Result<u64, StoreError> {
    let mut written: u64 = 0;
    loop {
        let page = sql.query(table.select, values![PAGE, written]).await?;
        let count = page.len() as u64;
        for row in page {
            let row = row.0.into_iter().map(Cell::from).collect();
            write_line(out, &Line::Row { table: table.name.to_owned(), row })?;
        }
        written += count;
        if count < PAGE.unsigned_abs() {
            return Ok(written);
        }
    }
}

/// Fills an empty store; answers the number of rows. A row too few or too many undoes all of it.
pub async fn import(tx: &mut Tx, path: &Path) -> Result<u64, StoreError> {
    reject_full_store(tx).await?;
    let mut lines = BufReader::new(File::open(path).map_err(io)?).lines();
    let mut next = || -> Result<Option<Line>, StoreError> {
        let Some(line) = lines.next() else { return Ok(None) };
        serde_json::from_str(&line.map_err(io)?).map(Some).map_err(|error| bad_file(&error.to_string()))
    };
    let Some(Line::Start { trigate_export: 1, schema, position }) = next()? else {
        return Err(bad_file("it does not begin as an export"));
    };
    if schema != SCHEMA {
        return Err(StoreError::Conflict(format!("the export is of schema {schema}, this store of {SCHEMA}")));
    }
    let mut read = 0;
    while let Some(line) = next()? {
        match line {
            Line::Row { table, row } => import_row(tx, &table, row).await?,
            Line::End { end } if end == read && next()?.is_none() => {
                tx.set_position(position.saturating_add(LEAP));
                return Ok(read);
            }
            Line::End { .. } | Line::Start { .. } => return Err(bad_file("its rows do not add up")),
        }
        read += 1;
    }
    Err(bad_file("its end is missing"))
}

async fn import_row(tx: &mut Tx, table: &str, row: Vec<Cell>) -> Result<(), StoreError> {
    let table = TABLES.iter().find(|known| known.name == table).ok_or_else(|| bad_file("unknown table"))?;
    let row = row.into_iter().map(Cell::value).collect::<Result<_, _>>()?;
    tx.execute(table.insert, row).await.map(drop)
}

async fn reject_full_store(tx: &mut Tx) -> Result<(), StoreError> {
    let mut full = tx.position().0 > 0;
    for table in TABLES {
        full |= !tx.query(table.select, values![1_i64, 0_i64]).await?.is_empty();
    }
    if full { super::conflict("the store is not empty") } else { Ok(()) }
}
