//! Bootstrap peers: when the peers that the operator named are dialed
//! (PROTOCOL.md#bootstrap-peers).
//!
//! Responsible for: their addresses, the waits between attempts, and the failures that the
//! application gets. Never: carries out an attempt.
//!
//! Bootstrap peers are dialed while the node has too few outgoing edges, and otherwise now and
//! then. They are never removed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::addr::PEER_ADDRS_MAX;
use crate::api::{BootstrapPeer, ConnectError, EdgeDownReason, Event};
use crate::connect::{Candidate, Purpose, Want, dialable};
use crate::context::Context;
use crate::env::backoff;
use crate::overlay::actions::{Action, Timer};
use crate::overlay::edges::STABLE_AFTER;
use crate::overlay::peers::HOLD_OFF;
use crate::transport::ConnDownReason;

/// The first dial of a bootstrap peer is at random within this time (PROTOCOL.md#first-dial), so
/// that nodes that start together do not dial together. That of each further one is this much
/// later.
const FIRST_DIAL_MAX: Duration = Duration::from_millis(500);
/// Once there is an edge, the other bootstrap peers wait: it may lead to better ones (a guess).
const FURTHER_PEERS_WAIT: Duration = Duration::from_secs(5);
/// Failures for which a bootstrap peer that this node does not admit waits
/// (PROTOCOL.md#dial-backoff).
const REFUSED_FAILURES: u32 = 10;
/// Longest wait while there is no outgoing edge. With jitter and an attempt of ten seconds, an
/// attempt begins every 30 s (PROTOCOL.md#dial-backoff).
const ISOLATED_WAIT_MAX: Duration = Duration::from_secs(16);
/// Longest wait after the machine slept or moved: none, but a timer fires later than now.
const RESUMED_WAIT: Duration = Duration::from_millis(1);
/// A reset of an edge that lived this long is no failure, so that a bootstrap peer that was
/// restarted is dialed at once. An edge that is reset sooner counts as lost (guess).
const RESET_AFTER: Duration = Duration::from_secs(5);

/// One bootstrap peer.
#[derive(Debug, Clone)]
struct Target {
    /// Best first: the one that last worked is the first.
    addrs: Vec<SocketAddr>,
    /// Failures in a row.
    failures: u32,
    /// The failure that was reported last while there is no edge.
    reported: Option<ConnectError>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is an edge, or it is not needed.
    Resting,
    /// The next attempt begins then.
    Waiting(Instant),
    /// An attempt is under way, for any purpose.
    Dialing,
}

impl Target {
    /// The next attempt begins after about this long.
    fn wait(&mut self, cx: &mut Context<'_, Action>, span: Duration) {
        self.state = State::Waiting(cx.now + cx.rng.jitter(span, backoff::JITTER_PERCENT));
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Waiting(until) if until <= now)
    }

    /// The next attempt begins within the time of the first one. Many nodes may have lost this peer
    /// at once.
    fn dial_soon(&mut self, cx: &mut Context<'_, Action>) {
        self.state = State::Waiting(cx.now + first_dial(cx));
    }

    fn dial(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        if self.addrs.is_empty() {
            // The operator may still name an address.
            self.state = State::Resting;
            return;
        }
        self.state = State::Dialing;
        let candidates = self.addrs.iter().copied().map(Candidate::given).collect();
        cx.act(Action::Connect(Want { peer, candidates, purpose: Purpose::Bootstrap }));
    }

    /// Reports why there is no edge to this peer, unless that was reported already.
    fn report(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, error: ConnectError) {
        if self.reported.replace(error) != Some(error) {
            cx.act(Action::Event(Event::BootstrapFailed { peer, error }));
        }
    }
}

/// The bootstrap peers of this node.
#[derive(Debug, Clone)]
pub(crate) struct Bootstrap {
    targets: BTreeMap<NodeId, Target>,
    /// Whether they are dialed without a command of the application.
    is_active: bool,
    /// Whether this node has so few edges that they are dialed.
    below_target: bool,
    /// Whether this node has no edge that it opened, which makes them urgent
    /// (PROTOCOL.md#dial-backoff). Inbound edges do not count: with those any peer could keep this
    /// node from its bootstrap peers.
    no_outgoing: bool,
}

impl Bootstrap {
    /// No bootstrap peers. They are dialed only if `is_active`.
    pub(crate) const fn new(is_active: bool) -> Self {
        Self { targets: BTreeMap::new(), is_active, below_target: true, no_outgoing: true }
    }

    /// Takes bootstrap peers, or new addresses of known ones, which replace the old.
    pub(crate) fn add(
        &mut self,
        cx: &mut Context<'_, Action>,
        peers: &[BootstrapPeer],
        has_edge: impl Fn(&NodeId) -> bool,
    ) {
        let own = cx.identity.id();
        let others = peers.iter().filter(|peer| peer.id != own);
        // In an order of this node's own, so that the first of a list that all nodes share is not
        // overloaded.
        let mut turns: Vec<(u64, &BootstrapPeer)> =
            others.map(|peer| (cx.rng.next_u64(), peer)).collect();
        turns.sort_by_key(|(order, _)| *order);
        for (turn, (_, peer)) in turns.into_iter().enumerate() {
            self.add_one(cx, peer, turn as u32, has_edge(&peer.id));
        }
    }

    /// Takes one bootstrap peer. Peers with a later `turn` are dialed later.
    fn add_one(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &BootstrapPeer,
        turn: u32,
        has_edge: bool,
    ) {
        let given = dialable(cx, peer.addrs.iter().copied().map(Candidate::given));
        let addrs: Vec<SocketAddr> = given.into_iter().map(|candidate| candidate.addr).collect();
        let first_dial = first_dial(cx);
        let target = self.targets.entry(peer.id).or_insert_with(|| Target {
            addrs: Vec::new(),
            failures: 0,
            reported: None,
            state: State::Resting,
        });
        if target.addrs != addrs {
            target.addrs = addrs;
            match &mut target.state {
                State::Dialing => target.dial(cx, peer.id),
                // Failures at the old addresses do not count for the new ones.
                State::Waiting(until) => *until = (*until).min(cx.now + first_dial),
                State::Resting => {}
            }
        }
        let is_idle = target.state == State::Resting;
        if self.is_active && self.below_target && !has_edge && is_idle {
            target.state = State::Waiting(cx.now + FIRST_DIAL_MAX * turn + first_dial);
        }
        self.arm(cx);
    }

    /// The timer fired: begins the attempts that are due.
    pub(crate) fn on_timer(&mut self, cx: &mut Context<'_, Action>) {
        let due = self.targets.iter().filter(|(_, target)| target.is_due(cx.now));
        let due: Vec<NodeId> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            if cx.config.edge_policy.admits(&peer) {
                self.targets.get_mut(&peer).expect("it was just found").dial(cx, peer);
            } else {
                self.on_attempt_failed(cx, peer, ConnectError::Refused);
            }
        }
        self.arm(cx);
    }

    /// Sets whether this node has too few outgoing edges. Only then bootstrap peers are dialed.
    pub(crate) fn set_below_target(
        &mut self,
        cx: &mut Context<'_, Action>,
        below_target: bool,
        has_edge: impl Fn(&NodeId) -> bool,
    ) {
        if core::mem::replace(&mut self.below_target, below_target) == below_target {
            return;
        }
        for (peer, target) in &mut self.targets {
            match target.state {
                State::Resting if below_target && self.is_active && !has_edge(peer) => {
                    target.wait(cx, FURTHER_PEERS_WAIT);
                }
                State::Waiting(_) if !below_target => target.state = State::Resting,
                _ => {}
            }
        }
        self.arm(cx);
    }

    /// A well connected node searches now and then for a network that it is not connected to.
    /// Without an edge to any bootstrap peer it dials one, which is returned with its first
    /// address.
    pub(crate) fn check_for_others(
        &mut self,
        cx: &mut Context<'_, Action>,
        has_edge: impl Fn(&NodeId) -> bool,
    ) -> Option<(NodeId, Option<SocketAddr>)> {
        if !self.is_active || self.below_target || self.targets.keys().any(has_edge) {
            return None;
        }
        let resting: Vec<NodeId> = self
            .targets
            .iter()
            .filter(|(_, target)| target.state == State::Resting)
            .filter(|(peer, _)| cx.config.edge_policy.admits(peer))
            .map(|(peer, _)| *peer)
            .collect();
        let last = (resting.len() as u64).checked_sub(1)?;
        let peer = resting[cx.rng.below(last + 1) as usize];
        let target = self.targets.get_mut(&peer)?;
        target.dial(cx, peer);
        let first_addr = target.addrs.first().copied();
        let is_dialing = target.state == State::Dialing;
        self.arm(cx);
        is_dialing.then_some((peer, first_addr))
    }

    /// This node has no edge left that it opened: bootstrap peers become urgent.
    pub(crate) fn on_no_outgoing(&mut self, cx: &mut Context<'_, Action>) {
        self.no_outgoing = true;
        for target in self.targets.values_mut() {
            if let State::Waiting(until) = &mut target.state {
                let sooner = cx.rng.jitter(ISOLATED_WAIT_MAX, backoff::JITTER_PERCENT);
                *until = (*until).min(cx.now + sooner);
            }
        }
        self.arm(cx);
    }

    /// The way to the network is another one: no attempt waits because of those of before.
    pub(crate) fn on_resumed(&mut self, cx: &mut Context<'_, Action>) {
        for target in self.targets.values_mut() {
            if let State::Waiting(until) = &mut target.state {
                *until = (*until).min(cx.now + RESUMED_WAIT);
            }
        }
        self.arm(cx);
    }

    /// `peer` answered at `addr`, which is tried first from now on.
    pub(crate) fn on_answered(&mut self, peer: &NodeId, addr: SocketAddr) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.addrs.retain(|other| *other != addr);
            target.addrs.insert(0, addr);
            target.addrs.truncate(PEER_ADDRS_MAX);
        }
    }

    /// There is an edge to `peer`. If this node opened it, the others wait.
    pub(crate) fn on_edge_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &NodeId,
        is_outgoing: bool,
    ) {
        self.no_outgoing &= !is_outgoing;
        for target in self.targets.values_mut().filter(|target| target.failures == 0) {
            if let State::Waiting(until) = &mut target.state
                && is_outgoing
            {
                *until = (*until).max(cx.now + FURTHER_PEERS_WAIT);
            }
        }
        if let Some(target) = self.targets.get_mut(peer) {
            target.state = State::Resting;
        }
        self.arm(cx);
    }

    /// `peer` was probed and does not become an edge: it is dialed again like any other without
    /// one.
    pub(crate) fn on_probe_over(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        let is_due = self.is_active && self.below_target;
        if let Some(target) = self.targets.get_mut(peer) {
            target.state = State::Resting;
            if is_due {
                target.wait(cx, FURTHER_PEERS_WAIT);
            }
        }
        self.arm(cx);
    }

    /// An attempt at `peer` began, for any purpose. It takes the place of one that was to begin
    /// later.
    pub(crate) fn on_attempt_begun(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        let Some(target) = self.targets.get_mut(peer) else { return };
        if core::mem::replace(&mut target.state, State::Dialing) != State::Dialing {
            self.arm(cx);
        }
    }

    /// An attempt at `peer` failed, or the peer may not become an edge.
    pub(crate) fn on_attempt_failed(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        error: ConnectError,
    ) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        if !matches!(error, ConnectError::Dial(_)) {
            // A refusal is unlikely to change soon.
            target.failures = REFUSED_FAILURES;
        }
        target.report(cx, peer, error);
        self.wait(cx, &peer);
        self.arm(cx);
    }

    /// The edge to `peer` is about to be reported as ended.
    pub(crate) fn on_edge_ending(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        is_taken: bool,
        reason: EdgeDownReason,
    ) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        if is_taken {
            // A failure from now on is a new one.
            target.reported = None;
        } else if reason != EdgeDownReason::ClosedHere {
            target.report(cx, peer, ConnectError::NotTaken(reason));
        }
    }

    /// The edge to `peer` is gone, and lasted this long.
    pub(crate) fn on_edge_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: &NodeId,
        reason: EdgeDownReason,
        lived: Duration,
    ) {
        let is_due = self.is_active && self.below_target;
        if let Some(target) = self.targets.get_mut(peer).filter(|_| is_due) {
            match reason {
                EdgeDownReason::Left | EdgeDownReason::ClosedHere => target.wait(cx, HOLD_OFF),
                // The peer is alive and has no state of the conn: most likely it was restarted.
                EdgeDownReason::Conn(ConnDownReason::Reset) if lived >= RESET_AFTER => {
                    target.dial_soon(cx);
                }
                EdgeDownReason::Dead | EdgeDownReason::Conn(_) => {
                    if lived >= STABLE_AFTER {
                        target.failures = 0;
                    }
                    self.wait(cx, peer);
                }
            }
        }
        self.arm(cx);
    }

    /// No attempt begins any more.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        self.is_active = false;
        self.targets.clear();
        self.arm(cx);
    }

    /// The addresses of a bootstrap peer, best first.
    pub(crate) fn addrs(&self, peer: &NodeId) -> &[SocketAddr] {
        self.targets.get(peer).map_or(&[], |target| &target.addrs)
    }

    /// Every bootstrap peer, with its addresses.
    pub(crate) fn all(&self) -> impl Iterator<Item = (NodeId, Vec<SocketAddr>)> {
        self.targets.iter().map(|(peer, target)| (*peer, target.addrs.clone()))
    }

    /// Number of bootstrap peers.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Waits for as long as the number of failures requires.
    fn wait(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        let is_due = self.is_active && self.below_target;
        let Some(target) = self.targets.get_mut(peer) else { return };
        if !is_due {
            target.state = State::Resting;
            return;
        }
        let ceiling = if self.no_outgoing { ISOLATED_WAIT_MAX } else { backoff::CEILING };
        let wait = backoff::wait(target.failures, ceiling);
        target.failures = target.failures.saturating_add(1);
        target.wait(cx, wait);
    }

    fn arm(&self, cx: &mut Context<'_, Action>) {
        let due = self.targets.values().filter_map(|target| match target.state {
            State::Waiting(until) => Some(until),
            State::Resting | State::Dialing => None,
        });
        match due.min() {
            Some(due) if due > cx.now => cx.act(Action::Set(Timer::Bootstrap, due)),
            // It is set to then and has not fired yet.
            Some(_) => {}
            None => cx.act(Action::Stop(Timer::Bootstrap)),
        }
    }
}

fn first_dial(cx: &mut Context<'_, Action>) -> Duration {
    Duration::from_nanos(cx.rng.below(FIRST_DIAL_MAX.as_nanos() as u64) + 1)
}

#[cfg(test)]
mod tests;
