//! `trigate policy`: are the policies fit to be used, and do they decide what they were written for?

use super::{Failure, Global, print};
use crate::{
    config::{self, Config},
    operator::folder::DataFolder,
};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};
use trigate_core::{
    id::AppId,
    identity::Identity,
    oauth::ScopeSet,
    port::{Policy as _, PolicyVerdict, Question},
};
use trigate_policy::Policies;

#[derive(Subcommand)]
pub enum Command {
    /// Read and validate all policies of the configuration.
    #[command(after_help = "Example:\n  trigate policy check")]
    Check {
        /// Default: trigate.toml of the data folder.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Ask the policies the questions of a file, and compare.
    #[command(after_help = "A case of the file:
  [[case]]
  name = \"alice may not delete orders\"
  user = \"usr_alice\"            # or service, machine, application
  route = \"orders\"
  method = \"DELETE\"
  scopes = \"orders:read\"
  expect = \"deny\"               # or allow
  by = [\"no-deletions\"]         # which policies decide; may be left out

Example:
  trigate policy test --file policies/cases.toml")]
    Test {
        /// The cases.
        #[arg(long, default_value = "policies/cases.toml")]
        file: PathBuf,
        /// Default: trigate.toml of the data folder.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

impl Command {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let path = |given: Option<PathBuf>| given.unwrap_or_else(|| DataFolder::at(&global.data).config());
        match self {
            Self::Check { config } => check(global, &path(config)),
            Self::Test { file, config } => test(global, &path(config), &file),
        }
    }
}

fn load(path: &Path) -> Result<std::sync::Arc<Policies>, Failure> {
    let config: Config = config::load(path).map_err(Failure::plain)?;
    config::policy::of_file(&config).map_err(Failure::plain)?.ok_or_else(|| {
        Failure::plain("the configuration has no `[policy]`\n  help: `[policy]` with `folder = \"policies\"`")
    })
}

fn check(global: &Global, path: &Path) -> Result<(), Failure> {
    let policies = load(path)?;
    if global.json {
        print::json(&json!({ "policies": policies.len() }));
    } else {
        print::line(&format!("{} policies: fit to be used", policies.len()));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    user: Option<String>,
    service: Option<String>,
    machine: Option<String>,
    application: Option<String>,
    /// Of the token, where it is not Trigate's own.
    issuer: Option<String>,
    client: Option<String>,
    acr: Option<String>,
    route: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "root")]
    path: String,
    #[serde(default = "here")]
    address: IpAddr,
    #[serde(default)]
    scopes: String,
    #[serde(default)]
    roles: Vec<String>,
    expect: Expected,
    by: Option<Vec<String>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

fn get() -> String {
    "GET".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

const fn here() -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)
}

impl Case {
    fn identity(&self) -> Result<Option<Identity>, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        match (&self.user, &self.service, &self.machine) {
            (Some(user), None, None) => {
                Ok(Some(Identity::User { id: user.parse().map_err(|error| told(&error))?, email: None }))
            }
            (None, Some(client), None) => {
                Ok(Some(Identity::Service { client: client.parse().map_err(|error| told(&error))? }))
            }
            (None, None, Some(name)) => Ok(Some(Identity::Machine { name: name.clone() })),
            (None, None, None) => Ok(None),
            _ => Err("one of `user`, `service` and `machine`".to_owned()),
        }
    }

    fn ask(&self, policies: &Policies) -> Result<PolicyVerdict, String> {
        let application: Option<AppId> =
            self.application.as_deref().map(str::parse).transpose().map_err(|error| format!("{error}"))?;
        Ok(policies.judge(&Question {
            route: &self.route,
            method: &self.method,
            path: &self.path,
            address: self.address,
            application: application.as_ref(),
            identity: self.identity()?.as_ref(),
            issuer: self.issuer.as_deref(),
            client: self.client.as_deref(),
            acr: self.acr.as_deref(),
            scopes: &ScopeSet::parse(&self.scopes).map_err(|error| error.to_string())?,
            roles: &self.roles,
        }))
    }
}

/// What came of one case; `good` when it is what was expected.
struct Outcome<'a> {
    case: &'a Case,
    decision: Expected,
    by: Vec<String>,
    good: bool,
}

fn judge<'a>(case: &'a Case, policies: &Policies) -> Result<Outcome<'a>, Failure> {
    let verdict = case.ask(policies).map_err(|why| Failure::plain(format!("case `{}`: {why}", case.name)))?;
    let (decision, by) = match verdict {
        PolicyVerdict::Allow { policies } => (Expected::Allow, policies),
        PolicyVerdict::Deny { policies, .. } => (Expected::Deny, policies),
    };
    let good = decision == case.expect && case.by.as_ref().is_none_or(|wanted| *wanted == by);
    Ok(Outcome { case, decision, by, good })
}

fn test(global: &Global, config: &Path, file: &Path) -> Result<(), Failure> {
    let policies = load(config)?;
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::plain(format!("`{}`: {error}", file.display())))?;
    let cases: Cases = toml::from_str(&text).map_err(|error| Failure::plain(format!("{}: {error}", file.display())))?;
    let outcomes = cases.case.iter().map(|case| judge(case, &policies)).collect::<Result<Vec<_>, _>>()?;
    let wrong = outcomes.iter().filter(|outcome| !outcome.good).count();
    if global.json {
        print::json(&Value::Array(outcomes.iter().map(json_of).collect()));
    } else {
        outcomes.iter().for_each(|outcome| print::line(&line_of(outcome)));
        print::line(&format!("{} cases, {wrong} wrong", outcomes.len()));
    }
    if wrong == 0 { Ok(()) } else { Err(Failure::Silent) }
}

const fn word(decision: Expected) -> &'static str {
    match decision {
        Expected::Allow => "allow",
        Expected::Deny => "deny",
    }
}

fn line_of(outcome: &Outcome<'_>) -> String {
    let by = if outcome.by.is_empty() { "no policy".to_owned() } else { outcome.by.join(", ") };
    let mark = if outcome.good { "ok   " } else { "WRONG" };
    let mut line = format!("{mark}  {}: {} by {by}", outcome.case.name, word(outcome.decision));
    if !outcome.good {
        line.push_str(&format!(" (expected: {}", word(outcome.case.expect)));
        if let Some(wanted) = &outcome.case.by {
            line.push_str(&format!(" by {}", wanted.join(", ")));
        }
        line.push(')');
    }
    line
}

fn json_of(outcome: &Outcome<'_>) -> Value {
    json!({
        "name": outcome.case.name, "decision": word(outcome.decision), "by": outcome.by, "ok": outcome.good,
    })
}
