//! `trigate try`: before one's own API, trusting one's own issuer, with no further configuration.

use super::{Failure, Global};
use crate::{
    logging,
    proxy::try_mode::{self, TryArgs},
};
use clap::Args;
use std::net::SocketAddr;

#[derive(Args)]
#[command(
    after_help = "Nothing is kept and nothing is refused until you say --enforce. Send your API's requests to the address that it
prints, and read what each would have come to.

Example:
  trigate try --issuer https://idp.example.com --upstream http://localhost:3000 --audience https://api.example.com"
)]
pub struct Command {
    /// Your authorization server: its keys are found by discovery.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// Your API.
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// What its tokens must be for. May be repeated. Without it tokens for any audience pass, and that is said aloud.
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Refuse what would be refused.
    #[arg(long)]
    enforce: bool,
}

impl Command {
    pub async fn run(self, _: &Global) -> Result<(), Failure> {
        logging::start(false, logging::USUAL);
        let args = TryArgs {
            issuer: self.issuer,
            upstream: self.upstream,
            audience: self.audience,
            listen: self.listen,
            enforce: self.enforce,
        };
        try_mode::run(args).await.map_err(Failure::plain)
    }
}
