//! The issuer through its router, on a real SQLite store, with a stopped clock and seeded dice. Tests are named by the
//! lines of the attack catalogue that they show.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: helpers outside `#[test]` functions fail loudly too"
)]

mod authorize;
mod discovery;
mod dpop;
mod keys;
mod login;
mod mtls;
mod status;
mod support;
mod token;
