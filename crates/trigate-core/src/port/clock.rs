//! Time and dice, ours to inject: tests stop the one and seed the other.

use crate::time::Timestamp;

pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// Time that never goes back: for limits, leases and durations.
    fn monotonic(&self) -> Monotonic;
}

/// Microseconds since an arbitrary start of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(pub u64);

pub trait Rng: Send + Sync {
    /// Fills `bytes` with unpredictable bits.
    fn fill(&self, bytes: &mut [u8]);

    fn bits128(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_be_bytes(bytes)
    }

    /// For names, which are no secrets: may come out of a supply that lay in memory for a while.
    fn name_bits(&self) -> u128 {
        self.bits128()
    }
}
