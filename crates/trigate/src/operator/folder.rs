//! Where does everything lie on disk? The data folder: names of its files, its lock, and who may read them.
//!
//! SECURITY: whatever is secret is created with mode 0600, never widened afterwards.

use super::{Answer, OperatorError};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

/// The data folder.
#[derive(Clone, Debug)]
pub struct DataFolder {
    root: PathBuf,
}

/// Held while the folder is served, and by offline commands while they run. Released when dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl DataFolder {
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Creates the folder, readable for its owner alone.
    pub fn create(&self) -> Answer<()> {
        create_private_dir(&self.root)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("trigate.toml")
    }

    pub fn master_key(&self) -> PathBuf {
        self.root.join("master.key")
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("trigate.db")
    }

    pub fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// There since gates elsewhere took leases.
    pub fn gates(&self) -> PathBuf {
        self.root.join("gates")
    }

    pub fn operator(&self) -> PathBuf {
        self.root.join("operator.json")
    }

    pub fn quickstart(&self) -> PathBuf {
        self.root.join("quickstart.json")
    }

    pub fn ca(&self) -> PathBuf {
        self.root.join("ca")
    }

    pub fn ca_certificate(&self) -> PathBuf {
        self.root.join("ca").join("ca.pem")
    }

    pub fn ca_key(&self) -> PathBuf {
        self.root.join("ca").join("ca.key")
    }

    pub fn server_certificate(&self) -> PathBuf {
        self.root.join("ca").join("server.pem")
    }

    pub fn server_key(&self) -> PathBuf {
        self.root.join("ca").join("server.key")
    }

    /// Was `init` or `quickstart` here?
    pub fn exists(&self) -> bool {
        self.config().is_file()
    }

    /// Takes the lock, or says who has it.
    pub fn lock(&self) -> Answer<FolderLock> {
        match self.try_lock()? {
            Some(lock) => Ok(lock),
            None => Err(OperatorError::conflict(
                format!("the data folder `{}` is in use by a running Trigate", self.root.display()),
                "stop that server first (Ctrl-C), or name another folder with --data",
            )),
        }
    }

    /// `None` when a server or another command holds the lock.
    pub fn try_lock(&self) -> Answer<Option<FolderLock>> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| unwritable(&path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(unwritable(&path, &error)),
        }
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, content: &[u8]) -> Answer<()> {
    write_with_mode(path, content, 0o600)
}

/// Writes a file for everybody on the machine, whole or not at all.
pub fn write_public(path: &Path, content: &[u8]) -> Answer<()> {
    write_with_mode(path, content, 0o644)
}

pub fn create_private_dir(path: &Path) -> Answer<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| unwritable(path, &e))
}

fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> Answer<()> {
    let failed = |e: std::io::Error| unwritable(path, &e);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // A leftover of a killed run would keep its old mode.
    let _ = fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> OperatorError {
    OperatorError::broken(
        format!("`{}` cannot be written: {error}", path.display()),
        "check the folder's owner, its permissions and the free space",
    )
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> OperatorError {
    OperatorError::broken(
        format!("`{}` cannot be read: {error}", path.display()),
        "check that the file exists and belongs to the user that runs Trigate",
    )
}
