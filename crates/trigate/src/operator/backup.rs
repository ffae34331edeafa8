//! How is everything brought to safety, and back? A backup is a folder: the store as JSON lines, the audit segments, the
//! configuration, and a manifest with the hash of every file.
//!
//! SECURITY: secrets stay hashed or sealed. The master key, the CA's key and the operator's key are left out unless asked
//! for: beside the data that they protect they would protect nothing.

use super::{
    Answer, By, Operator, OperatorError,
    folder::{DataFolder, create_private_dir, unreadable, unwritable, write_private},
    when,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};
use trigate_core::{credential::Digest, port::SystemStore};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// A folder on the server's machine that does not exist yet.
    pub to: PathBuf,
    /// Also the master key and other keys in files.
    #[serde(default)]
    pub with_keys: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Manifest {
    pub format: u32,
    pub made_at: String,
    pub rows: u64,
    pub files: Vec<BackedUp>,
    /// Key files that are needed to use the restored data and are not in this backup: keep them elsewhere.
    pub keys_not_included: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BackedUp {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

const STORE: &str = "store.jsonl";
const MANIFEST: &str = "manifest.json";
const KEY_FILES: [&str; 4] = ["master.key", "operator.json", "ca/ca.key", "ca/server.key"];
const OPEN_FILES: [&str; 3] = ["trigate.toml", "ca/ca.pem", "ca/server.pem"];

impl Operator {
    pub async fn backup(&self, by: &By, new: NewBackup) -> Answer<Manifest> {
        if new.to.exists() {
            return Err(OperatorError::conflict(
                format!("`{}` exists", new.to.display()),
                "name a folder that does not exist yet: a backup overwrites nothing",
            ));
        }
        // Where a relative path leads depends on who started the server.
        if !new.to.is_absolute() {
            return Err(OperatorError::invalid(
                "the backup's folder is no absolute path",
                "write it from the root: /backups/today",
            ));
        }
        create_private_dir(&new.to)?;
        let act = self.act(by, "backup", &new.to.display().to_string()).fact("with_keys", new.with_keys);
        self.store().record_act(act).await?.gives_only();
        let to = new.to.clone();
        let written = self.write_backup(new).await;
        if written.is_err() {
            // Half a backup must not be taken for one.
            discard(&to)?;
        }
        written
    }

    /// The store first: the trail is then never older than what it explains.
    async fn write_backup(&self, new: NewBackup) -> Answer<Manifest> {
        let rows = self.parts.system.export(new.to.join(STORE)).await?;
        let folder = self.parts.folder.clone();
        let made_at = when(self.now());
        let manifest = tokio::task::spawn_blocking(move || copy_files(&folder, &new, rows, made_at)).await;
        manifest.map_err(|error| OperatorError::broken(error.to_string(), "see the server's log"))?
    }
}

fn copy_files(folder: &DataFolder, new: &NewBackup, rows: u64, made_at: String) -> Answer<Manifest> {
    let mut wanted: Vec<String> = OPEN_FILES.iter().map(ToString::to_string).collect();
    let mut keys_not_included = Vec::new();
    for key in KEY_FILES {
        if !folder.root().join(key).is_file() {
            continue;
        }
        if new.with_keys { wanted.push(key.to_owned()) } else { keys_not_included.push(key.to_owned()) }
    }
    wanted.extend(audit_files(folder)?);
    let mut files = vec![describe(&new.to, STORE)?];
    for path in wanted {
        let from = folder.root().join(&path);
        if from.is_file() {
            let content = fs::read(&from).map_err(|error| unreadable(&from, &error))?;
            put(&new.to.join(&path), &content)?;
            files.push(describe(&new.to, &path)?);
        }
    }
    let manifest = Manifest { format: 1, made_at, rows, files, keys_not_included };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| OperatorError::broken(error.to_string(), "report this"))?;
    write_private(&new.to.join(MANIFEST), &text)?;
    Ok(manifest)
}

fn audit_files(folder: &DataFolder) -> Answer<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.audit()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&next, &error))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(folder.root()) {
                found.push(relative.display().to_string());
            }
        }
    }
    found.retain(|path| Path::new(path).file_name().is_some_and(|name| name != "lock"));
    // Checkpoints before the records that they sign: a copy made beside the writer must not have more of the former.
    found.sort_by_key(|path| (!path.ends_with(".sig"), path.clone()));
    Ok(found)
}

/// What a restore did.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    pub rows: u64,
    pub files: usize,
    pub made_at: String,
    /// Put these into the data folder before the server starts.
    pub keys_needed: Vec<String>,
}

/// Reads the manifest and checks every file against it: a damaged backup changes nothing.
pub fn check_backup(from: &Path) -> Answer<Manifest> {
    let path = from.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
        OperatorError::invalid(
            format!("`{}` is no manifest: {error}", path.display()),
            "name the folder that `trigate backup` made",
        )
    })?;
    for file in &manifest.files {
        check_relative(&file.path)?;
        let found = describe(from, &file.path)?;
        if found.sha256 != file.sha256 {
            return Err(OperatorError::broken(
                format!("`{}` is not what was backed up", from.join(&file.path).display()),
                "use another backup; nothing was changed",
            ));
        }
    }
    Ok(manifest)
}

/// Puts the files of a checked backup into a data folder that has none of them.
pub fn restore_files(from: &Path, manifest: &Manifest, folder: &DataFolder) -> Answer<usize> {
    let files: Vec<&BackedUp> = manifest.files.iter().filter(|file| file.path != STORE).collect();
    if let Some(taken) = files.iter().map(|file| folder.root().join(&file.path)).find(|path| path.exists()) {
        return Err(OperatorError::conflict(
            format!("`{}` exists", taken.display()),
            "restore into a new folder: --data DIR; a restore overwrites nothing",
        ));
    }
    for file in &files {
        let path = from.join(&file.path);
        let content = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        put(&folder.root().join(&file.path), &content)?;
    }
    Ok(files.len())
}

/// Fills the empty store.
pub async fn restore_store(from: &Path, system: &dyn SystemStore) -> Answer<u64> {
    system.import(from.join(STORE)).await.map_err(|error| match error {
        trigate_core::port::StoreError::Conflict(what) => OperatorError::conflict(
            what,
            "restore into a new folder (--data DIR) or an empty database; a restore overwrites nothing",
        ),
        other => other.into(),
    })
}

fn put(path: &Path, content: &[u8]) -> Answer<()> {
    if let Some(parent) = path.parent() {
        create_private_dir(parent)?;
    }
    write_private(path, content)
}

fn describe(root: &Path, path: &str) -> Answer<BackedUp> {
    let whole = root.join(path);
    let content = fs::read(&whole).map_err(|error| unreadable(&whole, &error))?;
    let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
    Ok(BackedUp { path: path.to_owned(), bytes, sha256: Digest::of_bytes(&content).hex() })
}

/// SECURITY: a manifest from elsewhere must not write outside the data folder.
fn check_relative(path: &str) -> Answer<()> {
    let plain = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain && !path.is_empty() {
        return Ok(());
    }
    Err(OperatorError::invalid(
        format!("the manifest names `{path}`, outside its folder"),
        "use a backup that `trigate backup` made",
    ))
}

/// Removes what a failed backup left.
fn discard(to: &Path) -> Answer<()> {
    fs::remove_dir_all(to).map_err(|error| unwritable(to, &error))
}
