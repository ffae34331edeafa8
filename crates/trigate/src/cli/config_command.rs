//! `trigate config`: is trigate.toml safe, and what may stand in it?

use super::{Failure, Global, print};
use crate::{config, operator::folder::DataFolder};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Command {
    /// Say everything that is wrong with the configuration, with line and remedy.
    #[command(after_help = "Example:\n  trigate config check --file trigate.toml")]
    Check {
        /// Default: trigate.toml of the data folder.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Print the JSON Schema of trigate.toml, for editors.
    #[command(after_help = "Example:\n  trigate config schema > trigate.schema.json")]
    Schema,
}

impl Command {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Schema => {
                print::json(&config::schema());
                Ok(())
            }
            Self::Check { file } => check(global, &file.unwrap_or_else(|| DataFolder::at(&global.data).config())),
        }
    }
}

fn check(global: &Global, path: &std::path::Path) -> Result<(), Failure> {
    let report = config::check(path).map_err(Failure::plain)?;
    let good = report.findings.is_empty();
    if global.json {
        let findings: Vec<String> = report.to_string().lines().map(str::to_owned).collect();
        print::json(
            &serde_json::json!({ "file": path, "safe": good, "findings": if good { Vec::new() } else { findings } }),
        );
    } else if good {
        print::line(&format!("{}: safe to start", path.display()));
    } else {
        print::note(&report.to_string());
    }
    if good { Ok(()) } else { Err(Failure::Silent) }
}
