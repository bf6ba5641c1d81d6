//! One direction of the path between two hosts: when a datagram arrives, if it does.
//!
//! Responsible for: latency, jitter, loss, rate, and the queue in front of a limited rate. Never: a
//! clock or a waiting datagram. What becomes of a datagram depends on the seed, the link and how
//! many went before it on that link, so one datagram more or less elsewhere changes nothing here.

use std::time::{Duration, Instant};

use nodenet_proto::env::Seed;

/// How a link treats datagrams. For other values: `LinkProfile { loss: 0.1, ..LinkProfile::WAN }`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkProfile {
    /// Time that every datagram takes, one way. Tokio's timers tick in milliseconds, so the
    /// receiver notices at the next full one.
    pub latency: Duration,
    /// Up to this much on top, drawn anew for each datagram. Datagrams overtake each other.
    pub jitter: Duration,
    /// Share of datagrams that is lost, from 0.0 to 1.0.
    pub loss: f64,
    /// What gets through, in bytes of UDP payload per second. `None` is without limit.
    pub rate_bytes_per_s: Option<u64>,
    /// Bytes that wait where the rate is limited, at most. A datagram that finds the queue full is
    /// lost.
    pub queue_bytes_max: u64,
    /// Longest UDP payload that passes, in bytes; longer ones are lost.
    pub payload_len_max: usize,
}

impl LinkProfile {
    /// Two machines in one region: 10 ms one way, nothing lost. The default.
    pub const REGION: Self = Self {
        latency: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0.0,
        rate_bytes_per_s: None,
        queue_bytes_max: 256 << 10,
        payload_len_max: ETHERNET_PAYLOAD_MAX,
    };
    /// Across a continent over wires: 40 ms, a little jitter, one datagram in a thousand lost
    /// (guess).
    pub const WAN: Self = Self {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(5),
        loss: 0.001,
        ..Self::REGION
    };
    /// A telephone on the move: 60 to 100 ms, one in a hundred lost, 12 Mbit/s (guess).
    pub const MOBILE: Self = Self {
        latency: Duration::from_millis(60),
        jitter: Duration::from_millis(40),
        loss: 0.01,
        rate_bytes_per_s: Some(1_500_000),
        ..Self::REGION
    };
    /// Over a geostationary satellite: 280 ms, of which the way up and down takes 239 ms (2 ×
    /// 35,786 km at the speed of light); 24 Mbit/s (guess).
    pub const SATELLITE: Self = Self {
        latency: Duration::from_millis(280),
        jitter: Duration::from_millis(10),
        loss: 0.005,
        rate_bytes_per_s: Some(3_000_000),
        queue_bytes_max: 1 << 20,
        ..Self::REGION
    };

    /// # Panics
    /// If the loss is not a share, or a datagram could be under way for more than a day.
    pub(super) fn check(&self) {
        assert!((0.0..=1.0).contains(&self.loss), "{} is not a share from 0.0 to 1.0", self.loss);
        let longest = self.latency.saturating_add(self.jitter);
        assert!(longest <= Duration::from_secs(86_400), "{longest:?} is longer than a day");
    }
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self::REGION
    }
}

/// Ethernet's 1,500 bytes less the headers of IPv6 (40, RFC 8200) and UDP (8, RFC 768).
const ETHERNET_PAYLOAD_MAX: usize = 1_452;

/// Why a link lost a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The profile's share.
    Chance,
    /// Too much waits already.
    QueueFull,
    /// It does not fit.
    TooLong,
}

/// One direction of a path. Lives as long as its hub.
#[derive(Debug)]
pub(super) struct Link {
    seed: Seed,
    /// Datagrams so far, lost ones included.
    ordinal: u64,
    /// When the last datagram that had to queue has left.
    busy_until: Option<Instant>,
}

impl Link {
    pub(super) fn new(seed: Seed) -> Self {
        Self { seed, ordinal: 0, busy_until: None }
    }

    /// Takes a datagram of `len` bytes of payload. Returns when it arrives.
    pub(super) fn carry(
        &mut self,
        profile: &LinkProfile,
        now: Instant,
        len: usize,
    ) -> Result<Instant, Loss> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        if len > profile.payload_len_max {
            return Err(Loss::TooLong);
        }
        let leaves = self.enqueue(profile, now, len as u64)?;
        if profile.loss == 0.0 && profile.jitter.is_zero() {
            return Ok(leaves + profile.latency);
        }
        let mut dice = self.seed.child("datagram", ordinal).stream("fate");
        // Multiplying by a power of two is exact, so this compares alike everywhere.
        if ((dice.next_u64() >> 11) as f64) < profile.loss * (1_u64 << 53) as f64 {
            return Err(Loss::Chance);
        }
        let jitter = u64::try_from(profile.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(dice.below(jitter.saturating_add(1)));
        Ok(leaves + profile.latency + jitter)
    }

    /// When a datagram has passed the place where the rate is limited.
    fn enqueue(&mut self, profile: &LinkProfile, now: Instant, len: u64) -> Result<Instant, Loss> {
        let Some(rate) = profile.rate_bytes_per_s else { return Ok(now) };
        let begins = self.busy_until.map_or(now, |until| until.max(now));
        let waiting = (begins - now).as_nanos() * u128::from(rate) / NANOS_PER_S;
        if waiting > 0 && waiting + u128::from(len) > u128::from(profile.queue_bytes_max) {
            return Err(Loss::QueueFull);
        }
        let Some(takes) = (u128::from(len) * NANOS_PER_S).checked_div(u128::from(rate)) else {
            return Err(Loss::QueueFull);
        };
        let ends = begins + Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        self.busy_until = Some(ends);
        Ok(ends)
    }
}

const NANOS_PER_S: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nodenet_proto::env::Seed;

    use super::{Link, LinkProfile, Loss};
    use crate::clock;

    const LOSSY: LinkProfile =
        LinkProfile { loss: 0.1, jitter: Duration::from_millis(20), ..LinkProfile::REGION };

    #[test]
    fn a_fate_depends_on_seed_and_ordinal_alone() {
        let now = clock::now();
        let all = |seed| fates(&mut link(seed), &LOSSY, now, 1_000);
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));

        let mut switched = link(1);
        fates(&mut switched, &LinkProfile::REGION, now, 500);
        let rest = fates(&mut switched, &LOSSY, now, 500);
        assert_eq!(rest, all(1)[500..], "what came before does not matter, only how much");
    }

    #[test]
    fn loss_and_jitter_are_as_the_profile_says() {
        let now = clock::now();
        let fates = fates(&mut link(7), &LOSSY, now, 10_000);
        let lost = fates.iter().filter(|fate| **fate == Err(Loss::Chance)).count();
        assert!((900..1_100).contains(&lost), "{lost} of 10,000 is about a tenth");
        let spans: Vec<_> = fates.iter().flatten().map(|at| *at - now).collect();
        let (least, most) = (spans.iter().min().unwrap(), spans.iter().max().unwrap());
        assert!(*least >= LOSSY.latency && *least < LOSSY.latency + LOSSY.jitter / 100);
        assert!(*most <= LOSSY.latency + LOSSY.jitter && *most > LOSSY.latency * 29 / 10);
    }

    #[test]
    fn a_limited_rate_spaces_datagrams_and_its_queue_overflows() {
        let now = clock::now();
        let limited = LinkProfile {
            rate_bytes_per_s: Some(100_000),
            queue_bytes_max: 3_000,
            ..LinkProfile::REGION
        };
        let mut link = link(1);
        let arrivals = fates(&mut link, &limited, now, 4);
        let at = |ms| Ok(now + Duration::from_millis(ms));
        assert_eq!(arrivals, [at(20), at(30), at(40), Err(Loss::QueueFull)]);
        let later = now + Duration::from_millis(25);
        assert_eq!(link.carry(&limited, later, 1_000), at(50), "the queue drains");
        let idle = now + Duration::from_secs(9);
        assert_eq!(link.carry(&limited, idle, 1_000), Ok(idle + Duration::from_millis(20)));
        let closed = LinkProfile { rate_bytes_per_s: Some(0), ..limited };
        assert_eq!(link.carry(&closed, idle, 1), Err(Loss::QueueFull));
    }

    #[test]
    fn what_is_too_long_does_not_pass() {
        let (mut link, now) = (link(1), clock::now());
        let arrives = Ok(now + LinkProfile::REGION.latency);
        assert_eq!(link.carry(&LinkProfile::REGION, now, 1_452), arrives);
        assert_eq!(link.carry(&LinkProfile::REGION, now, 1_453), Err(Loss::TooLong));
    }

    fn link(seed: u64) -> Link {
        Link::new(Seed::from_u64(seed))
    }

    fn fates(
        link: &mut Link,
        profile: &LinkProfile,
        now: Instant,
        count: usize,
    ) -> Vec<Result<Instant, Loss>> {
        (0..count).map(|_| link.carry(profile, now, 1_000)).collect()
    }
}
