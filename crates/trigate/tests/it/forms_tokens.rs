//! Forged tokens of the catalogue, in every form of the gate. Two trusted issuers' private keys are the tests' own: each
//! token is signed as it should be, and is refused for what it says or for how it is written.

use crate::support::{
    TestTrigate,
    forge::{self, AUDIENCE, Signer, changed, claims},
    forms::{ASKED, Ask, Asked, Form, ask_everywhere, assert_one_answer, decisions, end},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};
use std::process::Command;
use trigate_core::{
    client::{ClientAuthentication, GrantType},
    id::ClientId,
    jose::Algorithm,
};

const X: &str = "https://x.test";
const Y: &str = "https://y.test";
/// Its key set holds what no key set should.
const WEAK: &str = "https://weak.test";
const ANY: &str = "/api/any";
const ROUTE: &str = "[[route]]\nname = \"any\"\npath = \"/api/any\"\ndemands = \"token\"\nupstream = \"sample\"\n";

/// A Trigate that trusts X and Y, with all its forms.
struct Forged {
    t: TestTrigate,
    forms: Vec<Form>,
    rs: Signer,
    es: Signer,
    ed: Signer,
    /// Y's, of the same name as `es`.
    y: Signer,
    _keys: tempfile::TempDir,
}

impl Forged {
    async fn start() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let (rs, es) = (Signer::new(Algorithm::RS256, "rs"), Signer::new(Algorithm::ES256, "k1"));
        let (ed, y) = (Signer::new(Algorithm::EdDSA, "ed"), Signer::new(Algorithm::ES256, "k1"));
        let x = forge::trusted(keys.path(), X, &[rs.public(), es.public(), ed.public()]);
        let more = format!("{ASKED}{ROUTE}{x}{}", forge::trusted(keys.path(), Y, &[y.public()]));
        let t = TestTrigate::start_with(&more).await;
        let forms = Form::all(&t).await;
        Self { t, forms, rs, es, ed, y, _keys: keys }
    }

    /// The first of these tokens passes, all others are refused, and by one answer.
    async fn only_the_first_passes(&mut self, tokens: impl IntoIterator<Item = String>) -> Vec<Asked> {
        let status = |at: usize| if at == 0 { 200 } else { 401 };
        let lines = tokens.into_iter().enumerate().map(|(at, token)| (Ask::bearer(ANY, &token), status(at)));
        self.ask(lines.collect()).await
    }

    /// What is refused is refused by one answer.
    async fn ask(&mut self, lines: Vec<(Ask, u16)>) -> Vec<Asked> {
        let answers = ask_everywhere(&self.t, &mut self.forms, &lines).await;
        let refused: Vec<Asked> = answers.iter().filter(|asked| asked.status == 401).cloned().collect();
        assert_one_answer(&refused);
        answers
    }

    async fn end(self) {
        end(self.forms).await;
        self.t.stop().await;
    }
}

/// The same token under another signature.
fn with_signature(token: &str, signature: &[u8]) -> String {
    format!("{}.{}", token.rsplit_once('.').unwrap().0, B64.encode(signature))
}

fn signature_of(token: &str) -> Vec<u8> {
    B64.decode(token.rsplit_once('.').unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t02_t03_t16_t18_t19_signatures_in_every_form() {
    let mut f = Forged::start().await;
    let good = claims(X);
    let mut lines = Vec::new();
    for signer in [&f.rs, &f.es, &f.ed] {
        lines.push((Ask::bearer(ANY, &signer.token(&good)), 200));
    }
    lines.push((Ask::bearer(ANY, &f.y.token(&claims(Y))), 200));
    let mut bad = Vec::new();
    for signer in [&f.rs, &f.es, &f.ed] {
        bad.extend(hmac_with_public_key(signer, &good));
    }
    bad.extend(other_algorithms(&f, &good));
    // T16: both issuers publish a key of this name.
    bad.push(f.y.token(&claims(X)));
    bad.push(f.es.token(&claims(Y)));
    bad.push(f.rs.token(&claims(Y)));
    bad.extend(bent_ecdsa(&f.es.token(&good)));
    bad.extend(bent_rsa(&f.rs, &good));
    lines.extend(bad.iter().map(|token| (Ask::bearer(ANY, token), 401)));
    f.ask(lines).await;
    f.end().await;
}

/// T02: the public key, in all the texts in which an attacker finds it, as the secret.
fn hmac_with_public_key(signer: &Signer, claims: &Value) -> Vec<String> {
    use aws_lc_rs::hmac;
    let mut tokens = Vec::new();
    for secret in public_key_texts(signer) {
        for (name, algorithm) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
        {
            let header = changed(signer.header(), &json!({ "alg": name }));
            let input = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
            let tag = hmac::sign(&hmac::Key::new(algorithm, &secret), input.as_bytes());
            tokens.push(format!("{input}.{}", B64.encode(tag.as_ref())));
        }
    }
    tokens
}

fn public_key_texts(signer: &Signer) -> Vec<Vec<u8>> {
    use aws_lc_rs::{
        encoding::{AsDer as _, PublicKeyX509Der},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
    };
    let pkcs8 = signer.key.to_pkcs8().unwrap();
    // `raw` is PKCS #1 for RSA, the point for EC, the 32 bytes for Ed25519.
    let (spki, raw): (PublicKeyX509Der<'_>, Vec<u8>) = match signer.key.algorithm() {
        Algorithm::RS256 => {
            let pair = RsaKeyPair::from_pkcs8(&pkcs8).unwrap();
            (pair.public_key().as_der().unwrap(), pair.public_key().as_ref().to_vec())
        }
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap();
            (pair.public_key().as_der().unwrap(), pair.public_key().as_ref().to_vec())
        }
        _ => {
            let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
            (pair.public_key().as_der().unwrap(), pair.public_key().as_ref().to_vec())
        }
    };
    let spki_pem = pem("PUBLIC KEY", spki.as_ref());
    let pkcs1_pem = pem("RSA PUBLIC KEY", &raw);
    let texts = [format!("{spki_pem}\n"), spki_pem, format!("{pkcs1_pem}\n"), pkcs1_pem, signer.public().to_string()];
    texts.into_iter().map(String::into_bytes).chain([spki.as_ref().to_vec(), raw]).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", lines.join("\n"))
}

/// T03
fn other_algorithms(f: &Forged, claims: &Value) -> Vec<String> {
    let payload = claims.to_string();
    let by = |signer: &Signer, changes: Value| {
        signer.forge(changed(signer.header(), &changes).to_string().as_bytes(), payload.as_bytes())
    };
    let pss = |algorithm| {
        Signer::of(trigate_core::jose::SigningKey::from_pkcs8(algorithm, "rs", &f.rs.key.to_pkcs8().unwrap()).unwrap())
    };
    vec![
        by(&f.rs, json!({ "kid": "k1" })),
        by(&f.es, json!({ "kid": "rs" })),
        by(&f.ed, json!({ "kid": "k1" })),
        by(&f.es, json!({ "alg": "RS256" })),
        by(&f.es, json!({ "kid": "rs", "alg": "RS256" })),
        by(&f.es, json!({ "alg": "ES384" })),
        // PSS under RS256, and honestly named, though the key is for RS256.
        by(&pss(Algorithm::PS256), json!({ "alg": "RS256" })),
        by(&pss(Algorithm::PS256), json!({})),
        by(&f.rs, json!({ "alg": "PS256" })),
    ]
}

/// T18
fn bent_ecdsa(token: &str) -> Vec<String> {
    let n = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let good = signature_of(token);
    let (r, s) = good.split_at(32);
    let (zero, above) = (vec![0; 32], vec![0xff; 32]);
    let mut bent = Vec::new();
    for bad in [&zero, &n, &above] {
        bent.extend([[bad, s].concat(), [r, bad].concat(), [bad.as_slice(), bad].concat()]);
    }
    let integer = |value: &[u8]| [&[2, 33, 0], value].concat();
    let body = [integer(r), integer(s)].concat();
    bent.push([&[0x30, 70], body.as_slice()].concat());
    bent.push(good[..63].to_vec());
    bent.push([&[0], r, &[0], s].concat());
    bent.iter().map(|signature| with_signature(token, signature)).collect()
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// T19
fn bent_rsa(signer: &Signer, claims: &Value) -> Vec<String> {
    let token = signer.token(claims);
    let good = signature_of(&token);
    let n = B64.decode(signer.public()["n"].as_str().unwrap()).unwrap();
    let bent = [
        add(&good, &n),
        [&good[..], &[0]].concat(),
        [&[0], &good[..]].concat(),
        vec![0; good.len()],
        n.clone(),
        sha1_inside(signer, &token),
    ];
    // The sum is as long as `n` for some messages alone.
    let fits = (0..64).find_map(|count| {
        let token = signer.token(&changed(claims.clone(), &json!({ "count": count })));
        let sum = add(&signature_of(&token), &n);
        (sum.len() == n.len()).then(|| with_signature(&token, &sum))
    });
    bent.iter().map(|signature| with_signature(&token, signature)).chain([fits.unwrap()]).collect()
}

/// Big-endian sum.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum = Vec::new();
    for (x, y) in a.iter().rev().zip(b.iter().rev()) {
        let digit = u16::from(*x) + u16::from(*y) + carry;
        sum.push((digit & 0xff) as u8);
        carry = digit >> 8;
    }
    sum.extend((carry > 0).then_some(1));
    sum.reverse();
    sum
}

/// Signed by the right key over the right text, with the wrong hash: OpenSSL does it.
fn sha1_inside(signer: &Signer, token: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (key, input) = (folder.path().join("key.der"), folder.path().join("input"));
    std::fs::write(&key, signer.key.to_pkcs8().unwrap()).unwrap();
    std::fs::write(&input, token.rsplit_once('.').unwrap().0).unwrap();
    let sign = |hash: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", hash, "-keyform", "DER", "-sign"]).arg(&key).arg(&input);
        openssl.output().unwrap().stdout
    };
    assert_eq!(sign("-sha256"), signature_of(token), "with the right hash it is the signature");
    sign("-sha1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t11_t12_t13_t14_t15_t17_claims_in_every_form() {
    let mut f = Forged::start().await;
    let now = crate::any_issuer::now();
    let token = |changes: Value| f.rs.token(&changed(claims(X), &changes));
    // The text of `exp` as it stands, where no JSON number of ours would be written so.
    let exp = |text: &str| {
        let payload = changed(claims(X), &json!({ "exp": "EXP" })).to_string().replace("\"EXP\"", text);
        f.rs.forge(f.rs.header().to_string().as_bytes(), payload.as_bytes())
    };
    let ahead = |s: i64| json!(now + s);
    let (past, behind) = (json!(now - 301), (1_i64 << 53) + 1);
    let mut lines: Vec<(Ask, u16)> =
        [json!({}), json!({ "nbf": ahead(8) }), json!({ "iat": ahead(8) }), json!({ "aud": ["other", AUDIENCE] })]
            .into_iter()
            .map(|changes| (Ask::bearer(ANY, &token(changes)), 200))
            .collect();
    let claim = |name: &str, values: &[Value]| -> Vec<String> {
        values.iter().map(|value| token(json!({ name: value }))).collect()
    };
    let bad = [
        claim("exp", &[json!(null), json!("9999999999"), json!(true), json!([now + 600]), json!(-1), json!(0), past]),
        claim("exp", &[json!(behind), json!(i64::MAX as u64 + 1), json!(u64::MAX), json!(1e300), ahead(86_401)]),
        vec![exp("null"), exp(&format!("{}", (1_i128 << 64) + i128::from(now))), exp("1e400")],
        claim("nbf", &[ahead(61), ahead(3_600), json!("1"), json!(true)]),
        claim("iat", &[ahead(61), ahead(3_600), json!("1"), json!(true)]),
        claim("aud", &[json!(null), json!("http://other.test"), json!([]), json!("http://api.tes"), json!("*")]),
        claim("aud", &[json!("http://api.test/"), json!("HTTP://API.TEST"), json!([AUDIENCE, 5]), json!([[AUDIENCE]])]),
        claim("iss", &[json!("https://x.test/"), json!("HTTPS://X.TEST"), json!("https://x.test.evil.test")]),
        claim("iss", &[json!("http://x.test"), json!([X]), json!(null), json!(5)]),
    ];
    lines.extend(bad.concat().iter().map(|token| (Ask::bearer(ANY, token), 401)));
    // T17: the record names nobody.
    let subjects = [json!(null), json!(""), json!(5), json!([f.t.alice.id]), json!("a\nb"), json!("a".repeat(600))];
    let nobody = claim("sub", &subjects);
    f.ask(lines).await;
    let refused = f.ask(nobody.iter().map(|token| (Ask::bearer(ANY, token), 401)).collect()).await;
    let records = decisions(&f.t, &f.forms);
    assert!(refused.iter().all(|asked| records[asked.request_id().unwrap()]["user"].is_null()));
    f.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t01_t04_t06_t07_t08_t09_t10_t20_t21_t22_t23_t24_t25_spellings_in_every_form() {
    let mut f = Forged::start().await;
    let (payload, good) = (claims(X).to_string(), f.es.token(&claims(X)));
    let head = |changes: Value| f.es.forge(changed(f.es.header(), &changes).to_string().as_bytes(), payload.as_bytes());
    let header = |text: &str| f.es.forge(text.as_bytes(), payload.as_bytes());
    let body = |bytes: &[u8]| f.es.forge(f.es.header().to_string().as_bytes(), bytes);
    let mut tokens = vec![good.clone()];
    // T01, with a real signature and without one.
    for alg in ["none", "None", "NONE", "nOnE", "none ", "", "es256"].map(|alg| json!(alg)).into_iter().chain([
        json!(["none"]),
        json!(["ES256"]),
        json!({}),
        json!(null),
    ]) {
        let real = head(json!({ "alg": alg }));
        tokens.push(format!("{}.", real.rsplit_once('.').unwrap().0));
        tokens.push(real);
    }
    tokens.push(header(r#"{"alg":null,"kid":"k1","typ":"at+jwt"}"#));
    // T04
    let (long, huge) = ("k".repeat(257), "k".repeat(20_000));
    for kid in ["../../../../dev/null", "' OR '1'='1", "k1\0", "k1\r\nlevel=info", "K1", "k1 ", "", &long, &huge] {
        tokens.push(head(json!({ "kid": kid })));
    }
    tokens.extend([json!(5), json!(["k1"])].map(|kid| head(json!({ "kid": kid }))));
    // T06: the attacker's own key, carried or named.
    let attacker = Signer::new(Algorithm::ES256, "k1");
    for (name, value) in [
        ("jwk", attacker.public()),
        ("jku", json!("http://127.0.0.1:1/jwks")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = changed(attacker.header(), &json!({ name: value }));
        tokens.push(attacker.forge(header.to_string().as_bytes(), payload.as_bytes()));
    }
    // T07
    for typ in ["JWT", "logout+jwt", "dpop+jwt", "secevent+jwt", "", "at+jwt "].map(|typ| json!(typ)) {
        tokens.push(head(json!({ "typ": typ })));
    }
    tokens.extend([json!(null), json!(5), json!(["at+jwt"])].map(|typ| head(json!({ "typ": typ }))));
    // T08, T09
    for crit in [r#"["x"]"#, "[]", r#""exp""#, r#"["exp","exp"]"#, r#"["exp"]"#, r#"["absent"]"#, "null"] {
        tokens.push(header(&format!(r#"{{"alg":"ES256","kid":"k1","typ":"at+jwt","exp":1,"x":1,"crit":{crit}}}"#)));
    }
    tokens.push(header(r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":false,"crit":["b64"]}"#));
    // T10
    tokens.push(header(r#"{"alg":"ES256","alg":"ES256","kid":"k1","typ":"at+jwt"}"#));
    for (name, value) in [("sub", json!("bob")), ("aud", json!(AUDIENCE)), ("exp", json!(9_999_999_999_u64))] {
        tokens.push(body(format!("{},\"{name}\":{value}}}", payload.strip_suffix('}').unwrap()).as_bytes()));
    }
    tokens.extend(other_texts(&good));
    // T22, T23: the payload is a good token; nobody opens it.
    for header in [
        json!({ "alg": "RSA-OAEP", "enc": "A256GCM", "cty": "JWT", "kid": "rs" }),
        json!({ "alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_000_000_000, "p2s": "c2FsdA" }),
        json!({ "alg": "dir", "enc": "A256GCM", "zip": "DEF" }),
    ] {
        tokens.push(format!("{}.a2V5.aXY.{}.dGFn", B64.encode(header.to_string()), B64.encode(&good)));
    }
    // T24, as far as a head carries it.
    let members = (0..600).map(|n| format!(",\"c{n}\":1")).collect::<String>();
    let deep = format!("{}1{}", "{\"a\":".repeat(1_500), "}".repeat(1_500));
    for more in [members, format!(",\"a\":{deep}"), format!(",\"n\":{}", "9".repeat(10_000)), ",\"n\":1e400".into()] {
        tokens.push(body(format!("{}{more}}}", payload.strip_suffix('}').unwrap()).as_bytes()));
    }
    tokens.push(head(json!({ "x": "x".repeat(5_000) })));
    tokens.extend(["a".repeat(20_000), ".".repeat(10_000), "a.".repeat(10_000)]);
    // T25
    let text = payload.as_bytes();
    let cut = payload.strip_suffix('}').unwrap().as_bytes();
    for bytes in [
        &b""[..],
        b"[]",
        b"null",
        &[b"\xef\xbb\xbf", text].concat(),
        &[cut, b",\"a\":\"\xff\"}"].concat(),
        &[cut, b",\"a\":\"\xc0\xaf\"}"].concat(),
        &[cut, b",\"a\":\"\x01\"}"].concat(),
        &[text, b"x"].concat(),
        &[text, b"{}"].concat(),
        &[text, b"\0"].concat(),
    ] {
        tokens.push(body(bytes));
    }
    f.only_the_first_passes(tokens).await;
    larger_than_any_head(&mut f).await;
    f.end().await;
}

/// T20 and T21: other alphabets, other numbers of parts, another serialization.
fn other_texts(good: &str) -> Vec<String> {
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut texts = Vec::new();
    for bad in ["=", "==", "+", "/", "%3D", "~"] {
        texts.push(format!("{head}{bad}.{payload}.{signature}"));
        texts.push(format!("{head}.{payload}{bad}.{signature}"));
        texts.push(format!("{head}.{payload}.{signature}{bad}"));
        texts.push(format!("{head}.{payload}.{bad}{signature}"));
    }
    let json = json!({ "protected": head, "payload": payload, "signature": signature }).to_string();
    texts.extend([
        format!("{head}.{payload}"),
        format!("{head}.{payload}.{signature}."),
        format!(".{head}.{payload}.{signature}"),
        format!("{head}.{payload}.{signature}.{signature}.{signature}"),
        json.clone(),
        format!("{json}.{good}"),
        format!("{head}.{payload} .{signature}"),
    ]);
    texts
}

/// T24: 2 MB of token, which some forms do not even read to its end.
async fn larger_than_any_head(f: &mut Forged) {
    let token = "a".repeat(2 << 20);
    for form in &mut f.forms {
        let asked = form.ask_or_closed(&Ask::bearer(ANY, &token)).await;
        assert!(asked.as_ref().is_none_or(|asked| matches!(asked.status, 401 | 431)), "{}: {asked:?}", form.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t26_other_secrets_of_ours_in_every_form() {
    use trigate::operator::{
        By,
        client::{ClientPolicy, NewClient},
    };
    let mut f = Forged::start().await;
    let (issuer, gate) = (f.t.running.urls.issuer.clone(), f.t.running.urls.gate.clone());
    let client = f.t.acme.public_client.clone();
    let scopes = "openid orders:read offline_access";
    let answer = crate::support::code_flow(&f.t.issuer(), &client, f.t.alice.email, scopes, &gate).await.json();
    let exchange = crate::support::authorize(&f.t.issuer(), &client, f.t.alice.email, scopes, &gate).await;
    let code =
        url::form_urlencoded::parse(exchange.as_bytes()).find(|(name, _)| name == "code").unwrap().1.into_owned();
    // A client that proves itself by a key: its assertion is good at the token endpoint.
    let signer = Signer::new(Algorithm::ES256, "client-1");
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::PrivateKeyJwt),
        grants: Some(vec![GrantType::ClientCredentials]),
        jwks: Some(json!({ "keys": [signer.public()] })),
        resources: Some(vec![gate.clone()]),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: f.t.acme.id.clone(), id: Some(ClientId::parse("c2").unwrap()), policy };
    f.t.running.operator.create_client(&By::system(), new).await.unwrap();
    let now = crate::any_issuer::now();
    let assertion = |aud: &str| {
        signer
            .token(&json!({ "iss": "c2", "sub": "c2", "aud": aud, "iat": now, "exp": now + 60, "jti": "a1", "pos": 1 }))
    };
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let tokens = [
        text("access_token"),
        text("id_token"),
        text("refresh_token"),
        code,
        assertion(&issuer),
        assertion(&gate),
        format!("urn:ietf:params:oauth:request_uri:{}", "x".repeat(32)),
        f.t.acme.key.clone(),
        f.t.acme.service_secret.clone(),
    ];
    f.only_the_first_passes(tokens).await;
    f.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t29_keys_that_are_none_verify_nothing_in_any_form() {
    let keys = tempfile::tempdir().unwrap();
    let (good, other) = (Signer::new(Algorithm::ES256, "good"), Signer::new(Algorithm::RS256, "other"));
    let encryption = Signer::new(Algorithm::ES256, "encryption");
    let rsa = |kid: &str, changes: Value| changed(changed(other.public(), &json!({ "kid": kid })), &changes);
    let n = B64.decode(other.public()["n"].as_str().unwrap()).unwrap();
    let set = [
        rsa("short", json!({ "n": B64.encode(&n[..128]) })),
        rsa("one", json!({ "e": "AQ" })),
        rsa("even", json!({ "e": "AQAA" })),
        json!({ "kty": "EC", "crv": "P-256", "kid": "off", "alg": "ES256", "use": "sig", "x": B64.encode([1; 32]), "y": B64.encode([1; 32]) }),
        json!({ "kty": "oct", "kid": "oct", "k": B64.encode("secret") }),
        changed(encryption.public(), &json!({ "use": "enc" })),
        good.public(),
        other.public(),
    ];
    let more = format!("{ASKED}{ROUTE}{}", forge::trusted(keys.path(), WEAK, &set));
    let t = TestTrigate::start_with(&more).await;
    let mut forms = Form::all(&t).await;
    let claims = claims(WEAK);
    let named = |kid: &str| {
        other.forge(
            changed(other.header(), &json!({ "kid": kid })).to_string().as_bytes(),
            claims.to_string().as_bytes(),
        )
    };
    let mut lines: Vec<(Ask, u16)> =
        [good.token(&claims), other.token(&claims)].iter().map(|token| (Ask::bearer(ANY, token), 200)).collect();
    let bad = [
        named("short"),
        padded_hash(&named("one")),
        named("even"),
        named("off"),
        hmac(&claims, "oct", b"secret"),
        encryption.token(&claims),
    ];
    lines.extend(bad.iter().map(|token| (Ask::bearer(ANY, token), 401)));
    ask_everywhere(&t, &mut forms, &lines).await;
    end(forms).await;
    t.stop().await;
}

/// Under `e` = 1 the padded hash is its own signature: anybody could write it.
fn padded_hash(token: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.rsplit_once('.').unwrap().0.as_bytes());
    let info = hex("3031300d060960864801650304020105000420");
    let padding = vec![0xff; 256 - 3 - info.len() - 32];
    with_signature(token, &[&[0, 1], padding.as_slice(), &[0], &info, hash.as_ref()].concat())
}

fn hmac(claims: &Value, kid: &str, secret: &[u8]) -> String {
    use aws_lc_rs::hmac;
    let header = json!({ "alg": "HS256", "kid": kid, "typ": "at+jwt" });
    let input = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", B64.encode(tag.as_ref()))
}
