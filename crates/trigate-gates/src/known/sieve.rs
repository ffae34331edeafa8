//! Which ids were surely never put in? One word of memory answers for nearly all tokens, which are revoked nowhere.
//!
//! Never says "surely not" of an id that was noted, whatever is renewed meanwhile: all that it lets through is looked up.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Eight mebibytes at most: ten million ids set about half of the bits, and one in twenty others is looked up in vain.
const WORDS: usize = 1 << 20;
/// Made when the first id of theirs is noted: few ids take little room.
const PAGE_WORDS: usize = 1 << 11;
/// So many ids that are over may stand in it before it is worth making anew.
pub(super) const STALE: usize = WORDS * 4;

type Page = OnceLock<Box<[AtomicU64]>>;

/// A Bloom filter with all bits of an id in one word (a blocked one, Putze, Sanders and Singler 2007), made anew beside
/// itself.
pub(super) struct Sieve {
    /// The second is filled when the first is renewed.
    sides: [Box<[Page]>; 2],
    /// Rises with each renewal; its last bit is the side that counts.
    turn: AtomicUsize,
}

impl Default for Sieve {
    fn default() -> Self {
        let pages = || (0..WORDS / PAGE_WORDS).map(|_| Page::new()).collect();
        Self { sides: [pages(), pages()], turn: AtomicUsize::new(0) }
    }
}

/// Where an id stands: from the first bits of its hash its page and word, from the last ones four bits of the word.
struct Spot {
    page: usize,
    word: usize,
    bits: u64,
}

impl Spot {
    const fn of(hash: u64) -> Self {
        let at = (hash >> 44) as usize;
        let bits = 1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63) | 1 << (hash >> 18 & 63);
        Self { page: at / PAGE_WORDS, word: at % PAGE_WORDS, bits }
    }
}

impl Sieve {
    fn page(&self, turn: usize, spot: &Spot) -> Option<&Page> {
        self.sides.get(turn & 1)?.get(spot.page)
    }

    /// SECURITY: `true` only if this was never noted. A side that is emptied meanwhile says nothing: the turn, read again
    /// after the word, shows that it still counted.
    pub fn surely_not(&self, hash: u64) -> bool {
        let (turn, spot) = (self.turn.load(Ordering::Acquire), Spot::of(hash));
        let Some(page) = self.page(turn, &spot) else { return false };
        let word = page.get().and_then(|words| words.get(spot.word)).map_or(0, |word| word.load(Ordering::Acquire));
        word & spot.bits != spot.bits && self.turn.load(Ordering::Acquire) == turn
    }

    /// Before the id itself is put in. One writer at a time.
    pub fn note(&self, hash: u64) {
        self.set(self.turn.load(Ordering::Relaxed), hash);
    }

    fn set(&self, turn: usize, hash: u64) {
        let spot = Spot::of(hash);
        let Some(page) = self.page(turn, &spot) else { return };
        let words = page.get_or_init(|| (0..PAGE_WORDS).map(|_| AtomicU64::new(0)).collect());
        if let Some(word) = words.get(spot.word) {
            word.fetch_or(spot.bits, Ordering::Release);
        }
    }

    fn words(&self, turn: usize) -> impl Iterator<Item = &AtomicU64> {
        let pages = self.sides.get(turn & 1).into_iter().flatten();
        pages.filter_map(OnceLock::get).flatten()
    }

    /// Forgets all that is not among these. One writer at a time, and none notes meanwhile.
    pub fn renew(&self, hashes: impl Iterator<Item = u64>) {
        let turn = self.turn.load(Ordering::Relaxed).wrapping_add(1);
        self.words(turn).for_each(|word| word.store(0, Ordering::Relaxed));
        hashes.for_each(|hash| self.set(turn, hash));
        self.turn.store(turn, Ordering::Release);
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let words = [0, 1].map(|turn| self.words(turn).count());
        words.iter().sum::<usize>() * size_of::<AtomicU64>() + 2 * WORDS / PAGE_WORDS * size_of::<Page>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn an_id_has_four_bits_of_one_word_by_different_parts_of_its_hash() {
        let spot = Spot::of(0xabcde << 44 | 4 << 18 | 3 << 12 | 2 << 6 | 1);
        assert_eq!((spot.page, spot.word, spot.bits), (0xabcde / 2_048, 0xabcde % 2_048, 0b11110));
        // They may fall together.
        for [a, b, c, d] in [[5, 5, 1, 2], [1, 5, 5, 2], [1, 2, 5, 5], [5, 1, 2, 5]] {
            assert_eq!(Spot::of(a << 18 | b << 12 | c << 6 | d).bits, 1 << 5 | 1 << 2 | 1 << 1);
        }
    }

    #[test]
    fn few_ids_take_few_pages() {
        let sieve = Sieve::default();
        let empty = sieve.bytes();
        assert_eq!(empty, 2 * 512 * size_of::<Page>());
        sieve.note(0);
        sieve.note(1);
        assert_eq!(sieve.bytes(), empty + 2_048 * 8);
        sieve.note(u64::MAX);
        assert_eq!(sieve.bytes(), empty + 2 * 2_048 * 8);
        // The other side is filled when this one is renewed.
        sieve.renew([0].into_iter());
        assert_eq!(sieve.bytes(), empty + 3 * 2_048 * 8);
        assert!(sieve.surely_not(u64::MAX) && !sieve.surely_not(0));
        sieve.renew([u64::MAX].into_iter());
        assert!(!sieve.surely_not(u64::MAX) && sieve.surely_not(0), "an old side is emptied before it is filled");
    }

    #[test]
    fn what_was_noted_is_never_denied_and_most_else_is() {
        let sieve = Sieve::default();
        assert!(sieve.surely_not(1));
        (0..1_000_000).for_each(|n| sieve.note(hash(n)));
        assert!((0..1_000_000).all(|n| !sieve.surely_not(hash(n))));
        let passed = (1_000_000..2_000_000).filter(|n| !sieve.surely_not(hash(*n))).count();
        assert!(passed < 10_000, "{passed} of a million");
    }

    #[test]
    fn renewing_forgets_the_others_alone() {
        let sieve = Sieve::default();
        (0..100_000).for_each(|n| sieve.note(hash(n)));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| (0..2_000_000).all(|n| !sieve.surely_not(hash(n % 1_000))));
            (0..20).for_each(|_| sieve.renew((0..1_000).map(hash)));
            assert!(reader.join().unwrap());
        });
        let left = (1_000..100_000).filter(|n| !sieve.surely_not(hash(*n))).count();
        assert!(left < 100, "{left}");
    }
}
