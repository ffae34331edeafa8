//! Are these policies fit to be used? Parsed, named, validated against the one schema, and cut into slices.

use crate::{
    Policies,
    fault::{Fault, Faults, line_of_diagnostic},
    slice::Slices,
};
use cedar_policy::{
    Authorizer, Entities, EntityUid, Policy, PolicyId, PolicySet, ResourceConstraint, Schema, ValidationMode, Validator,
};
use std::{collections::HashSet, sync::LazyLock};

/// A file of policies.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// A route that asks for policies.
#[derive(Clone, Copy, Debug)]
pub struct RouteFace<'a> {
    pub name: &'a str,
}

const SCHEMA: &str = include_str!("schema.cedarschema");

/// `None` cannot happen: a test reads it.
static SCHEMA_READ: LazyLock<Option<Schema>> =
    LazyLock::new(|| Schema::from_cedarschema_str(SCHEMA).ok().map(|(schema, _)| schema));

static ACTIONS: LazyLock<Option<Entities>> =
    LazyLock::new(|| SCHEMA_READ.as_ref().and_then(|schema| schema.action_entities().ok()));

pub(crate) fn actions() -> Option<&'static Entities> {
    ACTIONS.as_ref()
}

/// A policy under the name that Cedar keeps it by, and where it came from.
struct Read<'a> {
    policy: Policy,
    name: String,
    source: Source<'a>,
}

pub(crate) fn load(sources: &[Source<'_>], routes: &[RouteFace<'_>]) -> Result<Policies, Faults> {
    let mut faults = Vec::new();
    let read: Vec<Read<'_>> = sources.iter().flat_map(|source| read(*source, &mut faults)).collect();
    reject_names_twice(&read, &mut faults);
    reject_unknown_routes(&read, routes, &mut faults);
    validate(&read, &mut faults);
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let policies: Vec<Policy> = read.iter().map(|read| read.policy.clone()).collect();
    Ok(Policies {
        routes: routes.iter().map(|route| (route.name.to_owned(), Slices::cut(route.name, &policies))).collect(),
        names: read.into_iter().map(|read| (read.policy.id().clone(), read.name)).collect(),
        authorizer: Authorizer::new(),
        count: policies.len(),
    })
}

fn read<'a>(source: Source<'a>, faults: &mut Vec<Fault>) -> Vec<Read<'a>> {
    let set: PolicySet = match source.text.parse() {
        Ok(set) => set,
        Err(errors) => {
            faults.extend(parse_faults(source, &errors));
            return Vec::new();
        }
    };
    for template in set.templates() {
        let message = format!("`{}` is a template: it has `?principal` or `?resource`", template.id());
        let help = Some("write the policy out for whom it is meant".to_owned());
        faults.push(Fault { file: source.name.to_owned(), line: 1, message, help });
    }
    let mut policies: Vec<&Policy> = set.policies().collect();
    policies.sort_by_key(|policy| number(policy.id()));
    let named = |(index, policy): (usize, &Policy)| {
        let place = format!("{}:{}", source.name, index + 1);
        let name = policy.annotation("id").filter(|id| !id.is_empty()).unwrap_or(&place).to_owned();
        // Inside Cedar the place alone: two files may use one name, and that is told below.
        Read { policy: policy.new_id(PolicyId::new(&place)), name, source }
    };
    policies.into_iter().enumerate().map(named).collect()
}

/// Cedar counts a file's policies from `policy0`.
fn number(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(usize::MAX)
}

fn parse_faults(source: Source<'_>, errors: &cedar_policy::ParseErrors) -> Vec<Fault> {
    let fault = |error: &cedar_policy::ParseError| Fault {
        file: source.name.to_owned(),
        line: line_of_diagnostic(source.text, error).unwrap_or(1),
        message: error.to_string(),
        help: miette::Diagnostic::help(error).map(|help| help.to_string()),
    };
    errors.iter().map(fault).collect()
}

/// The name is what a record says: it must say which.
fn reject_names_twice(read: &[Read<'_>], faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for one in read.iter().filter(|one| !seen.insert(one.name.as_str())) {
        let message = format!("there is another policy with `@id(\"{}\")`", one.name);
        faults.push(Fault { file: one.source.name.to_owned(), line: line_in(one), message, help: None });
    }
}

/// A misspelt `forbid` would forbid nothing.
fn reject_unknown_routes(read: &[Read<'_>], routes: &[RouteFace<'_>], faults: &mut Vec<Fault>) {
    for one in read {
        let named: Option<EntityUid> = match one.policy.resource_constraint() {
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => Some(uid),
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        };
        let Some(uid) = named.filter(|uid| !routes.iter().any(|route| route.name == uid.id().unescaped())) else {
            continue;
        };
        let message = format!("no route with `policy = true` is called `{}`", uid.id().unescaped());
        let names: Vec<&str> = routes.iter().map(|route| route.name).collect();
        let help = Some(format!("routes that ask for policies: {}", names.join(", ")));
        faults.push(Fault { file: one.source.name.to_owned(), line: line_in(one), message, help });
    }
}

fn validate(read: &[Read<'_>], faults: &mut Vec<Fault>) {
    let Some(schema) = SCHEMA_READ.clone() else { return };
    let mut set = PolicySet::new();
    for one in read {
        if let Err(error) = set.add(one.policy.clone()) {
            let message = error.to_string();
            faults.push(Fault { file: one.source.name.to_owned(), line: line_in(one), message, help: None });
        }
    }
    let outcome = Validator::new(schema).validate(&set, ValidationMode::Strict);
    for error in outcome.validation_errors() {
        let Some(one) = read.iter().find(|one| one.policy.id() == error.policy_id()) else { continue };
        let line = line_of_diagnostic(one.source.text, error).unwrap_or_else(|| line_in(one));
        let help = miette::Diagnostic::help(error).map(|help| help.to_string());
        faults.push(Fault { file: one.source.name.to_owned(), line, message: error.to_string(), help });
    }
}

/// The line where the policy's own text begins.
fn line_in(read: &Read<'_>) -> usize {
    let text = read.policy.to_string();
    read.source.text.find(text.trim()).map_or(1, |offset| crate::fault::line_of(read.source.text, offset))
}
