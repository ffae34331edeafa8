//! Which security events wait for us at a transmitter? (RFC 8936)
//!
//! Never acknowledges an event before it is durable and holds at every gate; what is wrong is reported, what could not be
//! carried out is left to come again.

use super::{Receiver, Refused, Stream, event, settings::Poll};
use crate::tasks::{Stop, pause};
use serde_json::{Map, Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use trigate_core::{
    jose::strict_json::{self, Limits},
    port::Monotonic,
};
use trigate_outbound::Outbound;

const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const MAX_EVENTS: usize = 50;
/// Other streams have their turn too.
const MAX_ROUNDS: usize = 100;

/// Polls each stream of the settings in force in its own rhythm.
pub async fn poll(receiver: Arc<Receiver>, outbound: Outbound, mut stop: Stop) {
    let mut last: HashMap<String, Monotonic> = HashMap::new();
    while pause(&mut stop, Duration::from_millis(500)).await {
        let settings = receiver.settings.load_full();
        let now = receiver.clock.monotonic();
        let due = settings.streams.iter().filter_map(|(name, stream)| Some((name, stream, stream.poll.as_ref()?)));
        let due: Vec<_> = due
            .filter(|(name, _, poll)| {
                let since = |then: &Monotonic| now.0.saturating_sub(then.0) >= u64::from(poll.every_s) * 1_000_000;
                last.get(*name).is_none_or(since)
            })
            .collect();
        for (name, ..) in &due {
            last.insert((*name).clone(), now);
        }
        let each = due.into_iter().map(|(name, stream, poll)| empty(&receiver, &outbound, name, stream, poll));
        futures_util::future::join_all(each).await;
    }
}

/// Fetches until nothing waits. Each request acknowledges what came with the one before. // RFC 8936 §2.4
async fn empty(receiver: &Receiver, outbound: &Outbound, name: &str, stream: &Stream, poll: &Poll) {
    let mut done = Done::default();
    for _ in 0..MAX_ROUNDS {
        let waiting = match ask(outbound, poll, &done).await {
            Ok(waiting) => waiting,
            Err(failure) => return tracing::warn!(stream = name, failure, "security events could not be fetched"),
        };
        // Nothing left, or only such as could not be carried out: they come again.
        if waiting.is_empty() {
            return;
        }
        done = take_all(receiver, name, stream, waiting).await;
        if done.is_empty() {
            return;
        }
    }
}

/// What the next request says of the events before.
#[derive(Default)]
struct Done {
    ack: Vec<String>,
    errors: Map<String, Value>,
}

impl Done {
    fn is_empty(&self) -> bool {
        self.ack.is_empty() && self.errors.is_empty()
    }
}

async fn take_all(receiver: &Receiver, name: &str, stream: &Stream, waiting: Map<String, Value>) -> Done {
    let mut done = Done::default();
    for (jti, set) in waiting.into_iter().take(MAX_EVENTS) {
        let taken = match set.as_str() {
            Some(text) => event::take(receiver, stream, text).await,
            None => Err(Refused::Bad("invalid_request", "no text")),
        };
        match taken {
            Ok(()) => done.ack.push(jti),
            Err(Refused::Later) => {}
            Err(Refused::Bad(code, why)) => {
                tracing::warn!(stream = name, code, why, "a security event was refused");
                done.errors.insert(jti, json!({ "err": code, "description": why }));
            }
        }
    }
    done
}

async fn ask(outbound: &Outbound, poll: &Poll, done: &Done) -> Result<Map<String, Value>, String> {
    let question = json!({
        "maxEvents": MAX_EVENTS, "returnImmediately": true, "ack": done.ack, "setErrs": done.errors,
    });
    let fetched = outbound.post_json(&poll.url, question.to_string(), &poll.token, MAX_ANSWER_BYTES).await;
    let fetched = fetched.map_err(|error| error.to_string())?;
    if fetched.status != 200 {
        return Err(format!("it answers {}", fetched.status));
    }
    let mut answer =
        strict_json::parse_object(&fetched.body, Limits::DOCUMENT).map_err(|error| format!("its answer: {error}"))?;
    match answer.remove("sets") {
        Some(Value::Object(sets)) => Ok(sets),
        _ => Err("its answer has no `sets`".to_owned()),
    }
}
