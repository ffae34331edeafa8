//! How do ids and secrets read as text? Digits and letters only, so that a double click selects the whole.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `value` as exactly `width` base-62 digits, most significant first.
pub(crate) fn encode(mut value: u128, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for slot in digits.iter_mut().rev() {
        if let Some(digit) = DIGITS.get((value % 62) as usize) {
            *slot = *digit;
        }
        value /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

/// The number that `text` writes, or `None` for a foreign character or an overflow of 128 bits.
pub(crate) fn decode(text: &str) -> Option<u128> {
    text.bytes().try_fold(0u128, |sum, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        sum.checked_mul(62)?.checked_add(u128::from(digit))
    })
}

/// Digits needed for 128 bits.
pub(crate) const WIDTH_128: usize = 22;
