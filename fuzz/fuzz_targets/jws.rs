//! A token as text: no panic, and nothing passes that was not signed by the one key. The first byte chooses between the
//! text as it stands and a real token with a part of it changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use trigate_core::jose::{Algorithm, Compact, MAX_TOKEN_BYTES, SigningKey};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::ES256, "k").expect("a key"));
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    KEY.sign_jws("at+jwt", &serde_json::json!({ "iss": "https://x.test", "sub": "u", "exp": 2_000_000_000 }))
        .expect("signed")
});

fn judge(text: &str) -> bool {
    let Ok(compact) = Compact::parse(text, MAX_TOKEN_BYTES) else { return false };
    let _ = (compact.peek_issuer(), compact.kid(), compact.typ());
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
