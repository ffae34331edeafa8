//! A configuration file: read or refused, with a line that is in the file; never a panic, and never a word passed over that
//! is not known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use trigate::config::{self, Config, ConfigError};

const UNKNOWN: &str = "no_such_word = 1";

fn parse(text: &str) -> Result<Config, ConfigError> {
    config::parse(Path::new("trigate.toml"), text)
}

fuzz_target!(|text: &str| {
    match parse(text) {
        Err(ConfigError::Refused(report)) => {
            assert!(!report.findings.is_empty());
            for finding in &report.findings {
                assert!(finding.line >= 1 && finding.line <= text.lines().count().max(1) + 1, "{finding:?}");
            }
            let _ = report.to_string();
        }
        Err(_) => {}
        Ok(_) => {
            assert!(parse(&format!("{UNKNOWN}\n{text}")).is_err(), "an unknown word is passed over");
            // After each line that opens a table; inside a long text it would be text.
            let heads = text.match_indices("]\n").filter(|_| !text.contains("\"\"\"") && !text.contains("'''"));
            for (at, _) in heads.take(32) {
                let (before, after) = text.split_at(at + 2);
                if before.trim_end().lines().next_back().is_some_and(|line| line.starts_with('[')) {
                    assert!(parse(&format!("{before}{UNKNOWN}\n{after}")).is_err(), "{before}{UNKNOWN}");
                }
            }
        }
    }
});
