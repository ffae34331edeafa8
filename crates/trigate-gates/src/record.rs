//! What does the record of a passage say? The same in every form of the gate; ids and verdicts, never a secret.

use crate::{
    established::Established,
    exposure::{self, Exposed},
    outcome::Outcome,
    passage::Passage,
    refusal,
};
use http::Method;
use std::{borrow::Cow, sync::Arc};
use trigate_core::{
    audit::{Decision, Facts, GateName, GateVerdict, Outcome as Recorded, Record, Verdict},
    credential::{mask_secrets, may_hold_secret},
    plain::is_printable,
    reason::Reason,
};

const MAX_METHOD_CHARS: usize = 32;
const GATES: [GateName; 3] = [GateName::Identification, GateName::Authentication, GateName::Authorization];

pub(crate) fn decision(passage: &Passage<'_>, outcome: &Outcome, exposed: Option<&Exposed>) -> Record {
    let established = outcome.established();
    let (kind, stopped) = match outcome {
        Outcome::Pass { observed: None, .. } => (Recorded::Allowed, None),
        Outcome::Pass { observed: Some(stopped), .. } => (Recorded::Observed, Some(*stopped)),
        Outcome::Refuse(stop) => (Recorded::Refused, Some((stop.gate, stop.reason))),
    };
    let mut facts = established.map(Established::facts).unwrap_or_default();
    fill_exposed(&mut facts, exposed);
    Record::Decision(Box::new(Decision {
        at: passage.now,
        node: Arc::clone(&passage.gates.node),
        tenant: passage.request.tenant.clone(),
        request: passage.id.clone(),
        trace: trace_id(passage),
        peer: passage.client,
        method: method(passage.request.method),
        host: short(passage.request.host),
        path: path(passage, outcome, exposed.is_some()),
        route: established.map(|established| Arc::clone(&established.route.name)),
        outcome: kind,
        reason: stopped.map(|(_, reason)| reason),
        status: match outcome {
            Outcome::Pass { .. } => 0,
            Outcome::Refuse(stop) => refusal::status(stop.reason).as_u16(),
        },
        gates: verdicts(
            established.is_some_and(|established| established.route.public),
            established.is_some(),
            stopped,
        ),
        facts,
        position: established.map_or_else(|| passage.known().position(), |established| established.position),
        epoch: passage.rules.epoch,
        stale: established.is_some_and(|established| established.stale),
        exposed: exposed.is_some(),
    }))
}

/// A method may be as long as a head: a record is not.
fn method(method: &Method) -> Cow<'static, str> {
    let usual = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
    let names = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    match usual.iter().zip(names).find(|(known, _)| *known == method) {
        Some((_, name)) => Cow::Borrowed(name),
        None => method.as_str().chars().take(MAX_METHOD_CHARS).collect::<String>().into(),
    }
}

/// What each gate said, given where the passage stopped.
pub(crate) fn verdicts(public: bool, routed: bool, stopped: Option<(Option<GateName>, Reason)>) -> [GateVerdict; 3] {
    let mut verdict = if !routed {
        Verdict::NotReached
    } else if public {
        Verdict::Waived
    } else {
        Verdict::Passed
    };
    GATES.map(|gate| match stopped {
        Some((at, reason)) if at == Some(gate) => {
            verdict = Verdict::NotReached;
            GateVerdict { gate, verdict: Verdict::Refused, reason: Some(reason) }
        }
        _ => GateVerdict { gate, verdict, reason: None },
    })
}

/// What came in a URL is named where no better fact stands.
fn fill_exposed(facts: &mut Facts, exposed: Option<&Exposed>) {
    match exposed {
        Some(Exposed::Key { key, application }) if facts.key.is_none() => {
            facts.key = Some(key.clone());
            facts.application.get_or_insert_with(|| application.clone());
        }
        Some(Exposed::Token(token)) if facts.token.is_none() => facts.token = Some(*token),
        _ => {}
    }
}

/// The normal form if there is one, masked: a key in the path must not live on (K01).
fn path(passage: &Passage<'_>, outcome: &Outcome, exposed: bool) -> String {
    let refused = match outcome {
        Outcome::Refuse(stop) => stop.path.as_ref(),
        Outcome::Pass { .. } => None,
    };
    let normal = outcome.established().map(|established| &established.path).or(refused);
    let path = normal.map_or(passage.request.path, |path| path.as_str());
    if exposed { short(&exposure::mask_imported(passage, path)) } else { short(path) }
}

/// Masked, without control characters, and no longer than a line of a log should be.
fn short(text: &str) -> String {
    const MAX_CHARS: usize = 1024;
    if text.len() <= MAX_CHARS && is_printable(text.as_bytes(), []) && !may_hold_secret(text) {
        return text.to_owned();
    }
    mask_secrets(text).chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}

/// The trace id of a W3C `traceparent`.
fn trace_id(passage: &Passage<'_>) -> Option<String> {
    let text = passage.request.headers.get("traceparent")?.to_str().ok()?;
    let id = text.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_ascii_lowercase())
}
