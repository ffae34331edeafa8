//! Has the application used up its day or its month? Counted here, summed with what all other gates count.
//!
//! Trusts the calendar (UTC); a clock that is set back opens no period again. Between two reports a gate goes by its own
//! counting, and without a desk by that alone: it never waits, and never stops counting.

use super::rate_limit::LimitState;
use crate::{
    rules::{Plan, Quota},
    sharded::Sharded,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(any(test, feature = "remote"))]
use trigate_core::quota::{MAX_REPORTED, Usage};
use trigate_core::{
    Timestamp,
    id::AppId,
    quota::{Period, Span},
};

/// The counters of a process. They survive a reload of the rules; [`crate::usage::UsageReporter`] keeps them at the desk.
#[derive(Default)]
pub struct Quotas {
    applications: Sharded<AppId, Arc<Mutex<Meters>>>,
    /// Who was counted since the last report. Each stands there once: see `Meters::waiting`.
    waiting: Mutex<Vec<AppId>>,
}

#[derive(Default)]
struct Meters {
    day: Meter,
    month: Meter,
    waiting: bool,
}

/// One running period.
#[derive(Default)]
struct Meter {
    period: Option<Period>,
    ends_at: Timestamp,
    /// The sum of all gates, as last heard.
    confirmed: u64,
    /// Of ours, on the way to the desk.
    sent: u64,
    /// Of ours, since then.
    fresh: u64,
}

impl Quotas {
    /// Counts one request if every quota of the plan has room for it; `count = false` only looks.
    pub(crate) fn take(&self, id: &AppId, plan: &Plan, now: Timestamp, count: bool) -> Vec<LimitState> {
        if plan.day.is_none() && plan.month.is_none() {
            return Vec::new();
        }
        let Some(meters) = self.meters(id) else { return Vec::new() };
        let mut meters = lock(&meters);
        let quotas = [(Span::Day, &plan.day), (Span::Month, &plan.month)];
        let mut states = Vec::with_capacity(quotas.len());
        for (span, quota) in quotas {
            let meter = meters.of(span).at(span, now);
            states.extend(quota.as_ref().map(|quota| meter.state(quota, now)));
        }
        let counts = count && states.iter().all(|state| state.retry_after_s.is_none());
        if counts {
            // The month is counted for a plan that limits the day alone, too: the plan may change in between.
            meters.day.fresh += 1;
            meters.month.fresh += 1;
            states.iter_mut().for_each(|state| state.remaining -= 1);
        }
        if counts && !meters.waiting {
            meters.waiting = true;
            lock(&self.waiting).push(id.clone());
        }
        states
    }

    fn meters(&self, id: &AppId) -> Option<Arc<Mutex<Meters>>> {
        // Applications are known ones: their number is bounded by the feed.
        self.applications.get_or_make(id, usize::MAX, Arc::default)
    }
}

/// For the report to a desk: see [`crate::usage`].
#[cfg(any(test, feature = "remote"))]
impl Quotas {
    /// What was counted since the last time, at most [`MAX_REPORTED`]. The next call follows [`Self::settle`].
    pub(crate) fn draw(&self) -> Vec<Usage> {
        let mut drawn = Vec::new();
        while drawn.len() + Span::ALL.len() <= MAX_REPORTED {
            let Some(application) = lock(&self.waiting).pop() else { break };
            let Some(meters) = self.applications.get(&application) else { continue };
            let mut meters = lock(&meters);
            meters.waiting = false;
            for span in Span::ALL {
                let meter = meters.of(span);
                let count = std::mem::take(&mut meter.fresh);
                meter.sent += count;
                let counted = meter.period.filter(|_| count > 0);
                drawn.extend(counted.map(|period| Usage { application: application.clone(), period, count }));
            }
        }
        drawn
    }

    /// The desk has taken what was drawn, and says what all gates have counted.
    pub(crate) fn settle(&self, drawn: &[Usage], sums: &[Usage]) {
        for usage in drawn {
            self.change(usage, |meter| meter.confirmed += std::mem::take(&mut meter.sent));
        }
        self.learn(sums);
    }

    /// What all gates have counted. Ours that is on the way is not in it.
    pub(crate) fn learn(&self, sums: &[Usage]) {
        for usage in sums {
            self.change(usage, |meter| meter.confirmed = usage.count);
        }
    }

    fn change(&self, usage: &Usage, change: impl FnOnce(&mut Meter)) {
        let Some(meters) = self.meters(&usage.application) else { return };
        let mut meters = lock(&meters);
        let meter = meters.of(usage.period.span());
        // The first that is heard of it, or a new period: what belongs to an old one is nothing to this.
        if meter.period.is_none_or(|period| period < usage.period) {
            *meter = Meter::of(usage.period);
        }
        if meter.period == Some(usage.period) {
            change(meter);
        }
    }
}

impl Meters {
    const fn of(&mut self, span: Span) -> &mut Meter {
        match span {
            Span::Day => &mut self.day,
            Span::Month => &mut self.month,
        }
    }
}

impl Meter {
    fn of(period: Period) -> Self {
        Self { period: Some(period), ends_at: period.ends_at(), ..Self::default() }
    }

    /// Turns the page when the period is over.
    fn at(&mut self, span: Span, now: Timestamp) -> &mut Self {
        if self.period.is_none() || now >= self.ends_at {
            *self = Self::of(Period::of(span, now));
        }
        self
    }

    const fn used(&self) -> u64 {
        self.confirmed.saturating_add(self.sent).saturating_add(self.fresh)
    }

    /// As it stands before this request; `retry_after_s` when there is no room for it.
    fn state(&self, quota: &Quota, now: Timestamp) -> LimitState {
        let remaining = quota.most.saturating_sub(self.used());
        let left = self.ends_at.micros().saturating_sub(now.micros()).max(0).unsigned_abs();
        let reset_s = left.div_ceil(1_000_000).max(1);
        LimitState {
            name: quota.name.clone(),
            quota: quota.most,
            window_s: self.period.map_or(0, Period::seconds),
            remaining,
            reset_s,
            retry_after_s: (remaining == 0).then_some(reset_s),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn plan(day: u64, month: u64) -> Plan {
        let words = trigate_core::desk::PlanWords {
            rate: "1000/second".into(),
            day: (day > 0).then_some(day),
            month: (month > 0).then_some(month),
            user: None,
        };
        Plan::read("pro", &words).unwrap()
    }

    fn app(text: &str) -> AppId {
        text.parse().unwrap()
    }

    fn passes(quotas: &Quotas, plan: &Plan, now: Timestamp) -> bool {
        quotas.take(&app("app_1"), plan, now, true).iter().all(|state| state.retry_after_s.is_none())
    }

    #[test]
    fn a_day_and_a_month_end_with_the_calendar() {
        let quotas = Quotas::default();
        let plan = plan(2, 3);
        let noon = at("2026-11-29T12:00:00Z");
        assert_eq!([noon; 3].map(|now| passes(&quotas, &plan, now)), [true, true, false]);
        let refused = quotas.take(&app("app_1"), &plan, noon, true);
        let (day, month) = (&refused[0], &refused[1]);
        assert_eq!((day.name.as_str(), day.window_s, day.retry_after_s), ("pro-day", 86_400, Some(43_200)));
        assert_eq!((month.name.as_str(), month.window_s, month.remaining), ("pro-month", 30 * 86_400, 1));
        assert_eq!(month.retry_after_s, None, "what the day refuses does not count in the month");
        let next = at("2026-11-30T00:00:00Z");
        assert_eq!([next; 2].map(|now| passes(&quotas, &plan, now)), [true, false], "the month's third and last");
        // Set back, the clock opens no old day anew.
        assert!(!passes(&quotas, &plan, noon));
        assert!(passes(&quotas, &plan, at("2026-12-01T00:00:00Z")));
    }

    #[test]
    fn only_a_look_counts_nothing_and_nothing_is_reported_of_it() {
        let quotas = Quotas::default();
        let now = at("2026-11-24T12:00:00Z");
        for _ in 0..3 {
            assert_eq!(quotas.take(&app("app_1"), &plan(1, 0), now, false)[0].remaining, 1);
        }
        assert!(quotas.draw().is_empty());
        assert!(quotas.take(&app("app_1"), &plan(0, 0), now, true).is_empty(), "a plan without quotas");
        assert!(quotas.draw().is_empty());
    }

    #[test]
    fn what_all_gates_count_is_what_counts() {
        let quotas = Quotas::default();
        let (plan, now) = (plan(10, 100), at("2026-11-24T12:00:00Z"));
        let remaining = |quotas: &Quotas| quotas.take(&app("app_1"), &plan, now, false)[0].remaining;
        for _ in 0..3 {
            assert!(passes(&quotas, &plan, now));
        }
        assert_eq!(lock(&quotas.waiting).len(), 1, "an application waits once, however often it was counted");
        let drawn = quotas.draw();
        assert_eq!(drawn.iter().map(|usage| usage.count).collect::<Vec<_>>(), [3, 3]);
        assert!(passes(&quotas, &plan, now), "counted while the report is on its way");
        assert_eq!(remaining(&quotas), 6);
        // The other gates have counted four.
        let sums: Vec<Usage> = drawn.iter().map(|usage| Usage { count: 7, ..usage.clone() }).collect();
        quotas.settle(&drawn, &sums);
        assert_eq!(remaining(&quotas), 2);
        let drawn = quotas.draw();
        assert_eq!(drawn.iter().map(|usage| usage.count).collect::<Vec<_>>(), [1, 1]);
        // The desk knows no such application: what was counted stays counted.
        quotas.settle(&drawn, &[]);
        assert_eq!(remaining(&quotas), 2);
        // An answer about yesterday changes nothing of today.
        let tomorrow = at("2026-11-25T00:00:00Z");
        assert!(passes(&quotas, &plan, tomorrow));
        quotas.settle(&drawn, &sums);
        assert_eq!(quotas.take(&app("app_1"), &plan, tomorrow, false)[0].remaining, 9);
        // Only a look has turned the page of the day: there is nothing to say of the new one.
        let next = at("2026-11-26T00:00:00Z");
        assert_eq!(quotas.take(&app("app_1"), &plan, next, false)[0].remaining, 10);
        assert_eq!(quotas.draw().iter().map(|usage| usage.period.span()).collect::<Vec<_>>(), [Span::Month]);
    }

    #[test]
    fn k12_a_quota_is_exact_under_concurrency() {
        let quotas = Quotas::default();
        let (plan, now) = (plan(0, 1_000), at("2026-11-24T12:00:00Z"));
        let passed = std::sync::atomic::AtomicU64::new(0);
        let drawn = std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let counted = u64::from(passes(&quotas, &plan, now));
                        passed.fetch_add(counted, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
            let reporter = scope.spawn(|| {
                let mut sum = 0;
                for _ in 0..200 {
                    let drawn = quotas.draw();
                    sum +=
                        drawn.iter().filter(|usage| usage.period.span() == Span::Month).map(|u| u.count).sum::<u64>();
                    quotas.settle(&drawn, &[]);
                    std::thread::yield_now();
                }
                sum
            });
            reporter.join().unwrap()
        });
        let last: u64 = quotas.draw().iter().filter(|u| u.period.span() == Span::Month).map(|u| u.count).sum();
        assert_eq!((passed.into_inner(), drawn + last), (1_000, 1_000));
    }

    #[test]
    fn a_report_is_bounded_and_nobody_is_forgotten() {
        let quotas = Quotas::default();
        let (plan, now) = (plan(10, 0), at("2026-11-24T12:00:00Z"));
        for n in 0..MAX_REPORTED {
            quotas.take(&app(&format!("app_{n}")), &plan, now, true);
        }
        let (mut reported, mut reports) = (0, 0);
        loop {
            let drawn = quotas.draw();
            assert!(drawn.len() <= MAX_REPORTED);
            if drawn.is_empty() {
                break;
            }
            reported += drawn.len();
            reports += 1;
            quotas.settle(&drawn, &[]);
        }
        assert_eq!((reported, reports), (2 * MAX_REPORTED, 2), "as few reports as may be");
    }
}
