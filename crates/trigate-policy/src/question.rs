//! How does Cedar read a question of the gates? As principal, action, resource and context of the one schema.

use crate::{Slice, load, slice::action_of};
use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use std::collections::HashSet;
use trigate_core::{identity::Identity, port::Question};

/// `None`: it cannot be put.
pub(crate) fn put(slice: &Slice, question: &Question<'_>) -> Option<(Request, Entities)> {
    let principal = principal(question)?;
    let context = if slice.reads_context { context(question)? } else { Context::empty() };
    let action = uid("Action", action_of(question.method))?;
    let request = Request::new(principal.clone(), action, uid("Route", question.route)?, context, None).ok()?;
    let roles = slice.reads_roles && !question.roles.is_empty();
    Some((request, entities(principal, if roles { question.roles } else { &[] })?))
}

pub(crate) fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(kind.parse::<EntityTypeName>().ok()?, EntityId::new(id)))
}

fn principal(question: &Question<'_>) -> Option<EntityUid> {
    // SECURITY: two issuers may call two people by one name.
    let named = |id: &str| question.issuer.map_or(id.to_owned(), |issuer| format!("{issuer}|{id}"));
    match (question.identity, question.application) {
        (Some(Identity::User { id, .. }), _) => uid("User", &named(id.as_str())),
        (Some(Identity::Service { client }), _) => uid("Service", &named(client.as_str())),
        (Some(Identity::Machine { name }), _) => uid("Machine", name),
        (None, Some(application)) => uid("Application", application.as_str()),
        (None, None) => None,
    }
}

fn context(question: &Question<'_>) -> Option<Context> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let mut pairs = vec![
        ("path".to_owned(), text(question.path)),
        ("method".to_owned(), text(question.method)),
        ("address".to_owned(), RestrictedExpression::new_ip(question.address.to_string())),
        ("scopes".to_owned(), RestrictedExpression::new_set(question.scopes.iter().map(|scope| text(scope.as_str())))),
        ("roles".to_owned(), RestrictedExpression::new_set(question.roles.iter().map(|role| text(role)))),
    ];
    if let Some(application) = question.application {
        let application = RestrictedExpression::new_entity_uid(uid("Application", application.as_str())?);
        pairs.push(("application".to_owned(), application));
    }
    let optional = [("client", question.client), ("acr", question.acr)];
    pairs.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(value?)))));
    Context::from_pairs(pairs).ok()
}

/// The actions with their groups, and the principal with its roles.
fn entities(principal: EntityUid, roles: &[String]) -> Option<Entities> {
    let actions = load::actions()?;
    if roles.is_empty() {
        return Some(actions.clone());
    }
    let parents = roles.iter().map(|role| uid("Role", role)).collect::<Option<HashSet<_>>>()?;
    actions.clone().add_entities([Entity::new_no_attrs(principal, parents)], None).ok()
}
