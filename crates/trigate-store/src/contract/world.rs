//! A store with people in it, a stopped clock and seeded dice.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use trigate_core::{
    Act, Actor, Position, Timestamp,
    application::{Application, KeyRecord, State},
    client::{Client, ClientAuthentication, GrantType, Pkce, TokenForm},
    credential::{Digest, Environment},
    id::{AppId, ClientId, GrantId, KeyId, SessionId, TenantId, TokenId, UserId},
    identity::{Identity, TokenFacts},
    oauth::ScopeSet,
    port::{
        Clock, CodeOutcome, Issuance, NewApplication, NewCode, NewRefresh, NewUser, RedeemCode, RefreshOutcome, Rng,
        RotateRefresh, Store, StoreError, TenantStore,
        testing::{SeededRng, StoppedClock},
    },
    proof::Confirmation,
    quota::{Period, Span, Usage, UsageReport},
    user::{Grant, Session, User},
};

pub const REDIRECT: &str = "https://app.example/back";
pub const CHALLENGE: &str = "challenge";

#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    pub tenant: Arc<dyn TenantStore>,
    pub clock: StoppedClock,
    rng: Arc<SeededRng>,
}

impl World {
    /// `clock` must be the one that the store was opened with.
    pub fn new(store: Arc<dyn Store>, clock: StoppedClock) -> Self {
        // No two worlds mint the same ids.
        static SEED: AtomicU64 = AtomicU64::new(1);
        let tenant = store.tenant(&TenantId::default_tenant());
        let rng = Arc::new(SeededRng::new(SEED.fetch_add(1, Ordering::Relaxed)));
        Self { store, tenant, clock, rng }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn rng(&self) -> &dyn Rng {
        self.rng.as_ref()
    }

    pub fn act(&self, verb: &str) -> Act {
        Act::new(&self.clock, self.rng(), Actor::System, verb, "target")
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.rng.bits128().to_string())
    }

    /// Long after every token of these tests.
    pub fn later(&self) -> Timestamp {
        self.now().plus_seconds(90 * 86_400)
    }

    pub async fn app(&self, name: &str) -> Application {
        let new = NewApplication { id: AppId::mint(self.rng()), name: name.to_owned(), plan: "free".to_owned() };
        self.tenant.create_application(self.act("app.create"), new).await.unwrap().gives_only()
    }

    pub fn key_of(&self, app: &AppId) -> KeyRecord {
        KeyRecord {
            id: KeyId::mint(self.rng()),
            application: app.clone(),
            digest: self.digest(),
            label: "first".to_owned(),
            environment: Environment::Live,
            scopes: Some(scopes("orders:read")),
            allowed_addresses: vec!["10.0.0.0/8".to_owned()],
            not_before: None,
            expires_at: None,
            header: None,
            state: State::Enabled,
            created_at: self.now(),
            exposed_at: None,
            revoked_at: None,
            born: Position(0),
        }
    }

    pub async fn key(&self, app: &AppId) -> KeyRecord {
        self.tenant.create_key(self.act("key.create"), self.key_of(app)).await.unwrap().gives_only()
    }

    pub fn client_of(&self, app: &AppId) -> Client {
        Client {
            id: ClientId::mint(self.rng()),
            application: app.clone(),
            name: "Web".to_owned(),
            authentication: ClientAuthentication::None,
            secrets: vec![self.digest()],
            jwks: None,
            redirect_uris: vec![REDIRECT.to_owned()],
            post_logout_redirect_uris: vec![],
            grants: vec![GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::ClientCredentials],
            scopes: scopes("openid orders:read orders:write"),
            roles: vec!["robot".to_owned()],
            resources: vec!["https://api.example".to_owned()],
            introspects: vec![],
            token_form: TokenForm::Jwt,
            access_token_life_s: 600,
            refresh_token_life_s: Some(86_400),
            rotate_refresh_tokens: true,
            refresh_window_s: 10,
            pkce: Pkce::Required,
            asks_consent: true,
            dpop_bound_access_tokens: false,
            certificate: None,
            tls_client_certificate_bound_access_tokens: false,
            state: State::Enabled,
            created_at: self.now(),
            born: Position(0),
        }
    }

    pub async fn client(&self, app: &AppId) -> Client {
        self.tenant.create_client(self.act("client.create"), self.client_of(app)).await.unwrap().gives_only()
    }

    pub async fn user(&self, email: &str) -> User {
        let new = NewUser {
            id: UserId::mint(self.rng()),
            email: email.to_owned(),
            email_verified: true,
            name: "Ada".to_owned(),
            password_hash: Some("$argon2id$…".to_owned()),
            roles: vec!["reader".to_owned(), "writer".to_owned()],
        };
        self.tenant.create_user(self.act("user.create"), new).await.unwrap().gives_only()
    }

    pub fn session_of(&self, user: &UserId) -> Session {
        Session {
            id: SessionId::mint(self.rng()),
            user: user.clone(),
            cookie: self.digest(),
            authenticated_at: self.now(),
            amr: vec!["pwd".to_owned()],
            acr: "1".to_owned(),
            created_at: self.now(),
            last_seen_at: self.now(),
            expires_at: self.now().plus_seconds(86_400),
            address: "192.0.2.1".to_owned(),
            agent: "curl".to_owned(),
            born: Position(0),
        }
    }

    pub async fn session(&self, user: &UserId) -> Session {
        self.tenant.create_session(self.act("session.create"), self.session_of(user), None).await.unwrap().gives_only()
    }

    pub fn code_of(&self, client: &Client, session: &Session) -> NewCode {
        NewCode {
            digest: self.digest(),
            grant: Grant {
                id: GrantId::mint(self.rng()),
                user: session.user.clone(),
                client: client.id.clone(),
                application: client.application.clone(),
                session: Some(session.id.clone()),
                scopes: scopes("openid orders:read orders:write"),
                resources: vec!["https://api.example".to_owned()],
                nonce: Some("n".to_owned()),
                dpop_jkt: None,
                confirmation: None,
                authenticated_at: self.now(),
                amr: vec!["pwd".to_owned()],
                acr: "1".to_owned(),
                created_at: self.now(),
                revoked: false,
                born: Position(0),
            },
            redirect_uri: REDIRECT.to_owned(),
            challenge: Some(CHALLENGE.to_owned()),
            expires_at: self.now().plus_seconds(60),
        }
    }

    pub async fn code(&self, client: &Client, session: &Session) -> Digest {
        let new = self.code_of(client, session);
        let digest = new.digest;
        self.tenant.issue_code(self.act("code.issue"), new).await.unwrap().gives_only();
        digest
    }

    pub fn refresh(&self) -> NewRefresh {
        NewRefresh { digest: self.digest(), expires_at: self.now().plus_seconds(86_400) }
    }

    pub fn presentation(&self, code: &Digest, client: &ClientId) -> RedeemCode {
        RedeemCode {
            digest: *code,
            client: client.clone(),
            redirect_uri: Some(REDIRECT.to_owned()),
            challenge: Some(CHALLENGE.to_owned()),
            now: self.now(),
            shown: Confirmation::default(),
            binds: None,
            refresh: Some(self.refresh()),
        }
    }

    pub async fn redeem(&self, redeem: RedeemCode) -> CodeOutcome {
        self.tenant.redeem_code(self.act("code.redeem"), redeem).await.unwrap().gives_only()
    }

    pub fn rotation(&self, token: &Digest, client: &ClientId) -> RotateRefresh {
        let successor = self.refresh();
        RotateRefresh {
            digest: *token,
            client: client.clone(),
            now: self.now(),
            shown: Confirmation::default(),
            scopes: None,
            // The seal names the successor, so that a test can tell which one it got.
            sealed_successor: successor.digest.bytes().to_vec(),
            successor: Some(successor),
            window_s: 10,
        }
    }

    pub async fn rotate(&self, rotate: RotateRefresh) -> RefreshOutcome {
        self.tenant.rotate_refresh_token(self.act("refresh.rotate"), rotate).await.unwrap().gives_only()
    }

    /// A person has logged in and allowed the client: a session, a grant and a refresh token.
    pub async fn line(&self, client: &Client, session: &Session) -> (Box<Issuance>, Digest) {
        let code = self.code(client, session).await;
        let presentation = self.presentation(&code, &client.id);
        let refresh = presentation.refresh.as_ref().unwrap().digest;
        match self.redeem(presentation).await {
            CodeOutcome::Redeemed(issuance) => (issuance, refresh),
            other => panic!("{other:?}"),
        }
    }

    /// The access token that a minter makes of an issuance.
    pub fn token(&self, issuance: &Issuance) -> TokenFacts {
        TokenFacts {
            issuer: "https://issuer.example".into(),
            subject: issuance.user.id.to_string(),
            client: Some(issuance.client.id.clone()),
            application: Some(issuance.client.application.clone()),
            identity: Identity::User { id: issuance.user.id.clone(), email: Some(issuance.user.email.clone()) },
            token: TokenId::mint(self.rng()),
            session: issuance.grant.session.clone(),
            grant: Some(issuance.grant.id.clone()),
            audiences: issuance.grant.resources.clone(),
            scopes: issuance.scopes.clone(),
            roles: issuance.user.roles.clone(),
            issued_at: Some(self.now()),
            not_before: None,
            expires_at: self.now().plus_seconds(600),
            authenticated_at: Some(issuance.grant.authenticated_at),
            acr: Some(issuance.grant.acr.clone()),
            position: Some(issuance.position),
            actor: None,
            kid: None,
            confirmation: None,
        }
    }

    /// What a gate counted today.
    pub fn report(&self, holder: &str, number: u64, counted: &[(&AppId, u64)]) -> UsageReport {
        let period = Period::of(Span::Day, self.now());
        let usage =
            |(application, count): &(&AppId, u64)| Usage { application: (*application).clone(), period, count: *count };
        UsageReport { holder: holder.to_owned(), number, counted: counted.iter().map(usage).collect() }
    }

    pub async fn judge(&self, facts: &TokenFacts) -> Option<TokenFacts> {
        self.tenant.judge_token(facts.clone(), self.now()).await.unwrap()
    }

    pub async fn changes(&self) -> Vec<trigate_core::change::Change> {
        self.store.system().changes_after(Position(0), 10_000).await.unwrap()
    }
}

pub fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

pub fn is_conflict<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict(_)))
}

pub fn is_missing<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Missing(_)))
}
