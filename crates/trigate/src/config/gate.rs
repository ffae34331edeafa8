//! What may stand in the configuration of a gate that runs elsewhere? The words of `trigate.toml` for listeners, routes,
//! upstreams and trusted issuers, and `[gate]`. Words that only a desk can keep are refused: a line without effect is a
//! belief without ground.

use super::{
    Config, ConfigError, check,
    file::File,
    place::{Places, Step},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::Path};
use zeroize::Zeroizing;

/// Of `trigate gate` alone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// URL of the desk. The option `--desk` goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desk: Option<String>,
    /// File with the gate's key, readable by its owner alone. Environment: `TRIGATE_GATE_KEY` holds the key itself.
    pub key_file: String,
    /// What is known, kept for a start while the desk is away.
    pub snapshot: String,
    /// Where `/healthz`, `/readyz` and `/metrics` are answered.
    pub health: SocketAddr,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            desk: None,
            key_file: "gate.key".into(),
            snapshot: "snapshot.jsonl".into(),
            health: SocketAddr::from(([127, 0, 0, 1], 8083)),
        }
    }
}

/// Reads the configuration of a gate that runs elsewhere.
pub fn load_gate(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
    let config = super::parse(path, &text)?;
    let findings = foreign_words(&config.file, &text);
    if findings.is_empty() {
        return Ok(config);
    }
    Err(ConfigError::Refused(super::Report { path: path.to_owned(), findings }))
}

/// The gate's key from `TRIGATE_GATE_KEY`, where it is set.
pub fn gate_key_from_environment() -> Option<Zeroizing<String>> {
    super::environment("TRIGATE_GATE_KEY").map(Zeroizing::new)
}

fn foreign_words(file: &File, text: &str) -> Vec<check::Finding> {
    let (server, issuer) =
        (["store", "master_key", "issuer", "desk"], ["name", "algorithm", "scopes", "session_idle_s"]);
    let written: toml::Table = toml::from_str(text).unwrap_or_default();
    let (places, mut findings) = (Places::of(text), Vec::new());
    let mut refuse = |steps: &[Step<'_>], message: String| {
        let line = places.line(steps);
        findings.push(check::Finding { line, message, remedies: vec![] });
    };
    if file.server.node.is_none() {
        refuse(
            &[Step::Key("server")],
            "[server] names no `node`: records of several gates could not be told apart".to_owned(),
        );
    }
    for (section, words) in [("server", server), ("issuer", issuer)] {
        let Some(table) = written.get(section).and_then(toml::Value::as_table) else { continue };
        for word in words.iter().filter(|word| table.contains_key(**word)) {
            let why =
                format!("`{word}` of [{section}] is the desk's: a gate that runs elsewhere has none; take it out");
            refuse(&[Step::Key(section), Step::Key(word)], why);
        }
    }
    if !file.signals.is_empty() {
        let why = "`[[signals]]` are the desk's: what they end comes here by its feed; take them out".to_owned();
        refuse(&[Step::Key("signals")], why);
    }
    for (index, route) in file.route.iter().enumerate().filter(|(_, route)| route.assertion) {
        let why = format!(
            "route `{}` wants `assertion`: assertions are signed with the desk's key, which no gate elsewhere holds; take \
             it out, or serve this route at the desk",
            route.path
        );
        refuse(&[Step::Key("route"), Step::Index(index), Step::Key("assertion")], why);
    }
    findings
}
