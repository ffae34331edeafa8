//! What does a person at a terminal ask for? Reads arguments, calls the verbs through the desk's door, and prints.
//!
//! SECURITY: a credential is never an argument: other users of the machine could read it. Standard input, or a file.

mod app;
mod audit;
mod backup;
mod cert;
mod client;
mod config_command;
mod door;
mod explain;
mod failure;
mod gate;
mod gate_key;
mod http;
pub mod init;
mod input;
mod key;
mod keys;
mod login;
pub mod offline;
mod policy;
mod print;
mod quickstart;
mod revoke;
mod serve;
mod try_command;
mod user;

pub use failure::Failure;
pub use login::{Asked, CURL_STEPS, quote};
pub use print::{line as print_line, note as print_note};

use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Three gates before your API: who calls, can they prove it, may they do it. One binary.
#[derive(Parser)]
#[command(name = "trigate", version, propagate_version = true, max_term_width = 120)]
#[command(after_help = "Begin:
  trigate quickstart                a whole Trigate with demo data, and a guided tour
  trigate try --issuer https://idp.example --upstream http://localhost:3000
                                    before your own API, trusting your own issuer; refuses nothing yet
  trigate init && trigate serve     for real")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
pub struct Global {
    /// The data folder.
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        env = "TRIGATE_DATA",
        default_value = "data",
        value_name = "DIR"
    )]
    pub data: PathBuf,
    /// URL of the desk, where the server is elsewhere (with TRIGATE_TOKEN or the folder's operator key).
    #[arg(long, global = true, help_heading = "Everywhere", env = "TRIGATE_DESK", value_name = "URL")]
    pub desk: Option<String>,
    /// Print the answer as JSON.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Why you do this: kept in the audit trail.
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "TEXT")]
    pub why: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Start a whole Trigate with demo data and print a guided tour.
    Quickstart(quickstart::Command),
    /// Make a data folder: store, master key, configuration, operator key.
    Init(init::Command),
    /// Run the gate, the issuer and the desk.
    Serve(serve::Command),
    /// Run a gate beside or far from its desk: no database, no private key, no password hash.
    Gate(gate::Command),
    /// What a gate elsewhere proves itself by.
    #[command(subcommand)]
    GateKey(gate_key::Command),
    /// Stand before your own API and trust your own issuer: judge, record, refuse nothing.
    Try(try_command::Command),
    /// Log in through the browser and print the token.
    Login(login::Command),
    /// Applications: registered software, each on a plan.
    #[command(subcommand)]
    App(app::Command),
    /// API keys: they identify an application, never a user.
    #[command(subcommand)]
    Key(key::Command),
    /// OAuth clients: who may ask for tokens.
    #[command(subcommand)]
    Client(client::Command),
    /// People's accounts.
    #[command(subcommand)]
    User(user::Command),
    /// Give a person a role, or take it away at once.
    #[command(subcommand)]
    Role(user::RoleCommand),
    /// End a token, session, grant, user, client, app, key or cert, everywhere and for ever.
    Revoke(revoke::Command),
    /// What happened, and why: every request, allowed and refused.
    Audit(audit::Command),
    /// The keys that sign tokens.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Client certificates of the development CA.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Check trigate.toml, or print its JSON Schema.
    #[command(subcommand)]
    Config(config_command::Command),
    /// Check the Cedar policies, or run their cases.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Would a request be let through? The three gates with their verdicts and reasons.
    Explain(explain::Command),
    /// Bring store, audit trail and configuration to safety.
    Backup(backup::BackupCommand),
    /// Make a data folder from a backup.
    Restore(backup::RestoreCommand),
}

/// Parses the arguments, runs the command, and answers with the exit code: 0 done, 1 refused or failed, 2 asked wrongly.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::plain(format!("no runtime: {error}")).report(),
    };
    match runtime.block_on(Box::pin(run(cli.global, cli.command))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(global: Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::Quickstart(command) => command.run(&global).await,
        Command::Init(command) => command.run(&global).await,
        Command::Serve(command) => command.run(&global).await,
        Command::Gate(command) => command.run(&global).await,
        Command::GateKey(command) => command.run(&global).await,
        Command::Try(command) => command.run(&global).await,
        Command::Login(command) => command.run(&global).await,
        Command::App(command) => command.run(&global).await,
        Command::Key(command) => command.run(&global).await,
        Command::Client(command) => command.run(&global).await,
        Command::User(command) => command.run(&global).await,
        Command::Role(command) => command.run(&global).await,
        Command::Revoke(command) => command.run(&global).await,
        Command::Audit(command) => command.run(&global).await,
        Command::Keys(command) => command.run(&global).await,
        Command::Cert(command) => command.run(&global).await,
        Command::Config(command) => command.run(&global),
        Command::Policy(command) => command.run(&global),
        Command::Explain(command) => command.run(&global).await,
        Command::Backup(command) => command.run(&global).await,
        Command::Restore(command) => command.run(&global).await,
    }
}

#[cfg(test)]
mod tests;
