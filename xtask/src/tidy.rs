//! Do the walls stand? House rules of the design that no compiler checks, as one pass over the sources.

use anyhow::{Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every crate but the hall depends on core alone (DESIGN, Layout).
const EDGES: &[(&str, &[&str])] = &[
    ("trigate-core", &[]),
    ("trigate-gates", &["trigate-core"]),
    ("trigate-issuer", &["trigate-core"]),
    ("trigate-store", &["trigate-core"]),
    ("trigate-audit", &["trigate-core"]),
    ("trigate-outbound", &["trigate-core"]),
    ("trigate-x509", &["trigate-core"]),
];

/// (what may not stand in product code, where it may, why)
const WORDS: &[(&str, &[&str], &str)] = &[
    ("aws_lc_rs::signature", &["trigate-core/src/jose/"], "only jose/ signs and verifies"),
    (
        ".sign_jws(",
        &[
            "trigate-core/src/jose/",
            "trigate-issuer/src/mint/",
            "trigate-audit/src/",
            "trigate/src/cli/",
            "trigate/src/operator/",
        ],
        "only mint/ makes tokens",
    ),
    ("env::var", &["trigate/src/config/", "trigate-store/src/contract/"], "only config/ reads the environment"),
    ("SystemTime::now", &["trigate-gates/src/system.rs"], "time enters through port::Clock"),
    // A timer of the runtime is set by the runtime's own clock; nothing is judged by it.
    ("Instant::now", &["trigate-gates/src/system.rs", "trigate/src/wire/alarm.rs"], "time enters through port::Clock"),
    ("SystemRandom", &["trigate-gates/src/system.rs", "trigate-core/src/jose/"], "dice enter through port::Rng"),
    ("rusqlite::", &["trigate-store/src/dialect/"], "only dialect/ knows which database it speaks to"),
    (
        "tokio_postgres::",
        &["trigate-store/src/dialect/", "trigate-store/src/contract/"],
        "only dialect/ knows which database it speaks to",
    ),
    ("axum::serve", &[], "it has no header deadline: serve through edge/"),
    ("todo!(", &[], "nothing is left undone in a commit"),
    ("unimplemented!(", &[], "nothing is left undone in a commit"),
];

pub fn check(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    edges(root, &mut faults)?;
    for file in product_sources(root)? {
        let name = file.strip_prefix(root.join("crates"))?.to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&file)?;
        if !text.starts_with("//!") && !name.ends_with("lib.rs") && !name.contains("/generated/") {
            faults.push(format!("{name}:1: a file opens with `//!`: the question it answers"));
        }
        words(&name, &text, &mut faults);
    }
    embedders(&mut faults)?;
    if faults.is_empty() {
        return Ok(());
    }
    bail!("house rules broken:\n  {}", faults.join("\n  "))
}

fn edges(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    for (name, allowed) in EDGES {
        let manifest = fs::read_to_string(root.join("crates").join(name).join("Cargo.toml"))?;
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let dependencies = normal.split("[dependencies]").nth(1).unwrap_or_default();
        for line in dependencies.lines().filter(|line| line.starts_with("trigate-")) {
            let other = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&other) {
                faults.push(format!("crates/{name}/Cargo.toml: may not depend on `{other}`: arrows point down only"));
            }
        }
    }
    Ok(())
}

/// A service that embeds the gates builds no SQL, no issuer and no server of ours.
fn embedders(faults: &mut Vec<String>) -> Result<()> {
    let tree = std::process::Command::new("cargo")
        .args(["tree", "--locked", "-p", "axum-service", "-e", "normal", "--prefix", "none"])
        .output()?;
    if !tree.status.success() {
        bail!("`cargo tree -p axum-service` failed: {}", String::from_utf8_lossy(&tree.stderr));
    }
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let foreign = ["rusqlite", "libsqlite3-sys", "tokio-postgres", "clap", "askama", "argon2", "url"];
        let ours = name == "trigate" || (name.starts_with("trigate-") && !EMBEDDED.contains(&name));
        if ours || foreign.contains(&name) {
            faults.push(format!("examples/axum-service: `{name}` is in its tree: embedders build no server"));
        }
    }
    Ok(())
}

/// What of ours a service that embeds the gates builds.
const EMBEDDED: &[&str] = &["trigate-core", "trigate-gates", "trigate-audit"];

fn words(name: &str, text: &str, faults: &mut Vec<String>) {
    // Tests stand at the end of a file, behind `#[cfg(test)]`.
    let product = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    for (number, line) in product.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (word, allowed, why) in WORDS {
            if line.contains(word) && !allowed.iter().any(|place| name.starts_with(place)) {
                faults.push(format!("{name}:{}: `{word}`: {why}", number + 1));
            }
        }
    }
}

/// Every source file of the crates that is not a test.
fn product_sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        collect(&entry?.path().join("src"), &mut files)?;
    }
    files.retain(|file| {
        let path = file.to_string_lossy();
        !path.ends_with("tests.rs") && !path.contains("/tests/") && !path.contains("/testing")
    });
    files.sort();
    Ok(files)
}

pub fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
