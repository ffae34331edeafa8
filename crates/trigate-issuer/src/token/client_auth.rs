//! Which client is this, and can it prove it? Exactly one method, the one that the client is registered for (RFC 6749 §2.3).
//!
//! Never says which of unknown, disabled, wrong secret or wrong method it was.

use super::{certificate, jwt_assertion};
use crate::{
    Issuer,
    web::{Incoming, Params, json::Wire, params},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{StatusCode, header};
use trigate_core::{
    application::State,
    client::{Client, ClientAuthentication},
    credential::Digest,
    id::ClientId,
    oauth::ErrorCode,
    port::StoreError,
};
use zeroize::Zeroizing;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuthError {
    /// More than one way at once, or two client ids that differ: which one was meant is a guess.
    Several,
    /// Neither id nor secret came.
    Absent,
    Refused,
    TooManyWrong {
        retry_after_s: u32,
    },
    Unavailable,
}

impl ClientAuthError {
    pub(crate) const fn wire(&self) -> Wire {
        match self {
            Self::Several => Wire::new(
                StatusCode::BAD_REQUEST,
                ErrorCode::InvalidRequest,
                "the client must authenticate in exactly one way",
            ),
            Self::Absent | Self::Refused => {
                Wire::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidClient, "client authentication failed")
            }
            Self::TooManyWrong { retry_after_s } => Wire {
                retry_after_s: Some(*retry_after_s),
                ..Wire::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::InvalidClient, "too many failed attempts")
            },
            Self::Unavailable => Wire {
                retry_after_s: Some(1),
                ..Wire::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable, "try again later")
            },
        }
    }
}

impl From<StoreError> for ClientAuthError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "client authentication: the store did not answer");
        Self::Unavailable
    }
}

/// What came to prove it with.
enum Proof {
    /// Nothing but its id: it is public, or the handshake has shown its certificate.
    Elsewhere,
    Basic(Zeroizing<String>),
    Post(Zeroizing<String>),
    Assertion(String),
}

impl Proof {
    /// A secret beside a certificate is no second way: the certificate may be there for the token alone. // RFC 8705 §3
    const fn is_by(&self, method: ClientAuthentication) -> bool {
        match self {
            Self::Elsewhere => matches!(method, ClientAuthentication::None) || method.is_by_certificate(),
            Self::Basic(_) => matches!(method, ClientAuthentication::ClientSecretBasic),
            Self::Post(_) => matches!(method, ClientAuthentication::ClientSecretPost),
            Self::Assertion(_) => matches!(method, ClientAuthentication::PrivateKeyJwt),
        }
    }
}

pub(crate) async fn authenticate(
    issuer: &Issuer,
    incoming: &Incoming,
    form: &Params,
) -> Result<Client, ClientAuthError> {
    let (id, proof) = read(incoming, form)?;
    let guesser = format!("client:{id}:{}", incoming.source());
    let now = issuer.now();
    issuer.guesses.check(&guesser, now).map_err(|retry_after_s| ClientAuthError::TooManyWrong { retry_after_s })?;
    let client = issuer.store.find_client(&id).await?;
    match client.filter(|client| client.state == State::Enabled && proof.is_by(client.authentication)) {
        Some(client) if proves(issuer, &client, &proof, incoming).await? => Ok(client),
        _ => {
            issuer.guesses.note_wrong(&guesser, now);
            Err(ClientAuthError::Refused)
        }
    }
}

/// Exactly one way. (O15)
fn read(incoming: &Incoming, form: &Params) -> Result<(ClientId, Proof), ClientAuthError> {
    let basic = read_basic(incoming)?;
    let secret = form.get("client_secret");
    let assertion = form.get("client_assertion");
    // A type without an assertion is half a method.
    let has_assertion = assertion.is_some() || form.get("client_assertion_type").is_some();
    if usize::from(basic.is_some()) + usize::from(secret.is_some()) + usize::from(has_assertion) > 1 {
        return Err(ClientAuthError::Several);
    }
    let named = form.get("client_id");
    let (id, proof) = match (basic, secret, has_assertion) {
        (Some((id, secret)), _, _) => (Some(id), Proof::Basic(secret)),
        (_, Some(secret), _) => (named.map(str::to_owned), Proof::Post(Zeroizing::new(secret.to_owned()))),
        (_, _, true) => {
            let assertion = jwt_assertion::check_type(form).ok_or(ClientAuthError::Refused)?;
            (jwt_assertion::claimed_client(assertion), Proof::Assertion(assertion.to_owned()))
        }
        _ => (named.map(str::to_owned), Proof::Elsewhere),
    };
    let id = id.ok_or(ClientAuthError::Absent)?;
    if named.is_some_and(|named| named != id) {
        return Err(ClientAuthError::Several);
    }
    Ok((ClientId::parse(&id).map_err(|_| ClientAuthError::Refused)?, proof))
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they are joined. (O16)
fn read_basic(incoming: &Incoming) -> Result<Option<(String, Zeroizing<String>)>, ClientAuthError> {
    let mut headers = incoming.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(ClientAuthError::Several);
    }
    let decoded = value.to_str().ok().and_then(|text| {
        let (scheme, credentials) = text.split_once(' ')?;
        let bytes = STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let text = Zeroizing::new(String::from_utf8(bytes).ok()?);
        let (id, secret) = text.split_once(':')?;
        Some((params::decode(id).ok()?, Zeroizing::new(params::decode(secret).ok()?)))
    });
    decoded.map(Some).ok_or(ClientAuthError::Refused)
}

async fn proves(issuer: &Issuer, client: &Client, proof: &Proof, incoming: &Incoming) -> Result<bool, ClientAuthError> {
    match proof {
        // A public client proves nothing; what it may do is bound by PKCE and redirect URI. // RFC 8705 §2, §4
        Proof::Elsewhere => Ok(client.is_public() || certificate::proves(client, incoming, issuer.now())),
        Proof::Basic(secret) | Proof::Post(secret) => {
            let digest = Digest::of(secret);
            // SECURITY: every secret is compared, each in constant time.
            Ok(client.secrets.iter().fold(false, |found, known| found | (*known == digest)))
        }
        Proof::Assertion(assertion) => jwt_assertion::proves(issuer, client, assertion).await,
    }
}
