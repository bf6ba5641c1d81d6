//! Connect machine: attempts to reach one peer each at its candidate addresses.
//!
//! Responsible for: the steps of an attempt, the purposes that share it, and how many dials go to
//! one host. Never: chooses peers, decides which peer may become an edge, or knows requests by id.
//!
//! # Life of an attempt
//! 1. A [`Want`] names a peer, its candidates and a [`Purpose`]. It folds into an attempt at that
//!    peer, if there is one; otherwise one begins with the first candidate.
//! 2. Each further candidate is dialed 250 ms after the one before, or as soon as no dial is under
//!    way.
//! 3. The first conn that comes up leads to an edge, to a refusal, or, for a probe, to a
//!    measurement alone. Each of the three ends the attempt and cancels its other dials. An edge
//!    that the peer opens meanwhile ends it, too.
//! 4. For the application the outcome waits for the first frame of the peer (docs/decisions/0011):
//!    the peer may still close the conn.
//! 5. The attempt fails with its last dial, or at its deadline.
//!
//! It has no waits between attempts: each want makes one attempt.

mod attempt;
mod candidate;
mod first_frame;
mod host_limit;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::attempt::Attempt;
pub(crate) use self::candidate::{Candidate, Source, dialable};
use self::first_frame::FirstFrames;
pub(crate) use self::host_limit::HostLimit;
use crate::NodeId;
use crate::addr::PEER_ADDRS_MAX;
use crate::api::{ConnectError, EdgeDownReason};
use crate::context::Context;
use crate::transport::{DialError, DialId};

/// Attempts at once, apart from those at bootstrap peers (a guess). If there are as many, a new
/// want is refused.
const ATTEMPTS_MAX: usize = 64;
/// An attempt ends after this long (PROTOCOL.md#dial-attempts).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// An attempt for the topology ends after this long, because there are other contacts. The farthest
/// on earth needs half a second or, with one packet lost, one and a half. (The reference allows 500
/// ms: PROTOCOL.md#dial-attempts.)
const CONTACT_TIMEOUT: Duration = Duration::from_secs(3);

/// Purpose of an attempt; where purposes share an attempt, the first of this list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// The application asked for an edge.
    Request,
    /// A bootstrap peer leads into the network.
    Bootstrap,
    /// The topology chose the peer as an edge.
    Edge,
    /// The topology measures whether the peer answers, and how fast. Whether it becomes an edge
    /// depends on that.
    Probe,
}

impl Purpose {
    const fn timeout(self) -> Duration {
        match self {
            Self::Request | Self::Bootstrap => ATTEMPT_TIMEOUT,
            Self::Edge | Self::Probe => CONTACT_TIMEOUT,
        }
    }
}

/// A request to connect to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// The peer.
    pub(crate) peer: NodeId,
    /// Its candidate addresses, best first.
    pub(crate) candidates: Vec<Candidate>,
    /// The purpose.
    pub(crate) purpose: Purpose,
}

/// What the engine carries out for the connect machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open a conn.
    Dial {
        /// Names the dial.
        dial: DialId,
        /// The identifier that the other end must prove.
        expected: NodeId,
        /// The address.
        remote: SocketAddr,
        /// When it fails with a time-out.
        deadline: Instant,
    },
    /// Cancel a dial.
    CancelDial(DialId),
    /// The requests for an edge to this peer have an outcome.
    Settle {
        /// The peer.
        peer: NodeId,
        /// The outcome.
        result: Result<(), ConnectError>,
    },
    /// Another node answers at this address of the peer.
    Elsewhere {
        /// The peer.
        peer: NodeId,
        /// The address.
        addr: SocketAddr,
    },
    /// An attempt began, and its first dial follows.
    Begun(NodeId),
    /// An attempt failed.
    Failed {
        /// The peer.
        peer: NodeId,
        /// Why.
        error: ConnectError,
        /// Whether candidates were left out, so that the peer may be alive at one of them.
        is_partial: bool,
    },
    /// Set the timer, replacing it if it is set.
    Set(Instant),
    /// Stop the timer.
    Stop,
}

/// Every attempt under way.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    attempts: BTreeMap<NodeId, Attempt>,
    dials: BTreeMap<DialId, (NodeId, SocketAddr)>,
    first_frames: FirstFrames,
    next_dial: DialId,
}

impl Connect {
    /// No attempt.
    pub(crate) fn new() -> Self {
        Self {
            attempts: BTreeMap::new(),
            dials: BTreeMap::new(),
            first_frames: FirstFrames::default(),
            next_dial: DialId(0),
        }
    }

    /// Begins an attempt, or folds into the one under way. A want of the topology for a peer that
    /// is being dialed already leaves that attempt as it is.
    ///
    /// # Errors
    /// [`ConnectError::NoAddress`] if no candidate can be dialed. [`ConnectError::Busy`] if too
    /// many attempts are under way, or all candidates are at hosts at their limit of dials.
    pub(crate) fn want(
        &mut self,
        cx: &mut Context<'_, Action>,
        want: Want,
    ) -> Result<(), ConnectError> {
        let Want { peer, candidates, purpose } = want;
        let candidates = dialable(cx, candidates);
        if let Some(attempt) = self.attempts.get_mut(&peer) {
            if matches!(purpose, Purpose::Request | Purpose::Bootstrap) {
                let addrs = candidates.into_iter().map(|candidate| candidate.addr).collect();
                attempt.fold(cx.now, purpose, addrs);
                self.arm(cx);
            }
            return Ok(());
        }
        if candidates.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let counted = self.attempts.values().filter(|other| !other.is_bootstrap);
        if purpose != Purpose::Bootstrap && counted.count() >= ATTEMPTS_MAX {
            return Err(ConnectError::Busy);
        }
        let addrs = self.host_limit().open_addrs(&candidates);
        if addrs.is_empty() {
            return Err(ConnectError::Busy);
        }
        let is_partial = addrs.len() < candidates.len();
        let attempt = Attempt { is_partial, ..Attempt::new(cx.now, purpose, addrs) };
        self.attempts.insert(peer, attempt);
        cx.act(Action::Begun(peer));
        self.dial_next(cx, peer);
        self.arm(cx);
        Ok(())
    }

    /// There is an edge to `peer` already, and a request waits for its first frame.
    pub(crate) fn await_first_frame(&mut self, peer: NodeId) {
        self.first_frames.expect(peer);
    }

    /// The timer fired: the next candidates are dialed.
    pub(crate) fn handle_timer(&mut self, cx: &mut Context<'_, Action>) {
        let is_due = |attempt: &Attempt| attempt.due().is_some_and(|due| due <= cx.now);
        let due = self.attempts.iter().filter(|(_, attempt)| is_due(attempt));
        let due: Vec<NodeId> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            self.dial_next(cx, peer);
        }
        self.arm(cx);
    }

    /// A dial brought a conn up. Returns its purpose; nothing if the dial was cancelled meanwhile.
    /// The attempt ends with what the conn leads to.
    pub(crate) fn handle_dial_up(&mut self, dial: DialId) -> Option<Purpose> {
        let (peer, _) = self.dials.remove(&dial)?;
        let attempt = self.attempts.get_mut(&peer)?;
        attempt.pending -= 1;
        Some(attempt.purpose)
    }

    /// A dial failed. One that was cancelled meanwhile is ignored.
    pub(crate) fn handle_dial_failed(
        &mut self,
        cx: &mut Context<'_, Action>,
        dial: DialId,
        error: DialError,
    ) {
        let Some((peer, addr)) = self.dials.remove(&dial) else { return };
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        attempt.on_dial_failed(cx.now, addr, error);
        let (is_over, is_pending) = (attempt.is_over(cx.now), attempt.pending > 0);
        if error == DialError::IdentityMismatch {
            cx.act(Action::Elsewhere { peer, addr });
        }
        if is_over {
            return self.fail(cx, peer, ConnectError::Dial(error));
        }
        if !is_pending {
            self.dial_next(cx, peer);
        }
        self.arm(cx);
    }

    /// There is an edge to `peer`, in either direction. Requests are settled if the peer has taken
    /// it, as `is_taken` states, and otherwise wait for its first frame.
    pub(crate) fn handle_edge_up(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        is_taken: bool,
    ) {
        if self.end(cx, &peer) {
            self.first_frames.expect(peer);
        }
        if is_taken {
            self.handle_first_frame(cx, peer);
        }
    }

    /// `peer` sent its first frame over an edge.
    pub(crate) fn handle_first_frame(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        if self.first_frames.settle(&peer) {
            cx.act(Action::Settle { peer, result: Ok(()) });
        }
    }

    /// The edge to `peer` ended. A request that waits for the first frame fails with it.
    pub(crate) fn handle_edge_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        reason: EdgeDownReason,
    ) {
        if self.first_frames.settle(&peer) {
            let result = Err(ConnectError::NotTaken(reason));
            cx.act(Action::Settle { peer, result });
        }
    }

    /// `peer` answered a probe and does not become an edge.
    pub(crate) fn handle_probe_over(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        self.end(cx, &peer);
    }

    /// `peer` proved its identifier and may not become an edge.
    pub(crate) fn handle_refused(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        error: ConnectError,
    ) {
        self.cancel_dials(cx, &peer);
        self.fail(cx, peer, error);
    }

    /// Ends every attempt.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        let attempts = core::mem::take(&mut self.attempts);
        for (dial, _) in core::mem::take(&mut self.dials) {
            cx.act(Action::CancelDial(dial));
        }
        let requested = attempts.into_iter().filter(|(_, attempt)| attempt.is_requested);
        for peer in requested.map(|(peer, _)| peer).chain(self.first_frames.take()) {
            cx.act(Action::Settle { peer, result: Err(ConnectError::Closed) });
        }
        cx.act(Action::Stop);
    }

    /// The peers that are being dialed, and the first address of each.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (NodeId, Option<SocketAddr>)> {
        self.attempts.iter().map(|(peer, attempt)| (*peer, attempt.addrs.first().copied()))
    }

    /// The limit on dials to one host, as the attempts under way leave it.
    pub(crate) fn host_limit(&self) -> HostLimit {
        let addrs = self.attempts.values().flat_map(|attempt| &attempt.addrs);
        HostLimit::new(addrs.map(SocketAddr::ip))
    }

    /// Number of attempts under way at peers that are no bootstrap peers.
    pub(crate) fn contacts(&self) -> usize {
        self.attempts.values().filter(|attempt| !attempt.is_bootstrap).count()
    }

    /// Whether a request for an edge to `peer` has an outcome to wait for.
    pub(crate) fn is_requested(&self, peer: &NodeId) -> bool {
        self.first_frames.is_awaited(peer)
            || self.attempts.get(peer).is_some_and(|attempt| attempt.is_requested)
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        let counted = self.attempts.values().filter(|attempt| !attempt.is_bootstrap);
        assert!(counted.count() <= ATTEMPTS_MAX);
        for attempt in self.attempts.values() {
            assert!(attempt.addrs.len() <= PEER_ADDRS_MAX);
            assert!(attempt.pending > 0, "an attempt without a dial would never end");
        }
        let pending = self.attempts.values().map(|attempt| attempt.pending).sum::<usize>();
        assert_eq!(pending, self.dials.len());
    }

    fn dial_next(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        let Some(remote) = attempt.next_addr(cx.now) else { return };
        let dial = self.next_dial;
        self.next_dial.0 += 1;
        self.dials.insert(dial, (peer, remote));
        let deadline = attempt.deadline;
        cx.act(Action::Dial { dial, expected: peer, remote, deadline });
    }

    fn fail(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, error: ConnectError) {
        let Some(attempt) = self.attempts.remove(&peer) else { return };
        if attempt.is_requested {
            cx.act(Action::Settle { peer, result: Err(error) });
        }
        // Before the action for the other machines: what they plan comes after this timer.
        self.arm(cx);
        cx.act(Action::Failed { peer, error, is_partial: attempt.is_partial });
    }

    /// Ends the attempt at `peer`, if there is one. Returns whether it was requested.
    fn end(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) -> bool {
        self.cancel_dials(cx, peer);
        let ended = self.attempts.remove(peer);
        if ended.is_some() {
            self.arm(cx);
        }
        ended.is_some_and(|attempt| attempt.is_requested)
    }

    fn cancel_dials(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        if !self.attempts.contains_key(peer) {
            return;
        }
        self.dials.retain(|&dial, (of, _)| {
            if of == peer {
                cx.act(Action::CancelDial(dial));
            }
            of != peer
        });
    }

    fn arm(&self, cx: &mut Context<'_, Action>) {
        match self.attempts.values().filter_map(Attempt::due).min() {
            Some(due) if due > cx.now => cx.act(Action::Set(due)),
            // It is set to then and has not fired yet.
            Some(_) => {}
            None => cx.act(Action::Stop),
        }
    }
}
