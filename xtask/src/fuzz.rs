//! Does hostile input break a promise? Every target of `fuzz/`, one after the other, each with its bounds.

use anyhow::{Context, Result, bail};
use std::{fs, path::Path, process::Command};

/// A target, and the longest input that is worth trying.
const TARGETS: &[(&str, u32)] = &[
    ("jws", 4096),
    ("jwk", 8192),
    ("peers", 128),
    ("http1", 2048),
    ("dpop", 4096),
    ("key_header", 2048),
    ("normal_path", 1024),
    ("route_matcher", 1024),
    ("forwarded_headers", 2048),
    ("client_cert", 4096),
    ("x509", 1024),
    ("config", 8192),
];
/// More than any of them needs; an input that takes more is a finding.
const MEMORY_MB: u32 = 1024;
/// As above, of time: none of them needs a second.
const LONGEST_S: u32 = 25;

pub fn run(root: &Path, mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let (mut seconds, mut wanted) = (60_u32, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => seconds = arguments.next().context("--seconds wants a number")?.parse()?,
            name if TARGETS.iter().any(|(known, _)| *known == name) => wanted.push(argument),
            other => bail!("there is no fuzz target `{other}`"),
        }
    }
    for (target, longest) in TARGETS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        println!("== {target}");
        fuzz(root, target, *longest, seconds)?;
    }
    Ok(())
}

fn fuzz(root: &Path, target: &str, longest: u32, seconds: u32) -> Result<()> {
    // What is found on the way is kept apart: the corpus in the tree stays small.
    let learnt = root.join("fuzz/target/corpus").join(target);
    fs::create_dir_all(&learnt)?;
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "run", target]).arg(&learnt).arg(root.join("fuzz/corpus").join(target)).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={longest}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MB}")).arg(format!("-timeout={LONGEST_S}"));
    command.arg("-print_final_stats=1");
    super::run(&mut command)
}
