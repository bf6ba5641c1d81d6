//! Connect machine: attempts to reach one peer each, over the addresses that are known of it, those
//! that it names when asked over the network, and volunteers that relay.
//!
//! Responsible for: the steps of an attempt, the purposes that share it, what may be dialed when,
//! and how many dials go to one host. Never: chooses peers, decides which peer may become an edge,
//! lays out a message, or knows requests by id.
//!
//! # Life of an attempt
//! 1. A [`Want`] names a peer, its candidates and a [`Purpose`]. It folds into an attempt at that
//!    peer, if there is one; otherwise one begins with the first candidate.
//! 2. Each further candidate is dialed 250 ms after the one before, or as soon as no dial is under
//!    way.
//! 3. A candidate behind whose NAT an early packet could do harm is held until the peer has sent
//!    (PROTOCOL.md#early-packets). If there is one, or the application asked for the edge, a
//!    Connect asks the peer for its addresses meanwhile, and to punch. With the answer all of them
//!    are punched and dialed, those of the answer first, in each family in which the Connect named
//!    an address: to one of another the peer cannot have sent.
//! 4. If the application asked for the edge, volunteers are asked to relay if there is no conn some
//!    time after the answer, or at once if both sides say that no direct path is to be expected.
//! 5. The first conn that comes up leads to an edge, to a refusal, or, for a probe, to a
//!    measurement alone. Each of the three ends the attempt and cancels its other dials. An edge
//!    that the peer opens meanwhile ends it, too.
//! 6. For the application the outcome waits for the first frame of the peer (docs/decisions/0011):
//!    the peer may still close the conn.
//! 7. The attempt fails when nothing is left that may bring a conn, or at its deadline.
//!
//! It has no waits between attempts: each want makes one attempt.

mod action;
mod attempt;
mod candidate;
mod exchange;
mod first_frame;
mod host_limit;
mod log;
mod negotiate;
mod upgrade;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

pub(crate) use self::action::{Action, Answer, Purpose, Want};
use self::attempt::{Attempt, CANDIDATES_MAX, GRANTS_MAX, Relay};
pub(crate) use self::candidate::{Candidate, Source, dialable};
pub(crate) use self::exchange::Nonce;
use self::first_frame::FirstFrames;
pub(crate) use self::host_limit::HostLimit;
use self::log::Logs;
use self::upgrade::Upgrades;
use crate::NodeId;
use crate::api::{ConnectError, ConnectOutcome, ConnectStepKind, EdgeDownReason, Explanation};
use crate::context::Context;
use crate::transport::{DialError, DialId};

/// Attempts at once, apart from those at bootstrap peers (a guess). If there are as many, a new
/// want is refused.
const ATTEMPTS_MAX: usize = 64;
/// Every attempt under way.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    attempts: BTreeMap<NodeId, Attempt>,
    dials: BTreeMap<DialId, (NodeId, SocketAddr)>,
    first_frames: FirstFrames,
    logs: Logs,
    upgrades: Upgrades,
    next_dial: DialId,
}

impl Connect {
    /// No attempt.
    pub(crate) fn new() -> Self {
        Self {
            attempts: BTreeMap::new(),
            dials: BTreeMap::new(),
            first_frames: FirstFrames::default(),
            logs: Logs::default(),
            upgrades: Upgrades::default(),
            next_dial: DialId(0),
        }
    }

    /// Begins an attempt, or folds into the one under way. A want of the topology for a peer that
    /// is being dialed already leaves that attempt as it is.
    ///
    /// # Errors
    /// [`ConnectError::NoAddress`] if no candidate can be dialed and the peer is not asked.
    /// [`ConnectError::Busy`] if too many attempts are under way, or all candidates are at hosts at
    /// their limit of dials.
    pub(crate) fn want(
        &mut self,
        cx: &mut Context<'_, Action>,
        want: Want,
    ) -> Result<(), ConnectError> {
        let Want { peer, candidates, purpose } = want;
        let candidates = dialable(cx, candidates);
        let (open, held) = split(&candidates, purpose);
        let is_asked = purpose.is_asked() || !held.is_empty();
        // What it looks for is less than what is wanted now.
        if purpose != Purpose::Upgrade && self.is_upgrading(&peer) {
            self.end(cx, &peer);
        }
        if let Some(attempt) = self.attempts.get_mut(&peer) {
            if matches!(purpose, Purpose::Request | Purpose::Renew | Purpose::Bootstrap) {
                attempt.fold(cx.now, purpose, addrs_of(&open));
                attempt.hold(addrs_of(&held));
                self.ask(cx, peer);
                self.arm(cx);
            }
            return Ok(());
        }
        if candidates.is_empty() && !is_asked {
            return Err(ConnectError::NoAddress);
        }
        let counted = self.attempts.values().filter(|other| !other.is_bootstrap);
        if purpose != Purpose::Bootstrap && counted.count() >= ATTEMPTS_MAX {
            return Err(ConnectError::Busy);
        }
        let limit = self.host_limit();
        let (addrs, held) = (limit.open_addrs(&open), limit.open_addrs(&held));
        if addrs.is_empty() && held.is_empty() && !purpose.is_asked() {
            return Err(ConnectError::Busy);
        }
        let is_partial = addrs.len() + held.len() < candidates.len();
        let step = ConnectStepKind::Begun { open: addrs.len() as u8, held: held.len() as u8 };
        let attempt = Attempt { is_partial, held, ..Attempt::new(cx.now, purpose, addrs) };
        let is_quiet = attempt.is_quiet;
        self.attempts.insert(peer, attempt);
        self.note(cx.now, &peer, step);
        if !is_quiet {
            cx.act(Action::Begun(peer));
        }
        self.dial_next(cx, peer);
        self.ask(cx, peer);
        self.arm(cx);
        Ok(())
    }

    /// There is an edge to `peer` already, and a request waits for its first frame.
    pub(crate) fn await_first_frame(&mut self, peer: NodeId) {
        self.first_frames.expect(peer);
    }

    /// The timer fired: what is due is done.
    pub(crate) fn handle_timer(&mut self, cx: &mut Context<'_, Action>) {
        let is_due = |attempt: &Attempt| attempt.due().is_some_and(|due| due <= cx.now);
        let due = self.attempts.iter().filter(|(_, attempt)| is_due(attempt));
        let due: Vec<NodeId> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            if self.give_up(cx, peer) {
                continue;
            }
            self.repeat(cx, peer);
            self.ask_relay(cx, peer);
            self.redial(cx, peer);
            self.go_on(cx, peer, ConnectError::Unanswered);
        }
        for peer in self.upgrades.take_due(cx.now) {
            cx.act(Action::Upgrade(peer));
        }
        self.arm(cx);
    }

    /// Ends the attempt if only dials are left of which nothing is to be expected.
    fn give_up(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) -> bool {
        let given_up = self.attempts.get(&peer).and_then(|attempt| attempt.given_up);
        let is_due = given_up.is_some_and(|at| at <= cx.now);
        if is_due {
            self.cancel_dials(cx, &peer);
            self.fail(cx, peer, ConnectError::NoPath);
        }
        is_due
    }

    /// Dials the next candidate, if that is due. Without anything left the attempt fails: with the
    /// error of its last dial, or else with `error`.
    fn go_on(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, error: ConnectError) {
        let Some(attempt) = self.attempts.get(&peer) else { return };
        if attempt.is_over(cx.now) {
            let error = attempt.last_error.map_or(error, ConnectError::Dial);
            return self.fail(cx, peer, error);
        }
        if attempt.next_at <= cx.now {
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
        self.note(cx.now, &peer, ConnectStepKind::DialFailed { addr, error });
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
        path: Option<ConnectOutcome>,
        is_taken: bool,
    ) {
        let is_relayed = matches!(path, Some(ConnectOutcome::Relayed { .. }));
        if is_relayed && self.is_upgrading(&peer) {
            return;
        }
        self.conclude(cx.now, &peer, path);
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
        self.upgrades.forget(&peer);
        if self.is_upgrading(&peer) {
            self.end(cx, &peer);
        }
        self.arm(cx);
        if self.first_frames.settle(&peer) {
            let error = ConnectError::NotTaken(reason);
            self.logs.fail(&peer, error);
            cx.act(Action::Settle { peer, result: Err(error) });
        }
    }

    /// The edge to `peer` has a relayed conn now, which this node dialed or the peer opened.
    pub(crate) fn handle_relayed(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        is_dialed: bool,
    ) {
        self.upgrades.handle_relayed(cx.now, peer, is_dialed);
        self.arm(cx);
    }

    /// The edge to `peer` is not relayed any more.
    pub(crate) fn handle_upgraded(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        self.upgrades.forget(peer);
        self.arm(cx);
    }

    /// The edge to `peer` answers after all: it needs no other conn, unless that is wanted for
    /// more.
    pub(crate) fn cancel_renewal(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        if self.is_renewing(peer) {
            self.end(cx, peer);
        }
    }

    /// What is known of this node's own path changed: relayed edges may become direct.
    pub(crate) fn handle_news(&mut self, cx: &mut Context<'_, Action>) {
        self.upgrades.handle_news(cx.now);
        self.arm(cx);
    }

    /// The addresses of this machine changed. Returns when the timer has to fire, if it has to.
    pub(crate) fn handle_local_addrs(&mut self, now: Instant) -> Option<Instant> {
        self.upgrades.handle_news(now);
        self.next_at().filter(|at| *at > now)
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
        self.upgrades.stop();
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

    /// What is known of the last attempt at a peer that the application requested.
    pub(crate) fn explain(&self, peer: &NodeId) -> Option<Explanation> {
        let current = self.attempts.get(peer).filter(|attempt| attempt.is_requested);
        let current = current.and_then(|attempt| attempt.log.as_deref());
        self.logs.explain(peer, current)
    }

    /// The peers that are being dialed, and the first address of each.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (NodeId, Option<SocketAddr>)> {
        self.attempts.iter().map(|(peer, attempt)| (*peer, attempt.candidates().next()))
    }

    /// The limit on dials to one host, as the attempts under way leave it.
    pub(crate) fn host_limit(&self) -> HostLimit {
        let addrs = self.attempts.values().flat_map(Attempt::candidates);
        HostLimit::new(addrs.map(|addr| addr.ip()))
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

    /// Whether the application asked for an edge to `peer`, and no conn is up yet.
    pub(crate) fn is_attempted(&self, peer: &NodeId) -> bool {
        self.attempts.get(peer).is_some_and(|attempt| attempt.is_requested)
    }

    /// Whether an attempt at a peer has no other purpose than to renew its edge.
    pub(crate) fn is_renewing(&self, peer: &NodeId) -> bool {
        self.attempts
            .get(peer)
            .is_some_and(|attempt| attempt.purpose == Purpose::Renew && attempt.is_quiet)
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        let counted = self.attempts.values().filter(|attempt| !attempt.is_bootstrap);
        assert!(counted.count() <= ATTEMPTS_MAX);
        for attempt in self.attempts.values() {
            assert!(attempt.addrs.len() <= CANDIDATES_MAX);
            assert!(attempt.grants.len() <= GRANTS_MAX);
            let has_end = attempt.pending > 0 || attempt.due().is_some();
            assert!(has_end, "an attempt that waits for nothing would never end");
        }
        self.logs.check();
        self.upgrades.check();
        let pending = self.attempts.values().map(|attempt| attempt.pending).sum::<usize>();
        assert_eq!(pending, self.dials.len());
    }

    fn next_at(&self) -> Option<Instant> {
        let attempts = self.attempts.values().filter_map(Attempt::due);
        attempts.chain(self.upgrades.next_at()).min()
    }

    /// Whether a direct path to a peer with a relayed edge is being looked for.
    fn is_upgrading(&self, peer: &NodeId) -> bool {
        self.attempts.get(peer).is_some_and(|attempt| attempt.purpose == Purpose::Upgrade)
    }

    fn dial_next(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        let Some(remote) = attempt.next_addr(cx.now) else { return };
        self.dial(cx, peer, remote);
    }

    /// Dials the sockets of volunteers again, if that is due.
    fn redial(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        let mut again = attempt.take_redials(cx.now);
        again.extend(attempt.take_punched(cx.now));
        for remote in again {
            self.dial(cx, peer, remote);
        }
    }

    fn dial(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, remote: SocketAddr) {
        let Some(attempt) = self.attempts.get(&peer) else { return };
        let dial = self.next_dial;
        self.next_dial.0 += 1;
        self.dials.insert(dial, (peer, remote));
        let deadline = attempt.deadline;
        let grant = attempt.grants.iter().find(|(addr, _)| *addr == remote);
        let volunteer = grant.map(|(_, volunteer)| *volunteer);
        self.note(cx.now, &peer, ConnectStepKind::Dialed { addr: remote, volunteer });
        cx.act(Action::Dial { dial, expected: peer, remote, deadline });
    }

    /// Adds a step to the log of an attempt, if it has one.
    fn note(&mut self, now: Instant, peer: &NodeId, kind: ConnectStepKind) {
        let log = self.attempts.get_mut(peer).and_then(|attempt| attempt.log.as_mut());
        if let Some(log) = log {
            log.push(now, kind);
        }
    }

    /// Ends the log of the attempt at `peer`, to which there is an edge over this path now.
    fn conclude(&mut self, now: Instant, peer: &NodeId, path: Option<ConnectOutcome>) {
        let Some(attempt) = self.attempts.get_mut(peer) else { return };
        if let (Some(log), Some(outcome)) = (attempt.log.take(), path) {
            self.logs.end(now, *peer, *log, outcome);
        }
    }

    fn fail(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, error: ConnectError) {
        let Some(mut attempt) = self.attempts.remove(&peer) else { return };
        if attempt.is_quiet {
            // The edge may be what it was, and so is its explanation.
            self.arm(cx);
            if attempt.purpose == Purpose::Renew {
                cx.act(Action::Failed { peer, error, is_partial: attempt.is_partial });
            }
            return;
        }
        if let Some(log) = attempt.log.take() {
            self.logs.end(cx.now, peer, *log, ConnectOutcome::Failed(error));
        }
        if attempt.relay == Relay::Asked {
            cx.act(Action::StopRelay(peer));
        }
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
        if let Some(attempt) = &ended {
            if attempt.relay == Relay::Asked {
                cx.act(Action::StopRelay(*peer));
            }
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
        match self.next_at() {
            Some(due) if due > cx.now => cx.act(Action::Set(due)),
            // It is set to then and has not fired yet.
            Some(_) => {}
            None => cx.act(Action::Stop),
        }
    }
}

/// Candidates that are dialed at once, and those that are held until the peer has sent. There may
/// be no edge yet over which a bootstrap peer could be asked to.
fn split(candidates: &[Candidate], purpose: Purpose) -> (Vec<Candidate>, Vec<Candidate>) {
    let is_asked = purpose != Purpose::Bootstrap;
    candidates.iter().partition(|candidate| !is_asked || candidate.may_be_early())
}

fn addrs_of(candidates: &[Candidate]) -> Vec<SocketAddr> {
    candidates.iter().map(|candidate| candidate.addr).collect()
}
