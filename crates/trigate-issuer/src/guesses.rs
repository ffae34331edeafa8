//! How often may somebody be wrong? Counts failures alone, in memory, so that the right answer costs nothing and a
//! guesser is stopped before the next guess is judged.

use std::{collections::HashMap, sync::Mutex};
use trigate_core::{Timestamp, port::AttemptRules};

/// Guessers that are remembered at once. Beyond that those who are still below the limit are forgotten first: names that
/// cost nothing to make up must not wash away who is being stopped.
const CAPACITY: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Guesses {
    rules: AttemptRules,
    wrong: Mutex<HashMap<String, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Timestamp,
    wrong: u32,
}

impl Guesses {
    pub(crate) fn new(rules: AttemptRules) -> Self {
        Self { rules, wrong: Mutex::default() }
    }

    /// Seconds to wait when `who` has been wrong too often, before anything is judged.
    pub(crate) fn check(&self, who: &str, now: Timestamp) -> Result<(), u32> {
        let wrong = self.lock();
        match wrong.get(who).filter(|window| self.is_open(window, now)) {
            Some(window) if window.wrong >= self.rules.max => Err(self.remaining_s(window, now)),
            _ => Ok(()),
        }
    }

    pub(crate) fn note_wrong(&self, who: &str, now: Timestamp) {
        let mut wrong = self.lock();
        if wrong.len() >= CAPACITY {
            wrong.retain(|_, window| self.is_open(window, now));
        }
        if wrong.len() >= CAPACITY {
            wrong.retain(|_, window| window.wrong >= self.rules.max);
        }
        if wrong.len() >= CAPACITY {
            wrong.clear();
        }
        let window = wrong.entry(who.to_owned()).or_insert(Window { start: now, wrong: 0 });
        if !self.is_open(window, now) {
            *window = Window { start: now, wrong: 0 };
        }
        window.wrong = window.wrong.saturating_add(1);
    }

    fn is_open(&self, window: &Window, now: Timestamp) -> bool {
        now.seconds_since(window.start) < i64::from(self.rules.window_s)
    }

    fn remaining_s(&self, window: &Window, now: Timestamp) -> u32 {
        let left = i64::from(self.rules.window_s) - now.seconds_since(window.start);
        u32::try_from(left.max(1)).unwrap_or(1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Window>> {
        // A panic elsewhere leaves counters that are still counters.
        self.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_wrong_too_often_waits_for_the_window_to_end() {
        let guesses = Guesses::new(AttemptRules { max: 3, window_s: 60 });
        let at = Timestamp::from_seconds;
        for second in 0..3 {
            assert_eq!(guesses.check("a", at(second)), Ok(()));
            guesses.note_wrong("a", at(second));
        }
        assert_eq!(guesses.check("a", at(10)), Err(50));
        assert_eq!(guesses.check("b", at(10)), Ok(()));
        assert_eq!(guesses.check("a", at(60)), Ok(()));
    }

    #[test]
    fn made_up_names_neither_fill_the_memory_nor_free_a_guesser() {
        let guesses = Guesses::new(AttemptRules { max: 3, window_s: 60 });
        let at = Timestamp::from_seconds(0);
        (0..3).for_each(|_| guesses.note_wrong("guesser", at));
        (0..2 * CAPACITY).for_each(|number| guesses.note_wrong(&format!("name{number}"), at));
        assert!(guesses.lock().len() <= CAPACITY);
        assert_eq!(guesses.check("guesser", at), Err(60));
    }
}
