//! How does a request come past the gates to its API, and the answer back? Route, gates, upstream, answer, record.
//!
//! Trusts the permit that the gates gave, and nothing in the request. Never calls an upstream without a permit, and
//! never answers about a credential in its own words: refusals are the gates'.

mod answer;
mod body;
mod certificate;
mod cors;
mod explain;
mod ext_authz;
mod forward_auth;
mod grpc;
mod handed;
mod inside;
mod outgoing;
mod road;
pub mod try_mode;
mod upgrade;
mod upstream;
mod watch;

pub use body::{Answer, PaceRule};
pub use certificate::ClientCertificates;
pub use explain::explain;
pub use forward_auth::ForwardAuth;
pub use inside::{Guarded, Inside, SideDoor};
pub use road::{Extras, NoExtras, Road, RoadConfig, RoadParts};
pub use upstream::{
    Ejection, HealthRule, Pool, TlsSettings, Upstream, UpstreamBounds, UpstreamUrl, carry_over, check_health,
};
pub use watch::Watch;
