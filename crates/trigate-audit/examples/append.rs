//! How many records a second does one chain take? `cargo run -p trigate-audit --release --example append [records] [folder]`

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};
use trigate_audit::{SegmentLog, SegmentSettings, verify};
use trigate_core::{
    Position, Timestamp,
    audit::{Decision, Facts, GateName, GateVerdict, Outcome, Record, Verdict},
    id::{AppId, ClientId, RequestId, SessionId, TenantId, UserId},
    jose::{Algorithm, SigningKey},
    oauth::ScopeSet,
    port::{AuditSink, Clock, Monotonic},
};

struct SystemClock(SystemTime);

#[allow(clippy::disallowed_methods, reason = "an example measures real time")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_795_000_000_000_000)
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic(u64::try_from(now().duration_since(self.0).unwrap_or_default().as_micros()).unwrap_or(u64::MAX))
    }
}

fn record() -> Result<Record, Box<dyn Error>> {
    let passed = |gate| GateVerdict { gate, verdict: Verdict::Passed, reason: None };
    Ok(Record::Decision(Box::new(Decision {
        at: Timestamp::from_micros(1_795_000_000_000_000),
        node: "n1".into(),
        tenant: TenantId::default_tenant(),
        request: RequestId::parse("req_0123456789abcdefghijkl")?,
        trace: None,
        peer: [192, 0, 2, 1].into(),
        method: "GET".into(),
        host: "api.example".to_owned(),
        path: "/api/users/me/orders".to_owned(),
        route: Some("orders".into()),
        outcome: Outcome::Allowed,
        reason: None,
        status: 0,
        gates: [passed(GateName::Identification), passed(GateName::Authentication), passed(GateName::Authorization)],
        facts: Facts {
            application: Some(AppId::parse("app_0123456789abcdefghijkl")?),
            client: Some(ClientId::parse("cli_0123456789abcdefghijkl")?),
            user: Some(UserId::parse("usr_0123456789abcdefghijkl")?),
            session: Some(SessionId::parse("ses_0123456789abcdefghijkl")?),
            scopes: ScopeSet::parse("orders:read profile").unwrap_or_default(),
            ..Facts::default()
        },
        position: Position::default(),
        epoch: 1,
        stale: false,
        exposed: false,
    })))
}

/// Time that this thread had a core for; other programs do not count.
fn on_cpu_ns() -> u64 {
    let read = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    read.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments.next().map_or(Ok(400_000), |text| text.parse())?;
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from).join("trigate-audit-append");
    let key = Arc::new(SigningKey::generate(Algorithm::EdDSA, "checkpoint")?);
    let record = record()?;
    println!("one record is {} bytes of JSON", serde_json::to_vec(&record)?.len());
    for batch in [1, 4, 16] {
        let _ = std::fs::remove_dir_all(&dir);
        let clock = Arc::new(SystemClock(now()));
        let log = SegmentLog::open(&dir, "n1", SegmentSettings::default(), clock, Arc::clone(&key))?;
        let before = on_cpu_ns();
        for _ in 0..records / batch {
            let marks = (0..batch).filter_map(|_| log.reserve()?.append(&record)).fold(None, |_, mark| Some(mark));
            if !marks.is_some_and(|mark| log.flush_to(mark)) {
                return Err("the log takes no records".into());
            }
        }
        println!("one write for {batch}: {} ns of CPU each", on_cpu_ns().saturating_sub(before) / records.max(1));
        log.close()?;
    }
    for (threads, sync) in [(1, false), (2, false), (4, false), (1, true), (4, true)] {
        let _ = std::fs::remove_dir_all(&dir);
        let clock = Arc::new(SystemClock(now()));
        let log = SegmentLog::open(&dir, "n1", SegmentSettings::default(), clock, Arc::clone(&key))?;
        let each = if sync { 500 } else { records / threads };
        let start = now();
        let slowest: Option<Duration> = thread::scope(|scope| {
            let run = || (0..each).map(|_| append(&log, &record, sync)).max();
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).max().flatten()
        });
        report(threads, sync, each * threads, start.elapsed()?);
        println!("    slowest {:?}, refused {}", slowest.unwrap_or_default(), each * threads - log.head().length);
        log.close()?;
        let start = now();
        let verified = verify(&dir, "n1", &[key.verifying_key().clone()], None)?;
        println!(
            "    verified {} records, {} segments, {} checkpoints in {:?}",
            verified.records,
            verified.segments,
            verified.checkpoints,
            start.elapsed()?
        );
    }
    Ok(std::fs::remove_dir_all(&dir)?)
}

fn append(log: &SegmentLog, record: &Record, sync: bool) -> Duration {
    let start = now();
    if let Some(slot) = log.reserve() {
        slot.write(record, sync);
    }
    start.elapsed().unwrap_or_default()
}

fn report(threads: u64, sync: bool, records: u64, took: Duration) {
    let per_second = u128::from(records) * 1_000_000 / took.as_micros().max(1);
    let wall_ns = took.as_nanos() / u128::from(records.max(1));
    println!("{threads} threads, sync {sync}: {per_second} records/s, {wall_ns} ns each");
}
