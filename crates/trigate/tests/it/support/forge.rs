//! Issuers that Trigate trusts and whose private keys the tests hold: any header and any payload, signed as they should
//! be, so that only what is said can be what is refused. And the pages that such an issuer serves.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trigate_core::jose::{Algorithm, SigningKey};

/// What the forged tokens are for.
pub const AUDIENCE: &str = "http://api.test";

/// One key, of this kind or that.
pub struct Signer {
    pub key: SigningKey,
    algorithm: jsonwebtoken::Algorithm,
}

impl Signer {
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        Self::of(SigningKey::generate(algorithm, kid).unwrap())
    }

    pub fn of(key: SigningKey) -> Self {
        let algorithm = key.algorithm().as_str().parse().unwrap();
        Self { key, algorithm }
    }

    /// By another library: it signs whatever it is given.
    pub fn sign(&self, text: &str) -> Vec<u8> {
        use jsonwebtoken::EncodingKey;
        let der = self.key.to_pkcs8().unwrap();
        let key = match self.key.algorithm() {
            // It wants the PKCS #1 key inside: behind 26 bytes of version, algorithm and lengths.
            Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_der(&der[26..]),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_ec_der(&der),
        };
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, self.algorithm).unwrap();
        B64.decode(signature).unwrap()
    }

    pub fn forge(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", B64.encode(header), B64.encode(payload));
        let signature = B64.encode(self.sign(&input));
        format!("{input}.{signature}")
    }

    /// The header of an access token of this key.
    pub fn header(&self) -> Value {
        json!({ "alg": self.key.algorithm(), "kid": self.key.kid(), "typ": "at+jwt" })
    }

    pub fn token(&self, claims: &Value) -> String {
        self.forge(self.header().to_string().as_bytes(), claims.to_string().as_bytes())
    }

    pub fn public(&self) -> Value {
        self.key.public_jwk()
    }
}

/// `null` takes a member away.
pub fn changed(mut value: Value, changes: &Value) -> Value {
    for (name, to) in changes.as_object().unwrap() {
        if to.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = to.clone();
        }
    }
    value
}

/// Claims that are good in every respect.
pub fn claims(issuer: &str) -> Value {
    let now = crate::any_issuer::now();
    json!({ "iss": issuer, "sub": "bob", "aud": AUDIENCE, "iat": now, "exp": now + 600, "jti": "j1", "client_id": "web",
        "scope": "orders:read" })
}

/// A trusted issuer in the file, its keys in a file beside. All its clients are the application of the machines.
pub fn trusted(folder: &Path, issuer: &str, keys: &[Value]) -> String {
    let name: String = issuer.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = folder.join(format!("{name}.jwks"));
    std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    stanza(issuer, &format!("jwks = \"{}\"", path.display()))
}

pub fn stanza(issuer: &str, lines: &str) -> String {
    format!(
        "[[trusted_issuer]]\nurl = \"{issuer}\"\naudiences = [\"{AUDIENCE}\"]\n\
         applications = {{ \"*\" = \"app_machines\" }}\n{lines}\n"
    )
}

/// What an issuer serves over HTTP: one answer for each path, or for each token that it is asked about.
#[derive(Clone, Default)]
pub struct Pages {
    answers: Arc<Mutex<HashMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pages {
    /// Serves from now on, at this URL.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pages = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pages.clone().answer(stream));
            }
        });
        url
    }

    pub fn put(&self, what: &str, answer: &Value) {
        self.put_answer(what, "200 OK", "", &answer.to_string());
    }

    /// What no good issuer says: another status, further lines of the head. Without a status it hangs up.
    pub fn put_answer(&self, what: &str, status: &str, head: &str, body: &str) {
        let length = body.len();
        let reply = format!(
            "HTTP/1.1 {status}\r\n{head}content-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let reply = if status.is_empty() { String::new() } else { reply };
        self.answers.lock().unwrap().insert(what.to_owned(), reply);
    }

    /// How often it was asked for this.
    pub fn asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == what).count()
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut read = Vec::new();
        let what = loop {
            if let Some(what) = asked_for(&String::from_utf8_lossy(&read)) {
                break what;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        const UNKNOWN: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let reply = self.answers.lock().unwrap().get(&what).cloned().unwrap_or_else(|| UNKNOWN.to_owned());
        self.asked.lock().unwrap().push(what);
        let _ = stream.write_all(reply.as_bytes()).await;
    }
}

/// The path of a GET, the token of a POST; `None` before the whole request has come.
fn asked_for(text: &str) -> Option<String> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    if head.starts_with("GET ") {
        return head.split(' ').nth(1).map(str::to_owned);
    }
    let lower = head.to_ascii_lowercase();
    let length: usize = lower.split("content-length: ").nth(1)?.lines().next()?.trim().parse().ok()?;
    let form = url::form_urlencoded::parse(body.as_bytes());
    (body.len() >= length).then(|| form.into_owned().find(|(name, _)| name == "token").unwrap_or_default().1)
}
