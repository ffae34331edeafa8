//! A stopped clock and seeded dice, for tests of every crate. Nothing in the product uses them.

use super::{Clock, Monotonic, Rng};
use crate::{credential::Digest, time::Timestamp};
use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

/// Stands still until it is moved.
#[derive(Clone, Debug)]
pub struct StoppedClock(Arc<AtomicI64>);

impl StoppedClock {
    pub fn at(timestamp: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(timestamp.micros())))
    }

    pub fn advance_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// Predictable: never outside tests.
#[derive(Debug)]
pub struct SeededRng(u64, AtomicU64);

impl SeededRng {
    pub const fn new(seed: u64) -> Self {
        Self(seed, AtomicU64::new(0))
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.1.fetch_add(1, Ordering::SeqCst);
            let block = Digest::of(&format!("{}:{count}", self.0));
            for (to, from) in chunk.iter_mut().zip(block.bytes()) {
                *to = *from;
            }
        }
    }
}
