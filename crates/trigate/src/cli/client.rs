//! `trigate client`: who may ask for tokens.

use super::{
    Failure, Global,
    door::Door,
    input,
    print::{self, Table},
};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Command {
    /// Register a client. A secret is shown once.
    #[command(after_help = "Examples:
  trigate client create ios --app Acme --redirect-uri http://127.0.0.1/callback --scopes openid,orders:read
  trigate client create gw --app Gateway --authentication client_secret_post --introspects https://api.example
  trigate client create job --app Reports --authentication client_secret_basic --scopes reports:read
  trigate client create erp --app Erp --authentication tls_client_auth --tls-dns erp.acme.example --scopes reports:read")]
    Create {
        /// The client id; without one it is minted.
        id: Option<String>,
        /// Id or name of the application that the client is a face of.
        #[arg(long)]
        app: String,
        #[command(flatten)]
        policy: Policy,
    },
    /// List clients.
    #[command(after_help = "Example:\n  trigate client list")]
    List,
    /// Show a client's whole policy.
    #[command(after_help = "Example:\n  trigate client show mobile-app-ios")]
    Show { client: String },
    /// Change a client. Scopes and roles that it loses are gone from living tokens at once.
    #[command(after_help = "Example:\n  trigate client change mobile-app-ios --scopes openid,orders:read")]
    Change {
        client: String,
        #[command(flatten)]
        policy: Policy,
    },
    /// Make a new secret; the old one works beside it until `retire-secret`.
    #[command(after_help = "Example:\n  trigate client rotate-secret api-gateway")]
    RotateSecret {
        client: String,
        /// The old secret ends now.
        #[arg(long)]
        drop_old: bool,
    },
    /// End the older of two secrets.
    #[command(after_help = "Example:\n  trigate client retire-secret api-gateway")]
    RetireSecret { client: String },
    /// Refuse a client and its tokens until it is enabled again.
    #[command(after_help = "Example:\n  trigate client disable nightly")]
    Disable { client: String },
    /// Let a disabled client in again.
    #[command(after_help = "Example:\n  trigate client enable nightly")]
    Enable { client: String },
}

#[derive(Args)]
pub struct Policy {
    /// Shown on the consent page. Default: the application's name.
    #[arg(long)]
    name: Option<String>,
    /// How it proves itself. Default: none (a public client with PKCE).
    #[arg(long, value_parser = HOW, value_name = "HOW")]
    authentication: Option<String>,
    /// File with its public keys as a JWK set, for private_key_jwt or self_signed_tls_client_auth.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Compared exactly; a loopback address may vary its port. May be repeated.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Option<Vec<String>>,
    /// Where a logout may lead. May be repeated.
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Option<Vec<String>>,
    /// Default: the code flow with refresh tokens, or client credentials where there is no redirect URI.
    #[arg(long, value_delimiter = ',', value_parser = ["authorization_code", "client_credentials", "refresh_token"], value_name = "GRANT,…")]
    grants: Option<Vec<String>>,
    /// All that it may ever ask for.
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,…")]
    scopes: Option<Vec<String>>,
    /// Roles of the client itself, for tokens that speak for no user.
    #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
    roles: Option<Vec<String>>,
    /// Audiences that its tokens may be for. Default: the gate's URL. May be repeated.
    #[arg(long = "resource", value_name = "URL")]
    resources: Option<Vec<String>>,
    /// It is a resource server for this audience and may introspect its tokens. May be repeated.
    #[arg(long, value_name = "URL")]
    introspects: Option<Vec<String>>,
    /// `jwt`, or `opaque` for tokens that say nothing by themselves.
    #[arg(long, value_parser = ["jwt", "opaque"], value_name = "FORM")]
    token_form: Option<String>,
    /// Seconds that its access tokens live. Default: 600.
    #[arg(long = "access-token-life", value_name = "SECONDS")]
    access_token_life_s: Option<u32>,
    /// Seconds that a line of refresh tokens lives; 0 gives out none. Default: 30 days.
    #[arg(long = "refresh-token-life", value_name = "SECONDS")]
    refresh_token_life_s: Option<u32>,
    /// Each refresh gives a new refresh token. Default: true.
    #[arg(long = "rotate-refresh-tokens", value_name = "BOOL")]
    rotate_refresh_tokens: Option<bool>,
    /// Seconds in which a repeated refresh gets the same answer, for lost responses. Default: 30.
    #[arg(long = "refresh-window", value_name = "SECONDS")]
    refresh_window_s: Option<u32>,
    /// `optional_for_confidential_client` is the named override. Default: required.
    #[arg(long, value_parser = ["required", "optional_for_confidential_client"], value_name = "RULE")]
    pkce: Option<String>,
    /// Ask people for consent; `false` only for your own software. Default: true.
    #[arg(long = "consent", value_name = "BOOL")]
    asks_consent: Option<bool>,
    /// It gets no token without a DPoP proof, and each is bound to the proof's key. Default: false.
    #[arg(long = "dpop", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    dpop_bound_access_tokens: Option<bool>,
    /// For tls_client_auth: the certificate's whole subject, as `openssl x509 -subject -nameopt RFC2253` writes it.
    #[arg(long, value_name = "DN")]
    tls_subject: Option<String>,
    /// For tls_client_auth: a DNS name in the certificate.
    #[arg(long, value_name = "NAME")]
    tls_dns: Option<String>,
    /// For tls_client_auth: a URI in the certificate, such as a SPIFFE id.
    #[arg(long, value_name = "URI")]
    tls_uri: Option<String>,
    /// For tls_client_auth: an address in the certificate.
    #[arg(long, value_name = "ADDRESS")]
    tls_ip: Option<String>,
    /// For tls_client_auth: an e-mail address in the certificate.
    #[arg(long, value_name = "ADDRESS")]
    tls_email: Option<String>,
    /// For self_signed_tls_client_auth: the certificate (PEM) that it will show.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its access tokens are bound to the certificate that it shows. Default: true where a certificate proves it.
    #[arg(long = "certificate-bound", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    tls_client_certificate_bound_access_tokens: Option<bool>,
}

const HOW: [&str; 6] = [
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
];

impl Policy {
    /// Only what was said: the rest keeps its default or its value.
    fn json(&self) -> Result<Map<String, Value>, Failure> {
        let jwks = match &self.jwks {
            Some(path) => {
                let text = input::read(Some(path), "JWK set")?;
                serde_json::from_str(&text).map_err(|error| {
                    Failure::usage(format!("the JWK set is no JSON: {error}"), "write {\"keys\":[…]}")
                })?
            }
            None => Value::Null,
        };
        let certificate = self.certificate.as_ref().map(|path| input::read(Some(path), "certificate")).transpose()?;
        let body = json!({
            "name": self.name,
            "authentication": self.authentication,
            "jwks": jwks,
            "redirect_uris": self.redirect_uris,
            "post_logout_redirect_uris": self.post_logout_redirect_uris,
            "grants": self.grants,
            "scopes": self.scopes,
            "roles": self.roles,
            "resources": self.resources,
            "introspects": self.introspects,
            "token_form": self.token_form,
            "access_token_life_s": self.access_token_life_s,
            "refresh_token_life_s": self.refresh_token_life_s,
            "rotate_refresh_tokens": self.rotate_refresh_tokens,
            "refresh_window_s": self.refresh_window_s,
            "pkce": self.pkce,
            "asks_consent": self.asks_consent,
            "dpop_bound_access_tokens": self.dpop_bound_access_tokens,
            "tls_client_auth_subject_dn": self.tls_subject,
            "tls_client_auth_san_dns": self.tls_dns,
            "tls_client_auth_san_uri": self.tls_uri,
            "tls_client_auth_san_ip": self.tls_ip,
            "tls_client_auth_san_email": self.tls_email,
            "certificate": certificate.as_ref().map(|text| text.as_str()),
            "tls_client_certificate_bound_access_tokens": self.tls_client_certificate_bound_access_tokens,
        });
        let said = body.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        Ok(said.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let door = Door::open(global).await?;
        let nothing = json!({});
        let answer = match self {
            Self::Create { id, app, policy } => {
                let mut body = policy.json()?;
                body.insert("app".to_owned(), app.into());
                if let Some(id) = id {
                    body.insert("id".to_owned(), id.into());
                }
                door.post(&["clients"], &body).await?
            }
            Self::List => door.get(&["clients"], &[]).await?,
            Self::Show { client } => door.get(&["clients", &client], &[]).await?,
            Self::Change { client, policy } => door.patch(&["clients", &client], &policy.json()?).await?,
            Self::RotateSecret { client, drop_old } => {
                door.post(&["clients", &client, "rotate-secret"], &json!({ "drop_old": drop_old })).await?
            }
            Self::RetireSecret { client } => door.post(&["clients", &client, "retire-secret"], &nothing).await?,
            Self::Disable { client } => door.post(&["clients", &client, "disable"], &nothing).await?,
            Self::Enable { client } => door.post(&["clients", &client, "enable"], &nothing).await?,
        };
        if global.json {
            print::json(&answer);
        } else if let Some(clients) = answer.as_array() {
            list(clients);
        } else {
            show(&answer);
        }
        Ok(())
    }
}

fn list(clients: &[Value]) {
    let mut table = Table::new(
        &["id", "name", "authentication", "grants", "tokens", "state", "scopes"],
        "no clients yet: trigate client create ID --app APP --redirect-uri URI",
    );
    for client in clients {
        let cell = |name| print::optional(client, name);
        let tokens = format!("{} {}s", cell("token_form"), cell("access_token_life_s"));
        table.row(vec![
            cell("id"),
            cell("name"),
            cell("authentication"),
            cell("grants"),
            tokens,
            cell("state"),
            cell("scopes"),
        ]);
    }
    table.print();
}

fn show(client: &Value) {
    let cell = |name| print::optional(client, name);
    let mut pairs = vec![
        ("client id", cell("id")),
        ("name", cell("name")),
        ("application", cell("application")),
        ("state", cell("state")),
        ("authentication", cell("authentication")),
        ("secrets", cell("secrets")),
        ("redirect URIs", cell("redirect_uris")),
        ("grants", cell("grants")),
        ("scopes", cell("scopes")),
        ("roles", cell("roles")),
        ("resources", cell("resources")),
        ("introspects", cell("introspects")),
        ("access token", format!("{}, {} s", cell("token_form"), cell("access_token_life_s"))),
        ("refresh token", format!("{} s, rotates: {}", cell("refresh_token_life_s"), cell("rotate_refresh_tokens"))),
        ("PKCE", cell("pkce")),
        ("asks consent", cell("asks_consent")),
        ("DPoP", cell("dpop_bound_access_tokens")),
        ("certificate", cell("certificate")),
        ("certificate-bound", cell("tls_client_certificate_bound_access_tokens")),
    ];
    let secret = client.get("client_secret").is_some();
    if secret {
        pairs.insert(1, ("client secret", cell("client_secret")));
    }
    print::sheet(&pairs);
    if secret {
        print::note("The secret is shown this once.");
    }
}
