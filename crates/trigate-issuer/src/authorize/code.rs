//! The code, and the grant that it opens: one act in the store.

use super::{
    Authorization,
    answer::{ClientError, Stop},
};
use crate::{Issuer, account::session::Login, web::Incoming};
use trigate_core::{
    Actor, Position,
    credential::AuthorizationCode,
    id::GrantId,
    port::{NewCode, StoreError},
    user::Grant,
};

pub(super) async fn issue(
    issuer: &Issuer,
    incoming: &Incoming,
    request: &Authorization,
    login: &Login,
) -> Result<AuthorizationCode, Stop> {
    let code = AuthorizationCode::mint(&*issuer.rng);
    let now = issuer.now();
    let grant = Grant {
        id: GrantId::mint(&*issuer.rng),
        user: login.session.user.clone(),
        client: request.client.id.clone(),
        application: request.client.application.clone(),
        session: Some(login.session.id.clone()),
        scopes: request.scopes.clone(),
        resources: request.resources.clone(),
        nonce: request.nonce.clone(),
        dpop_jkt: request.dpop_jkt.clone(),
        confirmation: None,
        authenticated_at: login.session.authenticated_at,
        amr: login.session.amr.clone(),
        acr: login.session.acr.clone(),
        created_at: now,
        revoked: false,
        born: Position::default(),
    };
    let act = issuer
        .act(Actor::User { user: grant.user.clone() }, "code.issue", &grant.id)
        .user(&grant.user)
        .client(&grant.client)
        .application(&grant.application)
        .address(incoming.peer)
        .fact("scope", &grant.scopes);
    let new = NewCode {
        digest: code.digest(),
        grant,
        redirect_uri: request.answer.redirect_uri().to_owned(),
        challenge: request.challenge.clone(),
        expires_at: now.plus_seconds(i64::from(issuer.config.code_life_s)),
    };
    match issuer.store.issue_code(act, new).await {
        Ok(committed) => committed.gives_only(),
        // The application is disabled; or, this very moment, the client, the person or the session. (O39)
        Err(StoreError::Conflict(_) | StoreError::Missing(_)) => {
            return Err(Stop::Redirect(Box::new(request.answer.clone()), ClientError::Withdrawn));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(code)
}
