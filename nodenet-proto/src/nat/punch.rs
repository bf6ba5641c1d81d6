//! Punch bursts: the schedule of datagrams that open the NATs of both ends
//! (PROTOCOL.md#punch-bursts).
//!
//! Responsible for: which addresses get punches, how many, and when. Never: dials, and never starts
//! a burst that neither a signed message nor an attempt of this node asked for.
//!
//! A packet that reaches the peer's router before the peer has sent may move the peer's port: a
//! Linux router that accepts input takes the tuple for a flow of its own. So an end that does not
//! know whether the other one has sent opens its own NATs alone, with a TTL that ends behind them,
//! and sends with that of the system once the other end can have sent as well.

mod budget;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use heapless::Vec as FixedVec;

#[cfg(test)]
pub(crate) use self::budget::datagram_len;
pub(crate) use self::budget::{Budget, Naming};

use crate::NodeId;
use crate::env::UnixNanos;
use crate::stats::DropReason;
use crate::wire::nat::NAT_NONCE_LEN;

/// Volleys of a burst (reference).
pub(crate) const VOLLEYS: u8 = 5;
/// From one volley to the next (reference).
pub(crate) const SPACING: Duration = Duration::from_millis(50);
/// Addresses that get a volley, at most (reference).
pub(crate) const TARGETS_MAX: usize = 8;
/// Bursts under way, of each cause (reference).
pub(crate) const BURSTS_MAX: usize = 32;
/// TTL of a short volley: it passes one NAT. With 1 it makes no mapping (measured).
pub(crate) const SHORT_TTL: u8 = 2;
/// The same behind two NATs (concluded from the first; no more, because the path to the peer may
/// have as few hops: with 5 another implementation failed on paths of three).
pub(crate) const SHORT_TTL_TWO_NATS: u8 = 3;
/// The full volleys that answer a Connect wait at least this long (a guess: what a datagram takes
/// within one country).
pub(crate) const DELAY_MIN: Duration = Duration::from_millis(20);
/// They wait at most this long (a guess: a route around the world. An initiator that dials meets
/// the open mapping after its first repetition).
pub(crate) const DELAY_MAX: Duration = Duration::from_millis(500);

/// Kind of what an attempt sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volley {
    /// One volley that ends behind the NATs of this node: the peer is not known to have sent.
    Short,
    /// Five volleys with the TTL of the system.
    Full,
}

/// What caused a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A Connect of the peer with this nonce.
    Connect([u8; NAT_NONCE_LEN]),
    /// An attempt of this node.
    Attempt,
    /// A bind of a volunteer.
    Bind,
}

impl Cause {
    /// Whether both have the same limits.
    fn is_like(self, other: Self) -> bool {
        core::mem::discriminant(&self) == core::mem::discriminant(&other)
    }
}

/// The full volleys of a burst, planned or under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Burst {
    peer: NodeId,
    cause: Cause,
    targets: FixedVec<SocketAddr, TARGETS_MAX>,
    volleys_left: u8,
    at: Instant,
}

/// What of a burst is allowed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Planned {
    /// The targets that are allowed.
    pub(crate) targets: FixedVec<SocketAddr, TARGETS_MAX>,
    /// A reason for each target that gets nothing, or one for the whole burst.
    pub(crate) refused: Vec<DropReason>,
}

/// The bursts of this node, and the budgets for them.
#[derive(Debug)]
pub(crate) struct Punches {
    bursts: Vec<Burst>,
    answers: Budget,
    attempts: Budget,
    binds: Budget,
}

impl Punches {
    /// No bursts.
    pub(crate) fn new(now: Instant) -> Self {
        let (answers, attempts) = (Budget::of_answers(now), Budget::of_attempts(now));
        Self { bursts: Vec::new(), answers, attempts, binds: Budget::of_binds(now) }
    }

    /// Plans the full volleys that answer a Connect, from `at` on, and charges them together with a
    /// short one at once to the targets that get one.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        peer: NodeId,
        nonce: [u8; NAT_NONCE_LEN],
        targets: impl IntoIterator<Item = SocketAddr>,
        named: Naming<'_>,
        at: Instant,
    ) -> Planned {
        let cause = Cause::Connect(nonce);
        let count = |target: &SocketAddr| u64::from(VOLLEYS) + u64::from(has_short(target));
        let planned = self.allow(now, peer, cause, targets, named, count);
        self.begin(peer, cause, &planned, at);
        planned
    }

    /// Plans the full volleys of an attempt of this node, from now on. Addresses that get some
    /// already are left out.
    pub(crate) fn attempt(
        &mut self,
        now: Instant,
        peer: NodeId,
        targets: impl IntoIterator<Item = SocketAddr>,
        named: Naming<'_>,
    ) -> Planned {
        let targets: Vec<SocketAddr> = targets.into_iter().collect();
        let mine = |burst: &&Burst| burst.peer == peer && burst.cause == Cause::Attempt;
        let served: BTreeSet<SocketAddr> =
            self.bursts.iter().filter(mine).flat_map(|burst| burst.targets.clone()).collect();
        let fresh = targets.into_iter().filter(|target| !served.contains(target));
        let planned = self.allow(now, peer, Cause::Attempt, fresh, named, |_| u64::from(VOLLEYS));
        self.begin(peer, Cause::Attempt, &planned, now);
        planned
    }

    /// Plans the full volleys towards a socket of a volunteer, from now on. A volunteer gets one
    /// more burst only while more are free than it has under way (dynamic thresholds, as for the
    /// sessions of a volunteer): one takes half of them at most (PROTOCOL.md#relay-binds).
    pub(crate) fn bind(
        &mut self,
        now: Instant,
        volunteer: NodeId,
        target: SocketAddr,
        named: Naming<'_>,
    ) -> Planned {
        let binds = || self.bursts.iter().filter(|burst| burst.cause == Cause::Bind);
        if binds().any(|burst| burst.targets.contains(&target)) {
            return Planned::default();
        }
        let of_volunteer = binds().filter(|burst| burst.peer == volunteer).count();
        if of_volunteer >= BURSTS_MAX - binds().count().min(BURSTS_MAX) {
            return Planned { refused: vec![DropReason::PunchesFull], ..Planned::default() };
        }
        let count = |_: &SocketAddr| u64::from(VOLLEYS);
        let planned = self.allow(now, volunteer, Cause::Bind, [target], named, count);
        self.begin(volunteer, Cause::Bind, &planned, now);
        planned
    }

    /// Charges one short volley of an attempt of this node.
    pub(crate) fn attempt_short(
        &mut self,
        now: Instant,
        peer: NodeId,
        targets: impl IntoIterator<Item = SocketAddr>,
        named: Naming<'_>,
    ) -> Planned {
        let targets = targets.into_iter().filter(has_short);
        self.allow(now, peer, Cause::Attempt, targets, named, |_| 1)
    }

    /// Charges `count` datagrams to each of the first targets.
    fn allow(
        &mut self,
        now: Instant,
        peer: NodeId,
        cause: Cause,
        targets: impl IntoIterator<Item = SocketAddr>,
        mut named: Naming<'_>,
        count: impl Fn(&SocketAddr) -> u64,
    ) -> Planned {
        let mut planned = Planned::default();
        let like = |burst: &&Burst| burst.cause.is_like(cause);
        if self.bursts.iter().filter(like).count() >= BURSTS_MAX {
            planned.refused.push(DropReason::PunchesFull);
            return planned;
        }
        let budget = match cause {
            Cause::Connect(_) => &mut self.answers,
            Cause::Attempt => &mut self.attempts,
            Cause::Bind => &mut self.binds,
        };
        if !budget.take_burst(now, peer) {
            planned.refused.push(DropReason::PunchRateLimited);
            return planned;
        }
        for target in targets.into_iter().take(TARGETS_MAX) {
            if budget.take_target(now, target, count(&target), &mut named) {
                let _ = planned.targets.push(target);
            } else {
                planned.refused.push(DropReason::PunchRateLimited);
            }
        }
        planned
    }

    fn begin(&mut self, peer: NodeId, cause: Cause, planned: &Planned, at: Instant) {
        let targets = planned.targets.clone();
        if !targets.is_empty() {
            self.bursts.push(Burst { peer, cause, targets, volleys_left: VOLLEYS, at });
        }
    }

    /// Whether the burst that answers this Connect is planned or under way.
    pub(crate) fn is_answering(&self, peer: &NodeId, nonce: [u8; NAT_NONCE_LEN]) -> bool {
        let cause = Cause::Connect(nonce);
        self.bursts.iter().any(|burst| burst.peer == *peer && burst.cause == cause)
    }

    /// A punch arrived from this host, so the peer has sent, if the host is one of its own. What
    /// waits for that is due. Returns whether anything did.
    pub(crate) fn handle_punched(&mut self, now: Instant, ip: IpAddr) -> bool {
        let mut is_awaited = false;
        for burst in &mut self.bursts {
            let is_named = burst.targets.iter().any(|target| target.ip() == ip);
            if is_named && burst.volleys_left == VOLLEYS && burst.at > now {
                burst.at = now;
                is_awaited = true;
            }
        }
        is_awaited
    }

    /// There is an edge to this peer: nothing is left to open.
    pub(crate) fn end(&mut self, peer: &NodeId) {
        // A bind leads to another node than the volunteer, which has an edge all the time.
        self.bursts.retain(|burst| burst.peer != *peer || burst.cause == Cause::Bind);
    }

    /// The volleys that are due: where each of their datagrams goes.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut datagrams = Vec::new();
        for burst in self.bursts.iter_mut().filter(|burst| burst.at <= now) {
            datagrams.extend(&burst.targets);
            burst.volleys_left -= 1;
            burst.at = now + SPACING;
        }
        self.bursts.retain(|burst| burst.volleys_left > 0);
        self.bursts.shrink_to(2 * self.bursts.len());
        datagrams
    }

    /// When the next volley is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.bursts.iter().map(|burst| burst.at).min()
    }

    /// Ends every burst.
    pub(crate) fn stop(&mut self) {
        self.bursts.clear();
    }

    /// Bursts planned or under way.
    pub(crate) fn len(&self) -> usize {
        self.bursts.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        for one in &self.bursts {
            let like = self.bursts.iter().filter(|burst| burst.cause.is_like(one.cause));
            assert!(like.count() <= BURSTS_MAX);
        }
        assert!(self.bursts.iter().all(|burst| (1..=VOLLEYS).contains(&burst.volleys_left)));
        self.answers.check();
        self.attempts.check();
        self.binds.check();
    }
}

/// Whether an address gets short volleys. Behind IPv6 there is seldom a port to move, and no TTL
/// was tried: both ends send with the TTL of the system at about the same time.
pub(crate) fn has_short(target: &SocketAddr) -> bool {
    target.is_ipv4()
}

/// From the receipt of a Connect to the full volleys that answer it: about the time that the
/// Connect took. As long takes the ConnectAck, upon which the initiator sends.
///
/// The stamp is one of the initiator's clock. If that is ahead of this node's, the time is not
/// known, and waiting longer is the harmless error: behind a NAT that the short volley opened, the
/// initiator's own punch ends the wait. No better measure is at hand: the hops of the route are
/// not in the envelope, and their delays are not known here.
pub(crate) fn delay(wall: UnixNanos, sent: UnixNanos) -> Duration {
    match u64::try_from(wall.0.saturating_sub(sent.0)) {
        Ok(took) => Duration::from_nanos(took).clamp(DELAY_MIN, DELAY_MAX),
        Err(_) => DELAY_MAX,
    }
}

/// Different targets in the order given.
pub(crate) fn distinct(targets: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = BTreeSet::new();
    targets.into_iter().filter(|target| seen.insert(*target)).collect()
}
