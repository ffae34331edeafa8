//! Counters of days and months: each request once, whatever is sent twice.

use super::World;
use trigate_core::{
    id::AppId,
    quota::{Period, Span, Usage},
};

pub async fn what_gates_count_is_summed_once(w: World) {
    let (a, b) = (w.app("a").await.id, w.app("b").await.id);
    let counts = |usage: Vec<Usage>| usage.into_iter().map(|usage| usage.count).collect::<Vec<_>>();
    let first = w.report("gate-1", 1, &[(&a, 3), (&b, 5)]);
    assert_eq!(counts(w.tenant.report_usage(&first).await.unwrap()), [3, 5]);
    assert_eq!(counts(w.tenant.report_usage(&first).await.unwrap()), [3, 5], "the answer was lost, and it comes again");
    let other = w.report("gate-2", 1, &[(&a, 4)]);
    assert_eq!(counts(w.tenant.report_usage(&other).await.unwrap()), [7], "another gate's first is no repetition");
    let next = w.report("gate-1", 2, &[(&a, 1), (&AppId::mint(w.rng()), 9)]);
    assert_eq!(counts(w.tenant.report_usage(&next).await.unwrap()), [8], "who is no application is not counted");
    assert_eq!(counts(w.tenant.report_usage(&first).await.unwrap()), [8, 5], "an old one adds nothing");

    let period = Period::of(Span::Month, w.now());
    let month = Usage { application: a.clone(), period, count: u64::MAX };
    let huge = |number| trigate_core::quota::UsageReport {
        holder: "gate-3".to_owned(),
        number,
        counted: vec![month.clone(), month.clone()],
    };
    for number in 1..4 {
        w.tenant.report_usage(&huge(number)).await.unwrap();
    }
    assert_eq!(counts(w.tenant.report_usage(&w.report("gate-1", 3, &[(&a, 1)])).await.unwrap()), [9]);
}

pub async fn usage_is_listed_page_by_page_and_swept_when_its_period_is_over(w: World) {
    let mut apps = Vec::new();
    for name in ["a", "b", "c"] {
        apps.push(w.app(name).await.id);
    }
    let counted: Vec<_> = apps.iter().map(|app| (app, 2)).collect();
    w.tenant.report_usage(&w.report("gate-1", 1, &counted)).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = w.tenant.list_usage(w.now(), after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.application.clone(), last.period));
        found.extend(page.into_iter().map(|usage| usage.application));
    }
    apps.sort();
    assert_eq!(found, apps);
    w.clock.advance_s(86_400);
    assert!(w.tenant.list_usage(w.now(), None, 9).await.unwrap().is_empty(), "that day is over");
    assert_eq!(w.store.system().sweep(w.now(), 100).await.unwrap(), 0);
    w.clock.advance_s(86_400);
    assert_eq!(w.store.system().sweep(w.now(), 100).await.unwrap(), 3);
    // A gate is remembered for as long as it may count in a month.
    let again = w.report("gate-1", 1, &[(&apps[0], 2)]);
    assert!(w.tenant.report_usage(&again).await.unwrap().is_empty());
    w.clock.advance_s(41 * 86_400);
    assert_eq!(w.store.system().sweep(w.now(), 100).await.unwrap(), 1, "the gate's last report");
}
