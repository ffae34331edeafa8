//! `trigate init`: a data folder from nothing. What it makes is written here, and each line of it says why.

use super::{
    Failure, Global,
    door::OperatorFile,
    offline::{self, Need},
    print,
};
use crate::operator::{
    By, Operator, OperatorError, ROLE, SCOPE,
    app::NewApp,
    client::{ClientPolicy, NewClient},
    folder::{DataFolder, write_private},
};
use base64::Engine as _;
use clap::Args;
use serde_json::json;
use trigate_core::{
    client::{ClientAuthentication, GrantType},
    id::{ClientId, TokenId},
    jose::{Algorithm, SigningKey},
    port::Rng,
    seal::MasterKey,
};
use zeroize::Zeroizing;

/// The client behind the command line on the server's machine.
pub const OPERATOR_CLIENT: &str = "trigate-operator";
/// The client of `trigate login`.
pub const LOGIN_CLIENT: &str = "trigate-cli";
const OPERATORS: &str = "Trigate operators";
const OPERATOR_PLAN: &str = "operators";

#[derive(Args)]
#[command(after_help = "Example:
  trigate init --data /var/lib/trigate --port-base 8080")]
pub struct Command {
    /// Gate on this port, issuer +1, desk +2, gate with mutual TLS +3.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    port_base: u16,
    /// Only make a new operator key for a folder that is there (the server must be stopped).
    #[arg(long)]
    operator: bool,
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let folder = DataFolder::at(&global.data);
        let rng = crate::system::SystemRng::default();
        if self.operator {
            let _lock = folder.lock()?;
            let operator = offline::operator(&folder, Need::Store).await?;
            make_operator(&folder, &operator, &rng).await?;
            return say(
                global,
                &folder,
                &json!({ "operator": folder.operator() }),
                "a new operator key is in place; the old one is worth nothing now",
            );
        }
        if folder.exists() {
            return Err(OperatorError::conflict(
                format!("there is a Trigate in `{}` already", folder.root().display()),
                "start it with `trigate serve`, or name another folder with --data",
            )
            .into());
        }
        folder.create()?;
        let _lock = folder.lock()?;
        if !global.json {
            print::note("making the master key, the configuration and the store …");
        }
        write_master_key(&folder, &rng)?;
        write_private(&folder.config(), first_config(self.port_base).as_bytes())?;
        let operator = offline::operator(&folder, Need::Store).await?;
        make_operator(&folder, &operator, &rng).await?;
        let made = json!({ "data": folder.root(), "config": folder.config(), "operator": folder.operator(), "master_key": folder.master_key() });
        say(global, &folder, &made, "")?;
        if !global.json {
            next_steps(&folder);
        }
        Ok(())
    }
}

fn say(global: &Global, folder: &DataFolder, made: &serde_json::Value, text: &str) -> Result<(), Failure> {
    if global.json {
        print::json(made);
    } else if text.is_empty() {
        print::line(&format!("a new Trigate is in {}", folder.root().display()));
    } else {
        print::line(text);
    }
    Ok(())
}

fn next_steps(folder: &DataFolder) {
    let data = folder.root().display();
    print::line(&format!(
        "
Next:
  1. name your API under [upstreams] and its routes in {config}
  2. trigate config check --data {data}
  3. trigate serve --data {data}
  4. trigate app create \"My App\" --plan free --data {data}
     trigate key create --app \"My App\" --data {data}
     trigate user create you@example.com --roles {ROLE} --data {data}

Keep {master} safe and apart from backups: without it nothing sealed can be opened.",
        config = folder.config().display(),
        master = folder.master_key().display(),
    ));
}

pub fn write_master_key(folder: &DataFolder, rng: &dyn Rng) -> Result<(), Failure> {
    Ok(write_private(&folder.master_key(), MasterKey::mint_text(rng).as_bytes())?)
}

/// The clients of the desk: one with a key for this machine, one for people who log in. Making them again replaces the
/// key of the first.
pub async fn make_operator(folder: &DataFolder, operator: &Operator, rng: &dyn Rng) -> Result<(), Failure> {
    let config = crate::config::load(&folder.config()).map_err(Failure::plain)?;
    let server = &config.file.server;
    let url = |said: &Option<String>, port: u16| said.clone().unwrap_or_else(|| format!("http://localhost:{port}"));
    let desk = url(&config.file.desk.url, server.desk.port());
    let gate = url(&server.url, server.gate.port());
    let by = By::system();
    if operator.show_app(OPERATORS).await.is_err() {
        let plan = if config.file.plans.contains_key(OPERATOR_PLAN) {
            OPERATOR_PLAN.to_owned()
        } else {
            config.file.plans.keys().next().cloned().unwrap_or_else(|| OPERATOR_PLAN.to_owned())
        };
        operator.create_app(&by, NewApp { name: OPERATORS.to_owned(), plan, id: None }).await?;
    }
    // A name of its own for each key: the old one is not mistaken for it.
    let kid = format!("operator-{}", TokenId::mint(rng));
    let key = SigningKey::generate(Algorithm::EdDSA, &kid).map_err(Failure::plain)?;
    let policy = ClientPolicy {
        name: Some("Command line of this machine".to_owned()),
        authentication: Some(ClientAuthentication::PrivateKeyJwt),
        jwks: Some(json!({ "keys": [key.public_jwk()] })),
        grants: Some(vec![GrantType::ClientCredentials]),
        scopes: Some(vec![SCOPE.to_owned()]),
        roles: Some(vec![ROLE.to_owned()]),
        resources: Some(vec![desk.clone()]),
        access_token_life_s: Some(300),
        refresh_token_life_s: Some(0),
        ..ClientPolicy::default()
    };
    ensure_client(operator, OPERATOR_CLIENT, policy).await?;
    let login = ClientPolicy {
        name: Some("Trigate command line".to_owned()),
        // RFC 8252 §7.3: a program on a person's machine, on whatever port is free.
        redirect_uris: Some(vec!["http://127.0.0.1/callback".to_owned()]),
        scopes: Some(["openid", "profile", "email", SCOPE].map(str::to_owned).to_vec()),
        resources: Some(vec![gate, desk.clone()]),
        refresh_token_life_s: Some(0),
        asks_consent: Some(false),
        ..ClientPolicy::default()
    };
    ensure_client(operator, LOGIN_CLIENT, login).await?;
    let file = OperatorFile {
        desk,
        issuer: url(&config.file.issuer.url, server.issuer.port()),
        client_id: OPERATOR_CLIENT.to_owned(),
        kid,
        private_key: Zeroizing::new(
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&*key.to_pkcs8().map_err(Failure::plain)?),
        ),
    };
    let text = Zeroizing::new(serde_json::to_vec_pretty(&file).map_err(Failure::plain)?);
    Ok(write_private(&folder.operator(), &text)?)
}

async fn ensure_client(operator: &Operator, id: &str, policy: ClientPolicy) -> Result<(), Failure> {
    let by = By::system();
    if operator.show_client(id).await.is_ok() {
        operator.change_client(&by, id, policy).await?;
        return Ok(());
    }
    let id = ClientId::parse(id).map_err(Failure::plain)?;
    operator.create_client(&by, NewClient { app: OPERATORS.to_owned(), id: Some(id), policy }).await?;
    Ok(())
}

/// A first `trigate.toml`: it starts as it stands, and shows what else may stand in it.
fn first_config(port_base: u16) -> String {
    let port = |offset: u16| port_base.saturating_add(offset);
    format!(
        r#"# Trigate. Check with `trigate config check`; a running server reads it again on SIGHUP.
# Every field: `trigate config schema`.

[server]
gate = "127.0.0.1:{gate}"     # API requests arrive here
issuer = "127.0.0.1:{issuer}"   # people log in here, clients get tokens here
desk = "127.0.0.1:{desk}"     # operators work here; also /healthz, /readyz, /metrics
# mtls = "127.0.0.1:{mtls}"   # API requests with client certificates; needs [mtls]
store = "sqlite:trigate.db"  # or postgres://user@host/database
audit = "audit"
master_key = "master.key"    # mode 0600; or the environment variable TRIGATE_MASTER_KEY
enforce = "enforce"          # "observe" judges and records, and refuses nothing

[issuer]
# url = "https://id.example.com"   # as clients write it, behind your TLS
[issuer.scopes]              # what the consent page says: "It would be able to …"
"orders:read" = "see your orders"

# [desk]
# url = "https://desk.example.com"

# How often an application may ask; `trigate app create NAME --plan PLAN`.
[plans]
free = "100/hour"
pro = "1000/hour"
{OPERATOR_PLAN} = "1000/minute"

[upstreams]
api = "http://127.0.0.1:3000"   # your API

# What nobody routes is 404. A route says what it demands; one without demands must say `public = true`.
[[route]]
name = "weather"
path = "/api/weather"
methods = ["GET"]
demands = "key"
subject = "application"      # a key identifies an application; it never stands for a user
upstream = "api"

[[route]]
name = "orders"
path = "/api/users/me/orders"
methods = ["GET"]
demands = "token"
subject = "user"
scopes = ["orders:read"]
upstream = "api"

# Tokens of another authorization server:
# [[trusted_issuer]]
# url = "https://idp.example.com"
# audiences = ["https://api.example.com"]
# applications = {{ "*" = "app_…" }}

# Machines, by client certificate:
# [mtls]
# ca = "ca/ca.pem"
# certificate = "ca/server.pem"
# key = "ca/server.key"
# [[machine]]
# san_uri = "spiffe://acme.test/*"
# application = "app_…"
"#,
        gate = port(0),
        issuer = port(1),
        desk = port(2),
        mtls = port(3),
    )
}
