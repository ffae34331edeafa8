//! The log by real files: written, attacked, killed, filled up.

use crate::{
    Broken, CheckpointKind, Reader, SegmentLog, SegmentSettings, Verified, next_batch, nodes, prune, read_checkpoint,
    sealed_up_to, segments, verify,
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};
use tempfile::TempDir;
use trigate_core::{
    Timestamp,
    audit::{ChainHead, Completion, Connection, Record},
    id::RequestId,
    jose::{Algorithm, SigningKey},
    port::{AuditSink, Mark, testing::StoppedClock},
};

const NODE: &str = "n1";

struct Bench {
    dir: TempDir,
    key: Arc<SigningKey>,
    settings: SegmentSettings,
    clock: StoppedClock,
}

impl Bench {
    fn new(settings: SegmentSettings) -> Self {
        let key = Arc::new(SigningKey::generate(Algorithm::EdDSA, "checkpoint").unwrap());
        let clock = StoppedClock::at(Timestamp::from_seconds(1_795_000_000));
        Self { dir: TempDir::new().unwrap(), key, settings, clock }
    }

    /// Segments of about ten records, checkpoints at seals, opening and closing only.
    fn small() -> Self {
        Self::new(SegmentSettings { segment_bytes: 2048, ..SegmentSettings::default() })
    }

    fn try_open(&self) -> Result<Arc<SegmentLog>, crate::AuditError> {
        let clock = Arc::new(self.clock.clone());
        SegmentLog::open(self.dir.path(), NODE, self.settings.clone(), clock, Arc::clone(&self.key))
    }

    fn open(&self) -> Arc<SegmentLog> {
        self.try_open().unwrap()
    }

    /// Opens, writes `from..to`, closes.
    fn write(&self, from: u64, to: u64) -> ChainHead {
        let log = self.open();
        (from..to).for_each(|number| put(&log, number));
        log.close().unwrap()
    }

    fn verify(&self, expected: Option<ChainHead>) -> Result<Verified, Broken> {
        verify(self.dir.path(), NODE, &[self.key.verifying_key().clone()], expected)
    }

    fn found(&self, expected: Option<ChainHead>) -> Broken {
        self.verify(expected).expect_err("the attack was not found")
    }

    fn seg(&self, number: u64) -> PathBuf {
        self.dir.path().join(NODE).join(format!("{number:08}.seg"))
    }

    fn sig(&self, number: u64) -> PathBuf {
        self.seg(number).with_extension("sig")
    }

    /// First record of a segment.
    fn first(&self, segment: u64) -> u64 {
        segments(self.dir.path(), NODE).unwrap().into_iter().find(|(number, _)| *number == segment).unwrap().1
    }
}

fn record(number: u64) -> Record {
    Record::Completion(Completion {
        at: Timestamp::from_seconds(1_795_000_000),
        node: NODE.into(),
        request: RequestId::parse(&format!("req_{number:022}")).unwrap(),
        status: 200,
        bytes_in: 0,
        bytes_out: number,
        duration_us: 5,
        cut: false,
        ended: None,
    })
}

fn put(log: &SegmentLog, number: u64) {
    assert!(log.reserve().unwrap().write(&record(number), false));
}

fn append(log: &SegmentLog, number: u64) -> Mark {
    log.reserve().unwrap().append(&record(number)).unwrap()
}

fn soon(done: impl Fn() -> bool) -> bool {
    (0..300).any(|_| {
        done() || {
            thread::sleep(Duration::from_millis(10));
            false
        }
    })
}

/// A segment's frames; the first is its header with the magic.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut found) = (8, vec![]);
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        found.push(bytes[at..at + 40 + length].to_vec());
        at += 40 + length;
    }
    found[0].splice(0..0, bytes[..8].to_vec());
    found
}

fn store(path: &Path, frames: &[Vec<u8>]) {
    fs::write(path, frames.concat()).unwrap();
}

/// What a careful attacker writes: payload changed, checksum right.
fn edit(frame: &mut [u8]) {
    let last = frame.len() - 3;
    frame[last] ^= 1;
    let crc = crc32fast::hash(&frame[40..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Computes all links of a segment anew from `head` on.
fn relink(frames: &mut [Vec<u8>], mut head: ChainHead) {
    for frame in frames.iter_mut().skip(1) {
        head = head.append(&frame[40..]);
        frame[8..40].copy_from_slice(&head.hash);
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn store_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[test]
fn a_whole_chain_verifies_and_reads_back() {
    let bench = Bench::small();
    let head = bench.write(0, 50);
    let verified = bench.verify(Some(head)).unwrap();
    assert_eq!((verified.records, verified.head, verified.unsigned), (50, head, 0));
    assert!(verified.closed && !verified.torn && verified.segments > 3);
    let all = next_batch(bench.dir.path(), NODE, 0, 1000).unwrap();
    assert_eq!(all, (0..50).map(|number| (number, record(number))).collect::<Vec<_>>());
    let some = next_batch(bench.dir.path(), NODE, 33, 4).unwrap();
    assert_eq!(some.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [33, 34, 35, 36]);
    assert_eq!(next_batch(bench.dir.path(), NODE, 50, 4).unwrap(), []);
    assert_eq!(nodes(bench.dir.path()).unwrap(), [NODE]);
}

#[test]
fn the_chain_goes_on_after_a_clean_close_and_a_reader_follows_it() {
    let bench = Bench::small();
    bench.write(0, 15);
    let mut reader = Reader::open(bench.dir.path(), NODE, 0).unwrap().unwrap();
    assert_eq!(reader.next_batch(100).unwrap().len(), 15);
    let log = bench.open();
    assert_eq!(log.recovery().records, 15);
    for number in 15..60 {
        put(&log, number);
        assert_eq!(reader.next_batch(100).unwrap(), [(number, record(number))]);
    }
    // Beside a running writer.
    let verified = bench.verify(None).unwrap();
    assert_eq!((verified.records, verified.closed), (60, false));
    log.close().unwrap();
    assert!(!log.reserve().is_some_and(|slot| slot.write(&record(60), false)), "closed is closed");
    assert_eq!(bench.verify(None).unwrap().records, 60);
}

#[test]
fn a08_an_edited_record_is_found() {
    for at in [0, 7, 23, 49] {
        let bench = Bench::small();
        bench.write(0, 50);
        let (segment, first) =
            segments(bench.dir.path(), NODE).unwrap().into_iter().rfind(|(_, first)| *first <= at).unwrap();
        let mut all = frames(&bench.seg(segment));
        edit(&mut all[(at - first) as usize + 1]);
        store(&bench.seg(segment), &all);
        let broken = bench.found(None);
        assert_eq!((broken.index, broken.segment), (at, segment), "{broken}");
    }
}

#[test]
fn a08_a_flipped_bit_is_found_wherever_it_is() {
    let bench = Bench::small();
    bench.write(0, 14);
    let good = fs::read(bench.seg(1)).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(bench.seg(1), &bad).unwrap();
        let broken = bench.found(None);
        assert_eq!(broken.segment, 1, "byte {at}: {broken}");
    }
}

#[test]
fn a08_a_deleted_a_swapped_and_an_inserted_record_are_found() {
    type Attack = fn(&mut Vec<Vec<u8>>);
    let attacks: [(&str, Attack); 3] = [
        ("delete", |all| drop(all.remove(4))),
        ("swap", |all| all.swap(4, 6)),
        ("insert", |all| all.insert(4, all[2].clone())),
    ];
    for (name, attack) in attacks {
        let bench = Bench::small();
        bench.write(0, 50);
        let mut all = frames(&bench.seg(2));
        attack(&mut all);
        store(&bench.seg(2), &all);
        // Frame 0 is the header: frame 4 is the segment's fourth record.
        assert_eq!(bench.found(None).index, bench.first(2) + 3, "{name}");
    }
}

#[test]
fn a08_an_edit_with_every_later_link_made_anew_is_found_by_the_checkpoint() {
    let bench = Bench::small();
    let head = bench.write(0, 6);
    let mut all = frames(&bench.seg(1));
    edit(&mut all[3]);
    relink(&mut all, ChainHead::start(NODE));
    store(&bench.seg(1), &all);
    let broken = bench.found(None);
    assert!(broken.what.contains("checkpoint"), "{broken}");
    // Signed as one lot: the first of it is named.
    assert_eq!(broken.index, 0);

    // Without the checkpoint that closed the log nothing inside shows it; the head kept outside does.
    store_lines(&bench.sig(1), &lines(&bench.sig(1))[..1]);
    assert!(bench.verify(None).is_ok_and(|verified| !verified.closed));
    assert!(bench.found(Some(head)).what.contains("expected head"));
}

#[test]
fn a08_a_cut_tail_is_found_by_the_last_checkpoint_and_by_a_head_outside() {
    let bench = Bench::small();
    let head = bench.write(0, 50);
    let last = segments(bench.dir.path(), NODE).unwrap().last().unwrap().0;
    let all = frames(&bench.seg(last));
    store(&bench.seg(last), &all[..all.len() - 2]);
    let broken = bench.found(None);
    assert_eq!(broken.index, 48, "{broken}");
    // Nor does the log open: nothing may be written behind a cut.
    assert!(matches!(bench.try_open(), Err(crate::AuditError::Broken(broken)) if broken.index == 48));

    // The checkpoints cut as well: only the head outside knows.
    store_lines(&bench.sig(last), &[]);
    assert!(bench.verify(None).is_ok());
    let broken = bench.found(Some(head));
    assert_eq!(broken.index, 48, "{broken}");
    let mut bench = bench;
    bench.settings.expected = Some(head);
    assert!(matches!(bench.try_open(), Err(crate::AuditError::Broken(broken)) if broken.index == 48));
}

#[test]
fn a08_swapped_removed_and_foreign_segments_are_found() {
    let bench = Bench::small();
    bench.write(0, 50);
    let (second, third) = (fs::read(bench.seg(2)).unwrap(), fs::read(bench.seg(3)).unwrap());
    fs::write(bench.seg(2), &third).unwrap();
    fs::write(bench.seg(3), &second).unwrap();
    let broken = bench.found(None);
    assert_eq!((broken.index, broken.segment), (bench.first(3), 2), "file 3 holds segment 2 now: {broken}");
    fs::write(bench.seg(2), &second).unwrap();
    fs::remove_file(bench.seg(3)).unwrap();
    let broken = bench.found(None);
    assert_eq!(broken.segment, 3, "{broken}");
    fs::write(bench.seg(3), &third).unwrap();
    bench.verify(None).unwrap();

    // The last segments with their checkpoints: the seal before them says that something followed.
    let last = segments(bench.dir.path(), NODE).unwrap().last().unwrap().0;
    let first = bench.first(last);
    fs::remove_file(bench.seg(last)).unwrap();
    fs::remove_file(bench.sig(last)).unwrap();
    let broken = bench.found(None);
    assert_eq!((broken.index, broken.segment), (first, last), "{broken}");
    assert!(bench.try_open().is_err());

    // Another node's segment under this node's name.
    let other = Bench::small();
    SegmentLog::open(other.dir.path(), "n2", other.settings.clone(), Arc::new(other.clock.clone()), other.key.clone())
        .unwrap()
        .close()
        .unwrap();
    fs::copy(other.dir.path().join("n2/00000001.seg"), bench.seg(1)).unwrap();
    assert_eq!(bench.found(None).segment, 1);
}

#[test]
fn a08_yesterdays_file_is_found() {
    let bench = Bench::small();
    bench.write(0, 5);
    let (yesterday, signed_yesterday) = (fs::read(bench.seg(1)).unwrap(), fs::read(bench.sig(1)).unwrap());
    let head = bench.write(5, 8);
    let (today, signed_today) = (fs::read(bench.seg(1)).unwrap(), fs::read(bench.sig(1)).unwrap());
    fs::write(bench.seg(1), &yesterday).unwrap();
    assert_eq!(bench.found(None).index, 5);
    // Both files of yesterday are a consistent past: the head outside knows better.
    fs::write(bench.sig(1), &signed_yesterday).unwrap();
    assert!(bench.verify(None).is_ok());
    assert_eq!(bench.found(Some(head)).index, 5);
    // Today's records with yesterday's checkpoints: the log was closed before them.
    fs::write(bench.seg(1), &today).unwrap();
    assert_eq!(bench.found(None).index, 5);
    fs::write(bench.sig(1), &signed_today).unwrap();
    bench.verify(Some(head)).unwrap();

    // The whole first segment of yesterday, when others follow.
    bench.write(8, 50);
    fs::write(bench.seg(1), &yesterday).unwrap();
    let broken = bench.found(None);
    assert_eq!((broken.index, broken.segment), (5, 1), "{broken}");
}

#[test]
fn a08_edited_removed_and_moved_checkpoints_are_found() {
    let bench = Bench::new(SegmentSettings { checkpoint_records: 4, ..SegmentSettings::default() });
    bench.write(0, 5);
    bench.write(5, 9);
    bench.write(9, 60);
    let good = lines(&bench.sig(1));
    assert!(good.len() >= 6);
    let check = |bad: Vec<String>, why: &str| {
        store_lines(&bench.sig(1), &bad);
        let broken = bench.found(None);
        assert!(broken.what.contains("checkpoint"), "{why}: {broken}");
    };
    for gone in 0..good.len() - 1 {
        check([&good[..gone], &good[gone + 1..]].concat(), "removed");
    }
    let mut swapped = good.clone();
    swapped.swap(1, 2);
    check(swapped, "swapped");
    let mut edited = good.clone();
    // Inside the signature: the header's first part would no longer parse, which proves less.
    let at = edited[2].len() - 20;
    let other = if &edited[2][at..=at] == "A" { "B" } else { "A" };
    edited[2].replace_range(at..=at, other);
    check(edited, "edited");
    // Cut off the end: more unsigned records than the last one allows.
    check(good[..2].to_vec(), "cut");
    check(vec![], "all");
    let stranger = SigningKey::generate(Algorithm::EdDSA, "checkpoint").unwrap();
    assert!(verify(bench.dir.path(), NODE, &[stranger.verifying_key().clone()], None).is_err());
    store_lines(&bench.sig(1), &good);
    bench.verify(None).unwrap();
}

#[test]
fn another_statement_of_the_same_key_is_no_checkpoint() {
    let bench = Bench::small();
    let log = bench.open();
    put(&log, 0);
    let outside = log.signed_head().unwrap();
    let keys = [bench.key.verifying_key().clone()];
    let checkpoint = read_checkpoint(&outside, NODE, &keys).unwrap();
    assert_eq!((checkpoint.kind, checkpoint.head()), (CheckpointKind::Outside, Some(log.head())));
    assert!(read_checkpoint(&outside, "n2", &keys).is_err());
    let token = bench.key.sign_jws("at+jwt", &checkpoint).unwrap();
    assert!(read_checkpoint(&token, NODE, &keys).is_err());
}

#[test]
fn a_torn_entry_is_dropped_and_the_chain_goes_on() {
    type Tail = fn(&[u8]) -> Vec<u8>;
    let tails: [Tail; 5] = [
        |frame| frame[..1].to_vec(),
        |frame| frame[..39].to_vec(),
        |frame| frame[..frame.len() - 1].to_vec(),
        |_| vec![0; 4096],
        |frame| [&frame[..60], &[0; 4096]].concat(),
    ];
    for (number, tail) in tails.into_iter().enumerate() {
        let bench = Bench::new(SegmentSettings::default());
        let log = bench.open();
        (0..5).for_each(|number| put(&log, number));
        let frame = frames(&bench.seg(1))[2].clone();
        // As if killed: the log is neither closed nor synced again.
        let crashed = TempDir::new().unwrap();
        fs::create_dir(crashed.path().join(NODE)).unwrap();
        for file in [bench.seg(1), bench.sig(1)] {
            fs::copy(&file, crashed.path().join(NODE).join(file.file_name().unwrap())).unwrap();
        }
        let bench = Bench {
            dir: crashed,
            key: bench.key.clone(),
            settings: bench.settings.clone(),
            clock: bench.clock.clone(),
        };
        let mut file = fs::File::options().append(true).open(bench.seg(1)).unwrap();
        file.write_all(&tail(&frame)).unwrap();
        assert!(bench.verify(None).unwrap().torn, "tail {number}");
        assert_eq!(next_batch(bench.dir.path(), NODE, 0, 10).unwrap().len(), 5);
        let log = bench.open();
        assert_eq!(log.recovery().records, 5);
        assert_eq!(log.recovery().dropped_bytes, tail(&frame).len() as u64);
        put(&log, 5);
        log.close().unwrap();
        let verified = bench.verify(None).unwrap();
        assert_eq!((verified.records, verified.torn, verified.dropped_bytes), (6, false, tail(&frame).len() as u64));
    }
}

#[test]
fn damage_that_is_no_torn_entry_is_not_written_over_unless_told() {
    let mut bench = Bench::new(SegmentSettings::default());
    bench.write(0, 5);
    let log = bench.open();
    (5..9).for_each(|number| put(&log, number));
    // Neither closed nor signed again: copied as a power cut would leave it.
    let (seg, sig) = (fs::read(bench.seg(1)).unwrap(), fs::read(bench.sig(1)).unwrap());
    drop(log);
    fs::write(bench.seg(1), seg).unwrap();
    fs::write(bench.sig(1), sig).unwrap();
    let mut all = frames(&bench.seg(1));
    all[8][45] ^= 1;
    store(&bench.seg(1), &all);
    assert!(matches!(bench.try_open(), Err(crate::AuditError::Broken(broken)) if broken.index == 7));
    bench.settings.accept_damaged_tail = true;
    let log = bench.open();
    assert_eq!(log.recovery().records, 7);
    log.close().unwrap();
    assert!(bench.verify(None).unwrap().dropped_bytes > 0);
    // What a checkpoint covers is never given up.
    let mut all = frames(&bench.seg(1));
    all[3][45] ^= 1;
    store(&bench.seg(1), &all);
    assert!(bench.try_open().is_err());
}

#[test]
fn killed_between_the_new_segment_and_the_seal_it_opens_and_seals() {
    let bench = Bench::small();
    bench.write(0, 50);
    for segment in 3..=segments(bench.dir.path(), NODE).unwrap().last().unwrap().0 {
        fs::remove_file(bench.seg(segment)).unwrap();
        fs::remove_file(bench.sig(segment)).unwrap();
    }
    // Segment 2 just begun, segment 1 without its seal but for a torn line of it.
    let first = bench.first(2);
    store(&bench.seg(2), &frames(&bench.seg(2))[..1]);
    fs::write(bench.sig(2), "").unwrap();
    let kept = lines(&bench.sig(1));
    store_lines(&bench.sig(1), &kept[..kept.len() - 1]);
    fs::File::options().append(true).open(bench.sig(1)).unwrap().write_all(b"eyJhbGciO").unwrap();
    assert_eq!(bench.verify(None).unwrap().records, first, "as a verifier beside the writer may see it");
    bench.write(first, first + 3);
    let verified = bench.verify(None).unwrap();
    assert_eq!((verified.records, verified.segments), (first + 3, 2));
}

#[test]
fn eight_threads_lose_nothing_and_the_chain_is_whole() {
    let bench = Bench::new(SegmentSettings { segment_bytes: 4 << 20, ..SegmentSettings::default() });
    let log = bench.open();
    thread::scope(|scope| {
        for worker in 0..8 {
            let log = &log;
            let numbers = worker * 10_000..(worker + 1) * 10_000;
            // Half of them answer one request at a time, half sixteen.
            scope.spawn(move || match worker % 2 {
                0 => numbers.for_each(|number| put(log, number)),
                _ => numbers.step_by(16).for_each(|first| {
                    let marks: Vec<_> = (first..first + 16).map(|number| append(log, number)).collect();
                    assert!(marks.iter().rev().all(|mark| log.flush_to(*mark)));
                }),
            });
        }
        // Verified while it is written.
        for _ in 0..30 {
            bench.verify(None).unwrap();
        }
    });
    let head = log.close().unwrap();
    let verified = bench.verify(Some(head)).unwrap();
    assert_eq!((verified.records, verified.closed), (80_000, true));
    assert!(verified.segments > 3 && verified.checkpoints > verified.segments);
    let reader = Reader::open(bench.dir.path(), NODE, 0).unwrap().unwrap();
    let numbers = reader.map(|entry| match entry.unwrap().record().unwrap() {
        Record::Completion(completion) => completion.bytes_out,
        other => panic!("{other:?}"),
    });
    // Each thread's records in the order in which it appended them.
    let mut next: Vec<u64> = (0..8).map(|worker| worker * 10_000).collect();
    for number in numbers {
        let next = &mut next[(number / 10_000) as usize];
        assert_eq!(number, *next);
        *next += 1;
    }
    assert!((1..=8).map(|worker| worker * 10_000).eq(next));
}

#[test]
fn a_flush_takes_all_that_was_appended_before_and_rotation_keeps_the_order() {
    let bench = Bench::small();
    let log = bench.open();
    let marks: Vec<Mark> = (0..50).map(|number| append(&log, number)).collect();
    assert!(log.flush_to(marks[49]));
    assert_eq!(log.head().length, 50);
    assert!(marks.iter().all(|mark| log.flush_to(*mark)));
    let head = log.close().unwrap();
    let verified = bench.verify(Some(head)).unwrap();
    assert!(verified.segments > 3);
    let all = next_batch(bench.dir.path(), NODE, 0, 100).unwrap();
    assert_eq!(all, (0..50).map(|number| (number, record(number))).collect::<Vec<_>>());
}

#[test]
fn what_nobody_waits_for_is_written_soon() {
    let bench = Bench::new(SegmentSettings::default());
    let log = bench.open();
    append(&log, 0);
    log.note(&record(1));
    assert!(soon(|| next_batch(bench.dir.path(), NODE, 0, 9).unwrap().len() == 2));
    assert_eq!(log.head().length, 2);
}

#[test]
fn what_was_appended_before_a_failure_never_counts_as_written() {
    let mut bench = Bench::new(SegmentSettings::default());
    // The worker looks after the files when something was appended; not sooner.
    bench.settings.sync_within = Duration::from_secs(2);
    let log = bench.open();
    let written = append(&log, 0);
    assert!(log.flush_to(written));
    let dropped = append(&log, 1);
    log.note(&record(2));
    let aside = bench.seg(1).with_extension("aside");
    fs::rename(bench.seg(1), &aside).unwrap();
    assert!(matches!(log.look_at_files(), Err(crate::AuditError::Io { .. })));
    assert!(!log.flush_to(dropped) && log.reserve().is_none());
    fs::rename(&aside, bench.seg(1)).unwrap();
    assert!(soon(|| log.reserve().is_some()));
    // The same numbers again, for other records.
    let next = append(&log, 3);
    assert_eq!((next.length, dropped.length), (2, 2));
    assert!(log.flush_to(next) && log.sync_to(next));
    assert!(!log.flush_to(dropped) && !log.sync_to(dropped), "another's record under the same number");
    assert!(log.flush_to(written), "written before the failure");
    assert_eq!(log.health().lost_notes, 1);
    log.close().unwrap();
    let all = next_batch(bench.dir.path(), NODE, 0, 9).unwrap();
    assert_eq!(all, [(0, record(0)), (1, record(3))]);
    bench.verify(None).unwrap();
}

#[test]
fn a_segment_is_sealed_when_it_is_old_and_has_records() {
    let bench = Bench::new(SegmentSettings::default());
    let log = bench.open();
    put(&log, 0);
    assert_eq!(sealed_up_to(bench.dir.path(), NODE).unwrap(), 0);
    bench.clock.advance_s(601);
    assert!(soon(|| sealed_up_to(bench.dir.path(), NODE).unwrap() == 1));
    // Nothing new: no segment after segment.
    bench.clock.advance_s(601);
    thread::sleep(Duration::from_millis(1_200));
    assert_eq!(segments(bench.dir.path(), NODE).unwrap().len(), 2);
    put(&log, 1);
    log.close().unwrap();
    assert_eq!(bench.verify(None).unwrap().records, 2);
}

#[test]
fn slots_are_bounded_and_come_back() {
    let bench = Bench::new(SegmentSettings { slots: 3, ..SegmentSettings::default() });
    let log = bench.open();
    let mut held: Vec<_> = (0..3).map(|_| log.reserve().unwrap()).collect();
    assert!(log.reserve().is_none());
    assert!(held.pop().unwrap().write(&record(0), true));
    drop(held.pop());
    assert_eq!(log.health().free_slots, 2);
    assert!(log.reserve().is_some());
    assert_eq!(log.health().synced, 1, "`sync` means on stable storage");
}

#[test]
fn a_record_is_synced_soon_and_signed_when_due() {
    let bench = Bench::new(SegmentSettings::default());
    let log = bench.open();
    put(&log, 0);
    let wait = |done: &dyn Fn() -> bool| {
        (0..200).any(|_| {
            done() || {
                thread::sleep(Duration::from_millis(10));
                false
            }
        })
    };
    assert!(wait(&|| log.health().synced == 1));
    assert_eq!(log.health().signed, 0);
    bench.clock.advance_s(11);
    put(&log, 1);
    assert!(wait(&|| log.health().signed == 2));
}

#[test]
fn one_writer_per_node_and_no_name_that_leads_elsewhere() {
    let bench = Bench::small();
    let log = bench.open();
    assert!(matches!(bench.try_open(), Err(crate::AuditError::Locked(_))));
    log.close().unwrap();
    drop(log);
    bench.open();
    for node in ["", "..", "a/b", "a\\b", ".hidden", "n\0", &"n".repeat(65)] {
        let opened = SegmentLog::open(
            bench.dir.path(),
            node,
            bench.settings.clone(),
            Arc::new(bench.clock.clone()),
            bench.key.clone(),
        );
        assert!(matches!(opened, Err(crate::AuditError::BadNode(_))), "{node:?}");
    }
}

#[test]
fn a_segment_taken_from_under_a_running_log_stops_it() {
    let bench = Bench::new(SegmentSettings::default());
    let log = bench.open();
    put(&log, 0);
    let yesterday = fs::read(bench.seg(1)).unwrap();
    put(&log, 1);
    let aside = bench.seg(1).with_extension("aside");
    fs::rename(bench.seg(1), &aside).unwrap();
    fs::write(bench.seg(1), yesterday).unwrap();
    let stopped = || log.reserve().is_none();
    assert!((0..300).any(|_| stopped() || {
        thread::sleep(Duration::from_millis(10));
        false
    }));
    assert!(log.health().failure.unwrap().contains("replaced"));
    // Put back, it goes on.
    fs::rename(&aside, bench.seg(1)).unwrap();
    assert!((0..300).any(|_| !stopped() || {
        thread::sleep(Duration::from_millis(10));
        false
    }));
    put(&log, 2);
    log.close().unwrap();
    assert_eq!(bench.verify(None).unwrap().records, 3);
}

#[test]
fn pruning_keeps_the_chain_provable_and_deletion_is_not_pruning() {
    let bench = Bench::small();
    let head = bench.write(0, 50);
    let copy = |number| (fs::read(bench.seg(number)).unwrap(), fs::read(bench.sig(number)).unwrap());
    let third = copy(3);
    let first = bench.first(3);
    let now = Timestamp::from_seconds(1_795_100_000);
    let seal = lines(&bench.sig(2)).pop().unwrap();
    assert_eq!(prune(bench.dir.path(), NODE, 3, &bench.key, &[], now).unwrap(), 2);
    let verified = bench.verify(Some(head)).unwrap();
    assert_eq!((verified.first, verified.records), (first, 50 - first));
    assert_eq!(next_batch(bench.dir.path(), NODE, 0, 1).unwrap()[0].0, first);
    // One more segment removed by hand.
    fs::remove_file(bench.seg(3)).unwrap();
    assert_eq!(bench.found(None).index, first);
    // With a seal in place of the statement.
    let statement = fs::read(bench.dir.path().join(NODE).join("pruned.jws")).unwrap();
    fs::write(bench.dir.path().join(NODE).join("pruned.jws"), seal).unwrap();
    assert!(bench.found(None).what.contains("not a statement of pruning"));
    fs::write(bench.dir.path().join(NODE).join("pruned.jws"), statement).unwrap();
    fs::write(bench.seg(3), third.0).unwrap();
    // Goes on, prunes again, and never beyond the last segment.
    bench.write(50, 80);
    let last = segments(bench.dir.path(), NODE).unwrap().last().unwrap().0;
    assert!(prune(bench.dir.path(), NODE, last + 1, &bench.key, &[], now).is_err());
    assert!(prune(bench.dir.path(), NODE, 2, &bench.key, &[], now).is_err());
    prune(bench.dir.path(), NODE, last, &bench.key, &[], now).unwrap();
    assert_eq!(bench.verify(None).unwrap().segments, 1);
    bench.write(80, 90);
    assert_eq!(bench.verify(None).unwrap().head.length, 90);
}

#[test]
fn checkpoints_of_a_retired_key_still_count() {
    let mut bench = Bench::small();
    bench.write(0, 5);
    let old = bench.key.verifying_key().clone();
    bench.key = Arc::new(SigningKey::generate(Algorithm::EdDSA, "checkpoint-2").unwrap());
    assert!(bench.try_open().is_err(), "nobody knows who signed what is there");
    bench.settings.former_keys = vec![old.clone()];
    bench.write(5, 9);
    let keys = [bench.key.verifying_key().clone(), old];
    assert_eq!(verify(bench.dir.path(), NODE, &keys, None).unwrap().records, 9);
}

/// Run by the tests below in a process of its own: writes until it is refused, then until it is not; or until killed.
#[test]
fn child_writes_until_the_disk_is_full() {
    let Some(dir) = std::env::var_os("TRIGATE_AUDIT_CHILD") else { return };
    let (dir, key) = (PathBuf::from(dir), SigningKey::generate(Algorithm::EdDSA, "checkpoint").unwrap());
    fs::write(dir.join("key"), key.to_pkcs8().unwrap().as_slice()).unwrap();
    let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_795_000_000)));
    let log = SegmentLog::open(&dir, NODE, SegmentSettings::default(), clock, Arc::new(key)).unwrap();
    if std::env::var_os("TRIGATE_AUDIT_ENDLESS").is_some() {
        // Seven requests are answered together.
        for first in (0..).step_by(7) {
            let marks: Vec<Mark> = (first..first + 7).map(|number| append(&log, number)).collect();
            assert!(log.flush_to(marks[6]));
            println!("\nanswered {}", first + 6);
        }
    }
    let write = |number| log.reserve().is_some_and(|slot| slot.write(&record(number), false));
    let mut written = 0;
    let dropped = loop {
        // Three at a time: the write that fills the disk ends in the midst of one.
        let marks: Vec<Mark> = (written..written + 3).map(|number| append(&log, number)).collect();
        if !log.flush_to(marks[2]) {
            break marks;
        }
        written += 3;
    };
    println!("\nfull after {written}");
    assert!(log.reserve().is_none() && log.health().failure.is_some());
    assert_eq!(log.head().length, written);
    log.note(&Record::Connection(Connection {
        at: Timestamp::from_seconds(1),
        node: NODE.into(),
        peer: [127, 0, 0, 1].into(),
        listener: "gate".to_owned(),
        code: "tls.handshake".to_owned(),
        detail: String::new(),
    }));
    assert_eq!(log.health().lost_notes, 1);
    let waited = (0..1000).any(|_| {
        log.reserve().is_some() || {
            thread::sleep(Duration::from_millis(10));
            false
        }
    });
    assert!(waited, "room came back and nobody noticed");
    (written..written + 10).for_each(|number| assert!(write(number)));
    assert!(!dropped.iter().any(|mark| log.flush_to(*mark)));
    log.close().unwrap();
    println!("\nwent on to {}", written + 10);
}

fn child(dir: &Path, limit: &str) -> std::process::Child {
    // `ulimit -f` counts 512-byte blocks; the signal is ignored so that write(2) answers EFBIG, as it does ENOSPC.
    let script =
        format!("{limit} trap '' XFSZ; exec \"$0\" --exact tests::child_writes_until_the_disk_is_full --nocapture");
    Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("TRIGATE_AUDIT_CHILD", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn read_until(child: &mut std::process::Child, mark: &str) -> u64 {
    use std::io::BufRead as _;
    let mut input = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert!(input.read_line(&mut line).unwrap() > 0, "the child ended before `{mark}`");
        if let Some(number) = line.trim().strip_prefix(mark) {
            child.stdout = Some(input.into_inner());
            return number.trim().parse().unwrap();
        }
    }
}

#[test]
fn a09_a_full_disk_stops_the_log_and_room_starts_it_again() {
    let dir = TempDir::new().unwrap();
    let mut child = child(dir.path(), "ulimit -S -f 200;");
    let written = read_until(&mut child, "full after");
    assert!(written > 100);
    // What is there while the disk is full is whole: no partial entry.
    let key = fs::read(dir.path().join("key")).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::EdDSA, "checkpoint", &key).unwrap();
    let keys = [key.verifying_key().clone()];
    assert_eq!(verify(dir.path(), NODE, &keys, None).unwrap().records, written);
    let raised = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &child.id().to_string()]).status();
    if !raised.is_ok_and(|status| status.success()) {
        child.kill().unwrap();
        child.wait().unwrap();
        return;
    }
    assert!(child.wait().unwrap().success());
    let verified = verify(dir.path(), NODE, &keys, None).unwrap();
    assert_eq!((verified.records, verified.closed), (written + 10, true));
}

#[test]
fn killed_while_writing_no_record_that_was_answered_is_lost() {
    use std::io::{BufRead as _, BufReader};
    for lines in [1, 300, 5000] {
        let dir = TempDir::new().unwrap();
        let mut child = child(dir.path(), "TRIGATE_AUDIT_ENDLESS=1; export TRIGATE_AUDIT_ENDLESS;");
        let answered = |line: String| line.strip_prefix("answered ")?.parse::<u64>().ok();
        let mut output =
            BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).filter_map(answered);
        let mut last = output.by_ref().take(lines).last().unwrap();
        child.kill().unwrap();
        // What was answered between our look and the kill.
        last = output.last().unwrap_or(last);
        child.wait().unwrap();
        let key = fs::read(dir.path().join("key")).unwrap();
        let key = Arc::new(SigningKey::from_pkcs8(Algorithm::EdDSA, "checkpoint", &key).unwrap());
        let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_795_000_000)));
        let log = SegmentLog::open(dir.path(), NODE, SegmentSettings::default(), clock, key.clone()).unwrap();
        assert!(log.recovery().records > last, "{} records for {last} answered", log.recovery().records);
        put(&log, log.recovery().records);
        let head = log.close().unwrap();
        assert_eq!(verify(dir.path(), NODE, &[key.verifying_key().clone()], Some(head)).unwrap().records, head.length);
    }
}
