//! `trigate explain`: would a request be let through?

use super::{
    Failure, Global,
    door::Door,
    input,
    print::{self, Table},
};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use trigate_core::{credential::ApiKey, reason::Reason};

#[derive(Args)]
#[command(
    after_help = "The credential comes on standard input or in a file, never as an argument. It may be an API key, an access
token (JWT or opaque) or a certificate in PEM; for two together, one per line.

Examples:
  trigate explain < token.txt
  trigate explain --file key.txt GET /api/users/me/orders"
)]
pub struct Command {
    /// Default: GET.
    method: Option<String>,
    /// Default: /.trigate/whoami, which wants nothing but that the credential is good.
    path: Option<String>,
    /// File with the credential. Default: standard input.
    #[arg(long)]
    file: Option<PathBuf>,
    /// No credential at all: what would a stranger get?
    #[arg(long, conflicts_with = "file")]
    nobody: bool,
    #[arg(long)]
    host: Option<String>,
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        for argument in [&self.method, &self.path] {
            super::revoke::refuse_secret_argument(argument.as_deref().unwrap_or_default())?;
        }
        // `trigate explain /path` is what people type.
        let (method, path) = match (self.method, self.path) {
            (Some(path), None) if path.starts_with('/') => (None, Some(path)),
            given => given,
        };
        let mut question =
            if self.nobody { json!({}) } else { sort(&input::read(self.file.as_deref(), "credential")?) };
        if let Some(question) = question.as_object_mut() {
            question.insert("method".to_owned(), method.map(|method| method.to_uppercase()).into());
            question.insert("path".to_owned(), path.into());
            question.insert("host".to_owned(), self.host.into());
        }
        let answer = Door::open(global).await?.post(&["explain"], &question).await?;
        if global.json {
            print::json(&answer)
        } else {
            show(&answer)
        }
        Ok(())
    }
}

/// Which kind of credential is it? Certificates and keys say so themselves; everything else is a token.
fn sort(text: &str) -> Value {
    let mut question = serde_json::Map::new();
    if text.contains("-----BEGIN CERTIFICATE-----") {
        question.insert("certificate".to_owned(), text.into());
        return Value::Object(question);
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.strip_prefix("Bearer ").unwrap_or(line);
        let token = line.starts_with("tga_") || line.starts_with("eyJ");
        // Imported keys have no form of ours; a token without dots is not one either.
        let key = ApiKey::parse(line).is_some() || line.starts_with("tgk_") || (!token && !line.contains('.'));
        question.insert(if key { "key" } else { "token" }.to_owned(), line.into());
    }
    Value::Object(question)
}

fn show(answer: &Value) {
    let verdict = match (answer.get("allowed"), answer.get("observed")) {
        (Some(Value::Bool(true)), _) => print::green("let through"),
        (_, Some(Value::Bool(true))) => print::yellow("let through, because the gate only observes"),
        _ => print::red(&format!("refused with {}", print::text(answer, "status"))),
    };
    let route = print::optional(answer, "route");
    let route = if route == "-" { "no route".to_owned() } else { format!("route {route}") };
    print::line(&format!(
        "{} {}, {route}: {verdict}\n",
        print::optional(answer, "method"),
        print::optional(answer, "path")
    ));
    let before_gates = !answer
        .get("gates")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|gate| gate.get("reason").is_some_and(|reason| !reason.is_null()));
    if let (true, Some(code)) = (before_gates, answer.get("reason").and_then(Value::as_str)) {
        print::line(&format!("{code}: {}\n", print::optional(answer, "explanation")));
    }
    let mut table = Table::new(&["gate", "verdict", "reason"], "the gates said nothing");
    for (number, gate) in answer.get("gates").and_then(Value::as_array).into_iter().flatten().enumerate() {
        table.row(vec![
            format!("{} {}", number + 1, print::text(gate, "gate")),
            verdict_word(gate),
            reason(gate, answer),
        ]);
    }
    table.print();
    let facts = answer.get("facts").cloned().unwrap_or_default();
    let known: Vec<(&str, String)> =
        ["application", "key", "client", "user", "machine", "session", "grant", "token", "scopes", "roles"]
            .into_iter()
            .map(|name| (name, print::text(&facts, name)))
            // Nobody is known: said for the parties, not for what hangs on them.
            .filter(|(name, value)| value != "???" || matches!(*name, "application" | "user"))
            .collect();
    print::line("");
    print::sheet(&known);
}

fn verdict_word(gate: &Value) -> String {
    match gate.get("verdict").and_then(Value::as_str) {
        Some("passed") => print::green("passed"),
        Some("refused") => print::red("refused"),
        Some("waived") => "waived".to_owned(),
        _ => "not reached".to_owned(),
    }
}

fn reason(gate: &Value, answer: &Value) -> String {
    let Some(code) = gate.get("reason").and_then(Value::as_str) else { return "-".to_owned() };
    let known = Reason::from_code(code).map(Reason::explanation);
    let sentence = answer.get("explanation").and_then(Value::as_str).or(known).unwrap_or_default();
    format!("{code}: {}", print::printable(sentence))
}
