//! Why would a request be let through, or not? The gates answer, by the same code that judges real requests.

use super::{Answer, By, Operator, OperatorError};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A request that nobody sends: only what the gates look at.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    #[serde(default)]
    pub key: Option<Zeroizing<String>>,
    /// The header of an imported key; absent: `X-API-Key`.
    #[serde(default)]
    pub key_header: Option<String>,
    #[serde(default)]
    pub token: Option<Zeroizing<String>>,
    /// A client certificate in PEM.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Absent: `GET`.
    #[serde(default)]
    pub method: Option<String>,
    /// Absent: `/.trigate/whoami`, which asks for nothing but that the credential is good.
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub host: Option<String>,
}

#[async_trait]
pub trait Explainer: Send + Sync {
    /// The three gates with their verdicts and reasons. Writes no decision record and takes nothing from a limit.
    async fn explain(&self, question: &Question) -> Result<serde_json::Value, OperatorError>;
}

impl Operator {
    pub async fn explain(&self, by: &By, question: Question) -> Answer<serde_json::Value> {
        let explainer = self.parts.explainer.as_ref().ok_or_else(|| {
            OperatorError::invalid("no gate runs here", "start the server with `trigate serve` and ask again")
        })?;
        let act = self.act(by, "explain", question.path.as_deref().unwrap_or("/.trigate/whoami"));
        self.store().record_act(act).await?.gives_only();
        explainer.explain(&question).await
    }
}
