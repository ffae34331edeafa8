//! Slow hashing and sealing.

use async_trait::async_trait;
use zeroize::Zeroizing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HasherError {
    /// The bounded queue is full: answer 503, hash nothing.
    #[error("too many passwords are being checked at once")]
    Busy,
    #[error("the password hash cannot be read")]
    Unreadable,
}

/// Password hashing on its own bounded pool.
#[async_trait]
pub trait Hasher: Send + Sync {
    /// A PHC string for `password`.
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, HasherError>;
    /// Checks against `phc`, or against a constant decoy when there is none: an unknown user costs the same (L01).
    async fn verify(&self, password: Zeroizing<String>, phc: Option<String>) -> Result<bool, HasherError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value cannot be opened: wrong master key or damaged data")]
pub struct SealError;

/// Encryption of private keys and seeds under the master key. `context` binds a sealed value to its place.
pub trait Seal: Send + Sync {
    fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8>;
    fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError>;
}
