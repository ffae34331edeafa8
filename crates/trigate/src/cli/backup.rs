//! `trigate backup` and `trigate restore`.

use super::{
    Failure, Global,
    door::Door,
    offline::{self, Need},
    print,
};
use crate::operator::{
    By,
    backup::{check_backup, restore_files, restore_store},
    folder::DataFolder,
};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Secrets stay hashed or sealed. Keep `master.key` elsewhere: without it the sealed parts of a backup cannot be opened.

Example:
  trigate backup --to /backups/trigate-2026-11-23"
)]
pub struct BackupCommand {
    /// A folder that does not exist yet, on the server's machine.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Also the master key and other key files: whoever has such a backup has everything.
    #[arg(long)]
    with_keys: bool,
}

impl BackupCommand {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let door = Door::open(global).await?;
        let to = std::path::absolute(&self.to)?;
        if !global.json {
            print::note("exporting the store and copying the audit segments …");
        }
        let manifest = door.post(&["backups"], &json!({ "to": to, "with_keys": self.with_keys })).await?;
        if global.json {
            print::json(&manifest);
            return Ok(());
        }
        let files = manifest.get("files").and_then(Value::as_array).map_or(0, Vec::len);
        print::line(&format!("{} rows and {files} files are in {}", print::text(&manifest, "rows"), to.display()));
        let missing = print::optional(&manifest, "keys_not_included");
        if missing != "-" {
            print::note(&format!("not in it, keep them elsewhere: {missing}"));
        }
        Ok(())
    }
}

#[derive(Args)]
#[command(after_help = "Nothing is overwritten: the data folder must be new.

Example:
  trigate restore --from /backups/trigate-2026-11-23 --data restored")]
pub struct RestoreCommand {
    /// The folder that `trigate backup` made.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The master key that the backup was sealed under, if it is not in the backup.
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

impl RestoreCommand {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let folder = DataFolder::at(&global.data);
        print::note("checking the backup …");
        let manifest = check_backup(&self.from)?;
        folder.create()?;
        let _lock = folder.lock()?;
        let files = restore_files(&self.from, &manifest, &folder)?;
        if let Some(path) = &self.master_key {
            let text = super::input::read(Some(path), "master key")?;
            crate::operator::folder::write_private(&folder.master_key(), text.as_bytes())?;
        }
        print::note("filling the store …");
        let opened = offline::open_store(&folder).await?;
        let rows = restore_store(&self.from, opened.system().as_ref()).await?;
        let still_needed: Vec<&String> =
            manifest.keys_not_included.iter().filter(|key| !folder.root().join(key).is_file()).collect();
        if folder.master_key().is_file() {
            // The trail says that it was restored.
            let operator = offline::operator(&folder, Need::Store).await?;
            operator.note(&By::local(), "restore", &manifest.made_at).await?;
        }
        if global.json {
            print::json(
                &json!({ "rows": rows, "files": files, "made_at": manifest.made_at, "keys_needed": still_needed }),
            );
            return Ok(());
        }
        print::line(&format!(
            "restored {rows} rows and {files} files from the backup of {} into {}",
            manifest.made_at,
            folder.root().display()
        ));
        for key in still_needed {
            let way = if key == "operator.json" { ", or make a new one with `trigate init --operator`" } else { "" };
            print::note(&format!("put `{key}` into the folder before the server starts{way}"));
        }
        Ok(())
    }
}
