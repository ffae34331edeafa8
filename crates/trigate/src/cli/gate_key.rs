//! `trigate gate-key`: what a gate elsewhere proves itself by at its desk.

use super::{Failure, Global, door::Door, key};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub enum Command {
    /// Make a key for one gate and show it once. It opens what gates may ask of the desk, and nothing else.
    #[command(after_help = "Examples:
  trigate gate-key create berlin-1 --from 192.0.2.0/24
  trigate key list --app app_gates
  trigate revoke key key_… --why \"the machine is gone\"")]
    Create {
        /// The gate's name.
        name: String,
        /// Addresses or networks that the gate asks from. Default: any.
        #[arg(long = "from", value_delimiter = ',', value_name = "NET,…")]
        allowed_addresses: Vec<String>,
        /// Its sunset: a time, a date, or a span such as 90d. Default: never.
        #[arg(long = "expires", value_name = "TIME")]
        expires_at: Option<String>,
    },
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let Self::Create { name, allowed_addresses, expires_at } = self;
        let door = Door::open(global).await?;
        let body = json!({ "name": name, "allowed_addresses": allowed_addresses, "expires_at": expires_at });
        key::made(global, &door.post(&["gate-keys"], &body).await?);
        Ok(())
    }
}
