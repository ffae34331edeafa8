//! The doors outward: one small trait per file. Verbs, not tables; whole transitions, so that single use is atomic by
//! contract and not by care.

mod applications;
mod audit;
mod bookkeeping;
mod certificates;
mod clients;
mod clock;
mod crypto;
mod error;
mod feed;
mod fetch;
mod grants;
mod keys;
mod lookup;
mod policy;
mod quotas;
mod revocations;
mod sessions;
mod store;
mod users;

pub use applications::{Applications, NewApplication};
pub use audit::{ActFilter, Acts, AuditIndex, AuditSink, DecisionFilter, IndexedDecision, Mark, Slot, StoredAct};
pub use bookkeeping::{AttemptRules, AttemptVerdict, Bookkeeping};
pub use certificates::Certificates;
pub use clients::Clients;
pub use clock::{Clock, Monotonic, Rng};
pub use crypto::{Hasher, HasherError, Seal, SealError};
pub use error::{Committed, StoreError, Stored};
pub use feed::{Feed, LEASE_LIFE_MS, LeaseHolder, Leases, LeftOut, Propagation, PropagationError, Snapshots};
pub use fetch::{Fetch, FetchError, Fetched};
pub use grants::{
    CodeOutcome, CodeRefusal, Grants, Issuance, NewCode, NewRefresh, OpaqueRecord, RedeemCode, RefreshOutcome,
    RefreshRefusal, RotateRefresh,
};
pub use keys::SigningKeys;
pub use lookup::{Lookup, LookupError};
pub use policy::{Policy, PolicyVerdict, Question};
pub use quotas::Quotas;
pub use revocations::{Revocations, StatementId};
pub use sessions::Sessions;
pub use store::{Store, SystemStore, TenantStore};
pub use users::{NewUser, Users};

pub mod testing;
