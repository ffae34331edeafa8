//! "Still true?" skipped.
use trigate_gates::{Authenticated, Current};

fn skip(authenticated: Authenticated) -> Current {
    authenticated.into()
}

fn main() {}
