//! What is written down, and how is it proven unchanged? Records and hash chains as pure functions; files and tables
//! are elsewhere.

mod chain;
mod encode;
mod record;

pub use chain::{Broken, ChainHead, Link, ROOM};
pub use record::{Completion, Connection, Decision, Facts, GateName, GateVerdict, Outcome, Record, Verdict};
