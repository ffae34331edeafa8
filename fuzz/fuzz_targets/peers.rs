//! A bent token, judged here and by the crate `jsonwebtoken`: what is accepted here, it accepts too; or it is strict about a
//! member that we do not read, and says all the same that the key has signed.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use trigate_peers::{jsonwebtoken, make, ours, signed};

fuzz_target!(|data: &[u8]| {
    let case = make(data);
    let Some(question) = case.question(1) else { return };
    if ours(&question).is_err() {
        assert!(!case.bends.is_empty(), "an honest token is refused: {case:?}");
        return;
    }
    if let Err(why) = jsonwebtoken(&case) {
        // It has no P-521; npm `jose`, which has, is asked by `cargo xtask peers`.
        assert!(signed(&case) != Some(false), "accepted here, refused there ({why}): {case:?}");
    }
    let parts: Vec<&str> = case.token.split('.').collect();
    assert_eq!(parts.len(), 3, "{case:?}");
    for part in parts {
        assert_eq!(URL_SAFE_NO_PAD.encode(URL_SAFE_NO_PAD.decode(part).expect("base64url")), part, "{case:?}");
    }
});
