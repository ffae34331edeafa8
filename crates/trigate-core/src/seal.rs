//! How are private keys and seeds kept at rest? AES-256-GCM under the master key, each value bound to its place.
//!
//! Trusts the 32 bytes that it is handed and the `Rng` port. Never shows the key, and never says why a value does not
//! open.

use crate::port::{Rng, Seal, SealError};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// First byte of every sealed value: another scheme gets another number.
const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key is 32 bytes, written as base64")]
pub struct BadMasterKey;

/// The key from file or environment that all private parts are sealed under.
pub struct MasterKey {
    key: LessSafeKey,
    rng: Arc<dyn Rng>,
}

impl MasterKey {
    /// # Errors
    /// When `bytes` are not exactly 32.
    pub fn from_bytes(bytes: &[u8], rng: Arc<dyn Rng>) -> Result<Self, BadMasterKey> {
        Ok(Self { key: aes_key(bytes).ok_or(BadMasterKey)?, rng })
    }

    /// Reads base64 (either alphabet, padded or not); blanks around it do not count.
    ///
    /// # Errors
    /// When the text is not base64 of exactly 32 bytes.
    pub fn from_text(text: &str, rng: Arc<dyn Rng>) -> Result<Self, BadMasterKey> {
        let text = text.trim();
        let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')));
        Self::from_bytes(&Zeroizing::new(decoded.map_err(|_| BadMasterKey)?), rng)
    }

    /// A new key as text for [`Self::from_text`]: the content of the key file.
    pub fn mint_text(rng: &dyn Rng) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill(&mut *bytes);
        Zeroizing::new(STANDARD.encode(*bytes))
    }
}

impl Seal for MasterKey {
    fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        seal_with(&self.key, &*self.rng, context, plain)
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open_with(&self.key, context, sealed)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Seals `plain` so that only who still has `secret` (of at least 128 random bits) can open it: the successor of a
/// refresh token under its predecessor, of which the store knows only the hash.
pub fn seal_under(secret: &str, context: &str, plain: &[u8], rng: &dyn Rng) -> Vec<u8> {
    seal_with(&derived_key(secret, context), rng, context, plain)
}

/// # Errors
/// Another secret, another context, or damaged data.
pub fn open_under(secret: &str, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    open_with(&derived_key(secret, context), context, sealed)
}

fn aes_key(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

// RFC 5869: HKDF-SHA-256; the context separates uses of one secret.
fn derived_key(secret: &str, context: &str) -> LessSafeKey {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"trigate seal").extract(secret.as_bytes());
    let info = [context.as_bytes()];
    // INVARIANT: 32 bytes is within HKDF's bound and is AES-256's size.
    prk.expand(&info, &AES_256_GCM)
        .map(|okm| LessSafeKey::new(UnboundKey::from(okm)))
        .unwrap_or_else(|_| unreachable!("32 bytes of HKDF output"))
}

fn seal_with(key: &LessSafeKey, rng: &dyn Rng, context: &str, plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill(&mut nonce);
    let mut body = plain.to_vec();
    // INVARIANT: GCM refuses only texts beyond 64 GiB, which no key or seed is.
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut body)
        .unwrap_or_else(|_| unreachable!("a sealed value is short"));
    [&[VERSION], nonce.as_slice(), &body].concat()
}

fn open_with(key: &LessSafeKey, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let Some((&VERSION, rest)) = sealed.split_first() else { return Err(SealError) };
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context.as_bytes()), &mut body)
        .map_err(|_| SealError)?
        .len();
    body.truncate(plain);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::testing::SeededRng;

    fn key(seed: u64) -> MasterKey {
        let rng = Arc::new(SeededRng::new(seed));
        MasterKey::from_text(&MasterKey::mint_text(&*rng), rng).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let key = key(1);
        let sealed = key.seal("signing_key:key-2026-11", b"private");
        assert_eq!(*key.open("signing_key:key-2026-11", &sealed).unwrap(), b"private");
        assert!(key.open("signing_key:key-2026-12", &sealed).is_err(), "another place");
        assert!(self::key(2).open("signing_key:key-2026-11", &sealed).is_err(), "another key");
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(key.open("signing_key:key-2026-11", &damaged).is_err(), "byte {index}");
            assert!(key.open("signing_key:key-2026-11", &sealed[..index]).is_err(), "cut at {index}");
        }
        assert_ne!(sealed, key.seal("signing_key:key-2026-11", b"private"), "a nonce is used once");
    }

    #[test]
    fn only_the_secret_opens_what_was_sealed_under_it() {
        let rng = SeededRng::new(3);
        let sealed = seal_under("predecessor", "refresh", b"successor", &rng);
        assert_eq!(*open_under("predecessor", "refresh", &sealed).unwrap(), b"successor");
        assert!(open_under("other", "refresh", &sealed).is_err());
        assert!(open_under("predecessor", "other", &sealed).is_err());
    }

    #[test]
    fn a_master_key_is_32_bytes_and_redacted() {
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(4));
        assert!(MasterKey::from_text("c2hvcnQ=", rng.clone()).is_err());
        assert!(MasterKey::from_text("not base64!", rng.clone()).is_err());
        assert!(MasterKey::from_bytes(&[0; 33], rng.clone()).is_err());
        let text = MasterKey::mint_text(&*rng);
        let key = MasterKey::from_text(&format!(" {}\n", *text), rng).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
    }
}
