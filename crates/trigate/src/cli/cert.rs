//! `trigate cert`: the development CA.

use super::{
    Failure, Global,
    door::Door,
    print::{self, Table},
    revoke,
};
use crate::operator::folder::{write_private, write_public};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;
use zeroize::Zeroizing;

#[derive(Subcommand)]
pub enum Command {
    /// Issue a client certificate and write it, its key and the CA to files.
    #[command(after_help = "Example:
  trigate cert issue spiffe://acme.test/billing --out billing
  curl --cert billing.pem --key billing.key --cacert billing.ca.pem \\
    https://localhost:8083/.trigate/whoami")]
    Issue {
        /// Who the machine is: a SPIFFE id or a DNS name.
        name: String,
        /// Days that it is good for; 0 makes one that has ended already.
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// Writes OUT.pem, OUT.key (0600) and OUT.ca.pem. Default: the name's last part.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// List certificates.
    #[command(after_help = "Example:\n  trigate cert list")]
    List,
    /// End a certificate for ever; the same as `trigate revoke cert`.
    #[command(after_help = "Example:\n  trigate cert revoke spiffe://acme.test/billing")]
    Revoke {
        /// Fingerprint, serial or name.
        cert: String,
    },
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Revoke { cert } => revoke::run(global, "cert", &cert, None, false).await,
            Self::List => {
                let answer = Door::open(global).await?.get(&["certificates"], &[]).await?;
                list(global, &answer);
                Ok(())
            }
            Self::Issue { name, days, out } => {
                let door = Door::open(global).await?;
                let made = door.post(&["certificates"], &json!({ "name": name, "days": days })).await?;
                let out = out.unwrap_or_else(|| name.rsplit('/').next().unwrap_or("machine").into());
                issued(global, &made, &out)
            }
        }
    }
}

fn issued(global: &Global, made: &Value, out: &std::path::Path) -> Result<(), Failure> {
    let beside = |ending: &str| {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        out.with_file_name(name)
    };
    let member = |name: &str| Zeroizing::new(made.get(name).and_then(Value::as_str).unwrap_or_default().to_owned());
    let (pem, key, ca) = (beside(".pem"), beside(".key"), beside(".ca.pem"));
    write_private(&key, member("private_key").as_bytes())?;
    write_public(&pem, member("certificate").as_bytes())?;
    write_public(&ca, member("ca").as_bytes())?;
    let files = json!({ "certificate": pem, "private_key": key, "ca": ca });
    if global.json {
        let shown = ["fingerprint", "serial", "name", "not_before", "not_after"]
            .map(|name| (name.to_owned(), made.get(name).cloned().unwrap_or_default()));
        let mut shown: serde_json::Map<String, Value> = shown.into_iter().collect();
        shown.insert("files".to_owned(), files);
        print::json(&Value::Object(shown));
        return Ok(());
    }
    print::sheet(&[
        ("name", print::text(made, "name")),
        ("fingerprint", print::text(made, "fingerprint")),
        ("good until", print::text(made, "not_after")),
        ("certificate", print::text(&files, "certificate")),
        ("private key", print::text(&files, "private_key")),
        ("CA", print::text(&files, "ca")),
    ]);
    Ok(())
}

fn list(global: &Global, answer: &Value) {
    if global.json {
        return print::json(answer);
    }
    let mut table =
        Table::new(&["fingerprint", "name", "good until", "revoked"], "no certificates yet: trigate cert issue NAME");
    for cert in answer.as_array().into_iter().flatten() {
        let cell = |name| print::optional(cert, name);
        table.row(vec![cell("fingerprint"), cell("name"), cell("not_after"), cell("revoked_at")]);
    }
    table.print();
}
