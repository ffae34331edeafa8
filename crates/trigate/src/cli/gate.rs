//! `trigate gate`: the road alone, over what a desk elsewhere tells, until Ctrl-C.

use super::{Failure, Global, print};
use crate::{
    config, logging,
    operator::folder::DataFolder,
    wiring::{Machine, RunningGate},
};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

#[derive(Args)]
#[command(after_help = "The folder of the configuration keeps the gate's key, its snapshot and its audit segments.
Ctrl-C or SIGTERM ends it cleanly; SIGHUP reads routes, upstreams and issuers again.

Example:
  trigate gate-key create berlin-1                         # at the desk
  trigate gate --desk https://desk.example --config /etc/trigate/gate.toml")]
pub struct Command {
    /// Default: gate.toml of the data folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log lines as JSON.
    #[arg(long)]
    log_json: bool,
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        logging::start(self.log_json, logging::USUAL);
        let path = self.config.unwrap_or_else(|| DataFolder::at(&global.data).root().join("gate.toml"));
        let config = config::load_gate(&path).map_err(Failure::plain)?;
        let gate = config.file.gate.clone().unwrap_or_default();
        let desk = global.desk.clone().or(gate.desk).ok_or_else(|| {
            Failure::new("no desk is named", "name it with --desk URL, or as `desk` under [gate] in the configuration")
        })?;
        let key = read_key(&config.base.join(&gate.key_file))?;
        let running = Box::pin(RunningGate::start(config, &desk, &key, Machine::real()));
        let running = running.await.map_err(Failure::plain)?;
        let urls =
            [("gate", format!("http://{}", running.gate_addr)), ("health", format!("http://{}", running.health_addr))];
        if global.json {
            print::json(&json!({ "gate": urls[0].1, "health": urls[1].1 }));
        } else {
            print::sheet(&urls);
            print::note("ready; Ctrl-C ends");
        }
        until_signal(&running).await.map_err(Failure::plain)?;
        print::note("ending: requests in flight have ten seconds");
        running.stop().await;
        Ok(())
    }
}

async fn until_signal(running: &RunningGate) -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => return outcome,
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => match running.reload() {
                Ok(()) => tracing::info!("the new configuration is in force"),
                Err(error) => tracing::error!("RELOAD FAILED, the old configuration stays in force: {error}"),
            },
        }
    }
}

fn read_key(path: &std::path::Path) -> Result<Zeroizing<String>, Failure> {
    if let Some(key) = config::gate_key_from_environment() {
        return Ok(key);
    }
    crate::wiring::check_private(path).map_err(Failure::plain)?;
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        Failure::new(
            format!("the gate's key `{}` cannot be read: {error}", path.display()),
            "make one at the desk with `trigate gate-key create NAME`, and put it there with mode 600",
        )
    })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}
