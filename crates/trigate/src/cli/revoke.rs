//! `trigate revoke`: what ends, for ever.

use super::{Failure, Global, door::Door, input, print};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "The command returns when no gate accepts the credential any more.

Examples:
  trigate revoke user alice@example.com --why \"stolen phone\"
  trigate revoke key key_…
  trigate revoke token < token.txt
  trigate revoke user 8f5e… --issuer https://login.example/realms/acme
  trigate revoke session 4711 --issuer https://login.example/realms/acme
  trigate revoke cert spiffe://acme.test/billing
  trigate revoke cert --serial 0a:1b:2c --issuer \"CN=Acme CA\"
  trigate revoke cert --spki 9f86d081…
  trigate revoke cert --spiffe spiffe://acme.test/billing
  trigate revoke signing-key key-2026-11")]
pub struct Command {
    kind: Kind,
    /// Id, name, e-mail or fingerprint. For a token: its `jti`; the token itself comes on standard input or in --file.
    what: Option<String>,
    /// File with the credential; `-` is standard input.
    #[arg(long)]
    file: Option<PathBuf>,
    /// A trusted issuer, for its users, clients, sessions and tokens. An argument is then a `jti`; a token itself comes on
    /// standard input or in --file. With --serial: the name of the authority.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    #[command(flatten)]
    certificates: Certificates,
}

/// Certificates that were issued elsewhere, by what is known of them.
#[derive(Args)]
#[group(multiple = false)]
struct Certificates {
    /// A certificate by its number in hexadecimal; --issuer names the authority.
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
    /// Every certificate of a public key, by the key's SHA-256.
    #[arg(long, value_name = "HEX")]
    spki: Option<String>,
    /// Every certificate of a SPIFFE id made before now.
    #[arg(long, value_name = "ID")]
    spiffe: Option<String>,
}

impl Certificates {
    fn target(self) -> Option<(&'static str, String)> {
        let serial = self.serial.map(|serial| ("cert_serial", serial));
        let key = self.spki.map(|key| ("cert_key", key));
        serial.or(key).or(self.spiffe.map(|id| ("spiffe", id)))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// One access token, or the line of a refresh token
    Token,
    /// One login in one browser, and every token that came from it
    Session,
    /// What one person allowed one client
    Grant,
    /// Everything issued about a person before now; a new login works
    User,
    /// Everything issued to a client before now
    Client,
    /// Everything of an application before now: keys and tokens
    App,
    /// An API key
    Key,
    /// A client certificate
    Cert,
    /// A key that signs tokens: replaced first, then nothing that it signed is good
    SigningKey,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Grant => "grant",
            Self::User => "user",
            Self::Client => "client",
            Self::App => "app",
            Self::Key => "key",
            Self::Cert => "cert",
            Self::SigningKey => "signing_key",
        }
    }
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let kind = self.kind.as_str();
        if let Some((by, what)) = self.certificates.target() {
            if !matches!(self.kind, Kind::Cert) || self.what.is_some() || self.file.is_some() {
                return Err(Failure::usage(
                    "--serial, --spki and --spiffe stand alone",
                    "trigate revoke cert --serial HEX",
                ));
            }
            return run(global, by, &what, self.issuer.as_deref(), false).await;
        }
        match (self.what, self.file) {
            (Some(what), None) => {
                refuse_secret_argument(&what)?;
                run(global, kind, &what, self.issuer.as_deref(), false).await
            }
            (None, file) if matches!(self.kind, Kind::Token | Kind::Key | Kind::Cert) => {
                let what = input::read(file.as_deref(), kind)?;
                run(global, kind, &what, self.issuer.as_deref(), true).await
            }
            (None, _) => Err(Failure::usage(format!("which {kind}?"), format!("name it: trigate revoke {kind} ID"))),
            (Some(_), Some(_)) => Err(Failure::usage("both an id and a file were given", "leave one out")),
        }
    }
}

/// SECURITY: arguments are visible to every user of the machine, and stay in the shell's history.
pub fn refuse_secret_argument(text: &str) -> Result<(), Failure> {
    if trigate_core::credential::mask_secrets(text) == text {
        return Ok(());
    }
    Err(Failure::usage(
        "a credential was given as an argument: other users of this machine can read it, and the shell remembers it",
        "pipe it in, or name a file with --file; this one should be replaced",
    ))
}

pub async fn run(global: &Global, kind: &str, what: &str, issuer: Option<&str>, whole: bool) -> Result<(), Failure> {
    let door = Door::open(global).await?;
    let answer =
        door.post(&["revocations"], &json!({ "kind": kind, "what": what, "issuer": issuer, "whole": whole })).await?;
    if global.json {
        print::json(&answer);
    } else {
        let where_ = if door.is_offline() { "in the store, and at every gate that shares it" } else { "everywhere" };
        print::line(&format!("revoked {} {} {where_}", print::text(&answer, "kind"), print::text(&answer, "id")));
    }
    Ok(())
}
