//! Where does a secret come in? From standard input or a file; typed, it is not shown.

use super::{failure::Failure, print};
use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};
use zeroize::Zeroizing;

/// Bytes of a credential or a certificate.
const MAX: u64 = 8 << 20;
/// Bytes of a list: millions of keys.
const MAX_LIST: u64 = 1 << 30;

/// Reads `file`, or standard input when there is none or it is `-`. `what` is asked for when a person types.
pub fn read(file: Option<&Path>, what: &str) -> Result<Zeroizing<String>, Failure> {
    read_up_to(MAX, file, what)
}

/// As [`read`], of a list with a line for each.
pub fn read_list(file: Option<&Path>, what: &str) -> Result<Zeroizing<String>, Failure> {
    read_up_to(MAX_LIST, file, what)
}

fn read_up_to(max: u64, file: Option<&Path>, what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    match file.filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            let failed =
                |error| Failure::usage(format!("`{}` cannot be read: {error}", path.display()), "check the path");
            std::fs::File::open(path).map_err(failed)?.take(max + 1).read_to_string(&mut text).map_err(failed)?;
        }
        None if std::io::stdin().is_terminal() => {
            print::note(&format!("{what} (not shown, end with Enter):"));
            let _quiet = Quiet::new();
            std::io::stdin().read_line(&mut text)?;
        }
        None => {
            std::io::stdin().take(max + 1).read_to_string(&mut text)?;
        }
    }
    // Cut off, its last line would be read as another key.
    if text.len() as u64 > max {
        return Err(Failure::usage(format!("the {what} is longer than {max} bytes"), "give it in several parts"));
    }
    let trimmed = Zeroizing::new(text.trim().to_owned());
    if trimmed.is_empty() {
        return Err(Failure::usage(
            format!("no {what} came"),
            format!("pipe the {what} in, or name a file with --file"),
        ));
    }
    Ok(trimmed)
}

/// Turns the terminal's echo off, and on again when dropped.
struct Quiet(bool);

impl Quiet {
    fn new() -> Self {
        Self(stty("-echo"))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.0 {
            stty("echo");
            print::note("");
        }
    }
}

/// Without `stty` the text is shown, as everything else that is typed.
fn stty(mode: &str) -> bool {
    std::process::Command::new("stty").arg(mode).status().is_ok_and(|status| status.success())
}
