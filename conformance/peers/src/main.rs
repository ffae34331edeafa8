//! `trigate-peers <cases> [seed]`: bent tokens before three verifiers, counted. Ends with 1 when ours accepts one alone.

use anyhow::{Context as _, Result};
use std::{path::Path, process::ExitCode};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let cases = arguments.next().map_or(Ok(100_000), |text| text.parse()).context("a number of cases")?;
    let seed = arguments.next().map_or(Ok(1), |text| text.parse()).context("a seed")?;
    let modules = std::env::var_os("TRIGATE_TEST_NODE_MODULES").context("TRIGATE_TEST_NODE_MODULES is not set")?;
    let tally = trigate_peers::run(cases, seed, Path::new(&modules))?;
    print!("{tally}");
    for case in tally.by_us_alone.iter().take(20) {
        println!("accepted by us alone: {case:?}");
    }
    Ok(if tally.by_us_alone.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
