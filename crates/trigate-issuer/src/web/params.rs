//! Which parameters came? `application/x-www-form-urlencoded`, read strictly: bad escapes and bad UTF-8 are refused,
//! nothing is repaired, and a name that comes twice is seen.

use zeroize::Zeroize;

/// The text is no form encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// More pairs than any request of ours has: what follows compares names with each other. (64 KiB hold 20,000 of them.)
const MAX_PAIRS: usize = 100;

/// RFC 8707 §2: the one parameter that may come several times.
const REPEATABLE: &str = "resource";

#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

/// SECURITY: forms carry passwords and secrets; they do not stay in freed memory.
impl Drop for Params {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}

impl Params {
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        if pairs.clone().nth(MAX_PAIRS).is_some() {
            return Err(Malformed);
        }
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// The value; without one it counts as absent. // RFC 6749 §3.1
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(have, value)| have == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// RFC 6749 §3.1, §3.2: a parameter must not come twice. What two readers of it would do differs, and an attacker
    /// lives on that.
    pub(crate) fn is_repeated(&self, name: &str) -> bool {
        name != REPEATABLE && self.0.iter().filter(|(have, _)| have == name).count() > 1
    }

    /// The pairs as a query again.
    pub(crate) fn to_query(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    pub(crate) fn has_repeated(&self) -> bool {
        self.0.iter().any(|(name, _)| self.is_repeated(name))
    }
}

/// Percent-decoding with `+` for a blank, as form encoding has it.
pub(crate) fn decode(text: &str) -> Result<String, Malformed> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            plain => plain,
        });
    }
    let text = String::from_utf8(out).map_err(|_| Malformed)?;
    // NUL ends texts in some readers and not in others.
    if text.contains('\0') { Err(Malformed) } else { Ok(text) }
}

fn hex(digit: Option<u8>) -> Result<u8, Malformed> {
    match digit.ok_or(Malformed)? {
        digit @ b'0'..=b'9' => Ok(digit - b'0'),
        digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_encoding_is_read_strictly() {
        let params = Params::parse("a=1+2%2B&b=&c&resource=x&resource=y&d=%C3%A4").unwrap();
        assert_eq!(params.get("a"), Some("1 2+"));
        assert_eq!((params.get("b"), params.get("c"), params.get("d")), (None, None, Some("ä")));
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        assert!(!params.has_repeated());
        for bad in ["a=%", "a=%2", "a=%zz", "a=%ff", "a=%00", "a=%+1"] {
            assert!(Params::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_pairs_than_anybody_needs_are_refused_unread() {
        let of = |count: usize| (0..count).map(|number| format!("p{number}=x")).collect::<Vec<_>>().join("&");
        assert!(Params::parse(&of(MAX_PAIRS)).is_ok());
        assert!(Params::parse(&of(MAX_PAIRS + 1)).is_err());
        assert!(Params::parse(&"resource=x&".repeat(MAX_PAIRS + 1)).is_err());
        assert!(Params::parse(&"&".repeat(60_000)).is_ok(), "nothing at all is nothing");
    }

    #[test]
    fn o37_a_name_that_comes_twice_is_seen_even_without_a_value() {
        assert!(Params::parse("a=1&a=1").unwrap().has_repeated());
        assert!(Params::parse("a=1&a=").unwrap().has_repeated());
        assert!(Params::parse("client%5Fid=1&client_id=2").unwrap().is_repeated("client_id"));
    }
}
