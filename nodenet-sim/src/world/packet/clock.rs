//! Clocks of a simulated host: monotonic time and wall time, each with its own error.
//!
//! Responsible for: what both clocks show at a moment of the world, and when the monotonic one
//! shows a given time. Never: the time of the world.

use std::time::{Duration, Instant};

use nodenet_proto::env::UnixNanos;

use crate::clock::{Epoch, Moment};

/// Largest error of a clock's rate, in parts per million (guess: crystals are off by less than
/// 100, virtual machines without time synchronisation by some thousands).
pub const CLOCK_RATE_PPM_MAX: i32 = 100_000;

const MILLION: i128 = 1_000_000;

/// The clocks of one host.
#[derive(Debug, Clone)]
pub struct HostClock {
    epoch: Epoch,
    /// Parts per million by which the clocks are fast.
    rate_ppm: i32,
    /// When one of the settings changed last, and what the clocks showed then.
    since: Moment,
    monotonic_nanos: u64,
    wall: i64,
    /// Whether the monotonic clock stands still, as that of Linux does during suspend.
    stands: bool,
}

impl HostClock {
    /// Clocks that start with the world. The wall clock shows `wall` then.
    pub fn new(epoch: Epoch, wall: UnixNanos, rate_ppm: i32) -> Self {
        let rate_ppm = rate_ppm.clamp(-CLOCK_RATE_PPM_MAX, CLOCK_RATE_PPM_MAX);
        let (since, monotonic_nanos) = (Moment::START, 0);
        Self { epoch, rate_ppm, since, monotonic_nanos, wall: wall.0, stands: false }
    }

    /// Sets the wall clock forward or back.
    pub fn step_wall(&mut self, now: Moment, by_ms: i64) {
        self.turn_to(now);
        self.wall = self.wall.saturating_add(by_ms.saturating_mul(1_000_000));
    }

    /// Stops the monotonic clock, or lets it go on.
    pub fn set_standing(&mut self, now: Moment, stands: bool) {
        self.turn_to(now);
        self.stands = stands;
    }

    /// What the monotonic clock shows at a moment that is not before the last change.
    pub fn instant(&self, at: Moment) -> Instant {
        self.epoch.instant(Moment::from_nanos(self.monotonic_at(at)))
    }

    /// What the wall clock shows at a moment that is not before the last change.
    pub fn wall(&self, at: Moment) -> UnixNanos {
        UnixNanos(self.wall.saturating_add_unsigned(self.passed(at)))
    }

    /// The first moment at which the monotonic clock shows `instant`; none while it stands still
    /// before that.
    pub fn moment(&self, instant: Instant) -> Option<Moment> {
        let shown = self.epoch.moment(instant).as_nanos();
        let missing = i128::from(shown.saturating_sub(self.monotonic_nanos));
        if missing > 0 && self.stands {
            return None;
        }
        let rate = MILLION + i128::from(self.rate_ppm);
        // Rounded up, so that the clock shows no less at that moment.
        let span = (missing * MILLION + rate - 1) / rate;
        Some(self.since + Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX)))
    }

    fn turn_to(&mut self, now: Moment) {
        (self.monotonic_nanos, self.wall) = (self.monotonic_at(now), self.wall(now).0);
        self.since = now;
    }

    fn monotonic_at(&self, at: Moment) -> u64 {
        if self.stands { self.monotonic_nanos } else { self.monotonic_nanos + self.passed(at) }
    }

    /// Nanoseconds since the last change, as these clocks count them.
    fn passed(&self, at: Moment) -> u64 {
        let span = at.as_nanos().saturating_sub(self.since.as_nanos());
        let counted = i128::from(span) * (MILLION + i128::from(self.rate_ppm)) / MILLION;
        u64::try_from(counted).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nodenet_proto::env::UnixNanos;

    use super::HostClock;
    use crate::clock::{Epoch, Moment};

    #[test]
    fn a_deadline_is_due_at_the_first_moment_at_which_the_clock_shows_it() {
        for ppm in [-100_000, -37, 0, 41, 99_999] {
            let epoch = Epoch::capture();
            let clock = HostClock::new(epoch, UnixNanos(0), ppm);
            for nanos in [0, 1, 999, 1_000_000_007, 86_400_000_000_000] {
                let deadline = epoch.instant(Moment::from_nanos(nanos));
                let at = clock.moment(deadline).unwrap();
                assert!(clock.instant(at) >= deadline, "{nanos} at {ppm} ppm");
                let before = at.before(Duration::from_nanos(1));
                assert!(nanos == 0 || clock.instant(before) < deadline, "{nanos} at {ppm} ppm");
            }
        }
    }

    #[test]
    fn a_fast_clock_gains_and_a_standing_one_loses_only_monotonic_time() {
        let epoch = Epoch::capture();
        let mut clock = HostClock::new(epoch, UnixNanos(5_000), 1_000);
        let hour = Moment::from_secs(3_600);
        assert_eq!(clock.wall(hour), UnixNanos(5_000 + 3_603_600_000_000));
        clock.set_standing(hour, true);
        let shown = clock.instant(hour);
        let later = hour + Duration::from_secs(1_000);
        assert_eq!(clock.instant(later), shown);
        assert_eq!(clock.moment(shown + Duration::from_secs(1)), None);
        clock.set_standing(later, false);
        assert_eq!(clock.wall(later), UnixNanos(5_000 + 3_603_600_000_000 + 1_001_000_000_000));
        assert_eq!(clock.instant(later), shown);
        clock.step_wall(later, -2_000);
        assert_eq!(clock.wall(later), UnixNanos(5_000 + 3_603_600_000_000 + 999_000_000_000));
    }
}
