//! A request that was only identified is sent upstream.
use trigate_gates::{Identified, Permit};

fn send_upstream(_: Permit) {}

fn skip_gates(identified: Identified<'_>) {
    send_upstream(identified);
}

fn main() {}
