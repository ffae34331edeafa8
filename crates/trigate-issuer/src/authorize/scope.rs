//! What does the client want to do? Only what it is registered for; silence is no scope (RFC 6749 §3.3).

use super::answer::ClientError;
use crate::web::Params;
use trigate_core::{client::Client, oauth::ScopeSet};

pub(super) fn check_scopes(params: &Params, client: &Client) -> Result<ScopeSet, ClientError> {
    let scopes = params.get("scope").ok_or(ClientError::ScopeMissing)?;
    // DEPARTS OpenID Connect Core §3.1.2.1 ("SHOULD be ignored"): RFC 6749 §3.3 lets us say no, and a client that asks for
    // what it may not have should learn it, not find out later.
    let scopes = ScopeSet::parse(scopes).map_err(|_| ClientError::Scope)?;
    if scopes.is_subset(&client.scopes) { Ok(scopes) } else { Err(ClientError::Scope) }
}
