//! Is this one request too many? GCRA on one atomic per counted party, shared by all cores: exact under concurrency.
//!
//! Trusts the monotonic clock. Survives a reload of the rules; never grows without bound.

use crate::{
    rules::{Limit, RouteRule},
    sharded::Sharded,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use trigate_core::{credential::Digest, id::AppId, port::Monotonic};

/// Strangers, and users of applications, counted at once; those beyond share one counter of their kind.
const STRANGERS: usize = 65_536;
const USERS: usize = 524_288;

/// All counters of a process.
pub struct Limits {
    applications: Sharded<AppId, Arc<Gauge>>,
    strangers: Gauges<Party>,
    users: Gauges<u128>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Party {
    Address(IpAddr),
    OnRoute(Arc<str>, Who),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Application(AppId),
    Address(IpAddr),
}

/// A user of an application: ids of users mean something beside their issuer alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserOf<'a> {
    /// On this route; `None`: under the application's plan.
    pub route: Option<&'a str>,
    pub application: Option<&'a AppId>,
    pub issuer: &'a str,
    pub user: &'a str,
}

/// How one limit stands after this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    pub name: String,
    /// Requests in the window.
    pub quota: u64,
    pub window_s: u64,
    /// Requests that may follow at once.
    pub remaining: u64,
    /// Seconds until everything is there again.
    pub reset_s: u64,
    /// `Some` when this request was one too many: seconds until the next is not.
    pub retry_after_s: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { applications: Sharded::default(), strangers: Gauges::of(STRANGERS), users: Gauges::of(USERS) }
    }
}

impl Limits {
    /// Counts a request of an application under its plan. `count = false` only looks.
    pub(crate) fn application(&self, id: &AppId, plan: &str, limit: Limit, now: Monotonic, count: bool) -> LimitState {
        // Applications are known ones: their number is bounded by the feed.
        let gauge = self.applications.get(id).unwrap_or_else(|| {
            let made = self.applications.get_or_make(id, usize::MAX, Arc::default);
            made.unwrap_or_default()
        });
        gauge.take(plan, limit, now, count)
    }

    /// Counts a request of an address, before anything is judged.
    pub(crate) fn address(&self, address: IpAddr, limit: Limit, now: Monotonic, count: bool) -> LimitState {
        let party = Party::Address(trigate_core::address::party(address));
        self.strangers.of_party(&party, now).take("address", limit, now, count)
    }

    /// Counts a request on a route that has a limit of its own.
    pub(crate) fn route(
        &self,
        route: &RouteRule,
        limit: Limit,
        application: Option<&AppId>,
        address: IpAddr,
        now: Monotonic,
        count: bool,
    ) -> LimitState {
        let who = application
            .map_or_else(|| Who::Address(trigate_core::address::party(address)), |id| Who::Application(id.clone()));
        self.strangers.of_party(&Party::OnRoute(Arc::clone(&route.name), who), now).take(&route.name, limit, now, count)
    }

    /// Counts a request of a proven user under the limit of this name.
    pub(crate) fn user(&self, user: UserOf<'_>, name: &str, limit: Limit, now: Monotonic, count: bool) -> LimitState {
        self.users.of_party(&user.party(), now).take(name, limit, now, count)
    }
}

impl UserOf<'_> {
    /// Few bytes for names of any length. SECURITY: cryptographic, or a user could choose a name that shares another's
    /// counter.
    fn party(self) -> u128 {
        let application = self.application.map(AppId::as_str);
        // Lengths first: no two of them run into each other.
        let lengths = (self.route.map(str::len), application.map(str::len), self.issuer.len());
        let (route, application) = (self.route.unwrap_or_default(), application.unwrap_or_default());
        let text = format!("{lengths:?}{route}{application}{}{}", self.issuer, self.user);
        Digest::of(&text).bytes().iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
    }
}

/// Counters of parties that come and go.
struct Gauges<P> {
    parties: Sharded<P, Arc<Gauge>>,
    most: usize,
    overflow: Arc<Gauge>,
    /// When room was last made, in nanoseconds of the monotonic clock.
    swept: AtomicU64,
}

impl<P: Hash + Eq + Clone> Gauges<P> {
    fn of(most: usize) -> Self {
        Self { parties: Sharded::default(), most, overflow: Arc::default(), swept: AtomicU64::new(0) }
    }

    /// SECURITY: with no room left, those beyond share a counter that is soon used up: they are refused, not let by.
    fn of_party(&self, party: &P, now: Monotonic) -> Arc<Gauge> {
        let most = self.most / Sharded::<P, Arc<Gauge>>::shards();
        let find = || self.parties.get_or_make(party, most, Arc::default);
        let gauge = find().or_else(|| self.make_room(now).then(find).flatten());
        gauge.unwrap_or_else(|| Arc::clone(&self.overflow))
    }

    /// Forgets who is idle, at most once a second: a flood of new ones must not make each of them costly.
    fn make_room(&self, now: Monotonic) -> bool {
        let (now_ns, last) = (nanos(now), self.swept.load(Ordering::Relaxed));
        let due = now_ns >= last.saturating_add(1_000_000_000);
        let mine = due && self.swept.compare_exchange(last, now_ns, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if mine {
            self.parties.retain(|_, gauge| !gauge.is_idle(now));
        }
        mine
    }
}

/// The theoretical arrival time, in nanoseconds of the monotonic clock.
#[derive(Debug, Default)]
struct Gauge(AtomicU64);

impl Gauge {
    /// Forgetting an idle gauge changes no answer.
    fn is_idle(&self, now: Monotonic) -> bool {
        self.0.load(Ordering::Relaxed) <= nanos(now)
    }

    /// INVARIANT: at most `burst + rate × t` requests pass in any time t, whatever number of threads ask.
    fn take(&self, name: &str, limit: Limit, now: Monotonic, count: bool) -> LimitState {
        let now = nanos(now);
        // Rounded up: never more than the rate.
        let interval = (u128::from(limit.per_s) * 1_000_000_000).div_ceil(u128::from(limit.rate.max(1)));
        let interval = u64::try_from(interval).unwrap_or(u64::MAX).max(1);
        // SECURITY: bounded, or an arrival at the clock's end would stand still there and everything would pass.
        let latest = now.saturating_add(interval.saturating_mul(limit.burst)).min(u64::MAX - 1);
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            // A plan that was made smaller leaves no debt beyond its own burst.
            let arrival = seen.max(now).min(latest);
            let next = arrival.saturating_add(interval);
            if next > latest {
                return state(name, limit, 0, arrival - now, Some(next - latest));
            }
            let taken = state(name, limit, (latest - next) / interval, next - now, None);
            if !count {
                return taken;
            }
            match self.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return taken,
                Err(other) => seen = other,
            }
        }
    }
}

fn state(name: &str, limit: Limit, remaining: u64, reset_ns: u64, retry_ns: Option<u64>) -> LimitState {
    let seconds = |ns: u64| ns.div_ceil(1_000_000_000);
    LimitState {
        name: name.to_owned(),
        quota: limit.burst,
        window_s: limit.window_s(),
        remaining,
        reset_s: seconds(reset_ns),
        retry_after_s: retry_ns.map(|ns| seconds(ns).max(1)),
    }
}

const fn nanos(at: Monotonic) -> u64 {
    at.0.saturating_mul(1_000)
}

/// `RateLimit-Policy` and `RateLimit`: one item per limit; of a rate q = burst, w = burst / rate.
// draft-ietf-httpapi-ratelimit-headers-11 §2, §3
pub(crate) fn put_limit_headers(states: &[LimitState], headers: &mut HeaderMap) {
    if states.is_empty() {
        return;
    }
    let (mut policy, mut left) = (String::with_capacity(64), String::with_capacity(64));
    for state in states {
        for text in [&mut policy, &mut left] {
            text.push_str(if text.is_empty() { "\"" } else { ", \"" });
            push_plain(&state.name, text);
        }
        push_number("\";q=", state.quota, &mut policy);
        push_number(";w=", state.window_s, &mut policy);
        push_number("\";r=", state.remaining, &mut left);
        push_number(";t=", state.reset_s, &mut left);
    }
    for (name, text) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// A structured-field string takes visible ASCII, without its own marks. // RFC 9651 §3.3.3
fn push_plain(name: &str, out: &mut String) {
    let plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    if name.chars().all(|c| plain(&c)) {
        out.push_str(name);
    } else {
        out.extend(name.chars().filter(plain));
    }
}

fn push_number(before: &str, value: u64, out: &mut String) {
    out.push_str(before);
    out.push_str(itoa::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    #[test]
    fn the_burst_passes_then_the_rate() {
        let gauge = Gauge::default();
        let limit = limit("3600/hour burst 3");
        let take = |at: u64| gauge.take("pro", limit, Monotonic(at), true);
        assert_eq!((0..4).map(|_| take(0).remaining).collect::<Vec<_>>(), [2, 1, 0, 0]);
        let refused = take(0);
        assert_eq!((refused.retry_after_s, refused.reset_s), (Some(1), 3));
        assert_eq!(take(SECOND).retry_after_s, None);
        assert!(take(SECOND).retry_after_s.is_some());
        assert_eq!(take(100 * SECOND).remaining, 2);
    }

    #[test]
    fn a_burst_of_centuries_is_a_limit_all_the_same() {
        let gauge = Gauge::default();
        // The last arrival would stand beyond the clock's end: there it once stood still, and everything passed.
        let limit = Limit::new(1, u64::MAX / 1_000_000_000 / 2, 1_000).unwrap();
        let passed = (0..100).filter(|_| gauge.take("p", limit, Monotonic(0), true).retry_after_s.is_none()).count();
        assert!(passed < 4, "{passed}");
    }

    #[test]
    fn a_smaller_plan_leaves_no_old_debt() {
        let gauge = Gauge::default();
        for _ in 0..100 {
            gauge.take("free", limit("100/day"), Monotonic(0), true);
        }
        let refused = gauge.take("pro", limit("10/second"), Monotonic(SECOND), true);
        assert_eq!(refused.retry_after_s, Some(1));
        assert_eq!(gauge.take("pro", limit("10/second"), Monotonic(2 * SECOND), true).retry_after_s, Some(1));
    }

    #[test]
    fn k12_exact_under_concurrency() {
        let limits = Limits::default();
        let limit = limit("100/second burst 1");
        let app = AppId::parse("app_1").unwrap();
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for step in 0..2_000u64 {
                        // Every thread walks the same second of time.
                        let state = limits.application(&app, "pro", limit, Monotonic(step * SECOND / 2_000), true);
                        passed.fetch_add(u64::from(state.retry_after_s.is_none()), Ordering::Relaxed);
                    }
                });
            }
        });
        // Threads run through time at their own pace, so exactly as many pass as one second allows.
        assert!(passed.load(Ordering::Relaxed) <= 101, "{passed:?}");
    }

    #[test]
    fn the_map_of_strangers_is_bounded() {
        let limits = Limits::default();
        let limit = limit("1/hour");
        for n in 0..200_000u32 {
            limits.address(IpAddr::V4(n.into()), limit, Monotonic(0), true);
        }
        assert!(limits.strangers.parties.len() <= 65_536);
        // Those beyond share a counter, which is used up: they are refused, not let by.
        assert!(limits.address("9.9.9.9".parse().unwrap(), limit, Monotonic(0), true).retry_after_s.is_some());
        // An hour later all are idle and make room.
        let later = |address: &str, at_s: u64| {
            limits.address(address.parse().unwrap(), limit, Monotonic(at_s * SECOND), true).retry_after_s.is_none()
        };
        assert_eq!(["9.9.9.9", "9.9.9.8", "9.9.9.9"].map(|address| later(address, 3_601)), [true, true, false]);
    }

    #[test]
    fn who_makes_room_is_idle_and_who_is_busy_stays_counted() {
        let gauges = Gauges::of(160);
        let limit = limit("1/hour");
        let ask = |party: u32, at_s: u64| {
            let now = Monotonic(at_s * SECOND);
            gauges.of_party(&party, now).take("x", limit, now, true).retry_after_s.is_none()
        };
        // Half an hour apart: the first are idle when the second are not.
        assert!((0..80).filter(|party| ask(*party, 0)).count() > 40);
        let busy: Vec<u32> = (1_000..1_080).filter(|party| ask(*party, 1_800)).collect();
        assert!(busy.len() > 40, "{}", busy.len());
        let let_in = (2_000..2_080).filter(|party| ask(*party, 3_601)).count();
        assert!(let_in > 30, "{let_in}");
        // They have half an hour to wait still. (One may have been let in by the counter of those for whom no room was.)
        assert!(busy.iter().filter(|party| ask(**party, 3_602)).count() <= 1);
    }

    #[test]
    fn users_share_no_counter() {
        let party = |user: &str| UserOf { route: None, application: None, issuer: "https://x.test", user }.party();
        let parties: std::collections::HashSet<_> = (0..2_000).map(|user| party(&user.to_string())).collect();
        assert_eq!(parties.len(), 2_000);
        assert!(parties.iter().all(|party| party >> 64 != 0), "128 bits of them");
    }

    #[test]
    fn users_are_bounded_and_told_apart_by_application_and_issuer() {
        let limits = Limits::default();
        let limit = limit("1/hour");
        let (a, b) = (AppId::parse("app_a").unwrap(), AppId::parse("app_b").unwrap());
        let ask = |application, issuer, user| {
            let user = UserOf { route: None, application, issuer, user };
            limits.user(user, "pro-user", limit, Monotonic(0), true).retry_after_s.is_none()
        };
        assert!(ask(Some(&a), "https://x.test", "ada"));
        assert!(!ask(Some(&a), "https://x.test", "ada"));
        for (application, issuer, user) in [
            (Some(&b), "https://x.test", "ada"),
            (None, "https://x.test", "ada"),
            (Some(&a), "https://y.test", "ada"),
            (Some(&a), "https://x.tes", "tada"),
            (Some(&a), "https://x.test", "bob"),
        ] {
            assert!(ask(application, issuer, user), "{application:?} {issuer} {user}");
        }
        let small = Gauges::of(1_600);
        for n in 0..5_000u128 {
            small.of_party(&n, Monotonic(0)).take("x", limit, Monotonic(0), true);
        }
        assert!(small.parties.len() <= 1_600);
        assert!(small.of_party(&9_999, Monotonic(0)).take("x", limit, Monotonic(0), true).retry_after_s.is_some());
    }

    #[test]
    fn one_subscriber_is_one_party() {
        let of = |text: &str| trigate_core::address::party(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn headers_follow_draft_11() {
        let state = Gauge::default().take("pro", limit("1000/hour"), Monotonic(0), true);
        let mut headers = HeaderMap::new();
        put_limit_headers(&[state], &mut headers);
        assert_eq!(headers.get("ratelimit-policy").unwrap(), "\"pro\";q=1000;w=3600");
        assert_eq!(headers.get("ratelimit").unwrap(), "\"pro\";r=999;t=4");
        let state = Gauge::default().take("a\"b\\c\u{e9}\nd", limit("1000/hour"), Monotonic(0), true);
        put_limit_headers(&[state], &mut headers);
        assert_eq!(headers.get("ratelimit").unwrap(), "\"abcd\";r=999;t=4", "RFC 9651 §3.3.3");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate_times_t(
            rate in 1u64..50, per_s in 1u64..5, burst in 1u64..20,
            steps in prop::collection::vec(0u64..2_000_000, 1..200),
        ) {
            let gauge = Gauge::default();
            let limit = Limit { rate, per_s, burst };
            let (mut at, mut passed) = (0u64, Vec::new());
            for step in steps {
                at += step;
                if gauge.take("x", limit, Monotonic(at), true).retry_after_s.is_none() {
                    passed.push(at);
                }
            }
            for (index, from) in passed.iter().enumerate() {
                for (count, to) in passed.iter().skip(index).enumerate() {
                    let allowed = u128::from(burst) * 1_000_000 * u128::from(per_s) + u128::from(rate) * u128::from(to - from);
                    prop_assert!((count as u128 + 1) * 1_000_000 * u128::from(per_s) <= allowed);
                }
            }
        }
    }
}
