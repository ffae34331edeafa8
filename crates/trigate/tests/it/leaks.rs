//! Leaked keys, reported as secret scanners do: only what a scanner signed is taken, and then the key is dead everywhere.

use crate::support::{
    TestTrigate,
    http::{Reply, Wire},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::SigningKey as _;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use trigate::operator::{
    By,
    key::{ImportKeys, ImportedKey, KeyPolicy},
};
use trigate_core::{
    jose::{Compact, VerifyingKey},
    port::ActFilter,
};

/// A scanner with its key.
struct Scanner {
    pair: rcgen::KeyPair,
    id: &'static str,
}

impl Scanner {
    fn new(id: &'static str) -> Self {
        Self { pair: rcgen::KeyPair::generate().unwrap(), id }
    }

    fn document(&self) -> String {
        json!({ "public_keys": [{ "key_identifier": self.id, "key": self.pair.public_key_pem(), "is_current": true }] })
            .to_string()
    }

    fn sign(&self, body: &[u8]) -> String {
        BASE64_STANDARD.encode(self.pair.sign(body).unwrap())
    }

    async fn report(&self, issuer: &Wire, findings: &Value) -> Reply {
        let body = findings.to_string();
        send(issuer, body.as_bytes(), self.id, &self.sign(body.as_bytes())).await
    }
}

async fn send(issuer: &Wire, body: &[u8], id: &str, signature: &str) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("github-public-key-identifier", id),
        ("github-public-key-signature", signature),
    ];
    issuer.send("POST", "/leaked-keys/github", &headers, body).await
}

fn finding(token: &str) -> Value {
    json!({ "token": token, "type": "trigate_api_key", "url": "https://forge.example/a/b?x#L1", "source": "content" })
}

/// Answers like a forge's key list or a webhook, and keeps what was posted.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    /// Statuses of the next answers; then 202.
    failures: Arc<Mutex<Vec<u16>>>,
}

impl Server {
    async fn start(document: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let (seen, failures) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<u16>>>::default());
        let server = Self { url, seen: seen.clone(), failures: failures.clone() };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = Vec::new();
                let mut part = [0; 4096];
                let whole = |text: &[u8]| {
                    let text = String::from_utf8_lossy(text).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head
                        .lines()
                        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                    (body.len() >= length.map_or(0, |length| length.parse().unwrap()))
                        .then(|| (head.to_owned(), body.to_owned()))
                };
                let request = loop {
                    let count = stream.read(&mut part).await.unwrap_or(0);
                    text.extend_from_slice(&part[..count]);
                    if count == 0 || whole(&text).is_some() {
                        break whole(&text);
                    }
                };
                let Some((head, body)) = request else { continue };
                let status = if head.starts_with("POST") { failures.lock().unwrap().pop().unwrap_or(202) } else { 200 };
                seen.lock().unwrap().push((head, body));
                let length = document.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{document}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        server
    }

    async fn posts(&self, count: usize) -> Vec<(String, String)> {
        for _ in 0..200 {
            let posts: Vec<_> =
                self.seen.lock().unwrap().iter().filter(|(head, _)| head.starts_with("POST")).cloned().collect();
            if posts.len() >= count {
                return posts;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("fewer than {count} posts");
    }
}

async fn passes(t: &TestTrigate, key: &str) -> u16 {
    t.get("/api/weather", &[("x-api-key", key)]).await.status
}

fn label(reply: &Reply, at: usize) -> String {
    reply.json()[at]["label"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reported_key_is_dead_when_the_answer_is_out_and_its_owner_is_told_once() {
    let scanner = Scanner::new("one");
    let (list, hook) = (Server::start(scanner.document()).await, Server::start(String::new()).await);
    hook.failures.lock().unwrap().push(500);
    let more = format!("[[leak_reports]]\nname = \"github\"\nkeys = \"{}\"\nwebhook = \"{}\"\n", list.url, hook.url);
    let t = TestTrigate::start_with(&more).await;
    let stranger = trigate_core::credential::ApiKey::mint(
        &trigate::system::SystemRng::default(),
        trigate_core::credential::Environment::Live,
    );
    assert_eq!(passes(&t, &t.acme.key).await, 200);
    let findings = json!([finding(&t.acme.key), finding(stranger.reveal()), finding("nonsense"), finding(&t.acme.key)]);
    let reply = scanner.report(&t.issuer(), &findings).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let labels: Vec<String> = (0..4).map(|at| label(&reply, at)).collect();
    assert_eq!(labels, ["true_positive", "false_positive", "false_positive", "true_positive"]);
    assert_eq!(reply.json()[0]["token_type"], "trigate_api_key");
    let digest = trigate_core::credential::Digest::of(&t.acme.key).hex();
    assert_eq!(reply.json()[0]["token_hash"], digest.as_str());
    assert!(!reply.text().contains(&t.acme.key), "no answer holds a key");
    assert_eq!(passes(&t, &t.acme.key).await, 401);
    assert_eq!(t.decisions(2).await[0].reason.unwrap().code(), "key.revoked");
    assert_eq!(passes(&t, &t.globex.key).await, 200);

    // Replayed, it changes nothing, and nobody is told again.
    let again = scanner.report(&t.issuer(), &findings).await;
    assert_eq!(again.json(), reply.json());
    let filter = ActFilter { target: Some(t.acme.key_id.clone()), limit: 20, ..ActFilter::default() };
    let tenant = t.running.store.tenant(&trigate_core::id::TenantId::default_tenant());
    let acts = trigate_core::port::Acts::find_acts(&*tenant, &filter).await.unwrap();
    let leaks: Vec<_> = acts.iter().filter(|stored| stored.act.verb == "key.leaked").collect();
    assert_eq!(leaks.len(), 1);
    let facts = &leaks[0].act.facts;
    let of = |name: &str| facts.get(name).map(String::as_str);
    assert_eq!((of("scanner"), of("done"), of("source")), (Some("github"), Some("revoked"), Some("content")));
    assert_eq!(leaks[0].act.application.as_ref().unwrap().as_str(), t.acme.id);

    // The webhook failed once: the very same event came again, signed by a key of our key set.
    let posts = hook.posts(2).await;
    assert_eq!(posts.len(), 2);
    let (head, token) = &posts[1];
    assert_eq!(*token, posts[0].1);
    assert!(head.to_lowercase().contains("content-type: application/secevent+jwt"), "{head}");
    let keys = t.issuer().send("GET", "/.well-known/jwks.json", &[], b"").await.json();
    let compact = Compact::parse(token, 16_384).unwrap();
    let jwk = keys["keys"].as_array().unwrap().iter().find(|jwk| jwk["kid"].as_str() == compact.kid()).unwrap();
    let payload = compact.verify(&VerifyingKey::from_jwk(jwk).unwrap()).unwrap();
    assert!(compact.typ_is("secevent+jwt"));
    let claims = Value::Object(payload.object().clone());
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(t.running.urls.issuer), &json!(hook.url)));
    let event = &claims["events"]["urn:trigate:event:api-key-leaked"];
    assert_eq!((&event["key"], &event["done"]), (&json!(t.acme.key_id), &json!("revoked")));
    assert_eq!(event["application_name"], "Acme Weather App");
    assert!(!claims.to_string().contains(&t.acme.key));
    assert_eq!(list.seen.lock().unwrap().len(), 1, "the keys were fetched once");
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_of_what_no_scanner_signed() {
    let (scanner, other) = (Scanner::new("one"), Scanner::new("one"));
    let more = "[[leak_reports]]\nname = \"github\"\nkeys = \"scanner.json\"\n";
    let t = TestTrigate::start_with_files(more, &[("scanner.json", &scanner.document())]).await;
    let body = json!([finding(&t.acme.key)]).to_string();
    let (body, issuer) = (body.as_bytes(), t.issuer());
    let good = scanner.sign(body);
    let spaced = [body, b" "].concat();
    // Another spelling of the same bytes.
    let respelt = if good.ends_with('=') { good.trim_end_matches('=').to_owned() } else { format!("{good}=") };
    let forged = other.sign(body);
    let mut refused = Vec::new();
    for (body, id, signature) in [
        (body, "one", forged.as_str()),
        (spaced.as_slice(), "one", good.as_str()),
        (body, "two", good.as_str()),
        (body, "", good.as_str()),
        (body, "one", ""),
        (body, "one", "AAAA"),
        (body, "one", respelt.as_str()),
        (b"not json".as_slice(), "one", good.as_str()),
    ] {
        let reply = send(&issuer, body, id, signature).await;
        assert_eq!(reply.status, 401, "{}", reply.text());
        refused.push(reply.text().to_owned());
    }
    let headers = [
        ("github-public-key-identifier", "one"),
        ("github-public-key-identifier", "one"),
        ("github-public-key-signature", good.as_str()),
    ];
    assert_eq!(issuer.send("POST", "/leaked-keys/github", &headers, body).await.status, 401);
    assert_eq!(issuer.send("POST", "/leaked-keys/github", &[], body).await.status, 401);
    assert_eq!(issuer.send("POST", "/leaked-keys/gitlab", &headers, body).await.status, 404);
    refused.dedup();
    assert_eq!(refused.len(), 1, "no answer tells what was wrong: {refused:?}");
    assert_eq!(passes(&t, &t.acme.key).await, 200, "nobody ended it");
    // Signed, but no report; nothing in it is taken.
    for body in ["{}", "[{}]", "[1]", "", "[{\"token\":\"a\",\"token\":\"b\"}]"] {
        let reply = send(&issuer, body.as_bytes(), "one", &scanner.sign(body.as_bytes())).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
    }
    let large = format!("[{}]", " ".repeat(2 << 20));
    assert_eq!(send(&issuer, large.as_bytes(), "one", "AAAA").await.status, 413);
    // After a good report an address has its tries again; without, it waits.
    assert_eq!(send(&issuer, body, "one", &good).await.status, 200);
    assert_eq!(passes(&t, &t.acme.key).await, 401);
    let mut statuses = Vec::new();
    for _ in 0..32 {
        statuses.push(send(&issuer, body, "one", "AAAA").await.status);
    }
    assert_eq!((statuses[29], statuses[30]), (401, 429));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_policy_a_reported_key_is_only_flagged_and_imported_ones_are_found_too() {
    let scanner = Scanner::new("one");
    let more = "[[leak_reports]]\nname = \"github\"\nkeys = \"scanner.json\"\non_leak = \"flag\"\n";
    let t = TestTrigate::start_with_files(more, &[("scanner.json", &scanner.document())]).await;
    let imported = "an-imported-key-of-old-times";
    let import = ImportKeys {
        app: t.acme.id.clone(),
        policy: KeyPolicy::default(),
        keys: vec![ImportedKey { sha256: None, plain: Some(imported.to_owned().into()), label: None }],
    };
    let made = t.running.operator.import_keys(&By::system(), import).await.unwrap().imported.remove(0);
    for _ in 0..2 {
        let reply = scanner.report(&t.issuer(), &json!([finding(imported)])).await;
        assert_eq!(label(&reply, 0), "true_positive");
    }
    assert_eq!(passes(&t, imported).await, 200, "it works until its owner replaces it");
    let keys = t.running.operator.list_keys(Some(&t.acme.id)).await.unwrap();
    let key = keys.iter().find(|key| key.id == made.id).unwrap();
    assert!(key.exposed_at.is_some() && key.revoked_at.is_none());
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_keys_a_scanner_is_asked_to_come_again() {
    let scanner = Scanner::new("one");
    let more = "[[leak_reports]]\nname = \"github\"\nkeys = \"http://127.0.0.1:1/keys\"\n";
    let t = TestTrigate::start_with(more).await;
    let reply = scanner.report(&t.issuer(), &json!([finding(&t.acme.key)])).await;
    assert_eq!((reply.status, passes(&t, &t.acme.key).await), (503, 200));
    t.stop().await;
}

/// The page for those who scan: what it says is what keys are.
fn page() -> String {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/leaked-keys.md");
    std::fs::read_to_string(page).unwrap()
}

fn block<'p>(page: &'p str, kind: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("\n```").unwrap().0
}

fn minted(count: u64) -> impl Iterator<Item = String> {
    use trigate_core::credential::{ApiKey, Environment};
    (0..count).map(|n| {
        let rng = trigate_core::port::testing::SeededRng::new(n);
        let environment = if n % 2 == 0 { Environment::Live } else { Environment::Test };
        ApiKey::mint(&rng, environment).reveal().to_owned()
    })
}

#[test]
fn the_scanners_rule_finds_every_key_and_no_near_miss() {
    let page = page();
    let rule = block(&page, "text");
    let toml: toml::Value = block(&page, "toml").parse::<toml::Table>().unwrap().into();
    assert_eq!(toml["rules"][0]["regex"].as_str().unwrap(), rule);
    assert!(block(&page, "python").contains(&format!("r\"{rule}\"")));
    let keywords: Vec<_> =
        toml["rules"][0]["keywords"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let rule = regex::Regex::new(rule).unwrap();
    for key in minted(2_000) {
        for text in
            [key.clone(), format!("KEY={key}\n"), format!("\"{key}\""), format!("?k={key}&x=1"), format!("({key}).")]
        {
            assert_eq!(rule.find(&text).map(|found| found.as_str()), Some(key.as_str()), "{text}");
        }
        assert!(keywords.iter().any(|word| key.contains(word)));
        let (head, tail) = key.split_at(9);
        for near in [
            key[..key.len() - 1].to_owned(),
            format!("{key}0"),
            format!("x{key}"),
            format!("{key}_"),
            key.to_uppercase(),
            key.replace("tgk_", "tgo_"),
            format!("tgk_prod_{tail}"),
            format!("{head}z{}", &tail[1..]),
            format!("{head}{}-{}", &tail[..30], &tail[31..]),
        ] {
            assert!(!rule.is_match(&near), "{near}");
        }
    }
}

#[test]
fn the_pages_program_drops_what_only_looks_like_a_key() {
    let Ok(python) = std::env::var("TRIGATE_TEST_PYTHON") else {
        assert!(std::env::var("TRIGATE_TEST_REQUIRE").is_err(), "TRIGATE_TEST_PYTHON names a Python");
        return;
    };
    use std::io::Write as _;
    let keys: Vec<String> = minted(200).collect();
    let bent = keys.iter().map(|key| {
        let other = if key.ends_with('0') { "1" } else { "0" };
        format!("{}{other}", &key[..key.len() - 1])
    });
    let text = keys.iter().cloned().chain(bent).collect::<Vec<_>>().join("\n");
    let mut child = std::process::Command::new(python)
        .args(["-c", block(&page(), "python")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    assert_eq!(String::from_utf8(out.stdout).unwrap().lines().collect::<Vec<_>>(), keys);
}
