//! What does the project do to itself? `cargo xtask test` is the README's second command.

#![allow(clippy::disallowed_methods, reason = "a stopwatch for people, not time that anything is judged by")]

mod attacks;
mod fuzz;
mod need;
mod tidy;

use anyhow::{Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const HELP: &str = "\
cargo xtask <command>

  test      formatting, clippy, house rules, and every test on real parts (PostgreSQL, Chromium, npm and PyPI
            clients); installs Debian packages where they are missing and it may; skips nothing
  quick     formatting, house rules and the tests that need nothing installed: the edit-test loop
  tidy      the house rules alone: crate edges and other invariants of the design
  docs      writes docs/reference/attacks.md and specs.md from the tests
  need      installs what the tests need (Debian packages, npm and PyPI clients) and says what it did
  crosstalk [N]
            N requests (10,000,000) through the upstream pool beside an API that breaks every rule: early answers,
            left-over bytes, resets, 1xx, closed connections, callers that go away. No answer may reach the wrong caller
  races     10,000 parallel pairs of code redemption and refresh on both stores; 1,000 revocations of each kind
            under load; 50 restarts after kill -9 (minutes; also part of `test` in a smaller count)
  races gates [N]
            N revocations (100,000) over three gate processes under load, while the desk is killed and paused, gates cut
            off and paused: nothing that starts after the answer may be accepted at any gate
  peers [N [SEED]]
            N bent tokens and keys (200,000) before our verifier, the crate `jsonwebtoken` and npm `jose`: nothing may be
            accepted here that both refuse
  fuzz [--seconds N] [TARGET …]
            every fuzz target, or these, for N seconds each (60); wants nightly Rust and cargo-fuzz. What is found
            stands under fuzz/artifacts, what is learnt under fuzz/target/corpus
  bench gate [--docs] [--only PATTERN] …
            what a request costs beside nginx, nginx with Lua and HAProxy, in one run; `--docs` writes the table
            into docs/performance.md; all options: python3 bench/gate.py --help (about ten minutes)
";

fn main() -> Result<()> {
    let root = root();
    std::env::set_current_dir(&root)?;
    match std::env::args().nth(1).as_deref() {
        Some("test") => test(&root),
        Some("quick") => quick(&root),
        Some("tidy") => tidy::check(&root),
        Some("docs") => attacks::write(&root),
        Some("need") => need::install(&root).map(|_| ()),
        Some("races") => match std::env::args().nth(2).as_deref() {
            Some("gates") => race_gates(std::env::args().nth(3)),
            _ => races(&root),
        },
        Some("bench") => bench(&root),
        Some("peers") => peers(&root),
        Some("fuzz") => fuzz::run(&root, std::env::args().skip(2)),
        Some("crosstalk") => crosstalk(std::env::args().nth(2)),
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("there is no command `{other}`\n\n{HELP}"),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn test(root: &Path) -> Result<()> {
    let started = Instant::now();
    step("formatting", || run(Command::new("cargo").args(["fmt", "--all", "--check"])))?;
    step("house rules", || tidy::check(root))?;
    step("generated pages are current", || attacks::check(root))?;
    let found = step_value("what the tests need", || need::install(root))?;
    step("clippy", || {
        run(Command::new("cargo").args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
    })?;
    step("tests", || {
        let mut tests = runner();
        found.set(&mut tests);
        // A test that cannot find its real part fails instead of skipping.
        run(tests.env("TRIGATE_TEST_REQUIRE", "1"))
    })?;
    println!("all green in {} s", started.elapsed().as_secs());
    Ok(())
}

fn quick(root: &Path) -> Result<()> {
    step("formatting", || run(Command::new("cargo").args(["fmt", "--all", "--check"])))?;
    step("house rules", || tidy::check(root))?;
    step("tests", || run(&mut runner()))
}

fn races(root: &Path) -> Result<()> {
    let found = need::install(root)?;
    let mut tests = Command::new("cargo");
    tests.args(["test", "--release", "--workspace", "--tests", "--", "--nocapture"]);
    tests.args(["--test-threads", "1", "race_", "crash_", "ten_thousand"]);
    found.set(&mut tests);
    run(tests.env("TRIGATE_TEST_REQUIRE", "1").env("TRIGATE_TEST_FULL", "1"))
}

fn bench(root: &Path) -> Result<()> {
    let mut arguments = std::env::args().skip(2);
    if arguments.next().as_deref() != Some("gate") {
        bail!("there is a bench of the `gate` alone\n\n{HELP}");
    }
    need::install_bench()?;
    run(Command::new("cargo").args(["build", "--profile", "dist", "--package", "trigate", "--bin", "trigate"]))?;
    let out = root.join("target/bench");
    std::fs::create_dir_all(&out)?;
    let mut command = Command::new("python3");
    command.arg("bench/gate.py").arg("--trigate").arg("target/dist/trigate").arg("--work").arg(out.join("credentials"));
    command.arg("--json").arg(out.join("gate.json"));
    for argument in arguments {
        match argument.as_str() {
            "--docs" => command.args(["--docs", "docs/performance.md", "--svg", "docs/performance.svg"]),
            other => command.arg(other),
        };
    }
    run(&mut command)
}

fn race_gates(count: Option<String>) -> Result<()> {
    let mut test = Command::new("cargo");
    test.args(["test", "--release", "-p", "trigate", "--test", "it", "--", "--nocapture", "gates_race_"]);
    run(test.env("TRIGATE_TEST_TRIALS", count.as_deref().unwrap_or("100000")))
}

fn crosstalk(count: Option<String>) -> Result<()> {
    let mut test = Command::new("cargo");
    test.args(["test", "--release", "-p", "trigate", "--test", "it", "--", "--nocapture", "crosstalk_"]);
    run(test.env("TRIGATE_TEST_REQUESTS", count.as_deref().unwrap_or("10000000")))
}

fn peers(root: &Path) -> Result<()> {
    let found = need::install(root)?;
    let mut peers = Command::new("cargo");
    peers.args(["run", "--release", "--quiet", "--package", "trigate-peers", "--"]);
    let numbers: Vec<String> = std::env::args().skip(2).collect();
    if numbers.is_empty() {
        peers.arg("200000")
    } else {
        peers.args(numbers)
    };
    found.set(&mut peers);
    run(&mut peers)
}

/// nextest where it is there, `cargo test` otherwise: the same tests.
fn runner() -> Command {
    let has_nextest =
        Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    let mut command = Command::new("cargo");
    if has_nextest {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        command.args(["test", "--workspace", "--no-fail-fast"]);
    }
    command
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    step_value(name, work)
}

fn step_value<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("== {name}");
    let started = Instant::now();
    let value = work()?;
    println!("   {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(value)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if !status.success() {
        bail!("`{command:?}` ended with {status}");
    }
    Ok(())
}
