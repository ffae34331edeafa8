//! How does a record become bytes, cheaply? The JSON that serde would write, by hand: no allocation, for the road.
//!
//! Never differs from what the derived code writes: a test compares them, and reading is serde's.

use super::{Completion, Decision, Facts, GateVerdict, Outcome, Record, Verdict};
use crate::{oauth::Scope, reason::Reason};
use std::{fmt::Display, io::Write as _};

impl Record {
    /// Appends the record's JSON to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Decision(decision) => encode_decision(decision, out),
            Self::Completion(completion) => encode_completion(completion, out),
            // Writing into memory does not fail.
            Self::Connection(_) => drop(serde_json::to_writer(out, self)),
        }
    }
}

fn encode_decision(decision: &Decision, out: &mut Vec<u8>) {
    put(out, r#"{"record":"decision","at":"#);
    integer(out, decision.at.micros());
    text(out, r#","node":"#, &decision.node);
    text(out, r#","tenant":"#, decision.tenant.as_str());
    text(out, r#","request":"#, decision.request.as_str());
    optional(out, r#","trace":"#, decision.trace.as_deref());
    put(out, r#","peer":""#);
    crate::address::push(decision.peer, out);
    text(out, r#"","method":"#, &decision.method);
    text(out, r#","host":"#, &decision.host);
    text(out, r#","path":"#, &decision.path);
    match &decision.route {
        Some(route) => text(out, r#","route":"#, route),
        None => put(out, r#","route":null"#),
    }
    put(
        out,
        match decision.outcome {
            Outcome::Allowed => r#","outcome":"allowed","reason":"#,
            Outcome::Refused => r#","outcome":"refused","reason":"#,
            Outcome::Observed => r#","outcome":"observed","reason":"#,
        },
    );
    match decision.reason {
        Some(reason) => quoted(out, reason.code()),
        None => put(out, "null"),
    }
    put(out, r#","status":"#);
    integer(out, decision.status.into());
    put(out, r#","gates":["#);
    encode_gates(&decision.gates, out);
    put(out, "]");
    encode_facts(&decision.facts, out);
    put(out, r#","position":"#);
    natural(out, decision.position.0);
    put(out, r#","epoch":"#);
    natural(out, decision.epoch);
    if decision.stale {
        put(out, r#","stale":true"#);
    }
    if decision.exposed {
        put(out, r#","exposed":true"#);
    }
    put(out, "}");
}

fn encode_gates(gates: &[GateVerdict; 3], out: &mut Vec<u8>) {
    use super::GateName::{Authentication, Authorization, Identification};
    let mut before = r#"{"gate":"#;
    for GateVerdict { gate, verdict, reason } in gates {
        put(out, before);
        put(
            out,
            match gate {
                Identification => r#""identification","verdict":"#,
                Authentication => r#""authentication","verdict":"#,
                Authorization => r#""authorization","verdict":"#,
            },
        );
        put(
            out,
            match verdict {
                Verdict::Passed => r#""passed""#,
                Verdict::Waived => r#""waived""#,
                Verdict::Refused => r#""refused""#,
                Verdict::NotReached => r#""not_reached""#,
            },
        );
        optional(out, r#","reason":"#, reason.map(Reason::code));
        put(out, "}");
        before = r#",{"gate":"#;
    }
}

fn encode_facts(facts: &Facts, out: &mut Vec<u8>) {
    // Taken apart whole: a new fact that is not written does not compile.
    let Facts {
        application,
        key,
        client,
        user,
        issuer,
        actor,
        session,
        grant,
        token,
        sender,
        certificate,
        machine,
        scopes,
        roles,
        policies,
    } = facts;
    optional(out, r#","application":"#, application.as_ref().map(|id| id.as_str()));
    optional(out, r#","key":"#, key.as_ref().map(|id| id.as_str()));
    optional(out, r#","client":"#, client.as_ref().map(|id| id.as_str()));
    optional(out, r#","user":"#, user.as_ref().map(|id| id.as_str()));
    optional(out, r#","issuer":"#, issuer.as_deref());
    optional(out, r#","actor":"#, actor.as_deref());
    optional(out, r#","session":"#, session.as_ref().map(|id| id.as_str()));
    optional(out, r#","grant":"#, grant.as_ref().map(|id| id.as_str()));
    if let Some(token) = token {
        put(out, r#","token":""#);
        display(out, token);
        put(out, "\"");
    }
    if let Some(sender) = sender {
        put(out, r#","sender":"#);
        // Writing into memory does not fail.
        drop(serde_json::to_writer(&mut *out, sender));
    }
    optional(out, r#","certificate":"#, certificate.as_deref());
    optional(out, r#","machine":"#, machine.as_deref());
    list(out, r#","scopes":["#, scopes.iter().map(Scope::as_str));
    list(out, r#","roles":["#, roles.iter().map(String::as_str));
    list(out, r#","policies":["#, policies.iter().map(String::as_str));
}

fn encode_completion(completion: &Completion, out: &mut Vec<u8>) {
    // Each field by name: a new one does not compile until it is written.
    let Completion { at, node, request, status, bytes_in, bytes_out, duration_us, cut, ended } = completion;
    put(out, r#"{"record":"completion","at":"#);
    integer(out, at.micros());
    text(out, r#","node":"#, node);
    text(out, r#","request":"#, request.as_str());
    put(out, r#","status":"#);
    integer(out, (*status).into());
    put(out, r#","bytes_in":"#);
    natural(out, *bytes_in);
    put(out, r#","bytes_out":"#);
    natural(out, *bytes_out);
    put(out, r#","duration_us":"#);
    natural(out, *duration_us);
    if *cut {
        put(out, r#","cut":true"#);
    }
    optional(out, r#","ended":"#, ended.as_deref());
    put(out, "}");
}

fn put(out: &mut Vec<u8>, literal: &str) {
    out.extend_from_slice(literal.as_bytes());
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, name);
    quoted(out, value);
}

fn optional(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

fn list<'a>(out: &mut Vec<u8>, opening: &str, values: impl Iterator<Item = &'a str>) {
    let mut before = opening;
    for value in values {
        text(out, before, value);
        before = ",";
    }
    if before != opening {
        put(out, "]");
    }
}

fn quoted(out: &mut Vec<u8>, value: &str) {
    // SECURITY: what needs escaping is left to serde (G24: no line of its own in a log).
    if !crate::plain::has_no_controls(value.as_bytes(), *b"\"\\") {
        // Writing into memory does not fail.
        drop(serde_json::to_writer(out, value));
    } else {
        out.push(b'"');
        put(out, value);
        out.push(b'"');
    }
}

fn integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    natural(out, value.unsigned_abs());
}

fn natural(out: &mut Vec<u8>, value: u64) {
    put(out, itoa::Buffer::new().format(value));
}

fn display(out: &mut Vec<u8>, value: &impl Display) {
    // Writing into memory does not fail.
    drop(write!(out, "{value}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Position, Timestamp,
        audit::GateName,
        id::{AppId, ClientId, GrantId, KeyId, RequestId, SessionId, TenantId, TokenId, UserId},
        identity::SenderProof,
    };
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn same(record: &Record) {
        let mut bytes = b"before".to_vec();
        record.encode(&mut bytes);
        let serde = serde_json::to_vec(record).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes[6..]), String::from_utf8_lossy(&serde));
        assert_eq!(&serde_json::from_slice::<Record>(&bytes[6..]).unwrap(), record);
    }

    fn verdict(n: usize) -> Verdict {
        [Verdict::Passed, Verdict::Waived, Verdict::Refused, Verdict::NotReached][n % 4]
    }

    prop_compose! {
        fn any_facts()(
            texts in prop::collection::vec(prop::option::of(".*"), 4), lists in prop::collection::vec(prop::collection::vec(".*", 0..3), 3),
            ids in prop::collection::vec(prop::option::of("[!#$%&*+,./0-9:;=?@A-Z^_a-z{|}~-]{1,30}"), 6), token in prop::option::of(any::<u128>()),
        ) -> Facts {
            let mut ids = ids.into_iter();
            let mut id = || ids.next().flatten();
            let mut texts = texts.into_iter().flatten();
            let mut lists = lists.into_iter();
            Facts {
                application: id().map(|id| AppId::parse(&id).unwrap()),
                key: id().map(|id| KeyId::parse(&id).unwrap()),
                client: id().map(|id| ClientId::parse(&id).unwrap()),
                user: id().map(|id| UserId::parse(&id).unwrap()),
                session: id().map(|id| SessionId::parse(&id).unwrap()),
                grant: id().map(|id| GrantId::parse(&id).unwrap()),
                issuer: texts.next().map(Into::into), actor: texts.next(), certificate: texts.next(), machine: texts.next(),
                token: token.map(TokenId::from_bits),
                sender: token.map(|bits| match bits % 3 {
                    0 => SenderProof::Dpop,
                    1 => SenderProof::Certificate,
                    _ => SenderProof::DpopAndCertificate,
                }),
                scopes: lists.next().unwrap().iter().filter_map(|text: &String| Scope::parse(text).ok()).collect(), roles: lists.next().unwrap(), policies: lists.next().unwrap(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_decision_is_the_json_that_serde_writes(
            facts in any_facts(), at in any::<i64>(), numbers in any::<(u16, u64, u64, usize)>(), flags in any::<[bool; 4]>(),
            texts in prop::collection::vec(".*", 5), peer in any::<IpAddr>(),
        ) {
            let (status, position, epoch, n) = numbers;
            let reason = |wanted: bool| wanted.then(|| Reason::ALL[n % Reason::ALL.len()]);
            let gate = |gate, at: usize| GateVerdict { gate, verdict: verdict(n.wrapping_add(at)), reason: reason(flags[at]) };
            same(&Record::Decision(Box::new(Decision {
                at: Timestamp::from_micros(at),
                node: texts[0].as_str().into(),
                tenant: TenantId::default_tenant(),
                request: RequestId::parse("req_1").unwrap(),
                trace: flags[0].then(|| texts[1].clone()),
                peer,
                method: texts[2].clone().into(),
                host: texts[3].clone(),
                path: texts[4].clone(),
                route: flags[1].then(|| texts[0].as_str().into()),
                outcome: [Outcome::Allowed, Outcome::Refused, Outcome::Observed][n % 3],
                reason: reason(flags[3]),
                status,
                gates: [gate(GateName::Identification, 0), gate(GateName::Authentication, 1), gate(GateName::Authorization, 2)],
                facts,
                position: Position(position),
                epoch,
                stale: flags[2],
                exposed: flags[3],
            })));
        }

        #[test]
        fn a_completion_is_the_json_that_serde_writes(at in any::<i64>(), numbers in any::<(u16, u64, u64, u64)>(), cut in any::<bool>(), ended in any::<Option<String>>()) {
            let (status, bytes_in, bytes_out, duration_us) = numbers;
            same(&Record::Completion(Completion {
                at: Timestamp::from_micros(at),
                node: "n\"1".into(),
                request: RequestId::parse("req_1").unwrap(),
                status, bytes_in, bytes_out, duration_us, cut, ended,
            }));
        }
    }
}
