//! How often a silent edge is asked for a sign of life.
//!
//! Responsible for: one number, how long an edge may be silent before it is pinged. Never: pings, or
//! keeps a timer.
//!
//! **Ping rarely, decide fast.** What harms routing is the share of edges that are dead without
//! anybody knowing. A dead edge goes unnoticed for half the ping interval on average, plus the
//! [`ANSWER_WAIT`] that a ping is given. So the interval follows from how often edges die: as long as
//! none does, it is the longest, and in churn it is as short as keeps the undetected share at
//! [`DEAD_SHARE`] (an idealised model of 10,000 nodes lost 0.02 % of messages at 2 %, 0.14 % at 4 %).
//!
//! **What it costs.** An acknowledged ping exchange is 3 datagrams and 222 bytes (measured on
//! quinn-proto over IPv4), on both ends. A router with 90 edges, each pinged by whichever end first
//! finds it silent for 60 s, pays 90 × 222 × 1440 = 29 MB a day. A light node asks all of its 24
//! edges (measured in a simulated network of 10,000) every 110 s: 24 × 222 × 785 = 4.2 MB a day.
//!
//! **Compatibility.** A reference node drops an edge over which it *received* nothing for 45 s (a
//! sibling) or 75 s, but it pings after 15 or 25 s, and our answers are what it then receives. Its
//! pings in turn are what we receive, so its edges are never silent long enough for ours.

use std::time::{Duration, Instant};

use crate::engine::Profile;

/// How long a ping may go unanswered, retransmissions included (architecture §6.4).
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Longest silence before a router asks.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Shortest silence before a router asks, however many edges die (spec 80 §2: the reference's).
const INTERVAL_MIN: Duration = Duration::from_secs(15);
/// A router looks at its edges so often at most, at several of them at once: what a look costs is
/// mostly waking up (a guess, below [`ANSWER_WAIT`]).
const LOOKS_APART: Duration = Duration::from_secs(4);
/// How often a light node asks all of its edges at once: as rarely as a NAT that keeps RFC 4787 §4.3
/// (two minutes) lets it, with the jitter of the network to spare.
pub(crate) const BATCH_INTERVAL: Duration = Duration::from_secs(110);
/// Silence of a light peer before it is asked after all: its own batch, one missed, and an answer.
const LIGHT_PATIENCE: Duration = Duration::from_secs(240);
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
}

/// How long a peer that batches its pings may be silent before it is pinged.
pub(crate) const fn light_patience() -> Duration {
    LIGHT_PATIENCE
}

impl Keepalive {
    /// No edge has died yet.
    pub(crate) fn new(now: Instant, profile: Profile) -> Self {
        Self { profile, origin: now, deaths: 0.0, counted_at: now }
    }

    /// An edge was found dead.
    pub(crate) fn on_death(&mut self, now: Instant) {
        self.deaths = self.recent_deaths(now) + 1.0;
        self.counted_at = now;
    }

    /// How long an edge may be silent before it is pinged, with so many edges.
    pub(crate) fn interval(&self, now: Instant, edges: usize) -> Duration {
        if self.profile == Profile::Light {
            return BATCH_INTERVAL;
        }
        let rate = self.recent_deaths(now) / (MEMORY.as_secs_f64() * edges.max(1) as f64);
        let unnoticed = DEAD_SHARE / rate.max(1e-9);
        let seconds = 2.0 * (unnoticed - ANSWER_WAIT.as_secs_f64());
        let (low, high) = (INTERVAL_MIN.as_secs_f64(), INTERVAL_MAX.as_secs_f64());
        Duration::from_secs_f64(seconds.clamp(low, high))
    }

    /// When something planned for `at` is done: a router does together what is due within a few
    /// seconds, a light node everything.
    pub(crate) fn align(&self, at: Instant, now: Instant) -> Instant {
        if at <= now + ANSWER_WAIT {
            return at;
        }
        let apart = match self.profile {
            Profile::Router => LOOKS_APART,
            Profile::Light => BATCH_INTERVAL,
        };
        let early = at.saturating_duration_since(self.origin + apart / 10);
        let batches = early.as_nanos().div_ceil(apart.as_nanos());
        let batch = self.origin + apart * u32::try_from(batches).unwrap_or(u32::MAX);
        if batch > now { batch } else { batch + apart }
    }

    /// Deaths, decayed to now. A rational decay: within a tenth of an exponential one over the first
    /// two time constants, and the same on every machine.
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

    #[test]
    fn a_quiet_network_is_asked_as_rarely_as_allowed() {
        let now = test_base();
        let mut keepalive = Keepalive::new(now, Profile::Router);
        assert_eq!(keepalive.interval(now, 90), INTERVAL_MAX);
        keepalive.on_death(now);
        assert_eq!(keepalive.interval(now, 90), INTERVAL_MAX, "one death is no churn");
    }

    #[test]
    fn churn_shortens_the_interval_to_what_keeps_the_dead_share() {
        let now = test_base();
        let mut keepalive = Keepalive::new(now, Profile::Router);
        // Two in a hundred every 30 s, for ten minutes, seen by a node with 100 edges.
        for second in 0..40 {
            let at = now + Duration::from_secs(second * 15);
            keepalive.on_death(at);
        }
        let interval = keepalive.interval(now + Duration::from_secs(600), 100);
        assert!((15..=25).contains(&interval.as_secs()), "{interval:?}");
    }

    #[test]
    fn half_of_all_edges_dying_at_once_is_noticed_at_once_and_forgotten_in_minutes() {
        let now = test_base();
        let mut keepalive = Keepalive::new(now, Profile::Router);
        for _ in 0..45 {
            keepalive.on_death(now);
        }
        assert_eq!(keepalive.interval(now, 45), INTERVAL_MIN);
        let later = now + Duration::from_secs(1800);
        assert_eq!(keepalive.interval(later, 90), INTERVAL_MAX);
    }

    #[test]
    fn a_light_node_does_everything_together() {
        let now = test_base();
        let s = Duration::from_secs;
        let light = Keepalive::new(now, Profile::Light);
        assert_eq!(light.interval(now, 20), BATCH_INTERVAL);
        assert_eq!(light.align(now + s(50), now), now + s(110));
        assert_eq!(light.align(now + s(115), now + s(1)), now + s(110), "a little early is fine");
        assert_eq!(light.align(now + s(130), now + s(110)), now + s(220));
        assert_eq!(light.align(now + s(112), now + s(110)), now + s(112), "what is awaited now");
        let router = Keepalive::new(now, Profile::Router);
        assert_eq!(router.align(now + s(50), now), now + s(52));
        assert_eq!(router.align(now + s(4), now), now + s(4), "what is awaited now");
    }
}
