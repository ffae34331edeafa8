//! A few thousand bent tokens before three verifiers; `cargo xtask peers` runs as many as are wanted.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test may panic")]

use std::path::Path;

#[test]
fn t01_t02_t03_t06_t08_t09_t10_t18_t19_t20_t21_nothing_is_accepted_that_jsonwebtoken_and_jose_both_refuse() {
    let Some(modules) = std::env::var_os("TRIGATE_TEST_NODE_MODULES") else {
        assert!(std::env::var_os("TRIGATE_TEST_REQUIRE").is_none(), "TRIGATE_TEST_NODE_MODULES is not set");
        return;
    };
    let tally = trigate_peers::run(3_000, 20_261_124, Path::new(&modules)).unwrap();
    println!("{tally}");
    assert!(tally.by_us_alone.is_empty(), "{:#?}", tally.by_us_alone);
    // Cases that all refuse show nothing: enough of them must be good.
    assert!(tally.by_all > 500 && tally.by_none > 800, "{tally}");
}
