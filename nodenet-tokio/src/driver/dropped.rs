//! Messages that were lost because the application did not take them, until it is told.
//!
//! It is told at once when that begins, and then no more often than once a second: a flood of
//! messages must not become a flood of events.

use std::time::{Duration, Instant};

/// Time between two events (guess: soon enough for whoever looks, seldom enough for a log).
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// What was lost since the application was told last.
#[derive(Debug, Default)]
pub(super) struct DroppedDeliveries {
    count: u64,
    told_at: Option<Instant>,
}

impl DroppedDeliveries {
    /// Notes one more.
    pub(super) fn note(&mut self) {
        self.count += 1;
    }

    /// How many to tell of now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        if self.due().is_some_and(|due| due > now) {
            return None;
        }
        let count = self.take()?;
        self.told_at = Some(now);
        Some(count)
    }

    /// How many to tell of, whenever that was done last.
    pub(super) fn take(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.count)).filter(|count| *count > 0)
    }

    /// When some are due that are not due at once.
    pub(super) fn due(&self) -> Option<Instant> {
        self.told_at.filter(|_| self.count > 0).map(|at| at + TELL_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::DroppedDeliveries;
    use crate::clock;

    #[test]
    fn the_first_are_told_at_once_and_the_others_a_second_later() {
        let (mut lost, start) = (DroppedDeliveries::default(), clock::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((lost.take_due(at(0)), lost.due()), (None, None), "there is nothing to tell");
        lost.note();
        lost.note();
        assert_eq!(lost.take_due(at(0)), Some(2));
        assert_eq!(lost.due(), None);
        lost.note();
        assert_eq!((lost.take_due(at(999)), lost.due()), (None, Some(at(1_000))));
        lost.note();
        assert_eq!(lost.take_due(at(1_000)), Some(2));
        assert_eq!(lost.take_due(at(9_000)), None, "each is told of once");
        lost.note();
        assert_eq!(lost.take_due(at(9_000)), Some(1), "after a pause at once");
        lost.note();
        assert_eq!((lost.take(), lost.take()), (Some(1), None), "at the end it does not wait");
    }
}
