//! Which files does a node have? Names and paths; never what is in them.

use crate::AuditError;
use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    node: String,
}

impl Folder {
    /// A node's name becomes a folder's: it must not lead elsewhere.
    pub fn of(dir: &Path, node: &str) -> Result<Self, AuditError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=64).contains(&node.len()) || node.starts_with('.') || !node.bytes().all(plain) {
            return Err(AuditError::BadNode(node.to_owned()));
        }
        Ok(Self { path: dir.join(node), node: node.to_owned() })
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:08}.seg"))
    }

    pub fn checkpoints(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:08}.sig"))
    }

    pub fn pruned(&self) -> PathBuf {
        self.path.join("pruned.jws")
    }

    pub fn has(&self, number: u64) -> bool {
        self.segment(number).exists()
    }

    /// Numbers of the files with this ending, ascending.
    pub fn numbers(&self, ending: &str) -> Result<Vec<u64>, AuditError> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(AuditError::io(&self.path)(error)),
        };
        for entry in entries {
            let name = entry.map_err(AuditError::io(&self.path))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ending)).and_then(|stem| stem.parse().ok());
            // Only the name that we would write counts: `1.seg` beside `00000001.seg` is nobody's segment.
            found.extend(number.filter(|number: &u64| name.to_str() == Some(&format!("{number:08}{ending}"))));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// One writer per node: the lock ends with the process.
    pub fn lock(&self) -> Result<File, AuditError> {
        create_dir(&self.path).map_err(AuditError::io(&self.path))?;
        let path = self.path.join("lock");
        let options = File::options().write(true).create(true).truncate(false).to_owned();
        let file = options.open(&path).map_err(AuditError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(AuditError::Locked(self.path.display().to_string())),
            Err(TryLockError::Error(error)) => Err(AuditError::io(&path)(error)),
        }
    }

    /// A file that is there whole or not at all, also after a power cut.
    pub fn place(&self, path: &Path, bytes: &[u8]) -> Result<(), AuditError> {
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            self.sync()
        };
        write().map_err(AuditError::io(path))
    }

    /// Makes names durable.
    pub fn sync(&self) -> std::io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Records say who called what: nobody else's to read.
fn create_dir(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}
