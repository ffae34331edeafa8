//! A configuration file: read or refused, with a line that is in the file; never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use trigate::config::{self, ConfigError};

fuzz_target!(|text: &str| {
    if let Err(ConfigError::Refused(report)) = config::parse(Path::new("trigate.toml"), text) {
        assert!(!report.findings.is_empty());
        for finding in &report.findings {
            assert!(finding.line >= 1 && finding.line <= text.lines().count().max(1) + 1, "{finding:?}");
        }
        let _ = report.to_string();
    }
});
