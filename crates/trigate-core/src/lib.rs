//! The words of Trigate: what the gates, the issuer and the stores all mean by an application, a token, a change.
//!
//! INVARIANT: no runtime, no sockets, no SQL, no clock and no dice live here; they enter through [`port`].

pub mod act;
pub mod address;
pub mod application;
pub mod audit;
mod base62;
pub mod certificate;
pub mod change;
pub mod client;
pub mod credential;
pub mod desk;
pub mod id;
pub mod identity;
pub mod jose;
pub mod key;
pub mod oauth;
pub mod permission;
pub mod plain;
pub mod port;
pub mod proof;
pub mod quota;
pub mod reason;
pub mod seal;
pub mod time;
pub mod user;

pub use act::{Act, Actor};
pub use change::Position;
pub use time::Timestamp;
