//! Count of dropped deliveries, reported with a rate limit.
//!
//! The first drop is reported at once, further ones at most once a second: a flood of messages must
//! not become a flood of events.

use std::time::{Duration, Instant};

/// Time between two reports (guess: soon enough for an operator, seldom enough for a log).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Messages that were dropped since the last report.
#[derive(Debug, Default)]
pub(super) struct DroppedDeliveries {
    count: u64,
    reported_at: Option<Instant>,
}

impl DroppedDeliveries {
    /// Counts one more.
    pub(super) fn note(&mut self) {
        self.count += 1;
    }

    /// The count to report now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        if self.due().is_some_and(|due| due > now) {
            return None;
        }
        let count = self.take()?;
        self.reported_at = Some(now);
        Some(count)
    }

    /// The count to report, whenever the last report was.
    pub(super) fn take(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.count)).filter(|count| *count > 0)
    }

    /// When the next report is due, if it is not due at once.
    pub(super) fn due(&self) -> Option<Instant> {
        self.reported_at.filter(|_| self.count > 0).map(|at| at + REPORT_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::DroppedDeliveries;
    use crate::clock;

    #[test]
    fn the_first_are_reported_at_once_and_the_others_a_second_later() {
        let (mut dropped, start) = (DroppedDeliveries::default(), clock::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((dropped.take_due(at(0)), dropped.due()), (None, None), "nothing was dropped");
        dropped.note();
        dropped.note();
        assert_eq!(dropped.take_due(at(0)), Some(2));
        assert_eq!(dropped.due(), None);
        dropped.note();
        assert_eq!((dropped.take_due(at(999)), dropped.due()), (None, Some(at(1_000))));
        dropped.note();
        assert_eq!(dropped.take_due(at(1_000)), Some(2));
        assert_eq!(dropped.take_due(at(9_000)), None, "each is reported once");
        dropped.note();
        assert_eq!(dropped.take_due(at(9_000)), Some(1), "at once after a pause");
        dropped.note();
        assert_eq!(
            (dropped.take(), dropped.take()),
            (Some(1), None),
            "the last report does not wait"
        );
    }
}
