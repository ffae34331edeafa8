//! How does a command fail? With one line that says what happened and one that says what helps.

use crate::operator::OperatorError;
use std::{fmt, process::ExitCode};

/// Exit codes: 0 done, 1 refused or failed, 2 asked wrongly.
#[derive(Debug)]
pub enum Failure {
    Failed {
        message: String,
        remedy: Option<String>,
    },
    Usage {
        message: String,
        remedy: Option<String>,
    },
    /// Everything was said already.
    Silent,
}

impl Failure {
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), remedy: Some(remedy.into()) }
    }

    pub fn plain(message: impl fmt::Display) -> Self {
        Self::Failed { message: message.to_string(), remedy: None }
    }

    pub fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), remedy: Some(remedy.into()) }
    }

    /// Says it on standard error, and answers with the exit code.
    pub fn report(&self) -> ExitCode {
        let (message, remedy, code) = match self {
            Self::Failed { message, remedy } => (message, remedy, 1),
            Self::Usage { message, remedy } => (message, remedy, 2),
            Self::Silent => return ExitCode::from(1),
        };
        eprintln!("error: {message}");
        if let Some(remedy) = remedy {
            eprintln!(" help: {remedy}");
        }
        ExitCode::from(code)
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        let (message, remedy) = (error.to_string(), Some(error.remedy().to_owned()));
        match error {
            OperatorError::Invalid { .. } => Self::Usage { message, remedy },
            _ => Self::Failed { message, remedy },
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::plain(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::plain(format!("{error:#}"))
    }
}
