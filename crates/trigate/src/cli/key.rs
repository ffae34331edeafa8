//! `trigate key`: API keys.

use super::{
    Failure, Global,
    app::id_of,
    door::Door,
    input,
    print::{self, Table},
    revoke,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use trigate_core::credential::ApiKey;

#[derive(Subcommand)]
pub enum Command {
    /// Make an API key and show it once.
    #[command(after_help = "Example:
  trigate key create --app Acme --label phone --scopes weather:read --expires 365d --from 192.0.2.0/24")]
    Create {
        /// Id or name of the application that the key stands for.
        #[arg(long)]
        app: String,
        #[command(flatten)]
        policy: Policy,
    },
    /// Bring existing keys along: they keep working in their own header until their sunset.
    #[command(after_help = "A line is a key, or the SHA-256 of one; a label may follow after a blank.

Example:
  trigate key import --app Acme --header X-Acme-Key --sunset 2027-06-30 --file hashes.txt
  trigate key import --app \"Acme Weather App\" --plain < keys.txt")]
    Import {
        /// Id or name of the application that the keys stand for.
        #[arg(long)]
        app: String,
        /// The lines are keys themselves: they are hashed on the way in and forgotten.
        #[arg(long)]
        plain: bool,
        /// A list of keys. Default: standard input.
        #[arg(long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        policy: Policy,
    },
    /// Make a successor; both keys work until the overlap is over.
    #[command(after_help = "Example:\n  trigate key rotate key_… --overlap 7d")]
    Rotate {
        /// The key's id.
        key: String,
        /// How long the old key still works: 7d, 12h, 0s, or a time.
        #[arg(long, default_value = "7d")]
        overlap: String,
        /// When the new key expires. Default: never.
        #[arg(long = "expires", value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// List keys; never what they are.
    #[command(after_help = "Example:\n  trigate key list --app \"Acme Weather App\"")]
    List {
        #[arg(long)]
        app: Option<String>,
    },
    /// Refuse a key until it is enabled again.
    #[command(after_help = "Example:\n  trigate key disable key_…")]
    Disable { key: String },
    /// Let a disabled key in again.
    #[command(after_help = "Example:\n  trigate key enable key_…")]
    Enable { key: String },
    /// End a key for ever; the same as `trigate revoke key`.
    #[command(after_help = "Example:\n  trigate key revoke key_… --why \"found in a repository\"")]
    Revoke { key: String },
}

#[derive(Args)]
pub struct Policy {
    /// What it is for.
    #[arg(long)]
    label: Option<String>,
    /// `live` or `test`: seen in the key's text.
    #[arg(long = "env", value_parser = ["live", "test"], value_name = "ENV")]
    environment: Option<String>,
    /// The key may do only this. Default: whatever the routes let a key do.
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,…")]
    scopes: Option<Vec<String>>,
    /// Addresses or networks that the key may be used from. Default: any.
    #[arg(long = "from", value_delimiter = ',', value_name = "NET,…")]
    allowed_addresses: Vec<String>,
    /// When it begins: a time, a date, or a span such as 2h.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Its sunset: a time, a date, or a span such as 90d. Default: never.
    #[arg(long = "expires", visible_alias = "sunset", value_name = "TIME")]
    expires_at: Option<String>,
    /// The header that it arrives in. Default: X-API-Key.
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
}

impl Policy {
    fn json(&self) -> Value {
        json!({
            "label": self.label,
            "environment": self.environment,
            "scopes": self.scopes,
            "allowed_addresses": self.allowed_addresses,
            "not_before": self.not_before,
            "expires_at": self.expires_at,
            "header": self.header,
        })
    }
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        if let Self::Revoke { key } = self {
            return revoke::run(global, "key", &key, None, false).await;
        }
        let door = Door::open(global).await?;
        match self {
            Self::Create { app, policy } => made(global, &door.post(&["keys"], &with_app(policy.json(), &app)).await?),
            Self::Import { app, plain, file, policy } => import(global, &door, &app, plain, file, &policy).await?,
            Self::Rotate { key, overlap, expires_at } => {
                let body = json!({ "overlap": overlap, "expires_at": expires_at });
                made(global, &door.post(&["keys", &id(&key), "rotate"], &body).await?);
            }
            Self::List { app } => {
                let app = match &app {
                    Some(app) => vec![("app", id_of(&door, app).await?)],
                    None => Vec::new(),
                };
                list(global, &door.get(&["keys"], &app).await?);
            }
            Self::Disable { key } => list(global, &door.post(&["keys", &id(&key), "disable"], &json!({})).await?),
            Self::Enable { key } => list(global, &door.post(&["keys", &id(&key), "enable"], &json!({})).await?),
            Self::Revoke { .. } => {}
        }
        Ok(())
    }
}

/// SECURITY: somebody may name a key by its whole text; only its id may go into a path.
fn id(key: &str) -> String {
    ApiKey::parse(key).map_or_else(|| trigate_core::credential::mask_secrets(key), |key| key.id().to_string())
}

fn with_app(mut body: Value, app: &str) -> Value {
    if let Some(body) = body.as_object_mut() {
        body.insert("app".to_owned(), app.into());
        body.retain(|_, value| !value.is_null());
    }
    body
}

/// Keys per request: progress is shown between them.
const BATCH: usize = 500;

async fn import(
    global: &Global,
    door: &Door,
    app: &str,
    plain: bool,
    file: Option<PathBuf>,
    policy: &Policy,
) -> Result<(), Failure> {
    let text = input::read_list(file.as_deref(), "list of keys")?;
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let keys: Vec<Value> = lines
        .iter()
        .map(|line| {
            let (key, label) =
                line.split_once(char::is_whitespace).map_or((*line, None), |(key, label)| (key, Some(label.trim())));
            let key = key.strip_prefix("sha256:").unwrap_or(key);
            json!({ (if plain { "plain" } else { "sha256" }): key, "label": label })
        })
        .collect();
    let (mut imported, mut known_before, mut done) = (Vec::new(), 0, 0);
    for batch in keys.chunks(BATCH) {
        let mut body = with_app(policy.json(), app);
        if let Some(body) = body.as_object_mut() {
            body.insert("keys".to_owned(), batch.into());
        }
        let answer = door.post(&["keys", "import"], &body).await?;
        imported.extend(answer.get("imported").and_then(Value::as_array).cloned().unwrap_or_default());
        known_before += answer.get("known_before").and_then(Value::as_u64).unwrap_or_default();
        done += batch.len();
        if keys.len() > BATCH {
            print::note(&format!("  {done} of {} keys", keys.len()));
        }
    }
    if global.json {
        print::json(&json!({ "imported": imported, "known_before": known_before }));
    } else {
        print::line(&format!("imported {} keys, {known_before} were known before", imported.len()));
        if let Some(first) = imported.first() {
            print::line(&format!("they are read from the header {}", print::text(first, "header")));
        }
    }
    Ok(())
}

pub(super) fn made(global: &Global, answer: &Value) {
    if global.json {
        return print::json(answer);
    }
    print::sheet(&[
        ("key", print::text(answer, "key")),
        ("id", print::text(answer, "id")),
        ("application", print::text(answer, "application")),
        ("scopes", scopes(answer)),
        ("header", print::text(answer, "header")),
        ("from", networks(answer)),
        ("expires", never(answer)),
    ]);
    print::note("The key is shown this once. It identifies the application; it is no proof of any user.");
}

fn list(global: &Global, answer: &Value) {
    if global.json {
        return print::json(answer);
    }
    let mut table = Table::new(
        &["id", "application", "label", "state", "header", "scopes", "from", "expires"],
        "no keys yet: trigate key create --app APP",
    );
    let one = std::slice::from_ref(answer);
    for key in answer.as_array().map_or(one, Vec::as_slice) {
        let state = match (key.get("revoked_at"), key.get("exposed_at")) {
            (Some(Value::String(_)), _) => "revoked".to_owned(),
            (_, Some(Value::String(_))) => format!("{}, exposed", print::text(key, "state")),
            _ => print::text(key, "state"),
        };
        table.row(vec![
            print::text(key, "id"),
            print::text(key, "application"),
            print::optional(key, "label"),
            state,
            print::text(key, "header"),
            scopes(key),
            networks(key),
            never(key),
        ]);
    }
    table.print();
}

fn scopes(key: &Value) -> String {
    match key.get("scopes") {
        None | Some(Value::Null) => "any".to_owned(),
        _ => print::optional(key, "scopes"),
    }
}

fn networks(key: &Value) -> String {
    let nets = print::optional(key, "allowed_addresses");
    if nets == "-" { "anywhere".to_owned() } else { nets }
}

fn never(key: &Value) -> String {
    let at = print::optional(key, "expires_at");
    if at == "-" { "never".to_owned() } else { at }
}
