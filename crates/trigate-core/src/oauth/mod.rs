//! Words of OAuth 2 that the issuer and the gates share.

mod error;
mod scope;

pub use error::ErrorCode;
pub use scope::{BadScope, Scope, ScopeSet};
