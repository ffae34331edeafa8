//! `trigate audit`: what happened, and why.

use super::{
    Failure, Global,
    door::Door,
    offline::Need,
    print::{self, Table},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  trigate audit --user alice@example.com
  trigate audit --reason token.revoked --since 1h
  trigate audit acts --user alice@example.com
  trigate audit verify")]
pub struct Command {
    #[command(subcommand)]
    sub: Option<Sub>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Subcommand)]
enum Sub {
    /// What operators, the issuer and people changed, and why.
    #[command(after_help = "Example:\n  trigate audit acts --user alice@example.com --since 2d")]
    Acts(ActFilter),
    /// Prove that no record was edited, deleted, swapped or cut.
    #[command(after_help = "Examples:
  trigate audit verify
  trigate audit verify --json > kept-elsewhere.json
  trigate audit verify --against kept-elsewhere.json")]
    Verify {
        /// What an earlier `trigate audit verify --json` printed: finds a cut tail, and older files put back.
        #[arg(long, value_name = "FILE")]
        against: Option<std::path::PathBuf>,
    },
}

#[derive(Args)]
struct Filter {
    /// Id or e-mail.
    #[arg(long)]
    user: Option<String>,
    /// Id or name of an application.
    #[arg(long)]
    app: Option<String>,
    /// Id of an API key.
    #[arg(long)]
    key: Option<String>,
    #[arg(long)]
    client: Option<String>,
    #[arg(long)]
    session: Option<String>,
    /// Fingerprint, serial or name of a certificate.
    #[arg(long)]
    cert: Option<String>,
    /// Address of the peer.
    #[arg(long)]
    address: Option<std::net::IpAddr>,
    /// A time, a date, or a span back from now: 15m, 2h, 7d.
    #[arg(long)]
    since: Option<String>,
    /// A reason's code such as token.revoked, or its first part: token.
    #[arg(long)]
    reason: Option<String>,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Args)]
struct ActFilter {
    /// Id or e-mail.
    #[arg(long)]
    user: Option<String>,
    /// Id or name of an application.
    #[arg(long)]
    app: Option<String>,
    #[arg(long)]
    client: Option<String>,
    /// The id of what was acted on.
    #[arg(long)]
    target: Option<String>,
    /// A time, a date, or a span back from now: 15m, 2h, 7d.
    #[arg(long)]
    since: Option<String>,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

fn pairs(filter: [(&'static str, &Option<String>); 8], limit: u32) -> Vec<(&'static str, String)> {
    let said = filter.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value)));
    said.chain([("limit", limit.to_string())]).collect()
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.sub {
            None => decisions(global, &self.filter).await,
            Some(Sub::Acts(filter)) => acts(global, &filter).await,
            Some(Sub::Verify { against }) => verify(global, against.as_deref()).await,
        }
    }
}

async fn decisions(global: &Global, filter: &Filter) -> Result<(), Failure> {
    super::revoke::refuse_secret_argument(filter.key.as_deref().unwrap_or_default())?;
    let door = Door::open(global).await?;
    let query = pairs(
        [
            ("user", &filter.user),
            ("app", &filter.app),
            ("key", &filter.key),
            ("client", &filter.client),
            ("session", &filter.session),
            ("cert", &filter.cert),
            ("since", &filter.since),
            ("reason", &filter.reason),
        ],
        filter.limit,
    );
    let address = filter.address.map(|address| ("address", address.to_string()));
    let query: Vec<_> = query.into_iter().chain(address).collect();
    let answer = door.get(&["audit", "decisions"], &query).await?;
    if global.json {
        print::json(&answer);
        return Ok(());
    }
    let names = answer.get("names").cloned().unwrap_or_default();
    let mut table = Table::new(
        &["time", "outcome", "request", "application", "user", "client", "gates", "reason"],
        "no request matches",
    );
    for decision in answer.get("decisions").and_then(Value::as_array).into_iter().flatten() {
        table.row(vec![
            print::text(decision, "time"),
            outcome(decision),
            format!("{} {}", print::text(decision, "method"), print::text(decision, "path")),
            named(&names, decision, "application"),
            who(&names, decision),
            print::text(decision, "client"),
            gates(decision),
            reason(decision),
        ]);
    }
    table.print();
    if answer.get("more").and_then(Value::as_bool) == Some(true) {
        print::note("there are more: raise --limit, or narrow the question");
    }
    for node in answer.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        print::note(&format!(
            "node {}: indexed up to record {}, {} newer ones read from its segments",
            print::text(node, "node"),
            print::text(node, "indexed_up_to"),
            print::text(node, "read_from_segments"),
        ));
    }
    Ok(())
}

fn named(names: &Value, decision: &Value, member: &str) -> String {
    let id = print::text(decision, member);
    names.get(&id).and_then(Value::as_str).map_or(id.clone(), print::printable)
}

/// A user, or the machine; `???` when nobody was proven.
fn who(names: &Value, decision: &Value) -> String {
    match decision.get("machine") {
        Some(Value::String(machine)) => format!("machine {}", print::printable(machine)),
        _ => named(names, decision, "user"),
    }
}

fn outcome(decision: &Value) -> String {
    match decision.get("outcome").and_then(Value::as_str) {
        Some("allowed") => print::green("allowed"),
        // The same width: colours do not count.
        Some("observed") => print::yellow("would refuse"),
        _ => print::red(&format!("refused {}", print::text(decision, "status"))),
    }
}

/// One mark per gate: `+` passed, `-` waived, `x` refused, `.` not reached.
fn gates(decision: &Value) -> String {
    let marks = decision.get("gates").and_then(Value::as_array).into_iter().flatten();
    marks
        .map(|gate| match gate.get("verdict").and_then(Value::as_str) {
            Some("passed") => "+",
            Some("waived") => "-",
            Some("refused") => "x",
            _ => ".",
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn reason(decision: &Value) -> String {
    let exposed = decision.get("exposed") == Some(&Value::Bool(true));
    match (decision.get("reason").and_then(Value::as_str), exposed) {
        (Some(reason), true) => format!("{reason}; credential exposed in the URL"),
        (Some(reason), false) => reason.to_owned(),
        (None, true) => "credential exposed in the URL".to_owned(),
        (None, false) => "-".to_owned(),
    }
}

async fn acts(global: &Global, filter: &ActFilter) -> Result<(), Failure> {
    let door = Door::open(global).await?;
    let none = None;
    let query = pairs(
        [
            ("user", &filter.user),
            ("app", &filter.app),
            ("client", &filter.client),
            ("target", &filter.target),
            ("since", &filter.since),
            ("why", &none),
            ("why", &none),
            ("why", &none),
        ],
        filter.limit,
    );
    let answer = door.get(&["audit", "acts"], &query).await?;
    if global.json {
        print::json(&answer);
        return Ok(());
    }
    let names = answer.get("names").cloned().unwrap_or_default();
    let mut table = Table::new(&["time", "act", "target", "actor", "reason", "facts"], "no act matches");
    for act in answer.get("acts").and_then(Value::as_array).into_iter().flatten() {
        let facts = act.get("facts").and_then(Value::as_object).into_iter().flatten();
        let facts: Vec<String> = facts
            .map(|(name, value)| format!("{name}={}", value.as_str().map(print::printable).unwrap_or_default()))
            .collect();
        table.row(vec![
            print::text(act, "time"),
            print::text(act, "verb"),
            named(&names, act, "target"),
            actor(act),
            print::optional(act, "reason"),
            facts.join(" "),
        ]);
    }
    table.print();
    Ok(())
}

fn actor(act: &Value) -> String {
    let actor = act.get("actor").cloned().unwrap_or(json!({}));
    match actor.get("kind").and_then(Value::as_str) {
        Some("operator") => format!("operator {}", print::text(&actor, "name")),
        Some("client") => format!("client {}", print::text(&actor, "client")),
        Some("user") => print::text(&actor, "user"),
        Some("stranger") => "???".to_owned(),
        _ => "trigate".to_owned(),
    }
}

/// The heads of an earlier verification, by chain.
fn read_kept(path: &std::path::Path) -> Result<Value, Failure> {
    let remedy = "pass a file that `trigate audit verify --json` wrote";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("`{}`: {error}", path.display()), remedy))?;
    let kept: Value =
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("`{}`: {error}", path.display()), remedy))?;
    let chains = kept
        .get("chains")
        .and_then(Value::as_array)
        .ok_or_else(|| Failure::new(format!("`{}` names no chains", path.display()), remedy))?;
    let heads =
        chains.iter().filter_map(|chain| Some((chain.get("chain")?.as_str()?.to_owned(), chain.get("head")?.clone())));
    Ok(json!({ "heads": heads.collect::<serde_json::Map<_, _>>() }))
}

async fn verify(global: &Global, against: Option<&std::path::Path>) -> Result<(), Failure> {
    let against = against.map_or_else(|| Ok(json!({})), read_kept)?;
    let door = Door::open_for(global, Need::CheckpointKeys).await?;
    if !global.json {
        print::note("reading every chain from its start …");
    }
    let answer = door.post(&["audit", "verify"], &against).await?;
    let whole = answer.get("whole").and_then(Value::as_bool) == Some(true);
    if global.json {
        print::json(&answer);
    } else {
        let mut table = Table::new(&["chain", "state", "entries", "finding"], "there is no chain yet");
        for chain in answer.get("chains").and_then(Value::as_array).into_iter().flatten() {
            let good = chain.get("whole").and_then(Value::as_bool) == Some(true);
            let state = if good {
                print::green("whole")
            } else {
                print::red(&format!("BROKEN at {}", print::text(chain, "broken_at")))
            };
            table.row(vec![
                print::text(chain, "chain"),
                state,
                print::text(chain, "entries"),
                print::text(chain, "finding"),
            ]);
        }
        table.print();
    }
    if whole {
        Ok(())
    } else {
        Err(Failure::new(
            "the audit trail is not as it was written",
            "keep the data folder as it is, and compare it with a backup",
        ))
    }
}
