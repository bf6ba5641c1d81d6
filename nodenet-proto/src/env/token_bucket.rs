//! Token bucket, a rate limit with bursts (PROTOCOL.md#edge-budgets).
//!
//! Responsible for: whether one more unit of work fits a rate. Never: decides what is charged, or
//! to which peer. A bucket begins full. Its state is the time until it is full again, in whole
//! nanoseconds, so no rounding accumulates. At [`TokenBucket::full_at`] its state can be deleted
//! without loss.

use std::time::{Duration, Instant};

const NANOS_PER_S: u64 = 1_000_000_000;

/// Fill rate and capacity of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    token_ns: u64,
    burst: u64,
}

impl Rate {
    /// `per_s` tokens a second, at most `burst` at once.
    ///
    /// # Panics
    /// If a token does not take a whole number of nanoseconds.
    pub const fn new(per_s: u64, burst: u64) -> Self {
        assert!(
            per_s > 0 && NANOS_PER_S.is_multiple_of(per_s),
            "a token takes a whole number of nanoseconds"
        );
        Self { token_ns: NANOS_PER_S / per_s, burst }
    }

    /// At most `per_s` tokens a second, and at most `burst` at once. The time of a token is rounded
    /// up to whole nanoseconds.
    ///
    /// # Panics
    /// If `per_s` is zero.
    pub const fn at_most(per_s: u64, burst: u64) -> Self {
        Self { token_ns: NANOS_PER_S.div_ceil(per_s), burst }
    }

    /// Capacity in tokens.
    pub const fn burst(self) -> u64 {
        self.burst
    }

    const fn burst_ns(self) -> u64 {
        self.burst.saturating_mul(self.token_ns)
    }
}

/// One bucket. Its rate is passed on every call, because many buckets share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Nanoseconds until it is full, as of `last`.
    lacking_ns: u64,
    last: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub const fn new(now: Instant) -> Self {
        Self { lacking_ns: 0, last: now }
    }

    /// Takes `count` tokens, or none and returns false. A clock that goes backwards counts as a
    /// clock that stands still.
    pub fn take(&mut self, now: Instant, rate: Rate, count: u64) -> bool {
        self.take_and_leave(now, rate, count, 0)
    }

    /// Takes `count` tokens if `rest` remain, or none and returns false.
    pub fn take_and_leave(&mut self, now: Instant, rate: Rate, count: u64, rest: u64) -> bool {
        self.refill(now);
        let lacking = self.lacking_ns.saturating_add(count.saturating_mul(rate.token_ns));
        if lacking.saturating_add(rest.saturating_mul(rate.token_ns)) > rate.burst_ns() {
            return false;
        }
        self.lacking_ns = lacking;
        true
    }

    /// Whether it holds `count` tokens.
    pub fn holds(&self, now: Instant, rate: Rate, count: u64) -> bool {
        let mut copy = *self;
        copy.take(now, rate, count)
    }

    /// When it will hold `count` tokens if none is taken until then. For more than a burst: when it
    /// is full.
    pub fn holds_at(&self, rate: Rate, count: u64) -> Instant {
        let spare_ns = rate.burst_ns().saturating_sub(count.saturating_mul(rate.token_ns));
        self.last + Duration::from_nanos(self.lacking_ns.saturating_sub(spare_ns))
    }

    /// When it will be full again if no more tokens are taken.
    pub fn full_at(&self) -> Instant {
        self.last + Duration::from_nanos(self.lacking_ns)
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last).as_nanos();
        self.lacking_ns =
            self.lacking_ns.saturating_sub(u64::try_from(elapsed).unwrap_or(u64::MAX));
        self.last = self.last.max(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Rate, TokenBucket};
    use crate::env::test_base;

    /// Nanoseconds after the start, cost, allowed, tokens afterwards in billionths.
    type Step = (u64, u64, bool, u64);
    const S: u64 = 1_000_000_000;

    fn run(rate: Rate, steps: &[Step]) {
        let start: Instant = test_base();
        let mut bucket = TokenBucket::new(start);
        for &(at, cost, allowed, tokens) in steps {
            let now = start + Duration::from_nanos(at);
            assert_eq!(bucket.take(now, rate, cost), allowed, "at {at}");
            let lacking = bucket.full_at().duration_since(bucket.last).as_nanos() as u64;
            let held = (rate.burst_ns() - lacking) as u128 * u128::from(S);
            assert_eq!(held / u128::from(rate.token_ns), tokens.into(), "at {at}");
        }
    }

    #[test]
    fn a_burst_passes_and_then_what_the_rate_gives() {
        let mut steps: Vec<Step> = (0..32).map(|i| (0, 1, true, (31 - i) * S)).collect();
        steps.extend([(0, 1, false, 0), (0, 1, false, 0)]);
        steps.extend((0..16).map(|i| (S, 1, true, (15 - i) * S)));
        steps.extend([(S, 1, false, 0), (3 * S, 1, true, 31 * S)]);
        run(Rate::CONTROL, &steps);
    }

    #[test]
    fn a_token_comes_exactly_when_it_is_due() {
        let mut steps: Vec<Step> = (0..32).map(|i| (0, 1, true, (31 - i) * S)).collect();
        steps.extend([
            (62_499_999, 1, false, 999_999_984),
            (62_500_000, 1, true, 0),
            (62_500_001, 1, false, 16),
            (125_000_000, 1, true, 0),
        ]);
        run(Rate::CONTROL, &steps);
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let steps = [(0, 2, true, 0), (S / 2, 1, false, S / 2), (S, 1, true, 0), (S, 1, false, 0)];
        run(Rate::new(1, 2), &steps);
    }

    #[test]
    fn asking_whether_it_holds_tokens_takes_none() {
        let (rate, now) = (Rate::new(1, 2), test_base());
        let mut bucket = TokenBucket::new(now);
        assert!(bucket.holds(now, rate, 2) && !bucket.holds(now, rate, 3));
        assert!(bucket.take(now, rate, 2) && !bucket.holds(now, rate, 1));
        assert!(bucket.holds(now + Duration::from_secs(1), rate, 1));
    }

    #[test]
    fn tokens_that_must_remain_are_left() {
        let (rate, now) = (Rate::new(2, 4), test_base());
        let mut bucket = TokenBucket::new(now);
        assert!(bucket.take_and_leave(now, rate, 1, 3));
        assert!(!bucket.take_and_leave(now, rate, 1, 3) && bucket.holds(now, rate, 3));
        assert!(bucket.take_and_leave(now + Duration::from_millis(500), rate, 1, 3));
    }

    #[test]
    fn when_it_will_hold_a_count_is_exact() {
        let (rate, now) = (Rate::new(2, 4), test_base());
        let mut bucket = TokenBucket::new(now);
        assert!(bucket.take(now, rate, 3));
        for (count, wait_ms) in [(0, 0), (1, 0), (2, 500), (4, 1_500), (9, 1_500)] {
            let at = bucket.holds_at(rate, count);
            assert_eq!(at, now + Duration::from_millis(wait_ms), "{count}");
        }
        let at = bucket.holds_at(rate, 2);
        assert!(bucket.holds(at, rate, 2) && !bucket.holds(at - Duration::from_nanos(1), rate, 2));
    }

    #[test]
    fn frames_sent_on_an_edge_in_ten_minutes_are_within_the_peers_budget() {
        let (start, mut left) = (test_base(), 0_u64);
        let (mut ours, mut theirs) = (TokenBucket::new(start), TokenBucket::new(start));
        for ms in 0..600_000 {
            let now = start + Duration::from_millis(ms);
            while ours.take(now, Rate::OUTBOUND, 1) {
                left += 1;
                assert!(theirs.take(now, Rate::FORWARD, 1));
            }
        }
        assert_eq!(left, 480 * 600 + 31, "479.99984 a second and one burst");
    }

    #[test]
    fn it_never_holds_more_than_a_burst() {
        let steps = [
            (0, 1024, true, 0),
            (S, 0, true, 512 * S),
            (100 * S, 1024, true, 0),
            (100 * S, 1, false, 0),
        ];
        run(Rate::FORWARD, &steps);
    }

    #[test]
    fn more_than_a_burst_never_passes() {
        run(Rate::new(10, 10), &[(0, 11, false, 10 * S), (1000 * S, 11, false, 10 * S)]);
    }

    #[test]
    fn a_clock_that_goes_backwards_stands_still() {
        let steps = [
            (S, 5, true, 5 * S),
            (0, 1, true, 4 * S),
            (S, 1, true, 3 * S),
            (2 * S, 0, true, 10 * S),
        ];
        run(Rate::new(10, 10), &steps);
    }
}
