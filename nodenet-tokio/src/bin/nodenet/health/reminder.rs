//! Rate limit of one warning.

use std::time::{Duration, Instant};

/// Lets a warning pass at once, and then once in each interval.
#[derive(Debug)]
pub(super) struct Reminder {
    interval: Duration,
    /// When the warning passed last.
    last: Option<Instant>,
}

impl Reminder {
    pub(super) fn every(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// Whether the warning may pass now. If so, the next interval begins.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let is_due =
            self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.interval);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}
