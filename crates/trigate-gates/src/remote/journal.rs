//! What does a gate know when it starts and its desk is away? A file with the desk's welcome, a snapshot, and every change
//! applied since; written anew when the tail has grown.
//!
//! Trusts the file as it trusts the configuration beside it: whoever can write here can let anybody in. Knowing is not
//! trusting: without a lease the routes do what they say.

use crate::LoadedKeys;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use trigate_core::{
    Position,
    change::{Change, Snapshot},
    desk::{Line, SnapshotReader, Welcome},
};

/// Changes behind the snapshot, beyond which it is fetched anew.
const MAX_TAIL: u64 = 100_000;

/// What a file held.
pub(super) struct Kept {
    pub welcome: Welcome,
    pub snapshot: Snapshot,
    pub keys: LoadedKeys,
    pub since: Vec<Change>,
}

/// Reads the file; `None` when there is none, or one that breaks off.
pub(super) fn read(path: &Path) -> Option<Kept> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut head = String::new();
    file.read_line(&mut head).ok()?;
    let welcome = serde_json::from_str(&head).ok()?;
    let mut keys = LoadedKeys::default();
    let mut reader = SnapshotReader::new(|key| keys.take(key));
    let mut part = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut part).ok()?;
        match part.get(..count).filter(|part| !part.is_empty()) {
            // A torn last line is no line yet; any other fault makes the file worthless.
            Some(part) => reader.push(part).ok()?,
            None => break,
        }
    }
    let (snapshot, since) = reader.finish().ok()?;
    Some(Kept { welcome, snapshot, keys, since })
}

/// The file, open at its end.
pub(super) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None`: nothing is kept, because writing failed or nothing was fetched yet.
    file: Option<File>,
    tail: u64,
    /// While a new file is written: what was applied meanwhile.
    meanwhile: Option<Vec<Change>>,
}

impl Journal {
    /// Nothing is appended before [`Journal::resume`] or [`Journal::replace`].
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on behind the changes that were read. A torn line at the end is cut away first.
    pub fn resume(&self, tail: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        cut_torn_line(&mut file)?;
        *self.state() = State { file: Some(file), tail, meanwhile: None };
        Ok(())
    }

    /// Told, in order, what was applied.
    pub fn append(&self, changes: &[Change]) {
        let mut state = self.state();
        if let Some(meanwhile) = &mut state.meanwhile {
            meanwhile.extend_from_slice(changes);
        }
        let Some(file) = &mut state.file else { return };
        match write_changes(file, changes, Position::default()) {
            Ok(count) => state.tail += count,
            Err(_) => {
                // A file with a hole would wake the revoked: rather none.
                state.file = None;
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    pub fn is_kept(&self) -> bool {
        self.state().file.is_some()
    }

    pub fn wants_replacing(&self) -> bool {
        let state = self.state();
        state.meanwhile.is_none() && (state.tail > MAX_TAIL || state.file.is_none())
    }

    /// Begins a new file beside the old one. Call before the snapshot is asked for: what is applied from now on is kept
    /// for it.
    pub fn begin(&self, welcome: &Welcome) -> io::Result<Replacement> {
        self.state().meanwhile = Some(Vec::new());
        let beside = self.path.with_extension("new");
        let _ = fs::remove_file(&beside);
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        // SECURITY: digests of keys, and the checksum key of opaque tokens: its owner's alone.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = BufWriter::new(options.open(&beside)?);
        serde_json::to_writer(&mut out, welcome)?;
        out.write_all(b"\n")?;
        Ok(Replacement { out, beside })
    }

    /// Puts the new file in the old one's place. `position`: of its snapshot.
    pub fn replace(&self, new: Replacement, position: Position) -> io::Result<()> {
        let mut file = new.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut state = self.state();
        let meanwhile = state.meanwhile.take().unwrap_or_default();
        let tail = write_changes(&mut file, &meanwhile, position)?;
        file.sync_all()?;
        fs::rename(&new.beside, &self.path)?;
        state.file = Some(file);
        state.tail = tail;
        Ok(())
    }

    /// The new file did not come about; the old one stays.
    pub fn abandon(&self) {
        self.state().meanwhile = None;
        let _ = fs::remove_file(self.path.with_extension("new"));
    }
}

/// A file that is being written.
pub(super) struct Replacement {
    out: BufWriter<File>,
    beside: PathBuf,
}

impl Replacement {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }
}

fn write_changes(file: &mut File, changes: &[Change], after: Position) -> io::Result<u64> {
    let mut text = Vec::new();
    let mut count = 0;
    for change in changes.iter().filter(|change| change.position > after) {
        Line::Change(change.clone()).write(&mut text).map_err(io::Error::other)?;
        count += 1;
    }
    file.write_all(&text)?;
    Ok(count)
}

fn cut_torn_line(file: &mut File) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let mut end = file.seek(SeekFrom::End(0))?;
    let whole = end;
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    if end < whole { file.set_len(end) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trigate_core::{
        Timestamp,
        change::{Target, What},
        desk::lines,
        id::{KeyId, TenantId},
        port::testing::SeededRng,
    };

    fn change(position: u64) -> Change {
        Change {
            position: Position(position),
            tenant: TenantId::default_tenant(),
            at: Timestamp::from_seconds(1),
            what: What::Revoked {
                target: Target::Key { id: KeyId::mint(&SeededRng::new(position)) },
                keep_until: Timestamp::from_seconds(9),
            },
        }
    }

    fn write(journal: &Journal, position: u64, meanwhile: &[Change]) {
        let welcome = Welcome {
            tenant: TenantId::default_tenant(),
            issuer: "https://desk".into(),
            audiences: vec![],
            plans: std::collections::BTreeMap::new(),
        };
        let mut new = journal.begin(&welcome).unwrap();
        let snapshot = Snapshot {
            position: Position(position),
            applications: vec![],
            keys: vec![],
            clients: vec![],
            signing_keys: vec![],
            disabled_users: vec![],
            standing: vec![],
            opaque_checksum: None,
        };
        for line in lines(snapshot).chain([Line::End { lines: 0 }]) {
            let mut text = Vec::new();
            line.write(&mut text).unwrap();
            new.write(&text).unwrap();
        }
        journal.append(meanwhile);
        journal.replace(new, Position(position)).unwrap();
    }

    fn positions(path: &Path) -> (u64, Vec<u64>) {
        let kept = read(path).unwrap();
        (kept.snapshot.position.0, kept.since.iter().map(|change| change.position.0).collect())
    }

    #[test]
    fn r08_what_was_applied_while_the_file_was_written_anew_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        assert!(read(&path).is_none());
        let journal = Journal::new(path.clone());
        assert!(journal.wants_replacing());
        write(&journal, 7, &[change(6), change(7), change(8)]);
        journal.append(&[change(9)]);
        assert_eq!(positions(&path), (7, vec![8, 9]));
        write(&journal, 9, &[change(10)]);
        assert_eq!(positions(&path), (9, vec![10]));
        assert!(!journal.wants_replacing());
    }

    #[test]
    fn a_line_that_a_crash_tore_is_cut_away_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        let journal = Journal::new(path.clone());
        write(&journal, 7, &[]);
        journal.append(&[change(8), change(9)]);
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 5).unwrap();
        assert_eq!(positions(&path), (7, vec![8]));
        let journal = Journal::new(path.clone());
        journal.resume(1).unwrap();
        journal.append(&[change(9)]);
        assert_eq!(positions(&path), (7, vec![8, 9]));
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        write(&Journal::new(path.clone()), 1, &[]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
