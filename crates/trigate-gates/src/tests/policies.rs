//! Routes that want the operator's policies, and keys that belong to gates.

use super::rig::*;
use crate::*;
use serde_json::json;
use std::sync::{Arc, Mutex};
use trigate_core::{
    oauth::ScopeSet,
    port::{Policy, PolicyVerdict, Question},
    reason::Reason,
};

/// Lets in by address, and remembers whose token it was asked about.
#[derive(Debug, Default)]
struct Door(Mutex<Vec<Option<String>>>);

impl Policy for Door {
    fn judge(&self, question: &Question<'_>) -> PolicyVerdict {
        self.0.lock().unwrap().push(question.issuer.map(str::to_owned));
        let policies = vec!["door".to_owned()];
        match question.address.to_string().as_str() {
            "192.0.2.7" => PolicyVerdict::Allow { policies },
            _ => PolicyVerdict::Deny { reason: Reason::PolicyDenied, policies },
        }
    }
}

fn rig() -> Rig {
    Rig::with(|routes| {
        for route in routes.iter_mut().filter(|route| *route.name == *"any") {
            route.policy = true;
        }
    })
}

#[tokio::test]
async fn a_route_that_wants_policies_is_closed_without_them() {
    let rig = rig();
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "403 policy.denied");
    assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, "pass", "another route");
}

#[tokio::test]
async fn policies_are_asked_about_what_is_proven_and_foreign_names_come_with_their_issuer() {
    let mut rig = rig();
    let door = Arc::<Door>::default();
    Arc::get_mut(&mut rig.rules).unwrap().policy = Some(door.clone());
    let ours = rig.token(json!({}));
    let foreign = rig.foreign("https://y.test", &rig.y, json!({}));
    assert_eq!(rig.ask("/any").bearer(&ours).verdict().await, "pass");
    assert_eq!(rig.ask("/any").bearer(&foreign).verdict().await, "pass");
    assert_eq!(rig.ask("/any").bearer(&ours).peer("192.0.2.8").verdict().await, "403 policy.denied");
    assert_eq!(*door.0.lock().unwrap(), [None, Some("https://y.test".to_owned()), None]);
    assert_eq!(rig.ask("/any").bearer("a.b.c").verdict().await, "401 token.malformed");
    assert_eq!(door.0.lock().unwrap().len(), 3, "of nothing else");
}

#[tokio::test]
async fn a_gates_key_opens_the_gates_own_routes_alone() {
    let rig = Rig::with(|routes| {
        let mut gates = route("gates", "/gates", "key");
        gates.kind = RouteKind::GateApi;
        routes.push(gates);
    });
    let scopes = |text: &str| Some(ScopeSet::parse(text).unwrap());
    let of_gate = rig.put_key(|key| key.scopes = scopes("trigate:gate write"));
    let other = rig.put_key(|key| key.scopes = scopes("write"));
    for (path, key, verdict) in [
        ("/gates", &of_gate, "pass"),
        ("/weather", &of_gate, "403 key.scope_missing"),
        ("/weather/write", &of_gate, "403 key.scope_missing"),
        ("/weather", &other, "pass"),
    ] {
        assert_eq!(rig.ask(path).key(key).verdict().await, verdict, "{path}");
    }
}
