//! Tokens of other issuers, through the real gate: as each provider documents them, and as their issuer says of them.

use crate::{
    foreign::{node_folder, part},
    support::{FORM, TestTrigate, form, http::Wire},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use trigate_core::jose::{Algorithm, SigningKey};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn write_jwks(path: &Path, keys: &[&SigningKey]) {
    let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk()).collect();
    std::fs::write(path, json!({ "keys": keys }).to_string()).unwrap();
}

/// One provider with its preset, its keys in a file.
fn stanza(preset: &str, url: &str, audience: &str, jwks: &Path) -> String {
    format!(
        "[[trusted_issuer]]\nurl = \"{url}\"\npreset = \"{preset}\"\naudiences = [\"{audience}\"]\njwks = \"{}\"\n\
         applications = {{ \"*\" = \"app_machines\" }}\n",
        jwks.display()
    )
}

/// `null` takes a claim away.
fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

async fn whoami(t: &TestTrigate, token: &str) -> Result<Value, u16> {
    let bearer = format!("Bearer {token}");
    let reply = t.get("/.trigate/whoami", &[("authorization", &bearer)]).await;
    if reply.status == 200 { Ok(reply.json()) } else { Err(reply.status) }
}

/// One provider: header, claims of a token for a person, what is read from it; then what must not pass.
struct Documented {
    preset: &'static str,
    url: String,
    typ: Option<&'static str>,
    person: Value,
    read: Value,
    service: Option<Value>,
    refused: Vec<Value>,
}

fn documented() -> Vec<Documented> {
    let times = json!({ "iat": now(), "exp": now() + 600 });
    let of = |claims: Value| with(claims, &times);
    vec![
        Documented {
            preset: "keycloak",
            url: "https://sso.test/realms/acme".into(),
            typ: Some("JWT"),
            person: of(
                json!({ "iss": "https://sso.test/realms/acme", "aud": ["api", "account"], "sub": "8f5e-1", "typ": "Bearer",
                "azp": "web", "sid": "4711", "jti": "onrtac:1", "scope": "openid orders:read", "acr": "1",
                "realm_access": { "roles": ["customer", "offline_access"] }, "preferred_username": "alice" }),
            ),
            read: json!({ "kind": "user", "user": "8f5e-1", "client_id": "web", "session": "4711",
                "scopes": ["openid", "orders:read"], "roles": ["customer", "offline_access"] }),
            service: Some(json!({ "client_id": "web", "preferred_username": "service-account-web", "sid": null })),
            refused: vec![json!({ "typ": "ID" }), json!({ "typ": "Refresh" }), json!({ "typ": null })],
        },
        Documented {
            preset: "auth0",
            url: "https://acme.eu.auth0.test/".into(),
            typ: Some("JWT"),
            person: of(json!({ "iss": "https://acme.eu.auth0.test/", "sub": "auth0|123456",
                "aud": ["api", "https://acme.eu.auth0.test/userinfo"], "azp": "my_client", "scope": "openid read:patients",
                "permissions": ["read:patients"] })),
            read: json!({ "kind": "user", "user": "auth0|123456", "client_id": "my_client",
                "scopes": ["openid", "read:patients"], "roles": ["read:patients"] }),
            service: Some(json!({ "sub": "my_client@clients", "gty": "client-credentials" })),
            refused: vec![json!({ "nonce": "n" }), json!({ "at_hash": "x" })],
        },
        Documented {
            preset: "entra",
            url: format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
            typ: Some("JWT"),
            person: of(json!({ "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "aud": "api",
                "sub": "HKZpfaHyWadeOouYlitjrI", "oid": "90c1-1", "tid": TENANT, "azp": "client-1", "azpacr": "0",
                "scp": "Orders.Read Orders.Write", "roles": ["Task.Admin"], "ver": "2.0", "nbf": now(), "uti": "x" })),
            read: json!({ "kind": "user", "user": "HKZpfaHyWadeOouYlitjrI", "client_id": "client-1",
                "scopes": ["Orders.Read", "Orders.Write"], "roles": ["Task.Admin"] }),
            service: Some(json!({ "scp": null, "azpacr": "1", "sub": "90c1-2", "oid": "90c1-2" })),
            refused: vec![
                json!({ "tid": "99999999-2222-3333-4444-555555555555" }),
                json!({ "tid": null }),
                json!({ "nonce": "n" }),
            ],
        },
        Documented {
            preset: "okta",
            url: "https://acme.okta.test/oauth2/default".into(),
            typ: None,
            person: of(json!({ "iss": "https://acme.okta.test/oauth2/default", "ver": 1, "jti": "AT.1", "aud": "api",
                "sub": "alice@acme.test", "cid": "0oa1", "uid": "00u1", "scp": ["openid", "orders:read"], "auth_time": now() })),
            read: json!({ "kind": "user", "user": "alice@acme.test", "client_id": "0oa1",
                "scopes": ["openid", "orders:read"], "roles": [] }),
            service: Some(json!({ "sub": "0oa1", "uid": null })),
            refused: vec![json!({ "at_hash": "x" }), json!({ "amr": ["pwd"] }), json!({ "nonce": "n" })],
        },
        Documented {
            preset: "google",
            url: "https://accounts.google.com".into(),
            typ: Some("JWT"),
            person: of(json!({ "iss": "https://accounts.google.com", "azp": "1.apps.test", "aud": "api",
                "sub": "10769150350006150715113082367", "hd": "acme.test", "email": "alice@acme.test", "email_verified": true })),
            read: json!({ "kind": "user", "user": "10769150350006150715113082367", "client_id": "1.apps.test",
                "scopes": [], "roles": [] }),
            service: None,
            refused: vec![json!({ "aud": "another-api" })],
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presets_read_tokens_as_their_providers_document_them() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    let key = SigningKey::generate(Algorithm::RS256, "foreign-1").unwrap();
    write_jwks(&jwks, &[&key]);
    let documented = documented();
    let more: String = documented.iter().map(|one| stanza(one.preset, &one.url, "api", &jwks)).collect();
    let t = TestTrigate::start_with(&more).await;
    for one in &documented {
        let sign = |claims: &Value| match one.typ {
            Some(typ) => key.sign_jws(typ, claims).unwrap(),
            None => without_typ(&key, claims),
        };
        let read = whoami(&t, &sign(&one.person)).await.unwrap_or_else(|status| panic!("{}: {status}", one.preset));
        for (name, value) in one.read.as_object().unwrap() {
            assert_eq!(&read[name], value, "{} `{name}` in {read}", one.preset);
        }
        if let Some(changes) = &one.service {
            let read = whoami(&t, &sign(&with(one.person.clone(), changes))).await.unwrap();
            assert_eq!((&read["kind"], &read["user"]), (&json!("service"), &Value::Null), "{}", one.preset);
        }
        for changes in &one.refused {
            let judged = whoami(&t, &sign(&with(one.person.clone(), changes))).await;
            assert_eq!(judged, Err(401), "{} with {changes}", one.preset);
        }
        let other = SigningKey::generate(Algorithm::ES256, "foreign-1").unwrap();
        assert_eq!(whoami(&t, &other.sign_jws("JWT", &one.person).unwrap()).await, Err(401), "T16");
    }
    t.stop().await;
}

/// Okta's header has no `typ`: signed by another library.
fn without_typ(key: &SigningKey, claims: &Value) -> String {
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    header.typ = None;
    header.kid = key.public_jwk()["kid"].as_str().map(str::to_owned);
    // The library wants the PKCS #1 key inside: behind 26 bytes of version, algorithm and lengths.
    let pkcs8 = key.to_pkcs8().unwrap();
    jsonwebtoken::encode(&header, claims, &jsonwebtoken::EncodingKey::from_rsa_der(&pkcs8[26..])).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_key_file_is_taken_in_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    let (old, new) =
        (SigningKey::generate(Algorithm::ES256, "k1").unwrap(), SigningKey::generate(Algorithm::ES256, "k2").unwrap());
    write_jwks(&jwks, &[&old]);
    let more = stanza("keycloak", "https://sso.test/realms/acme", "api", &jwks);
    let t = TestTrigate::start_with(&more).await;
    let claims = documented().remove(0).person;
    let (by_old, by_new) = (old.sign_jws("JWT", &claims).unwrap(), new.sign_jws("JWT", &claims).unwrap());
    assert!(whoami(&t, &by_old).await.is_ok());
    assert_eq!(whoami(&t, &by_new).await, Err(401));
    std::fs::write(&jwks, "{\"keys\": 5}").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(whoami(&t, &by_old).await.is_ok(), "the last good set stays");
    write_jwks(&jwks, &[&new]);
    let mut taken = false;
    for _ in 0..100 {
        taken = whoami(&t, &by_new).await.is_ok();
        if taken {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(taken);
    assert_eq!(whoami(&t, &by_old).await, Err(401), "a removed key ends what it signed");
    t.stop().await;
}

/// Ends with its standard input.
struct Provider {
    child: Child,
    issuer: Wire,
    url: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Provider {
    fn start(script: &Path, format: &str) -> Self {
        let mut child = Command::new("node")
            .arg(script)
            .args(["http://api.test", format])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let about: Value = serde_json::from_str(&line).unwrap();
        let url = about["issuer"].as_str().unwrap().to_owned();
        Self { child, issuer: Wire(url.strip_prefix("http://").unwrap().parse().unwrap()), url }
    }

    async fn post(&self, path: &str, more: &[(&str, &str)]) -> crate::support::http::Reply {
        let mut pairs = vec![("client_id", "machine"), ("client_secret", "machine-secret")];
        pairs.extend(more);
        self.issuer.send("POST", path, &[FORM], form(&pairs).as_bytes()).await
    }

    async fn token(&self) -> String {
        let asks = [("grant_type", "client_credentials"), ("scope", "orders:read"), ("resource", "http://api.test")];
        self.post("/token", &asks).await.json()["access_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opaque_tokens_of_a_foreign_issuer_are_introspected() {
    let Some(modules) = part("TRIGATE_TEST_NODE_MODULES") else { return };
    let (_folder, script) = node_folder(&modules, "foreign-issuer.mjs");
    let provider = Provider::start(&script, "opaque");
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("introspection.secret");
    std::fs::write(&secret, "machine-secret\n").unwrap();
    for method in ["client_secret_post", "client_secret_basic"] {
        let more = format!(
            "[[trusted_issuer]]\nurl = \"{url}\"\naudiences = [\"http://api.test\"]\n\
             applications = {{ machine = \"app_machines\" }}\n\
             introspection = {{ url = \"{url}/token/introspection\", client_id = \"machine\", secret_file = \"{}\", method = \"{method}\" }}\n\
             [[route]]\nname = \"fresh\"\npath = \"/api/fresh\"\ndemands = \"token\"\nscopes = [\"orders:read\"]\n\
             introspection_cache_s = 0\nupstream = \"sample\"\n\
             [[route]]\nname = \"more\"\npath = \"/api/more\"\ndemands = \"token\"\nscopes = [\"orders:write\"]\nupstream = \"sample\"\n",
            secret.display(),
            url = provider.url,
        );
        let t = TestTrigate::start_with(&more).await;
        let token = provider.token().await;
        let bearer = format!("Bearer {token}");
        let get = async |path: &str| t.get(path, &[("authorization", &bearer)]).await.status;
        assert_eq!(whoami(&t, &token).await.unwrap()["service"], "machine", "{method}");
        assert_eq!((get("/api/fresh").await, get("/api/more").await), (200, 403));
        assert_eq!(whoami(&t, "ucPBs7pvJoDoQBpyMppCNRNR2bniv-zN1n7bvRVjrxv").await, Err(401));
        // Revoked there: refused here, by the route that asks each time at once, by the others within their seconds.
        assert_eq!(provider.post("/token/revocation", &[("token", &token)]).await.status, 200);
        assert_eq!(get("/api/fresh").await, 401);
        assert_eq!(whoami(&t, &token).await, Err(401), "the newer answer holds for all routes");
        t.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_a_real_foreign_issuer_are_discovered_and_its_tokens_revoked_by_hand() {
    let Some(modules) = part("TRIGATE_TEST_NODE_MODULES") else { return };
    let (_folder, script) = node_folder(&modules, "foreign-issuer.mjs");
    let provider = Provider::start(&script, "jwt");
    let more = format!(
        "[[trusted_issuer]]\nurl = \"{}\"\naudiences = [\"http://api.test\"]\nleeway_s = 0\n\
         applications = {{ machine = \"app_machines\" }}\n",
        provider.url
    );
    let t = TestTrigate::start_with(&more).await;
    let operator = format!("Bearer {}", t.operator_token().await);
    let revoke = async |body: Value| {
        let headers = [("authorization", operator.as_str()), ("content-type", "application/json")];
        t.desk().send("POST", "/api/v1/revocations", &headers, body.to_string().as_bytes()).await
    };
    let misspelt = json!({ "kind": "client", "what": "machine", "issuer": format!("{}/", provider.url) });
    assert_eq!(revoke(misspelt).await.status, 404, "an issuer that is not trusted is a typing error");
    let (one, two) = (provider.token().await, provider.token().await);
    assert!(whoami(&t, &one).await.is_ok() && whoami(&t, &two).await.is_ok());
    assert_eq!(revoke(json!({ "kind": "token", "what": one })).await.status, 200);
    assert_eq!(whoami(&t, &one).await, Err(401));
    assert!(whoami(&t, &two).await.is_ok());
    assert_eq!(revoke(json!({ "kind": "client", "what": "machine", "issuer": provider.url })).await.status, 200);
    assert_eq!(whoami(&t, &two).await, Err(401));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(whoami(&t, &provider.token().await).await.is_ok(), "what was issued afterwards is good");
    t.stop().await;
}
