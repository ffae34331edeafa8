//! What is written about connections that never became requests? One record each, bounded per second, so that a flood
//! of broken handshakes cannot fill the disk.

use std::{cell::Cell, net::IpAddr, sync::Arc};
use trigate_core::{
    audit::{Connection, Record},
    port::{AuditSink, Clock},
};

const PER_SECOND: u32 = 200;

/// Writes connection records for one core.
pub struct Recorder {
    audit: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    node: String,
    listener: &'static str,
    metrics: Arc<crate::metrics::Metrics>,
    second: Cell<u64>,
    written: Cell<u32>,
    left_out: Cell<u32>,
}

impl Recorder {
    pub fn new(
        audit: Arc<dyn AuditSink>,
        clock: Arc<dyn Clock>,
        node: &str,
        listener: &'static str,
        metrics: Arc<crate::metrics::Metrics>,
    ) -> Self {
        let zero = || Cell::new(0);
        Self {
            audit,
            clock,
            node: node.to_owned(),
            listener,
            metrics,
            second: Cell::new(0),
            written: zero(),
            left_out: zero(),
        }
    }

    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// `code` is stable; `detail` is ours or a library's text, never a peer's bytes.
    pub fn refused(&self, peer: IpAddr, code: &'static str, detail: &str) {
        self.metrics.connection_refused(code);
        let second = self.clock.monotonic().0 / 1_000_000;
        if self.second.replace(second) != second {
            self.written.set(0);
        }
        if self.written.get() >= PER_SECOND {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return;
        }
        self.written.set(self.written.get() + 1);
        let mut detail: String = detail.chars().take(300).collect();
        let left_out = self.left_out.take();
        if left_out > 0 {
            detail.push_str(&format!(" (and {left_out} more before, not recorded singly)"));
        }
        self.audit.note(&Record::Connection(Connection {
            at: self.clock.now(),
            node: self.node.as_str().into(),
            peer,
            listener: self.listener.to_owned(),
            code: code.to_owned(),
            detail,
        }));
    }
}
