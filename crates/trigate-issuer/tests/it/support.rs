//! A stage with people on it: `alice` with a password, clients of every kind, a browser with a cookie jar.

use async_trait::async_trait;
use axum::{Router, body::Body, extract::Request};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};
use tower::ServiceExt;
use trigate_core::{
    Act, Actor, Position, Timestamp,
    application::State,
    client::{Client, ClientAuthentication, GrantType, Pkce, TokenForm},
    credential::{ClientSecret, Digest},
    id::{AppId, ClientId, TenantId, UserId},
    jose::{Algorithm, SigningKey},
    oauth::ScopeSet,
    port::{
        Clock, Hasher, NewApplication, NewUser, Propagation, PropagationError, Rng, Store, TenantStore,
        testing::{SeededRng, StoppedClock},
    },
    seal::MasterKey,
};
use trigate_issuer::{
    Issuer, IssuerConfig, IssuerParts, Peer, PresentedCertificate, ScopeDescription, account::password::Argon2Pool,
    router,
};
use trigate_store::Location;
use zeroize::Zeroizing;

pub const ISSUER: &str = "http://localhost:8081";
pub const API: &str = "http://localhost:8080";
pub const PASSWORD: &str = "correct horse battery staple";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CALLBACK: &str = "https://app.test/cb";

/// Remembers for which positions somebody waited, and can refuse to confirm.
#[derive(Default)]
pub struct Everywhere {
    pub waited: Mutex<Vec<Position>>,
    pub refuses: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Propagation for Everywhere {
    async fn everywhere(&self, position: Position) -> Result<(), PropagationError> {
        if self.refuses.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(PropagationError::Unconfirmed("test".into()));
        }
        self.waited.lock().unwrap().push(position);
        Ok(())
    }
}

pub struct Stage {
    pub issuer: Arc<Issuer>,
    pub router: Router,
    pub tenant: Arc<dyn TenantStore>,
    pub clock: StoppedClock,
    pub rng: Arc<SeededRng>,
    pub everywhere: Arc<Everywhere>,
    pub alice: UserId,
    pub application: AppId,
    pub signer: SigningKey,
    pub database: std::path::PathBuf,
    secrets: Mutex<BTreeMap<String, String>>,
    _store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

pub fn config() -> IssuerConfig {
    let mut config = IssuerConfig {
        issuer: ISSUER.into(),
        algorithm: Algorithm::ES256,
        default_audience: API.into(),
        ..IssuerConfig::default()
    };
    for (name, description) in [("orders:read", "see your orders"), ("orders:write", "place and cancel orders for you")]
    {
        config.scopes.push(ScopeDescription { name: name.into(), description: description.into() });
    }
    config
}

impl Stage {
    pub async fn start() -> Self {
        Self::start_with(
            config(),
            Arc::new(StoppedClock::at(Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap())),
        )
        .await
    }

    pub async fn start_with(config: IssuerConfig, clock: Arc<StoppedClock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("trigate.db");
        let rng = Arc::new(SeededRng::new(20_261_123));
        let store = trigate_store::open(Location::Sqlite(database.clone()), clock.clone()).await.unwrap();
        let tenant_id = TenantId::default_tenant();
        let tenant = store.tenant(&tenant_id);
        let hasher = Arc::new(Argon2Pool::start(1, rng.clone()).unwrap());
        let everywhere = Arc::new(Everywhere::default());
        let issuer = Issuer::start(IssuerParts {
            tenant: tenant_id,
            store: tenant.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
            seal: Arc::new(MasterKey::from_bytes(&[7; 32], rng.clone()).unwrap()),
            hasher: hasher.clone(),
            propagation: everywhere.clone(),
            config,
        })
        .await
        .unwrap();
        let stage = Self {
            router: router(issuer.clone()),
            issuer,
            tenant,
            alice: UserId::mint(&*rng),
            application: AppId::mint(&*rng),
            clock: (*clock).clone(),
            rng,
            everywhere,
            signer: SigningKey::generate(Algorithm::ES256, "client-key").unwrap(),
            database,
            secrets: Mutex::default(),
            _store: store,
            _folder: folder,
        };
        stage.populate(&hasher).await;
        stage
    }

    /// The parts of another issuer process over the same store.
    pub fn parts(&self, master_key: [u8; 32]) -> IssuerParts {
        IssuerParts {
            tenant: TenantId::default_tenant(),
            store: self.tenant.clone(),
            clock: Arc::new(self.clock.clone()),
            rng: self.rng.clone(),
            seal: Arc::new(MasterKey::from_bytes(&master_key, self.rng.clone()).unwrap()),
            hasher: Arc::new(Argon2Pool::start(1, self.rng.clone()).unwrap()),
            propagation: self.everywhere.clone(),
            config: self.issuer.config().clone(),
        }
    }

    pub fn act(&self, verb: &str) -> Act {
        Act::new(&self.clock, &*self.rng, Actor::System, verb, "test")
    }

    async fn populate(&self, hasher: &Argon2Pool) {
        let application = NewApplication { id: self.application.clone(), name: "Acme".into(), plan: "pro".into() };
        self.tenant.create_application(self.act("application.create"), application).await.unwrap().gives_only();
        let phc = hasher.hash(Zeroizing::new(PASSWORD.into())).await.unwrap();
        let new = NewUser {
            id: self.alice.clone(),
            email: "alice@example.com".into(),
            email_verified: true,
            name: "Alice Example".into(),
            password_hash: Some(phc),
            roles: vec!["customer".into()],
        };
        self.tenant.create_user(self.act("user.create"), new).await.unwrap().gives_only();
        use ClientAuthentication::{ClientSecretBasic, ClientSecretPost, None as Public, PrivateKeyJwt};
        self.add_client("mobile", Public, |client| {
            client.redirect_uris.push("http://127.0.0.1/cb".into());
        })
        .await;
        self.add_client("web", ClientSecretBasic, |_| {}).await;
        self.add_client("poster", ClientSecretPost, |_| {}).await;
        self.add_client("signer", PrivateKeyJwt, |client| {
            client.jwks = Some(serde_json::json!({ "keys": [self.signer.public_jwk()] }));
        })
        .await;
        self.add_client("service", ClientSecretPost, |client| {
            client.grants = vec![GrantType::ClientCredentials];
            client.roles = vec!["robot".into()];
        })
        .await;
        self.add_client("api-gateway", ClientSecretPost, |client| {
            client.grants = vec![];
            client.introspects = vec![API.into()];
        })
        .await;
    }

    /// Another person with the same password.
    pub async fn add_user(&self, email: &str) -> UserId {
        let id = UserId::mint(&*self.rng);
        let phc = Argon2Pool::start(1, self.rng.clone()).unwrap().hash(Zeroizing::new(PASSWORD.into())).await.unwrap();
        let new = NewUser {
            id: id.clone(),
            email: email.into(),
            email_verified: true,
            name: "Somebody Else".into(),
            password_hash: Some(phc),
            roles: vec![],
        };
        self.tenant.create_user(self.act("user.create"), new).await.unwrap().gives_only();
        id
    }

    pub async fn add_client(
        &self,
        id: &str,
        authentication: ClientAuthentication,
        adjust: impl FnOnce(&mut Client),
    ) -> Client {
        let secret = ClientSecret::mint(&*self.rng);
        self.secrets.lock().unwrap().insert(id.into(), secret.reveal().into());
        let mut client = Client {
            id: ClientId::parse(id).unwrap(),
            application: self.application.clone(),
            name: "Acme Weather App".into(),
            authentication,
            secrets: vec![secret.digest()],
            jwks: None,
            redirect_uris: vec![CALLBACK.into()],
            post_logout_redirect_uris: vec!["https://app.test/bye".into()],
            grants: vec![GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::ClientCredentials],
            scopes: scopes("openid profile email orders:read orders:write"),
            roles: vec![],
            resources: vec![API.into(), "https://reports.test".into()],
            introspects: vec![],
            token_form: TokenForm::Jwt,
            access_token_life_s: 600,
            refresh_token_life_s: Some(86_400),
            rotate_refresh_tokens: true,
            refresh_window_s: 10,
            pkce: Pkce::Required,
            asks_consent: false,
            dpop_bound_access_tokens: false,
            certificate: None,
            tls_client_certificate_bound_access_tokens: false,
            state: State::Enabled,
            created_at: self.clock.now(),
            born: Position::default(),
        };
        adjust(&mut client);
        self.tenant.create_client(self.act("client.create"), client.clone()).await.unwrap().gives_only()
    }

    pub fn secret(&self, client: &str) -> String {
        self.secrets.lock().unwrap()[client].clone()
    }

    pub fn basic(&self, client: &str) -> String {
        basic(client, &self.secret(client))
    }

    pub fn browser(&self) -> Browser {
        Browser { router: self.router.clone(), jar: BTreeMap::new(), peer: [192, 0, 2, 1].into(), certificate: None }
    }

    /// A good authorization request, changed by `changes`: an empty value takes the parameter away.
    pub fn authorize_path(&self, client: &str, changes: &[(&str, &str)]) -> String {
        let challenge = challenge(VERIFIER);
        let mut params = BTreeMap::from([
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", CALLBACK),
            ("scope", "openid email orders:read"),
            ("state", "s t&te"),
            ("nonce", "n-1"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        params.extend(changes.iter().copied());
        params.retain(|_, value| !value.is_empty());
        format!("/oauth/authorize?{}", form(&params.into_iter().collect::<Vec<_>>()))
    }

    /// A code for alice, who is logged in already or does so now.
    pub async fn code(&self, browser: &mut Browser, client: &str, changes: &[(&str, &str)]) -> String {
        let page = browser.sign_in(&self.authorize_path(client, changes)).await;
        page.callback()["code"].clone()
    }

    /// Tokens of a code flow of a client that authenticates with a secret in the body, or not at all.
    pub async fn tokens(&self, client: &str, changes: &[(&str, &str)]) -> Value {
        let mut browser = self.browser();
        let code = self.code(&mut browser, client, changes).await;
        let page = self.redeem(client, &code, &[]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        page.json()
    }

    pub async fn redeem(&self, client: &str, code: &str, changes: &[(&str, &str)]) -> Page {
        let mut params = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        params.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        params.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        self.call("/oauth/token", client, &params).await
    }

    pub async fn refresh(&self, client: &str, token: &str, more: &[(&str, &str)]) -> Page {
        let params = [&[("grant_type", "refresh_token"), ("refresh_token", token)], more].concat();
        self.call("/oauth/token", client, &params).await
    }

    pub async fn introspect(&self, client: &str, token: &str) -> Value {
        let page = self.call("/oauth/introspect", client, &[("token", token)]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        page.json()
    }

    pub async fn is_active(&self, token: &str) -> bool {
        self.introspect("api-gateway", token).await["active"] == true
    }

    /// A call by `client`, which authenticates as it is registered.
    pub async fn call(&self, path: &str, client: &str, params: &[(&str, &str)]) -> Page {
        self.call_with(path, client, params, vec![]).await
    }

    /// The same with further headers.
    pub async fn call_with(
        &self,
        path: &str,
        client: &str,
        params: &[(&str, &str)],
        mut headers: Vec<(header::HeaderName, String)>,
    ) -> Page {
        let registered = self.tenant.find_client(&ClientId::parse(client).unwrap()).await.unwrap().unwrap();
        let secret = self.secret(client);
        let mut params = params.to_vec();
        match registered.authentication {
            ClientAuthentication::ClientSecretBasic => headers.push((header::AUTHORIZATION, basic(client, &secret))),
            ClientAuthentication::ClientSecretPost => {
                params.extend([("client_id", client), ("client_secret", &secret)])
            }
            _ => params.push(("client_id", client)),
        }
        self.browser().post_with(path, &params, headers).await
    }

    /// Verifies one of our JWTs with a foreign reading of the published key set; answers its claims.
    pub fn claims(&self, token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }
}

pub struct Browser {
    pub router: Router,
    pub jar: BTreeMap<String, String>,
    pub peer: IpAddr,
    pub certificate: Option<PresentedCertificate>,
}

impl Browser {
    pub async fn get(&mut self, path: &str) -> Page {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&mut self, path: &str, params: &[(&str, &str)]) -> Page {
        self.post_with(path, params, vec![]).await
    }

    pub async fn post_with(
        &mut self,
        path: &str,
        params: &[(&str, &str)],
        headers: Vec<(header::HeaderName, String)>,
    ) -> Page {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request.body(Body::from(form(params))).unwrap()).await
    }

    pub async fn send(&mut self, mut request: Request) -> Page {
        if !self.jar.is_empty() {
            let line = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            request.headers_mut().insert(header::COOKIE, line.parse().unwrap());
        }
        request.extensions_mut().insert(Peer(self.peer));
        if let Some(shown) = &self.certificate {
            request.extensions_mut().insert(shown.clone());
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let page = Page { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() };
        for line in page.headers.get_all(header::SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.into(), value.into());
            }
        }
        page
    }

    /// Follows our own redirects, not the client's.
    pub async fn follow(&mut self, path: &str) -> Page {
        let mut page = self.get(path).await;
        for _ in 0..5 {
            match page.location() {
                Some(next) if next.starts_with('/') => page = self.get(&next).await,
                _ => break,
            }
        }
        page
    }

    /// Opens `path`, logs in as alice where asked, and stops at whatever comes then.
    pub async fn sign_in(&mut self, path: &str) -> Page {
        let page = self.follow(path).await;
        if page.field("password").is_none() {
            return page;
        }
        let answer = self.submit_login(&page, "alice@example.com", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        self.follow(&answer.location().unwrap()).await
    }

    pub async fn submit_login(&mut self, page: &Page, email: &str, password: &str) -> Page {
        let csrf = page.value("csrf");
        self.post(&page.action(), &[("csrf", &csrf), ("email", email), ("password", password)]).await
    }
}

#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Page {
    pub fn location(&self) -> Option<String> {
        Some(self.headers.get(header::LOCATION)?.to_str().unwrap().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.body))
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// What the client got by redirect.
    pub fn callback(&self) -> BTreeMap<String, String> {
        let location = self.location().unwrap_or_else(|| panic!("no redirect: {} {}", self.status, self.body));
        let url = url::Url::parse(&location).unwrap();
        url.query_pairs().into_owned().collect()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let at = self.body.find(&format!("name=\"{name}\""))?;
        self.body[at..].split('>').next()
    }

    pub fn value(&self, name: &str) -> String {
        let field = self.field(name).unwrap_or_else(|| panic!("no field `{name}`: {}", self.body));
        field.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    pub fn action(&self) -> String {
        let text = self.body.split("action=\"").nth(1).unwrap_or_else(|| panic!("no form: {}", self.body));
        text.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
    }

    pub fn is_error_page(&self, code: &str) {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{}", self.body);
        assert_eq!(self.location(), None);
        assert!(self.body.contains(&format!("<code>{code}</code>")), "{}", self.body);
    }
}

pub fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

pub fn form(params: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

pub fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(verifier).bytes())
}

pub fn request(method: Method, path: &str, content_type: Option<&str>, body: impl Into<Body>) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(body.into()).unwrap()
}

pub fn rng_of(stage: &Stage) -> &dyn Rng {
    &*stage.rng
}
