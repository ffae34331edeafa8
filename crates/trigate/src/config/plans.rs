//! What may be said about a plan? A rate, or a table with a rate, quotas and what each user may ask for.

use super::{
    check::{Check, replace},
    place::Step,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trigate_core::desk::PlanWords;

/// What an application on this plan may ask for: `"1000/hour"`, or a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "RateOrTable")]
pub struct Plan(pub PlanTable);

/// How `Plan` is written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its shape is used, for the JSON Schema")]
enum RateOrTable {
    Rate(String),
    Table(PlanTable),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlanTable {
    /// `"1000/hour"`, `"10/second burst 20"` or `"5/30s"`; the burst defaults to the rate. Counted by each gate process.
    pub rate: String,
    /// Requests of a calendar day in UTC, summed over all gate processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<u64>,
    /// Requests of a calendar month in UTC, summed over all gate processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<u64>,
    /// The rate of each user of the application, by token: `"2/second burst 10"`. Counted by each gate process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Plan {
    pub fn words(&self) -> PlanWords {
        let PlanTable { rate, day, month, user } = self.0.clone();
        PlanWords { rate, day, month, user }
    }
}

impl From<PlanWords> for Plan {
    fn from(PlanWords { rate, day, month, user }: PlanWords) -> Self {
        Self(PlanTable { rate, day, month, user })
    }
}

impl<'de> Deserialize<'de> for Plan {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Plan;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a rate or a table with `rate`")
            }
            fn visit_str<E: serde::de::Error>(self, rate: &str) -> Result<Plan, E> {
                Ok(Plan(PlanTable { rate: rate.to_owned(), ..PlanTable::default() }))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Plan, A::Error> {
                PlanTable::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Plan)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Check<'_> {
    pub(super) fn check_plans(&mut self) {
        for (name, plan) in &self.file.plans {
            let Err(bad) = trigate_gates::Plan::read(name, &plan.words()) else { continue };
            let head = self.line(&[Step::Key("plans"), Step::Key(name)]);
            let field = self.line(&[Step::Key("plans"), Step::Key(name), Step::Key(bad.word)]);
            let missing = bad.word == "rate" && plan.0.rate.is_empty();
            let (line, why) = if missing {
                (head, format!("plan `{name}` has no `rate`: it says how fast a day's or month's quota may be used"))
            } else {
                (field, format!("plan `{name}`: {bad}"))
            };
            let is_text = plan.0 == PlanTable { rate: plan.0.rate.clone(), ..PlanTable::default() } && field == head;
            let remedy = replace(line, &format!("{name} = \"1000/hour\""), "to allow a thousand an hour");
            self.refuse(line, why, if is_text { vec![remedy] } else { vec![] });
        }
    }
}
