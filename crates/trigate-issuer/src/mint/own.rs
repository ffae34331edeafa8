//! Is this text a token that we minted, and what does it say? For introspection, revocation and hints alone: gates have
//! their own reader. Says nothing about life or revocation.

use crate::Issuer;
use trigate_core::{
    Position, Timestamp,
    credential::OpaqueToken,
    id::{AppId, ClientId, GrantId, SessionId, TokenId, UserId},
    identity::{Identity, TokenFacts},
    jose::{Claims, Compact, MAX_TOKEN_BYTES, Payload, check_issuer},
    oauth::ScopeSet,
    port::StoreError,
    proof::Confirmation,
};

/// An access token of ours in either form.
pub(crate) async fn read_access(issuer: &Issuer, text: &str) -> Result<Option<TokenFacts>, StoreError> {
    if let Some(token) = OpaqueToken::parse(text, issuer.checksum_key()) {
        return issuer.store.find_opaque_token(&token.digest()).await;
    }
    let verified = verify(issuer, text, "at+jwt");
    Ok(verified.and_then(|(payload, kid)| Some(TokenFacts { kid: Some(kid), ..facts(payload.claims())? })))
}

/// An ID token of ours, however old: whom it is about, and for which client (OpenID Connect Core §3.1.2.1).
pub(crate) fn read_hint(issuer: &Issuer, text: &str) -> Option<(UserId, ClientId)> {
    let (payload, _) = verify(issuer, text, "JWT")?;
    let claims = payload.claims();
    let user = UserId::parse(claims.required_identifier("sub").ok()?).ok()?;
    let client = ClientId::parse(claims.required_text("aud").ok()?).ok()?;
    Some((user, client))
}

/// What one of our published keys signed, and that key's name.
fn verify(issuer: &Issuer, text: &str, typ: &str) -> Option<(Payload, String)> {
    let compact = Compact::parse(text, MAX_TOKEN_BYTES).ok()?;
    let ring = issuer.keyring.load();
    // Exactly the `typ` that we write: a token of one kind is never taken for another. // RFC 8725 §3.11
    if !compact.typ_is(typ) {
        return None;
    }
    let kid = compact.kid()?;
    let payload = compact.verify(ring.verifier(kid, issuer.now())?).ok()?;
    check_issuer(payload.claims(), &issuer.config.issuer).ok()?;
    Some((payload, kid.to_owned()))
}

fn facts(claims: Claims<'_>) -> Option<TokenFacts> {
    let subject = claims.required_identifier("sub").ok()?.to_owned();
    let client = ClientId::parse(claims.required_identifier("client_id").ok()?).ok()?;
    let identity = if subject == client.as_str() {
        Identity::Service { client: client.clone() }
    } else {
        let email = claims.text("email").ok()?.map(str::to_owned);
        Identity::User { id: UserId::parse(&subject).ok()?, email }
    };
    let time = |name| claims.time(name).ok().flatten().map(Timestamp::from_seconds);
    Some(TokenFacts {
        issuer: claims.required_text("iss").ok()?.into(),
        subject,
        client: Some(client),
        application: claims.text("app").ok()?.and_then(|id| AppId::parse(id).ok()),
        identity,
        token: TokenId::parse(claims.required_text("jti").ok()?).ok()?,
        session: claims.text("sid").ok()?.and_then(|id| SessionId::parse(id).ok()),
        grant: claims.text("gid").ok()?.and_then(|id| GrantId::parse(id).ok()),
        audiences: claims.text_or_list("aud").ok()??,
        scopes: ScopeSet::parse(claims.text("scope").ok()?.unwrap_or_default()).ok()?,
        roles: claims.text_list("roles").ok()?.unwrap_or_default(),
        issued_at: time("iat"),
        not_before: None,
        expires_at: time("exp")?,
        authenticated_at: time("auth_time"),
        acr: claims.text("acr").ok()?.map(str::to_owned),
        position: claims.integer("pos").ok()?.map(Position),
        actor: None,
        kid: None,
        confirmation: Confirmation::read(claims).ok()?,
    })
}
