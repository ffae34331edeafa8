//! Does the gate's verifier accept a token that others refuse? Tokens and keys are bent as an attacker would bend them,
//! and put before it, the crate `jsonwebtoken` and the npm library `jose`.
//!
//! Trusts the two others to be right when they agree on a refusal. The keys under `keys/` are for this alone: everybody
//! has them. Never used by the product.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool of the tests: what it cannot make is a fault of its own"
)]

mod bends;
mod choices;
mod draft;
mod jose;
mod keys;
mod numbers;
mod tally;
mod verdict;

pub use choices::{Choices, bytes_of};
pub use draft::{Case, make};
pub use jose::Jose;
pub use keys::{Kind, Pair, pairs};
pub use tally::Tally;
pub use verdict::{Verdict, jsonwebtoken, ours, signed};

use std::path::Path;

/// Cases asked at once.
const BATCH: usize = 16;

/// Puts `cases` cases of `seed` before all three.
///
/// # Errors
/// Node does not answer.
pub fn run(cases: u64, seed: u64, modules: &Path) -> anyhow::Result<Tally> {
    let (mut tally, mut jose) = (Tally::default(), Jose::start(modules)?);
    let mut made = (0..cases).filter_map(|number| {
        let case = make(&bytes_of(seed, number));
        Some(((number, case.question(number)?), case))
    });
    loop {
        let (questions, batch): (Vec<(u64, String)>, Vec<Case>) = made.by_ref().take(BATCH).unzip();
        if batch.is_empty() {
            return Ok(tally);
        }
        let theirs = jose.ask(&questions)?;
        for ((case, (_, question)), jose) in batch.iter().zip(&questions).zip(&theirs) {
            tally.count(case, &ours(question), [&jsonwebtoken(case), jose]);
        }
    }
}
