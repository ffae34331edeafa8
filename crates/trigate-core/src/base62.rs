//! How do ids and secrets read as text? Digits and letters only, so that a double click selects the whole.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `value` as exactly `width` base-62 digits, most significant first.
pub(crate) fn encode(value: u128, width: usize) -> String {
    let mut text = String::with_capacity(width);
    push(value, width, &mut text);
    text
}

/// As [`encode`], behind what stands in `text` already.
pub(crate) fn push(value: u128, width: usize, text: &mut String) {
    text.push_str(Text::of(value, width).as_str());
}

/// Digits without an allocation.
pub(crate) struct Text {
    digits: [u8; 40],
    from: usize,
}

impl Text {
    /// `value` as exactly `width` digits, at most 40.
    pub fn of(mut value: u128, width: usize) -> Self {
        /// Ten digits at a time: one division of 128 bits where there would be ten.
        const TEN_DIGITS: u128 = 62_u128.pow(10);
        let mut digits = [b'0'; 40];
        let mut slots = digits.iter_mut().rev().take(width);
        while value > 0 && slots.len() > 0 {
            let rest = value / TEN_DIGITS;
            let mut part = (value - rest * TEN_DIGITS) as u64;
            value = rest;
            for slot in slots.by_ref().take(10) {
                *slot = DIGITS.get((part % 62) as usize).copied().unwrap_or(b'0');
                part /= 62;
            }
        }
        Self { digits, from: digits.len().saturating_sub(width) }
    }

    pub fn as_str(&self) -> &str {
        // Digits are ASCII.
        self.digits.get(self.from..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
    }
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
