//! Which nonce must a proof carry, and is this one ours and young? Made by a keyed hash over a time, so that nothing is
//! remembered (RFC 9449 §8, §9).
//!
//! SECURITY: whoever has the key can make nonces. Gates each draw their own at start: a proof with a nonce is good at one
//! node alone, which is what makes the memory of one node enough.

use crate::port::Rng;
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt;
use subtle::ConstantTimeEq;

/// Seconds that a nonce is good.
pub const NONCE_LIFE_S: i64 = 120;
/// Bytes of time and of tag.
const TIME: usize = 8;
const TAG: usize = 16;

/// What a presented nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Good,
    /// Good still; the answer should bring the next one. // RFC 9449 §8.2
    Aging,
    /// Not ours, or over.
    Bad,
}

pub struct Nonces(hmac::Key);

impl Nonces {
    pub fn mint(rng: &dyn Rng) -> Self {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        rng.fill(key.as_mut());
        Self::from_key(key.as_ref())
    }

    pub fn from_key(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub fn issue(&self, now_s: i64) -> String {
        let time = now_s.to_be_bytes();
        let mut nonce = time.to_vec();
        nonce.extend_from_slice(&self.tag(&time));
        URL_SAFE_NO_PAD.encode(nonce)
    }

    pub fn judge(&self, nonce: &str, now_s: i64) -> Freshness {
        self.issued_at(nonce).map_or(Freshness::Bad, |at| match now_s.saturating_sub(at) {
            0..=59 => Freshness::Good,
            // A clock that was set back makes a nonce of the future: as good as an old one.
            60..NONCE_LIFE_S | -60..=-1 => Freshness::Aging,
            _ => Freshness::Bad,
        })
    }

    fn issued_at(&self, nonce: &str) -> Option<i64> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok().filter(|bytes| bytes.len() == TIME + TAG)?;
        let (time, tag) = bytes.split_first_chunk::<TIME>()?;
        bool::from(self.tag(time).ct_eq(tag)).then(|| i64::from_be_bytes(*time))
    }

    fn tag(&self, time: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, time).as_ref().iter().take(TAG).copied().collect()
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(…)")
    }
}
