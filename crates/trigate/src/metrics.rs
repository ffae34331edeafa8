//! How busy is it, and why does it refuse? Counters by hand, in the text format that Prometheus reads. No label comes
//! from a request: routes, outcomes and reasons are all ours.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use trigate_core::audit::Outcome;

/// Upper bounds in microseconds.
const BUCKETS: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// Passages of one route, by outcome and reason.
type Outcomes = BTreeMap<(&'static str, &'static str), AtomicU64>;

/// Responses by status, from 0 to 599.
#[derive(Debug)]
struct Statuses([AtomicU64; 600]);

impl Default for Statuses {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 600])
    }
}

/// One per process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: RwLock<BTreeMap<String, Outcomes>>,
    statuses: Statuses,
    connections: Mutex<BTreeMap<&'static str, u64>>,
    latency: [AtomicU64; BUCKETS.len()],
    latency_count: AtomicU64,
    latency_sum_us: AtomicU64,
    pub feed_position: AtomicU64,
    pub lease_remaining_ms: AtomicU64,
    pub reloads: AtomicU64,
    pub reloads_failed: AtomicU64,
    pub upstream_errors: AtomicU64,
    /// Revocation lists that could not be renewed.
    pub trust_failures: AtomicU64,
    pub audit_next: AtomicU64,
    pub audit_indexed: AtomicU64,
}

impl Metrics {
    /// One passage through the gates.
    pub fn passage(&self, route: &str, outcome: Outcome, reason: Option<&'static str>) {
        let outcome = match outcome {
            Outcome::Allowed => "allowed",
            Outcome::Refused => "refused",
            Outcome::Observed => "observed",
        };
        let key = (outcome, reason.unwrap_or(""));
        let requests = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = requests.get(route).and_then(|outcomes| outcomes.get(&key)) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(requests);
        // The first of its kind.
        let mut requests = self.requests.write().unwrap_or_else(PoisonError::into_inner);
        requests.entry(route.to_owned()).or_default().entry(key).or_default().fetch_add(1, Ordering::Relaxed);
    }

    /// One response whose body has ended.
    pub fn completed(&self, status: u16, took: Duration) {
        if let Some(count) = self.statuses.0.get(usize::from(status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some((slot, _)) = self.latency.iter().zip(BUCKETS).find(|(_, bound)| us <= *bound) {
            slot.fetch_add(1, Ordering::Relaxed);
        }
        self.latency_count.fetch_add(1, Ordering::Relaxed);
        self.latency_sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn connection_refused(&self, code: &'static str) {
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// The whole in text exposition format 0.0.4.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        self.render_counters(&mut out);
        self.render_latency(&mut out);
        let gauges = [
            ("trigate_feed_position", "Feed position that this gate has applied.", "gauge", &self.feed_position),
            (
                "trigate_lease_remaining_milliseconds",
                "Until this gate stops trusting its memory.",
                "gauge",
                &self.lease_remaining_ms,
            ),
            ("trigate_reloads_total", "Configurations taken into force by reload.", "counter", &self.reloads),
            (
                "trigate_trust_failures_total",
                "Revocation lists that could not be renewed.",
                "counter",
                &self.trust_failures,
            ),
            (
                "trigate_reloads_failed_total",
                "Reloads that kept the old configuration.",
                "counter",
                &self.reloads_failed,
            ),
            (
                "trigate_upstream_errors_total",
                "Requests that an upstream did not answer.",
                "counter",
                &self.upstream_errors,
            ),
            ("trigate_audit_next_record", "Number of the next audit record of this node.", "gauge", &self.audit_next),
            (
                "trigate_audit_indexed_record",
                "First audit record of this node that is not indexed.",
                "gauge",
                &self.audit_indexed,
            ),
        ];
        for (name, help, kind, value) in gauges {
            let _ =
                writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}", value.load(Ordering::Relaxed));
        }
        out
    }

    fn render_counters(&self, out: &mut String) {
        out.push_str(
            "# HELP trigate_requests_total Passages through the gates.\n# TYPE trigate_requests_total counter\n",
        );
        for (route, outcomes) in self.requests.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let route = route.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            for ((outcome, reason), count) in outcomes {
                let count = count.load(Ordering::Relaxed);
                let _ = writeln!(
                    out,
                    "trigate_requests_total{{route=\"{route}\",outcome=\"{outcome}\",reason=\"{reason}\"}} {count}"
                );
            }
        }
        out.push_str("# HELP trigate_responses_total Responses by status.\n# TYPE trigate_responses_total counter\n");
        let counts = self.statuses.0.iter().map(|count| count.load(Ordering::Relaxed));
        for (status, count) in counts.enumerate().filter(|(_, count)| *count > 0) {
            let _ = writeln!(out, "trigate_responses_total{{status=\"{status}\"}} {count}");
        }
        out.push_str("# HELP trigate_connections_refused_total Connections refused below a request.\n# TYPE trigate_connections_refused_total counter\n");
        for (code, count) in self.connections.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(out, "trigate_connections_refused_total{{code=\"{code}\"}} {count}");
        }
    }

    fn render_latency(&self, out: &mut String) {
        out.push_str(
            "# HELP trigate_request_seconds From head to end of body.\n# TYPE trigate_request_seconds histogram\n",
        );
        let mut sum = 0;
        for (slot, bound) in self.latency.iter().zip(BUCKETS) {
            sum += slot.load(Ordering::Relaxed);
            let _ = writeln!(
                out,
                "trigate_request_seconds_bucket{{le=\"{}\"}} {sum}",
                Duration::from_micros(bound).as_secs_f64()
            );
        }
        let count = self.latency_count.load(Ordering::Relaxed);
        let total = Duration::from_micros(self.latency_sum_us.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(
            out,
            "trigate_request_seconds_bucket{{le=\"+Inf\"}} {count}\ntrigate_request_seconds_sum {total}\ntrigate_request_seconds_count {count}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_adds_up() {
        let metrics = Metrics::default();
        metrics.passage("or\"ders", Outcome::Refused, Some("key.missing"));
        metrics.completed(200, Duration::from_micros(300));
        metrics.completed(200, Duration::from_secs(60));
        metrics.connection_refused("http.parse");
        let text = metrics.render();
        assert!(
            text.contains("trigate_requests_total{route=\"or\\\"ders\",outcome=\"refused\",reason=\"key.missing\"} 1"),
            "{text}"
        );
        assert!(text.contains("trigate_request_seconds_bucket{le=\"10\"} 1"), "{text}");
        assert!(text.contains("trigate_request_seconds_bucket{le=\"+Inf\"} 2"), "{text}");
    }
}
