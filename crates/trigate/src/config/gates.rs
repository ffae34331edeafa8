//! What may gates that run elsewhere ask of this desk? One route for all their verbs, for keys that name its scope.

use super::{
    Config,
    rules::{base, scope_set},
};
use trigate_core::{desk, permission::Demand};
use trigate_gates::{Demands, Pattern, RouteKind, RouteRule, Routes, Rules, SubjectKind};

/// Before the verbs of gates. Neither plans nor the address limit count here: a gate that is slowed down is a gate that
/// loses its lease.
pub fn gate_rules(config: &Config, epoch: u64) -> Result<Rules, String> {
    let pattern = Pattern::parse(&format!("{}/**", desk::PREFIX)).map_err(|error| error.to_string())?;
    let demands = "key".parse::<Demands>().map_err(|error| error.to_string())?;
    let mut rule = RouteRule::new(crate::gate_api::ROUTE, pattern, demands);
    rule.subjects = vec![SubjectKind::Application];
    rule.demand = Demand { scopes: scope_set([desk::SCOPE])?, any_role: vec![] };
    rule.scoped_keys = true;
    rule.kind = RouteKind::GateApi;
    rule.description = "What gates that run elsewhere ask.".to_owned();
    let mut rules = base(config, epoch);
    rules.plans.clear();
    rules.address_limit = None;
    rules.routes = Routes::new(vec![rule]).map_err(|conflict| conflict.to_string())?;
    Ok(rules)
}
