//! Adaptive ping interval of idle edges.
//!
//! Responsible for: how long an edge may be silent before it is pinged, and which timers fire
//! together. Never: pings, or keeps a timer.
//!
//! **Ping rarely, decide fast.** Routing suffers from the share of edges that are dead and not yet
//! detected. A dead edge is undetected for half the ping interval on average, plus the
//! [`ANSWER_WAIT`] of the ping. The interval therefore follows from how often edges die. It is the
//! longest as long as none does; in churn it keeps the undetected share at [`DEAD_SHARE`] (an
//! idealised model of 10,000 nodes lost 0.02 % of messages at 2 %, 0.14 % at 4 %). Where many die
//! at once, the first few that are detected bring the checks of all others forward. A NAT whose
//! mappings expire sooner than the longest interval shows as dead edges, too.
//!
//! **Cost.** An acknowledged ping exchange is 3 datagrams and 222 bytes (measured on quinn-proto
//! over IPv4), on both ends. The end that first finds an edge silent for 100 s pings it. A router
//! with 90 edges thus pays 90 × 222 × 864 = 17 MB a day. A light node pings all of its 24 edges
//! (measured in a simulated network of 10,000) every 110 s: 24 × 222 × 785 = 4.2 MB a day.
//!
//! **Compatibility.** A reference node drops an edge over which it *received* nothing for 45 s (a
//! sibling) or 75 s. It pings after 15 or 25 s, and receives the answers of this node. Its pings
//! also keep the edge from being silent long enough for a ping of this node.

use std::time::{Duration, Instant};

use crate::NodeId;
use crate::api::Profile;

/// How long a ping may go unanswered, retransmissions included (PROTOCOL.md#answer-time).
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Longest silence before a router pings. With the jitter of a check and [`LOOKS_APART`] it stays
/// below the two minutes for which a NAT keeps a mapping (RFC 4787 §4.3).
const INTERVAL_MAX: Duration = Duration::from_secs(100);
/// Longest silence for each edge there is, up to the above (a guess: 90 edges make it 99 s). A
/// router with few edges pings sooner: each of them matters more, and together they cost no more
/// than many do.
const INTERVAL_PER_EDGE: Duration = Duration::from_millis(1100);
/// The least that [`INTERVAL_PER_EDGE`] leads to, with few edges (a guess).
const INTERVAL_FEW_EDGES: Duration = Duration::from_secs(30);
/// Shortest silence before a router pings, even if many edges die (reference;
/// PROTOCOL.md#ping-interval).
const INTERVAL_MIN: Duration = Duration::from_secs(15);
/// Grid of a router's liveness checks. Several edges are checked at once, because the cost of a
/// check is mostly that of the wake-up (a guess).
const LOOKS_APART: Duration = Duration::from_secs(8);
/// Grid of a router's maintenance tasks: half as much, so that every other task shares a wake-up
/// with a liveness check.
const SCHEDULE_APART: Duration = Duration::from_secs(4);
/// How often a light node pings all of its edges at once. With the jitter of the network it stays
/// below the two minutes of RFC 4787 §4.3.
const BATCH_INTERVAL: Duration = Duration::from_secs(110);
/// Silence after which an edge of a light node is part of the batch. It is short, because an edge
/// that is left out waits for the next batch, and its NAT mapping expires meanwhile.
const BATCH_SILENCE: Duration = ANSWER_WAIT;
/// An edge of a light node is checked in the last batch within this silence. With the jitter of a
/// check that is no later than a batch and an answer.
const BATCH_LOOK: Duration = Duration::from_secs(104);
/// Silence of a light peer before this node pings it after all: its own batch, one missed, and an
/// answer.
pub(crate) const LIGHT_PATIENCE: Duration = Duration::from_secs(240);
/// Silence before a relayed conn is pinged. A volunteer ends a session that passed nothing on for
/// 30 s (reference); this leaves room for one lost ping. Such conns are not checked in batches,
/// which are too far apart.
pub(crate) const RELAYED: Duration = Duration::from_secs(12);
/// Target for the share of undetected dead edges.
const DEAD_SHARE: f64 = 0.01;
/// Time over which deaths are averaged.
const MEMORY: Duration = Duration::from_secs(120);

/// The rate at which edges die without a Leave, and the ping interval that follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Keepalive {
    profile: Profile,
    /// Start of the grid of batches.
    origin: Instant,
    /// Deaths, each counting for less the longer ago it was.
    deaths: f64,
    counted_at: Instant,
    /// The longest silence after which a check of an edge is planned now.
    longest_look: Duration,
}

/// How long the edges of this node may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence {
    /// An edge is checked again after about this silence.
    pub(crate) look_after: Duration,
    /// An edge that is checked is pinged after this silence.
    pub(crate) ping_after: Duration,
}

impl Silence {
    /// An edge is checked when a ping is due.
    pub(crate) const fn of(period: Duration) -> Self {
        Self { look_after: period, ping_after: period }
    }
}

impl Keepalive {
    /// No edge has died yet. The grid of batches starts at a time that depends on the identifier,
    /// so that nodes that start together do not ping together for ever.
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

    /// An edge was detected to be dead.
    pub(crate) fn on_death(&mut self, now: Instant) {
        self.deaths = self.recent_deaths(now) + 1.0;
        self.counted_at = now;
    }

    /// How long edges may be silent if there are `edges` of them.
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

    /// A check of an edge was planned for when it is silent for this long.
    pub(crate) fn on_planned(&mut self, silence: Silence) {
        self.longest_look = self.longest_look.max(silence.look_after);
    }

    /// Whether checks are due much sooner than they were planned. If so, they are planned anew.
    pub(crate) fn is_urgent(&mut self, silence: Silence) -> bool {
        let must = silence.look_after < self.longest_look / 4 * 3;
        if must {
            self.longest_look = silence.look_after;
        }
        must
    }

    /// When a task planned for `at` is done: on the grid of a router, or in the batch of a light
    /// node.
    pub(crate) fn align(&self, at: Instant, now: Instant) -> Instant {
        match self.profile {
            Profile::Router => self.align_to(SCHEDULE_APART, at, now),
            Profile::Light => self.align_to(BATCH_INTERVAL, at, now),
        }
    }

    /// When an edge whose check is planned for `at` is checked. A light node does it in the batch
    /// before; the one after would be too late.
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

    /// A node whose grid of batches starts at once.
    const PUNCTUAL: NodeId = NodeId::from_bytes([0; 32]);

    fn keepalive(profile: Profile) -> Keepalive {
        Keepalive::new(test_base(), &PUNCTUAL, profile)
    }

    #[test]
    fn edges_of_a_network_without_deaths_are_pinged_as_rarely_as_allowed() {
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
        // Two in a hundred die every 30 s, for ten minutes, in a node with 100 edges.
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
    fn a_light_node_pings_and_maintains_in_batches() {
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
    fn few_edges_are_pinged_more_often() {
        let (now, s) = (test_base(), Duration::from_secs);
        let router = keepalive(Profile::Router);
        for (edges, silence) in [(0, 30), (1, 30), (50, 55), (100, 100), (usize::MAX, 100)] {
            assert_eq!(router.silence(now, edges), Silence::of(s(silence)));
        }
    }

    /// A NAT keeps a mapping for two minutes at least (RFC 4787 §4.3).
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
                    // Less a tenth for jitter, it is too soon to ping.
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
