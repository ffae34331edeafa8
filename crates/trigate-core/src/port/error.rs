//! What can go wrong at a store, and what a committed change obliges to.

use super::Propagation;
use crate::change::Position;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was changed; try again later (503).
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The change contradicts what is there (409).
    #[error("{0}")]
    Conflict(String),
    /// What must exist does not (404).
    #[error("no such {0}")]
    Missing(&'static str),
    /// What was read cannot be (500); it needs a person.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

/// The outcome of a change that is durable, with its place in the feed.
///
/// INVARIANT: whoever answers for a revocation or a narrowing goes through [`Committed::everywhere`], so that the
/// answer means what it says.
#[must_use = "a change that takes something away is answered only after `everywhere`"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    value: T,
    pub position: Position,
}

impl<T> Committed<T> {
    pub const fn new(value: T, position: Position) -> Self {
        Self { value, position }
    }

    /// The value, when every gate has applied the change or stopped trusting itself.
    pub async fn everywhere(self, propagation: &dyn Propagation) -> Result<T, super::PropagationError> {
        propagation.everywhere(self.position).await?;
        Ok(self.value)
    }

    /// The value at once: for changes that take nothing away.
    pub fn gives_only(self) -> T {
        self.value
    }

    pub const fn value(&self) -> &T {
        &self.value
    }

    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Committed<U> {
        Committed { value: f(self.value), position: self.position }
    }
}

pub type Stored<T> = Result<Committed<T>, StoreError>;
