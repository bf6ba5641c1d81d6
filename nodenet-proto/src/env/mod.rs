//! Time, randomness, timers, token buckets and cryptography for machines without I/O.
//!
//! Nothing here reads a clock or the operating system's entropy; both enter through the driver.

pub mod backoff;
pub mod counter_hash;
pub mod crypto;
pub mod origination_clock;
pub mod random;
pub mod timer;
pub mod token_bucket;

use std::time::Instant;

pub use counter_hash::CounterHash;
pub use crypto::{Crypto, Ed25519Crypto};
pub use origination_clock::OriginationClock;
pub(crate) use random::PERIOD_JITTER_PERCENT;
pub use random::{Random, Seed};
pub use timer::TimerQueue;
pub use token_bucket::{Rate, TokenBucket};

/// Wall time in nanoseconds since the Unix epoch. Routed messages are stamped with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub i64);

/// Wall time derived from the monotonic clock, corrected by the driver.
#[derive(Debug, Clone)]
pub struct WallClock {
    base: Instant,
    at_base: UnixNanos,
}

impl WallClock {
    /// A clock that shows `wall` when the monotonic clock shows `now`.
    pub fn new(now: Instant, wall: UnixNanos) -> Self {
        Self { base: now, at_base: wall }
    }

    /// The wall time at `now`; saturates at the ends of the range.
    pub fn at(&self, now: Instant) -> UnixNanos {
        let elapsed = now.saturating_duration_since(self.base).as_nanos();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        UnixNanos(self.at_base.0.saturating_add(elapsed))
    }

    /// Takes a new reading. Returns true if the wall clock had to go backwards.
    pub fn correct(&mut self, now: Instant, wall: UnixNanos) -> bool {
        let backwards = wall < self.at(now);
        *self = Self::new(now, wall);
        backwards
    }
}

/// The instant from which tests of this crate count.
#[cfg(any(test, feature = "fuzzing"))]
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made without a clock")]
pub(crate) fn test_base() -> std::time::Instant {
    static BASE: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    *BASE.get_or_init(std::time::Instant::now)
}
