//! Which other authorization servers are trusted, and how is each read? Their words in the file, the presets of known
//! providers, and what of it is too dangerous to start with.
//!
//! Trusts a provider's documentation for what its tokens look like. Never holds a secret in the file.

use super::{
    Config,
    check::{Check, below, is_loopback_url, replace},
    file::{Claims, TrustedIssuer, Words, is_false},
    place::Step,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trigate_core::{id::AppId, jose::Algorithm};
use trigate_gates::{ClaimNames, ClientSecret, IntrospectionMethod, IssuerRule, KeySource, ServiceMark};
use zeroize::Zeroizing;

/// What an issuer whose access tokens look like its ID tokens must say, when no preset tells them apart.
pub const ID_TOKENS: &str = "danger: ID tokens pass as access tokens";

/// Seconds that a route may use an issuer's answer again.
pub const MAX_INTROSPECTION_CACHE_S: u32 = 300;

/// A provider whose tokens are known from its documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    Keycloak,
    Auth0,
    Entra,
    Okta,
    Google,
}

/// Ask the issuer about each token instead of verifying it (RFC 7662).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AskIssuer {
    /// The introspection endpoint.
    pub url: String,
    /// Who we are there.
    pub client_id: String,
    /// File of our secret there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// Environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// `client_secret_basic` (default) or `client_secret_post`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// Take the issuer's back-channel logout (OpenID Connect Back-Channel Logout 1.0).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TakeLogout {
    /// Our client ids there: `aud` of its logout tokens.
    pub audience: Words,
    /// What a logout ends: `user` (default) everything issued about the person before, `session` the one session alone.
    /// Only choose `session` where access tokens carry `sid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<LogoutEnds>,
    /// The named override for an issuer that writes `JWT`, or nothing, instead of `logout+jwt` into the header.
    #[serde(skip_serializing_if = "is_false")]
    pub untyped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogoutEnds {
    User,
    Session,
}

/// One stream of security events (Shared Signals Framework 1.0).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignalStream {
    /// In the path `/signals/NAME` and in the acts.
    pub name: String,
    /// `iss` of the events.
    pub issuer: String,
    /// File or URL of the transmitter's keys, where it is no trusted issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// URL of the trusted issuer whose tokens the events end. Default: `issuer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// `aud` of the events.
    pub audience: Words,
    /// File of the credential that the transmitter pushes with (RFC 8935): its whole `Authorization` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_secret_file: Option<String>,
    /// Environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_secret_env: Option<String>,
    /// Where events are fetched (RFC 8936).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_url: Option<String>,
    /// File of the bearer token for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_token_file: Option<String>,
    /// Environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_token_env: Option<String>,
    /// What a session's end ends: `user` (default), or `session` where access tokens carry `sid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<LogoutEnds>,
    /// Seconds between two polls. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_every_s: Option<u32>,
}

/// A secret from a file or the environment: where it stands is in the file, itself never.
pub fn read_secret(config: &Config, file: Option<&str>, env: Option<&str>) -> Result<Zeroizing<String>, String> {
    let text = match (file, env) {
        (Some(file), None) => {
            let path = config.resolve(file);
            let read = std::fs::read_to_string(&path);
            Zeroizing::new(read.map_err(|error| format!("the secret `{}` cannot be read: {error}", path.display()))?)
        }
        (None, Some(name)) => {
            Zeroizing::new(super::environment(name).ok_or_else(|| format!("the variable `{name}` is not set"))?)
        }
        _ => return Err("a secret comes from exactly one file or variable".to_owned()),
    };
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() { Err("a secret is empty".to_owned()) } else { Ok(text) }
}

pub(super) fn foreign_issuer(config: &Config, issuer: &TrustedIssuer) -> Result<IssuerRule, String> {
    let keys = key_source(config, issuer.jwks.as_deref());
    let mut rule = IssuerRule::new(&issuer.url, keys, issuer.audiences.clone());
    if let Some(preset) = issuer.preset {
        apply(preset, &mut rule);
    }
    rule.danger_any_audience =
        issuer.audiences.is_empty() && issuer.accept_any_audience.as_deref() == Some(super::ANY_AUDIENCE);
    if !issuer.typ.is_empty() {
        rule.typ = issuer.typ.iter().map(|typ| typ.strip_prefix("application/").unwrap_or(typ).to_owned()).collect();
    }
    if !issuer.algorithms.is_empty() {
        let parse = |name: &String| name.parse().map_err(|_| format!("`{name}` is no algorithm"));
        rule.algorithms = issuer.algorithms.iter().map(parse).collect::<Result<_, _>>()?;
    }
    rule.leeway_s = issuer.leeway_s.unwrap_or(rule.leeway_s);
    rule.max_life_s = issuer.max_life_s.unwrap_or(rule.max_life_s);
    rule.bound = issuer.bound;
    if let Some(names) = &issuer.claims {
        rename(&mut rule.claims, names);
    }
    rule.introspection = issuer.introspection.as_ref().map(|asks| introspection(config, asks)).transpose()?;
    let applications = issuer.applications.iter();
    rule.applications = applications
        .map(|(client, id)| AppId::parse(id).map(|id| (client.clone(), id)).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    Ok(rule)
}

/// A file or URL, or discovery.
pub fn key_source(config: &Config, jwks: Option<&str>) -> KeySource {
    match jwks {
        None => KeySource::Discovery,
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => KeySource::JwksUrl(url.to_owned()),
        Some(path) => KeySource::JwksFile(config.resolve(path)),
    }
}

fn rename(claims: &mut ClaimNames, names: &Claims) {
    for (name, said) in
        [(&mut claims.scope, &names.scope), (&mut claims.roles, &names.roles), (&mut claims.client, &names.client)]
    {
        if !said.is_empty() {
            name.clone_from(&said.0);
        }
    }
    if let Some(user) = &names.user {
        claims.user.clone_from(user);
    }
}

fn introspection(config: &Config, asks: &AskIssuer) -> Result<trigate_gates::Introspection, String> {
    let method = match asks.method.as_deref() {
        None | Some("client_secret_basic") => IntrospectionMethod::Basic,
        Some("client_secret_post") => IntrospectionMethod::Post,
        Some(other) => return Err(format!("`{other}` is neither `client_secret_basic` nor `client_secret_post`")),
    };
    let secret = read_secret(config, asks.secret_file.as_deref(), asks.secret_env.as_deref())?;
    let secret = ClientSecret::new(secret);
    Ok(trigate_gates::Introspection { url: asks.url.clone(), client: asks.client_id.clone(), secret, method })
}

/// What the provider's own pages say of its access tokens. None of these writes `at+jwt` by default, so each rule names
/// what tells its access tokens from its ID tokens.
fn apply(preset: Preset, rule: &mut IssuerRule) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let id_token_marks = || words(&["nonce", "at_hash", "c_hash"]);
    match preset {
        // Keycloak, "Server Administration Guide", OIDC clients: the payload's `typ` is `Bearer`, `ID` or `Refresh`;
        // realm roles in `realm_access.roles`; a service account's token has a `client_id` that names its `azp`.
        Preset::Keycloak => {
            rule.typ = words(&["JWT", "at+jwt"]);
            rule.demanded = vec![("typ".to_owned(), "Bearer".to_owned())];
            rule.claims.roles = words(&["realm_access.roles"]);
            rule.claims.client = words(&["azp"]);
            rule.services = vec![ServiceMark::NamesClient("client_id".to_owned())];
        }
        // Auth0, "Access Token Profiles": the Auth0 profile writes `JWT`, `azp` and `gty`, the other is RFC 9068;
        // "Role-Based Access Control": what the user may do stands in `permissions`.
        Preset::Auth0 => {
            rule.typ = words(&["JWT", "at+jwt"]);
            rule.marks_of_others = id_token_marks();
            rule.claims.client = words(&["azp", "client_id"]);
            rule.claims.roles = words(&["permissions"]);
            rule.algorithms = vec![Algorithm::RS256, Algorithm::PS256];
        }
        // Microsoft identity platform, "Access token claims reference": `scp` (v1 and v2) in tokens for users alone,
        // `roles`, `azp` (v2) or `appid` (v1), `tid`; "Claims validation": the tenant must be compared.
        Preset::Entra => {
            rule.typ = words(&["JWT"]);
            rule.marks_of_others = id_token_marks();
            rule.claims.scope = words(&["scp"]);
            rule.claims.client = words(&["azp", "appid"]);
            rule.algorithms = vec![Algorithm::RS256];
            rule.services =
                vec![ServiceMark::Is("idtyp".to_owned(), "app".to_owned()), ServiceMark::Absent("scp".to_owned())];
            if let Some((tenant, v1)) = entra_tenant(&rule.issuer) {
                rule.demanded = vec![("tid".to_owned(), tenant.to_owned())];
                // v1 tokens are signed by the tenant's v1 keys, which stand at another host than `iss`.
                if v1 && rule.keys == KeySource::Discovery {
                    rule.keys = KeySource::JwksUrl(format!("https://{ENTRA_HOST}/{tenant}/discovery/keys"));
                }
            }
        }
        // Okta, "OpenID Connect & OAuth 2.0 API", access token: no `typ` in the header; `cid`, `uid`, a list `scp`; for a
        // client itself `sub` is its id. A custom authorization server may add `groups`.
        Preset::Okta => {
            rule.typ = words(&["", "JWT", "at+jwt"]);
            rule.marks_of_others = words(&["nonce", "at_hash", "c_hash", "idp", "amr"]);
            rule.demanded = Vec::new();
            rule.claims.scope = words(&["scp"]);
            rule.claims.client = words(&["cid"]);
            rule.claims.roles = words(&["groups"]);
            rule.algorithms = vec![Algorithm::RS256];
        }
        // Google, "OpenID Connect", "Authenticate with a backend server": its access tokens are opaque, and APIs are shown
        // ID tokens whose `aud` is the API's client id. They carry no scopes.
        Preset::Google => {
            rule.typ = words(&["JWT"]);
            rule.claims.client = words(&["azp"]);
            rule.claims.scope = Vec::new();
            rule.algorithms = vec![Algorithm::RS256];
        }
    }
}

const ENTRA_HOST: &str = "login.microsoftonline.com";

/// The tenant that an issuer URL names, and whether it is of v1.
fn entra_tenant(issuer: &str) -> Option<(&str, bool)> {
    let v2 = issuer.strip_prefix("https://login.microsoftonline.com/").and_then(|rest| rest.strip_suffix("/v2.0"));
    let v1 = || issuer.strip_prefix("https://sts.windows.net/").and_then(|rest| rest.strip_suffix('/'));
    let found = v2.map(|tenant| (tenant, false)).or_else(|| v1().map(|tenant| (tenant, true)));
    found
        .filter(|(tenant, _)| tenant.len() == 36 && tenant.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
}

/// Is this a name for a path and for acts?
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl Check<'_> {
    pub(super) fn check_issuer_kind(&mut self, index: usize, issuer: &TrustedIssuer, head: usize) {
        if issuer.preset == Some(Preset::Entra) && entra_tenant(&issuer.url).is_none() {
            let line = self.issuer_line(index, "url");
            let why =
                "an Entra issuer names its tenant by id: with `common` every organization's users would be let in";
            let v2 = "url = \"https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0\"";
            self.refuse(line, why, vec![replace(line, v2, "to trust your own tenant (write its id)")]);
        }
        let plain = |typ: &String| matches!(typ.to_ascii_lowercase().as_str(), "jwt" | "application/jwt" | "");
        let named = issuer.preset.is_some() || issuer.id_tokens.as_deref() == Some(ID_TOKENS);
        if issuer.typ.iter().any(plain) && !named {
            let line = self.issuer_line(index, "typ");
            let why = "`typ` takes `JWT`: nothing then tells this issuer's access tokens from its ID tokens";
            let remedies = vec![
                replace(line, "typ = [\"at+jwt\"]", "if its access tokens follow RFC 9068"),
                below(
                    head,
                    &format!("id_tokens = \"{ID_TOKENS}\""),
                    "if they do not, and no preset knows the provider",
                ),
            ];
            self.refuse(line, why, remedies);
        }
        self.check_issuer_introspection(index, issuer);
        self.check_issuer_logout(index, issuer, head);
    }

    fn check_issuer_introspection(&mut self, index: usize, issuer: &TrustedIssuer) {
        let Some(asks) = &issuer.introspection else { return };
        let line = self.issuer_line(index, "introspection");
        if asks.client_id.is_empty() {
            self.refuse(line, "introspection without `client_id`: an endpoint answers known parties alone", vec![]);
        }
        if asks.secret_file.is_some() == asks.secret_env.is_some() {
            self.refuse(line, "introspection needs `secret_file` or `secret_env`, one of them", vec![]);
        }
        if !matches!(asks.method.as_deref(), None | Some("client_secret_basic" | "client_secret_post")) {
            self.refuse(line, "`method` is `client_secret_basic` or `client_secret_post`", vec![]);
        }
        self.check_issuer_url(&asks.url, issuer.insecure_http, line, line);
    }

    fn check_issuer_logout(&mut self, index: usize, issuer: &TrustedIssuer, head: usize) {
        let Some(logout) = &issuer.logout else { return };
        let line = self.issuer_line(index, "logout");
        if logout.audience.is_empty() {
            self.refuse(line, "logout tokens for anybody: `audience` names our client ids there", vec![]);
        }
        match issuer.name.as_deref() {
            Some(name) if is_name(name) => {}
            _ => {
                let remedy = below(head, "name = \"login\"", "to receive at `/backchannel-logout/login`");
                self.refuse(line, "an issuer that sends logout tokens needs a `name` for its path", vec![remedy]);
            }
        }
    }

    /// Two issuers that are asked would both be shown every opaque token.
    pub(super) fn check_askers(&mut self) {
        let mut asked =
            self.file.trusted_issuer.iter().enumerate().filter(|(_, issuer)| issuer.introspection.is_some());
        if let Some((index, _)) = asked.nth(1) {
            let line = self.issuer_line(index, "introspection");
            let why = "a second issuer with `introspection`: an opaque token names no issuer, and must not be shown to \
                       two";
            self.refuse(line, why, vec![]);
        }
    }

    pub(super) fn check_signals(&mut self) {
        let mut names = std::collections::HashSet::new();
        for (index, stream) in self.file.signals.iter().enumerate() {
            let head = self.line(&[Step::Key("signals"), Step::Index(index)]);
            if !is_name(&stream.name) || !names.insert(stream.name.as_str()) {
                self.refuse(head, "a stream of signals needs a `name` of its own: letters, digits, `-`, `_`", vec![]);
            }
            if stream.audience.is_empty() {
                self.refuse(head, "signals for anybody: `audience` is what the transmitter writes for us", vec![]);
            }
            self.check_stream_url(&stream.issuer, head);
            let about = stream.about.as_ref().unwrap_or(&stream.issuer);
            if !self.file.trusted_issuer.iter().any(|issuer| issuer.url == *about) {
                let why =
                    format!("the signals are about `{about}`, which is no trusted issuer: they would end nothing");
                self.refuse(head, why, vec![]);
            }
            self.check_stream_ways(stream, head);
        }
    }

    fn check_stream_url(&mut self, url: &str, head: usize) {
        if !url::Url::parse(url).is_ok_and(|parsed| parsed.scheme() == "https" || is_loopback_url(&parsed)) {
            self.refuse(head, format!("`{url}` is not https: whoever sits between could keep a signal back"), vec![]);
        }
    }

    fn check_stream_ways(&mut self, stream: &SignalStream, head: usize) {
        let push = (stream.push_secret_file.is_some(), stream.push_secret_env.is_some());
        let token = (stream.poll_token_file.is_some(), stream.poll_token_env.is_some());
        if push == (true, true) || token == (true, true) {
            self.refuse(head, "a secret comes from one file or one variable", vec![]);
        }
        if push == (false, false) && stream.poll_url.is_none() {
            let remedies = vec![
                below(head, "push_secret_file = \"push.secret\"", "to let the transmitter push"),
                below(
                    head,
                    "poll_url = \"https://issuer.example/poll\"\npoll_token_file = \"poll.token\"",
                    "to fetch from it",
                ),
            ];
            self.refuse(head, "no way for the signals to come: neither push nor poll", remedies);
        }
        if let Some(url) = &stream.poll_url {
            if token == (false, false) {
                self.refuse(head, "polling needs `poll_token_file` or `poll_token_env`", vec![]);
            }
            self.check_stream_url(url, head);
        }
    }
}
