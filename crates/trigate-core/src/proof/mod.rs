//! Did the one who sends this token hold the key that the token is bound to? Used at the gate and at the issuer.
//!
//! Pure: time, request and expectations are handed in; signatures are `jose`'s. Never remembers anything: that a proof
//! came before is for the caller to know.

mod confirmation;
mod dpop;
mod htu;
mod nonce;
#[cfg(test)]
mod tests;

pub use confirmation::Confirmation;
pub use dpop::{
    DEFAULT_ALGORITHMS, Expected, MAX_JTI_BYTES, MAX_PROOF_BYTES, Proof, ProofError, WINDOW_S, check, is_algorithm,
};
pub use htu::Target;
pub use nonce::{Freshness, NONCE_LIFE_S, Nonces};
