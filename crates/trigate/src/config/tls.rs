//! Which certificates does the gate's own listener show? One table each; the name that the client asks for chooses.

use super::file::Words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A certificate of the gate. With at least one, the gate's listener speaks TLS 1.2 and 1.3 and nothing else.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file of the chain, the server's own certificate first. Read again when it changes.
    pub certificate: String,
    /// PEM file of the private key.
    pub key: String,
    /// Host names that get it; `*.api.example` stands for one label. Default: the names in the certificate. Whoever
    /// asks for no known name gets the first certificate of the file.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub names: Words,
}
