//! `trigate quickstart`: the demonstration, and its tour.

use super::{Failure, Global};
use crate::quickstart::{self, Options};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Ctrl-C ends it; the next start goes on with what was made.

Examples:
  trigate quickstart
  trigate quickstart --data demo --port-base 0
  trigate quickstart --print-tour          of a demo that runs elsewhere; `bash DIR/tour.sh` runs all of it")]
pub struct Command {
    /// Gate on this port, issuer +1, desk +2, gate with mutual TLS +3, sample API +4; 0 lets the system pick. Default:
    /// 8080, or what the data folder had before.
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// Remove the demo's data folder first, and begin anew.
    #[arg(long)]
    reset: bool,
    /// Only print the tour of a demo that was started before.
    #[arg(long)]
    print_tour: bool,
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let data: PathBuf = std::path::absolute(&global.data)?;
        if self.print_tour {
            return quickstart::print_tour(&data);
        }
        quickstart::run(Options { data, port_base: self.port_base, reset: self.reset }).await
    }
}
