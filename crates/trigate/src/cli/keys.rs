//! `trigate keys`: the keys that sign tokens.

use super::{
    Failure, Global,
    door::Door,
    print::{self, Table},
};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum Command {
    /// List signing keys and their phase.
    #[command(after_help = "Example:\n  trigate keys list")]
    List,
    /// Publish a successor; it signs once every verifier had time to fetch it.
    #[command(
        after_help = "Examples:\n  trigate keys rotate\n  trigate keys rotate --now     the successor signs from now on"
    )]
    Rotate {
        /// The new key signs at once: verifiers that keep old key sets refuse its tokens for a while.
        #[arg(long)]
        now: bool,
    },
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let door = Door::open(global).await?;
        let answer = match self {
            Self::List => door.get(&["signing-keys"], &[]).await?,
            Self::Rotate { now } => door.post(&["signing-keys", "rotate"], &json!({ "now": now })).await?,
        };
        if global.json {
            print::json(&answer);
            return Ok(());
        }
        let mut table = Table::new(
            &["kid", "algorithm", "phase", "signs from", "signs until", "published until"],
            "no signing keys yet: the issuer makes them at its first start",
        );
        for key in answer.as_array().map_or(&[] as &[Value], Vec::as_slice) {
            let cell = |name| print::optional(key, name);
            table.row(vec![
                cell("kid"),
                cell("algorithm"),
                cell("phase"),
                cell("signs_from"),
                cell("signs_until"),
                cell("published_until"),
            ]);
        }
        table.print();
        Ok(())
    }
}
