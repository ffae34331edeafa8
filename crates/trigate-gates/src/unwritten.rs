//! May it be answered yet? An outcome whose record is chained in memory, and not known to be in the kernel's hands.
//!
//! SECURITY: the permit can be looked at, so that the request is on its way to the API while others' records come to the
//! same `write(2)`; the refusal, and the permit that an answer needs, come out of [`Unwritten::written`] alone.

use crate::{Permit, Refusal};
use std::sync::Arc;
use trigate_core::{
    port::{AuditSink, Mark},
    reason::Reason,
};

/// What the gates decided.
pub enum Judged {
    Allowed(Unwritten<Permit>),
    Refused(Unwritten<Refusal>),
}

impl Judged {
    /// Writes the record now.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub fn written(self) -> Result<Permit, Refusal> {
        match self {
            Self::Allowed(permit) => permit.written(),
            Self::Refused(refusal) => Err(refusal.written()),
        }
    }
}

/// A value that nobody may be answered by before its record is written.
#[must_use]
pub struct Unwritten<T> {
    value: T,
    /// `None`: no record was taken, and this is the refusal for it.
    mark: Option<(Arc<dyn AuditSink>, Mark)>,
}

impl<T> Unwritten<T> {
    pub(crate) const fn new(value: T, mark: Option<(Arc<dyn AuditSink>, Mark)>) -> Self {
        Self { value, mark }
    }

    /// Everything appended so far goes with it, so the next who ask find theirs written.
    fn flush(&self) -> bool {
        self.mark.as_ref().is_none_or(|(audit, mark)| audit.flush_to(*mark))
    }
}

impl Unwritten<Permit> {
    /// For the way to the API. No answer may be made of it.
    pub const fn permit(&self) -> &Permit {
        &self.value
    }

    /// Writes the record before the request goes on: for what changes something at the API.
    ///
    /// # Errors
    /// As [`Self::written`].
    pub fn write_first(self) -> Result<Self, Refusal> {
        self.written().map(|permit| Self::new(permit, None))
    }

    /// # Errors
    /// The record could not be written: nothing passes unrecorded.
    pub fn written(self) -> Result<Permit, Refusal> {
        if self.flush() {
            return Ok(self.value);
        }
        Err(Refusal::plain(Reason::AuditUnavailable, self.value.request_id().clone()))
    }
}

impl Unwritten<Refusal> {
    /// The refusal, or another one when its record could not be written.
    pub fn written(self) -> Refusal {
        if self.flush() {
            return self.value;
        }
        Refusal::plain(Reason::AuditUnavailable, self.value.request_id().clone())
    }
}
