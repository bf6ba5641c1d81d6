//! Whom this node dials: operator seeds, contacts that it wants edges to, and whoever the application
//! asks for.
//!
//! Responsible for: when to dial a seed, and how an attempt at any peer goes. Never: judges who may
//! become an edge, or chooses among contacts.
//!
//! A [`Target`] is a peer worth dialing. Seeds stay for ever (spec 70 N1, N2), and are dialed as long
//! as the node is needy. All others stay for one attempt. An attempt dials one address after another,
//! 250 ms apart, and ends with the first conn that comes up or the last dial that fails.

mod backoff;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Action, Timer};
use crate::NodeId;
use crate::engine::{ConnectError, Event, RequestId};
use crate::env::Cx;
use crate::stats::DropReason;
use crate::transport::{DialError, DialId};
use crate::wire::endpoint::{canonical, scope};

/// Addresses of one target (spec 70 §11.2).
const ADDRS_MAX: usize = 8;
/// Peers that are no seeds, and requests for one peer. Full, the newest is refused.
const WANTED_MAX: usize = 64;
/// The next address is dialed if the ones before have not answered for this long (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// An attempt ends after this long (spec 80 §8.3).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// An attempt at a contact ends after this long: there are others, and the farthest on earth needs
/// half a second or, with one packet lost, one and a half. (The reference allows 500 ms, spec 80 §8.3.)
const CONTACT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first dial of a seed comes at random within this time (spec 70 §17.11), so that nodes that are
/// started together do not dial together; those of further seeds as much later each.
const FIRST_DIAL_MAX: Duration = Duration::from_millis(500);
/// Once there is an edge, the other seeds wait: it may lead to better ones (a guess).
const FURTHER_SEEDS_WAIT: Duration = Duration::from_secs(5);
/// A seed that said goodbye is not dialed for this long (spec 70 §15.1), unless there is nobody else.
const LEAVE_HOLD_OFF: Duration = Duration::from_secs(60);
/// An edge that lived this long shows that its failures are over (spec 80 §5).
const PROVEN_AFTER: Duration = Duration::from_secs(60);

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// An edge.
    Edge,
    /// To see whether the peer answers and how fast. Whether it becomes an edge depends on that.
    Trial,
}

/// Why an edge ended, as far as dialing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Either side said goodbye.
    Goodbye,
    /// It was lost after living this long.
    Lost(Duration),
}

/// A peer worth dialing.
#[derive(Debug, Clone)]
struct Target {
    /// Best first: the one that last worked leads.
    addrs: Vec<SocketAddr>,
    /// Named by the operator.
    seed: bool,
    /// Commands that wait for an edge to it.
    requests: Vec<RequestId>,
    /// Failures in a row.
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is an edge, or dialing is switched off.
    Resting,
    /// The next attempt begins then.
    Waiting(Instant),
    /// An attempt is under way.
    Dialing(Attempt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    aim: Aim,
    /// Addresses dialed so far.
    dialed: usize,
    /// Dials without an outcome.
    pending: usize,
    /// When the next address is dialed, if there is one.
    next_at: Instant,
    deadline: Instant,
    error: DialError,
}

impl Attempt {
    /// There are addresses again that it did not dial. Its time for the next one may have passed
    /// meanwhile, when there was none.
    fn resume(&mut self, now: Instant) {
        if self.next_at <= now {
            self.next_at = now + STAGGER;
        }
    }
}

impl Target {
    fn new(seed: bool) -> Self {
        let (addrs, requests) = (Vec::new(), Vec::new());
        Self { addrs, seed, requests, failures: 0, state: State::Resting }
    }

    /// Puts `addrs` in front of those known; the best that fit stay.
    fn prefer(&mut self, addrs: impl IntoIterator<Item = SocketAddr>) {
        let known = core::mem::take(&mut self.addrs);
        for addr in addrs.into_iter().chain(known) {
            if self.addrs.len() < ADDRS_MAX && !self.addrs.contains(&addr) {
                self.addrs.push(addr);
            }
        }
    }

    /// When its state changes by itself.
    fn due(&self) -> Option<Instant> {
        match self.state {
            State::Resting => None,
            State::Waiting(until) => Some(until),
            State::Dialing(attempt) => {
                (attempt.dialed < self.addrs.len()).then_some(attempt.next_at)
            }
        }
    }
}

/// What a failed dial means for the contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Who was dialed.
    pub(crate) peer: NodeId,
    /// Where somebody else answered.
    pub(crate) elsewhere: Option<SocketAddr>,
    /// Whether it was the last dial of the attempt.
    pub(crate) is_over: bool,
}

/// Whom this node dials.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    targets: BTreeMap<NodeId, Target>,
    dials: BTreeMap<DialId, (NodeId, SocketAddr)>,
    next_dial: DialId,
    /// Whether seeds are dialed without being asked.
    by_itself: bool,
    /// Whether this node has too few edges to leave its seeds alone.
    needy: bool,
    /// Whether this node has no edge that it opened, which makes seeds urgent (spec 80 §4). One that
    /// others opened does not count: anybody could keep it away from its seeds with that.
    isolated: bool,
}

impl Dialer {
    /// Nobody to dial. Unless `by_itself`, only the application's requests are dialed.
    pub(crate) const fn new(by_itself: bool) -> Self {
        Self {
            targets: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_dial: DialId(0),
            by_itself,
            needy: true,
            isolated: true,
        }
    }

    /// Takes an operator seed, or new addresses of one, which replace the old. Those whose `turn` is
    /// later are dialed later.
    pub(crate) fn add_seed(
        &mut self,
        cx: &mut Cx<'_>,
        (peer, addrs): (NodeId, &[SocketAddr]),
        turn: u32,
        has_edge: bool,
        out: &mut Vec<Action>,
    ) {
        let addrs = dialable(cx, addrs);
        let target = self.targets.entry(peer).or_insert_with(|| Target::new(true));
        target.seed = true;
        let first_dial = Duration::from_nanos(cx.rng.below(FIRST_DIAL_MAX.as_nanos() as u64) + 1);
        if target.addrs != addrs {
            target.addrs = addrs;
            match &mut target.state {
                State::Dialing(attempt) => {
                    attempt.dialed = 0;
                    attempt.resume(cx.now);
                }
                // What failed at the old addresses says nothing about the new ones.
                State::Waiting(until) => *until = (*until).min(cx.now + first_dial),
                State::Resting => {}
            }
        }
        if self.by_itself && self.needy && !has_edge && target.state == State::Resting {
            target.state = State::Waiting(cx.now + FIRST_DIAL_MAX * turn + first_dial);
        }
        self.arm(cx.now, out);
    }

    /// The application wants an edge to `peer`, to which there is none.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Cx<'_>,
        request: RequestId,
        peer: NodeId,
        addrs: &[SocketAddr],
        out: &mut Vec<Action>,
    ) {
        let addrs = dialable(cx, addrs);
        let wanted = self.targets.values().filter(|target| !target.seed).count();
        let is_known = self.targets.contains_key(&peer);
        let target = self.targets.entry(peer).or_insert_with(|| Target::new(false));
        let error = if target.addrs.is_empty() && addrs.is_empty() {
            Some(ConnectError::NoAddress)
        } else if (!is_known && wanted >= WANTED_MAX) || target.requests.len() >= WANTED_MAX {
            Some(ConnectError::Busy)
        } else {
            None
        };
        if let Some(error) = error {
            if !is_known {
                self.targets.remove(&peer);
            }
            return out.push(Action::Event(Event::ConnectFailed { request, error }));
        }
        target.requests.push(request);
        if let State::Dialing(attempt) = &mut target.state {
            // The attempt that is under way goes on to the addresses that are new to it.
            attempt.resume(cx.now);
            attempt.aim = Aim::Edge;
            let known = core::mem::take(&mut target.addrs);
            target.prefer(known.into_iter().chain(addrs));
        } else {
            target.prefer(addrs);
            self.begin(cx.now, peer, (Aim::Edge, ATTEMPT_TIMEOUT), out);
        }
        self.arm(cx.now, out);
    }

    /// One attempt at a contact. Does nothing while it is dialed already or too many others are.
    pub(crate) fn try_contact(
        &mut self,
        cx: &mut Cx<'_>,
        (peer, aim): (NodeId, Aim),
        addrs: &[SocketAddr],
        out: &mut Vec<Action>,
    ) {
        let addrs = dialable(cx, addrs);
        let wanted = self.targets.values().filter(|target| !target.seed).count();
        if addrs.is_empty() || (wanted >= WANTED_MAX && !self.targets.contains_key(&peer)) {
            return;
        }
        let target = self.targets.entry(peer).or_insert_with(|| Target::new(false));
        if !matches!(target.state, State::Dialing(_)) {
            target.prefer(addrs);
            self.begin(cx.now, peer, (aim, CONTACT_TIMEOUT), out);
        }
        self.arm(cx.now, out);
    }

    /// Who is being dialed, and the first of the addresses.
    pub(crate) fn dialing(&self) -> impl Iterator<Item = (NodeId, Option<SocketAddr>)> {
        let is_dialing = |target: &Target| matches!(target.state, State::Dialing(_));
        let dialing = self.targets.iter().filter(move |(_, target)| is_dialing(target));
        dialing.map(|(peer, target)| (*peer, target.addrs.first().copied()))
    }

    /// Whether this node has too few edges of its own. Then its seeds are dialed; otherwise they are
    /// left alone.
    pub(crate) fn set_needy(
        &mut self,
        cx: &mut Cx<'_>,
        needy: bool,
        has_edge: impl Fn(&NodeId) -> bool,
        out: &mut Vec<Action>,
    ) {
        if core::mem::replace(&mut self.needy, needy) == needy {
            return;
        }
        for (peer, target) in self.targets.iter_mut().filter(|(_, target)| target.seed) {
            match target.state {
                State::Resting if needy && self.by_itself && !has_edge(peer) => {
                    let wait = cx.rng.jitter(FURTHER_SEEDS_WAIT, backoff::JITTER_PERCENT);
                    target.state = State::Waiting(cx.now + wait);
                }
                State::Waiting(_) if !needy => target.state = State::Resting,
                _ => {}
            }
        }
        self.arm(cx.now, out);
    }

    /// A node that does well looks now and then whether there is a network it knows nothing of: if it
    /// has no edge to any seed it dials one.
    pub(crate) fn check_seeds(
        &mut self,
        cx: &mut Cx<'_>,
        has_edge: impl Fn(&NodeId) -> bool,
        out: &mut Vec<Action>,
    ) {
        let seeds = || self.targets.iter().filter(|(_, target)| target.seed);
        if !self.by_itself || self.needy || seeds().any(|(peer, _)| has_edge(peer)) {
            return;
        }
        let resting: Vec<NodeId> = seeds()
            .filter(|(_, target)| target.state == State::Resting)
            .map(|(peer, _)| *peer)
            .collect();
        if let Some(last) = (resting.len() as u64).checked_sub(1) {
            let seed = resting[cx.rng.below(last + 1) as usize];
            self.begin(cx.now, seed, (Aim::Edge, ATTEMPT_TIMEOUT), out);
            self.arm(cx.now, out);
        }
    }

    /// The timer fired: begins the attempts that are due and dials the next addresses.
    pub(crate) fn on_timer(&mut self, cx: &mut Cx<'_>, out: &mut Vec<Action>) {
        let is_due = |target: &Target| target.due().is_some_and(|due| due <= cx.now);
        let due: Vec<NodeId> =
            self.targets.iter().filter(|(_, t)| is_due(t)).map(|(peer, _)| *peer).collect();
        for peer in due {
            match self.targets[&peer].state {
                State::Waiting(_) => self.begin(cx.now, peer, (Aim::Edge, ATTEMPT_TIMEOUT), out),
                State::Dialing(_) => self.dial_next(cx.now, peer, out),
                State::Resting => {}
            }
        }
        self.arm(cx.now, out);
    }

    /// A dial brought a conn up. What it was for; nothing if it was given up meanwhile.
    pub(crate) fn on_dial_up(&mut self, dial: DialId) -> Option<Aim> {
        let (peer, addr) = self.dials.remove(&dial)?;
        let target = self.targets.get_mut(&peer)?;
        target.prefer([addr]);
        let State::Dialing(attempt) = &mut target.state else { return None };
        attempt.pending -= 1;
        Some(attempt.aim)
    }

    /// A dial came to nothing. One that was given up meanwhile is not news: nothing is returned.
    pub(crate) fn on_dial_failed(
        &mut self,
        cx: &mut Cx<'_>,
        dial: DialId,
        error: DialError,
        out: &mut Vec<Action>,
    ) -> Option<Failed> {
        let (peer, addr) = self.dials.remove(&dial)?;
        let target = self.targets.get_mut(&peer)?;
        let State::Dialing(attempt) = &mut target.state else { return None };
        attempt.pending -= 1;
        attempt.error = error;
        // Somebody else lives there now. A seed keeps its addresses: only the operator changes them.
        if !target.seed && error == DialError::IdentityMismatch {
            let at = target.addrs.iter().position(|other| *other == addr);
            if let Some(at) = at {
                target.addrs.remove(at);
                attempt.dialed -= usize::from(at < attempt.dialed);
            }
        }
        let has_more = attempt.dialed < target.addrs.len() && attempt.deadline > cx.now;
        let is_over = attempt.pending == 0 && !has_more;
        if is_over {
            self.fail(cx, peer, ConnectError::Dial(error), out);
        } else if attempt.pending == 0 {
            self.dial_next(cx.now, peer, out);
        }
        self.arm(cx.now, out);
        let elsewhere = (error == DialError::IdentityMismatch).then_some(addr);
        Some(Failed { peer, elsewhere, is_over })
    }

    /// There is an edge to `peer`, whoever opened it: requests are settled, dials given up.
    pub(crate) fn on_edge_up(
        &mut self,
        cx: &mut Cx<'_>,
        peer: NodeId,
        dialed: bool,
        out: &mut Vec<Action>,
    ) {
        self.isolated &= !dialed;
        self.cancel(peer, out);
        for target in self.targets.values_mut().filter(|target| dialed && target.failures == 0) {
            if let State::Waiting(until) = &mut target.state {
                *until = (*until).max(cx.now + FURTHER_SEEDS_WAIT);
            }
        }
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Resting;
            for request in target.requests.drain(..) {
                out.push(Action::Event(Event::Connected { request, peer }));
            }
            if !target.seed {
                self.targets.remove(&peer);
            }
        }
        self.arm(cx.now, out);
    }

    /// `peer` answered and does not become an edge: that was all there was to learn. A seed is dialed
    /// again like any other that has no edge.
    pub(crate) fn on_trial_over(&mut self, cx: &mut Cx<'_>, peer: NodeId, out: &mut Vec<Action>) {
        self.cancel(peer, out);
        let is_due = self.by_itself && self.needy;
        if let Some(target) = self.targets.get_mut(&peer) {
            if !target.seed {
                self.targets.remove(&peer);
            } else if is_due {
                let wait = cx.rng.jitter(FURTHER_SEEDS_WAIT, backoff::JITTER_PERCENT);
                target.state = State::Waiting(cx.now + wait);
            }
        }
        self.arm(cx.now, out);
    }

    /// The edge to `peer` is gone.
    pub(crate) fn on_edge_down(
        &mut self,
        cx: &mut Cx<'_>,
        peer: NodeId,
        ended: Ended,
        out: &mut Vec<Action>,
    ) {
        if let Some(target) = self.targets.get_mut(&peer) {
            match ended {
                _ if !target.seed || !self.by_itself || !self.needy => {}
                Ended::Goodbye => {
                    target.state = State::Waiting(
                        cx.now + cx.rng.jitter(LEAVE_HOLD_OFF, backoff::JITTER_PERCENT),
                    );
                }
                Ended::Lost(lived) => {
                    if lived >= PROVEN_AFTER {
                        target.failures = 0;
                    }
                    self.wait(cx, peer);
                }
            }
        }
        self.arm(cx.now, out);
    }

    /// `peer` proved who it is and may not become an edge.
    pub(crate) fn on_refused(
        &mut self,
        cx: &mut Cx<'_>,
        peer: NodeId,
        error: ConnectError,
        out: &mut Vec<Action>,
    ) {
        self.cancel(peer, out);
        if let Some(target) = self.targets.get_mut(&peer) {
            // Nothing about it will have changed soon.
            target.failures = backoff::FAILURES_MAX;
            self.fail(cx, peer, error, out);
        }
        self.arm(cx.now, out);
    }

    /// This node has no edge left that it opened: seeds become urgent.
    pub(crate) fn on_isolated(&mut self, cx: &mut Cx<'_>, out: &mut Vec<Action>) {
        self.isolated = true;
        for target in self.targets.values_mut().filter(|target| target.seed) {
            if let State::Waiting(until) = &mut target.state {
                let sooner = cx.rng.jitter(backoff::ISOLATED_WAIT_MAX, backoff::JITTER_PERCENT);
                *until = (*until).min(cx.now + sooner);
            }
        }
        self.arm(cx.now, out);
    }

    /// Gives everything up, for good.
    pub(crate) fn stop(&mut self, out: &mut Vec<Action>) {
        let peers: Vec<NodeId> = self.targets.keys().copied().collect();
        for peer in peers {
            self.cancel(peer, out);
        }
        for target in core::mem::take(&mut self.targets).into_values() {
            for request in target.requests {
                let error = ConnectError::Closed;
                out.push(Action::Event(Event::ConnectFailed { request, error }));
            }
        }
        out.push(Action::Stop(Timer::Dial));
    }

    /// Number of peers that are dialed, or wait to be.
    pub(crate) fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.targets.values().filter(|target| !target.seed).count() <= WANTED_MAX);
        let mut pending = 0;
        for target in self.targets.values() {
            assert!(target.addrs.len() <= ADDRS_MAX);
            assert!(target.requests.is_empty() || matches!(target.state, State::Dialing(_)));
            if let State::Dialing(attempt) = target.state {
                assert!(attempt.pending > 0, "an attempt without a dial would never end");
                pending += attempt.pending;
            }
        }
        assert_eq!(pending, self.dials.len());
    }

    fn begin(
        &mut self,
        now: Instant,
        peer: NodeId,
        (aim, timeout): (Aim, Duration),
        out: &mut Vec<Action>,
    ) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        target.state = State::Dialing(Attempt {
            aim,
            dialed: 0,
            pending: 0,
            next_at: now,
            deadline: now + timeout,
            error: DialError::NoRoute,
        });
        self.dial_next(now, peer, out);
    }

    fn dial_next(&mut self, now: Instant, peer: NodeId, out: &mut Vec<Action>) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        let State::Dialing(attempt) = &mut target.state else { return };
        let Some(&remote) = target.addrs.get(attempt.dialed) else {
            // A seed without an address that can be dialed: the operator may name one yet.
            target.state = State::Resting;
            return;
        };
        attempt.dialed += 1;
        attempt.pending += 1;
        attempt.next_at = now + STAGGER;
        let dial = self.next_dial;
        self.next_dial.0 += 1;
        self.dials.insert(dial, (peer, remote));
        let deadline = attempt.deadline;
        out.push(Action::Dial { dial, expected: peer, remote, deadline });
    }

    /// The attempt at `peer` failed.
    fn fail(&mut self, cx: &mut Cx<'_>, peer: NodeId, error: ConnectError, out: &mut Vec<Action>) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        for request in target.requests.drain(..) {
            out.push(Action::Event(Event::ConnectFailed { request, error }));
        }
        if target.seed {
            self.wait(cx, peer);
        } else {
            self.targets.remove(&peer);
        }
    }

    /// Waits for as long as the failures so far demand.
    fn wait(&mut self, cx: &mut Cx<'_>, peer: NodeId) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        if !self.by_itself || !self.needy {
            target.state = State::Resting;
            return;
        }
        let wait = backoff::wait(target.failures, target.seed && self.isolated);
        target.failures = target.failures.saturating_add(1);
        target.state = State::Waiting(cx.now + cx.rng.jitter(wait, backoff::JITTER_PERCENT));
    }

    /// Gives the dials of `peer` up.
    fn cancel(&mut self, peer: NodeId, out: &mut Vec<Action>) {
        let is_dialing = |target: &Target| matches!(target.state, State::Dialing(_));
        if !self.targets.get(&peer).is_some_and(is_dialing) {
            return;
        }
        self.dials.retain(|&dial, &mut (of, _)| {
            if of == peer {
                out.push(Action::CancelDial(dial));
            }
            of != peer
        });
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Resting;
        }
    }

    fn arm(&self, now: Instant, out: &mut Vec<Action>) {
        match self.targets.values().filter_map(Target::due).min() {
            Some(due) if due > now => out.push(Action::Set(Timer::Dial, due)),
            // It is set to then and has not fired yet.
            Some(_) => {}
            None => out.push(Action::Stop(Timer::Dial)),
        }
    }
}

/// The first eight of `addrs` that one host could answer at. An operator, unlike a peer, may well mean
/// this machine.
fn dialable(cx: &mut Cx<'_>, addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut dialable = Vec::new();
    for addr in addrs.iter().map(|addr| canonical(*addr)) {
        if addr.port() == 0 || scope(addr.ip()).is_none() {
            cx.drop(DropReason::ImplausibleAddress);
        } else if dialable.len() < ADDRS_MAX && !dialable.contains(&addr) {
            dialable.push(addr);
        }
    }
    dialable
}
