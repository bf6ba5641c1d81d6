//! Maintenance schedule: when fills, lookups, tries of faster edges and eviction probes are due.
//!
//! Responsible for: when a task is due. Never: chooses a peer or a target; `maintain` does that
//! from the tables once the task is due.
//!
//! All tasks share one timer, set to the first that is due. While nothing changes, every period
//! lengthens; an edge lost or a contact learned shortens those that it concerns. A light node does
//! all tasks together with its pings, so that one wake-up serves for all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::choose::Vacancies;
use super::period::Period;
use crate::NodeId;
use crate::api::Profile;
use crate::env::Random;
use crate::overlay::edges::Phase;

/// Fills are this far apart at least, so that several contacts learned together are candidates
/// together (a guess; the reference fills every 5 s).
const FILL_SPACING: Duration = Duration::from_millis(200);
/// The same for a node whose targets are met.
const FILL_SPACING_CONTENT: Duration = Duration::from_secs(2);
/// After the machine slept or moved, a node does not count as content for this long: edges that are
/// dead are detected within the time of an answer (a guess: twice that).
const RESUMED: Duration = Duration::from_secs(10);
/// Interval of fills of a node whose targets are met. Replacements alone would need it less often;
/// a fill also finds siblings that changed (PROTOCOL.md#fill-schedule).
const FILL_IDLE: Duration = Duration::from_secs(60);
/// Between two lookups into buckets (a guess: a joining node makes about forty, which takes twenty
/// seconds; PROTOCOL.md#lookup-schedule).
const LOOKUP_SPACING: Duration = Duration::from_millis(500);
/// First repetition of the lookup of the own identifier: nodes that join at the same time are not
/// in the first answer (a guess).
const OWN_WAIT: Duration = Duration::from_secs(1);
/// The lookup is repeated after this long if a neighbour came or went (a guess).
const OWN_WAIT_CHANGED: Duration = Duration::from_secs(32);
/// Longest time between two (a guess: neighbours announce themselves by dialing).
const OWN_WAIT_MAX: Duration = Duration::from_secs(30 * 60);
/// The same for a node that is not reachable for peers that it never dialed. New peers do not
/// announce themselves to it, and until it asks, messages for it end at those that should be its
/// neighbours (a guess; measured in a simulated network of 1,000, one in five behind a hard NAT:
/// 0.6 MB a day for the average node).
const OWN_WAIT_UNREACHABLE_MAX: Duration = Duration::from_secs(64);
/// First repetition of the question to a neighbour about its vicinity
/// (PROTOCOL.md#lookup-schedule).
const VICINITY_WAIT: Duration = Duration::from_secs(30);
/// The question is repeated after this long if a neighbour came or went (a guess).
const VICINITY_WAIT_CHANGED: Duration = Duration::from_secs(8);
/// Longest time between two.
const VICINITY_WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// First repetition of a lookup into a bucket that lacks contacts.
const BUCKET_WAIT: Duration = Duration::from_secs(20);
/// Longest time between two (the reference calls a bucket stale after 15 min;
/// PROTOCOL.md#lookup-schedule).
const BUCKET_WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// Faster contacts that are tried at once, each in a slot of its own, because every round costs a
/// scan of all edges (a guess).
const FASTER_AT_ONCE: u32 = 4;
/// Between two such rounds (a guess).
const FASTER_SPACING: Duration = Duration::from_secs(12);
/// Tries of faster contacts that a node starts with, about two for each of its fingers. An
/// idealised model needed three or four contacts to choose from for paths at most twice as long as
/// the direct ones. (Measured in a simulated network of 10,000, three in five of them behind NATs:
/// the median path was 1.90 times as long as the direct one, in an earlier run with 48 tries 2.01
/// times.)
const FASTER_TRIES: u32 = 80;
/// One more try is granted after this long: 288 handshakes a day at most (a guess).
const FASTER_GRANT: Duration = Duration::from_secs(300);
/// Between two probes of doubtful incumbents.
const PROBE_SPACING: Duration = Duration::from_secs(30);
/// Incumbents that wait to be probed, at most; further ones are ignored
/// (PROTOCOL.md#eviction-probes).
const PROBES_MAX: usize = 16;
/// Factor by which a period grows while there is nothing new.
const GROWTH: u32 = 2;
/// The same for a light node, for which every question is expensive: an answer is about as long as
/// ten ping exchanges.
const GROWTH_LIGHT: u32 = 4;
/// How often a node without an edge to any bootstrap peer dials one. Two networks that were
/// separated for long are thus joined (a guess).
const SEED_CHECK: Duration = Duration::from_secs(10 * 60);

/// When each task is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// When the next fill is due.
    pub(crate) fill: Instant,
    last_fill: Instant,
    /// Whether the last fill found all targets met.
    content: bool,
    /// Until when edges that count may be dead, because the machine slept or moved.
    resumed_until: Instant,
    /// The contacts that it could have used.
    pub(crate) vacancies: Vacancies,
    pub(crate) own: Period,
    pub(crate) vicinity: Period,
    /// By prefix length.
    buckets: Vec<Period>,
    next_lookup: Instant,
    next_try: Instant,
    tries: u32,
    granted: Instant,
    probes: VecDeque<NodeId>,
    next_probe: Instant,
    pub(crate) seed_check: Instant,
    /// Factor by which every period grows while there is nothing new.
    growth: u32,
}

impl Schedule {
    /// Nothing is due before there is an edge or a contact.
    pub(crate) fn new(now: Instant, profile: Profile) -> Self {
        let (growth, tries) = match profile {
            Profile::Router => (GROWTH, FASTER_TRIES),
            Profile::Light => (GROWTH_LIGHT, 0),
        };
        Self {
            resumed_until: now,
            growth,
            fill: now + FILL_IDLE,
            last_fill: now,
            content: false,
            vacancies: Vacancies::ALL,
            own: Period::new(now + OWN_WAIT_MAX, OWN_WAIT),
            vicinity: Period::new(now + VICINITY_WAIT_MAX, VICINITY_WAIT),
            buckets: Vec::new(),
            next_lookup: now,
            next_try: now,
            tries,
            granted: now,
            probes: VecDeque::new(),
            next_probe: now,
            seed_check: now + SEED_CHECK,
        }
    }

    /// An edge began or ended, or a contact was learned: a fill is due soon.
    pub(crate) fn wake_fill(&mut self, now: Instant) {
        let is_content = self.content && now >= self.resumed_until;
        self.fill_after(if is_content { FILL_SPACING_CONTENT } else { FILL_SPACING }, now);
    }

    /// The machine slept or moved: a fill is due soon, and again as edges turn out to be dead.
    pub(crate) fn on_resumed(&mut self, now: Instant) {
        self.resumed_until = now + RESUMED;
        self.wake_fill(now);
    }

    /// An edge is up or a dial failed: a fill is due soon. A node whose targets are met dialed for
    /// a faster edge, and waits for the next fill.
    pub(crate) fn wake_fill_if_wanting(&mut self, now: Instant) {
        if !self.content {
            self.wake_fill(now);
        }
    }

    /// There are too many edges: a fill, which closes some, is due very soon.
    pub(crate) fn expedite_fill(&mut self, now: Instant) {
        self.fill_after(FILL_SPACING, now);
    }

    fn fill_after(&mut self, spacing: Duration, now: Instant) {
        self.fill = self.fill.min((self.last_fill + spacing).max(now + FILL_SPACING / 4));
    }

    /// A fill was done. A contact that backs off may be dialed at `retry`; a node that is `content`
    /// may try a faster contact next.
    pub(crate) fn on_filled(
        &mut self,
        now: Instant,
        rng: &mut Random,
        retry: Option<Instant>,
        content: bool,
    ) {
        self.last_fill = now;
        self.content = content;
        let next_try = (content && self.tries > 0).then_some(self.next_try);
        let soonest = retry.into_iter().chain(next_try).min();
        let idle = now + rng.jitter(FILL_IDLE, 10);
        self.fill = soonest.map_or(idle, |at| idle.min(at.max(now + FILL_SPACING)));
    }

    /// The first edge is up: the lookup of the own identifier is due at once.
    pub(crate) fn on_joined(&mut self, now: Instant) {
        self.own = Period::new(now, OWN_WAIT);
        self.vicinity = Period::new(now, VICINITY_WAIT);
        self.buckets.clear();
    }

    /// A near neighbour is gone, or a nearer one is new.
    pub(crate) fn on_vicinity_changed(&mut self, now: Instant) {
        self.own.reset(now, OWN_WAIT_CHANGED);
        self.vicinity.reset(now, VICINITY_WAIT_CHANGED);
    }

    /// The own identifier was looked up. A node that is reachable may rely longer on neighbours to
    /// announce themselves.
    pub(crate) fn on_own_asked(&mut self, now: Instant, rng: &mut Random, is_reachable: bool) {
        let max = if is_reachable { OWN_WAIT_MAX } else { OWN_WAIT_UNREACHABLE_MAX };
        self.own.slow_down(now, rng, self.growth, max);
    }

    /// A neighbour was asked.
    pub(crate) fn on_vicinity_asked(&mut self, now: Instant, rng: &mut Random) {
        self.vicinity.slow_down(now, rng, self.growth, VICINITY_WAIT_MAX);
    }

    /// The first of these buckets whose lookup is due, if one may be made now.
    pub(crate) fn bucket_due(&mut self, now: Instant, far: core::ops::Range<u16>) -> Option<u16> {
        while self.buckets.len() < usize::from(far.end) {
            self.buckets.push(Period::new(now, BUCKET_WAIT));
        }
        if self.next_lookup > now {
            return None;
        }
        far.filter(|&bucket| self.buckets[usize::from(bucket)].is_due(now))
            .min_by_key(|&bucket| self.buckets[usize::from(bucket)].due)
    }

    /// A lookup into a bucket was sent.
    pub(crate) fn on_bucket_asked(&mut self, now: Instant, rng: &mut Random, bucket: u16) {
        self.next_lookup = now + LOOKUP_SPACING;
        self.buckets[usize::from(bucket)].slow_down(now, rng, self.growth, BUCKET_WAIT_MAX);
    }

    /// A lookup into a bucket found new contacts. One lookup finds those of one part of it, so the
    /// next follows soon.
    pub(crate) fn on_bucket_taught(&mut self, now: Instant, bucket: u16) {
        if let Some(pace) = self.buckets.get_mut(usize::from(bucket)) {
            pace.repeat(now, LOOKUP_SPACING * 2);
        }
    }

    /// A bucket lost an edge and has no contact to replace it.
    pub(crate) fn on_bucket_lacks(&mut self, now: Instant, bucket: u16) {
        if let Some(pace) = self.buckets.get_mut(usize::from(bucket)) {
            pace.reset(now, BUCKET_WAIT);
        }
    }

    /// Number of faster contacts that may be tried now.
    pub(crate) fn tries_now(&mut self, now: Instant) -> usize {
        while self.tries < FASTER_TRIES && self.granted + FASTER_GRANT <= now {
            self.tries += 1;
            self.granted += FASTER_GRANT;
        }
        if self.tries == FASTER_TRIES {
            self.granted = now;
        }
        if self.next_try <= now { self.tries.min(FASTER_AT_ONCE) as usize } else { 0 }
    }

    /// Notes how many of the faster contacts that could be tried now are.
    pub(crate) fn on_tried(&mut self, now: Instant, possible: usize, tried: usize) {
        self.tries -= tried as u32;
        match tried {
            0 if possible == 0 => {}
            // There is no contact to try.
            0 => self.next_try = now + FASTER_GRANT,
            _ => self.next_try = now + FASTER_SPACING,
        }
    }

    /// An incumbent of a full bucket is to be probed.
    pub(crate) fn doubt(&mut self, incumbent: NodeId) {
        if self.probes.len() < PROBES_MAX && !self.probes.contains(&incumbent) {
            self.probes.push_back(incumbent);
        }
    }

    /// The next incumbent to probe, if it is time.
    pub(crate) fn next_probe(&mut self, now: Instant) -> Option<NodeId> {
        if self.next_probe > now {
            return None;
        }
        let incumbent = self.probes.pop_front()?;
        self.next_probe = now + PROBE_SPACING;
        Some(incumbent)
    }

    /// When a task is due next; `far` are the buckets of lookups. Without an edge no question is
    /// due: it could not be sent, would stay due, and would wake the node again and again.
    pub(crate) fn due(&self, far: core::ops::Range<u16>, has_edges: bool) -> Instant {
        let buckets = far.filter_map(|bucket| self.buckets.get(usize::from(bucket)));
        let lookup = buckets.map(|pace| pace.due).min().map(|due| due.max(self.next_lookup));
        let probe = (!self.probes.is_empty()).then_some(self.next_probe);
        let asked = [Some(self.own.due), Some(self.vicinity.due), lookup].into_iter().flatten();
        asked
            .filter(|_| has_edges)
            .chain(probe)
            .chain([self.fill, self.seed_check])
            .min()
            .expect("some are always set")
    }

    /// The bootstrap peers were checked.
    pub(crate) fn on_seed_checked(&mut self, now: Instant, rng: &mut Random) {
        self.seed_check = now + rng.jitter(SEED_CHECK, 10);
    }

    /// Number of contacts that wait to be probed.
    pub(crate) fn probes(&self) -> usize {
        self.probes.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.probes.len() <= PROBES_MAX);
        assert!(self.buckets.len() <= 256);
        assert!(self.tries <= FASTER_TRIES);
    }
}

/// Dials in flight at once (reference: 8; PROTOCOL.md#dials-in-flight). A joining node may have
/// twice that, because most of its dials answer within a round trip and the others take seconds.
pub(crate) fn dials_max(phase: Phase) -> usize {
    match phase {
        Phase::Bootstrap | Phase::Critical | Phase::Urgent => 16,
        Phase::NeedsFill => 8,
        Phase::Normal => FASTER_AT_ONCE as usize,
    }
}

#[cfg(test)]
mod tests;
