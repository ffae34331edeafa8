//! A path as it came: one normal form or none, the same when read again, and without anything that another server could
//! read differently.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trigate_gates::NormalPath;

fuzz_target!(|text: &str| {
    let Ok(path) = NormalPath::parse(text) else { return };
    let normal = path.as_str();
    let again = NormalPath::parse(normal).expect("a normal form is readable");
    assert_eq!(again.as_str(), normal, "the normal form of a normal form is itself");
    assert!(normal.starts_with('/') && !normal.contains("//") && !normal.contains('\\') && !normal.contains('?'));
    let lower = normal.to_ascii_lowercase();
    for bad in ["%2f", "%5c", "%2e", "%00", "/./", "/../"] {
        assert!(!lower.contains(bad), "{normal:?} holds {bad}");
    }
    assert!(!normal.ends_with("/.") && !normal.ends_with("/.."));
    assert!(normal.bytes().all(|byte| byte.is_ascii_graphic()));
});
