//! What does a token say? The only makers of tokens: access tokens (JWT or opaque), ID tokens, assertions to upstreams,
//! security events.
//!
//! Trusts what the store returned from the transition that allowed the token. Never mints from what a request claims,
//! and never without a feed position: a later revocation must be able to hit it.

mod access;
mod assertion;
mod event;
mod id_token;
mod own;

pub(crate) use access::{Subject, Wanted, access_token};
pub use assertion::AssertionRequest;
pub use event::SecurityEvent;
pub(crate) use id_token::id_token;
pub(crate) use own::{read_access, read_hint};

use trigate_core::{jose::JoseError, port::StoreError};

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("no signing key may sign now")]
    NoKey,
    #[error("the token could not be signed: {0}")]
    Jose(#[from] JoseError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
