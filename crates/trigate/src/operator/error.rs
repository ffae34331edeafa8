//! What can go wrong for an operator, and what helps? Every error names its remedy.

use trigate_core::port::{HasherError, PropagationError, StoreError};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// What was asked makes no sense (400).
    #[error("{message}")]
    Invalid { message: String, remedy: String },
    /// What was named does not exist (404).
    #[error("no such {what}: `{name}`")]
    Missing { what: &'static str, name: String, remedy: String },
    /// It contradicts what is there (409).
    #[error("{message}")]
    Conflict { message: String, remedy: String },
    /// Nothing was changed; it may work later (503).
    #[error("{message}")]
    Unavailable { message: String },
    /// The change is durable, but not every gate has confirmed it (503).
    #[error("{message}")]
    Unconfirmed { message: String },
    /// Something here is broken; it needs a person (500).
    #[error("{message}")]
    Broken { message: String, remedy: String },
}

impl OperatorError {
    pub fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), remedy: remedy.into() }
    }

    pub fn conflict(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Conflict { message: message.into(), remedy: remedy.into() }
    }

    pub fn broken(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Broken { message: message.into(), remedy: remedy.into() }
    }

    pub fn missing(what: &'static str, name: &str, remedy: impl Into<String>) -> Self {
        // SECURITY: somebody may paste a secret where an id belongs; it must not come back in an error or a log.
        let name = trigate_core::credential::mask_secrets(name).chars().take(80).collect();
        Self::Missing { what, name, remedy: remedy.into() }
    }

    pub const fn status(&self) -> u16 {
        match self {
            Self::Invalid { .. } => 400,
            Self::Missing { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::Broken { .. } => 500,
            Self::Unavailable { .. } | Self::Unconfirmed { .. } => 503,
        }
    }

    /// Stable; the last part of the problem's `type`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::Missing { .. } => "missing",
            Self::Conflict { .. } => "conflict",
            Self::Broken { .. } => "broken",
            Self::Unavailable { .. } => "unavailable",
            Self::Unconfirmed { .. } => "unconfirmed",
        }
    }

    pub fn remedy(&self) -> &str {
        match self {
            Self::Invalid { remedy, .. }
            | Self::Missing { remedy, .. }
            | Self::Conflict { remedy, .. }
            | Self::Broken { remedy, .. } => remedy,
            Self::Unavailable { .. } => "nothing was changed; try again in a moment",
            Self::Unconfirmed { .. } => {
                "the change is stored and no gate will miss it; ask again to wait for the gates once more"
            }
        }
    }
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(what) => Self::Unavailable { message: format!("the store is unavailable: {what}") },
            StoreError::Conflict(what) => Self::conflict(what, "choose another name, or change what is there"),
            StoreError::Missing(what) => Self::Missing {
                what,
                name: "(unknown)".to_owned(),
                remedy: "list what there is and use its id".to_owned(),
            },
            StoreError::Corrupt(what) => Self::broken(
                format!("the store holds something unreadable: {what}"),
                "stop the server and restore the last backup with `trigate restore`",
            ),
        }
    }
}

impl From<PropagationError> for OperatorError {
    fn from(error: PropagationError) -> Self {
        Self::Unconfirmed { message: error.to_string() }
    }
}

impl From<HasherError> for OperatorError {
    fn from(error: HasherError) -> Self {
        Self::Unavailable { message: error.to_string() }
    }
}
