//! `trigate app`: registered software.

use super::{
    Failure, Global,
    door::Door,
    print::{self, Table},
};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum Command {
    /// Register an application.
    #[command(after_help = "Example:\n  trigate app create \"Acme Weather App\" --plan pro")]
    Create {
        /// Shown to people, in audit answers and to upstreams.
        name: String,
        /// A plan of trigate.toml: its rate limit is the application's.
        #[arg(long)]
        plan: String,
        /// The id it had elsewhere. Default: a new one.
        #[arg(long)]
        id: Option<String>,
    },
    /// List applications.
    #[command(after_help = "Example:\n  trigate app list --json")]
    List,
    /// Put an application on another plan, at once.
    #[command(after_help = "Example:\n  trigate app plan \"Acme Weather App\" free")]
    Plan { app: String, plan: String },
    /// Refuse everything of an application until it is enabled again.
    #[command(after_help = "Example:\n  trigate app disable \"Acme Weather App\" --why \"unpaid\"")]
    Disable { app: String },
    /// Let a disabled application in again.
    #[command(after_help = "Example:\n  trigate app enable \"Acme Weather App\"")]
    Enable { app: String },
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let door = Door::open(global).await?;
        let answer = match &self {
            Self::Create { name, plan, id } => {
                door.post(&["apps"], &json!({ "name": name, "plan": plan, "id": id })).await?
            }
            Self::List => door.get(&["apps"], &[]).await?,
            Self::Plan { app, plan } => {
                door.post(&["apps", &id_of(&door, app).await?, "plan"], &json!({ "plan": plan })).await?
            }
            Self::Disable { app } => door.post(&["apps", &id_of(&door, app).await?, "disable"], &json!({})).await?,
            Self::Enable { app } => door.post(&["apps", &id_of(&door, app).await?, "enable"], &json!({})).await?,
        };
        if global.json {
            print::json(&answer);
        } else {
            show(&answer);
        }
        Ok(())
    }
}

/// Names may hold characters that have two spellings in a path; ids never do.
pub async fn id_of(door: &Door, name: &str) -> Result<String, Failure> {
    let apps = door.get(&["apps"], &[]).await?;
    let found = apps
        .as_array()
        .into_iter()
        .flatten()
        .find(|app| print::text(app, "id") == name || print::text(app, "name") == name);
    found.map(|app| print::text(app, "id")).ok_or_else(|| {
        Failure::new(
            format!("no such application: `{}`", print::printable(name)),
            "see `trigate app list` for ids and names",
        )
    })
}

fn show(answer: &Value) {
    let mut table = Table::new(
        &["id", "name", "plan", "state", "created"],
        "no applications yet: trigate app create NAME --plan PLAN",
    );
    let one = std::slice::from_ref(answer);
    for app in answer.as_array().map_or(one, Vec::as_slice) {
        let cell = |name| print::text(app, name);
        table.row(vec![cell("id"), cell("name"), cell("plan"), cell("state"), cell("created_at")]);
    }
    table.print();
}
