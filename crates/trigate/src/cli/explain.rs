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
use trigate_core::credential::ApiKey;

#[derive(Args)]
#[command(after_help = "The credential comes on standard input or in a file, never as an argument. It may be an API key, an access
token (JWT or opaque) or a certificate in PEM; for two together, one per line.

Examples:
  trigate explain < token.txt
  trigate explain --file key.txt GET /api/users/me/orders")]
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
        let mut question = if self.nobody { json!({}) } else { sort(&input::read(self.file.as_deref(), "credential")?) };
        if let Some(question) = question.as_object_mut() {
            question.insert("method".to_owned(), method.map(|method| method.to_uppercase()).into());
            question.insert("path".to_owned(), path.into());
            question.insert("host".to_owned(), self.host.into());
        }
        let answer = Door::open(global).await?.post(&["explain"], &question).await?;
        if global.json { print::json(&answer) } else { show(&answer) }
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
    let mut table = Table::new(&["gate", "verdict", "reason", "established"], "the gates said nothing");
    for (number, gate) in answer.get("gates").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let verdict = match gate.get("verdict").and_then(Value::as_str) {
            Some("passed") => print::green("passed"),
            Some("refused") => print::red("refused"),
            Some("waived") => "waived".to_owned(),
            _ => "not reached".to_owned(),
        };
        let explanation = match gate.get("reason").and_then(Value::as_str) {
            Some(code) => {
                let sentence = gate.get("explanation").and_then(Value::as_str).map(str::to_owned);
                let sentence = sentence.or_else(|| trigate_core::reason::Reason::from_code(code).map(|reason| reason.explanation().to_owned()));
                format!("{code}: {}", sentence.unwrap_or_default())
            }
            None => "-".to_owned(),
        };
        table.row(vec![format!("{} {}", number + 1, print::text(gate, "gate")), verdict, explanation, print::optional(gate, "established")]);
    }
    table.print();
    for (name, value) in answer.as_object().into_iter().flatten().filter(|(name, _)| *name != "gates") {
        if let Value::Object(members) = value {
            print::line(&format!("\n{}", print::bold(name)));
            let pairs: Vec<(&str, String)> = members.keys().map(|member| (member.as_str(), print::text(value, member))).collect();
            print::sheet(&pairs);
        } else {
            print::sheet(&[(name.as_str(), print::text(answer, name))]);
        }
    }
}
