//! Is the code bound to who asked for it? PKCE with S256 alone (RFC 7636, OAuth 2.1 §4.1.1): `plain` shows the verifier
//! to whoever reads the URL.

use super::answer::ClientError;
use crate::web::Params;
use trigate_core::client::{Client, Pkce};

/// base64url of 32 bytes.
const CHALLENGE_CHARS: usize = 43;

pub(super) fn check_challenge(params: &Params, client: &Client) -> Result<Option<String>, ClientError> {
    let Some(challenge) = params.get("code_challenge") else {
        return check_absence(params, client);
    };
    // RFC 7636 §4.3: without a method it would be `plain`.
    if params.get("code_challenge_method") != Some("S256") {
        return Err(ClientError::ChallengeMethod);
    }
    let fits = challenge.len() == CHALLENGE_CHARS
        && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits { Ok(Some(challenge.to_owned())) } else { Err(ClientError::ChallengeForm) }
}

fn check_absence(params: &Params, client: &Client) -> Result<Option<String>, ClientError> {
    let may = client.pkce == Pkce::OptionalForConfidentialClient && !client.is_public();
    if may && params.get("code_challenge_method").is_none() { Ok(None) } else { Err(ClientError::ChallengeMissing) }
}
