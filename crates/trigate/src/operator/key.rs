//! Which API keys name which application? A key is shown once; here only its digest is kept.

use super::{
    Answer, By, Operator, OperatorError,
    app::{check_name, state_verb},
    parse_time, when,
};
use serde::{Deserialize, Serialize};
use trigate_core::{
    Position, Timestamp,
    application::{KeyRecord, State},
    credential::{ApiKey, Digest, Environment},
    id::{AppId, KeyId},
    oauth::{Scope, ScopeSet},
};
use zeroize::Zeroizing;

/// What a key may do, from where and until when.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct KeyPolicy {
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Narrows the key to these scopes; absent leaves it to the routes.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Networks, such as `10.0.0.0/8`; empty means any.
    #[serde(default)]
    pub allowed_addresses: Vec<String>,
    #[serde(default)]
    pub not_before: Option<String>,
    /// Its sunset: a time, a date, or a span such as `90d`.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// The header that the key arrives in; absent means `X-API-Key`.
    #[serde(default)]
    pub header: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NewKey {
    pub app: String,
    #[serde(flatten)]
    pub policy: KeyPolicy,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct ImportKeys {
    pub app: String,
    #[serde(flatten)]
    pub policy: KeyPolicy,
    pub keys: Vec<ImportedKey>,
}

/// One key as it was elsewhere.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct ImportedKey {
    /// SHA-256 of the key's text, 64 hexadecimal characters.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The key itself; hashed here and forgotten.
    #[serde(default)]
    pub plain: Option<Zeroizing<String>>,
    #[serde(default)]
    pub label: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    pub id: KeyId,
    pub application: AppId,
    pub label: String,
    pub environment: Environment,
    pub scopes: Option<Vec<String>>,
    pub allowed_addresses: Vec<String>,
    pub header: String,
    pub state: State,
    pub created_at: String,
    pub not_before: Option<String>,
    pub expires_at: Option<String>,
    /// When it was seen where it must not be (a URL): replace it.
    pub exposed_at: Option<String>,
    pub revoked_at: Option<String>,
}

impl From<KeyRecord> for KeyView {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id,
            application: key.application,
            label: key.label,
            environment: key.environment,
            scopes: key.scopes.map(|scopes| scopes.iter().map(ToString::to_string).collect()),
            allowed_addresses: key.allowed_addresses,
            header: key.header.unwrap_or_else(|| "X-API-Key".to_owned()),
            state: key.state,
            created_at: when(key.created_at),
            not_before: key.not_before.map(when),
            expires_at: key.expires_at.map(when),
            exposed_at: key.exposed_at.map(when),
            revoked_at: key.revoked_at.map(when),
        }
    }
}

#[derive(Serialize)]
pub struct KeyMade {
    #[serde(flatten)]
    pub record: KeyView,
    /// Shown this once.
    pub key: Zeroizing<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    pub imported: Vec<KeyView>,
    /// Keys that were here before: importing a list twice is harmless.
    pub known_before: usize,
}

impl Operator {
    pub async fn create_key(&self, by: &By, new: NewKey) -> Answer<KeyMade> {
        let app = self.load_app(&new.app).await?;
        let key = ApiKey::mint(self.rng(), new.policy.environment.unwrap_or(Environment::Live));
        let record = self.new_record(&app.id, key.id().clone(), key.digest(), &new.policy)?;
        let act = self.act(by, "key.create", key.id().as_str()).application(&app.id);
        let stored = self.store().create_key(act, record).await?;
        let record = self.everywhere(stored).await?.into();
        Ok(KeyMade { record, key: Zeroizing::new(key.reveal().to_owned()) })
    }

    /// Brings keys along that were given out elsewhere. They keep working as they are, in their own header.
    pub async fn import_keys(&self, by: &By, import: ImportKeys) -> Answer<Imported> {
        let app = self.load_app(&import.app).await?;
        let mut records = Vec::with_capacity(import.keys.len());
        for (at, key) in import.keys.iter().enumerate() {
            let (digest, label) = read_imported(at, key)?;
            let policy = KeyPolicy { label: label.or_else(|| import.policy.label.clone()), ..import.policy.clone() };
            let record = self.new_record(&app.id, KeyId::mint(self.rng()), digest, &policy)?;
            let act = self.act(by, "key.import", record.id.as_str()).application(&app.id);
            records.push((act, record));
        }
        let asked = records.len();
        let stored = self.store().import_keys(records).await?;
        let imported: Vec<KeyView> = self.everywhere(stored).await?.into_iter().map(KeyView::from).collect();
        Ok(Imported { known_before: asked - imported.len(), imported })
    }

    /// A successor with the same policy; both work until the overlap is over.
    pub async fn rotate_key(
        &self,
        by: &By,
        key: &str,
        overlap: Option<&str>,
        expires_at: Option<&str>,
    ) -> Answer<KeyMade> {
        let old = self.load_key(key).await?;
        let now = self.now();
        let old_until = parse_time(overlap.unwrap_or("7d"), now, 1)?;
        let successor_key = ApiKey::mint(self.rng(), old.environment);
        let mut successor = KeyRecord {
            id: successor_key.id().clone(),
            digest: successor_key.digest(),
            not_before: None,
            expires_at: None,
            // The successor is ours and arrives as ours do, whatever header its imported predecessor used.
            header: None,
            state: State::Enabled,
            created_at: now,
            exposed_at: None,
            revoked_at: None,
            born: Position::default(),
            ..old.clone()
        };
        if let Some(expires_at) = expires_at {
            successor.expires_at = Some(parse_time(expires_at, now, 1)?);
        }
        let act = self
            .act(by, "key.rotate", old.id.as_str())
            .application(&old.application)
            .fact("successor", &successor.id)
            .fact("old_until", old_until);
        let stored = self.store().rotate_key(act, &old.id, successor, old_until).await?;
        let record = self.everywhere(stored).await?.into();
        Ok(KeyMade { record, key: Zeroizing::new(successor_key.reveal().to_owned()) })
    }

    pub async fn list_keys(&self, app: Option<&str>) -> Answer<Vec<KeyView>> {
        let app = match app {
            Some(app) => Some(self.load_app(app).await?.id),
            None => None,
        };
        Ok(self.store().list_keys(app.as_ref()).await?.into_iter().map(KeyView::from).collect())
    }

    pub async fn set_key_state(&self, by: &By, key: &str, state: State) -> Answer<KeyView> {
        let key = self.load_key(key).await?;
        let act = self.act(by, state_verb("key", state), key.id.as_str()).application(&key.application);
        let changed = self.store().set_key_state(act, &key.id, state).await?;
        Ok(self.everywhere(changed).await?.into())
    }

    /// By id, or by the key's own text.
    pub(super) async fn load_key(&self, text: &str) -> Answer<KeyRecord> {
        let id = match ApiKey::parse(text) {
            Some(key) => Some(key.id().clone()),
            None => KeyId::parse(text).ok(),
        };
        if let Some(id) = id
            && let Some(key) = self.store().find_key(&id).await?
        {
            return Ok(key);
        }
        // An imported key is known by its digest alone.
        self.store()
            .find_key_by_digest(&Digest::of(text))
            .await?
            .ok_or_else(|| OperatorError::missing("API key", text, "name its id (`key_…`); see `trigate key list`"))
    }

    fn new_record(&self, app: &AppId, id: KeyId, digest: Digest, policy: &KeyPolicy) -> Answer<KeyRecord> {
        let now = self.now();
        let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now, 1)).transpose();
        let expires_at = time(&policy.expires_at)?;
        check_future(expires_at, now)?;
        Ok(KeyRecord {
            id,
            application: app.clone(),
            digest,
            label: policy.label.as_deref().map(|label| check_name("key", label)).transpose()?.unwrap_or_default(),
            environment: policy.environment.unwrap_or(Environment::Live),
            scopes: policy.scopes.as_deref().map(parse_scopes).transpose()?,
            allowed_addresses: policy.allowed_addresses.iter().map(|net| check_network(net)).collect::<Answer<_>>()?,
            not_before: time(&policy.not_before)?,
            expires_at,
            header: policy.header.as_deref().map(check_header).transpose()?.flatten(),
            state: State::Enabled,
            created_at: now,
            exposed_at: None,
            revoked_at: None,
            born: Position::default(),
        })
    }
}

fn read_imported(at: usize, key: &ImportedKey) -> Answer<(Digest, Option<String>)> {
    let line = at + 1;
    let digest = match (&key.sha256, &key.plain) {
        (Some(hash), None) => Digest::parse_hex(hash).ok_or_else(|| {
            OperatorError::invalid(
                format!("key {line}: `sha256` is not 64 hexadecimal characters"),
                "hash the key's text with SHA-256 (`printf %s \"$KEY\" | sha256sum`), or import it as plain text",
            )
        })?,
        (None, Some(plain)) => digest_of_plain(line, plain)?,
        _ => {
            return Err(OperatorError::invalid(
                format!("key {line}: give either `sha256` or `plain`"),
                "name each key once, as hash or as text",
            ));
        }
    };
    Ok((digest, key.label.clone()))
}

/// SECURITY: a digest protects only what cannot be guessed; a short key could be found from it.
fn digest_of_plain(line: usize, plain: &str) -> Answer<Digest> {
    if plain.len() < 16 || !plain.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(OperatorError::invalid(
            format!("key {line} has fewer than 16 visible ASCII characters: it can be guessed"),
            "give its owner a new key with `trigate key create`",
        ));
    }
    Ok(Digest::of(plain))
}

pub(super) fn parse_scopes(scopes: &[String]) -> Answer<ScopeSet> {
    scopes
        .iter()
        .flat_map(|text| text.split([' ', ',']))
        .filter(|text| !text.is_empty())
        .map(|scope| {
            Scope::parse(scope).map_err(|error| {
                OperatorError::invalid(
                    format!("`{}` is no scope: {error}", scope.escape_default()),
                    "write it as orders:read",
                )
            })
        })
        .collect()
}

fn check_network(text: &str) -> Answer<String> {
    let network = text.parse::<ipnet::IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
    network.map(|network| network.trunc().to_string()).map_err(|_| {
        OperatorError::invalid(
            format!("`{}` is no network", text.escape_default()),
            "write an address (192.0.2.7) or a network (192.0.2.0/24, 2001:db8::/32)",
        )
    })
}

/// `None` for the usual header. Names that mean something else on the road cannot carry keys.
fn check_header(name: &str) -> Answer<Option<String>> {
    if name.eq_ignore_ascii_case("x-api-key") {
        return Ok(None);
    }
    let parsed = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        OperatorError::invalid(format!("`{}` is no header name", name.escape_default()), "write it as X-Acme-Key")
    })?;
    const TAKEN: [&str; 11] = [
        "cookie",
        "set-cookie",
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "upgrade",
        "te",
        "forwarded",
        "proxy-authorization",
    ];
    let lower = parsed.as_str();
    if TAKEN.contains(&lower) || lower.starts_with("x-trigate") || lower.starts_with("x-forwarded") {
        return Err(OperatorError::invalid(
            format!("a key cannot travel in `{name}`"),
            "name the header that your API read the key from, such as X-Acme-Key",
        ));
    }
    Ok(Some(name.to_owned()))
}

fn check_future(expires_at: Option<Timestamp>, now: Timestamp) -> Answer<()> {
    match expires_at {
        Some(at) if at <= now => {
            Err(OperatorError::invalid(format!("`{at}` is over already"), "give a time in the future, such as 90d"))
        }
        _ => Ok(()),
    }
}
