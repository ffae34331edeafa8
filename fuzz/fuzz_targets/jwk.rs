//! A key set as an issuer publishes it: no panic, a name is one key's, nothing private is kept, and what is kept can be
//! published and read back as the same keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trigate_core::jose::{Jwks, VerifyingKey};

fuzz_target!(|data: &[u8]| {
    let Ok((set, left_out)) = Jwks::parse(data) else { return };
    let document: Value = serde_json::from_slice(data).expect("what is strict is JSON");
    let came = document["keys"].as_array().expect("keys");
    assert!(set.len() + left_out.len() <= came.len());
    assert!(left_out.windows(2).all(|two| two[0].index < two[1].index), "a key is left out once");
    for key in set.iter() {
        let again = VerifyingKey::from_jwk(&key.to_jwk()).expect("what we publish we can read");
        assert_eq!((again.thumbprint(), again.algorithm()), (key.thumbprint(), key.algorithm()));
        let Some(kid) = key.kid() else { continue };
        assert_eq!(
            set.find(Some(kid)).map(VerifyingKey::thumbprint),
            Some(key.thumbprint()),
            "two keys under one name"
        );
        // As it came, by a plain reader; an unusable key may share the name.
        let named = |jwk: &&Value| jwk["kid"].as_str() == Some(kid);
        let usable = came.iter().filter(named).filter_map(|jwk| VerifyingKey::from_jwk(jwk).ok());
        for other in usable {
            assert_eq!(other.thumbprint(), key.thumbprint(), "the order of the document decided");
        }
        for private in ["d", "p", "q", "k"] {
            assert!(
                came.iter().filter(named).all(|jwk| jwk.get(private).is_none() || VerifyingKey::from_jwk(jwk).is_err())
            );
        }
    }
    let (again, lost) = Jwks::parse(set.to_json().to_string().as_bytes()).expect("what we publish we can read");
    assert!(lost.is_empty() && again.to_json() == set.to_json());
});
