//! What does this JSON object say, if it says exactly one thing? A strict reader for text that others sign or send.
//!
//! Trusts nothing. Never accepts what two readers could understand in two ways: a member named twice (at any depth),
//! a byte order mark, trailing text, a lone surrogate, a number that nobody can hold.
//! Its own parser rather than `serde_json`'s, whose answer to duplicates is the last one and whose treatment of numbers
//! changes with a feature that any crate of the build may switch on.

use super::JoseError;
use serde_json::{Map, Number, Value};

/// How much JSON is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub bytes: usize,
    /// Nested objects and arrays, the outermost counted.
    pub depth: u8,
    /// Members and array elements, over the whole text.
    pub values: usize,
    /// Bytes of one number.
    pub number_bytes: usize,
}

impl Limits {
    /// For the header or payload of a token, and for small request bodies.
    pub const TOKEN: Self = Self { bytes: 16 * 1024, depth: 16, values: 512, number_bytes: 64 };
    /// For documents that an issuer publishes: key sets and metadata.
    pub const DOCUMENT: Self = Self { bytes: 1024 * 1024, depth: 16, values: 16 * 1024, number_bytes: 64 };
}

/// Reads one JSON object (RFC 8259, I-JSON's rules on names and surrogates: RFC 7493 §2).
///
/// # Errors
/// The `Json…` variants of [`JoseError`].
pub fn parse_object(text: &[u8], limits: Limits) -> Result<Map<String, Value>, JoseError> {
    if text.len() > limits.bytes {
        return Err(JoseError::JsonTooLong);
    }
    // A byte order mark is no JSON white space, so it is malformed below. // RFC 8259 §8.1
    let text = std::str::from_utf8(text).map_err(|_| JoseError::JsonMalformed)?;
    let mut parser = Parser { text, at: 0, depth_left: limits.depth, values_left: limits.values, limits };
    parser.skip_blanks();
    match parser.peek() {
        Some(b'{') => {}
        // Another JSON value or no JSON at all: either way not ours.
        _ => return Err(JoseError::JsonNotObject),
    }
    let object = parser.object()?;
    parser.skip_blanks();
    if parser.at != text.len() {
        return Err(JoseError::JsonMalformed);
    }
    Ok(object)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth_left: u8,
    values_left: usize,
    limits: Limits,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// `from..to` are always at ASCII bytes, hence at character borders.
    fn slice(&self, from: usize, to: usize) -> Result<&'a str, JoseError> {
        self.text.get(from..to).ok_or(JoseError::JsonMalformed)
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.at += blanks.count();
    }

    fn expect(&mut self, byte: u8) -> Result<(), JoseError> {
        if self.peek() != Some(byte) {
            return Err(JoseError::JsonMalformed);
        }
        self.at += 1;
        Ok(())
    }

    fn count_value(&mut self) -> Result<(), JoseError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(JoseError::JsonTooManyValues)?;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), JoseError> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(JoseError::JsonTooDeep)?;
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<Value, JoseError> {
        match self.peek() {
            Some(b'{') => self.object().map(Value::Object),
            Some(b'[') => self.array().map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(JoseError::JsonMalformed),
        }
    }

    fn object(&mut self) -> Result<Map<String, Value>, JoseError> {
        self.enter()?;
        let mut members = Map::new();
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.member(&mut members)?;
                if self.end_of_list(b'}')? {
                    break;
                }
            }
        }
        self.depth_left += 1;
        Ok(members)
    }

    fn member(&mut self, members: &mut Map<String, Value>) -> Result<(), JoseError> {
        self.count_value()?;
        self.skip_blanks();
        let name = self.string()?;
        self.skip_blanks();
        self.expect(b':')?;
        self.skip_blanks();
        let value = self.value()?;
        // RFC 7515 §4, RFC 7519 §4, RFC 7493 §2.3: names are compared after their escapes are resolved.
        match members.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(JoseError::JsonDuplicateMember),
        }
    }

    fn array(&mut self) -> Result<Vec<Value>, JoseError> {
        self.enter()?;
        let mut elements = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.count_value()?;
                self.skip_blanks();
                elements.push(self.value()?);
                if self.end_of_list(b']')? {
                    break;
                }
            }
        }
        self.depth_left += 1;
        Ok(elements)
    }

    /// After a member or element: true at the closing bracket, false after a comma.
    fn end_of_list(&mut self, close: u8) -> Result<bool, JoseError> {
        self.skip_blanks();
        let byte = self.peek().ok_or(JoseError::JsonMalformed)?;
        self.at += 1;
        match byte {
            b',' => Ok(false),
            _ if byte == close => Ok(true),
            _ => Err(JoseError::JsonMalformed),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JoseError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(JoseError::JsonMalformed);
        }
        self.at += word.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<String, JoseError> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let start = self.at;
            let plain = self.rest().iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f));
            self.at += plain.count();
            out.push_str(self.slice(start, self.at)?);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                // An unescaped control character, or the text's end.
                _ => return Err(JoseError::JsonMalformed),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JoseError> {
        let byte = self.peek().ok_or(JoseError::JsonMalformed)?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(JoseError::JsonMalformed),
        })
    }

    /// `XXXX` after `\u`, or a surrogate pair; a lone surrogate is no character. // RFC 7493 §2.1
    fn unicode_escape(&mut self) -> Result<char, JoseError> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                self.expect(b'\\')?;
                self.expect(b'u')?;
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(JoseError::JsonMalformed);
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            _ => first,
        };
        char::from_u32(code).ok_or(JoseError::JsonMalformed)
    }

    fn hex4(&mut self) -> Result<u32, JoseError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or(JoseError::JsonMalformed)?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, JoseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // RFC 8259 §6: no leading zeros, digits on both sides of the point.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.at - start > self.limits.number_bytes {
            return Err(JoseError::JsonNumber);
        }
        number_value(self.slice(start, self.at)?, integer)
    }

    fn digits(&mut self) -> Result<(), JoseError> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(JoseError::JsonMalformed);
        }
        self.at += count;
        Ok(())
    }
}

/// Integers stay exact within i64 and u64; what lies beyond becomes a finite `f64` or is refused.
fn number_value(text: &str, integer: bool) -> Result<Value, JoseError> {
    if integer && text != "-0" {
        if let Ok(number) = text.parse::<i64>() {
            return Ok(Value::from(number));
        }
        if let Ok(number) = text.parse::<u64>() {
            return Ok(Value::from(number));
        }
    }
    let number = text.parse::<f64>().map_err(|_| JoseError::JsonNumber)?;
    Number::from_f64(number).map(Value::Number).ok_or(JoseError::JsonNumber)
}
