//! What time do answers tell? Made once a second. // RFC 9110 §6.6.1

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use trigate_core::port::Clock;

const LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

/// Of one core.
pub struct Dates {
    clock: Arc<dyn Clock>,
    made: Cell<(i64, [u8; LENGTH])>,
}

impl Dates {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, made: Cell::new((i64::MIN, [0; LENGTH])) }
    }

    pub fn now(&self) -> [u8; LENGTH] {
        let second = self.clock.now().seconds();
        let (of, mut text) = self.made.get();
        if of != second {
            let since = Duration::from_secs(u64::try_from(second).unwrap_or(0));
            let made = httpdate::fmt_http_date(UNIX_EPOCH + since);
            text = made.as_bytes().try_into().unwrap_or(text);
            self.made.set((second, text));
        }
        text
    }
}
