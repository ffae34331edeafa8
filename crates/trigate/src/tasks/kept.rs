//! Where are the revoked tokens between two starts? In a file beside the store, so that a gate with millions of them
//! starts in a second.
//!
//! SECURITY: never wakes the revoked. The file counts only when the store's feed holds, at the file's position, the very
//! change that was there when it was written; else (another store, one put back from a backup, a damaged file) all is
//! read from the store.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use trigate_core::{
    Position,
    change::Change,
    port::{StoreError, SystemStore},
};
use trigate_gates::{KeptHeader, KeptTokens, Known, fingerprint};

pub struct KeptFile {
    pub path: PathBuf,
    pub system: Arc<dyn SystemStore>,
    pub known: Arc<Known>,
}

impl KeptFile {
    /// Takes in what is kept; up to which position that is everything. 0: nothing was, or may be, taken.
    pub async fn load(&self) -> Result<Position, StoreError> {
        let path = self.path.clone();
        let opened = blocking(move || match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => KeptTokens::open(BufReader::with_capacity(1 << 20, file?)).map(Some).map_err(io::Error::other),
        });
        let kept = match opened.await {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(Position(0)),
            Err(error) => return Ok(self.ignored(&error.to_string())),
        };
        let header = kept.header().clone();
        let there = self.change_at(header.position).await?;
        if header.tenant != *self.known.tenant() || there.as_ref().map(fingerprint) != Some(header.fingerprint) {
            return Ok(self.ignored("it was written beside another store, or the store was put back"));
        }
        let known = Arc::clone(&self.known);
        match blocking(move || kept.load_into(&known).map_err(io::Error::other)).await {
            Ok(_) => Ok(header.position),
            Err(error) => Ok(self.ignored(&error.to_string())),
        }
    }

    fn ignored(&self, why: &str) -> Position {
        tracing::warn!(file = %self.path.display(), why, "kept revoked tokens are ignored: all are read from the store");
        Position(0)
    }

    async fn change_at(&self, position: Position) -> Result<Option<Change>, StoreError> {
        let Some(before) = position.0.checked_sub(1) else { return Ok(None) };
        let next = self.system.changes_after(Position(before), 1).await?;
        Ok(next.into_iter().next().filter(|change| change.position == position))
    }

    /// Replaces the file, whole or not at all.
    pub async fn save(&self) -> io::Result<()> {
        let position = self.known.position();
        let change = self.change_at(position).await.map_err(io::Error::other)?;
        let Some(change) = change else { return Ok(()) };
        let header = KeptHeader { tenant: self.known.tenant().clone(), position, fingerprint: fingerprint(&change) };
        let (path, known) = (self.path.clone(), Arc::clone(&self.known));
        blocking(move || write(&path, &known, &header)).await
    }
}

fn write(path: &Path, known: &Known, header: &KeptHeader) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut out = BufWriter::with_capacity(1 << 20, create_private(&new)?);
    known.write_revoked_tokens(header, &mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use trigate_core::{
        Act, Actor, Timestamp,
        change::Target,
        id::{TenantId, TokenId},
        port::{
            Clock, Store,
            testing::{SeededRng, StoppedClock},
        },
    };

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    async fn store(folder: &Path) -> Arc<dyn Store> {
        let at = trigate_store::Location::Sqlite(folder.join("trigate.db"));
        trigate_store::open(at, Arc::new(StoppedClock::at(NOW))).await.unwrap()
    }

    async fn revoke(store: &Arc<dyn Store>, tokens: std::ops::Range<u128>) {
        let tenant = store.tenant(&TenantId::default_tenant());
        for n in tokens {
            let act = Act::new(&StoppedClock::at(NOW), &SeededRng::new(7), Actor::System, "token.revoke", "x");
            let target = Target::Token { id: TokenId::from_bits(n) };
            tenant.revoke(act, target, NOW.plus_seconds(3_600)).await.unwrap().gives_only();
        }
    }

    /// A gate that starts over this store with this file.
    async fn start(store: &Arc<dyn Store>, folder: &Path) -> (KeptFile, Position, Vec<u128>) {
        let clock: Arc<dyn Clock> = Arc::new(StoppedClock::at(NOW));
        let known = Arc::new(Known::new(TenantId::default_tenant(), Arc::clone(&clock)));
        let file = KeptFile { path: folder.join("kept"), system: store.system(), known: Arc::clone(&known) };
        let from = file.load().await.unwrap();
        let tenant = TenantId::default_tenant();
        let tokens = store.system().revoked_tokens(&tenant, from, NOW, 100).await.unwrap();
        known.revoke_tokens(&tokens);
        known.advance(store.system().head().await.unwrap());
        let revoked = (0..40).filter(|n| known.is_token_revoked(TokenId::from_bits(*n))).collect();
        (file, from, revoked)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn kept_tokens_and_the_tail_are_all_and_a_foreign_or_damaged_file_is_none() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store_one = store(folder.path()).await;
        revoke(&store_one, 0..10).await;
        let (file, from, revoked) = start(&store_one, folder.path()).await;
        assert_eq!((from, revoked.len()), (Position(0), 10));
        file.save().await.unwrap();
        revoke(&store_one, 10..20).await;
        let (_, from, revoked) = start(&store_one, folder.path()).await;
        assert!(from > Position(0) && revoked == (0..20).collect::<Vec<_>>(), "{from:?} {revoked:?}");

        // Another store whose feed is as long, or shorter, or longer: its own tokens are not taken for those of the file.
        let store_two = store(other.path()).await;
        fs::copy(folder.path().join("kept"), other.path().join("kept")).unwrap();
        for (first, last) in [(20, 22), (22, 30), (30, 36)] {
            revoke(&store_two, first..last).await;
            let (_, from, revoked) = start(&store_two, other.path()).await;
            assert_eq!((from, revoked), (Position(0), (20..last).collect()));
        }

        let mut bytes = fs::read(folder.path().join("kept")).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(folder.path().join("kept"), bytes).unwrap();
        let (_, from, revoked) = start(&store_one, folder.path()).await;
        assert_eq!((from, revoked), (Position(0), (0..20).collect()));
    }
}
