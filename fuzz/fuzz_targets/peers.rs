//! A bent token, judged here and by the crate `jsonwebtoken`: what is accepted here, it accepts too, or refuses for a reason
//! that is known and has nothing to do with who signed.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trigate_peers::{Case, jsonwebtoken, make, ours};

/// It has no P-521, knows Ed25519 by one name alone, wants claims in JSON, and is strict about members that it reads and we
/// do not. npm `jose` is asked about these by `cargo xtask peers`.
fn known(case: &Case, why: &str) -> bool {
    let header = case.token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    matches!(header["alg"].as_str(), Some("ES512" | "Ed25519")) || why.starts_with("JSON error") || why.starts_with("UTF-8 error")
}

fuzz_target!(|data: &[u8]| {
    let case = make(data);
    let Some(question) = case.question(1) else { return };
    if ours(&question).is_err() {
        assert!(!case.bends.is_empty(), "an honest token is refused: {case:?}");
        return;
    }
    if let Err(why) = jsonwebtoken(&case) {
        assert!(known(&case, &why), "accepted here, refused there ({why}): {case:?}");
    }
    let parts: Vec<&str> = case.token.split('.').collect();
    assert_eq!(parts.len(), 3, "{case:?}");
    for part in parts {
        assert_eq!(URL_SAFE_NO_PAD.encode(URL_SAFE_NO_PAD.decode(part).expect("base64url")), part, "{case:?}");
    }
});
