//! Whom this node dials: operator seeds, contacts that it wants edges to, and whoever the
//! application asks for.
//!
//! Responsible for: how an attempt at any peer goes, and, in `seeds`, when one at a seed begins.
//! Never: judges who may become an edge, or chooses among contacts.
//!
//! A [`Target`] is a peer worth dialing. Seeds stay for ever (PROTOCOL.md#bootstrap-peers), and are
//! dialed as long as the node is needy. All others stay for one attempt. An attempt dials one
//! address after another, 250 ms apart, and ends with the first conn that comes up or the last dial
//! that fails.

pub(crate) mod first_frame;
pub(crate) mod host_limit;
mod seeds;
mod target;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use self::seeds::FURTHER_SEEDS_WAIT;
pub(crate) use self::target::Purpose;
use self::target::{ADDRS_MAX, Attempt, STAGGER, State, Target};
use super::peers::HOLD_OFF;
use super::{Action, Timer};
use crate::NodeId;
use crate::addr::{canonical, scope};
use crate::api::{ConnectError, Event, RequestId};
use crate::context::Context;
use crate::env::backoff;
use crate::stats::DropReason;
use crate::transport::{DialError, DialId};

/// Peers that are no seeds, and requests for one peer. Full, the newest is refused.
const WANTED_MAX: usize = 64;
/// An attempt ends after this long (PROTOCOL.md#dial-attempts).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// An attempt at a contact ends after this long: there are others, and the farthest on earth needs
/// half a second or, with one packet lost, one and a half. (The reference allows 500 ms:
/// PROTOCOL.md#dial-attempts.)
const CONTACT_TIMEOUT: Duration = Duration::from_secs(3);
/// An edge that lived this long shows that its failures are over (PROTOCOL.md#proven-edges).
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// A reset of an edge that lived this long is no failure, so that a seed that was started again is
/// dialed at once. Edges that are reset sooner count as any that are lost (guess).
const RESET_AFTER: Duration = Duration::from_secs(5);

/// Why an edge ended, as far as dialing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Either side said goodbye.
    Left,
    /// It was lost after living this long.
    Lost(Duration),
    /// The peer is there and knows nothing of a conn that lived this long: most likely it was
    /// started again.
    Reset(Duration),
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
    /// Whether the attempt left out addresses, so that its end says nothing about the contact.
    pub(crate) is_partial: bool,
}

/// Whom this node dials.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    targets: BTreeMap<NodeId, Target>,
    dials: BTreeMap<DialId, (NodeId, SocketAddr)>,
    /// Requests to which there is an edge, and the peer has not said a word over it yet.
    awaiting_first_frame: BTreeMap<NodeId, Vec<RequestId>>,
    next_dial: DialId,
    /// Whether seeds are dialed without being asked.
    by_itself: bool,
    /// Whether this node has too few edges to leave its seeds alone.
    below_target: bool,
    /// Whether this node has no edge that it opened, which makes seeds urgent
    /// (PROTOCOL.md#dial-backoff). One that others opened does not count: anybody could keep it
    /// away from its seeds with that.
    no_outgoing: bool,
}

impl Dialer {
    /// Nobody to dial. Unless `by_itself`, only the application's requests are dialed.
    pub(crate) const fn new(by_itself: bool) -> Self {
        Self {
            targets: BTreeMap::new(),
            dials: BTreeMap::new(),
            awaiting_first_frame: BTreeMap::new(),
            next_dial: DialId(0),
            by_itself,
            below_target: true,
            no_outgoing: true,
        }
    }

    /// The application wants an edge to `peer`, to which there is none.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Context<'_, Action>,
        request: RequestId,
        peer: NodeId,
        addrs: &[SocketAddr],
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
            return cx.act(Action::Event(Event::ConnectFailed { request, error }));
        }
        target.requests.push(request);
        if let State::Dialing(attempt) = &mut target.state {
            // The attempt that is under way goes on to the addresses that are new to it.
            attempt.resume(cx.now);
            attempt.aim = Purpose::Edge;
            let known = core::mem::take(&mut target.addrs);
            target.prefer(known.into_iter().chain(addrs));
        } else {
            target.prefer(addrs);
            self.begin(cx, cx.now, peer, (Purpose::Edge, ATTEMPT_TIMEOUT));
        }
        self.arm(cx, cx.now);
    }

    /// One attempt at a contact. Does nothing while it is dialed already or too many others are.
    pub(crate) fn try_contact(
        &mut self,
        cx: &mut Context<'_, Action>,
        (peer, aim): (NodeId, Purpose),
        addrs: &[SocketAddr],
    ) {
        let addrs = dialable(cx, addrs);
        let wanted = self.targets.values().filter(|target| !target.seed).count();
        if addrs.is_empty() || (wanted >= WANTED_MAX && !self.targets.contains_key(&peer)) {
            return;
        }
        let target = self.targets.entry(peer).or_insert_with(|| Target::new(false));
        if !target.is_dialing() {
            target.prefer(addrs);
            self.begin(cx, cx.now, peer, (aim, CONTACT_TIMEOUT));
        }
        self.arm(cx, cx.now);
    }

    /// The attempt at `peer` that just began leaves out addresses that could not be dialed now.
    pub(crate) fn on_left_out(&mut self, peer: &NodeId) {
        if let Some(Target { state: State::Dialing(attempt), .. }) = self.targets.get_mut(peer) {
            attempt.is_partial = true;
        }
    }

    /// Who is being dialed, and the first of the addresses.
    pub(crate) fn dialing(&self) -> impl Iterator<Item = (NodeId, Option<SocketAddr>)> {
        let dialing = self.targets.iter().filter(|(_, target)| target.is_dialing());
        dialing.map(|(peer, target)| (*peer, target.addrs.first().copied()))
    }

    /// The hosts that attempts under way dial, each once for every address of it.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = IpAddr> {
        let dialing = self.targets.values().filter(|target| target.is_dialing());
        dialing.flat_map(|target| target.addrs.iter().map(SocketAddr::ip))
    }

    /// The timer fired: begins the attempts that are due and dials the next addresses.
    pub(crate) fn on_timer(&mut self, cx: &mut Context<'_, Action>) {
        let is_due = |target: &Target| target.due().is_some_and(|due| due <= cx.now);
        let due: Vec<NodeId> =
            self.targets.iter().filter(|(_, t)| is_due(t)).map(|(peer, _)| *peer).collect();
        for peer in due {
            match self.targets[&peer].state {
                State::Waiting(_) => self.begin(cx, cx.now, peer, (Purpose::Edge, ATTEMPT_TIMEOUT)),
                State::Dialing(_) => self.dial_next(cx, cx.now, peer),
                State::Resting => {}
            }
        }
        self.arm(cx, cx.now);
    }

    /// A dial brought a conn up. What it was for; nothing if it was given up meanwhile.
    pub(crate) fn on_dial_up(&mut self, dial: DialId) -> Option<Purpose> {
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
        cx: &mut Context<'_, Action>,
        dial: DialId,
        error: DialError,
    ) -> Option<Failed> {
        let (peer, addr) = self.dials.remove(&dial)?;
        let target = self.targets.get_mut(&peer)?;
        let State::Dialing(attempt) = &mut target.state else { return None };
        attempt.pending -= 1;
        attempt.error = error;
        // Somebody else lives there now. A seed keeps its addresses: only the operator changes
        // them.
        if !target.seed && error == DialError::IdentityMismatch {
            let at = target.addrs.iter().position(|other| *other == addr);
            if let Some(at) = at {
                target.addrs.remove(at);
                attempt.dialed -= usize::from(at < attempt.dialed);
            }
        }
        let is_partial = attempt.is_partial;
        let has_more = attempt.dialed < target.addrs.len() && attempt.deadline > cx.now;
        let is_over = attempt.pending == 0 && !has_more;
        if is_over {
            self.fail(cx, peer, ConnectError::Dial(error));
        } else if attempt.pending == 0 {
            self.dial_next(cx, cx.now, peer);
        }
        self.arm(cx, cx.now);
        let elsewhere = (error == DialError::IdentityMismatch).then_some(addr);
        Some(Failed { peer, elsewhere, is_over, is_partial })
    }

    /// There is an edge to `peer`, whoever opened it: dials are given up, requests wait for its
    /// first word.
    pub(crate) fn on_edge_up(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, dialed: bool) {
        self.no_outgoing &= !dialed;
        self.cancel(cx, peer);
        for target in self.targets.values_mut().filter(|target| dialed && target.failures == 0) {
            if let State::Waiting(until) = &mut target.state {
                *until = (*until).max(cx.now + FURTHER_SEEDS_WAIT);
            }
        }
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Resting;
            let requests = core::mem::take(&mut target.requests);
            if !requests.is_empty() {
                self.awaiting_first_frame.entry(peer).or_default().extend(requests);
            }
            if !target.seed {
                self.targets.remove(&peer);
            }
        }
        self.arm(cx, cx.now);
    }

    /// `peer` answered and does not become an edge: that was all there was to learn. A seed is
    /// dialed again like any other that has no edge.
    pub(crate) fn on_trial_over(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        self.cancel(cx, peer);
        let is_due = self.by_itself && self.below_target;
        if let Some(target) = self.targets.get_mut(&peer) {
            if !target.seed {
                self.targets.remove(&peer);
            } else if is_due {
                target.wait(cx, FURTHER_SEEDS_WAIT);
            }
        }
        self.arm(cx, cx.now);
    }

    /// The edge to `peer` is gone.
    pub(crate) fn on_edge_down(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        ended: Ended,
    ) {
        if let Some(target) = self.targets.get_mut(&peer) {
            match ended {
                _ if !target.seed || !self.by_itself || !self.below_target => {}
                Ended::Left => target.wait(cx, HOLD_OFF),
                Ended::Reset(lived) if lived >= RESET_AFTER => target.dial_soon(cx),
                Ended::Lost(lived) | Ended::Reset(lived) => {
                    if lived >= STABLE_AFTER {
                        target.failures = 0;
                    }
                    self.wait(cx, peer);
                }
            }
        }
        self.arm(cx, cx.now);
    }

    /// `peer` proved who it is and may not become an edge.
    pub(crate) fn on_refused(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        error: ConnectError,
    ) {
        self.cancel(cx, peer);
        if let Some(target) = self.targets.get_mut(&peer) {
            // Nothing about it will have changed soon.
            target.failures = backoff::FAILURES_MAX;
            self.fail(cx, peer, error);
        }
        self.arm(cx, cx.now);
    }

    /// Gives everything up, for good.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_, Action>) {
        let peers: Vec<NodeId> = self.targets.keys().copied().collect();
        for peer in peers {
            self.cancel(cx, peer);
        }
        let targets = core::mem::take(&mut self.targets).into_values();
        let awaiting_first_frame = core::mem::take(&mut self.awaiting_first_frame).into_values();
        for request in targets.map(|target| target.requests).chain(awaiting_first_frame).flatten() {
            let error = ConnectError::Closed;
            cx.act(Action::Event(Event::ConnectFailed { request, error }));
        }
        cx.act(Action::Stop(Timer::Dial));
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
            assert!(target.requests.is_empty() || target.is_dialing());
            if let State::Dialing(attempt) = target.state {
                assert!(attempt.pending > 0, "an attempt without a dial would never end");
                pending += attempt.pending;
            }
        }
        assert_eq!(pending, self.dials.len());
        assert!(self.awaiting_first_frame.values().all(|requests| !requests.is_empty()));
    }

    fn begin(
        &mut self,
        cx: &mut Context<'_, Action>,
        now: Instant,
        peer: NodeId,
        (aim, timeout): (Purpose, Duration),
    ) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        target.state = State::Dialing(Attempt {
            aim,
            dialed: 0,
            pending: 0,
            next_at: now,
            deadline: now + timeout,
            error: DialError::NoRoute,
            is_partial: false,
        });
        self.dial_next(cx, now, peer);
    }

    fn dial_next(&mut self, cx: &mut Context<'_, Action>, now: Instant, peer: NodeId) {
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
        cx.act(Action::Dial { dial, expected: peer, remote, deadline });
    }

    /// The attempt at `peer` failed.
    fn fail(&mut self, cx: &mut Context<'_, Action>, peer: NodeId, error: ConnectError) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        for request in target.requests.drain(..) {
            cx.act(Action::Event(Event::ConnectFailed { request, error }));
        }
        if target.seed {
            target.tell(cx, peer, error);
            self.wait(cx, peer);
        } else {
            self.targets.remove(&peer);
        }
    }

    /// Gives the dials of `peer` up.
    fn cancel(&mut self, cx: &mut Context<'_, Action>, peer: NodeId) {
        if !self.targets.get(&peer).is_some_and(Target::is_dialing) {
            return;
        }
        self.dials.retain(|&dial, &mut (of, _)| {
            if of == peer {
                cx.act(Action::CancelDial(dial));
            }
            of != peer
        });
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Resting;
        }
    }

    fn arm(&self, cx: &mut Context<'_, Action>, now: Instant) {
        match self.targets.values().filter_map(Target::due).min() {
            Some(due) if due > now => cx.act(Action::Set(Timer::Dial, due)),
            // It is set to then and has not fired yet.
            Some(_) => {}
            None => cx.act(Action::Stop(Timer::Dial)),
        }
    }
}

/// The first eight of `addrs` that one host could answer at. An operator, unlike a peer, may well
/// mean this machine.
fn dialable(cx: &mut Context<'_, Action>, addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut dialable = Vec::new();
    for addr in addrs.iter().map(|addr| canonical(*addr)) {
        if addr.port() == 0 || scope(addr.ip()).is_none() {
            cx.discard(DropReason::ImplausibleAddress);
        } else if dialable.len() < ADDRS_MAX && !dialable.contains(&addr) {
            dialable.push(addr);
        }
    }
    dialable
}
