//! Who changes what, and why? Every port method that changes state takes an [`Act`]: a silent change does not compile.

use crate::{
    id::{ActId, AppId, ClientId, RequestId, UserId},
    port::{Clock, Rng},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// A person at the desk or with the command line.
    Operator { name: String },
    /// The issuer, on behalf of a client's request.
    Client { client: ClientId },
    /// A person about their own account.
    User { user: UserId },
    /// A party that has not proven who it is (a failed login).
    Stranger,
    /// Trigate itself: rotation, expiry, first start.
    System,
}

/// One act, written in the transaction that it explains. Ids only: no names, no e-mails, no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub id: ActId,
    pub at: Timestamp,
    pub actor: Actor,
    /// Stable verb, `key.create`, `token.mint`, `user.role_remove`.
    pub verb: String,
    /// The id of what is acted on, `usr_…`, `key_…`.
    pub target: String,
    /// The user concerned, when there is one: "what happened to this account?" is one query.
    pub user: Option<UserId>,
    pub client: Option<ClientId>,
    pub application: Option<AppId>,
    /// In the operator's words, when they gave one.
    pub reason: Option<String>,
    pub address: Option<String>,
    pub request: Option<RequestId>,
    /// Further facts, flat, without secrets.
    #[serde(default)]
    pub facts: std::collections::BTreeMap<String, String>,
}

impl Act {
    pub fn new(clock: &dyn Clock, rng: &dyn Rng, actor: Actor, verb: &str, target: &str) -> Self {
        Self {
            id: ActId::mint(rng),
            at: clock.now(),
            actor,
            verb: verb.to_owned(),
            target: target.to_owned(),
            user: None,
            client: None,
            application: None,
            reason: None,
            address: None,
            request: None,
            facts: Default::default(),
        }
    }

    #[must_use]
    pub fn user(mut self, user: &UserId) -> Self {
        self.user = Some(user.clone());
        self
    }

    #[must_use]
    pub fn client(mut self, client: &ClientId) -> Self {
        self.client = Some(client.clone());
        self
    }

    #[must_use]
    pub fn application(mut self, application: &AppId) -> Self {
        self.application = Some(application.clone());
        self
    }

    #[must_use]
    pub fn reason(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }

    #[must_use]
    pub fn address(mut self, address: impl std::fmt::Display) -> Self {
        self.address = Some(address.to_string());
        self
    }

    #[must_use]
    pub fn fact(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }
}
