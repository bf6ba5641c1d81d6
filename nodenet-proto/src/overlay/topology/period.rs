//! Period of a maintenance task, which grows while nothing changes and is reset on news.

use std::time::{Duration, Instant};

use crate::env::{PERIOD_JITTER_PERCENT, Random};

/// A period that lengthens while there is nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    /// When the task is due next.
    pub(crate) due: Instant,
    wait: Duration,
}

impl Period {
    /// Due for the first time at `due`, and again after about `wait`.
    pub(crate) fn new(due: Instant, wait: Duration) -> Self {
        Self { due, wait }
    }

    /// The task was done now, without news: the period grows by this factor, up to `max`.
    pub(crate) fn slow_down(&mut self, now: Instant, rng: &mut Random, factor: u32, max: Duration) {
        self.due = now + rng.jitter(self.wait, PERIOD_JITTER_PERCENT);
        self.wait = (self.wait * factor).min(max);
    }

    /// There is news: the task is due again after `wait` at the latest.
    pub(crate) fn reset(&mut self, now: Instant, wait: Duration) {
        self.wait = self.wait.min(wait);
        self.due = self.due.min(now + wait);
    }

    /// The task is due again after `wait` at the latest, once; the period stays.
    pub(crate) fn repeat(&mut self, now: Instant, wait: Duration) {
        self.due = self.due.min(now + wait);
    }

    /// Whether the task is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Seed, test_base};

    #[test]
    fn a_period_grows_to_its_limit_and_news_shortens_it() {
        let mut rng = Seed::from_u64(1).stream("test");
        let s = Duration::from_secs;
        let mut pace = Period::new(test_base(), s(10));
        let mut waits = Vec::new();
        for _ in 0..4 {
            let now = pace.due;
            assert!(pace.is_due(now));
            pace.slow_down(now, &mut rng, 2, s(40));
            waits.push(pace.due.duration_since(now));
        }
        for (wait, expected) in waits.into_iter().zip([10, 20, 40, 40]) {
            assert!(s(expected) * 9 / 10 <= wait && wait <= s(expected) * 11 / 10, "{wait:?}");
        }
        let now = test_base() + s(20);
        pace.reset(now, s(5));
        assert_eq!(pace.due, now + s(5));
        pace.reset(now, s(30));
        assert_eq!(pace.due, now + s(5), "never later");
        pace.repeat(now, s(1));
        assert_eq!(pace.due, now + s(1));
        pace.slow_down(pace.due, &mut rng, 2, s(40));
        assert!(pace.due >= now + s(5), "the period is what it was");
    }
}
