//! What does an answer look like to a person? Tables, and `???` where nobody is known. `--json` prints the answer itself.

use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// Prints one line; a closed pipe ends the output quietly.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// For progress and remarks: they must not end up in a pipe.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()));
}

/// Text of a member; `???` when it is absent: nobody is known.
pub fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "???".to_owned(),
        Some(found) => plain(found),
    }
}

/// As `text`, with a dash for what need not be.
pub fn optional(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Array(list)) if list.is_empty() => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(found) => plain(found),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// SECURITY: names and agents come from outside; a terminal must not obey them.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Columns with a head; says so when there is nothing.
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    nothing: &'static str,
}

impl Table {
    pub fn new(head: &[&'static str], nothing: &'static str) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), nothing }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn print(&self) {
        if self.rows.is_empty() {
            return note(self.nothing);
        }
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let head = self.head.get(column).map_or(0, |head| head.len());
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0).max(head)
            })
            .collect();
        let head: Vec<String> = self.head.iter().map(|head| head.replace('_', " ").to_uppercase()).collect();
        line(&dim(&join(&head, &widths)));
        for row in &self.rows {
            line(&join(row, &widths));
        }
    }
}

fn join(cells: &[String], widths: &[usize]) -> String {
    let last = cells.len().saturating_sub(1);
    let padded = cells.iter().zip(widths).enumerate().map(|(at, (cell, columns))| {
        let missing = if at == last { 0 } else { columns.saturating_sub(width(cell)) };
        format!("{cell}{}", " ".repeat(missing))
    });
    padded.collect::<Vec<_>>().join("  ")
}

/// Characters that take room: colours take none.
fn width(cell: &str) -> usize {
    let mut coloured = false;
    cell.chars()
        .filter(|c| {
            let shown = !coloured && *c != '\u{1b}';
            coloured = (coloured || *c == '\u{1b}') && *c != 'm';
            shown
        })
        .count()
}

/// Names and values below each other, for one thing.
pub fn sheet(pairs: &[(&str, String)]) {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in pairs {
        line(&format!("{}  {value}", dim(&format!("{name:<width$}"))));
    }
}

fn styled() -> bool {
    std::io::stdout().is_terminal() && crate::config::environment("NO_COLOR").is_none()
}

fn style(code: &str, text: &str) -> String {
    if styled() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

pub fn dim(text: &str) -> String {
    style("2", text)
}

pub fn bold(text: &str) -> String {
    style("1", text)
}

pub fn red(text: &str) -> String {
    style("31", text)
}

pub fn green(text: &str) -> String {
    style("32", text)
}

pub fn yellow(text: &str) -> String {
    style("33", text)
}
