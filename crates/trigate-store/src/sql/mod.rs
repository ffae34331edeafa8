//! The ports, one per file, in the SQL that both databases share.

mod acts;
mod applications;
mod bookkeeping;
mod certificates;
mod clients;
mod decisions;
mod export;
mod feed;
mod grants;
mod judge;
mod keys;
mod quotas;
mod revocations;
mod sessions;
mod upkeep;
mod users;

use crate::{
    dialect::{Value, values},
    writer::Tx,
};
use trigate_core::{Position, Timestamp, application::State, port::StoreError};

/// A job: what runs in the writer's transaction.
macro_rules! job {
    (|$tx:ident| $body:block) => {
        $crate::writer::job(move |$tx| Box::pin(async move $body))
    };
}
pub(crate) use job;

const fn state(enabled: bool) -> State {
    if enabled { State::Enabled } else { State::Disabled }
}

const fn enabled(state: State) -> bool {
    matches!(state, State::Enabled)
}

fn conflict<T>(why: &str) -> Result<T, StoreError> {
    Err(StoreError::Conflict(why.to_owned()))
}

/// Which names of one kind a token may no longer claim.
#[derive(Clone, Copy)]
enum Narrowed {
    UserRole,
    ClientRole,
    ClientScope,
}

impl Narrowed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UserRole => "user_role",
            Self::ClientRole => "client_role",
            Self::ClientScope => "client_scope",
        }
    }
}

/// Remembers what tokens minted before `position` lose, even if it is given again later.
async fn narrow(
    tx: &mut Tx,
    kind: Narrowed,
    id: &str,
    names: &[String],
    position: Position,
    keep_until: Timestamp,
) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO narrowings (tenant, kind, id, name, position, keep_until) \
                          VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, kind, id, name) \
                          DO UPDATE SET position = excluded.position, keep_until = excluded.keep_until";
    for name in names {
        let row: Vec<Value> = values![&tx.tenant, kind.as_str(), id, name, position, keep_until];
        tx.execute(UPSERT, row).await?;
    }
    Ok(())
}
