//! Does a text hold a byte that must not go on as it is? Nearly none does: eight bytes are looked at in one step.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// All bytes are visible ASCII or blanks, and none is one of `marks`.
pub fn is_printable<const N: usize>(text: &[u8], marks: [u8; N]) -> bool {
    none(text, |word| word & HIGHS | below(word, 0x20) | equal(word, 0x7f) | any_of(word, marks))
}

/// No byte is a control character of ASCII's first column, and none is one of `marks`.
pub fn has_no_controls<const N: usize>(text: &[u8], marks: [u8; N]) -> bool {
    none(text, |word| below(word, 0x20) | any_of(word, marks))
}

fn none(text: &[u8], hits: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    // Filled up with what is a hit to nobody.
    let mut last = [b'a'; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let hit = words.iter().fold(0, |hit, word| hit | hits(u64::from_le_bytes(*word)));
    hit | hits(u64::from_le_bytes(last)) == 0
}

/// Not zero if any byte is less than `least` (at most 0x80). (Anderson, "Bit Twiddling Hacks": determine if a word has a byte
/// less than n.)
const fn below(word: u64, least: u8) -> u64 {
    word.wrapping_sub(ONES.wrapping_mul(least as u64)) & !word & HIGHS
}

const fn equal(word: u64, mark: u8) -> u64 {
    below(word ^ ONES.wrapping_mul(mark as u64), 1)
}

fn any_of<const N: usize>(word: u64, marks: [u8; N]) -> u64 {
    marks.into_iter().fold(0, |hit, mark| hit | equal(word, mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_says_what_its_bytes_say(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let printable = |byte: &u8| matches!(byte, b' '..=b'~') && !b"%;".contains(byte);
            prop_assert_eq!(is_printable(&text, *b"%;"), text.iter().all(printable));
            let plain = |byte: &u8| *byte >= 0x20 && !b"\"\\".contains(byte);
            prop_assert_eq!(has_no_controls(&text, *b"\"\\"), text.iter().all(plain));
        }
    }

    #[test]
    fn every_byte_is_seen_at_every_place() {
        for (byte, at) in (0..=u8::MAX).flat_map(|byte| (0..17).map(move |at| (byte, at))) {
            let mut text = [b'x'; 17];
            text[at] = byte;
            assert_eq!(is_printable(&text, [b',']), matches!(byte, b' '..=b'~') && byte != b',', "{byte} at {at}");
            assert_eq!(has_no_controls(&text, [b'"']), byte >= 0x20 && byte != b'"', "{byte} at {at}");
        }
    }
}
