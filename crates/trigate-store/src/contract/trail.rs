//! Acts and decisions.

use super::{World, world::*};
use trigate_core::{
    Position,
    audit::{ChainHead, Decision, Facts, GateName, GateVerdict, Outcome, Verdict},
    change::Target,
    id::{RequestId, TenantId, UserId},
    port::{ActFilter, DecisionFilter, IndexedDecision},
    reason::Reason,
};

pub async fn every_act_is_chained(w: World) {
    let app = w.app("a").await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (w, app) = (w.clone(), app.id.clone());
            tokio::spawn(async move {
                w.key(&app).await;
                w.tenant.record_act(w.act("login.failed")).await.unwrap().gives_only();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let head = w.tenant.act_chain_head().await.unwrap();
    assert_eq!(head.length, 101);
    let mut walked = ChainHead::start(TenantId::default_tenant().as_str());
    while walked.length < head.length {
        for stored in w.tenant.acts_from(walked.length, 30).await.unwrap() {
            assert_eq!(stored.index, walked.length);
            walked = walked.follow(&stored.bytes, &stored.hash).unwrap();
            assert_eq!(serde_json::to_vec(&stored.act).unwrap(), stored.bytes);
        }
    }
    assert_eq!(walked, head);
}

pub async fn a_refused_change_leaves_no_act(w: World) {
    let missing = Target::User { id: UserId::mint(w.rng()), issuer: None };
    assert!(is_missing(w.tenant.revoke(w.act("x"), missing, w.later()).await));
    assert_eq!(w.tenant.act_chain_head().await.unwrap().length, 0);
    w.tenant.record_act(w.act("y")).await.unwrap().gives_only();
    assert_eq!(w.tenant.acts_from(0, 10).await.unwrap()[0].act.verb, "y");
}

fn decision(w: &World, facts: Facts, reason: Option<Reason>) -> Decision {
    let gate = |gate| GateVerdict { gate, verdict: Verdict::Passed, reason: None };
    Decision {
        at: w.now(),
        node: "n1".into(),
        tenant: TenantId::default_tenant(),
        request: RequestId::mint(w.rng()),
        trace: None,
        peer: "192.0.2.7".parse().unwrap(),
        method: "GET".into(),
        host: "api".to_owned(),
        path: "/orders".to_owned(),
        route: Some("orders".into()),
        outcome: if reason.is_some() { Outcome::Refused } else { Outcome::Allowed },
        reason,
        status: 0,
        gates: [gate(GateName::Identification), gate(GateName::Authentication), gate(GateName::Authorization)],
        facts,
        position: Position(1),
        epoch: 1,
        stale: false,
        exposed: false,
    }
}

pub async fn acts_and_decisions_are_found_by_whom_they_concern(w: World) {
    let app = w.app("a").await;
    let client = w.client(&app.id).await;
    let user = w.user("a@x").await;
    let acts = [
        w.act("one").user(&user.id),
        w.act("two").user(&user.id).client(&client.id),
        w.act("three").application(&app.id),
    ];
    for act in acts {
        w.clock.advance_s(1);
        w.tenant.record_act(act).await.unwrap().gives_only();
    }
    let find = |filter: ActFilter| {
        let w = w.clone();
        async move {
            let found = w.tenant.find_acts(&filter).await.unwrap();
            found.into_iter().map(|stored| stored.act.verb).collect::<Vec<_>>()
        }
    };
    let all = ActFilter { limit: 10, ..ActFilter::default() };
    assert_eq!(find(ActFilter { user: Some(user.id.clone()), ..all.clone() }).await, ["two", "one"]);
    assert_eq!(find(ActFilter { client: Some(client.id.clone()), ..all.clone() }).await, ["two"]);
    assert_eq!(find(ActFilter { application: Some(app.id.clone()), ..all.clone() }).await, ["three"]);
    assert_eq!(find(ActFilter { limit: 2, ..all.clone() }).await, ["three", "two"]);
    assert_eq!(find(ActFilter { target: Some("target".to_owned()), ..all.clone() }).await.len(), 6);
    assert_eq!(find(ActFilter { since: Some(w.now()), ..all }).await, Vec::<String>::new());

    let of_user = decision(&w, Facts { user: Some(user.id.clone()), ..Facts::default() }, None);
    let refused =
        decision(&w, Facts { application: Some(app.id.clone()), ..Facts::default() }, Some(Reason::RouteUnknown));
    let entries: Vec<_> = [of_user, refused]
        .into_iter()
        .zip(0..)
        .map(|(decision, index)| IndexedDecision { node: "n1".into(), index, decision })
        .collect();
    for _ in 0..2 {
        w.tenant.index_decisions("n1", entries.clone(), 2).await.unwrap();
    }
    assert_eq!(w.tenant.indexed_up_to("n1").await.unwrap(), 2);
    assert_eq!(w.tenant.indexed_up_to("n2").await.unwrap(), 0);
    let find = |filter: DecisionFilter| {
        let w = w.clone();
        async move { w.tenant.find_decisions(&filter).await.unwrap() }
    };
    let all = DecisionFilter { limit: 10, ..DecisionFilter::default() };
    assert_eq!(find(all.clone()).await.len(), 2);
    assert_eq!(find(DecisionFilter { user: Some(user.id), ..all.clone() }).await, entries[..1]);
    assert_eq!(find(DecisionFilter { application: Some(app.id), ..all.clone() }).await, entries[1..]);
    let by_reason = DecisionFilter { reason: Some(Reason::RouteUnknown.code().to_owned()), ..all.clone() };
    assert_eq!(find(by_reason).await, entries[1..]);
    let address = Some("192.0.2.7".parse().unwrap());
    assert_eq!(find(DecisionFilter { address, limit: 1, ..all }).await.len(), 1);
}
