//! Which address of an API is asked? The one with the fewest requests among those that are well; all cores count together.
//!
//! Never leaves an API without an address because of failed requests alone: only its own health checks say that none
//! is well.

use super::{UpstreamBounds, UpstreamUrl};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use trigate_core::port::Monotonic;

/// An API behind the gate.
#[derive(Debug)]
pub struct Upstream {
    pub name: String,
    pub targets: Vec<Target>,
    pub bounds: UpstreamBounds,
    pub health: Option<HealthRule>,
    pub ejection: Ejection,
    /// Where the search among equals begins.
    turn: AtomicUsize,
}

/// One address of it.
#[derive(Debug)]
pub struct Target {
    pub url: UpstreamUrl,
    pub state: Arc<State>,
}

/// How each address is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRule {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy: u32,
    pub unhealthy: u32,
}

/// After so many failures in a row an address rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    pub failures: u32,
    pub rest: Duration,
}

/// What is known of an address; survives a reload.
#[derive(Debug, Default)]
pub struct State {
    busy: AtomicUsize,
    failures: AtomicU32,
    /// Microseconds of the monotonic clock.
    rests_until: AtomicU64,
    sick: AtomicBool,
    /// Health checks in a row that say otherwise than `sick`.
    otherwise: AtomicU32,
}

/// One request under way to an address.
#[derive(Debug)]
pub struct Busy(Arc<State>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

/// Addresses that were asked for one request already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried(u64);

impl Tried {
    const fn has(self, index: usize) -> bool {
        self.0 >> (index & 63) & 1 == 1
    }

    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    pub const fn add(&mut self, index: usize) {
        self.0 |= 1 << (index & 63);
    }
}

impl Upstream {
    pub fn new(
        name: &str,
        urls: Vec<UpstreamUrl>,
        bounds: UpstreamBounds,
        health: Option<HealthRule>,
        ejection: Ejection,
    ) -> Self {
        let targets = urls.into_iter().map(|url| Target { url, state: Arc::default() }).collect();
        Self { name: name.to_owned(), targets, bounds, health, ejection, turn: AtomicUsize::new(0) }
    }

    /// One address, no checks.
    pub fn single(name: &str, url: UpstreamUrl, bounds: UpstreamBounds) -> Self {
        Self::new(name, vec![url], bounds, None, Ejection { failures: 5, rest: Duration::from_secs(10) })
    }

    /// The address for the next request, with its place in the count; `None` when none is left. An only address is not
    /// counted.
    pub fn choose(&self, now: Monotonic, tried: Tried) -> Option<(usize, &Target, Option<Busy>)> {
        if let [only] = self.targets.as_slice() {
            let may = !tried.has(0) && !only.state.sick.load(Relaxed);
            return may.then_some((0, only, None));
        }
        let from = self.turn.fetch_add(1, Relaxed);
        let count = self.targets.len().max(1);
        let well = || {
            let turned = (0..count).map(move |n| (n + from) % count);
            let found = turned.filter_map(|index| self.targets.get(index).map(|target| (index, target)));
            found.filter(move |(index, target)| !tried.has(*index) && !target.state.sick.load(Relaxed))
        };
        let rested = well().filter(|(_, target)| target.state.rests_until.load(Relaxed) <= now.0);
        let least = |(_, target): &(usize, &Target)| target.state.busy.load(Relaxed);
        let (index, target) = rested.min_by_key(least).or_else(|| well().min_by_key(least))?;
        target.state.busy.fetch_add(1, Relaxed);
        Some((index, target, Some(Busy(Arc::clone(&target.state)))))
    }

    /// An address answered.
    pub fn succeeded(&self, target: &Target) {
        // Read before written: the line is shared by all cores.
        if target.state.failures.load(Relaxed) != 0 {
            target.state.failures.store(0, Relaxed);
        }
    }

    /// An address gave no answer.
    pub fn failed(&self, target: &Target, now: Monotonic) {
        let failures = target.state.failures.fetch_add(1, Relaxed).saturating_add(1);
        if failures >= self.ejection.failures && self.targets.len() > 1 {
            target.state.failures.store(0, Relaxed);
            let rest = u64::try_from(self.ejection.rest.as_micros()).unwrap_or(u64::MAX);
            target.state.rests_until.store(now.0.saturating_add(rest), Relaxed);
            tracing::warn!(upstream = %self.name, address = %target.url, failures, rest_s = self.ejection.rest.as_secs(), "an address is left out");
        }
    }

    /// What a health check found.
    pub fn checked(&self, target: &Target, rule: &HealthRule, well: bool) {
        let state = &target.state;
        let sick = state.sick.load(Relaxed);
        if sick != well {
            return state.otherwise.store(0, Relaxed);
        }
        let needed = if well { rule.healthy } else { rule.unhealthy };
        if state.otherwise.fetch_add(1, Relaxed).saturating_add(1) < needed {
            return;
        }
        state.otherwise.store(0, Relaxed);
        state.sick.store(!well, Relaxed);
        if well {
            state.rests_until.store(0, Relaxed);
            tracing::info!(upstream = %self.name, address = %target.url, "an address is well again");
        } else {
            tracing::warn!(upstream = %self.name, address = %target.url, "an address is not well");
        }
    }
}

/// Hands what is known of addresses over from one configuration to the next.
pub fn carry_over(old: &HashMap<String, Arc<Upstream>>, new: &mut Upstream) {
    let Some(old) = old.get(&new.name) else { return };
    for target in &mut new.targets {
        if let Some(same) = old.targets.iter().find(|known| known.url == target.url) {
            target.state = Arc::clone(&same.state);
        }
    }
    // Without checks nothing would bring it back.
    if new.health.is_none() {
        for target in &new.targets {
            target.state.sick.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(count: usize) -> Upstream {
        let urls = (0..count).map(|n| UpstreamUrl::parse(&format!("http://10.0.0.{n}:80")).unwrap()).collect();
        let second = Duration::from_secs(1);
        let bounds = UpstreamBounds { connect: second, response: second, silence: second, idle: 8, streams: 10 };
        Upstream::new("api", urls, bounds, None, Ejection { failures: 2, rest: second })
    }

    fn rule() -> HealthRule {
        let second = Duration::from_secs(1);
        HealthRule { path: "/".into(), interval: second, timeout: second, healthy: 2, unhealthy: 3 }
    }

    #[test]
    fn the_least_busy_address_is_taken() {
        let upstream = upstream(3);
        let (now, none) = (Monotonic(0), Tried::default());
        let held: Vec<_> = (0..3).map(|_| upstream.choose(now, none).unwrap()).collect();
        let mut taken: Vec<usize> = held.iter().map(|(index, ..)| *index).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
        let freed = held[1].0;
        let kept: Vec<_> = held.into_iter().filter(|(index, ..)| *index != freed).collect();
        assert_eq!(upstream.choose(now, none).unwrap().0, freed);
        drop(kept);
    }

    #[test]
    fn failures_in_a_row_rest_an_address_and_never_the_last() {
        let two = upstream(2);
        let none = Tried::default();
        two.failed(&two.targets[0], Monotonic(0));
        two.succeeded(&two.targets[0]);
        two.failed(&two.targets[0], Monotonic(0));
        let seen = |now| (0..8).map(|_| two.choose(Monotonic(now), none).unwrap().0).collect::<Vec<_>>();
        assert!(seen(0).contains(&0), "not in a row");
        two.failed(&two.targets[0], Monotonic(0));
        assert_eq!(seen(999_999), [1; 8]);
        assert!(seen(1_000_000).contains(&0), "rested");
        for target in &two.targets {
            two.failed(target, Monotonic(2_000_000));
            two.failed(target, Monotonic(2_000_000));
        }
        assert!(two.choose(Monotonic(2_000_001), none).is_some(), "all failed: still asked");
        let one = upstream(1);
        (0..9).for_each(|_| one.failed(&one.targets[0], Monotonic(0)));
        assert!(one.choose(Monotonic(1), none).is_some());
        let mut tried = Tried::default();
        tried.add(0);
        assert!(one.choose(Monotonic(1), tried).is_none());
    }

    #[test]
    fn health_checks_take_out_and_bring_back_and_outlive_a_reload() {
        let mut upstream = upstream(1);
        upstream.health = Some(rule());
        let none = Tried::default();
        let check = |well| upstream.checked(&upstream.targets[0], &rule(), well);
        (0..2).for_each(|_| check(false));
        check(true);
        (0..2).for_each(|_| check(false));
        assert!(upstream.choose(Monotonic(0), none).is_some());
        check(false);
        assert!(upstream.choose(Monotonic(0), none).is_none());
        let mut again = super::tests::upstream(1);
        again.health = Some(rule());
        let old = HashMap::from([("api".to_owned(), Arc::new(upstream))]);
        carry_over(&old, &mut again);
        assert!(again.choose(Monotonic(0), none).is_none());
        again.checked(&again.targets[0], &rule(), true);
        again.checked(&again.targets[0], &rule(), true);
        assert!(again.choose(Monotonic(0), none).is_some());
    }
}
