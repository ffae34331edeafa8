//! How is a distinguished name written, so that two texts are equal exactly where two names are? (RFC 4514)
//!
//! SECURITY: what stands between parts is escaped inside them: a common name `billing,O=Acme` is no `CN=billing,O=Acme`.
//! Case and blanks count; only the kind of string does not.

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// RFC 4514 §3, and what certificates carry beside.
const TYPES: [(&str, &str); 15] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.4", "SN"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("2.5.4.97", "organizationIdentifier"),
];

/// A name in its one form: the part nearest to the holder first. // RFC 4514 §2.1
pub(crate) fn write(name: &X509Name<'_>) -> String {
    let parts = name.iter_rdn().map(|rdn| joined(rdn.iter().map(attribute).collect()));
    parts.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(",")
}

/// What somebody wrote (RFC 4514, with blanks after the commas) in its one form; `None`: it is no name.
pub(crate) fn read(text: &str) -> Option<String> {
    let mut bytes = text.as_bytes();
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    loop {
        let at = bytes.iter().position(|byte| *byte == b'=')?;
        let (kind, rest) = bytes.split_at_checked(at)?;
        let (value, end, rest) = read_value(rest.get(1..)?)?;
        part.push(format!("{}={value}", read_type(std::str::from_utf8(kind).ok()?.trim())?));
        bytes = rest;
        match end {
            Some(b'+') => {}
            Some(_) => parts.push(joined(std::mem::take(&mut part))),
            None => break,
        }
    }
    parts.push(joined(part));
    Some(parts.join(","))
}

/// RFC 4514 §2.2: a set has no order of its own.
fn joined(mut attributes: Vec<String>) -> String {
    attributes.sort();
    attributes.join("+")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let kind = TYPES.iter().find(|(known, _)| *known == oid).map_or(oid.as_str(), |(_, name)| name);
    match attribute.as_str() {
        Ok(text) => format!("{kind}={}", escaped(text)),
        // RFC 4514 §2.4: what is no text, by its bytes.
        Err(_) => {
            let tag = attribute.attr_value().header.tag().0;
            let bytes = attribute.as_slice().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            format!("{kind}=#{tag:02x}:{bytes}")
        }
    }
}

fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, letter) in text.chars().enumerate() {
        let outer_blank = letter == ' ' && (index == 0 || index == last);
        if matches!(letter, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=')
            || outer_blank
            || (index == 0 && letter == '#')
        {
            out.push('\\');
            out.push(letter);
        } else if letter.is_ascii_control() {
            out.push_str(&format!("\\{:02x}", u32::from(letter)));
        } else {
            out.push(letter);
        }
    }
    out
}

fn read_type(text: &str) -> Option<String> {
    if let Some((_, name)) = TYPES.iter().find(|(oid, name)| name.eq_ignore_ascii_case(text) || *oid == text) {
        return Some((*name).to_owned());
    }
    let dotted =
        text.contains('.') && text.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()));
    dotted.then(|| text.to_owned())
}

/// A value in its one form, what ended it, and what is left. // RFC 4514 §3
fn read_value(bytes: &[u8]) -> Option<(String, Option<u8>, &[u8])> {
    let mut rest = bytes.trim_ascii_start();
    // A blank that is not escaped does not count at the end.
    let (mut value, mut kept) = (Vec::new(), 0);
    let end = loop {
        let Some((byte, after)) = rest.split_first() else { break None };
        rest = after;
        match byte {
            b',' | b'+' => break Some(*byte),
            b'\\' => {
                let (letter, after) = read_escaped(rest)?;
                value.push(letter);
                kept = value.len();
                rest = after;
            }
            b'#' if value.is_empty() => return None,
            b'"' | b';' | b'<' | b'>' | 0..=0x1f | 0x7f => return None,
            b' ' => value.push(b' '),
            _ => {
                value.push(*byte);
                kept = value.len();
            }
        }
    };
    value.truncate(kept);
    Some((escaped(std::str::from_utf8(&value).ok()?), end, rest))
}

fn read_escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if matches!(first, b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' | b' ' | b'#') {
        return Some((*first, rest));
    }
    let (second, rest) = rest.split_first()?;
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((nibble(*first)? << 4 | nibble(*second)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4514_3_one_form_for_each_name() {
        for (text, one) in [
            ("CN=billing,O=Acme", "CN=billing,O=Acme"),
            ("cn = billing , o=Acme ", "CN=billing,O=Acme"),
            ("2.5.4.3=billing", "CN=billing"),
            ("OU=Sales+CN=J.  Smith,DC=example,DC=net", "CN=J.  Smith+OU=Sales,DC=example,DC=net"),
            (r#"CN=James \"Jim\" Smith\, III"#, r#"CN=James \"Jim\" Smith\, III"#),
            (r"CN=Before\0dAfter", r"CN=Before\0dAfter"),
            (r"CN=Lu\C4\8Di\C4\87", "CN=Lučić"),
            (r"CN=\ x\ ", r"CN=\ x\ "),
            (r"CN=\#1", r"CN=\#1"),
            (r"CN=a\3db", r"CN=a\=b"),
            ("1.3.6.1.4.1.1=x", "1.3.6.1.4.1.1=x"),
        ] {
            assert_eq!(read(text).as_deref(), Some(one), "{text}");
            assert_eq!(read(one).as_deref(), Some(one), "{one}");
        }
        for bad in
            ["", "billing", "CN=a,", "=a", "XX=a", "CN=\"a\"", "CN=a;O=b", r"CN=a\", r"CN=a\zz", "CN=#0402", "CN=a\nb"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
