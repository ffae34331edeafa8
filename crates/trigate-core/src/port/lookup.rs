//! What a gate asks the desk about a token that it cannot judge alone.

use crate::{credential::Digest, identity::TokenFacts};
use async_trait::async_trait;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("look-up failed: {0}")]
pub struct LookupError(pub String);

#[async_trait]
pub trait Lookup: Send + Sync {
    /// An opaque token of ours whose keyed checksum was right. Facts as minted; the gate judges them.
    async fn find_opaque_token(&self, digest: Digest) -> Result<Option<TokenFacts>, LookupError>;
    /// The truth about a token of ours, now: `None` when it is not active. For sensitive routes of a gate without a lease.
    async fn introspect(&self, facts: TokenFacts) -> Result<Option<TokenFacts>, LookupError>;
}
