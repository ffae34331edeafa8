//! The value of a change that takes something away cannot be had without saying which kind of change it is.

use trigate_core::port::Committed;

fn early(change: Committed<u8>) -> u8 {
    change.value
}

fn main() {}
