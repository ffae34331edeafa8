//! Quotas of plans and limits of users, on the whole road.

use super::rig::*;
use crate::{
    explain,
    rules::{Enforce, Plan, Rules},
};
use serde_json::json;
use std::sync::Arc;
use trigate_core::{Timestamp, audit::Verdict, desk::PlanWords, port::Clock as _, reason::Reason};

fn at_noon(plan: &PlanWords) -> Rig {
    let mut rig = Rig::new();
    let noon = Timestamp::parse_rfc3339("2027-03-30T12:00:00Z").unwrap();
    rig.clock.advance_s(noon.seconds_since(rig.clock.now()));
    rules(&mut rig).plans.insert("free".into(), Plan::read("free", plan).unwrap());
    rig
}

fn rules(rig: &mut Rig) -> &mut Rules {
    Arc::get_mut(&mut rig.rules).unwrap()
}

fn words(rate: &str) -> PlanWords {
    PlanWords { rate: rate.into(), ..PlanWords::default() }
}

#[tokio::test]
async fn a_quota_refuses_until_its_period_ends_and_says_so() {
    let rig = at_noon(&PlanWords { day: Some(2), month: Some(3), ..words("1000/hour") });
    let permit = rig.ask("/weather").key(&rig.key_b).permit().await;
    let policy = "\"free\";q=1000;w=3600, \"free-day\";q=2;w=86400, \"free-month\";q=3;w=2678400";
    assert_eq!(permit.limit_headers()["ratelimit-policy"], policy);
    let left = "\"free\";r=999;t=4, \"free-day\";r=1;t=43200, \"free-month\";r=2;t=129600";
    assert_eq!(permit.limit_headers()["ratelimit"], left);
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "pass");
    let refusal = rig.ask("/weather").key(&rig.key_b).refusal().await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (429, Reason::QuotaExhausted));
    assert_eq!(refusal.headers()["retry-after"], "43200");
    assert_eq!(rig.last().reason, Some(Reason::QuotaExhausted));
    assert_eq!(rig.last().gates.map(|gate| gate.verdict), [Verdict::Refused, Verdict::NotReached, Verdict::NotReached]);
    // By token it is the same application's quota, found after gate 2.
    let token = rig.token(json!({ "client_id": "cli_b", "app": "app_b" }));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "429 application.quota_exhausted");
    assert_eq!(rig.ask("/weather").key(&rig.key_a).verdict().await, "pass", "another application");
    rig.clock.advance_s(43_200);
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "pass");
    let refusal = rig.ask("/weather").key(&rig.key_b).refusal().await;
    assert_eq!(refusal.headers()["retry-after"], "86400", "the month's: the day has one left");
    rig.clock.advance_s(86_400);
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "pass");
}

#[tokio::test]
async fn what_a_rate_refuses_or_a_rehearsal_asks_uses_up_no_quota() {
    let rig = at_noon(&PlanWords { day: Some(4), ..words("2/hour") });
    for verdict in ["pass", "pass", "429 application.rate_limited", "429 application.rate_limited"] {
        assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, verdict);
    }
    rig.clock.advance_s(3_600);
    let ask = rig.ask("/weather").key(&rig.key_b);
    for _ in 0..5 {
        assert!(explain(&rig.gates, &rig.rules, ask.request()).await.allowed);
    }
    for verdict in ["pass", "pass", "429 application.quota_exhausted"] {
        assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, verdict);
    }
}

#[tokio::test]
async fn a_larger_plan_holds_at_once_and_a_reload_gives_nothing_back() {
    let mut rig = at_noon(&PlanWords { day: Some(1), ..words("1000/hour") });
    assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, "pass");
    for (day, verdict) in [(1, "429 application.quota_exhausted"), (2, "pass"), (2, "429 application.quota_exhausted")]
    {
        let larger = PlanWords { day: Some(day), ..words("1000/hour") };
        rules(&mut rig).plans.insert("free".into(), Plan::read("free", &larger).unwrap());
        assert_eq!(rig.ask("/weather").key(&rig.key_b).verdict().await, verdict);
    }
}

#[tokio::test]
async fn each_user_of_an_application_has_a_limit_of_their_own() {
    let rig = at_noon(&PlanWords { user: Some("2/hour".into()), ..words("1000/hour") });
    let token = |user: &str| rig.token(json!({ "client_id": "cli_b", "app": "app_b", "sub": user }));
    let (ada, bob) = (token("usr_ada"), token("usr_bob"));
    let permit = rig.ask("/any").bearer(&ada).permit().await;
    let policy = "\"free-user\";q=2;w=3600, \"free\";q=1000;w=3600";
    assert_eq!(permit.limit_headers()["ratelimit-policy"], policy);
    // With a key of the application beside the token the count is the same.
    assert_eq!(rig.ask("/both").key(&rig.key_b).bearer(&ada).verdict().await, "pass");
    let refusal = rig.ask("/any").bearer(&ada).refusal().await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (429, Reason::UserLimited));
    assert_eq!(refusal.headers()["retry-after"], "1800");
    assert_eq!(rig.last().gates.map(|gate| gate.verdict), [Verdict::Passed, Verdict::Refused, Verdict::NotReached]);
    assert_eq!(rig.ask("/any").bearer(&bob).verdict().await, "pass");
    // The same person in another application, whose plan says nothing of users.
    let elsewhere = rig.token(json!({ "sub": "usr_ada" }));
    assert_eq!(rig.ask("/any").bearer(&elsewhere).verdict().await, "pass");
    // What a user may not do uses up nothing of the application: two by token, one by bob.
    let permit = rig.ask("/weather").key(&rig.key_b).permit().await;
    assert!(permit.limit_headers()["ratelimit"].to_str().unwrap().starts_with("\"free\";r=996;"));
}

#[tokio::test]
async fn a_token_that_is_not_proven_uses_up_nobodys_limit() {
    let rig = at_noon(&PlanWords { day: Some(1), user: Some("1/hour".into()), ..words("1000/hour") });
    let good = rig.token(json!({ "client_id": "cli_b", "app": "app_b" }));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let expired = rig.token(json!({ "client_id": "cli_b", "app": "app_b", "exp": rig.now_s() - 60 }));
    for bad in [&forged, &expired] {
        assert!(rig.ask("/any").bearer(bad).verdict().await.starts_with("401"));
    }
    assert_eq!(rig.ask("/any").bearer(&good).verdict().await, "pass");
}

#[tokio::test]
async fn a_route_limits_users_by_itself() {
    let mut rig = Rig::with(|routes| {
        for route in routes.iter_mut().filter(|route| *route.name == *"any") {
            route.user_limit = Some("1/hour".parse().unwrap());
        }
    });
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "429 user.rate_limited");
    assert_eq!(rig.ask("/lenient").bearer(&token).verdict().await, "pass", "another route");
    // A service is no user.
    for _ in 0..3 {
        assert_eq!(rig.ask("/any").bearer(&rig.service_token()).verdict().await, "pass");
    }
    // In observe mode it is recorded, and passes.
    rules(&mut rig).enforce = Enforce::Observe;
    let permit = rig.ask("/any").bearer(&token).permit().await;
    assert_eq!(permit.observed(), Some(Reason::UserLimited));
}

/// What is kept at a desk whose answers get lost.
#[cfg(feature = "remote")]
mod kept {
    use super::*;
    use crate::usage::UsageReporter;
    use async_trait::async_trait;
    use std::{
        collections::HashMap,
        sync::{
            Mutex,
            atomic::{AtomicBool, Ordering},
        },
    };
    use trigate_core::{
        id::AppId,
        port::{Quotas, StoreError},
        quota::{Period, Usage, UsageReport},
    };

    #[derive(Default)]
    struct Desk {
        taken: Mutex<HashMap<String, u64>>,
        sums: Mutex<Vec<Usage>>,
        loses_answers: AtomicBool,
    }

    #[async_trait]
    impl Quotas for Desk {
        async fn report_usage(&self, report: &UsageReport) -> Result<Vec<Usage>, StoreError> {
            let last = self.taken.lock().unwrap().insert(report.holder.clone(), report.number).unwrap_or_default();
            let mut sums = self.sums.lock().unwrap();
            let mut answer = Vec::new();
            for usage in &report.counted {
                let same = |sum: &&mut Usage| (&sum.application, sum.period) == (&usage.application, usage.period);
                let counted = if report.number > last { usage.count } else { 0 };
                match sums.iter_mut().find(same) {
                    Some(sum) => sum.count += counted,
                    None => sums.push(usage.clone()),
                }
                answer.extend(sums.iter_mut().find(same).cloned());
            }
            if self.loses_answers.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable("the answer was lost".into()));
            }
            Ok(answer)
        }

        async fn list_usage(
            &self,
            _: Timestamp,
            after: Option<(AppId, Period)>,
            _: u32,
        ) -> Result<Vec<Usage>, StoreError> {
            Ok(if after.is_none() { self.sums.lock().unwrap().clone() } else { Vec::new() })
        }
    }

    fn reporter(rig: &Rig, desk: &Arc<Desk>, holder: &str) -> UsageReporter {
        let clock = Arc::new(rig.clock.clone());
        UsageReporter::new(&rig.gates, desk.clone(), clock, holder.into(), Box::new(|_, _| {}))
    }

    #[tokio::test]
    async fn what_is_reported_twice_counts_once_and_the_next_process_goes_on_from_there() {
        let plan = PlanWords { month: Some(10), ..words("1000/hour") };
        let (rig, desk) = (at_noon(&plan), Arc::<Desk>::default());
        let first = reporter(&rig, &desk, "gate-1");
        let ask = async |rig: &Rig| rig.ask("/weather").key(&rig.key_b).verdict().await == "pass";
        for _ in 0..4 {
            assert!(ask(&rig).await);
        }
        desk.loses_answers.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            first.report().await.unwrap_err();
            assert!(ask(&rig).await, "it goes on by its own counting");
        }
        desk.loses_answers.store(false, Ordering::SeqCst);
        first.report().await.unwrap();
        first.report().await.unwrap();
        let sums = || desk.sums.lock().unwrap().iter().map(|usage| usage.count).collect::<Vec<_>>();
        assert_eq!(sums(), [7, 7]);
        let again = at_noon(&plan);
        let second = reporter(&again, &desk, "gate-2");
        second.learn().await.unwrap();
        for pass in [true, true, true, false] {
            assert_eq!(ask(&again).await, pass);
        }
        second.report().await.unwrap();
        assert_eq!(sums(), [10, 10]);
        // The first gate hears of it with its next report: this is how far beyond the quota it goes.
        for pass in [true, false] {
            assert_eq!(ask(&rig).await, pass);
            first.report().await.unwrap();
        }
    }
}
