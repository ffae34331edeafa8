//! Has it taken too long? A deadline that every request moves and hardly any reaches: the timer behind it is set once, and
//! moved when it rings too soon.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Default)]
pub struct Alarm {
    /// `None`: not set.
    until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Nothing is waited for; the next look sets it anew.
    pub const fn stop(&mut self) {
        self.until = None;
    }

    /// Ready when `within` has gone by since the first look after [`Self::stop`].
    pub fn poll(&mut self, within: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + within);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        // INVARIANT: it never rings after `until`: that was later each time, and a timer that is set for later is moved.
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn it_rings_when_the_last_wait_is_over_and_not_before() {
        let mut alarm = Alarm::default();
        let wait = async |alarm: &mut Alarm, ms| {
            alarm.stop();
            let start = Instant::now();
            poll_fn(|cx| alarm.poll(Duration::from_millis(ms), cx)).await;
            start.elapsed() >= Duration::from_millis(ms)
        };
        // Set for the first wait, it is still set for it when the second begins, and rings too soon.
        assert!(tokio::time::timeout(Duration::from_millis(20), wait(&mut alarm, 50)).await.is_err());
        assert!(wait(&mut alarm, 60).await);
        assert!(wait(&mut alarm, 10).await);
        // A shorter wait than the one that it is set for.
        assert!(tokio::time::timeout(Duration::from_millis(1), wait(&mut alarm, 3_600_000)).await.is_err());
        assert!(wait(&mut alarm, 10).await);
    }
}
