//! A token as text: no panic, nothing passes that was not signed by the one key, and what is read of a header and of an
//! issuer is what a plain reader reads. The first byte chooses between the text as it stands and a real token with a part of
//! it changed.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::LazyLock;
use trigate_core::jose::{Algorithm, Compact, MAX_TOKEN_BYTES, SigningKey};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::ES256, "k").expect("a key"));
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    KEY.sign_jws("at+jwt", &serde_json::json!({ "iss": "https://x.test", "sub": "u", "exp": 2_000_000_000 }))
        .expect("signed")
});

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn judge(text: &str) -> bool {
    let Ok(compact) = Compact::parse(text, MAX_TOKEN_BYTES) else { return false };
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, _] = parts[..] else { panic!("{} parts", parts.len()) };
    let header = part(header).expect("a header that was read");
    assert_eq!(header["alg"].as_str().and_then(|name| name.parse().ok()), Some(compact.algorithm()));
    assert_eq!((header["kid"].as_str(), header["typ"].as_str()), (compact.kid(), compact.typ()));
    assert!(header.get("crit").is_none() && header.get("b64").is_none());
    if let Some(issuer) = compact.peek_issuer() {
        assert_eq!(part(payload).expect("a payload that was read")["iss"].as_str(), Some(issuer.as_str()));
    }
    compact.verify(KEY.verifying_key()).is_ok()
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    if first & 1 == 0 {
        assert!(!judge(&text), "nobody signed this");
        return;
    }
    let at = usize::from(first) * TOKEN.len() / 256;
    let bent = format!("{}{text}{}", &TOKEN[..at], &TOKEN[(at + text.len().min(1)).min(TOKEN.len())..]);
    assert!(!judge(&bent) || bent == *TOKEN, "a changed token passed");
});
