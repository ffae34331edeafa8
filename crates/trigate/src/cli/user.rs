//! `trigate user` and `trigate role`: people, and what they may be.

use super::{
    Failure, Global,
    door::Door,
    input,
    print::{self, Table},
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Command {
    /// Make an account. Without a password file one is made and shown once.
    #[command(after_help = "Examples:
  trigate user create alice@example.com --roles customer
  trigate user create bob@example.com --password-file - < password.txt")]
    Create {
        email: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
        roles: Vec<String>,
        /// File with the password; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The address is known to be theirs.
        #[arg(long)]
        verified: bool,
        /// The `sub` that the person had elsewhere.
        #[arg(long)]
        id: Option<String>,
    },
    /// List accounts.
    #[command(after_help = "Example:\n  trigate user list")]
    List,
    /// Show an account with its sessions and grants.
    #[command(after_help = "Example:\n  trigate user show alice@example.com")]
    Show { user: String },
    /// Refuse a person everywhere until enabled again.
    #[command(after_help = "Example:\n  trigate user disable alice@example.com --why \"left the company\"")]
    Disable { user: String },
    /// Let a disabled person in again.
    #[command(after_help = "Example:\n  trigate user enable alice@example.com")]
    Enable { user: String },
    /// Set a new password; ends all sessions and grants of the person.
    #[command(after_help = "Examples:
  trigate user set-password alice@example.com
  trigate user set-password alice@example.com --password-file - < password.txt")]
    SetPassword {
        user: String,
        /// File with the password; `-` is standard input. Default: one is made and shown once.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum RoleCommand {
    /// Give a role: it shows in the next token.
    #[command(after_help = "Example:\n  trigate role add alice@example.com operator")]
    Add { user: String, role: String },
    /// Take a role away: gone from the next request, also from tokens minted with it.
    #[command(after_help = "Example:\n  trigate role remove alice@example.com customer")]
    Remove { user: String, role: String },
    /// List who has which roles.
    #[command(after_help = "Example:\n  trigate role list")]
    List,
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let door = Door::open(global).await?;
        let nothing = json!({});
        let answer = match self {
            Self::Create { email, name, roles, password_file, verified, id } => {
                let password = password_file.map(|file| input::read(Some(&file), "password")).transpose()?;
                let body = json!({
                    "email": email, "name": name, "roles": roles, "email_verified": verified, "id": id,
                    "password": password.as_ref().map(|password| password.as_str()),
                });
                door.post(&["users"], &body).await?
            }
            Self::List => door.get(&["users"], &[]).await?,
            Self::Show { user } => door.get(&["users", &id_of(&door, &user).await?], &[]).await?,
            Self::Disable { user } => door.post(&["users", &id_of(&door, &user).await?, "disable"], &nothing).await?,
            Self::Enable { user } => door.post(&["users", &id_of(&door, &user).await?, "enable"], &nothing).await?,
            Self::SetPassword { user, password_file } => {
                let password = password_file.map(|file| input::read(Some(&file), "password")).transpose()?;
                let body = json!({ "password": password.as_ref().map(|password| password.as_str()) });
                door.post(&["users", &id_of(&door, &user).await?, "password"], &body).await?
            }
        };
        show(global, &answer);
        Ok(())
    }
}

/// E-mail addresses stay out of paths: the gate records those.
async fn id_of(door: &Door, user: &str) -> Result<String, Failure> {
    if user.starts_with("usr_") {
        return Ok(user.to_owned());
    }
    Ok(print::text(&door.post(&["users", "find"], &json!({ "user": user })).await?, "id"))
}

impl RoleCommand {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let door = Door::open(global).await?;
        let answer = match self {
            Self::Add { user, role } => {
                door.post(&["users", &id_of(&door, &user).await?, "roles", "add"], &json!({ "role": role })).await?
            }
            Self::Remove { user, role } => {
                door.post(&["users", &id_of(&door, &user).await?, "roles", "remove"], &json!({ "role": role })).await?
            }
            Self::List => door.get(&["users"], &[]).await?,
        };
        show(global, &answer);
        Ok(())
    }
}

fn show(global: &Global, answer: &Value) {
    if global.json {
        return print::json(answer);
    }
    let mut table = Table::new(
        &["id", "e-mail", "name", "roles", "state", "created"],
        "no accounts yet: trigate user create EMAIL",
    );
    let one = std::slice::from_ref(answer);
    for user in answer.as_array().map_or(one, Vec::as_slice) {
        let cell = |name| print::optional(user, name);
        table.row(vec![cell("id"), cell("email"), cell("name"), cell("roles"), cell("state"), cell("created_at")]);
    }
    table.print();
    if answer.get("password").is_some() {
        print::line("");
        print::sheet(&[("password", print::text(answer, "password"))]);
        print::note("The password is shown this once.");
    }
    for (name, head) in [
        ("sessions", ["id", "address", "last_seen_at", "expires_at", "agent"]),
        ("grants", ["id", "client", "created_at", "revoked", "scopes"]),
    ] {
        if let Some(list) = answer.get(name).and_then(Value::as_array) {
            print::line(&format!("\n{}", print::bold(name)));
            let mut table = Table::new(&head, "  none");
            for entry in list {
                table.row(head.iter().map(|column| print::optional(entry, column)).collect());
            }
            table.print();
        }
    }
}
