//! Who tells a key's owner that it leaked? A webhook gets one signed security event for each key (RFC 8417, pushed as
//! RFC 8935 says), tried again within bounds.
//!
//! Never holds anything up, and never sends the key: its id, and where it was found. What could not be told stands in
//! the log, and in the act.

use super::settings::Scanner;
use crate::{
    operator::leak::Leaked,
    tasks::{Stop, pause},
};
use serde_json::{Map, Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use trigate_core::port::{Clock, Monotonic};
use trigate_issuer::{Issuer, SecurityEvent};
use trigate_outbound::Outbound;

/// The kind of event.
const EVENT: &str = "urn:trigate:event:api-key-leaked";
/// Notices that wait at once.
const MAX_WAITING: usize = 1_000;
/// Seconds before each further try.
const AGAIN_S: [u64; 5] = [5, 30, 120, 600, 1_800];
const MAX_ANSWER: usize = 64 * 1024;

/// One event for one webhook.
#[derive(Debug)]
pub struct Notice {
    webhook: String,
    payload: Map<String, Value>,
    /// Signed at the first try: a second one is the same event. // RFC 8417 §2.2 `jti`
    signed: Option<String>,
    tries: usize,
    due: Monotonic,
}

impl Notice {
    pub(super) fn of(webhook: &str, scanner: &Scanner, leaked: &Leaked, url: &str, source: &str) -> Self {
        let key = &leaked.key;
        let payload = json!({
            "key": key.id,
            "label": key.label,
            "environment": key.environment,
            "application": key.application,
            "application_name": leaked.application,
            "scanner": scanner.name,
            "url": url,
            "source": source,
            "done": scanner.on_leak.done(),
            "at": leaked.at.rfc3339(),
        });
        let payload = if let Value::Object(payload) = payload { payload } else { Map::new() };
        Self { webhook: webhook.to_owned(), payload, signed: None, tries: 0, due: Monotonic::default() }
    }
}

/// What waits to be told.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<Notice>>>);

impl Notices {
    pub(super) fn send(&self, scanner: &Scanner, notice: impl FnOnce(&str) -> Notice) {
        let Some(webhook) = &scanner.webhook else { return };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            waiting.push(notice(webhook));
        } else {
            tracing::error!(webhook, "too many notices wait: the owner of a leaked key is not told; see the acts");
        }
    }

    fn take_due(&self, now: Monotonic) -> Vec<Notice> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, rest) = std::mem::take(&mut *waiting).into_iter().partition(|notice| notice.due.0 <= now.0);
        *waiting = rest;
        due
    }

    fn put_back(&self, mut notice: Notice, now: Monotonic, why: &str) {
        let Some(seconds) = AGAIN_S.get(notice.tries) else {
            return tracing::error!(
                webhook = notice.webhook,
                why,
                "the owner of a leaked key was not told; see the acts"
            );
        };
        tracing::warn!(webhook = notice.webhook, why, seconds, "a notice of a leaked key is sent again");
        notice.tries += 1;
        notice.due = Monotonic(now.0.saturating_add(seconds * 1_000_000));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
    }
}

/// Sends what waits.
pub struct Teller {
    pub notices: Notices,
    pub issuer: Arc<Issuer>,
    pub outbound: Outbound,
    pub clock: Arc<dyn Clock>,
}

impl Teller {
    pub async fn tell(self, mut stop: Stop) {
        loop {
            let going = pause(&mut stop, Duration::from_millis(250)).await;
            let due = self.notices.take_due(self.clock.monotonic());
            // Side by side: a webhook that hangs keeps no other owner waiting for long.
            futures_util::future::join_all(due.into_iter().map(|notice| self.try_once(notice))).await;
            if !going {
                let left = self.notices.0.lock().unwrap_or_else(PoisonError::into_inner).len();
                if left > 0 {
                    tracing::error!(left, "owners of leaked keys were not told before the end; see the acts");
                }
                return;
            }
        }
    }

    async fn try_once(&self, mut notice: Notice) {
        let text = match notice.signed.take().map_or_else(|| self.sign(&notice), Ok) {
            Ok(text) => text,
            Err(why) => return self.notices.put_back(notice, self.clock.monotonic(), &why),
        };
        let sent = self.outbound.post(&notice.webhook, "application/secevent+jwt", text.clone(), MAX_ANSWER).await;
        let why = match sent {
            // RFC 8935 §2.2 says 202; who takes it with another 2xx has taken it.
            Ok(answer) if (200..300).contains(&answer.status) => return,
            Ok(answer) => format!("it answers {}", answer.status),
            Err(error) => error.to_string(),
        };
        notice.signed = Some(text);
        self.notices.put_back(notice, self.clock.monotonic(), &why);
    }

    fn sign(&self, notice: &Notice) -> Result<String, String> {
        let event = SecurityEvent { audience: &notice.webhook, event: EVENT, payload: notice.payload.clone() };
        self.issuer.mint_event(event).map_err(|error| error.to_string())
    }
}
