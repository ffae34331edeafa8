//! What may an operator choose about the issuer? Every default is the safe one; [`IssuerConfig::check`] refuses what is not.

use trigate_core::{jose::Algorithm, port::AttemptRules, proof::DEFAULT_ALGORITHMS};
use url::{Host, Url};

/// Seconds that anybody may keep the metadata and the key set.
pub(crate) const PUBLIC_MAX_AGE_S: u32 = 300;

/// One scope in words that people understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeDescription {
    pub name: String,
    /// Completes "This app wants to …": `see your orders`.
    pub description: String,
}

#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The issuer identifier, exactly as it stands in `iss`: `https://id.example.com`, without a slash at its end.
    pub issuer: String,
    /// Shown on every page.
    pub brand: String,
    /// Signs access and ID tokens.
    pub algorithm: Algorithm,
    /// `false` gives up `Secure` and the `__Host-` prefix; allowed only where the issuer is plain HTTP on loopback.
    pub secure_cookies: bool,
    /// Seconds without a visit after which a login ends.
    pub session_idle_s: u32,
    /// Seconds after which a login ends whatever happens.
    pub session_life_s: u32,
    /// Seconds that an authorization code lives.
    pub code_life_s: u32,
    /// Seconds that no access token outlives, whatever its client's setting.
    pub max_token_life_s: u32,
    /// Seconds that an ID token lives.
    pub id_token_life_s: u32,
    /// Password tries for one account, whoever makes them.
    pub login_attempts: AttemptRules,
    /// Password tries from one address (IPv6: one /64), whatever the account.
    pub source_attempts: AttemptRules,
    /// Wrong client secrets from one address, and wrong guesses at introspection by one client.
    pub wrong_guesses: AttemptRules,
    /// Seconds after which a signing key is replaced.
    pub key_life_s: u32,
    /// Seconds that a new key is published before it signs: as long as verifiers keep a key set.
    pub key_prepublish_s: u32,
    pub scopes: Vec<ScopeDescription>,
    /// Audience of access tokens where neither request nor client names one.
    pub default_audience: String,
    /// What DPoP proofs may be signed with.
    pub dpop_algorithms: Vec<Algorithm>,
    /// DPoP proofs at the token endpoint must carry a nonce of ours.
    pub dpop_nonce: bool,
    /// Client certificates reach this issuer. // RFC 8705
    pub mtls: Option<MutualTls>,
}

/// How client certificates reach the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutualTls {
    /// Where the endpoints of clients are reached with one: `https://mtls.id.example`. `None`: where they are without.
    pub alias: Option<String>,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        let scope =
            |name: &str, description: &str| ScopeDescription { name: name.into(), description: description.into() };
        Self {
            issuer: "http://localhost:8081".into(),
            brand: "Trigate".into(),
            algorithm: Algorithm::RS256,
            secure_cookies: true,
            session_idle_s: 2 * 3600,
            session_life_s: 12 * 3600,
            code_life_s: 60,
            max_token_life_s: 3600,
            id_token_life_s: 600,
            login_attempts: AttemptRules { max: 10, window_s: 900 },
            source_attempts: AttemptRules { max: 100, window_s: 900 },
            wrong_guesses: AttemptRules { max: 100, window_s: 60 },
            key_life_s: 90 * 86_400,
            key_prepublish_s: 3600,
            scopes: vec![
                scope("openid", "know that it is you"),
                scope("profile", "see your name"),
                scope("email", "see your e-mail address"),
                scope("offline_access", "stay connected when you are not there"),
            ],
            default_audience: "http://localhost:8080".into(),
            dpop_algorithms: DEFAULT_ALGORITHMS.to_vec(),
            dpop_nonce: false,
            mtls: None,
        }
    }
}

/// Why a configuration does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    #[error(
        "issuer `{0}` must be an absolute http or https URL of a host alone, without path, query, fragment, credentials or final slash"
    )]
    Issuer(String),
    #[error("issuer `{0}` is plain http: only a loopback host may be, use https")]
    PlainHttp(String),
    #[error("`secure_cookies = false` needs an issuer that is plain http on loopback, not `{0}`")]
    InsecureCookies(String),
    #[error("`{0}` must be between {1} and {2} seconds")]
    OutOfRange(&'static str, u32, u32),
    #[error("`default_audience` must not be empty")]
    NoAudience,
}

impl IssuerConfig {
    /// # Errors
    /// The first unsafe setting.
    pub fn check(&self) -> Result<(), BadConfig> {
        let url = self.parse_issuer()?;
        let loopback = is_loopback(&url);
        // RFC 8414 §2 wants https; a loopback issuer exists for development alone.
        if url.scheme() == "http" && !loopback {
            return Err(BadConfig::PlainHttp(self.issuer.clone()));
        }
        if !self.secure_cookies && url.scheme() == "https" {
            return Err(BadConfig::InsecureCookies(self.issuer.clone()));
        }
        if self.default_audience.is_empty() {
            return Err(BadConfig::NoAudience);
        }
        let ranges = [
            ("code_life_s", self.code_life_s, 10, 600),
            ("max_token_life_s", self.max_token_life_s, 30, 86_400),
            ("id_token_life_s", self.id_token_life_s, 30, 86_400),
            ("session_idle_s", self.session_idle_s, 60, 90 * 86_400),
            ("session_life_s", self.session_life_s, 60, 90 * 86_400),
            ("key_life_s", self.key_life_s, 3600, 3 * 366 * 86_400),
            // No key signs before every verifier that keeps our key set as long as we allow can have it.
            ("key_prepublish_s", self.key_prepublish_s, PUBLIC_MAX_AGE_S, 30 * 86_400),
        ];
        match ranges.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            Some((name, _, low, high)) => Err(BadConfig::OutOfRange(name, low, high)),
            None => Ok(()),
        }
    }

    // RFC 8414 §2, RFC 9207 §2: no query, no fragment; compared as text everywhere.
    fn parse_issuer(&self) -> Result<Url, BadConfig> {
        let bad = || BadConfig::Issuer(self.issuer.clone());
        let url = Url::parse(&self.issuer).map_err(|_| bad())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            // Pages and cookies (`Path=/`) are at the root of their host.
            && url.path() == "/"
            && !self.issuer.ends_with('/');
        if plain { Ok(url) } else { Err(bad()) }
    }

    pub(crate) fn mtls_alias(&self) -> Option<&String> {
        self.mtls.as_ref()?.alias.as_ref()
    }

    /// Scheme, host and port: what a browser sends as `Origin` from our pages.
    pub(crate) fn origin(&self) -> Result<String, BadConfig> {
        Ok(self.parse_issuer()?.origin().ascii_serialization())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_configurations_do_not_start() {
        let with =
            |issuer: &str, secure_cookies| IssuerConfig { issuer: issuer.into(), secure_cookies, ..Default::default() };
        assert_eq!(with("http://localhost:8081", true).check(), Ok(()));
        assert_eq!(with("http://127.0.0.1:8081", false).check(), Ok(()));
        assert_eq!(with("https://id.example.com", true).check(), Ok(()));
        for issuer in [
            "https://id.example.com/",
            "https://id.example.com?a",
            "https://id.example.com#a",
            "ftp://x",
            "id",
            "https://id.example.com/a",
        ] {
            assert!(matches!(with(issuer, true).check(), Err(BadConfig::Issuer(_))), "{issuer}");
        }
        assert!(matches!(with("http://id.example.com", true).check(), Err(BadConfig::PlainHttp(_))));
        let hasty = IssuerConfig { key_prepublish_s: 0, ..Default::default() };
        assert_eq!(hasty.check(), Err(BadConfig::OutOfRange("key_prepublish_s", PUBLIC_MAX_AGE_S, 30 * 86_400)));
        assert!(matches!(with("https://id.example.com", false).check(), Err(BadConfig::InsecureCookies(_))));
    }
}
