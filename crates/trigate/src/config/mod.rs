//! What was Trigate told to do? Reads `trigate.toml` and the environment, refuses what is unsafe, and turns the rest
//! into the gates' rules. The only place that reads the environment.

mod check;
mod file;
mod forward_auth;
mod gate;
mod gates;
mod issuers;
mod leaks;
mod mtls;
mod place;
mod plans;
pub mod policy;
mod proof;
mod rules;
#[cfg(test)]
mod tests;
mod tls;
mod upstreams;

pub use check::{ANY_AUDIENCE, Finding, MAX_FOREIGN_LIFE_S, Remedy, Report};
pub use file::{
    Claims, Cors, Desk, Enforce, File, Issuer, Limits, Machine, Route, Server, TrustedIssuer, Upgrade, WithoutLease,
    Words,
};
pub use forward_auth::{CertificateTeller, ForwardAuth};
pub use gate::{Gate, gate_key_from_environment, load_gate};
pub use gates::gate_rules;
pub use issuers::{AskIssuer, ID_TOKENS, LogoutEnds, Preset, SignalStream, TakeLogout, key_source, read_secret};
pub use leaks::LeakReports;
pub use mtls::{Authorities, Mtls, Usage, is_url};
pub use plans::{Plan, PlanTable};
pub use proof::{Dpop, beside, proof_algorithms};
pub use rules::{JWKS, Urls, desk_rules, issuer_rules, road_rules};
pub use tls::Tls;
pub use upstreams::{Eject, Health, Table as UpstreamTable, Upstream};

use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A configuration that was judged safe.
#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    /// Relative paths of the file start here: its own folder, the data folder.
    pub base: PathBuf,
    pub file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read `{0}`: {1}\n  help: `trigate init` writes a first one")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0}")]
    Refused(Report),
    #[error(
        "`{0}` has [gate]: it is the configuration of a gate that runs elsewhere\n  help: `trigate gate --config {0}`"
    )]
    OfAGate(PathBuf),
}

/// Reads, checks and applies the environment. Nothing unsafe comes back.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
    let mut config = parse(path, &text)?;
    if config.file.gate.is_some() {
        return Err(ConfigError::OfAGate(path.to_owned()));
    }
    if let Some(store) = environment("TRIGATE_STORE") {
        config.file.server.store = store;
    }
    Ok(config)
}

/// As `load`, from a text that claims to be `path`; without the environment.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let refused = |findings| ConfigError::Refused(Report { path: path.to_owned(), findings });
    let file: File = toml::from_str(text).map_err(|error| refused(vec![check::unreadable(text, &error)]))?;
    let findings = check::check(&file, text);
    if !findings.is_empty() {
        return Err(refused(findings));
    }
    let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    Ok(Config { path: path.to_owned(), base, file })
}

/// Everything that is wrong with the file, for `trigate config check`.
pub fn check(path: &Path) -> Result<Report, ConfigError> {
    match load(path) {
        Ok(_) => Ok(Report { path: path.to_owned(), findings: vec![] }),
        Err(ConfigError::Refused(report)) => Ok(report),
        Err(error) => Err(error),
    }
}

/// The JSON Schema of `trigate.toml`, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

/// The master key from `TRIGATE_MASTER_KEY`, where it is set.
pub fn master_key_from_environment() -> Option<Zeroizing<String>> {
    environment("TRIGATE_MASTER_KEY").map(Zeroizing::new)
}

/// A token for the command line from `TRIGATE_TOKEN`, where it is set.
pub fn token_from_environment() -> Option<Zeroizing<String>> {
    environment("TRIGATE_TOKEN").map(Zeroizing::new)
}

/// Any further variable that the command line reads.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Config {
    pub fn audit_dir(&self) -> PathBuf {
        self.base.join(&self.file.server.audit)
    }

    pub fn master_key_path(&self) -> PathBuf {
        self.base.join(&self.file.server.master_key)
    }

    /// `sqlite:/absolute` or `postgres://…`.
    pub fn store(&self) -> String {
        store_location(&self.file.server.store, &self.base).unwrap_or_else(|_| self.file.server.store.clone())
    }

    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }
}

fn store_location(text: &str, base: &Path) -> Result<String, String> {
    if let Some(path) = text.strip_prefix("sqlite:") {
        if path.is_empty() {
            return Err("`store` names no file: write `sqlite:trigate.db`".into());
        }
        return Ok(format!("sqlite:{}", base.join(path).display()));
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`store` is `{}`: write `sqlite:trigate.db` or `postgres://…`",
        trigate_core::credential::mask_secrets(text)
    ))
}
