//! How often a silent edge is asked for a sign of life.
//!
//! Responsible for: how long an edge may be silent before it is pinged, and what is done together
//! with what. Never: pings, or keeps a timer.
//!
//! **Ping rarely, decide fast.** What harms routing is the share of edges that are dead without
//! anybody knowing. A dead edge goes unnoticed for half the ping interval on average, plus the
//! [`ANSWER_WAIT`] that a ping is given. So the interval follows from how often edges die: as long
//! as none does, it is the longest, and in churn it is as short as keeps the undetected share at
//! [`DEAD_SHARE`] (an idealised model of 10,000 nodes lost 0.02 % of messages at 2 %, 0.14 % at 4
//! %). Where many die at once, the first few that are noticed bring the looks at all others
//! forward. A NAT that forgets mappings sooner than the longest interval shows by deaths, too.
//!
//! **What it costs.** An acknowledged ping exchange is 3 datagrams and 222 bytes (measured on
//! quinn-proto over IPv4), on both ends. A router with 90 edges, each pinged by whichever end first
//! finds it silent for 100 s, pays 90 × 222 × 864 = 17 MB a day. A light node asks all of its 24
//! edges (measured in a simulated network of 10,000) every 110 s: 24 × 222 × 785 = 4.2 MB a day.
//!
//! **Compatibility.** A reference node drops an edge over which it *received* nothing for 45 s (a
//! sibling) or 75 s, but it pings after 15 or 25 s, and our answers are what it then receives. Its
//! pings in turn are what we receive, so its edges are never silent long enough for ours.

use std::time::{Duration, Instant};

use crate::NodeId;
use crate::api::Profile;

/// How long a ping may go unanswered, retransmissions included (PROTOCOL.md#answer-time).
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Longest silence before a router asks: with the jitter of a look and [`LOOKS_APART`] as long as a
/// NAT that keeps RFC 4787 §4.3 (two minutes) lets it.
const INTERVAL_MAX: Duration = Duration::from_secs(100);
/// A router with few edges asks sooner: each of them matters more, and all of them together cost no
/// more than many do. Longest silence for each edge there is, up to the above (a guess: 90 edges
/// make it 99 s).
const INTERVAL_PER_EDGE: Duration = Duration::from_millis(1100);
/// The same, however few edges there are (a guess).
const INTERVAL_FEW_EDGES: Duration = Duration::from_secs(30);
/// Shortest silence before a router asks, however many edges die (reference;
/// PROTOCOL.md#ping-interval).
const INTERVAL_MIN: Duration = Duration::from_secs(15);
/// A router looks at its edges so often at most, at several of them at once: what a look costs is
/// mostly waking up (a guess).
const LOOKS_APART: Duration = Duration::from_secs(8);
/// The same for everything else that it does by itself: half as much, so that every other time it
/// is awake anyway.
const SCHEDULE_APART: Duration = Duration::from_secs(4);
/// How often a light node asks all of its edges at once: as rarely as a NAT that keeps RFC 4787
/// §4.3 (two minutes) lets it, with the jitter of the network to spare.
const BATCH_INTERVAL: Duration = Duration::from_secs(110);
/// Silence after which an edge of a light node is part of the batch. It must be short: an edge that
/// is left out waits for the next batch, and its NAT mapping ends meanwhile.
const BATCH_SILENCE: Duration = ANSWER_WAIT;
/// An edge of a light node is looked at in the last batch within so much silence. With the jitter
/// of a look that is no later than a batch and an answer.
const BATCH_LOOK: Duration = Duration::from_secs(104);
/// Silence of a light peer before it is asked after all: its own batch, one missed, and an answer.
pub(crate) const LIGHT_PATIENCE: Duration = Duration::from_secs(240);
/// The share of undetected dead edges that is aimed at.
const DEAD_SHARE: f64 = 0.01;
/// Over what time deaths are averaged.
const MEMORY: Duration = Duration::from_secs(120);

/// The rate at which edges die without a word, and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Keepalive {
    profile: Profile,
    /// Where the batches begin.
    origin: Instant,
    /// Deaths, each counting for less the longer ago it was.
    deaths: f64,
    counted_at: Instant,
    /// The longest silence after which an edge may be looked at now.
    longest_look: Duration,
}

/// How long the edges of this node may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence {
    /// An edge is looked at again after about so much of it.
    pub(crate) look_after: Duration,
    /// An edge that is looked at is pinged after so much of it.
    pub(crate) ping_after: Duration,
}

impl Silence {
    /// An edge is looked at when a ping is due.
    pub(crate) const fn of(period: Duration) -> Self {
        Self { look_after: period, ping_after: period }
    }
}

impl Keepalive {
    /// No edge has died yet. Batches begin at a time that depends on who this node is, so that
    /// those that are started together do not wake together for ever.
    pub(crate) fn new(now: Instant, own: &NodeId, profile: Profile) -> Self {
        let share = (own.prefix() & u64::from(u32::MAX)) as u32;
        let apart = match profile {
            Profile::Router => LOOKS_APART,
            Profile::Light => BATCH_INTERVAL,
        };
        let phase = (apart.as_nanos() * u128::from(share)) >> 32;
        let origin = now + Duration::from_nanos(phase as u64);
        Self { profile, origin, deaths: 0.0, counted_at: now, longest_look: Duration::ZERO }
    }

    /// An edge was found dead.
    pub(crate) fn on_death(&mut self, now: Instant) {
        self.deaths = self.recent_deaths(now) + 1.0;
        self.counted_at = now;
    }

    /// How long edges may be silent, when there are so many.
    pub(crate) fn silence(&self, now: Instant, edges: usize) -> Silence {
        if self.profile == Profile::Light {
            return Silence { look_after: BATCH_LOOK, ping_after: BATCH_SILENCE };
        }
        let rate = self.recent_deaths(now) / (MEMORY.as_secs_f64() * edges.max(1) as f64);
        let unnoticed = DEAD_SHARE / rate.max(1e-9);
        let seconds = 2.0 * (unnoticed - ANSWER_WAIT.as_secs_f64());
        let count = u32::try_from(edges).unwrap_or(u32::MAX);
        let longest =
            INTERVAL_PER_EDGE.saturating_mul(count).clamp(INTERVAL_FEW_EDGES, INTERVAL_MAX);
        let seconds = seconds.clamp(INTERVAL_MIN.as_secs_f64(), longest.as_secs_f64());
        Silence::of(Duration::from_secs_f64(seconds))
    }

    /// A look at an edge was planned for when it is silent for this long.
    pub(crate) fn on_planned(&mut self, silence: Silence) {
        self.longest_look = self.longest_look.max(silence.look_after);
    }

    /// Whether looks are due much sooner than they were planned. If so, they are planned anew.
    pub(crate) fn is_urgent(&mut self, silence: Silence) -> bool {
        let must = silence.look_after < self.longest_look / 4 * 3;
        if must {
            self.longest_look = silence.look_after;
        }
        must
    }

    /// When something planned for `at` is done: a router does together what is due within a few
    /// seconds, a light node everything.
    pub(crate) fn align(&self, at: Instant, now: Instant) -> Instant {
        match self.profile {
            Profile::Router => self.align_to(SCHEDULE_APART, at, now),
            Profile::Light => self.align_to(BATCH_INTERVAL, at, now),
        }
    }

    /// When an edge that is to be looked at at `at` is: a light node does it in the batch before
    /// rather than in the one after, which would be too late.
    pub(crate) fn align_look(&self, at: Instant, now: Instant) -> Instant {
        if self.profile == Profile::Router {
            return self.align_to(LOOKS_APART, at, now);
        }
        if at <= now + ANSWER_WAIT {
            return at;
        }
        let since = at.saturating_duration_since(self.origin);
        self.batch(BATCH_INTERVAL, since.as_nanos() / BATCH_INTERVAL.as_nanos(), now)
    }

    /// The first of the batches this far `apart` that is not much earlier than `at`; `at` itself,
    /// if that is soon.
    fn align_to(&self, apart: Duration, at: Instant, now: Instant) -> Instant {
        if at <= now + ANSWER_WAIT {
            return at;
        }
        let early = at.saturating_duration_since(self.origin + apart / 10);
        self.batch(apart, early.as_nanos().div_ceil(apart.as_nanos()), now)
    }

    /// The batch of this number, or the next to come if that is past.
    fn batch(&self, apart: Duration, number: u128, now: Instant) -> Instant {
        let batch = self.origin + apart * u32::try_from(number).unwrap_or(u32::MAX);
        if batch > now { batch } else { batch + apart }
    }

    /// Deaths, decayed to now. A rational decay: within a tenth of an exponential one over the
    /// first two time constants, and the same on every machine.
    fn recent_deaths(&self, now: Instant) -> f64 {
        let age =
            now.saturating_duration_since(self.counted_at).as_secs_f64() / MEMORY.as_secs_f64();
        self.deaths / (1.0 + age + age * age / 2.0 + age * age * age / 6.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    /// Whose batches begin at once.
    const PUNCTUAL: NodeId = NodeId::from_bytes([0; 32]);

    fn keepalive(profile: Profile) -> Keepalive {
        Keepalive::new(test_base(), &PUNCTUAL, profile)
    }

    #[test]
    fn a_quiet_network_is_asked_as_rarely_as_allowed() {
        let now = test_base();
        let mut keepalive = keepalive(Profile::Router);
        assert_eq!(keepalive.silence(now, 100), Silence::of(INTERVAL_MAX));
        keepalive.on_death(now);
        assert_eq!(keepalive.silence(now, 100), Silence::of(INTERVAL_MAX), "one death is no churn");
    }

    #[test]
    fn churn_shortens_the_interval_to_what_keeps_the_dead_share() {
        let now = test_base();
        let mut keepalive = keepalive(Profile::Router);
        // Two in a hundred every 30 s, for ten minutes, seen by a node with 100 edges.
        for second in 0..40 {
            let at = now + Duration::from_secs(second * 15);
            keepalive.on_death(at);
        }
        let interval = keepalive.silence(now + Duration::from_secs(600), 100).look_after;
        assert!((15..=25).contains(&interval.as_secs()), "{interval:?}");
    }

    #[test]
    fn half_of_all_edges_dying_at_once_is_noticed_at_once_and_forgotten_in_minutes() {
        let now = test_base();
        let mut keepalive = keepalive(Profile::Router);
        for _ in 0..45 {
            keepalive.on_death(now);
        }
        assert_eq!(keepalive.silence(now, 45), Silence::of(INTERVAL_MIN));
        let later = now + Duration::from_secs(1800);
        assert_eq!(keepalive.silence(later, 100), Silence::of(INTERVAL_MAX));
    }

    #[test]
    fn a_light_node_does_everything_together() {
        let now = test_base();
        let s = Duration::from_secs;
        let light = keepalive(Profile::Light);
        assert_eq!(light.align(now + s(50), now), now + s(110));
        assert_eq!(light.align(now + s(115), now + s(1)), now + s(110), "a little early is fine");
        assert_eq!(light.align(now + s(130), now + s(110)), now + s(220));
        assert_eq!(light.align(now + s(112), now + s(110)), now + s(112), "what is awaited now");
        let router = keepalive(Profile::Router);
        assert_eq!(router.align(now + s(50), now), now + s(52));
        assert_eq!(router.align_look(now + s(50), now), now + s(56));
        assert_eq!(router.align(now + s(4), now), now + s(4), "what is awaited now");
    }

    #[test]
    fn few_edges_are_asked_more_often() {
        let (now, s) = (test_base(), Duration::from_secs);
        let router = keepalive(Profile::Router);
        for (edges, silence) in [(0, 30), (1, 30), (50, 55), (100, 100), (usize::MAX, 100)] {
            assert_eq!(router.silence(now, edges), Silence::of(s(silence)));
        }
    }

    /// Two minutes is what a NAT has to keep a mapping for (RFC 4787 §4.3).
    #[test]
    fn no_edge_is_silent_for_two_minutes() {
        let (base, s) = (test_base(), Duration::from_secs);
        for (profile, longest) in [(Profile::Router, s(118)), (Profile::Light, s(115))] {
            let keepalive = keepalive(profile);
            let Silence { look_after, ping_after } = keepalive.silence(base, 100);
            for heard in (0..330).map(|second| base + s(second)) {
                for percent in [90, 100, 110] {
                    let wait = look_after * percent / 100;
                    let mut look = keepalive.align_look(heard + wait, heard);
                    // With a tenth off for jitter it is too soon to ping.
                    if look.duration_since(heard) < ping_after * 9 / 10 {
                        look = keepalive.align_look(heard + wait, look);
                    }
                    let silent = look.duration_since(heard);
                    assert!(silent >= ping_after * 9 / 10 && silent <= longest, "{silent:?}");
                }
            }
        }
    }
}
