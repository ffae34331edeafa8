//! `trigate serve`: the gate, the issuer and the desk, until Ctrl-C.

use super::{Failure, Global, print};
use crate::{config, logging, operator::folder::DataFolder, wiring::Server};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Ctrl-C or SIGTERM ends it cleanly; SIGHUP reads the configuration again and keeps the old one when the new is broken.
TRIGATE_LOG=debug says more.

Example:
  trigate serve --data /var/lib/trigate"
)]
pub struct Command {
    /// Default: trigate.toml of the data folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log lines as JSON.
    #[arg(long)]
    log_json: bool,
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        logging::start(self.log_json, logging::USUAL);
        let path = self.config.unwrap_or_else(|| DataFolder::at(&global.data).config());
        let config = config::load(&path).map_err(Failure::plain)?;
        let observe = config.file.server.enforce == config::Enforce::Observe;
        let running = Server::start(config).await.map_err(Failure::plain)?;
        if global.json {
            let urls = json!({ "gate": running.urls.gate, "issuer": running.urls.issuer, "desk": running.urls.desk });
            print::json(&urls);
        } else {
            let mut doors = vec![
                ("gate", running.urls.gate.clone()),
                ("issuer", running.urls.issuer.clone()),
                ("desk", running.urls.desk.clone()),
            ];
            doors.extend(
                running
                    .mtls_addr
                    .map(|address| ("gate with mutual TLS", format!("https://localhost:{}", address.port()))),
            );
            print::sheet(&doors);
            if observe {
                print::note(&print::yellow("OBSERVE MODE: every request is judged and recorded, and NONE is refused"));
            }
            print::note("ready; Ctrl-C ends");
        }
        running.until_signal(crate::wiring::OnHangUp::Reload).await.map_err(Failure::plain)?;
        print::note("ending: requests in flight have ten seconds");
        running.stop().await;
        Ok(())
    }
}
