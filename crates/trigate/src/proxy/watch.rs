//! May this answer still flow? Every open body and tunnel of one core is asked again when something changed that could
//! end it: the feed's position, the lease, its own end in time, silence.
//!
//! INVARIANT: a stream whose credential no longer stands is told to end within [`TICK`] of the change being known here.
//! Costs nothing while nothing flows, and one look at a number for each tick while something does.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;
use trigate_core::{
    Position, Timestamp,
    port::{Clock, Monotonic},
    reason::Reason,
};
use trigate_gates::{Gates, Standing};

/// The bound that the documentation states: 20 ms after the change, on each core.
const TICK: Duration = Duration::from_millis(20);

/// Why a stream was ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What it was admitted by would be refused now.
    Refused(Reason),
    /// Nothing moved for too long.
    Silent,
}

impl End {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.code(),
            Self::Silent => "deadline.silence",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for End {}

/// The open streams of one core.
pub struct Watch {
    gates: Arc<Gates>,
    clock: Arc<dyn Clock>,
    open: RefCell<Open>,
    /// Rung when the first stream opens.
    bell: Notify,
    /// Seconds; read by streams instead of the clock.
    second: Cell<u64>,
    /// As of the last round.
    position: Cell<Position>,
    trusted: Cell<bool>,
    next_end: Cell<Option<Timestamp>>,
}

#[derive(Default)]
struct Open {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    count: usize,
}

struct Entry {
    standing: Option<Standing>,
    ends_at: Option<Timestamp>,
    silence_s: u64,
    moved: u64,
    end: Option<End>,
    waker: Option<Waker>,
}

impl Watch {
    pub fn new(gates: Arc<Gates>, clock: Arc<dyn Clock>) -> Rc<Self> {
        Rc::new(Self {
            gates,
            clock,
            open: RefCell::default(),
            bell: Notify::new(),
            second: Cell::new(0),
            position: Cell::new(Position::default()),
            trusted: Cell::new(true),
            next_end: Cell::new(None),
        })
    }

    /// `standing`: of the permit; `None` where only silence ends it.
    pub fn open(self: &Rc<Self>, standing: Option<Standing>, silence: Duration) -> Watched {
        // A change between the admission and now is nobody's round: asked here.
        let missed = standing.as_ref().filter(|it| it.position() != self.gates.known().position());
        let end = missed.and_then(|it| it.check(&self.gates).err()).map(End::Refused);
        let ends_at = standing.as_ref().and_then(Standing::ends_at);
        let next = [self.next_end.get(), ends_at].into_iter().flatten().min();
        self.next_end.set(next);
        let entry = Entry {
            standing,
            ends_at,
            silence_s: silence.as_secs().max(1),
            moved: self.second.get(),
            end,
            waker: None,
        };
        Watched { watch: Rc::clone(self), key: self.put(entry) }
    }

    fn put(&self, entry: Entry) -> usize {
        let open = &mut *self.open.borrow_mut();
        open.count += 1;
        if open.count == 1 {
            self.bell.notify_one();
        }
        if let Some(key) = open.free.pop()
            && let Some(place) = open.entries.get_mut(key)
        {
            *place = Some(entry);
            return key;
        }
        open.entries.push(Some(entry));
        open.entries.len() - 1
    }

    /// Goes round until it is dropped.
    pub async fn run(self: Rc<Self>) {
        loop {
            if self.open.borrow().count == 0 {
                self.bell.notified().await;
                self.refresh();
            }
            tokio::time::sleep(TICK).await;
            self.round();
        }
    }

    /// The first streams opened while nobody looked at the clock.
    fn refresh(&self) {
        let second = self.clock.monotonic().0 / 1_000_000;
        self.second.set(second);
        for entry in self.open.borrow_mut().entries.iter_mut().flatten() {
            entry.moved = second;
        }
    }

    fn round(&self) {
        let now = self.clock.monotonic();
        let (position, trusted) = (self.gates.known().position(), self.gates.known().trusted(now));
        let due = self.next_end.get().is_some_and(|end| self.clock.now() >= end);
        if self.position.replace(position) != position || self.trusted.replace(trusted) != trusted || due {
            self.judge_all();
        }
        let second = now.0 / 1_000_000;
        if self.second.replace(second) != second {
            self.find_silent(Monotonic(second));
        }
    }

    fn judge_all(&self) {
        let mut next = None;
        for entry in self.open.borrow_mut().entries.iter_mut().flatten().filter(|entry| entry.end.is_none()) {
            let judged = entry.standing.as_ref().map_or(Ok(()), |standing| standing.check(&self.gates));
            match judged {
                Ok(()) => next = [next, entry.ends_at].into_iter().flatten().min(),
                Err(reason) => entry.finish(End::Refused(reason)),
            }
        }
        self.next_end.set(next);
    }

    fn find_silent(&self, second: Monotonic) {
        for entry in self.open.borrow_mut().entries.iter_mut().flatten().filter(|entry| entry.end.is_none()) {
            if second.0.saturating_sub(entry.moved) > entry.silence_s {
                entry.finish(End::Silent);
            }
        }
    }
}

impl Entry {
    fn finish(&mut self, end: End) {
        self.end = Some(end);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One open stream; leaves the round when dropped.
pub struct Watched {
    watch: Rc<Watch>,
    key: usize,
}

impl Watched {
    /// Bytes went by.
    pub fn moved(&self) {
        if let Some(Some(entry)) = self.watch.open.borrow_mut().entries.get_mut(self.key) {
            entry.moved = self.watch.second.get();
        }
    }

    pub fn end(&self) -> Option<End> {
        self.watch.open.borrow().entries.get(self.key)?.as_ref()?.end
    }

    /// Ready when it must end.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<End> {
        let mut open = self.watch.open.borrow_mut();
        let Some(Some(entry)) = open.entries.get_mut(self.key) else { return Poll::Pending };
        if let Some(end) = entry.end {
            return Poll::Ready(end);
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    pub async fn ended(&self) -> End {
        poll_fn(|cx| self.poll(cx)).await
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let entry = {
            let open = &mut *self.watch.open.borrow_mut();
            open.free.push(self.key);
            open.count = open.count.saturating_sub(1);
            open.entries.get_mut(self.key).and_then(Option::take)
        };
        // Outside the borrow: a permit's memory is freed here.
        drop(entry);
    }
}
