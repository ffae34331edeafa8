//! Which secret scanners may report leaked keys, and what becomes of these?

use super::{
    check::{Check, is_loopback_url},
    issuers::is_name,
    mtls::is_url,
    place::Step,
};
use crate::operator::leak::OnLeak;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One scanner that reports to `POST /leaked-keys/NAME` of the issuer's listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeakReports {
    /// In the path, in acts and in notices: `github`.
    pub name: String,
    /// File or URL of the keys that it signs by: JSON with `public_keys`, each with `key_identifier` and `key` (PEM).
    pub keys: String,
    /// The header that names the key.
    pub identifier_header: String,
    /// The header with the signature of the body: ECDSA over P-256 with SHA-256, in DER, in base64.
    pub signature_header: String,
    /// `revoke` ends a reported key for ever; `flag` marks it as exposed.
    pub on_leak: OnLeak,
    /// URL that gets a signed security event for each key that was reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

impl Default for LeakReports {
    fn default() -> Self {
        Self {
            name: String::new(),
            keys: String::new(),
            identifier_header: "Github-Public-Key-Identifier".into(),
            signature_header: "Github-Public-Key-Signature".into(),
            on_leak: OnLeak::Revoke,
            webhook: None,
        }
    }
}

impl Check<'_> {
    pub(super) fn check_leak_reports(&mut self) {
        let mut names = std::collections::HashSet::new();
        for (index, scanner) in self.file.leak_reports.iter().enumerate() {
            let head = self.line(&[Step::Key("leak_reports"), Step::Index(index)]);
            let line =
                |check: &Self, field| check.line(&[Step::Key("leak_reports"), Step::Index(index), Step::Key(field)]);
            if !is_name(&scanner.name) || !names.insert(scanner.name.as_str()) {
                self.refuse(head, "a scanner needs a `name` of its own: letters, digits, `-`, `_`", vec![]);
            }
            if scanner.keys.is_empty() {
                self.refuse(head, "leak reports without `keys`: anybody could end keys", vec![]);
            }
            for (field, header) in
                [("identifier_header", &scanner.identifier_header), ("signature_header", &scanner.signature_header)]
            {
                if http::HeaderName::try_from(header.as_str()).is_err() {
                    self.refuse(line(self, field), format!("`{header}` is no header name"), vec![]);
                }
            }
            for (field, url) in [("keys", Some(&scanner.keys)), ("webhook", scanner.webhook.as_ref())] {
                let Some(url) = url.filter(|url| field == "webhook" || is_url(url)) else { continue };
                // SECURITY: whoever sits between could put keys of their own in, and end every key that they know.
                let parsed = url::Url::parse(url);
                if !parsed.is_ok_and(|parsed| parsed.scheme() == "https" || is_loopback_url(&parsed)) {
                    self.refuse(line(self, field), format!("`{url}` is not https"), vec![]);
                }
            }
        }
    }
}
