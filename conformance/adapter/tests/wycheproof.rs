//! Project Wycheproof's vectors, through the adapter, against the code that the gate uses: nothing invalid is accepted,
//! and what is valid and refused stands here with the reason.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};
use wycheproof_ng_kdf_jose::json_web;

/// What came of many vectors.
#[derive(Default)]
struct Tally {
    asked: usize,
    accepted: usize,
    wrongly_accepted: Vec<String>,
    /// Error to how many valid vectors it refused.
    refused: BTreeMap<String, usize>,
}

impl Tally {
    fn ask(&mut self, name: &str, valid: bool, question: &Value) {
        let answer = trigate_adapter::answer(question.to_string().as_bytes());
        self.asked += 1;
        match (answer["ok"].as_bool().unwrap(), valid) {
            (true, true) => self.accepted += 1,
            (true, false) => self.wrongly_accepted.push(format!("{name} {}", question["id"])),
            (false, true) => *self.refused.entry(answer["error"].as_str().unwrap().to_owned()).or_default() += 1,
            (false, false) => {}
        }
    }

    fn refused(&self) -> Vec<(&str, usize)> {
        self.refused.iter().map(|(why, count)| (why.as_str(), *count)).collect()
    }
}

fn sig(id: usize, alg: &str, der: &[u8], msg: &[u8], sig: &[u8]) -> Value {
    json!({ "id": id, "op": "sig", "alg": alg, "der": hex(der), "msg": hex(msg), "sig": hex(sig) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn ecdsa_vectors() {
    for (name, alg) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, "ES256"),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, "ES384"),
        (ecdsa::TestName::EcdsaSecp521r1Sha512P1363, "ES512"),
    ] {
        let mut tally = Tally::default();
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let valid = test.result == TestResult::Valid;
                tally.ask(alg, valid, &sig(test.tc_id, alg, &group.der, &test.msg, &test.sig));
            }
        }
        assert_eq!(tally.wrongly_accepted, [""; 0], "{alg}");
        assert_eq!(tally.refused(), [], "{alg}");
        assert!(tally.accepted > 100, "{alg}: {}", tally.accepted);
    }
}

/// Other hashes, other curves, DER in place of r and s: nothing of it is one of our algorithms.
#[test]
fn ecdsa_of_other_kinds_is_refused() {
    let ours = ["ecdsa_secp256r1_sha256_p1363", "ecdsa_secp384r1_sha384_p1363", "ecdsa_secp521r1_sha512_p1363"];
    let mut tally = Tally::default();
    for name in ecdsa::TestName::all() {
        let set = ecdsa::TestSet::load(name).unwrap();
        let file = format!("{name:?}");
        if ours.iter().any(|ours| ours.replace('_', "").eq_ignore_ascii_case(&file.replace('_', ""))) {
            continue;
        }
        for group in set.test_groups {
            for test in group.tests.into_iter().take(40) {
                for alg in ["ES256", "ES384", "ES512"] {
                    tally.ask(&file, false, &sig(test.tc_id, alg, &group.der, &test.msg, &test.sig));
                }
            }
        }
    }
    assert_eq!(tally.wrongly_accepted, [""; 0]);
    assert!(tally.asked > 1_000, "{}", tally.asked);
}

#[test]
fn ed25519_vectors() {
    let mut tally = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        for test in group.tests {
            let valid = test.result == TestResult::Valid;
            tally.ask("Ed25519", valid, &sig(test.tc_id, "EdDSA", &group.der, &test.msg, &test.sig));
        }
    }
    assert_eq!(tally.wrongly_accepted, [""; 0]);
    assert_eq!(tally.refused(), []);
    assert!(tally.accepted > 50, "{}", tally.accepted);
}

/// Where the file is of one of our algorithms, its verdict is ours ("acceptable" says nothing). Where it is of another
/// hash, what is valid there is valid nowhere here.
fn ask_rsa(
    tally: &mut Tally,
    name: &str,
    result: TestResult,
    alg: Option<&str>,
    nearest: &str,
    question: impl Fn(&str) -> Value,
) {
    match (alg, result) {
        (Some(alg), TestResult::Valid) => tally.ask(name, true, &question(alg)),
        (Some(alg), TestResult::Invalid) => tally.ask(name, false, &question(alg)),
        (None, TestResult::Valid) => tally.ask(name, false, &question(nearest)),
        (Some(_), TestResult::Acceptable) | (None, _) => {}
    }
}

#[test]
fn rsa_pkcs1_vectors() {
    let mut tally = Tally::default();
    for name in rsa_pkcs1_verify::TestName::all() {
        let Ok(set) = rsa_pkcs1_verify::TestSet::load(name) else { continue };
        for group in set.test_groups {
            let alg = match group.hash {
                wycheproof::HashFunction::Sha2_256 => Some("RS256"),
                wycheproof::HashFunction::Sha2_384 => Some("RS384"),
                wycheproof::HashFunction::Sha2_512 => Some("RS512"),
                _ => None,
            };
            for test in group.tests {
                ask_rsa(&mut tally, &format!("{name:?}"), test.result, alg, "RS256", |alg| {
                    sig(test.tc_id, alg, &group.der, &test.msg, &test.sig)
                });
            }
        }
    }
    assert_eq!(tally.wrongly_accepted, [""; 0]);
    assert_eq!(tally.refused(), [], "of {} accepted", tally.accepted);
    assert!(tally.accepted > 80, "{}", tally.accepted);
}

#[test]
fn rsa_pss_vectors() {
    let mut tally = Tally::default();
    for name in rsa_pss_verify::TestName::all() {
        let Ok(set) = rsa_pss_verify::TestSet::load(name) else { continue };
        for group in set.test_groups {
            // RFC 7518 §3.5: the salt is as long as the hash, and MGF1 is by the same hash.
            let alg = match (group.hash, group.mgf_hash, group.salt_size) {
                (wycheproof::HashFunction::Sha2_256, Some(wycheproof::HashFunction::Sha2_256), 32) => Some("PS256"),
                (wycheproof::HashFunction::Sha2_384, Some(wycheproof::HashFunction::Sha2_384), 48) => Some("PS384"),
                (wycheproof::HashFunction::Sha2_512, Some(wycheproof::HashFunction::Sha2_512), 64) => Some("PS512"),
                _ => None,
            };
            for test in group.tests {
                ask_rsa(&mut tally, &format!("{name:?}"), test.result, alg, "PS256", |alg| {
                    sig(test.tc_id, alg, &group.der, &test.msg, &test.sig)
                });
            }
        }
    }
    assert_eq!(tally.wrongly_accepted, [""; 0]);
    assert_eq!(tally.refused(), [], "of {} accepted", tally.accepted);
    assert!(tally.accepted > 80, "{}", tally.accepted);
}

#[test]
fn jose_vectors() {
    let mut tally = Tally::default();
    for name in
        [json_web::TestName::JsonWebSignature, json_web::TestName::JsonWebKey, json_web::TestName::JsonWebCrypto]
    {
        for group in json_web::TestSet::load(name).unwrap().test_groups {
            // A symmetric key has no public half: it is offered all the same, as a careless operator would.
            let key = group.public_key.or(group.private_key).unwrap();
            for test in group.tests {
                let Some(jws) = test.jws else { continue };
                let token = jws.as_str().map_or_else(|| jws.to_string(), str::to_owned);
                let member = if key.get("keys").is_some() { "jwks" } else { "jwk" };
                let question = json!({ "id": test.tc_id, "op": "verify", member: key, "token": token });
                let valid = format!("{:?}", test.result) == "Valid";
                tally.ask(&format!("{name:?}"), valid, &question);
            }
        }
    }
    assert_eq!(tally.wrongly_accepted, [""; 0]);
    assert_eq!(tally.accepted, 35);
    // What is valid there and refused here, and why.
    let reasons = [
        // Also of an HMAC vector: its header has a `?` in the base64url text.
        ("a part is not canonical unpadded base64url", 1),
        // HMAC: whoever can verify could sign, so no issuer of ours shares a secret with a gate.
        ("the header's `alg` is not one that is accepted here", 15),
        // The vector's key says PS256, its token PS384: the key decides (RFC 8725 §3.1).
        ("the header's `alg` is not the key's", 2),
        // The vector's key says `ES521`, which is no algorithm.
        ("the key's `alg` does not fit the key or the algorithm demanded", 2),
    ];
    assert_eq!(tally.refused(), reasons);
}

#[test]
fn what_cannot_be_read_is_answered_with_false() {
    for line in ["", "{", "[]", "{}", r#"{"id":7,"op":"fly"}"#, r#"{"id":7,"op":"verify","token":"a.b.c"}"#] {
        let answer = trigate_adapter::answer(line.as_bytes());
        assert_eq!(answer["ok"], false, "{line}");
        assert!(answer["error"].is_string(), "{line}");
    }
    // The strict reader sees the key as it was sent.
    let twice = r#"{"id":1,"op":"sig","alg":"EdDSA","jwk":{"kty":"OKP","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},"msg":"","sig":""}"#;
    assert_eq!(trigate_adapter::answer(twice.as_bytes())["error"], "a JSON object names one member twice");
}
