//! Virtual time: moments of a run and their translation to instants.
//!
//! Responsible for: moments of a world and their translation into the [`Instant`]s that the
//! protocol takes. Never: reads a real clock, except once, for the base that an [`Instant`] needs.

use core::fmt;
use core::ops::Add;
use std::time::{Duration, Instant};

/// A moment of a world, in nanoseconds since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The begin of a world.
    pub const START: Self = Self(0);

    /// The moment this many nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment this many seconds after the start.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` until this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `span` earlier, but not before the start.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// Seconds with three decimals.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / 1_000_000;
        f.pad(&format!("{}.{:03}", millis / 1000, millis % 1000))
    }
}

/// Anchors a world's time to an [`Instant`]. Only differences matter: a run does not depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Epoch {
    /// Takes the base from the clock. The simulator reads the clock nowhere else.
    pub fn capture() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other source; only differences to this one are used"
        )]
        Self(Instant::now())
    }

    /// The instant of a moment.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.0 + Duration::from_nanos(moment.0)
    }

    /// The moment of an instant; the start if the instant is before it.
    pub fn moment(&self, instant: Instant) -> Moment {
        Moment(nanos(instant.saturating_duration_since(self.0)))
    }
}

/// A span in nanoseconds; 584 years at most.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Epoch, Moment};

    #[test]
    fn an_epoch_translates_both_ways() {
        let epoch = Epoch::capture();
        let moment = Moment::from_nanos(71_250_000_123);
        assert_eq!(epoch.moment(epoch.instant(moment)), moment);
        assert_eq!(moment.to_string(), "71.250");
        assert_eq!((moment + Duration::from_secs(2)).since(moment), Duration::from_secs(2));
        assert_eq!(moment.since(moment + Duration::from_secs(2)), Duration::ZERO);
    }
}
