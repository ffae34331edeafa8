//! What does one record say? Ids, not names or e-mails: erasing a person leaves the chain whole. Never a secret.

use crate::{
    change::Position,
    id::{AppId, ClientId, GrantId, KeyId, RequestId, SessionId, TenantId, TokenId, UserId},
    identity::SenderProof,
    oauth::ScopeSet,
    reason::Reason,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, net::IpAddr, sync::Arc};

/// One entry of a node's chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    Decision(Box<Decision>),
    Completion(Completion),
    Connection(Connection),
}

/// The outcome of one passage through the gates, identical in every form of the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub at: Timestamp,
    pub node: Arc<str>,
    pub tenant: TenantId,
    pub request: RequestId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace: Option<String>,
    pub peer: IpAddr,
    pub method: Cow<'static, str>,
    pub host: String,
    /// The normal form, secrets masked, without the query.
    pub path: String,
    /// The route's name; `None` when none matched.
    pub route: Option<Arc<str>>,
    pub outcome: Outcome,
    /// Why it was refused (or would have been, in observe mode); `None` when allowed.
    pub reason: Option<Reason>,
    /// Status that the refusal answers with; 0 when the request went on.
    pub status: u16,
    pub gates: [GateVerdict; 3],
    #[serde(flatten)]
    pub facts: Facts,
    /// Feed position that this gate had applied.
    pub position: Position,
    /// Number of the configuration in force, from 1 at each start.
    pub epoch: u64,
    /// Allowed although the gate's lease had run out.
    #[serde(skip_serializing_if = "is_false", default)]
    pub stale: bool,
    /// A real credential came where it must not (a URL): which one is in `facts`.
    #[serde(skip_serializing_if = "is_false", default)]
    pub exposed: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Whom the request was for. Claims that gate 2 did not prove are not here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<AppId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// How the token's sender was proven; nothing for a bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderProof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Scopes and roles as judged, after narrowing.
    #[serde(skip_serializing_if = "ScopeSet::is_empty")]
    pub scopes: ScopeSet,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Allowed,
    Refused,
    /// Observe mode: judged as refused, but passed on.
    Observed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateName {
    Identification,
    Authentication,
    Authorization,
}

/// What one gate said. `NotReached` when an earlier gate refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Waived,
    Refused,
    NotReached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateVerdict {
    pub gate: GateName,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
}

/// How a passed request ended, where the gate carries the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    pub at: Timestamp,
    pub node: Arc<str>,
    pub request: RequestId,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_us: u64,
    /// The body ended before its end.
    #[serde(skip_serializing_if = "is_false", default)]
    pub cut: bool,
    /// Why the gate ended it: a reason's code, such as `token.revoked`, or `deadline.silence`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
}

/// What was refused below a request: a parse error, a TLS failure, a deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    pub at: Timestamp,
    pub node: Arc<str>,
    pub peer: IpAddr,
    pub listener: String,
    /// Stable code: `tls.handshake`, `tls.certificate`, `http.parse`, `deadline.header`, `limit.connections`.
    pub code: String,
    pub detail: String,
}
