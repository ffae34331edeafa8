//! Which attack is shown by which test? The pages under docs/reference/ are written from the tests' own names.

use crate::tidy::collect;
use anyhow::{Result, bail};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

const ATTACKS: &str = "docs/reference/attacks.md";
const SPECS: &str = "docs/reference/specs.md";

pub fn write(root: &Path) -> Result<()> {
    let (attacks, specs) = pages(root)?;
    fs::write(root.join(ATTACKS), attacks)?;
    fs::write(root.join(SPECS), specs)?;
    println!("wrote {ATTACKS} and {SPECS}");
    Ok(())
}

pub fn check(root: &Path) -> Result<()> {
    let (attacks, specs) = pages(root)?;
    for (page, text) in [(ATTACKS, attacks), (SPECS, specs)] {
        if fs::read_to_string(root.join(page)).unwrap_or_default() != text {
            bail!("{page} is not what the tests say; write it anew with `cargo xtask docs`");
        }
    }
    Ok(())
}

fn pages(root: &Path) -> Result<(String, String)> {
    let sources = sources(root)?;
    Ok((attacks_page(root, &sources)?, specs_page(&sources)))
}

/// Name relative to the root, and text.
fn sources(root: &Path) -> Result<Vec<(String, String)>> {
    let mut files: Vec<PathBuf> = Vec::new();
    collect(&root.join("crates"), &mut files)?;
    files.sort();
    files
        .into_iter()
        .map(|file| Ok((file.strip_prefix(root)?.to_string_lossy().into_owned(), fs::read_to_string(&file)?)))
        .collect()
}

fn attacks_page(root: &Path, sources: &[(String, String)]) -> Result<String> {
    let tests = tests_by_id(sources);
    let reasons = reasons(root)?;
    let catalogue = fs::read_to_string(root.join("conformance/attacks.md"))?;
    let mut page = String::from(
        "# Attacks and the tests that show the answer\n\nWritten by `cargo xtask docs` from the names of the tests; \
         the catalogue itself is\n[conformance/attacks.md](../../conformance/attacks.md).\n",
    );
    let (mut covered, mut open, mut silent) = (String::new(), String::new(), Vec::new());
    for line in catalogue.lines() {
        let Some(id) = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next()).filter(|id| is_id(id)) else {
            continue;
        };
        let sent = line.split('|').nth(2).unwrap_or_default().trim();
        let part = reasons.get(id).or_else(|| reasons.get(id.get(..1).unwrap_or_default()));
        match (tests.get(id), part) {
            (Some(tests), _) => {
                let note = reasons.get(id).map(|why| format!("<br>not yet: {why}")).unwrap_or_default();
                writeln!(covered, "| {id} | {sent} | {}{note} |", tests.join("<br>"))?;
            }
            (None, Some(why)) => writeln!(open, "| {id} | {sent} | {why} |")?,
            (None, None) => silent.push(id.to_owned()),
        }
    }
    if !silent.is_empty() {
        bail!("no test and no word in conformance/not-yet.md on: {}", silent.join(" "));
    }
    writeln!(page, "\n## Covered\n\n| id | sent | tests |\n|---|---|---|\n{covered}")?;
    write!(page, "## Not yet, and why\n\n| id | sent | why |\n|---|---|---|\n{open}")?;
    Ok(page)
}

fn is_id(word: &str) -> bool {
    let mut letters = word.chars();
    word.len() == 3 && letters.next().is_some_and(|c| c.is_ascii_uppercase()) && letters.all(|c| c.is_ascii_digit())
}

/// `fn t01_alg_none…` shows T01; `t34_t35_…` shows both.
fn tests_by_id(sources: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources {
        for line in text.lines() {
            let line = line.trim_start();
            let name = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")).unwrap_or_default();
            let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            for word in name.split('_') {
                let id = word.to_uppercase();
                if !is_id(&id) {
                    break;
                }
                let place = file.trim_start_matches("crates/");
                tests.entry(id).or_default().push(format!("`{name}` ({place})"));
            }
        }
    }
    tests
}

/// Lines `- O21: why` of conformance/not-yet.md; a single letter speaks for its whole group.
fn reasons(root: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(root.join("conformance/not-yet.md"))?;
    let mut reasons = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("- ")) {
        if let Some((ids, why)) = line.split_once(": ") {
            for id in ids.split(' ') {
                reasons.insert(id.to_owned(), why.trim().to_owned());
            }
        }
    }
    Ok(reasons)
}

/// Every `RFC n §s` in a comment of product code, with the file that enforces it.
fn specs_page(sources: &[(String, String)]) -> String {
    let mut places: BTreeMap<(u32, String), Vec<String>> = BTreeMap::new();
    for (file, text) in sources {
        for line in text.lines() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            for piece in comment.split("RFC ").skip(1) {
                let number: String = piece.chars().take_while(char::is_ascii_digit).collect();
                let Some(rest) = piece.get(number.len()..).and_then(|rest| rest.strip_prefix(" §")) else { continue };
                let section: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                let Ok(number) = number.parse() else { continue };
                let files = places.entry((number, section.trim_end_matches('.').to_owned())).or_default();
                let place = file.trim_start_matches("crates/").to_owned();
                if files.last() != Some(&place) {
                    files.push(place);
                }
            }
        }
    }
    let mut page = String::from(
        "# Sections of the standards and where they are enforced\n\nWritten by `cargo xtask docs` from the tags in the \
         code.\n\n| section | files |\n|---|---|\n",
    );
    for ((rfc, section), mut files) in places {
        files.dedup();
        page.push_str(&format!("| RFC {rfc} §{section} | {} |\n", files.join("<br>")));
    }
    page
}
