//! Origination stamps: the strictly increasing send times of a node's own messages
//! (PROTOCOL.md#origination-time).
//!
//! Two equal payloads with equal stamps would be one message to every node on the way.

use std::time::Duration;

use super::UnixNanos;

/// The clock that stamps messages which begin at this node.
#[derive(Debug, Clone)]
pub struct OriginationClock {
    last: Option<UnixNanos>,
    freshness: Duration,
}

impl OriginationClock {
    /// A clock that has stamped nothing yet. Receivers take messages that are at most `freshness`
    /// old or ahead.
    pub const fn new(freshness: Duration) -> Self {
        Self { last: None, freshness }
    }

    /// The stamp of a message made at `wall`. A wall clock that went back by more than the
    /// freshness window is followed: no receiver remembers or takes a message that far ahead.
    pub fn next(&mut self, wall: UnixNanos) -> UnixNanos {
        let window = self.freshness.as_nanos() as i64;
        let next = match self.last {
            Some(last) if last.0.saturating_sub(window) <= wall.0 => {
                wall.0.max(last.0.saturating_add(1))
            }
            _ => wall.0,
        };
        self.last = Some(UnixNanos(next));
        UnixNanos(next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{OriginationClock, UnixNanos};

    const S: i64 = 1_000_000_000;
    const FRESHNESS: Duration = Duration::from_secs(30);

    #[test]
    fn stamps_increase_even_if_the_clock_stands_still_or_slips_back() {
        let mut clock = OriginationClock::new(FRESHNESS);
        let given = [100 * S, 100 * S, 99 * S, 101 * S].map(|wall| clock.next(UnixNanos(wall)).0);
        assert_eq!(given, [100 * S, 100 * S + 1, 100 * S + 2, 101 * S]);
    }

    #[test]
    fn stamps_follow_a_clock_that_was_far_ahead() {
        let mut clock = OriginationClock::new(FRESHNESS);
        clock.next(UnixNanos(3600 * S));
        assert_eq!(clock.next(UnixNanos(5 * S)), UnixNanos(5 * S));
    }
}
