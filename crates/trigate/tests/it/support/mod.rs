//! The people and machines of the journeys. `TestTrigate::start().await` gives a whole Trigate in a folder of its own, on
//! ports that the system picked, with an API that notes what it saw, applications with keys, clients, alice and an
//! operator.

pub mod forge;
pub mod forms;
pub mod http;
pub mod nginx;
pub mod process;
pub mod upstream;

use http::{Reply, Wire};
use std::{path::PathBuf, sync::Arc, time::Duration};
use trigate::{
    config,
    operator::{
        By, Operator, ROLE, SCOPE,
        app::NewApp,
        client::{ClientPolicy, NewClient},
        folder::write_private,
        key::{KeyPolicy, NewKey},
        user::NewAccount,
    },
    wiring::{Running, Server},
};
use trigate_core::{
    client::{ClientAuthentication, GrantType, TokenForm},
    id::ClientId,
    seal::MasterKey,
};
use upstream::Upstream;
use zeroize::Zeroizing;

pub const PASSWORD: &str = "correct horse battery staple";
pub const REDIRECT: &str = "http://127.0.0.1:1/callback";

/// A whole Trigate with people.
pub struct TestTrigate {
    pub running: Running,
    pub upstream: Upstream,
    /// On plan `pro`.
    pub acme: Application,
    /// On plan `free`.
    pub globex: Application,
    pub alice: Person,
    pub operator_secret: String,
    folder: Option<tempfile::TempDir>,
}

pub struct Application {
    pub id: String,
    pub key: String,
    pub key_id: String,
    /// Its public client with PKCE, for people.
    pub public_client: String,
    /// Its confidential client, for itself.
    pub service_client: String,
    pub service_secret: String,
}

pub struct Person {
    pub id: String,
    pub email: &'static str,
}

impl TestTrigate {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// `more`: further lines of TOML, after the usual routes.
    pub async fn start_with(more: &str) -> Self {
        Self::start_on("sqlite:trigate.db", more).await
    }

    pub async fn start_on(store: &str, more: &str) -> Self {
        Self::start_in(store, more, &[]).await
    }

    /// With these files in its folder.
    pub async fn start_with_files(more: &str, files: &[(&str, &str)]) -> Self {
        Self::start_in("sqlite:trigate.db", more, files).await
    }

    async fn start_in(store: &str, more: &str, files: &[(&str, &str)]) -> Self {
        let upstream = Upstream::start().await;
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let text = configuration(&upstream, store, more);
        let path = folder.path().join("trigate.toml");
        std::fs::write(&path, text).unwrap();
        let key = MasterKey::mint_text(&trigate::system::SystemRng::default());
        write_private(&folder.path().join("master.key"), key.as_bytes()).unwrap();
        trigate::operator::cert::ensure_ca(
            &trigate::operator::folder::DataFolder::at(folder.path()),
            &trigate::system::SystemRng::default(),
            trigate_core::port::Clock::now(&trigate::system::SystemClock::new()),
        )
        .unwrap();
        let running = Server::start(config::load(&path).unwrap_or_else(|e| panic!("{e}")))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let operator = Arc::clone(&running.operator);
        let acme = make_application(&operator, &running, "Acme Weather App", "pro", "acme").await;
        let machines =
            NewApp { name: "Machines".into(), plan: "pro".into(), id: Some("app_machines".parse().unwrap()) };
        operator.create_app(&By::system(), machines).await.unwrap();
        let globex = make_application(&operator, &running, "Globex", "free", "globex").await;
        let account = NewAccount {
            email: "alice@example.com".into(),
            name: Some("Alice".into()),
            roles: vec!["customer".into()],
            password: Some(Zeroizing::new(PASSWORD.into())),
            email_verified: true,
            id: None,
        };
        let alice = operator.create_user(&By::system(), account).await.unwrap();
        let alice = Person {
            id: serde_json::to_value(&alice.user).unwrap()["id"].as_str().unwrap().to_owned(),
            email: "alice@example.com",
        };
        let operator_secret = make_operator(&operator, &running).await;
        Self { running, upstream, acme, globex, alice, operator_secret, folder: Some(folder) }
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().to_owned()
    }

    pub fn gate(&self) -> Wire {
        Wire(self.running.gate_addr)
    }

    pub fn desk(&self) -> Wire {
        Wire(self.running.desk_addr)
    }

    pub fn issuer(&self) -> Wire {
        Wire(self.running.issuer_addr)
    }

    /// A request with these headers to the gate.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.gate().send("GET", path, headers, b"").await
    }

    /// A token of alice's, by the real code flow through the login page.
    pub async fn alice_token(&self, scopes: &str) -> String {
        self.user_token(&self.acme.public_client, scopes, &self.running.urls.gate).await
    }

    pub async fn user_token(&self, client: &str, scopes: &str, resource: &str) -> String {
        let reply = code_flow(&self.issuer(), client, self.alice.email, scopes, resource).await;
        reply.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
    }

    /// A token that a client gets for itself.
    pub async fn service_token(&self, scopes: &str) -> String {
        self.client_token(&self.acme.service_client, &self.acme.service_secret, scopes, &self.running.urls.gate).await
    }

    /// The operator's token for the desk.
    pub async fn operator_token(&self) -> String {
        self.client_token("test-operator", &self.operator_secret, SCOPE, &self.running.urls.desk).await
    }

    pub async fn client_token(&self, client: &str, secret: &str, scopes: &str, resource: &str) -> String {
        let form = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
            ("scope", scopes),
            ("resource", resource),
        ]);
        let reply = self.issuer().send("POST", "/oauth/token", &[FORM], form.as_bytes()).await;
        reply.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
    }

    /// The decisions so far, newest first; waits until at least `count` are there.
    pub async fn decisions(&self, count: usize) -> Vec<trigate_core::audit::Decision> {
        for _ in 0..100 {
            let decisions = self.records().into_iter().rev().filter_map(|record| match record {
                trigate_core::audit::Record::Decision(decision) => Some(*decision),
                _ => None,
            });
            let found: Vec<_> = decisions.collect();
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("fewer than {count} decisions were written");
    }

    /// Every record of this node's segments so far.
    pub fn records(&self) -> Vec<trigate_core::audit::Record> {
        forms::settled(&self.folder().join("audit"), "node-1")
    }

    /// The codes of connection records, once there are `count`.
    pub async fn connection_codes(&self, count: usize) -> Vec<String> {
        for _ in 0..60 {
            let codes: Vec<String> = self
                .records()
                .into_iter()
                .filter_map(|record| match record {
                    trigate_core::audit::Record::Connection(refused) => Some(refused.code),
                    _ => None,
                })
                .collect();
            if codes.len() >= count {
                return codes;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("fewer than {count} connection records");
    }

    pub async fn stop(self) -> tempfile::TempDir {
        self.stop_but_the_api().await.0
    }

    /// For whoever goes on with its folder in processes.
    pub async fn stop_but_the_api(mut self) -> (tempfile::TempDir, Upstream) {
        self.running.stop().await;
        (self.folder.take().unwrap(), self.upstream)
    }
}

pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Lines of `more` that begin with `limits.` or `server.` go to that section.
fn configuration(upstream: &Upstream, store: &str, more: &str) -> String {
    let (limits, more): (Vec<&str>, Vec<&str>) = more.lines().partition(|line| line.starts_with("limits."));
    let (server, more): (Vec<&str>, Vec<&str>) = more.into_iter().partition(|line| line.starts_with("server."));
    let (limits, more) = (limits.join("\n").replace("limits.", ""), more.join("\n"));
    let server = server.join("\n").replace("server.", "");
    format!(
        r#"
[server]
gate = "127.0.0.1:0"
issuer = "127.0.0.1:0"
desk = "127.0.0.1:0"
mtls = "127.0.0.1:0"
workers = 2
node = "node-1"
store = "{store}"
{server}

[issuer.scopes]
"orders:read" = "read your orders"
"orders:write" = "change your orders"

[plans]
free = "100/hour"
pro = "10000000/hour"

[upstreams]
sample = "http://{}"
closed = "http://127.0.0.1:1"

[mtls]
ca = "ca/ca.pem"
certificate = "ca/server.pem"
key = "ca/server.key"

[limits]
header_deadline_s = 2
body_grace_s = 2
{limits}

[[route]]
name = "open"
path = "/open/**"
public = true
upstream = "sample"
max_body_bytes = 1000

[[route]]
name = "weather"
path = "/api/weather"
demands = "key"
subject = "application"
upstream = "sample"

[[route]]
name = "orders"
path = "/api/users/me/orders"
methods = ["GET"]
demands = "token"
subject = "user"
scopes = ["orders:read"]
upstream = "sample"
cors = {{ origins = ["https://app.example"], headers = ["authorization"], credentials = true, max_age_s = 600 }}

[[route]]
name = "both"
path = "/api/both"
demands = "key and token"
upstream = "sample"

[[route]]
name = "machines"
path = "/api/machines"
demands = "certificate or token"
upstream = "sample"

[[route]]
name = "asserted"
path = "/api/asserted"
demands = "key"
subject = "application"
assertion = true
upstream = "sample"

[[route]]
name = "nobody home"
path = "/closed"
public = true
upstream = "closed"

[[machine]]
san_uri = "spiffe://acme.test/*"
application = "app_machines"
{more}
"#,
        upstream.address
    )
}

async fn make_application(operator: &Operator, running: &Running, name: &str, plan: &str, short: &str) -> Application {
    let by = By::system();
    let app = operator.create_app(&by, NewApp { name: name.into(), plan: plan.into(), id: None }).await.unwrap();
    let id = app.id.to_string();
    let key = operator.create_key(&by, NewKey { app: id.clone(), policy: KeyPolicy::default() }).await.unwrap();
    let scopes = Some(words(&["openid", "email", "offline_access", "orders:read", "orders:write"]));
    let public = ClientPolicy {
        name: Some(format!("{name} for phones")),
        authentication: Some(ClientAuthentication::None),
        redirect_uris: Some(vec![REDIRECT.into()]),
        scopes: scopes.clone(),
        resources: Some(vec![running.urls.gate.clone()]),
        asks_consent: Some(false),
        ..ClientPolicy::default()
    };
    let public_client = format!("{short}-mobile");
    let new = NewClient { app: id.clone(), id: Some(ClientId::parse(&public_client).unwrap()), policy: public };
    operator.create_client(&by, new).await.unwrap();
    let service = ClientPolicy {
        authentication: Some(ClientAuthentication::ClientSecretPost),
        grants: Some(vec![GrantType::ClientCredentials]),
        scopes: Some(words(&["orders:read", "orders:write"])),
        resources: Some(vec![running.urls.gate.clone()]),
        token_form: Some(TokenForm::Jwt),
        ..ClientPolicy::default()
    };
    let service_client = format!("{short}-service");
    let new = NewClient { app: id.clone(), id: Some(ClientId::parse(&service_client).unwrap()), policy: service };
    let made = operator.create_client(&by, new).await.unwrap();
    Application {
        id,
        key: key.key.to_string(),
        key_id: key.record.id.to_string(),
        public_client,
        service_client,
        service_secret: made.client_secret.unwrap().to_string(),
    }
}

async fn make_operator(operator: &Operator, running: &Running) -> String {
    let by = By::system();
    let app =
        operator.create_app(&by, NewApp { name: "Operators".into(), plan: "pro".into(), id: None }).await.unwrap();
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::ClientSecretPost),
        grants: Some(vec![GrantType::ClientCredentials]),
        scopes: Some(words(&[SCOPE])),
        roles: Some(words(&[ROLE])),
        resources: Some(vec![running.urls.desk.clone()]),
        ..ClientPolicy::default()
    };
    let new = NewClient { app: app.id.to_string(), id: Some(ClientId::parse("test-operator").unwrap()), policy };
    operator.create_client(&by, new).await.unwrap().client_secret.unwrap().to_string()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The whole code flow with PKCE, as a browser goes through it.
pub async fn code_flow(issuer: &Wire, client: &str, email: &str, scopes: &str, resource: &str) -> Reply {
    let exchange = authorize(issuer, client, email, scopes, resource).await;
    issuer.send("POST", "/oauth/token", &[FORM], exchange.as_bytes()).await
}

/// The same up to the code: what is to be posted to the token endpoint.
pub async fn authorize(issuer: &Wire, client: &str, email: &str, scopes: &str, resource: &str) -> String {
    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let query = form(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("scope", scopes),
        ("resource", resource),
        ("state", "s"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let mut jar = Jar::default();
    let start = jar.get(issuer, &format!("/oauth/authorize?{query}")).await;
    let login = start.header("location").unwrap_or_else(|| panic!("no way to the login: {}", start.text())).to_owned();
    let page = jar.get(issuer, path_of(&login)).await;
    let csrf = between(page.text(), "name=\"csrf\" value=\"", "\"");
    let action =
        between(page.text(), "<form method=\"post\" action=\"", "\"").replace("&amp;", "&").replace("&#38;", "&");
    let filled = form(&[("csrf", &csrf), ("email", email), ("password", PASSWORD)]);
    let mut back = jar.post(issuer, path_of(&action), &filled).await;
    for _ in 0..3 {
        let location =
            back.header("location").unwrap_or_else(|| panic!("the login failed: {}", back.text())).to_owned();
        if let Some(answer) = location.strip_prefix(REDIRECT) {
            let code = url::form_urlencoded::parse(answer.trim_start_matches('?').as_bytes())
                .find(|(name, _)| name == "code")
                .unwrap_or_else(|| panic!("no code: {location}"))
                .1
                .into_owned();
            return form(&[
                ("grant_type", "authorization_code"),
                ("client_id", client),
                ("code", &code),
                ("redirect_uri", REDIRECT),
                ("code_verifier", VERIFIER),
            ]);
        }
        back = jar.get(issuer, path_of(&location)).await;
    }
    panic!("the code flow did not come back");
}

fn path_of(location: &str) -> &str {
    match location.find("://") {
        Some(at) => location[at + 3..].find('/').map_or("/", |slash| &location[at + 3 + slash..]),
        None => location,
    }
}

pub fn between(text: &str, from: &str, to: &str) -> String {
    let start = text.find(from).unwrap_or_else(|| panic!("no `{from}` in {text}")) + from.len();
    text[start..].split(to).next().unwrap().to_owned()
}

/// A browser's cookies.
#[derive(Default)]
pub struct Jar(Vec<(String, String)>);

impl Jar {
    /// A browser that has this cookie already.
    pub fn with(name: &str, value: &str) -> Self {
        Self(vec![(name.to_owned(), value.to_owned())])
    }

    /// What the cookies hold.
    pub fn values(&self) -> Vec<String> {
        self.0.iter().map(|(_, value)| value.clone()).filter(|value| !value.is_empty()).collect()
    }

    pub async fn get(&mut self, wire: &Wire, path: &str) -> Reply {
        self.send(wire, "GET", path, "").await
    }

    pub async fn post(&mut self, wire: &Wire, path: &str, body: &str) -> Reply {
        self.send(wire, "POST", path, body).await
    }

    async fn send(&mut self, wire: &Wire, method: &str, path: &str, body: &str) -> Reply {
        let cookies = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut headers = vec![];
        if !cookies.is_empty() {
            headers.push(("cookie", cookies.as_str()));
        }
        if !body.is_empty() {
            headers.push(FORM);
        }
        let reply = wire.send(method, path, &headers, body.as_bytes()).await;
        for line in reply.headers("set-cookie") {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            self.0.push((name.to_owned(), value.to_owned()));
        }
        reply
    }
}
