//! Tokens that are bound to a key: what a thief of the token, of a proof, or of both would try.

use super::rig::*;
use crate::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};
use trigate_core::{
    credential::Digest,
    identity::SenderProof,
    jose::{Algorithm, SigningKey},
};

const URL: &str = "https://api.test/any";

struct Holder {
    key: SigningKey,
    count: std::cell::Cell<u32>,
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Holder {
    fn new() -> Self {
        Self { key: SigningKey::generate(Algorithm::ES256, "k").unwrap(), count: Default::default() }
    }

    fn cnf(&self) -> Value {
        json!({ "cnf": { "jkt": self.key.verifying_key().thumbprint() } })
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.public_jwk() })
    }

    fn claims(&self, rig: &Rig, token: &str) -> Value {
        self.count.set(self.count.get() + 1);
        let ath = URL_SAFE_NO_PAD.encode(Digest::of(token).bytes());
        json!({ "jti": format!("j-{}", self.count.get()), "htm": "GET", "htu": URL, "iat": rig.now_s(), "ath": ath })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", encode(header), encode(claims));
        let key = jsonwebtoken::EncodingKey::from_ec_der(&self.key.to_pkcs8().unwrap());
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, jsonwebtoken::Algorithm::ES256).unwrap();
        format!("{input}.{signature}")
    }

    fn proof(&self, rig: &Rig, token: &str, changes: Value) -> String {
        self.sign(&self.header(), &changed(self.claims(rig, token), &changes))
    }
}

fn changed(mut value: Value, changes: &Value) -> Value {
    for (name, to) in changes.as_object().unwrap() {
        if to.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = to.clone();
        }
    }
    value
}

fn dpop<'r>(rig: &'r Rig, path: &str, token: &str, proof: &str) -> Ask<'r> {
    rig.ask(path).header("authorization", &format!("DPoP {token}")).header("dpop", proof)
}

fn bound_rig() -> Rig {
    Rig::with(|routes| {
        let mut bound = route("bound", "/bound", "token");
        bound.bound = true;
        let mut nonce = route("nonce", "/nonce", "token");
        nonce.dpop_nonce = true;
        let mut hosted = route("hosted", "/hosted", "token");
        hosted.hosts = vec!["api.test".into()];
        routes.extend([bound, nonce, hosted]);
    })
}

#[tokio::test]
async fn t28_a_bound_token_without_its_key_is_refused() {
    let (rig, holder) = (bound_rig(), Holder::new());
    let token = rig.token(holder.cnf());
    let proof = holder.proof(&rig, &token, json!({}));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.bound", "RFC 9449 §7.2");
    assert_eq!(rig.ask("/any").bearer(&token).header("dpop", &proof).verdict().await, "401 token.bound");
    let refusal = rig.ask("/any").bearer(&token).refusal().await;
    let lines: Vec<_> =
        refusal.headers().get_all("www-authenticate").iter().map(|line| line.to_str().unwrap()).collect();
    assert!(
        lines.contains(&"DPoP realm=\"trigate\", algs=\"ES256 EdDSA PS256\", error=\"invalid_token\""),
        "{lines:?}"
    );
    let certificate = rig.token(json!({ "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode([0xab; 32]) } }));
    assert_eq!(rig.ask("/any").bearer(&certificate).verdict().await, "401 token.bound", "RFC 8705 §3");
    let odd = rig.token(json!({ "cnf": { "kid": "x" } }));
    assert_eq!(rig.ask("/any").bearer(&odd).verdict().await, "401 token.bound", "a binding that nobody here knows");
    assert_eq!(rig.ask("/any").bearer(&rig.token(json!({ "cnf": "x" }))).verdict().await, "401 token.claims");
    assert_eq!(dpop(&rig, "/any", &token, &proof).verdict().await, "pass");
    assert_eq!(rig.last().facts.sender, Some(SenderProof::Dpop));
}

#[tokio::test]
async fn rfc9449_7_1_the_scheme_wants_a_bound_token_and_the_route_may_too() {
    let (rig, holder) = (bound_rig(), Holder::new());
    let plain = rig.token(json!({}));
    let proof = holder.proof(&rig, &plain, json!({}));
    assert_eq!(dpop(&rig, "/any", &plain, &proof).verdict().await, "401 token.unbound");
    assert_eq!(rig.ask("/any").bearer(&plain).verdict().await, "pass");
    assert_eq!(rig.last().facts.sender, None);
    assert_eq!(rig.ask("/bound").bearer(&plain).verdict().await, "401 token.unbound");
    let refusal = rig.ask("/bound").refusal().await;
    assert_eq!(refusal.headers()["www-authenticate"], "DPoP realm=\"trigate\", algs=\"ES256 EdDSA PS256\"");
    let token = rig.token(holder.cnf());
    let proof = holder.proof(&rig, &token, json!({ "htu": "https://api.test/bound" }));
    assert_eq!(dpop(&rig, "/bound", &token, &proof).verdict().await, "pass");
}

/// The list that OpenID's FAPI 2.0 suite sends to a resource server.
#[tokio::test]
async fn rfc9449_4_3_every_bent_proof_is_refused() {
    let (rig, holder, other) = (bound_rig(), Holder::new(), Holder::new());
    let token = rig.token(holder.cnf());
    let now = rig.now_s();
    for (changes, expected) in [
        (json!({ "jti": null }), "401 proof.malformed"),
        (json!({ "htm": null }), "401 proof.malformed"),
        (json!({ "htu": null }), "401 proof.malformed"),
        (json!({ "iat": null }), "401 proof.malformed"),
        (json!({ "ath": null }), "401 proof.malformed"),
        (json!({ "htm": "POST" }), "401 proof.other_request"),
        (json!({ "htu": "https://api.test/other" }), "401 proof.other_request"),
        (json!({ "htu": "https://evil.test/any" }), "401 proof.other_request"),
        (json!({ "htu": format!("{URL}?a=b#c") }), "pass"),
        (json!({ "htu": "https://API.TEST/any" }), "pass"),
        (json!({ "htu": "https://api.test:443/any" }), "pass"),
        (json!({ "htu": "https://mtls.api.test:8443/any" }), "pass"),
        (json!({ "iat": now - 3600 }), "401 proof.time"),
        (json!({ "iat": now + 3600 }), "401 proof.time"),
        (json!({ "iat": now - 10 }), "pass"),
        (json!({ "iat": now + 10 }), "pass"),
        (json!({ "ath": URL_SAFE_NO_PAD.encode(Digest::of("another").bytes()) }), "401 proof.other_token"),
        (json!({ "nbf": now + 99, "exp": 1, "extra": {} }), "pass"),
    ] {
        let proof = holder.proof(&rig, &token, changes.clone());
        assert_eq!(dpop(&rig, "/any", &token, &proof).verdict().await, expected, "{changes}");
    }
    for (changes, expected) in [
        (json!({ "typ": null }), "401 proof.malformed"),
        (json!({ "typ": "JWT" }), "401 proof.malformed"),
        (json!({ "alg": null }), "401 proof.malformed"),
        (json!({ "alg": "none" }), "401 proof.malformed"),
        (json!({ "alg": "RS256" }), "401 proof.malformed"),
        (json!({ "jwk": null }), "401 proof.malformed"),
        (json!({ "jwk": other.key.public_jwk() }), "401 proof.signature"),
        (json!({ "jwk": changed(holder.key.public_jwk(), &json!({ "d": "AAAA" })) }), "401 proof.malformed"),
    ] {
        let proof = holder.sign(&changed(holder.header(), &changes), &holder.claims(&rig, &token));
        assert_eq!(dpop(&rig, "/any", &token, &proof).verdict().await, expected, "{changes}");
    }
    let proof = holder.proof(&rig, &token, json!({}));
    let two = dpop(&rig, "/any", &token, &proof).header("dpop", &holder.proof(&rig, &token, json!({})));
    assert_eq!(two.verdict().await, "401 proof.malformed", "two proofs");
    assert_eq!(dpop(&rig, "/any", &token, "no.jwt.at-all").verdict().await, "401 proof.malformed");
    assert_eq!(rig.ask("/any").header("authorization", &format!("DPoP {token}")).verdict().await, "401 proof.missing");
    let proof = other.proof(&rig, &token, json!({}));
    assert_eq!(dpop(&rig, "/any", &token, &proof).verdict().await, "401 proof.other_key");
    let refusal = dpop(&rig, "/any", &token, &proof).refusal().await;
    let challenge = "DPoP realm=\"trigate\", algs=\"ES256 EdDSA PS256\", error=\"invalid_dpop_proof\"";
    assert_eq!(refusal.headers()["www-authenticate"], challenge);
}

#[tokio::test]
async fn rfc9449_11_1_a_proof_is_good_once_and_refusals_do_not_use_it_up() {
    let (rig, holder) = (bound_rig(), Holder::new());
    let token = rig.token(holder.cnf());
    let proof = holder.proof(&rig, &token, json!({}));
    // A rehearsal and a refusal for another reason leave it as it was.
    let other = rig.token(holder.cnf());
    assert_eq!(dpop(&rig, "/any", &other, &proof).verdict().await, "401 proof.other_token");
    let asked = dpop(&rig, "/any", &token, &proof);
    assert!(explain(&rig.gates, &rig.rules, asked.request()).await.allowed);
    assert_eq!(asked.verdict().await, "pass");
    assert_eq!(dpop(&rig, "/any", &token, &proof).verdict().await, "401 proof.replayed");
    assert_eq!(dpop(&rig, "/any", &token, &proof).method(Method::POST).verdict().await, "401 proof.other_request");
    // The scheme's case does not matter.
    let proof = holder.proof(&rig, &token, json!({}));
    let lower = rig.ask("/any").header("authorization", &format!("dpop {token}")).header("DPOP", &proof);
    assert_eq!(lower.verdict().await, "pass");
    // The same `jti` of another key is another proof.
    let second = Holder::new();
    let theirs = rig.token(second.cnf());
    let proof = second.proof(&rig, &theirs, json!({ "jti": "j-1" }));
    assert_eq!(dpop(&rig, "/any", &theirs, &proof).verdict().await, "pass");
}

#[tokio::test]
async fn rfc9449_9_a_nonce_of_this_process_is_demanded_and_renewed() {
    let (rig, holder) = (bound_rig(), Holder::new());
    let token = rig.token(holder.cnf());
    let htu = "https://api.test/nonce";
    let proof = holder.proof(&rig, &token, json!({ "htu": htu }));
    let refusal = dpop(&rig, "/nonce", &token, &proof).refusal().await;
    assert_eq!(refusal.reason().code(), "proof.nonce");
    let challenge = refusal.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("DPoP ") && challenge.ends_with("error=\"use_dpop_nonce\""), "{challenge}");
    let nonce = refusal.headers()["dpop-nonce"].to_str().unwrap().to_owned();
    let with = |nonce: &str| holder.proof(&rig, &token, json!({ "htu": htu, "nonce": nonce }));
    assert_eq!(dpop(&rig, "/nonce", &token, &with(&nonce)).permit().await.next_nonce(), None);
    rig.clock.advance_s(60);
    assert!(dpop(&rig, "/nonce", &token, &with(&nonce)).permit().await.next_nonce().is_some(), "§8.2");
    rig.clock.advance_s(60);
    assert_eq!(dpop(&rig, "/nonce", &token, &with(&nonce)).verdict().await, "401 proof.nonce");
    // R18: another process knows neither this one's used proofs nor its nonces.
    let elsewhere = bound_rig_of_another_process();
    let theirs = elsewhere.token(holder.cnf());
    let proof = holder.proof(&elsewhere, &theirs, json!({ "htu": htu, "nonce": nonce }));
    assert_eq!(dpop(&elsewhere, "/nonce", &theirs, &proof).verdict().await, "401 proof.nonce");
}

fn bound_rig_of_another_process() -> Rig {
    let rig = bound_rig();
    let other = Gates::new(GatesParts {
        known: rig.known.clone(),
        clock: std::sync::Arc::new(rig.clock.clone()),
        rng: std::sync::Arc::new(trigate_core::port::testing::SeededRng::new(99)),
        audit: std::sync::Arc::new(Sink(rig.audit.clone())),
        lookup: rig.desk.clone(),
        issuers: rig.issuers.clone(),
        node: "n2".into(),
        on_exposed: None,
    });
    Rig { gates: other, ..rig }
}

#[tokio::test]
async fn rfc9449_4_3_only_addresses_that_are_ours_count() {
    let (rig, holder) = (bound_rig(), Holder::new());
    let token = rig.token(holder.cnf());
    // The route names the host: scheme and port are the connection's, or a trusted proxy's word.
    let ask = |htu: &str| {
        let proof = holder.proof(&rig, &token, json!({ "htu": htu }));
        dpop(&rig, "/hosted", &token, &proof)
    };
    assert_eq!(ask("https://api.test/hosted").verdict().await, "pass");
    assert_eq!(ask("http://api.test/hosted").verdict().await, "401 proof.other_request");
    let forged = ask("http://api.test/hosted").header("x-forwarded-proto", "http");
    assert_eq!(forged.verdict().await, "401 proof.other_request", "anybody's header");
    let proxied = ask("http://api.test/hosted").header("x-forwarded-proto", "http").peer("10.0.0.1");
    assert_eq!(proxied.verdict().await, "pass");
}

#[tokio::test]
async fn m11_a_certificate_bound_token_wants_that_certificate() {
    let (rig, holder) = (bound_rig(), Holder::new());
    let x5t = URL_SAFE_NO_PAD.encode([0xab; 32]);
    let token = rig.token(json!({ "cnf": { "x5t#S256": x5t } }));
    let shown = certificate(&rig, "spiffe://acme.test/w");
    let other = ClientCertificate { fingerprint: "cd".repeat(32), ..shown.clone() };
    let ask = |certificate: &ClientCertificate| rig.ask("/bound").bearer(&token).certificate(certificate.clone());
    assert_eq!(ask(&shown).verdict().await, "pass");
    assert_eq!(rig.last().facts.sender, Some(SenderProof::Certificate));
    assert_eq!(ask(&other).verdict().await, "401 token.bound");
    // It need not be a machine's: binding is its only work here. Unbound, it stays unknown.
    let unmapped = ClientCertificate { san_uris: vec![], ..shown.clone() };
    assert_eq!(ask(&unmapped).verdict().await, "pass");
    let plain = rig.token(json!({}));
    let unbound = rig.ask("/any").bearer(&plain).certificate(unmapped.clone());
    assert_eq!(unbound.verdict().await, "401 certificate.unmapped");
    rig.revoke(trigate_core::change::Target::Certificate { fingerprint: "ab".repeat(32) });
    assert_eq!(ask(&unmapped).verdict().await, "401 certificate.revoked");
    // Bound twice, both are wanted.
    let rig = bound_rig();
    let mut both = holder.cnf();
    both["cnf"]["x5t#S256"] = json!(x5t);
    let token = rig.token(both);
    let proof = |_| holder.proof(&rig, &token, json!({}));
    assert_eq!(dpop(&rig, "/any", &token, &proof(0)).verdict().await, "401 token.bound");
    let whole = dpop(&rig, "/any", &token, &proof(1)).certificate(shown);
    assert_eq!(whole.verdict().await, "pass");
    assert_eq!(rig.last().facts.sender, Some(SenderProof::DpopAndCertificate));
}

#[tokio::test]
async fn rfc9449_7_1_challenges_speak_of_the_scheme_that_came_where_the_route_takes_tokens() {
    let (rig, holder) = (bound_rig(), Holder::new());
    let token = rig.token(holder.cnf());
    let to = |path: &str| {
        let proof = holder.proof(&rig, &token, json!({ "htu": format!("https://api.test{path}") }));
        dpop(&rig, path, &token, &proof)
    };
    let refusal = to("/stepup").refusal().await;
    assert_eq!(
        refusal.headers()["www-authenticate"],
        "DPoP realm=\"trigate\", algs=\"ES256 EdDSA PS256\", error=\"insufficient_user_authentication\", acr_values=\"2\", max_age=300"
    );
    let refusal = to("/weather").refusal().await;
    let lines: Vec<_> = refusal.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(lines, ["ApiKey realm=\"trigate\""], "the route takes keys alone");
}
