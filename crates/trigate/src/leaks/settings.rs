//! Which scanners may report, and whom do we tell? The file's words with their keys read.

use super::keys::{MAX_DOCUMENT, ReportKeys};
use crate::{
    config::{Config, is_url},
    operator::leak::OnLeak,
};
use http::HeaderName;
use std::{collections::HashMap, io::Read as _, path::Path, sync::Arc};

/// In force until the next reload: scanners by name.
#[derive(Default)]
pub struct Settings(pub HashMap<String, Arc<Scanner>>);

pub struct Scanner {
    pub name: String,
    pub keys: Keys,
    pub identifier: HeaderName,
    pub signature: HeaderName,
    pub on_leak: OnLeak,
    pub webhook: Option<String>,
}

pub enum Keys {
    Url(String),
    Read(Arc<ReportKeys>),
}

impl Settings {
    pub fn of(config: &Config) -> Result<Self, String> {
        let mut scanners = HashMap::new();
        for said in &config.file.leak_reports {
            let keys = if is_url(&said.keys) {
                Keys::Url(said.keys.clone())
            } else {
                Keys::Read(Arc::new(read(&config.resolve(&said.keys))?))
            };
            let header = |name: &str| {
                HeaderName::try_from(name)
                    .map_err(|_| format!("leak reports of `{}`: `{name}` is no header", said.name))
            };
            let scanner = Scanner {
                name: said.name.clone(),
                keys,
                identifier: header(&said.identifier_header)?,
                signature: header(&said.signature_header)?,
                on_leak: said.on_leak,
                webhook: said.webhook.clone(),
            };
            scanners.insert(said.name.clone(), Arc::new(scanner));
        }
        Ok(Self(scanners))
    }
}

/// Of sensible size: a device or a log in its place is no document of keys.
fn read(path: &Path) -> Result<ReportKeys, String> {
    let unread = |why: String| format!("the scanner's keys `{}`: {why}", path.display());
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unread(error.to_string()))?;
    file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut text).map_err(|error| unread(error.to_string()))?;
    if text.len() > MAX_DOCUMENT {
        return Err(unread(format!("longer than {MAX_DOCUMENT} bytes")));
    }
    ReportKeys::parse(&text).map_err(unread)
}
