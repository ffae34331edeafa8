//! How does a newcomer see everything at once? One command makes a data folder with demo data, starts gate, issuer, desk
//! and a sample API, and prints a guided tour.

mod configuration;
mod demo;
mod ports;
pub mod sample_api;
pub mod tour;

use crate::{
    cli::{Failure, init},
    config, logging,
    operator::{
        cert::ensure_ca,
        folder::{DataFolder, write_private},
    },
    wiring::{Machine, Running, Server},
};
use demo::{Builder, State, Urls};
use ports::Ports;
use std::{fs, path::PathBuf};
use tokio::sync::watch;

pub struct Options {
    pub data: PathBuf,
    pub port_base: Option<u16>,
    pub reset: bool,
}

/// Runs until Ctrl-C.
pub async fn run(options: Options) -> Result<(), Failure> {
    logging::start(false, "warn");
    say("Trigate quickstart");
    let folder = DataFolder::at(&options.data);
    if options.reset {
        reset(&folder)?;
    }
    let machine = Machine::real();
    let ports = prepare(&folder, options.port_base, &machine)?;
    let (stop, stopped) = watch::channel(false);
    step("starting gate, issuer and desk");
    let config = config::load(&folder.config()).map_err(Failure::plain)?;
    let running = Server::start(config).await.map_err(Failure::plain)?;
    let state = match furnish(&folder, &running, &machine, ports, stopped).await {
        Ok(state) => state,
        Err(failure) => {
            running.stop().await;
            return Err(failure);
        }
    };
    show(&state, &folder)?;
    let ended = running.until_signal(crate::wiring::OnHangUp::End).await.map_err(Failure::plain);
    say("\nending …");
    stop.send_replace(true);
    running.stop().await;
    say(&format!("everything is kept in {}; the same command goes on with it", folder.root().display()));
    ended
}

/// The tour of a demonstration that was started before.
pub fn print_tour(data: &std::path::Path) -> Result<(), Failure> {
    let folder = DataFolder::at(data);
    let state = demo::kept(&folder).ok_or_else(|| {
        Failure::new(
            format!("there is no demo in `{}`", data.display()),
            "start one with `trigate quickstart`, or name its folder with --data",
        )
    })?;
    crate::cli::print_line(&tour::render(&state));
    Ok(())
}

/// SECURITY: `--reset` removes only what a quickstart made.
fn reset(folder: &DataFolder) -> Result<(), Failure> {
    if !folder.root().exists() {
        return Ok(());
    }
    let ours = fs::read_to_string(folder.config()).is_ok_and(|text| text.starts_with(configuration::MARK));
    if !ours {
        return Err(Failure::new(
            format!("`{}` was not made by a quickstart", folder.root().display()),
            "remove it yourself if you mean it, or name another folder with --data",
        ));
    }
    let _lock = folder.lock()?;
    step(&format!("removing {}", folder.root().display()));
    Ok(fs::remove_dir_all(folder.root())?)
}

/// Everything that must lie in the folder before the server starts.
fn prepare(folder: &DataFolder, port_base: Option<u16>, machine: &Machine) -> Result<Ports, Failure> {
    let known = earlier_ports(folder)?;
    let ports = match (port_base, known) {
        // The system picked once; the issuer's name must not change at every start.
        (None | Some(0), Some(known)) => known,
        (Some(0), None) => Ports::free()?,
        (Some(base), _) => Ports::from_base(base)?,
        (None, None) => Ports::from_base(8080)?,
    };
    folder.create()?;
    // Somebody else's lock is a clearer answer than a taken port.
    drop(folder.lock()?);
    ports.check_free()?;
    if !folder.master_key().is_file() {
        step(&format!("a data folder in {}, with a master key", folder.root().display()));
        init::write_master_key(folder, &*machine.rng)?;
    }
    if known != Some(ports) {
        check_ours(folder)?;
        step("a configuration: trigate.toml");
        let apps = demo::applications(folder, &*machine.rng);
        write_private(&folder.config(), configuration::toml(&ports, &apps).as_bytes())?;
        // The ids in it must be found again by what comes later.
        demo::keep_applications(folder, &apps)?;
        let _ = fs::remove_file(folder.operator());
    }
    if !folder.ca_certificate().is_file() {
        step("a development CA and a certificate for localhost");
        ensure_ca(folder, &*machine.rng, machine.clock.now())?;
    }
    Ok(ports)
}

/// A configuration without the quickstart's mark is the user's own: never rewritten.
fn check_ours(folder: &DataFolder) -> Result<(), Failure> {
    match fs::read_to_string(folder.config()) {
        Ok(text) if !text.starts_with(configuration::MARK) => Err(Failure::new(
            format!("`{}` is your own by now, and names other ports", folder.config().display()),
            "leave --port-base out, or change the ports in the file",
        )),
        _ => Ok(()),
    }
}

/// The ports that the folder's configuration names.
fn earlier_ports(folder: &DataFolder) -> Result<Option<Ports>, Failure> {
    if !folder.exists() {
        return Ok(None);
    }
    let config = config::load(&folder.config()).map_err(Failure::plain)?;
    let server = &config.file.server;
    let sample = config
        .file
        .upstreams
        .get("sample")
        .and_then(|sample| url::Url::parse(sample.0.addresses.iter().next()?).ok())
        .and_then(|url| url.port());
    match (server.mtls, sample) {
        (Some(mtls), Some(sample)) => Ok(Some(Ports {
            gate: server.gate.port(),
            issuer: server.issuer.port(),
            desk: server.desk.port(),
            mtls: mtls.port(),
            sample,
        })),
        _ => Err(Failure::new(
            format!("`{}` is not the configuration of a quickstart", folder.config().display()),
            "name another folder with --data, or start this one with `trigate serve`",
        )),
    }
}

async fn furnish(
    folder: &DataFolder,
    running: &Running,
    machine: &Machine,
    ports: Ports,
    stopped: watch::Receiver<bool>,
) -> Result<State, Failure> {
    sample_api::serve(([127, 0, 0, 1], ports.sample).into(), stopped).await?;
    if !folder.operator().is_file() {
        step("an operator's key for the command line: operator.json");
        init::make_operator(folder, &running.operator, &*machine.rng).await?;
    }
    let builder = Builder {
        folder,
        operator: &running.operator,
        rng: &*machine.rng,
        clock: &*machine.clock,
        urls: Urls {
            gate: running.urls.gate.clone(),
            issuer: running.urls.issuer.clone(),
            desk: running.urls.desk.clone(),
            mtls: format!("https://localhost:{}", ports.mtls),
            sample_api: format!("http://localhost:{}", ports.sample),
        },
        kept: demo::kept(folder),
        say: &step,
    };
    builder.build().await
}

fn show(state: &State, folder: &DataFolder) -> Result<(), Failure> {
    let program = std::env::current_exe()?;
    write_private(&folder.root().join(tour::ENVIRONMENT), tour::environment(state, &program).as_bytes())?;
    write_private(&folder.root().join(tour::SCRIPT), tour::script(state).as_bytes())?;
    say("");
    for (name, url) in [
        ("gate", &state.urls.gate),
        ("issuer", &state.urls.issuer),
        ("desk", &state.urls.desk),
        ("gate with mutual TLS", &state.urls.mtls),
        ("sample API behind it", &state.urls.sample_api),
    ] {
        say(&format!("  {name:<22} {url}"));
    }
    say(&format!("  {:<22} {}", "all names and secrets", folder.quickstart().display()));
    say("");
    crate::cli::print_line(&tour::render(state));
    say("ready; Ctrl-C ends");
    Ok(())
}

fn say(text: &str) {
    crate::cli::print_note(text);
}

fn step(text: &str) {
    say(&format!("  · {text}"));
}
