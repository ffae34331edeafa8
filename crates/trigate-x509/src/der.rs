//! Where does a value end? The least of DER that the other files need: definite, minimal lengths and nothing else.
//! Trusts no length; never recurses.

use crate::Fault;

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const BOOLEAN: u8 = 0x01;

/// One tag with its content, and all of its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    pub whole: &'a [u8],
}

#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

const MALFORMED: Fault = Fault::Unreadable("its DER is malformed");

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    // X.690 §10.1
    pub fn read(&mut self) -> Result<Value<'a>, Fault> {
        let (&tag, rest) = self.0.split_first().ok_or(MALFORMED)?;
        let (&first, rest) = rest.split_first().ok_or(MALFORMED)?;
        // Tags of more than one byte stand nowhere in a certificate or a list.
        if tag & 0x1f == 0x1f {
            return Err(MALFORMED);
        }
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return Err(MALFORMED);
            }
            let (bytes, rest) = rest.split_at_checked(count).ok_or(MALFORMED)?;
            let length = bytes.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
            if length < 0x80 || bytes.first() == Some(&0) {
                return Err(MALFORMED);
            }
            (length, rest)
        };
        let (content, after) = rest.split_at_checked(length).ok_or(MALFORMED)?;
        let (whole, _) = self.0.split_at_checked(self.0.len() - after.len()).ok_or(MALFORMED)?;
        self.0 = after;
        Ok(Value { tag, content, whole })
    }

    pub fn expect(&mut self, tag: u8) -> Result<Value<'a>, Fault> {
        let value = self.read()?;
        if value.tag == tag { Ok(value) } else { Err(MALFORMED) }
    }

    pub fn end(self) -> Result<(), Fault> {
        if self.is_empty() { Ok(()) } else { Err(Fault::Unreadable("bytes follow its end")) }
    }
}

/// The content of the one value with this tag that `bytes` are.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Result<&[u8], Fault> {
    let mut reader = Reader::new(bytes);
    let value = reader.expect(tag)?;
    reader.end()?;
    Ok(value.content)
}

/// A bit string of whole bytes.
pub(crate) fn whole_bits(content: &[u8]) -> Result<&[u8], Fault> {
    match content.split_first() {
        Some((0, bits)) => Ok(bits),
        _ => Err(MALFORMED),
    }
}

/// An extension: object identifier, critical, value. // RFC 5280 §4.1
pub(crate) fn extension<'a>(value: &Value<'a>) -> Result<(&'a [u8], bool, &'a [u8]), Fault> {
    if value.tag != SEQUENCE {
        return Err(MALFORMED);
    }
    let mut reader = Reader::new(value.content);
    let oid = reader.expect(OID)?.content;
    let critical = if reader.next_is(BOOLEAN) {
        match reader.read()?.content {
            [0xff] => true,
            [0x00] => false,
            _ => return Err(MALFORMED),
        }
    } else {
        false
    };
    let content = reader.expect(OCTET_STRING)?.content;
    reader.end()?;
    Ok((oid, critical, content))
}

/// Signed data: the signed bytes, the algorithm, the signature. // RFC 5280 §4.1.1
pub(crate) fn signed(der: &[u8]) -> Result<(Value<'_>, &[u8], &[u8]), Fault> {
    let mut reader = Reader::new(only(der, SEQUENCE)?);
    let tbs = reader.expect(SEQUENCE)?;
    let algorithm = reader.expect(SEQUENCE)?.content;
    let signature = whole_bits(reader.expect(BIT_STRING)?.content)?;
    reader.end()?;
    Ok((tbs, algorithm, signature))
}
