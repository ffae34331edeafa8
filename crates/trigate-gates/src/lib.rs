//! The road: three gates that every request passes in order, and the record of what they decided.
//!
//! ```text
//! Request -> Identified -> Authenticated -> Current -> Permit
//! ```
//! Each type has a private constructor, so a gate cannot be skipped; whoever calls an upstream takes a [`Permit`].
//! Depends on the core alone: sockets, files, SQL and the clock enter through its ports.

pub mod authority;
mod established;
mod explain;
mod exposure;
#[cfg(feature = "remote")]
pub mod follow;
mod forwarded;
mod gate1_identification;
mod gate2_authentication;
mod gate3_authorization;
mod known;
#[cfg(feature = "tower")]
pub mod layer;
mod normal_path;
mod outcome;
mod passage;
mod permit;
mod record;
mod refusal;
#[cfg(feature = "remote")]
pub mod remote;
mod request;
mod route;
mod rules;
mod sharded;
mod standing;
#[cfg(feature = "remote")]
pub mod system;
#[cfg(test)]
mod tests;
mod unwritten;
#[cfg(feature = "remote")]
pub mod usage;

pub use explain::{Explanation, explain};
pub use forwarded::Lines;
pub use gate1_identification::{Identified, rate_limit::LimitState};
pub use gate2_authentication::{
    Authenticated, Current,
    issuers::{IssuerStatus, Issuers},
};
pub use known::{KeptError, KeptHeader, KeptTokens, Known, LoadedKeys, fingerprint};
pub use normal_path::{Ambiguous, NormalPath};
pub use passage::{Gates, GatesParts, OnExposed};
pub use permit::Permit;
pub use refusal::Refusal;
pub use request::{Credential, Request, client_address, fold_address};
pub use route::{BadPattern, Found, Pattern, RouteConflict, Routes};
pub use rules::{
    BadDemands, BadLimit, BadPlan, BadSubject, BadUriPattern, ClaimNames, ClientSecret, Cors, CredentialKind, Demands,
    Enforce, Introspection, IntrospectionMethod, IssuerRule, KeySource, Kinds, Limit, MachineMatch, MachineRule, Plan,
    ProofRules, Quota, RouteKind, RouteRule, Rules, ServiceMark, SubjectKind, UriPattern, WithoutLease,
};
pub use standing::Standing;
pub use trigate_core::certificate::ClientCertificate;
pub use unwritten::{Judged, Unwritten};
