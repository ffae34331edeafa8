//! How do days and months of counting survive this process, and how do several gates count together? Each tells the desk
//! twice a second what it has counted, and hears what all of them have.
//!
//! Nothing waits for it: with the desk away a gate goes on counting by itself, and tells later, once.

use crate::{Gates, follow::OnTrouble, gate1_identification::quota::Quotas};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};
use trigate_core::{
    port::{self, Clock, StoreError},
    quota::{MAX_REPORTED, UsageReport},
};

/// DESIGN: kept in the store at least each second.
const EVERY: Duration = Duration::from_millis(500);
const PAGE: u32 = 1_000;

/// The counters of one process, and the desk that sums them.
pub struct UsageReporter {
    quotas: Arc<Quotas>,
    desk: Arc<dyn port::Quotas>,
    clock: Arc<dyn Clock>,
    /// This process, unlike any other, also of the same name.
    holder: String,
    on_trouble: OnTrouble,
    /// One report at a time: a later one that came first would make the earlier look taken.
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    number: u64,
    /// On its way, or its answer was lost: it is sent again as it was.
    pending: Option<UsageReport>,
}

impl UsageReporter {
    pub fn new(
        gates: &Gates,
        desk: Arc<dyn port::Quotas>,
        clock: Arc<dyn Clock>,
        holder: String,
        on_trouble: OnTrouble,
    ) -> Self {
        Self { quotas: Arc::clone(&gates.0.quotas), desk, clock, holder, on_trouble, turn: Mutex::default() }
    }

    /// Learns what was counted before this process began.
    pub async fn learn(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut after = None;
        loop {
            let page = self.desk.list_usage(now, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.application.clone(), last.period));
            self.quotas.learn(&page);
        }
    }

    /// Tells what was counted, until there is nothing more to tell.
    pub async fn report(&self) -> Result<(), StoreError> {
        let mut turn = self.turn.lock().await;
        loop {
            if turn.pending.is_none() {
                let counted = self.quotas.draw();
                if counted.is_empty() {
                    return Ok(());
                }
                turn.number += 1;
                turn.pending = Some(UsageReport { holder: self.holder.clone(), number: turn.number, counted });
            }
            let Some(report) = &turn.pending else { return Ok(()) };
            let sums = self.desk.report_usage(report).await?;
            self.quotas.settle(&report.counted, &sums);
            let was_full = report.counted.len() + 1 >= MAX_REPORTED;
            turn.pending = None;
            // What came meanwhile waits for the next time, or this would never end.
            if !was_full {
                return Ok(());
            }
        }
    }

    /// Learns, then reports until told to end, and once more then.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let (mut learned, mut errors) = (false, 0u32);
        loop {
            let going = crate::follow::pause(&mut stop, EVERY).await;
            let outcome = match self.report().await {
                Ok(()) if !learned => self.learn().await.map(|()| learned = true),
                outcome => outcome,
            };
            match outcome {
                Ok(()) => errors = 0,
                Err(error) => {
                    errors = errors.saturating_add(1);
                    (self.on_trouble)(&error, errors);
                }
            }
            if !going {
                return;
            }
        }
    }
}
