//! What ends, for ever? Every credential of the target that was made before now. The answer comes when no gate accepts
//! one any more.

use super::{Answer, By, Operator, OperatorError, when};
use serde::{Deserialize, Serialize};
use trigate_core::{
    Timestamp,
    change::Target,
    credential::{Digest, OpaqueToken, RefreshToken},
    id::{ClientId, GrantId, SessionId, TokenId, UserId},
    jose::{Compact, MAX_TOKEN_BYTES, VerifyingKey},
};
use zeroize::Zeroizing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Token,
    Session,
    Grant,
    User,
    Client,
    App,
    Key,
    Cert,
    /// A serial, with its authority's name in `issuer`.
    CertSerial,
    /// SHA-256 of a public key.
    CertKey,
    Spiffe,
    SigningKey,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    pub kind: Kind,
    /// An id, a name, an e-mail, a fingerprint, or the credential itself.
    pub what: Zeroizing<String>,
    /// A trusted issuer, for its users, clients, sessions and tokens; for a serial, the name of its authority.
    #[serde(default)]
    pub issuer: Option<String>,
    /// `what` is the whole token, not its `jti`.
    #[serde(default)]
    pub whole: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Revoked {
    pub kind: &'static str,
    pub id: String,
    pub at: String,
    /// The feed position from which every gate refuses it.
    pub position: u64,
    /// Always true: the answer comes only then.
    pub everywhere: bool,
}

/// Longer than any token that we mint, or trust by default.
pub(super) const TOKEN_LIFE_S: i64 = crate::config::MAX_FOREIGN_LIFE_S as i64 + 3_600;
/// For what does not expire by itself.
const FOR_EVER_S: i64 = 100 * 365 * 86_400;

/// Until when the end of what was revoked at `at`, and never expires by itself, is kept.
pub(super) const fn for_ever(at: Timestamp) -> Timestamp {
    at.plus_seconds(FOR_EVER_S)
}

impl Operator {
    pub async fn revoke(&self, by: &By, revoke: Revoke) -> Answer<Revoked> {
        let (target, keep_until) = self.find_target(&revoke).await?;
        if let Target::SigningKey { kid } = &target {
            self.replace_before_revoking(by, kid).await?;
        }
        let at = self.now();
        let mut act = self.act(by, verb(&target), &target.id());
        if let Some(issuer) = &revoke.issuer {
            act = act.fact("issuer", issuer);
        }
        self.relate(&mut act, &target).await?;
        let committed = self.store().revoke(act, target.clone(), keep_until).await.map_err(|error| match error {
            trigate_core::port::StoreError::Missing(what) => {
                OperatorError::missing(what, &revoke.what, "check the id; foreign ones need --issuer")
            }
            other => other.into(),
        })?;
        let position = committed.position.0;
        self.everywhere(committed).await?;
        if let (Target::SigningKey { .. }, Some(rotation)) = (&target, &self.parts.rotation) {
            rotation.forget_revoked().await?;
        }
        Ok(Revoked { kind: target.kind(), id: target.id(), at: when(at), position, everywhere: true })
    }

    async fn find_target(&self, revoke: &Revoke) -> Answer<(Target, Timestamp)> {
        let what = revoke.what.trim();
        let issuer = revoke.issuer.clone();
        // A serial's issuer is an authority, by its name.
        if revoke.kind != Kind::CertSerial {
            self.check_trusted(issuer.as_deref())?;
        }
        let now = self.now();
        let tokens_gone = now.plus_seconds(TOKEN_LIFE_S);
        let for_ever = for_ever(now);
        Ok(match revoke.kind {
            Kind::Token => self.find_token(what, issuer.as_deref(), revoke.whole).await?,
            Kind::Session => {
                (Target::Session { id: parse(SessionId::parse(what), "session", what)?, issuer }, tokens_gone)
            }
            Kind::Grant => (Target::Grant { id: parse(GrantId::parse(what), "grant", what)? }, tokens_gone),
            Kind::User if issuer.is_some() => {
                (Target::User { id: parse(UserId::parse(what), "user", what)?, issuer }, tokens_gone)
            }
            Kind::User => (Target::User { id: self.load_user(what).await?.id, issuer: None }, tokens_gone),
            Kind::Client if issuer.is_some() => {
                (Target::Client { id: parse(ClientId::parse(what), "client", what)?, issuer }, tokens_gone)
            }
            Kind::Client => (Target::Client { id: self.load_client(what).await?.id, issuer: None }, tokens_gone),
            Kind::App => (Target::Application { id: self.load_app(what).await?.id }, for_ever),
            Kind::Key => (Target::Key { id: self.load_key(what).await?.id }, for_ever),
            Kind::Cert => self.find_certificate_target(what, for_ever).await?,
            Kind::CertSerial => (self.find_serial_target(what, issuer).await?, for_ever),
            Kind::CertKey => (Target::CertificateKey { spki: digest(what)? }, for_ever),
            Kind::Spiffe => (spiffe_target(what)?, for_ever),
            Kind::SigningKey => (Target::SigningKey { kid: what.to_owned() }, for_ever),
        })
    }

    /// A misspelt issuer must not pass for a revocation. One that is trusted no more has no tokens that could live.
    fn check_trusted(&self, issuer: Option<&str>) -> Answer<()> {
        let trusted = (self.parts.trusted_issuers)();
        match issuer {
            Some(issuer) if !trusted.iter().any(|known| known == issuer) => {
                let help = if trusted.is_empty() {
                    "the configuration trusts no other issuer; leave `issuer` out for what is ours".to_owned()
                } else {
                    format!("trusted are {}", trusted.join(", "))
                };
                Err(OperatorError::missing("trusted issuer", issuer, &help))
            }
            _ => Ok(()),
        }
    }

    /// A key that signs is replaced first: from the revocation on nothing it signed is good, new tokens included.
    async fn replace_before_revoking(&self, by: &By, kid: &str) -> Answer<()> {
        let known = self.list_signing_keys().await?;
        let key = known.iter().find(|key| key.kid == kid);
        let key = key.ok_or_else(|| OperatorError::missing("signing key", kid, "see `trigate keys list`"))?;
        if matches!(key.phase, "signing" | "next") {
            self.rotate_signing_keys(by, true).await?;
        }
        Ok(())
    }

    /// A token by its text (JWT, opaque, refresh) or by its `jti`.
    async fn find_token(&self, what: &str, issuer: Option<&str>, whole: bool) -> Answer<(Target, Timestamp)> {
        let fallback = self.now().plus_seconds(TOKEN_LIFE_S);
        if let Some(issuer) = issuer {
            let id = if whole { TokenId::of_text(what) } else { TokenId::foreign(issuer, what) };
            return Ok((Target::Token { id }, fallback));
        }
        if what.starts_with(RefreshToken::PREFIX) {
            let found = self.store().find_refresh_grant(&Digest::of(what)).await?;
            let (grant, _) = found.ok_or_else(unknown_token)?;
            return Ok((Target::Grant { id: grant.id }, fallback));
        }
        if what.starts_with(OpaqueToken::PREFIX) {
            let facts = self.store().find_opaque_token(&Digest::of(what)).await?.ok_or_else(unknown_token)?;
            return Ok((Target::Token { id: facts.token }, facts.expires_at.plus_seconds(3_600)));
        }
        if what.contains('.') {
            return self.read_jwt(what).await;
        }
        Ok((Target::Token { id: parse(TokenId::parse(what), "token id", what)? }, fallback))
    }

    /// Our own tokens are verified, so that a typing error does not pass for a revocation. A foreign issuer's keys are
    /// not known here: its token is named by what it says, which can only ever end the token that says the same.
    async fn read_jwt(&self, text: &str) -> Answer<(Target, Timestamp)> {
        let bad = |error: String| {
            OperatorError::invalid(format!("this is no token: {error}"), "pass the whole token on standard input")
        };
        let compact = Compact::parse(text, MAX_TOKEN_BYTES).map_err(|error| bad(error.to_string()))?;
        let claimed = compact.peek_issuer().ok_or_else(|| bad("it names no issuer".into()))?;
        if claimed != self.parts.issuer_url {
            self.check_trusted(Some(&claimed))?;
            return self.read_foreign_jwt(&claimed, text);
        }
        let keys = self.store().list_signing_keys().await?;
        let payload = keys
            .iter()
            .filter(|key| compact.kid().is_none_or(|kid| kid == key.kid))
            .filter_map(|key| VerifyingKey::from_jwk(&key.public_jwk).ok())
            .find_map(|key| compact.verify(&key).ok())
            .ok_or_else(|| bad("its signature is not by one of our keys".into()))?;
        let claims = payload.claims();
        let id = claims.required_text("jti").ok().and_then(|jti| TokenId::parse(jti).ok());
        let id = id.ok_or_else(|| bad("it has no `jti` of ours".into()))?;
        let exp = payload.object().get("exp").and_then(serde_json::Value::as_i64);
        let keep = exp.map_or_else(
            || self.now().plus_seconds(TOKEN_LIFE_S),
            |exp| Timestamp::from_seconds(exp).plus_seconds(3_600),
        );
        Ok((Target::Token { id }, keep))
    }

    fn read_foreign_jwt(&self, issuer: &str, text: &str) -> Answer<(Target, Timestamp)> {
        use base64::Engine as _;
        let claims: Option<serde_json::Value> = text
            .split('.')
            .nth(1)
            .and_then(|part| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let jti = claims.as_ref().and_then(|claims| claims.get("jti")).and_then(serde_json::Value::as_str);
        let id = jti.map_or_else(|| TokenId::of_text(text), |jti| TokenId::foreign(issuer, jti));
        Ok((Target::Token { id }, self.now().plus_seconds(TOKEN_LIFE_S)))
    }

    /// By fingerprint, serial, name, or the certificate itself in PEM.
    async fn find_certificate_target(&self, what: &str, for_ever: Timestamp) -> Answer<(Target, Timestamp)> {
        let fingerprint = match super::cert::fingerprint_of_pem(what) {
            Some(fingerprint) => fingerprint,
            None => what.replace(':', "").to_ascii_lowercase(),
        };
        let known = self.store().list_certificates().await?;
        let of_name: Vec<_> = known
            .iter()
            .filter(|cert| cert.fingerprint == fingerprint || cert.serial == fingerprint || cert.name == what)
            .collect();
        match of_name.as_slice() {
            [one] => {
                Ok((Target::Certificate { fingerprint: one.fingerprint.clone() }, one.not_after.plus_seconds(86_400)))
            }
            // A certificate of another CA that the gates trust: we have no record, but a fingerprint is enough.
            [] if fingerprint.len() == 64 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok((Target::Certificate { fingerprint }, for_ever))
            }
            [] => Err(OperatorError::missing(
                "certificate",
                what,
                "name its SHA-256 fingerprint or serial; see `trigate cert list`",
            )),
            several => Err(OperatorError::conflict(
                format!("{} certificates are named `{what}`", several.len()),
                "name the fingerprint of one; see `trigate cert list`",
            )),
        }
    }

    /// A serial is its authority's alone; one that was issued here brings its authority with it.
    async fn find_serial_target(&self, what: &str, issuer: Option<String>) -> Answer<Target> {
        let serial = what.replace(':', "").to_ascii_lowercase();
        let serial = serial.trim_start_matches("0x").trim_start_matches('0').to_owned();
        if serial.is_empty() || serial.len() > 40 || !serial.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(OperatorError::invalid(format!("`{what}` is no serial"), "write it in hexadecimal: 0a:1b:2c"));
        }
        if let Some(issuer) = issuer {
            let issuer = trigate_x509::distinguished_name(&issuer).ok_or_else(|| {
                OperatorError::invalid(
                    format!("`{}` is no name of an authority", issuer.escape_default()),
                    "openssl x509 -in cert.pem -noout -issuer -nameopt RFC2253",
                )
            })?;
            return Ok(Target::CertificateSerial { issuer, serial });
        }
        let known = self.store().list_certificates().await?;
        match known.iter().find(|cert| cert.serial == serial) {
            Some(cert) => Ok(Target::CertificateSerial { issuer: cert.issuer.clone(), serial }),
            None => Err(OperatorError::missing(
                "certificate",
                what,
                "it was not issued here: name its authority with --issuer \"CN=Acme CA,O=Acme\"",
            )),
        }
    }

    /// Notes whom the revocation concerns, so that "what happened to this account?" finds it.
    async fn relate(&self, act: &mut trigate_core::Act, target: &Target) -> Answer<()> {
        match target {
            Target::User { id, .. } => act.user = Some(id.clone()),
            Target::Client { id, .. } => act.client = Some(id.clone()),
            Target::Application { id } => act.application = Some(id.clone()),
            Target::Key { id } => {
                act.application = self.store().find_key(id).await?.map(|key| key.application);
            }
            Target::Grant { id } => {
                if let Some(grant) = self.store().find_grant(id).await? {
                    act.user = Some(grant.user);
                    act.client = Some(grant.client);
                    act.application = Some(grant.application);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

const fn verb(target: &Target) -> &'static str {
    match target {
        Target::Token { .. } => "token.revoke",
        Target::Session { .. } => "session.revoke",
        Target::Grant { .. } => "grant.revoke",
        Target::User { .. } => "user.revoke",
        Target::Client { .. } => "client.revoke",
        Target::Application { .. } => "app.revoke",
        Target::Key { .. } => "key.revoke",
        Target::Certificate { .. }
        | Target::CertificateSerial { .. }
        | Target::CertificateKey { .. }
        | Target::SpiffeId { .. } => "cert.revoke",
        Target::SigningKey { .. } => "keys.revoke",
    }
}

/// SHA-256 in hexadecimal, with or without colons.
fn digest(what: &str) -> Answer<String> {
    let text = what.replace(':', "").to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text);
    }
    Err(OperatorError::invalid(
        format!("`{what}` is no SHA-256"),
        "openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform der | sha256sum",
    ))
}

fn spiffe_target(what: &str) -> Answer<Target> {
    if trigate_x509::spiffe_domain(what).is_some() {
        return Ok(Target::SpiffeId { id: what.to_owned() });
    }
    Err(OperatorError::invalid(format!("`{what}` is no SPIFFE id"), "write spiffe://acme.example/billing"))
}

fn parse<T>(id: Result<T, trigate_core::id::BadId>, what: &'static str, text: &str) -> Answer<T> {
    id.map_err(|_| OperatorError::missing(what, text, "the text is no id of this kind"))
}

fn unknown_token() -> OperatorError {
    OperatorError::missing("token", "(not shown)", "it was not given out here, or is gone already")
}
