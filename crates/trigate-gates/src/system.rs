//! What time is it, and what are the dice? The only place that asks the machine; everybody else goes through the ports.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::{
    cell::RefCell,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use trigate_core::{
    Timestamp,
    port::{Clock, Monotonic, Rng},
};

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[allow(
        clippy::disallowed_methods,
        clippy::new_without_default,
        reason = "the real clock is read here and nowhere else"
    )]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the real clock is read here and nowhere else")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// The operating system's generator, through the library that signs.
#[derive(Debug, Default)]
pub struct SystemRng(SystemRandom);

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        // SECURITY: predictable keys are worse than none. A system without randomness cannot run Trigate.
        if self.0.fill(bytes).is_err() {
            eprintln!("the operating system gives no randomness: stopping");
            std::process::abort();
        }
    }

    /// A request needs one: asking the generator for sixteen bytes at a time would cost more than the rest of its id.
    fn name_bits(&self) -> u128 {
        SUPPLY.with_borrow_mut(|supply| {
            if supply.is_empty() {
                let mut bytes = [0; 16 * SUPPLIED];
                self.fill(&mut bytes);
                supply.extend(bytes.as_chunks::<16>().0.iter().map(|bits| u128::from_be_bytes(*bits)));
            }
            supply.pop().unwrap_or_else(|| self.bits128())
        })
    }
}

const SUPPLIED: usize = 32;

thread_local! {
    static SUPPLY: RefCell<Vec<u128>> = const { RefCell::new(Vec::new()) };
}
