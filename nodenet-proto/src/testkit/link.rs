//! One direction of a network path: latency, jitter, loss, reordering, duplication, MTU, rate.
//!
//! Responsible for: when a datagram arrives, if it does. Never: a clock or a waiting datagram.
//!
//! The fate of a datagram is a hash of the seed, the link and its ordinal on that link. One
//! datagram more or less elsewhere changes nothing here.

use std::time::{Duration, Instant};

use super::fate::{below, fate, hit};

/// Bytes that IPv4 (RFC 791) and UDP (RFC 768) put before a payload.
const HEADERS_V4: usize = 20 + 8;
/// Bytes that IPv6 (RFC 8200) and UDP (RFC 768) put before a payload.
const HEADERS_V6: usize = 40 + 8;
/// The MTU of Ethernet (RFC 894).
const ETHERNET_MTU: usize = 1_500;

/// The length of an IP packet with a UDP payload of `payload_len` bytes.
pub fn packet_len(is_ipv4: bool, payload_len: usize) -> usize {
    payload_len + if is_ipv4 { HEADERS_V4 } else { HEADERS_V6 }
}

/// How a link treats datagrams. For other values:
/// `LinkProfile { loss: 0.1, ..LinkProfile::WAN }`.
///
/// The constants fit either direction. A path that differs by direction takes two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkProfile {
    /// Time that every datagram takes.
    pub latency: Duration,
    /// Up to this much on top, drawn anew for each datagram. It delays, but it reorders nothing: a
    /// datagram does not leave before the one ahead of it.
    pub jitter: Duration,
    /// Share of datagrams that is lost independently of others, from 0.0 to 1.0.
    pub loss: f64,
    /// Losses that come in bursts, on top.
    pub bursts: Option<LossBursts>,
    /// Share of datagrams that is held back and may be overtaken, from 0.0 to 1.0.
    pub reordering: f64,
    /// How long these are held back.
    pub reordering_delay: Duration,
    /// Share of datagrams that arrives twice, from 0.0 to 1.0.
    pub duplication: f64,
    /// Routers on the way, each of which counts the TTL down.
    pub hops: u8,
    /// Longest IP packet that passes, in bytes. Longer ones are lost.
    pub mtu: usize,
    /// Whether the sender of one that is too long gets a report (RFC 1191, RFC 8201).
    pub reports_too_big: bool,
    /// What gets through, in bytes of IP packets per second. `None` is without limit.
    pub rate_bytes_per_s: Option<u64>,
    /// Bytes that wait where the rate is limited, at most. A datagram that finds the queue full is
    /// lost.
    pub queue_bytes_max: u64,
}

/// Loss by the model of Gilbert and Elliott: a link is good, and at times bad.
///
/// Both probabilities are for each datagram, so a burst has `1 / end` datagrams on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossBursts {
    /// Share of datagrams on a good link at which it becomes bad.
    pub begin: f64,
    /// Share of datagrams on a bad link at which it becomes good.
    pub end: f64,
    /// Share of datagrams that a bad link loses.
    pub loss: f64,
}

impl LossBursts {
    /// Share of all datagrams that is lost.
    fn mean_loss(self) -> f64 {
        let changes = self.begin + self.end;
        if changes > 0.0 { self.loss * self.begin / changes } else { 0.0 }
    }
}

impl LinkProfile {
    /// Without time, loss or limit.
    pub const IDEAL: Self = Self {
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        bursts: None,
        reordering: 0.0,
        reordering_delay: Duration::ZERO,
        duplication: 0.0,
        hops: 1,
        mtu: ETHERNET_MTU,
        reports_too_big: false,
        rate_bytes_per_s: None,
        queue_bytes_max: 256 << 10,
    };
    /// Two machines in one region: 10 ms, nothing lost (a guess).
    pub const REGION: Self = Self { latency: Duration::from_millis(10), ..Self::IDEAL };
    /// Across a continent over wires: 40 ms, twelve routers, a little jitter, one datagram in a
    /// thousand lost (a guess).
    pub const WAN: Self = Self {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(5),
        loss: 0.001,
        hops: 12,
        ..Self::IDEAL
    };
    /// Gigabit Ethernet (IEEE 802.3ab): 0.2 ms (a guess), and Linux's queue of 1,000 packets.
    pub const LAN: Self = Self {
        latency: Duration::from_micros(200),
        hops: 0,
        reports_too_big: true,
        rate_bytes_per_s: Some(125_000_000),
        queue_bytes_max: 1_000 * ETHERNET_MTU as u64,
        ..Self::IDEAL
    };
    /// A shared wireless network: 3 to 11 ms, short bursts of loss, 40 Mbit/s (a guess).
    pub const WIFI: Self = Self {
        latency: Duration::from_millis(3),
        jitter: Duration::from_millis(8),
        loss: 0.0005,
        bursts: Some(LossBursts { begin: 0.001, end: 0.25, loss: 0.5 }),
        reports_too_big: true,
        rate_bytes_per_s: Some(5_000_000),
        ..Self::IDEAL
    };
    /// A telephone on the move: 30 to 60 ms, bursts of loss, 12 Mbit/s and half a second of queue
    /// (a guess). The MTU is what 3GPP TS 23.060 §9.3 recommends.
    pub const LTE: Self = Self {
        latency: Duration::from_millis(30),
        jitter: Duration::from_millis(30),
        loss: 0.001,
        bursts: Some(LossBursts { begin: 0.002, end: 0.2, loss: 0.6 }),
        mtu: 1_358,
        rate_bytes_per_s: Some(1_500_000),
        queue_bytes_max: 750_000,
        ..Self::IDEAL
    };
    /// A home line: 12 ms, 16 Mbit/s and 200 ms of queue (a guess). The MTU is that of PPPoE (RFC
    /// 2516 §7).
    pub const DSL: Self = Self {
        latency: Duration::from_millis(12),
        jitter: Duration::from_millis(2),
        loss: 0.0002,
        mtu: 1_492,
        reports_too_big: true,
        rate_bytes_per_s: Some(2_000_000),
        queue_bytes_max: 400_000,
        ..Self::IDEAL
    };
    /// Over a geostationary satellite: 280 ms, of which the way up and down takes 239 ms (2 ×
    /// 35,786 km at the speed of light); 24 Mbit/s (a guess).
    pub const SATELLITE: Self = Self {
        latency: Duration::from_millis(280),
        jitter: Duration::from_millis(10),
        loss: 0.002,
        bursts: Some(LossBursts { begin: 0.0005, end: 0.1, loss: 0.5 }),
        rate_bytes_per_s: Some(3_000_000),
        queue_bytes_max: 1 << 20,
        ..Self::IDEAL
    };
    /// The profiles of access networks, by name.
    pub const PRESETS: [(&str, Self); 5] = [
        ("lan", Self::LAN),
        ("wifi", Self::WIFI),
        ("lte", Self::LTE),
        ("dsl", Self::DSL),
        ("satellite", Self::SATELLITE),
    ];

    /// The path through two accesses in a row: delays add up, losses are independent, and the
    /// narrower access limits rate and length.
    pub fn join(&self, other: &Self) -> Self {
        let (narrow, short) = (
            if other.rate_or_max() < self.rate_or_max() { other } else { self },
            if other.mtu < self.mtu { other } else { self },
        );
        let either = |a: f64, b: f64| a + b - a * b;
        Self {
            latency: self.latency + other.latency,
            jitter: self.jitter + other.jitter,
            loss: either(self.loss, other.loss),
            // One state for the whole path: the bursts that lose more.
            bursts: match (self.bursts, other.bursts) {
                (Some(a), Some(b)) => Some(if b.mean_loss() > a.mean_loss() { b } else { a }),
                (a, b) => a.or(b),
            },
            reordering: either(self.reordering, other.reordering),
            reordering_delay: self.reordering_delay.max(other.reordering_delay),
            duplication: either(self.duplication, other.duplication),
            hops: self.hops.max(other.hops),
            mtu: short.mtu,
            reports_too_big: short.reports_too_big,
            rate_bytes_per_s: narrow.rate_bytes_per_s,
            queue_bytes_max: narrow.queue_bytes_max,
        }
    }

    fn rate_or_max(&self) -> u64 {
        self.rate_bytes_per_s.unwrap_or(u64::MAX)
    }

    /// Asserts that every share is one, and that no datagram is under way for more than a day.
    ///
    /// # Panics
    /// If not.
    pub fn check(&self) {
        let bursts = self.bursts.unwrap_or(LossBursts { begin: 0.0, end: 0.0, loss: 0.0 });
        let own = [self.loss, self.reordering, self.duplication];
        for share in own.into_iter().chain([bursts.begin, bursts.end, bursts.loss]) {
            assert!((0.0..=1.0).contains(&share), "{share} is not a share from 0.0 to 1.0");
        }
        let longest = self.latency.saturating_add(self.jitter);
        let longest = longest.saturating_add(self.reordering_delay);
        assert!(longest <= Duration::from_secs(86_400), "{longest:?} is longer than a day");
    }
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self::REGION
    }
}

/// Why a link lost a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// By chance.
    Chance,
    /// Too much waits already.
    QueueFull,
    /// It is longer than the MTU.
    TooLong,
}

/// When a datagram arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// The datagram.
    pub at: Instant,
    /// Its duplicate, if there is one.
    pub again: Option<Instant>,
}

/// What a fate decides.
#[derive(Clone, Copy)]
enum Draw {
    Loss,
    BurstChange,
    BurstLoss,
    Jitter,
    Reordering,
    Duplication,
    JitterAgain,
}

/// One direction of a path.
#[derive(Debug, Clone)]
pub struct Link {
    seed: u64,
    link: u64,
    /// Datagrams so far, lost ones included.
    ordinal: u64,
    /// Whether losses come in a burst now.
    is_bad: bool,
    /// When the last datagram that had to queue has left.
    busy_until: Option<Instant>,
    /// When the last datagram has passed the place where jitter arises.
    released: Option<Instant>,
}

impl Link {
    /// The link of this number, in a world with this seed.
    pub fn new(seed: u64, link: u64) -> Self {
        Self { seed, link, ordinal: 0, is_bad: false, busy_until: None, released: None }
    }

    /// Takes an IP packet of `len` bytes.
    ///
    /// # Errors
    /// If it is lost.
    pub fn carry(
        &mut self,
        profile: &LinkProfile,
        now: Instant,
        len: usize,
    ) -> Result<Passage, Loss> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let is_lost = self.is_lost(profile, ordinal);
        if len > profile.mtu {
            return Err(Loss::TooLong);
        }
        let leaves = self.enqueue(profile, now, len as u64)?;
        if is_lost {
            return Err(Loss::Chance);
        }
        let jittered = leaves + self.jitter(profile, ordinal, Draw::Jitter);
        let at = if self.hits(ordinal, Draw::Reordering, profile.reordering) {
            jittered + profile.reordering_delay
        } else {
            let released = self.released.map_or(jittered, |before| before.max(jittered));
            self.released = Some(released);
            released
        };
        let is_doubled = self.hits(ordinal, Draw::Duplication, profile.duplication);
        let again = is_doubled.then(|| at + self.jitter(profile, ordinal, Draw::JitterAgain));
        let latency = profile.latency;
        Ok(Passage { at: at + latency, again: again.map(|again| again + latency) })
    }

    fn is_lost(&mut self, profile: &LinkProfile, ordinal: u64) -> bool {
        let alone = self.hits(ordinal, Draw::Loss, profile.loss);
        let Some(bursts) = profile.bursts else {
            self.is_bad = false;
            return alone;
        };
        let change = if self.is_bad { bursts.end } else { bursts.begin };
        self.is_bad ^= self.hits(ordinal, Draw::BurstChange, change);
        alone || (self.is_bad && self.hits(ordinal, Draw::BurstLoss, bursts.loss))
    }

    fn jitter(&self, profile: &LinkProfile, ordinal: u64, draw: Draw) -> Duration {
        if profile.jitter.is_zero() {
            return Duration::ZERO;
        }
        let nanos = u64::try_from(profile.jitter.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(below(self.fate(ordinal, draw), nanos.saturating_add(1)))
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

    fn hits(&self, ordinal: u64, draw: Draw, share: f64) -> bool {
        share > 0.0 && hit(self.fate(ordinal, draw), share)
    }

    fn fate(&self, ordinal: u64, draw: Draw) -> u64 {
        fate(self.seed, self.link, ordinal << 3 | draw as u64)
    }
}

const NANOS_PER_S: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Link, LinkProfile, Loss, LossBursts, Passage, packet_len};
    use crate::env::test_base;

    const LOSSY: LinkProfile =
        LinkProfile { loss: 0.1, jitter: Duration::from_millis(20), ..LinkProfile::REGION };
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_path_through_two_accesses_is_as_narrow_as_the_narrower_one() {
        let path = LinkProfile::DSL.join(&LinkProfile::LTE);
        assert_eq!(path, LinkProfile::LTE.join(&LinkProfile::DSL));
        assert_eq!((path.latency, path.jitter), (42 * MS, 32 * MS));
        let slow = LinkProfile::LTE;
        assert_eq!(path.rate_bytes_per_s, slow.rate_bytes_per_s);
        assert_eq!((path.mtu, path.reports_too_big), (slow.mtu, slow.reports_too_big));
        assert_eq!((path.queue_bytes_max, path.bursts), (slow.queue_bytes_max, slow.bursts));
        assert!((path.loss - (0.0002 + 0.001 - 0.0002 * 0.001)).abs() < 1e-12);
        assert_eq!(LinkProfile::WAN.join(&LinkProfile::IDEAL), LinkProfile::WAN);
    }

    #[test]
    fn a_fate_depends_on_seed_link_and_ordinal_alone() {
        let all = |seed, link| fates(&mut Link::new(seed, link), &LOSSY, 1_000);
        assert_eq!(all(1, 1), all(1, 1));
        assert_ne!(all(1, 1), all(2, 1));
        assert_ne!(all(1, 1), all(1, 2));

        let mut switched = Link::new(1, 1);
        fates(&mut switched, &LinkProfile::REGION, 500);
        let rest: Vec<_> = fates(&mut switched, &LOSSY, 500).iter().map(Result::is_ok).collect();
        let expected: Vec<_> = all(1, 1)[500..].iter().map(Result::is_ok).collect();
        assert_eq!(rest, expected, "what came before does not matter, only how much");
    }

    #[test]
    fn loss_and_jitter_are_as_the_profile_says() {
        let mut link = Link::new(7, 1);
        let one_by_one: Vec<_> = (0..10_000)
            .map(|number| {
                let now = test_base() + number * Duration::from_secs(1);
                link.carry(&LOSSY, now, 1_000).map(|passage| passage.at - now)
            })
            .collect();
        let lost = one_by_one.iter().filter(|fate| **fate == Err(Loss::Chance)).count();
        assert!((900..1_100).contains(&lost), "{lost} of 10,000 is about a tenth");
        let spans: Vec<Duration> = one_by_one.into_iter().flatten().collect();
        let (least, most) = (*spans.iter().min().unwrap(), *spans.iter().max().unwrap());
        assert!(least >= LOSSY.latency && least < LOSSY.latency + LOSSY.jitter / 100);
        assert!(most <= LOSSY.latency + LOSSY.jitter && most > LOSSY.latency * 29 / 10);
    }

    #[test]
    fn jitter_reorders_nothing() {
        let arrivals = fates(&mut Link::new(7, 1), &LOSSY, 1_000);
        let arrivals: Vec<Instant> = arrivals.iter().flatten().map(|passage| passage.at).collect();
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn losses_in_bursts_come_in_runs_of_the_expected_length() {
        let bursts = LossBursts { begin: 0.01, end: 0.25, loss: 1.0 };
        let bursty = LinkProfile { bursts: Some(bursts), ..LinkProfile::REGION };
        let fates = fates(&mut Link::new(3, 1), &bursty, 100_000);
        let runs: Vec<usize> = fates
            .chunk_by(|a, b| a.is_ok() == b.is_ok())
            .filter(|run| run[0].is_err())
            .map(<[_]>::len)
            .collect();
        let lost: usize = runs.iter().sum();
        // Of 1 / 0.01 + 1 / 0.25 datagrams 4 are in a burst, which is one in 26.
        assert!((3_500..4_200).contains(&lost), "{lost} of 100,000");
        let mean = lost as f64 / runs.len() as f64;
        assert!((3.6..4.4).contains(&mean), "bursts of {mean}");
    }

    #[test]
    fn a_reordered_datagram_is_overtaken_by_those_sent_soon_after_it() {
        let profile =
            LinkProfile { reordering: 0.1, reordering_delay: 5 * MS, ..LinkProfile::REGION };
        let mut link = Link::new(5, 1);
        let arrivals: Vec<Instant> = (0..1_000)
            .map(|number| link.carry(&profile, test_base() + number * MS, 100).unwrap().at)
            .collect();
        let overtaken = arrivals.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((60..120).contains(&overtaken), "{overtaken} of 1,000");
    }

    #[test]
    fn a_duplicate_arrives_no_earlier_than_what_it_repeats() {
        let profile = LinkProfile { duplication: 0.2, jitter: 5 * MS, ..LinkProfile::REGION };
        let passages = fates(&mut Link::new(5, 1), &profile, 1_000);
        let twice: Vec<Passage> =
            passages.into_iter().flatten().filter(|passage| passage.again.is_some()).collect();
        assert!((150..250).contains(&twice.len()), "{} of 1,000", twice.len());
        assert!(twice.iter().all(|passage| passage.again >= Some(passage.at)));
    }

    #[test]
    fn a_limited_rate_spaces_datagrams_and_its_queue_overflows() {
        let now = test_base();
        let limited = LinkProfile {
            rate_bytes_per_s: Some(100_000),
            queue_bytes_max: 3_000,
            ..LinkProfile::REGION
        };
        let mut link = Link::new(1, 1);
        let arrivals = fates(&mut link, &limited, 4);
        let at = |ms| Ok(Passage { at: now + ms * MS, again: None });
        assert_eq!(arrivals, [at(20), at(30), at(40), Err(Loss::QueueFull)]);
        assert_eq!(link.carry(&limited, now + 25 * MS, 1_000), at(50), "the queue drains");
        let idle = now + 9_000 * MS;
        assert_eq!(link.carry(&limited, idle, 1_000), at(9_020));
        let closed = LinkProfile { rate_bytes_per_s: Some(0), ..limited };
        assert_eq!(link.carry(&closed, idle, 1), Err(Loss::QueueFull));
    }

    #[test]
    fn a_packet_beyond_the_mtu_does_not_pass() {
        let mut link = Link::new(1, 1);
        let mut carry = |is_ipv4, payload_len| {
            link.carry(&LinkProfile::REGION, test_base(), packet_len(is_ipv4, payload_len)).is_ok()
        };
        assert!(carry(false, 1_452) && !carry(false, 1_453));
        assert!(carry(true, 1_472) && !carry(true, 1_473));
    }

    #[test]
    fn a_faster_route_lets_later_datagrams_overtake() {
        let now = test_base();
        let mut link = Link::new(1, 1);
        let slow = LinkProfile { latency: 9_000 * MS, ..LinkProfile::REGION };
        let first = link.carry(&slow, now, 100).unwrap().at;
        let second = link.carry(&LinkProfile::REGION, now + MS, 100).unwrap().at;
        assert!(second < first);
    }

    #[test]
    fn every_preset_is_sound_and_carries_a_first_packet_of_quic() {
        for (name, preset) in LinkProfile::PRESETS {
            preset.check();
            // RFC 9000 §14.1: a path that does not carry 1,200 bytes does not carry QUIC.
            assert!(packet_len(false, 1_200) <= preset.mtu, "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "1.5 is not a share")]
    fn a_share_beyond_one_is_refused() {
        LinkProfile { duplication: 1.5, ..LinkProfile::REGION }.check();
    }

    fn fates(link: &mut Link, profile: &LinkProfile, count: usize) -> Vec<Result<Passage, Loss>> {
        (0..count).map(|_| link.carry(profile, test_base(), 1_000)).collect()
    }
}
