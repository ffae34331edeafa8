//! Who is this person, as far as the client may know? (OpenID Connect Core §5.3.) The hall mounts it behind the gates: what
//! arrives here is proven.

use crate::Issuer;
use serde_json::{Map, Value, json};
use trigate_core::{
    application::State,
    identity::{Caller, Identity},
    port::StoreError,
};

#[derive(Debug, thiserror::Error)]
pub enum UserinfoError {
    /// 403 `insufficient_scope`: the scope `openid` is needed.
    #[error("the token has no scope `openid`")]
    NoScope,
    /// 401 `invalid_token`: the token speaks for no person who is still here.
    #[error("the token is not that of a person")]
    NotAUser,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Claims by scope (OpenID Connect Core §5.4): `sub` always, `name` for `profile`, the address for `email`.
///
/// # Errors
/// See [`UserinfoError`].
pub async fn userinfo(issuer: &Issuer, caller: &Caller) -> Result<Value, UserinfoError> {
    let Identity::User { id, .. } = &caller.identity else { return Err(UserinfoError::NotAUser) };
    if !caller.scopes.has("openid") {
        return Err(UserinfoError::NoScope);
    }
    let user = issuer.store.find_user(id).await?.filter(|user| user.state == State::Enabled);
    let user = user.ok_or(UserinfoError::NotAUser)?;
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(user.id));
    if caller.scopes.has("profile") {
        claims.insert("name".into(), json!(user.name));
    }
    if caller.scopes.has("email") {
        claims.insert("email".into(), json!(user.email));
        claims.insert("email_verified".into(), json!(user.email_verified));
    }
    Ok(Value::Object(claims))
}
