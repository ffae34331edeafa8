//! Other spellings of a signature: sums and differences with the order of its group, DER.

/// Orders of the groups, big-endian, as long as one half of a signature. // SEC 2 §2.4, §2.5, §2.6; RFC 8032 §5.1
pub const P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
pub const P384: &str =
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
pub const P521: &str = "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409";
pub const ED25519: &str = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";

pub fn number(hex: &str) -> Vec<u8> {
    let digit = |at: usize| hex.as_bytes().get(at).map_or(0, |c| char::from(*c).to_digit(16).unwrap_or(0));
    (0..hex.len() / 2).map(|at| u8::try_from(digit(2 * at) << 4 | digit(2 * at + 1)).unwrap_or(0)).collect()
}

/// a - b, modulo the length of a.
pub fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut digits: Vec<u8> = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .map(|(a, b)| {
            let difference = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(difference < 0);
            difference.rem_euclid(256).to_le_bytes()[0]
        })
        .collect();
    digits.reverse();
    digits
}

/// a + b, modulo the length of a.
pub fn plus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits: Vec<u8> = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .map(|(a, b)| {
            let [low, high] = (u16::from(*a) + u16::from(*b) + carry).to_le_bytes();
            carry = u16::from(high);
            low
        })
        .collect();
    digits.reverse();
    digits
}

/// `SEQUENCE { INTEGER r, INTEGER s }`. // RFC 3279 §2.2.3
pub fn der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let inner = [integer(r), integer(s)].concat();
    [&[0x30][..], &length(inner.len()), &inner].concat()
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    [&[0x02][..], &length(bytes.len()), &bytes].concat()
}

fn length(length: usize) -> Vec<u8> {
    let low = length.to_le_bytes()[0];
    if length < 0x80 { vec![low] } else { vec![0x81, low] }
}
