//! What becomes of a key that was found where everybody can read it? Whoever may say so was checked before.

use super::{Answer, By, Operator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trigate_core::{
    Timestamp,
    application::KeyRecord,
    change::Target,
    credential::{Digest, mask_secrets},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLeak {
    /// Ended for ever, at all gates.
    #[default]
    Revoke,
    /// Marked as exposed; it goes on working until its owner replaces it.
    Flag,
}

impl OnLeak {
    pub const fn done(self) -> &'static str {
        match self {
            Self::Revoke => "revoked",
            Self::Flag => "flagged",
        }
    }
}

/// Where a key was found, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    pub scanner: &'a str,
    /// Of the whole text that was found.
    pub digest: Digest,
    pub url: &'a str,
    pub source: &'a str,
}

/// A key of ours that was found.
#[derive(Clone, Debug)]
pub struct Leaked {
    pub key: KeyRecord,
    pub application: String,
    pub at: Timestamp,
}

/// Facts of an act are short, and hold no secrets.
const MAX_FACT_CHARS: usize = 300;

pub fn short(text: &str) -> String {
    mask_secrets(text).chars().filter(|c| !c.is_control()).take(MAX_FACT_CHARS).collect()
}

impl Operator {
    /// Is it a key of ours? Then it is dealt with, and every gate knows. `done` hears of it once, when it is durable and
    /// before anything is waited for: a key that was dealt with before is no news.
    pub async fn take_leak(
        &self,
        by: &By,
        finding: Finding<'_>,
        on_leak: OnLeak,
        done: impl FnOnce(&Leaked) + Send,
    ) -> Answer<bool> {
        let Some(key) = self.store().find_key_by_digest(&finding.digest).await? else { return Ok(false) };
        let application = self.store().find_application(&key.application).await?;
        let application = application.map(|application| application.name).unwrap_or_default();
        let at = self.now();
        let again = match on_leak {
            OnLeak::Revoke => key.revoked_at.is_some(),
            OnLeak::Flag => key.revoked_at.is_some() || key.exposed_at.is_some(),
        };
        if again {
            // The first answer may have been lost before its barrier: this one means the same.
            let head = self.parts.system.head().await?;
            self.parts.propagation.everywhere(head).await?;
            return Ok(true);
        }
        let act = self
            .act(by, "key.leaked", key.id.as_str())
            .application(&key.application)
            .fact("scanner", finding.scanner)
            .fact("url", short(finding.url))
            .fact("source", short(finding.source))
            .fact("done", on_leak.done());
        let leaked = Leaked { key, application, at };
        let id = leaked.key.id.clone();
        match on_leak {
            OnLeak::Revoke => {
                let keep_until = super::revoke::for_ever(at);
                let committed = self.store().revoke(act, Target::Key { id }, keep_until).await?;
                done(&leaked);
                self.everywhere(committed).await?;
            }
            OnLeak::Flag => {
                let committed = self.store().mark_key_exposed(act, &id, at).await?;
                done(&leaked);
                self.everywhere(committed).await?;
            }
        }
        Ok(true)
    }
}
