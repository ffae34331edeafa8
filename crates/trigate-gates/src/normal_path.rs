//! Which path is meant? One normal form, matched *and* forwarded, so that the decision and the API read the same text.
//!
//! Trusts nothing. Never repairs: a spelling that two servers could read differently is refused (G06, G07, G08).

use std::fmt;

/// The longest path that is read, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// The path has a spelling that servers read differently: answer 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path is ambiguous: {0}")]
pub struct Ambiguous(pub &'static str);

/// A path in normal form: starts with `/`, no empty or dot segments, every byte in its one spelling.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NormalPath(String);

impl NormalPath {
    /// Reads the path of a request target, without its query.
    ///
    /// # Errors
    /// [`Ambiguous`] with what is wrong.
    pub fn parse(raw: &str) -> Result<Self, Ambiguous> {
        if raw.len() > MAX_BYTES {
            return Err(Ambiguous("it is too long"));
        }
        if !raw.starts_with('/') {
            return Err(Ambiguous("it does not start with a slash"));
        }
        // Most paths are in normal form already.
        if raw.bytes().all(is_plain) {
            check_segments(raw)?;
            return Ok(Self(raw.to_owned()));
        }
        let bytes = decode(raw.as_bytes())?;
        let mut text = String::with_capacity(raw.len());
        for byte in &bytes {
            write_byte(*byte, &mut text);
        }
        check_utf8(&bytes)?;
        check_segments(&text)?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments between the slashes. One trailing slash makes no segment: a rule for `/admin` is not escaped by
    /// asking for `/admin/`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let inner = self.0.strip_prefix('/').unwrap_or(&self.0);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        inner.split('/').filter(|segment| !segment.is_empty())
    }
}

/// Undoes percent-encoding once and refuses what a second reader could take for structure.
fn decode(raw: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (decoded, after) = two_digits(rest).ok_or(Ambiguous("a percent sign without two digits"))?;
                rest = after;
                // An encoded slash is structure to one server and text to another. (CVE-2021-29492)
                if decoded == b'/' {
                    return Err(Ambiguous("an encoded slash"));
                }
                bytes.push(decoded);
            }
            b'?' | b'#' => return Err(Ambiguous("a query or fragment mark")),
            _ => bytes.push(byte),
        }
    }
    if decodes_again(&bytes) {
        return Err(Ambiguous("a double encoding"));
    }
    match bytes.iter().find_map(|byte| structure(*byte)) {
        Some(what) => Err(Ambiguous(what)),
        None => Ok(bytes),
    }
}

/// Decoded twice, `%252e` is a dot; so is `%25%32%65`, whose marks come one by one. Hence judged on the decoded text.
fn decodes_again(decoded: &[u8]) -> bool {
    decoded.split(|byte| *byte == b'%').skip(1).any(|after| two_digits(after).is_some())
}

/// What may not stand in a path in any spelling.
const fn structure(byte: u8) -> Option<&'static str> {
    match byte {
        0..=0x1F | 0x7F => Some("a control character"),
        b'\\' => Some("a backslash"),
        // Path parameters: `/admin;x` is `/admin` to some servers. (CVE-2021-32701)
        b';' => Some("a semicolon"),
        _ => None,
    }
}

fn two_digits(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = text.split_first_chunk::<2>()?;
    Some((hex(high)? << 4 | hex(low)?, rest))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Overlong forms are no UTF-8, so they end here too.
fn check_utf8(bytes: &[u8]) -> Result<(), Ambiguous> {
    std::str::from_utf8(bytes).map(|_| ()).map_err(|_| Ambiguous("not UTF-8"))
}

fn check_segments(text: &str) -> Result<(), Ambiguous> {
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(Ambiguous("a dot segment")),
            // Only the last may be empty: a trailing slash, or the root.
            "" if segments.peek().is_some() => return Err(Ambiguous("an empty segment")),
            _ => {}
        }
    }
    Ok(())
}

/// RFC 3986 §3.3: `pchar` and the slash, without the semicolon.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
                | b'/'
        )
}

/// One spelling per byte: what RFC 3986 §3.3 lets stand as it is stands so, all else is encoded in upper case.
fn write_byte(byte: u8, text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if is_plain(byte) {
        text.push(char::from(byte));
    } else {
        text.push('%');
        for digit in [byte >> 4, byte & 0xF] {
            text.push(char::from(DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0')));
        }
    }
}

impl fmt::Display for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn g06_ambiguous_spellings_are_refused() {
        for raw in [
            "//",
            "/a//b",
            "/./a",
            "/a/.",
            "/a/../b",
            "/..",
            "/%2e%2e/b",
            "/%2E/b",
            "/.%2e/",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;x",
            "/..;/b",
            "/a%3bx",
            "/a%00",
            "/a%0d%0a",
            "/%252e%252e/",
            "/a%252fb",
            // Each mark by itself: sent on as `%252e`, it was a dot to whoever decodes twice.
            "/%25%32%65%25%32%65/admin",
            "/a%25%32f",
            "/a%252%66",
            "/a%",
            "/a%4",
            "/a%zz",
            "",
            "*",
            "a",
            "http://x/y",
        ] {
            assert!(NormalPath::parse(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn g07_no_utf8_no_path_and_case_counts() {
        for raw in ["/%ff", "/%c0%ae", "/%c0%af", "/%e0%80%af", "/%ed%a0%80"] {
            assert!(NormalPath::parse(raw).is_err(), "{raw}");
        }
        assert_ne!(NormalPath::parse("/ADMIN").unwrap(), NormalPath::parse("/admin").unwrap());
        assert_eq!(NormalPath::parse("/%EF%BC%8F").unwrap().as_str(), "/%EF%BC%8F");
    }

    #[test]
    fn g08_marks_never_end_the_path_early() {
        assert!(NormalPath::parse("/admin?x=/public").is_err());
        assert!(NormalPath::parse("/admin#/public").is_err());
        assert_eq!(NormalPath::parse("/admin%23/public").unwrap().as_str(), "/admin%23/public");
        assert_eq!(NormalPath::parse("/admin%3f/public").unwrap().as_str(), "/admin%3F/public");
    }

    #[test]
    fn one_byte_has_one_spelling() {
        assert_eq!(NormalPath::parse("/%61%7e%40x").unwrap().as_str(), "/a~@x");
        assert_eq!(NormalPath::parse("/caf\u{e9} %c3%a9").unwrap().as_str(), "/caf%C3%A9%20%C3%A9");
        assert_eq!(NormalPath::parse("/100%25").unwrap().to_string(), "/100%25");
    }

    #[test]
    fn a_path_may_be_of_eight_kibibytes() {
        for (raw, fits) in [(format!("/{}", "a".repeat(8_191)), true), (format!("/{}", "a".repeat(8_192)), false)] {
            assert_eq!(NormalPath::parse(&raw).is_ok(), fits, "{}", raw.len());
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own_normal_form(raw in "/([ -~]|%25|%3[0-9]|%6[1-6]){0,40}") {
            if let Ok(path) = NormalPath::parse(&raw) {
                prop_assert_eq!(NormalPath::parse(path.as_str()).unwrap(), path);
            }
        }

        #[test]
        fn nothing_panics(raw in ".{0,60}") {
            let _ = NormalPath::parse(&raw);
        }
    }
}
