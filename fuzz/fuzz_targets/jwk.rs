//! A key set as an issuer publishes it: no panic, and what is kept can be published and read back as the same keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trigate_core::jose::{Jwks, VerifyingKey};

fuzz_target!(|data: &[u8]| {
    if let Ok((set, _)) = Jwks::parse(data) {
        for key in set.iter() {
            let again = VerifyingKey::from_jwk(&key.to_jwk()).expect("what we publish we can read");
            assert_eq!((again.thumbprint(), again.algorithm()), (key.thumbprint(), key.algorithm()));
        }
    }
});
