//! Tokens that are bound to a key (RFC 9449), in every form of the gate: the list that OpenID's FAPI 2.0 suite sends to a
//! resource server. Each form gets a proof of its own: one is good once in a process.

use crate::support::{
    TestTrigate,
    forge::{self, Signer, changed, claims},
    forms::{ASKED, Ask, Form, ask_each, assert_one_answer, end},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use trigate_core::{credential::Digest, jose::Algorithm};

const X: &str = "https://x.test";
const BOUND: &str = "/api/bound";
const URL: &str = "http://localhost/api/bound";
const ROUTES: &str = "[dpop]\norigins = [\"http://localhost\"]\n\
     [[route]]\nname = \"bound\"\npath = \"/api/bound\"\ndemands = \"token\"\nbound = true\nupstream = \"sample\"\n\
     [[route]]\nname = \"nonce\"\npath = \"/api/nonce\"\ndemands = \"token\"\ndpop_nonce = true\nupstream = \"sample\"\n\
     [[route]]\nname = \"any\"\npath = \"/api/any\"\ndemands = \"token\"\nupstream = \"sample\"\n";

/// Holds a key, and a token that is bound to it.
struct Holder {
    signer: Signer,
    token: String,
    count: Cell<u32>,
}

impl Holder {
    fn new(issuer: &Signer, algorithm: Algorithm) -> Self {
        let signer = Signer::new(algorithm, "k");
        let cnf = json!({ "cnf": { "jkt": signer.key.verifying_key().thumbprint() } });
        Self { token: issuer.token(&changed(claims(X), &cnf)), signer, count: Cell::new(0) }
    }

    fn header(&self) -> Value {
        let jwk = changed(self.signer.public(), &json!({ "kid": null, "use": null, "alg": null }));
        json!({ "typ": "dpop+jwt", "alg": self.signer.key.algorithm(), "jwk": jwk })
    }

    /// Never the same twice.
    fn claims(&self) -> Value {
        self.count.set(self.count.get() + 1);
        json!({ "jti": format!("j-{}", self.count.get()), "htm": "GET", "htu": URL, "iat": crate::any_issuer::now(),
            "ath": hash(&self.token) })
    }

    /// A proof with these members of its header and its payload changed.
    fn proof(&self, header: &Value, payload: &Value) -> String {
        let (header, payload) = (changed(self.header(), header), changed(self.claims(), payload));
        self.signer.forge(header.to_string().as_bytes(), payload.to_string().as_bytes())
    }

    fn ask(&self, proof: &str) -> Ask {
        self.ask_at(BOUND, proof)
    }

    fn ask_at(&self, path: &str, proof: &str) -> Ask {
        Ask::get(path, &[("Authorization", &format!("DPoP {}", self.token)), ("DPoP", proof)])
    }
}

fn hash(token: &str) -> String {
    B64.encode(Digest::of(token).bytes())
}

struct Bound {
    t: TestTrigate,
    forms: Vec<Form>,
    issuer: Signer,
    _keys: tempfile::TempDir,
}

impl Bound {
    async fn start() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let issuer = Signer::new(Algorithm::ES256, "k1");
        let more = format!("{ASKED}{ROUTES}{}", forge::trusted(keys.path(), X, &[issuer.public()]));
        let t = TestTrigate::start_with(&more).await;
        let forms = Form::all(&t).await;
        Self { t, forms, issuer, _keys: keys }
    }

    async fn end(self) {
        end(self.forms).await;
        self.t.stop().await;
    }
}

/// What is sent, made anew for each form.
type Make<'a> = Box<dyn Fn() -> Ask + 'a>;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn rfc9449_4_3_t28_every_bent_proof_is_refused_in_every_form() {
    let mut b = Bound::start().await;
    let (holder, other) = (Holder::new(&b.issuer, Algorithm::ES256), Holder::new(&b.issuer, Algorithm::ES256));
    let rsa = Holder::new(&b.issuer, Algorithm::RS256);
    let (holder, other, rsa) = (&holder, &other, &rsa);
    let (now, plain) = (crate::any_issuer::now(), b.issuer.token(&claims(X)));
    let plain = plain.as_str();
    let mut lines: Vec<(Make<'_>, u16)> = Vec::new();
    let payload = |changes: Value| -> Make<'_> { Box::new(move || holder.ask(&holder.proof(&json!({}), &changes))) };
    let header = |changes: Value| -> Make<'_> { Box::new(move || holder.ask(&holder.proof(&changes, &json!({})))) };
    let with = |make: &'static dyn Fn(&Holder) -> Ask| -> Make<'_> { Box::new(move || make(holder)) };
    for changes in [
        json!({}),
        json!({ "htu": format!("{URL}?a=b#c") }),
        json!({ "htu": "http://LOCALHOST/api/bound" }),
        json!({ "htu": "http://localhost:80/api/bound" }),
        json!({ "iat": now - 10 }),
        json!({ "iat": now + 10 }),
        json!({ "nbf": now + 99, "exp": 1, "extra": {} }),
    ] {
        lines.push((payload(changes), 200));
    }
    lines.push((
        with(&|holder| {
            let proof = holder.proof(&json!({}), &json!({}));
            Ask::get(BOUND, &[("AUTHORIZATION", &format!("dpop {}", holder.token)), ("DPOP", &proof)])
        }),
        200,
    ));
    for changes in [
        json!({ "jti": null }),
        json!({ "htm": null }),
        json!({ "htu": null }),
        json!({ "iat": null }),
        json!({ "ath": null }),
        json!({ "htm": "POST" }),
        json!({ "htm": "get" }),
        json!({ "htu": "http://localhost/api/any" }),
        json!({ "htu": "http://evil.test/api/bound" }),
        json!({ "htu": "https://localhost/api/bound" }),
        json!({ "htu": "/api/bound" }),
        json!({ "iat": now - 3_600 }),
        json!({ "iat": now + 3_600 }),
        json!({ "iat": "now" }),
        json!({ "ath": hash("another") }),
        json!({ "ath": hash(plain) }),
    ] {
        lines.push((payload(changes), 401));
    }
    for changes in [
        json!({ "typ": null }),
        json!({ "typ": "JWT" }),
        json!({ "alg": null }),
        json!({ "alg": "none" }),
        json!({ "alg": "RS256" }),
        json!({ "jwk": null }),
        json!({ "jwk": other.header()["jwk"] }),
        json!({ "jwk": changed(holder.header()["jwk"].clone(), &json!({ "d": B64.encode([1; 32]) })) }),
        json!({ "crit": ["x"], "x": 1 }),
    ] {
        lines.push((header(changes), 401));
    }
    // Two proofs; what is no JWT; a signature that was cut away; a key that is not the token's; an algorithm that is none
    // of those for proofs, rightly signed by the key of that token.
    lines.push((
        with(&|holder| {
            holder.ask(&holder.proof(&json!({}), &json!({}))).with("DPoP", &holder.proof(&json!({}), &json!({})))
        }),
        401,
    ));
    lines.push((with(&|holder| holder.ask("no.jwt.at-all")), 401));
    lines.push((with(&|holder| holder.ask(holder.proof(&json!({}), &json!({})).rsplit_once('.').unwrap().0)), 401));
    lines.push((Box::new(move || holder.ask(&other.proof(&json!({}), &json!({ "ath": hash(&holder.token) })))), 401));
    lines.push((Box::new(move || rsa.ask(&rsa.proof(&json!({}), &json!({})))), 401));
    // No proof, a bearer token that should have had one, and a bearer token with one.
    lines.push((with(&|holder| Ask::get(BOUND, &[("Authorization", &format!("DPoP {}", holder.token))])), 401));
    for path in [BOUND, "/api/any"] {
        lines.push((Box::new(move || Ask::bearer(path, &holder.token)), 401));
        let proven = move || Ask::bearer(path, &holder.token).with("DPoP", &holder.proof(&json!({}), &json!({})));
        lines.push((Box::new(proven), 401));
    }
    // A token without a key, where one is demanded and where the scheme says so.
    lines.push((Box::new(move || Ask::bearer(BOUND, plain)), 401));
    let as_bound = move || {
        let proof = holder.proof(&json!({}), &json!({ "ath": hash(plain) }));
        Ask::get(BOUND, &[("Authorization", &format!("DPoP {plain}")), ("DPoP", &proof)])
    };
    lines.push((Box::new(as_bound), 401));
    lines.push((Box::new(move || Ask::bearer("/api/any", plain)), 200));
    let answers = ask_each(&b.t, &mut b.forms, &lines, |make| make()).await;
    let refused: Vec<_> = answers.iter().zip(&lines).filter(|(_, (_, status))| *status == 401).collect();
    assert!(refused.iter().all(|(asked, _)| asked.challenge().contains("DPoP ")), "RFC 9449 §7.1");
    assert_one_answer(&refused.iter().take(25).map(|(asked, _)| (*asked).clone()).collect::<Vec<_>>());
    b.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn rfc9449_11_1_a_proof_is_good_once_in_every_form() {
    let mut b = Bound::start().await;
    let holder = Holder::new(&b.issuer, Algorithm::ES256);
    // Each form's first proof comes again, in the same order.
    let used = RefCell::new(std::collections::VecDeque::new());
    let lines = [(false, 200), (true, 401)];
    ask_each(&b.t, &mut b.forms, &lines, |again| {
        let proof = if *again { used.borrow_mut().pop_front() } else { None };
        let proof = proof.unwrap_or_else(|| holder.proof(&json!({}), &json!({})));
        used.borrow_mut().push_back(proof.clone());
        holder.ask(&proof)
    })
    .await;
    // All forms of one process have one memory of them.
    let shared = holder.ask(&holder.proof(&json!({}), &json!({})));
    let mut passed = Vec::new();
    for form in &mut b.forms {
        passed.extend((form.ask(&shared).await.status == 200).then(|| form.name()));
    }
    assert_eq!(passed.len(), Form::PROCESSES, "{passed:?}");
    b.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn rfc9449_9_a_nonce_is_demanded_in_every_form() {
    let mut b = Bound::start().await;
    let holder = Holder::new(&b.issuer, Algorithm::ES256);
    let with = |nonce: Value| {
        let url = "http://localhost/api/nonce";
        holder.ask_at("/api/nonce", &holder.proof(&json!({}), &json!({ "htu": url, "nonce": nonce })))
    };
    let mut nonces = Vec::new();
    for form in &mut b.forms {
        for bad in [json!(null), json!("AAAA"), json!(5)] {
            let asked = form.ask(&with(bad.clone())).await;
            assert_eq!(asked.status, 401, "{}: {bad}", form.name());
            if !bad.is_number() {
                assert!(asked.challenge().contains("use_dpop_nonce"), "{}: {}", form.name(), asked.challenge());
                nonces
                    .push(asked.header("dpop-nonce").unwrap_or_else(|| panic!("{}: no nonce", form.name())).to_owned());
            }
        }
        let nonce = nonces.last().unwrap();
        assert_eq!(form.ask(&with(json!(nonce))).await.status, 200, "{}", form.name());
    }
    // R18: a nonce is of one process, so that a proof is not taken by two.
    let mut passed = Vec::new();
    for form in &mut b.forms {
        passed.extend((form.ask(&with(json!(nonces[0]))).await.status == 200).then(|| form.name()));
    }
    let forms = b.forms.len();
    assert_eq!(passed.len(), forms - (Form::PROCESSES - 1), "{passed:?}");
    b.end().await;
}
