//! What does a route demand of its caller? Facts that gate 3 judges, and that refusals name.

use crate::oauth::ScopeSet;
use serde::{Deserialize, Serialize};

/// All of `scopes`, and at least one of `any_role` when it is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    pub scopes: ScopeSet,
    pub any_role: Vec<String>,
}
