//! A path as it came: one normal form or none, the same when read again, of the same bytes, and without anything that
//! another server could read differently.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trigate_gates::NormalPath;

/// As a careless server does it: what is no encoding stands for itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| !digits.starts_with('+'));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

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
    let once = decoded(text.as_bytes());
    assert_eq!(decoded(normal.as_bytes()), once, "another path is meant");
    assert_eq!(decoded(&once), once, "who decodes twice reads another path");
    let inner = normal.strip_suffix('/').unwrap_or(normal);
    assert_eq!(path.segments().fold(String::new(), |all, segment| all + "/" + segment), inner);
});
