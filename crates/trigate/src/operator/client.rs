//! Which OAuth clients may ask for tokens, and for which? A secret is shown once; here only its digest is kept.

use super::{
    Answer, By, Operator, OperatorError,
    app::{check_name, state_verb},
    client_certificate,
    key::parse_scopes,
    role::check_role,
    when,
};
use serde::{Deserialize, Serialize};
use trigate_core::{
    Position,
    application::State,
    certificate::CertificateRule,
    client::{Client, ClientAuthentication, GrantType, Pkce, TokenForm},
    credential::ClientSecret,
    id::{AppId, ClientId},
    jose::Jwks,
};
use url::Url;
use zeroize::Zeroizing;

/// What a client may do. Absent members keep their default when it is created, and their value when it is changed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ClientPolicy {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub authentication: Option<ClientAuthentication>,
    #[serde(default)]
    pub jwks: Option<serde_json::Value>,
    #[serde(default)]
    pub redirect_uris: Option<Vec<String>>,
    #[serde(default)]
    pub post_logout_redirect_uris: Option<Vec<String>>,
    #[serde(default)]
    pub grants: Option<Vec<GrantType>>,
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    #[serde(default)]
    pub resources: Option<Vec<String>>,
    #[serde(default)]
    pub introspects: Option<Vec<String>>,
    #[serde(default)]
    pub token_form: Option<TokenForm>,
    #[serde(default)]
    pub access_token_life_s: Option<u32>,
    /// 0 gives out no refresh tokens.
    #[serde(default)]
    pub refresh_token_life_s: Option<u32>,
    #[serde(default)]
    pub rotate_refresh_tokens: Option<bool>,
    #[serde(default)]
    pub refresh_window_s: Option<u32>,
    #[serde(default)]
    pub pkce: Option<Pkce>,
    #[serde(default)]
    pub asks_consent: Option<bool>,
    /// RFC 9449 §5.2: no token without a DPoP proof.
    pub dpop_bound_access_tokens: Option<bool>,
    /// RFC 8705 §2.1.2: of these five exactly one, for `tls_client_auth`.
    pub tls_client_auth_subject_dn: Option<String>,
    pub tls_client_auth_san_dns: Option<String>,
    pub tls_client_auth_san_uri: Option<String>,
    pub tls_client_auth_san_ip: Option<String>,
    pub tls_client_auth_san_email: Option<String>,
    /// PEM, for `self_signed_tls_client_auth`; its key in `jwks` does as well.
    pub certificate: Option<String>,
    /// RFC 8705 §3.4. Default: true where a certificate proves the client.
    pub tls_client_certificate_bound_access_tokens: Option<bool>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NewClient {
    pub app: String,
    /// Chosen (`mobile-app-ios`) or minted (`cli_…`).
    #[serde(default)]
    pub id: Option<ClientId>,
    #[serde(flatten)]
    pub policy: ClientPolicy,
}

#[derive(Clone, Debug, Serialize)]
pub struct ClientView {
    pub id: ClientId,
    pub application: AppId,
    pub name: String,
    pub authentication: ClientAuthentication,
    pub secrets: usize,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    pub grants: Vec<GrantType>,
    pub scopes: Vec<String>,
    pub roles: Vec<String>,
    pub resources: Vec<String>,
    pub introspects: Vec<String>,
    pub token_form: TokenForm,
    pub access_token_life_s: u32,
    pub refresh_token_life_s: Option<u32>,
    pub rotate_refresh_tokens: bool,
    pub refresh_window_s: u32,
    pub pkce: Pkce,
    pub asks_consent: bool,
    pub dpop_bound_access_tokens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateRule>,
    pub tls_client_certificate_bound_access_tokens: bool,
    pub state: State,
    pub created_at: String,
}

impl From<Client> for ClientView {
    fn from(client: Client) -> Self {
        Self {
            id: client.id,
            application: client.application,
            name: client.name,
            authentication: client.authentication,
            secrets: client.secrets.len(),
            redirect_uris: client.redirect_uris,
            post_logout_redirect_uris: client.post_logout_redirect_uris,
            grants: client.grants,
            scopes: client.scopes.iter().map(ToString::to_string).collect(),
            roles: client.roles,
            resources: client.resources,
            introspects: client.introspects,
            token_form: client.token_form,
            access_token_life_s: client.access_token_life_s,
            refresh_token_life_s: client.refresh_token_life_s,
            rotate_refresh_tokens: client.rotate_refresh_tokens,
            refresh_window_s: client.refresh_window_s,
            pkce: client.pkce,
            asks_consent: client.asks_consent,
            dpop_bound_access_tokens: client.dpop_bound_access_tokens,
            certificate: client.certificate,
            tls_client_certificate_bound_access_tokens: client.tls_client_certificate_bound_access_tokens,
            state: client.state,
            created_at: when(client.created_at),
        }
    }
}

#[derive(Serialize)]
pub struct ClientMade {
    #[serde(flatten)]
    pub client: ClientView,
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Zeroizing<String>>,
}

impl Operator {
    pub async fn create_client(&self, by: &By, new: NewClient) -> Answer<ClientMade> {
        let app = self.load_app(&new.app).await?;
        let id = new.id.unwrap_or_else(|| ClientId::mint(self.rng()));
        if self.store().find_client(&id).await?.is_some() {
            return Err(OperatorError::conflict(format!("the client `{id}` exists"), "choose another --id"));
        }
        let authentication = new.policy.authentication.unwrap_or(ClientAuthentication::None);
        let mut client = Client {
            name: app.name.clone(),
            application: app.id.clone(),
            authentication,
            secrets: Vec::new(),
            jwks: None,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            grants: default_grants(authentication, &new.policy),
            scopes: Default::default(),
            roles: Vec::new(),
            resources: vec![self.parts.default_audience.clone()],
            introspects: Vec::new(),
            token_form: TokenForm::Jwt,
            access_token_life_s: 600,
            refresh_token_life_s: Some(30 * 86_400),
            rotate_refresh_tokens: true,
            refresh_window_s: 30,
            pkce: Pkce::Required,
            asks_consent: true,
            dpop_bound_access_tokens: false,
            certificate: None,
            tls_client_certificate_bound_access_tokens: authentication.is_by_certificate(),
            state: State::Enabled,
            created_at: self.now(),
            born: Position::default(),
            id,
        };
        apply(&mut client, new.policy)?;
        let secret = takes_secret(client.authentication).then(|| ClientSecret::mint(self.rng()));
        client.secrets = secret.iter().map(ClientSecret::digest).collect();
        check_whole(&client)?;
        client_certificate::check(&client, self.parts.takes_certificates)?;
        let act = self.act(by, "client.create", client.id.as_str()).client(&client.id).application(&app.id);
        let stored = self.store().create_client(act, client).await?;
        let client = self.everywhere(stored).await?.into();
        Ok(ClientMade { client, client_secret: secret.map(|secret| Zeroizing::new(secret.reveal().to_owned())) })
    }

    pub async fn list_clients(&self) -> Answer<Vec<ClientView>> {
        Ok(self.store().list_clients().await?.into_iter().map(ClientView::from).collect())
    }

    pub async fn show_client(&self, client: &str) -> Answer<ClientView> {
        Ok(self.load_client(client).await?.into())
    }

    /// Scopes and roles that the client loses are gone from its living tokens when this returns.
    pub async fn change_client(&self, by: &By, client: &str, policy: ClientPolicy) -> Answer<ClientView> {
        let mut client = self.load_client(client).await?;
        if policy.authentication.is_some_and(|way| takes_secret(way) && client.secrets.is_empty()) {
            return Err(OperatorError::invalid(
                "this client has no secret to authenticate with",
                format!("make one first: trigate client rotate-secret {}", client.id),
            ));
        }
        apply(&mut client, policy)?;
        check_whole(&client)?;
        client_certificate::check(&client, self.parts.takes_certificates)?;
        let act = self.act(by, "client.change", client.id.as_str()).client(&client.id).application(&client.application);
        let changed = self.store().change_client(act, client).await?;
        Ok(self.everywhere(changed).await?.into())
    }

    /// A new secret; the newest old one goes on working beside it until `retire_secret`, unless it is `drop_old`.
    pub async fn rotate_secret(&self, by: &By, client: &str, drop_old: bool) -> Answer<ClientMade> {
        let mut client = self.load_client(client).await?;
        if !takes_secret(client.authentication) {
            return Err(OperatorError::invalid(
                format!("`{}` authenticates by {} and has no secret", client.id, client.authentication.as_str()),
                "change its `authentication` to client_secret_basic or client_secret_post when it is created",
            ));
        }
        let secret = ClientSecret::mint(self.rng());
        let kept = if drop_old { 0 } else { 1 };
        client.secrets = std::iter::once(secret.digest()).chain(client.secrets.iter().copied().take(kept)).collect();
        let act = self
            .act(by, "client.rotate_secret", client.id.as_str())
            .client(&client.id)
            .application(&client.application)
            .fact("kept_old", kept);
        let changed = self.store().change_client(act, client).await?;
        let client = self.everywhere(changed).await?.into();
        Ok(ClientMade { client, client_secret: Some(Zeroizing::new(secret.reveal().to_owned())) })
    }

    /// Ends the overlap: only the newest secret is left.
    pub async fn retire_secret(&self, by: &By, client: &str) -> Answer<ClientView> {
        let mut client = self.load_client(client).await?;
        if client.secrets.len() < 2 {
            return Err(OperatorError::conflict(
                format!("`{}` has no older secret", client.id),
                "make a new one first: `trigate client rotate-secret`",
            ));
        }
        client.secrets.truncate(1);
        let act = self
            .act(by, "client.retire_secret", client.id.as_str())
            .client(&client.id)
            .application(&client.application);
        let changed = self.store().change_client(act, client).await?;
        Ok(self.everywhere(changed).await?.into())
    }

    pub async fn set_client_state(&self, by: &By, client: &str, state: State) -> Answer<ClientView> {
        let client = self.load_client(client).await?;
        let act = self
            .act(by, state_verb("client", state), client.id.as_str())
            .client(&client.id)
            .application(&client.application);
        let changed = self.store().set_client_state(act, &client.id, state).await?;
        Ok(self.everywhere(changed).await?.into())
    }

    pub(super) async fn load_client(&self, text: &str) -> Answer<Client> {
        let found = match ClientId::parse(text) {
            Ok(id) => self.store().find_client(&id).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| OperatorError::missing("client", text, "see `trigate client list`"))
    }
}

const fn takes_secret(way: ClientAuthentication) -> bool {
    matches!(way, ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost)
}

fn default_grants(authentication: ClientAuthentication, policy: &ClientPolicy) -> Vec<GrantType> {
    let redirects = policy.redirect_uris.as_ref().is_some_and(|uris| !uris.is_empty());
    if authentication == ClientAuthentication::None || redirects {
        vec![GrantType::AuthorizationCode, GrantType::RefreshToken]
    } else if policy.introspects.is_some() && policy.scopes.is_none() {
        // A resource server asks about tokens; it needs none of its own.
        Vec::new()
    } else {
        vec![GrantType::ClientCredentials]
    }
}

fn apply(client: &mut Client, policy: ClientPolicy) -> Answer<()> {
    client.authentication = policy.authentication.unwrap_or(client.authentication);
    client_certificate::apply(client, &policy)?;
    if let Some(name) = policy.name {
        client.name = check_name("client", &name)?;
    }
    if let Some(jwks) = policy.jwks {
        client.jwks = Some(check_jwks(jwks)?);
    }
    if let Some(uris) = policy.redirect_uris {
        client.redirect_uris = uris.into_iter().map(check_redirect).collect::<Answer<_>>()?;
    }
    if let Some(uris) = policy.post_logout_redirect_uris {
        client.post_logout_redirect_uris = uris.into_iter().map(check_redirect).collect::<Answer<_>>()?;
    }
    if let Some(scopes) = policy.scopes {
        client.scopes = parse_scopes(&scopes)?;
    }
    if let Some(roles) = policy.roles {
        roles.iter().try_for_each(|role| check_role(role).map(drop))?;
        client.roles = roles;
    }
    if let Some(resources) = policy.resources {
        client.resources = resources.into_iter().map(check_resource).collect::<Answer<_>>()?;
    }
    if let Some(introspects) = policy.introspects {
        client.introspects = introspects.into_iter().map(check_resource).collect::<Answer<_>>()?;
    }
    if let Some(life_s) = policy.refresh_token_life_s {
        client.refresh_token_life_s = (life_s > 0).then_some(life_s);
    }
    client.grants = policy.grants.unwrap_or_else(|| std::mem::take(&mut client.grants));
    client.token_form = policy.token_form.unwrap_or(client.token_form);
    client.access_token_life_s = policy.access_token_life_s.unwrap_or(client.access_token_life_s);
    client.rotate_refresh_tokens = policy.rotate_refresh_tokens.unwrap_or(client.rotate_refresh_tokens);
    client.refresh_window_s = policy.refresh_window_s.unwrap_or(client.refresh_window_s);
    client.pkce = policy.pkce.unwrap_or(client.pkce);
    client.asks_consent = policy.asks_consent.unwrap_or(client.asks_consent);
    client.dpop_bound_access_tokens = policy.dpop_bound_access_tokens.unwrap_or(client.dpop_bound_access_tokens);
    client.tls_client_certificate_bound_access_tokens =
        policy.tls_client_certificate_bound_access_tokens.unwrap_or(client.tls_client_certificate_bound_access_tokens);
    Ok(())
}

/// Truths about a client that no single member shows.
fn check_whole(client: &Client) -> Answer<()> {
    let code = client.may_use(GrantType::AuthorizationCode);
    if code && client.redirect_uris.is_empty() {
        return Err(OperatorError::invalid(
            "a client of the code flow needs a redirect URI",
            "add --redirect-uri, such as http://127.0.0.1/callback for a program on a person's machine",
        ));
    }
    // RFC 6749 §4.4: only a confidential client may speak for itself.
    if client.is_public() && client.may_use(GrantType::ClientCredentials) {
        return Err(OperatorError::invalid(
            "a public client cannot use client credentials",
            "add --authentication client_secret_basic (or client_secret_post, private_key_jwt)",
        ));
    }
    if client.is_public() && client.pkce != Pkce::Required {
        return Err(OperatorError::invalid("a public client cannot go without PKCE", "leave --pkce at `required`"));
    }
    // RFC 7662 §2.1: the asker must prove who it is.
    if client.is_public() && !client.introspects.is_empty() {
        return Err(OperatorError::invalid(
            "a public client cannot introspect",
            "add --authentication client_secret_post to the resource server",
        ));
    }
    if client.authentication == ClientAuthentication::PrivateKeyJwt && client.jwks.is_none() {
        return Err(OperatorError::invalid("private_key_jwt needs the client's public keys", "add --jwks FILE"));
    }
    if !(10..=86_400).contains(&client.access_token_life_s) {
        return Err(OperatorError::invalid(
            "an access token lives 10 seconds to one day",
            "set --access-token-life between 10 and 86400; refresh tokens serve for longer",
        ));
    }
    // RFC 9700 §4.14.2
    if client.is_public() && client.refresh_token_life_s.is_some() && !client.rotate_refresh_tokens {
        return Err(OperatorError::invalid(
            "refresh tokens of a public client must rotate",
            "leave rotation on, or give it no refresh tokens (--refresh-token-life 0)",
        ));
    }
    if client.refresh_window_s > 300 {
        return Err(OperatorError::invalid(
            "the window for a repeated refresh is at most 300 seconds",
            "set a shorter one",
        ));
    }
    Ok(())
}

fn check_jwks(jwks: serde_json::Value) -> Answer<serde_json::Value> {
    let (keys, _) = Jwks::parse(jwks.to_string().as_bytes()).map_err(|error| {
        OperatorError::invalid(format!("the JWK set cannot be used: {error}"), "give public keys alone: {\"keys\":[…]}")
    })?;
    if keys.is_empty() {
        return Err(OperatorError::invalid(
            "the JWK set has no usable public key",
            "RSA of 2048 bits and more, P-256, P-384 or Ed25519",
        ));
    }
    Ok(keys.to_json())
}

/// RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1: by the issuer's own rule, which it applies again at each request.
fn check_redirect(uri: String) -> Answer<String> {
    if uri.contains('*') {
        return Err(OperatorError::invalid(
            "redirect URIs are compared exactly; `*` matches nothing",
            "register each URI",
        ));
    }
    match trigate_issuer::check_redirect_uri(&uri) {
        Ok(()) => Ok(uri),
        Err(error) => Err(OperatorError::invalid(
            format!("redirect URI `{}`: {error}", uri.escape_default()),
            "write https://app.example/callback, or http://127.0.0.1/callback for a program on a person's machine",
        )),
    }
}

/// RFC 8707 §2: an absolute URI without a fragment.
fn check_resource(uri: String) -> Answer<String> {
    match Url::parse(&uri) {
        Ok(parsed) if parsed.fragment().is_none() => Ok(uri),
        _ => Err(OperatorError::invalid(
            format!("`{}` is no resource", uri.escape_default()),
            "write the API's URL, such as https://api.example",
        )),
    }
}
