//! What is in the demonstration? Applications, keys, clients, people, a machine: made once, kept on every later start.
//!
//! SECURITY: demonstration secrets lie in `quickstart.json` (0600), because the tour needs them. Nothing else keeps one.

use crate::{
    cli::Failure,
    operator::{
        By, Operator, ROLE,
        app::NewApp,
        cert::{NewCertificate, ensure_ca},
        client::{ClientPolicy, NewClient},
        folder::{DataFolder, create_private_dir, write_private, write_public},
        key::{KeyPolicy, NewKey},
        user::NewAccount,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};
use trigate_core::{
    client::{ClientAuthentication, GrantType, TokenForm},
    credential::ApiKey,
    id::{AppId, ClientId},
    port::{Clock, Rng},
};
use zeroize::Zeroizing;

pub const ALICE: &str = "alice@example.com";
pub const OPERATOR: &str = "operator@example.com";
pub const ACME: &str = "acme";
pub const BOLT: &str = "bolt";
pub const MACHINE: &str = "spiffe://acme.test/ship-bot";

/// `quickstart.json`, described in docs/reference/quickstart-json.md.
#[derive(Clone, Deserialize, Serialize)]
pub struct State {
    pub format: u32,
    pub urls: Urls,
    pub data: PathBuf,
    pub applications: BTreeMap<String, DemoApp>,
    pub api_keys: BTreeMap<String, Zeroizing<String>>,
    pub clients: BTreeMap<String, DemoClient>,
    pub users: BTreeMap<String, DemoUser>,
    pub operator: DemoOperator,
    pub certificates: DemoCertificates,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct Urls {
    pub gate: String,
    pub issuer: String,
    pub desk: String,
    pub mtls: String,
    pub sample_api: String,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct DemoApp {
    pub id: AppId,
    pub name: String,
    pub plan: String,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct DemoClient {
    pub client_id: String,
    pub authentication: ClientAuthentication,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Zeroizing<String>>,
    pub redirect_uris: Vec<String>,
    pub scopes: Vec<String>,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct DemoUser {
    pub id: String,
    pub email: String,
    pub password: Zeroizing<String>,
    pub roles: Vec<String>,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct DemoOperator {
    pub client_id: String,
    /// What the command line proves itself with.
    pub key_file: PathBuf,
    pub email: String,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct DemoCertificates {
    pub ca: PathBuf,
    pub machine: String,
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// What was kept from an earlier start, if it can be read.
pub fn kept(folder: &DataFolder) -> Option<State> {
    let text = Zeroizing::new(std::fs::read_to_string(folder.quickstart()).ok()?);
    serde_json::from_str(&text).ok()
}

const IDS: &str = "demo-ids.json";

/// The ids that `trigate.toml` names, before there is anything else to keep.
pub fn keep_applications(folder: &DataFolder, apps: &BTreeMap<String, DemoApp>) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(apps).map_err(Failure::plain)?;
    Ok(write_private(&folder.root().join(IDS), &text)?)
}

fn kept_applications(folder: &DataFolder) -> Option<BTreeMap<String, DemoApp>> {
    serde_json::from_slice(&std::fs::read(folder.root().join(IDS)).ok()?).ok()
}

/// The applications, with ids that the configuration may name before they exist.
pub fn applications(folder: &DataFolder, rng: &dyn Rng) -> BTreeMap<String, DemoApp> {
    let kept = kept_applications(folder).unwrap_or_default();
    let wanted =
        [(ACME, "Acme Weather App", "pro"), (BOLT, "Bolt Logistics", "free"), ("gateway", "API Gateway", "pro")];
    wanted
        .into_iter()
        .map(|(short, name, plan)| {
            let id = kept.get(short).map_or_else(|| AppId::mint(rng), |app| app.id.clone());
            (short.to_owned(), DemoApp { id, name: name.to_owned(), plan: plan.to_owned() })
        })
        .collect()
}

/// Makes whatever is missing; `say` tells each thing that is made.
pub struct Builder<'a> {
    pub folder: &'a DataFolder,
    pub operator: &'a Operator,
    pub rng: &'a dyn Rng,
    pub clock: &'a dyn Clock,
    pub urls: Urls,
    pub kept: Option<State>,
    pub say: &'a dyn Fn(&str),
}

impl Builder<'_> {
    pub async fn build(&self) -> Result<State, Failure> {
        let applications = applications(self.folder, self.rng);
        for app in applications.values() {
            self.application(app).await?;
        }
        let mut api_keys = BTreeMap::new();
        for (short, label) in [(ACME, "demo key of the weather app"), (BOLT, "demo key of the shipper")] {
            api_keys.insert(short.to_owned(), self.key(short, label, &applications).await?);
        }
        let mut clients = BTreeMap::new();
        for (id, app, policy) in self.wanted_clients() {
            clients.insert(id.to_owned(), self.client(id, app, policy, &applications).await?);
        }
        let mut users = BTreeMap::new();
        for (short, email, name, role) in
            [("alice", ALICE, "Alice Example", "customer"), ("operator", OPERATOR, "Olga Operator", ROLE)]
        {
            users.insert(short.to_owned(), self.user(short, email, name, role).await?);
        }
        let state = State {
            format: 1,
            urls: self.urls.clone(),
            data: self.folder.root().to_owned(),
            applications,
            api_keys,
            clients,
            users,
            operator: DemoOperator {
                client_id: crate::cli::init::OPERATOR_CLIENT.to_owned(),
                key_file: self.folder.operator(),
                email: OPERATOR.to_owned(),
            },
            certificates: self.certificates().await?,
        };
        let text = Zeroizing::new(serde_json::to_vec_pretty(&state).map_err(Failure::plain)?);
        write_private(&self.folder.quickstart(), &text)?;
        Ok(state)
    }

    async fn application(&self, app: &DemoApp) -> Result<(), Failure> {
        if self.operator.show_app(app.id.as_str()).await.is_ok() {
            return Ok(());
        }
        (self.say)(&format!("application `{}` on plan {}", app.name, app.plan));
        let new = NewApp { name: app.name.clone(), plan: app.plan.clone(), id: Some(app.id.clone()) };
        self.operator.create_app(&By::system(), new).await?;
        Ok(())
    }

    async fn key(
        &self,
        short: &str,
        label: &str,
        apps: &BTreeMap<String, DemoApp>,
    ) -> Result<Zeroizing<String>, Failure> {
        let app = apps.get(short).map(|app| app.id.to_string()).unwrap_or_default();
        if let Some(text) = self.kept.as_ref().and_then(|state| state.api_keys.get(short)) {
            let id = ApiKey::parse(text).map(|key| key.id().clone());
            let known = self.operator.list_keys(Some(&app)).await?;
            // A key that somebody revoked while playing is replaced.
            if known.iter().any(|key| Some(&key.id) == id.as_ref() && key.revoked_at.is_none()) {
                return Ok(text.clone());
            }
        }
        (self.say)(&format!("an API key: {label}"));
        let policy = KeyPolicy { label: Some(label.to_owned()), ..KeyPolicy::default() };
        Ok(self.operator.create_key(&By::system(), NewKey { app, policy }).await?.key)
    }

    fn wanted_clients(&self) -> Vec<(&'static str, &'static str, ClientPolicy)> {
        let strings = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let loopback = strings(&["http://127.0.0.1/callback"]);
        let mobile = ClientPolicy {
            name: Some("Acme Weather for iOS".to_owned()),
            redirect_uris: loopback.clone(),
            scopes: strings(&[
                "openid",
                "profile",
                "email",
                "offline_access",
                "orders:read",
                "reports:read",
                "transfer:write",
            ]),
            resources: Some(vec![self.urls.gate.clone()]),
            ..ClientPolicy::default()
        };
        let portal = ClientPolicy {
            name: Some("Acme Partner Portal".to_owned()),
            redirect_uris: loopback,
            scopes: strings(&["openid", "orders:read"]),
            resources: Some(vec![self.urls.gate.clone()]),
            token_form: Some(TokenForm::Opaque),
            ..ClientPolicy::default()
        };
        let gateway = ClientPolicy {
            name: Some("API gateway".to_owned()),
            authentication: Some(ClientAuthentication::ClientSecretPost),
            introspects: Some(vec![self.urls.gate.clone()]),
            grants: Some(Vec::new()),
            resources: Some(vec![self.urls.gate.clone()]),
            ..ClientPolicy::default()
        };
        let service = ClientPolicy {
            name: Some("Bolt shipping service".to_owned()),
            authentication: Some(ClientAuthentication::ClientSecretBasic),
            grants: Some(vec![GrantType::ClientCredentials]),
            scopes: strings(&["inventory:read", "ship:write"]),
            resources: Some(vec![self.urls.gate.clone()]),
            refresh_token_life_s: Some(0),
            ..ClientPolicy::default()
        };
        vec![
            ("mobile-app-ios", ACME, mobile),
            ("partner-portal", ACME, portal),
            ("api-gateway", "gateway", gateway),
            ("shipping-service", BOLT, service),
        ]
    }

    async fn client(
        &self,
        id: &str,
        app: &str,
        policy: ClientPolicy,
        apps: &BTreeMap<String, DemoApp>,
    ) -> Result<DemoClient, Failure> {
        let by = By::system();
        let app = apps.get(app).map(|app| app.id.to_string()).unwrap_or_default();
        let kept =
            self.kept.as_ref().and_then(|state| state.clients.get(id)).and_then(|client| client.client_secret.clone());
        let (view, client_secret) = if self.operator.show_client(id).await.is_ok() {
            let view = self.operator.change_client(&by, id, policy).await?;
            let lost = kept.is_none() && view.secrets > 0;
            let secret = if lost { self.operator.rotate_secret(&by, id, true).await?.client_secret } else { kept };
            (view, secret)
        } else {
            (self.say)(&format!("OAuth client `{id}`"));
            let made = self
                .operator
                .create_client(&by, NewClient { app, id: Some(ClientId::parse(id).map_err(Failure::plain)?), policy })
                .await?;
            (made.client, made.client_secret)
        };
        Ok(DemoClient {
            client_id: view.id.to_string(),
            authentication: view.authentication,
            client_secret,
            redirect_uris: view.redirect_uris,
            scopes: view.scopes,
        })
    }

    async fn user(&self, short: &str, email: &str, name: &str, role: &str) -> Result<DemoUser, Failure> {
        let by = By::system();
        let kept = self.kept.as_ref().and_then(|state| state.users.get(short)).map(|user| user.password.clone());
        let (view, password) = match self.operator.show_user(email).await {
            Ok(found) => {
                let password = match kept {
                    Some(password) => password,
                    None => self.operator.set_password(&by, email, None).await?.password.unwrap_or_default(),
                };
                (found.user, password)
            }
            Err(_) => {
                (self.say)(&format!("user {email} with role `{role}`"));
                let new = NewAccount {
                    email: email.to_owned(),
                    name: Some(name.to_owned()),
                    roles: vec![role.to_owned()],
                    password: None,
                    email_verified: true,
                    id: None,
                };
                let made = self.operator.create_user(&by, new).await?;
                (made.user, made.password.unwrap_or_default())
            }
        };
        Ok(DemoUser { id: view.id.to_string(), email: view.email, password, roles: view.roles })
    }

    async fn certificates(&self) -> Result<DemoCertificates, Failure> {
        ensure_ca(self.folder, self.rng, self.clock.now())?;
        let dir = self.folder.root().join("machines");
        let (certificate, private_key) = (dir.join("ship-bot.pem"), dir.join("ship-bot.key"));
        if !certificate.is_file() || !private_key.is_file() {
            (self.say)(&format!("a client certificate for the machine {MACHINE}"));
            create_private_dir(&dir)?;
            let new = NewCertificate { name: MACHINE.to_owned(), days: 90 };
            let made = self.operator.issue_certificate(&By::system(), new).await?;
            write_private(&private_key, made.private_key.as_bytes())?;
            write_public(&certificate, made.certificate.as_bytes())?;
        }
        Ok(DemoCertificates { ca: self.folder.ca_certificate(), machine: MACHINE.to_owned(), certificate, private_key })
    }
}
