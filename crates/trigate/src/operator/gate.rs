//! Which gates elsewhere may follow this desk? Each by a key of its own, which can be ended like any other.

use super::{
    Answer, By, Operator, OperatorError,
    app::{NewApp, check_name},
    key::{KeyMade, KeyPolicy, NewKey},
};
use serde::{Deserialize, Serialize};
use trigate_core::{desk, id::AppId};

/// The application that all gates' keys are of.
const APPLICATION: &str = "app_gates";
const NAME: &str = "Trigate gates";

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewGateKey {
    /// The gate's name, as its key is listed.
    pub name: String,
    /// Networks that the gate asks from; empty means any.
    #[serde(default)]
    pub allowed_addresses: Vec<String>,
    #[serde(default)]
    pub expires_at: Option<String>,
}

impl Operator {
    pub async fn create_gate_key(&self, by: &By, new: NewGateKey) -> Answer<KeyMade> {
        let label = check_name("gate", &new.name)?;
        let id = AppId::parse(APPLICATION).map_err(|error| OperatorError::broken(error.to_string(), "report this"))?;
        if self.store().find_application(&id).await?.is_none() {
            // Its plan counts nowhere: the desk's verbs for gates know no plans, and no other route takes its keys.
            let plan = (self.parts.plans)().into_iter().next().unwrap_or_else(|| "gates".to_owned());
            self.create_app(by, NewApp { name: NAME.to_owned(), plan, id: Some(id) }).await?;
        }
        let policy = KeyPolicy {
            label: Some(label),
            scopes: Some(vec![desk::SCOPE.to_owned()]),
            allowed_addresses: new.allowed_addresses,
            expires_at: new.expires_at,
            ..KeyPolicy::default()
        };
        self.create_key(by, NewKey { app: APPLICATION.to_owned(), policy }).await
    }
}
