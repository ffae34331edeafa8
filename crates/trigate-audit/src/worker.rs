//! What must happen soon but not on the road? Writing what nobody waits for, syncing, signing, looking whether the files
//! are still there.

use crate::chain::Inner;
use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

const IDLE: Duration = Duration::from_secs(1);
const FAILED: Duration = Duration::from_millis(100);

pub fn start(inner: Arc<Inner>) -> io::Result<JoinHandle<()>> {
    let name = "audit-sync".to_owned();
    let for_thread = Arc::clone(&inner);
    let handle = thread::Builder::new().name(name).spawn(move || run(&for_thread))?;
    // Set before anybody else has the log: no record is written before there is somebody to wake.
    let _ = inner.waker.set(handle.thread().clone());
    Ok(handle)
}

fn run(inner: &Inner) {
    while !inner.stop.load(Ordering::Acquire) {
        if inner.writing.load(Ordering::Acquire) {
            thread::park_timeout(IDLE);
        } else {
            thread::park_timeout(FAILED);
            inner.probe();
            continue;
        }
        if inner.dirty.load(Ordering::Acquire) {
            // Half of the time allowed gathers records, the other half is the disk's. What nobody waits for (completions)
            // is in the kernel's hands after a quarter.
            thread::sleep(inner.settings.sync_within / 4);
            let _ = inner.flush();
            thread::sleep(inner.settings.sync_within / 4);
            inner.dirty.store(false, Ordering::Release);
        }
        // Each failure is kept in the log's health, and stops it.
        let _ = inner
            .sync()
            .and_then(|()| inner.sign_if_due())
            .and_then(|()| inner.check_in_place())
            .and_then(|()| inner.seal_if_due());
    }
}
