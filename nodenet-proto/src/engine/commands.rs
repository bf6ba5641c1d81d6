//! Commands of the application: the machine that each is for, and the sending of messages.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heapless::Vec as FixedVec;

use super::requests::{Outcome, Wait};
use super::timers::{LEAVE_TIMEOUT, Timer};
use super::{Engine, Life};
use crate::NodeId;
use crate::api::{
    Command, ConnectError, DeliveryPath, Event, FoundPeer, RendezvousError, RequestId, SendFailure,
};
use crate::buf::Frame;
use crate::connect::{Candidate, Purpose, Want};
use crate::env::Rate;
use crate::overlay::{FIRST_HOPS, Hop, Message, MultiPathSend, Prospect};
use crate::rendezvous::{SEALED_PAYLOAD_MAX, Ticket};
use crate::transport::{Class, ConnId, Conns, SendError};
use crate::wire::{DIRECT_PAYLOAD_MAX, FrameType, SEND_PAYLOAD_MAX};

/// Messages for which an edge has budget again when [`Event::SendReady`] is reported (a guess).
/// With half a burst it is reported rarely, and nothing of the rate is lost.
const READY_TOKENS: u64 = 16;

impl Engine {
    /// Takes a command of the application.
    pub fn handle_command(&mut self, now: Instant, command: Command, conns: &mut dyn Conns) {
        self.env.advance(now);
        if command.request().is_some() {
            self.requests.open();
        }
        if self.life != Life::Running {
            return self.settle_after_leave(command);
        }
        match command {
            Command::Send { request, target, payload } => {
                let outcome = if target == self.id() {
                    let path = DeliveryPath::Routed { hops: 0 };
                    self.send_to_self(payload, SEND_PAYLOAD_MAX, path, false)
                } else {
                    let frame_type = FrameType::Route;
                    let message = Message { frame_type, target, payload, tried: Vec::new() };
                    Outcome::Send(self.originate(conns, message).map(|hops| hops.len() as u8))
                };
                self.settle(request, outcome);
            }
            Command::SendDirect { request, target, payload } => {
                if target != self.id() {
                    return self.send_direct_or_hold(conns, request, target, payload);
                }
                let path = DeliveryPath::Direct;
                let outcome = self.send_to_self(payload, DIRECT_PAYLOAD_MAX, path, false);
                self.settle(request, outcome);
            }
            Command::Rendezvous { request, target, within } => {
                self.rendezvous(conns, request, target, within);
            }
            Command::SendSealed { request, target, payload, within } => {
                self.send_sealed(conns, request, target, payload, within);
            }
            Command::Connect { request, target, addrs } => {
                self.connect(conns, request, target, &addrs);
            }
            Command::Bootstrap(peers) => {
                self.run_overlay(conns, |overlay, cx, _| overlay.bootstrap(cx, &peers));
            }
            Command::ImportPeers(peers) => {
                self.run_overlay(conns, |overlay, cx, _| overlay.import(cx, &peers));
            }
            Command::CloseEdge { request, peer } => {
                self.renewals.forget(&peer);
                let existed =
                    self.run_overlay(conns, |overlay, cx, _| overlay.close_edge(cx, &peer));
                self.settle(request, Outcome::EdgeClosed(existed));
            }
            Command::Suspend => self.is_suspended = true,
            Command::Resume => self.resume(conns),
            Command::Leave { request } => self.leave(conns, request),
        }
    }

    /// The way to the network may be another one: every neighbour is asked, and peers are dialed
    /// now that have to wait otherwise.
    fn resume(&mut self, conns: &mut dyn Conns) {
        self.is_suspended = false;
        if let Some(at) = self.nat.handle_local_addrs(self.env.now()) {
            self.timers.set(Timer::Nat, at);
        }
        self.run_overlay(conns, |overlay, cx, _| {
            overlay.resume(cx);
            overlay.probe_all(cx);
        });
        self.renew_all(conns);
    }

    /// The application requests an edge to `peer`.
    fn connect(
        &mut self,
        conns: &mut dyn Conns,
        request: RequestId,
        peer: NodeId,
        addrs: &[SocketAddr],
    ) {
        let wait = Wait::Edge(peer);
        let refused = match self.run_overlay(conns, |overlay, cx, _| overlay.prospect(cx, &peer)) {
            Prospect::Edge { is_taken: true } => {
                self.keep_edge(peer);
                return self.settle(request, Outcome::Connect(peer, Ok(())));
            }
            Prospect::Refused(error) => Some(error),
            Prospect::Edge { is_taken: false } if self.requests.has_room(wait) => {
                self.requests.wait(wait, request);
                self.connect.await_first_frame(peer);
                None
            }
            Prospect::Unconnected(known) if self.requests.has_room(wait) => {
                let given = addrs.iter().copied().map(Candidate::given);
                let candidates = given.chain(known).collect();
                let want = Want { peer, candidates, purpose: Purpose::Request };
                // The attempt may end before the call returns.
                self.requests.wait(wait, request);
                let refused = self.run_connect(conns, |connect, cx| connect.want(cx, want)).err();
                if refused.is_some() {
                    self.requests.unwait(wait, request);
                }
                refused
            }
            Prospect::Edge { .. } | Prospect::Unconnected(_) => Some(ConnectError::Busy),
        };
        if let Some(error) = refused {
            self.settle(request, Outcome::Connect(peer, Err(error)));
        }
    }

    /// The application asks for the keys and addresses of a node.
    fn rendezvous(
        &mut self,
        conns: &mut dyn Conns,
        request: RequestId,
        target: NodeId,
        within: Duration,
    ) {
        if target == self.id() {
            let (identity, addrs) = (self.env.identity(), self.env.own().addrs().to_vec());
            let (key, exchange_key) = (*identity.public_key(), *identity.exchange_key());
            let own = FoundPeer { id: target, key, exchange_key, addrs };
            return self.settle(request, Outcome::Rendezvous(Ok(own)));
        }
        let ticket = Ticket(request.0);
        self.requests.wait(Wait::Ticket(ticket), request);
        self.run_rendezvous(conns, |rendezvous, cx| rendezvous.ask(cx, target, ticket, within));
    }

    fn send_sealed(
        &mut self,
        conns: &mut dyn Conns,
        request: RequestId,
        target: NodeId,
        payload: Bytes,
        within: Duration,
    ) {
        if target == self.id() {
            let path = DeliveryPath::Routed { hops: 0 };
            let outcome = self.send_to_self(payload, SEALED_PAYLOAD_MAX, path, true);
            return self.settle(request, outcome);
        }
        let ticket = Ticket(request.0);
        self.requests.wait(Wait::Ticket(ticket), request);
        self.run_rendezvous(conns, |rendezvous, cx| {
            rendezvous.send_sealed(cx, target, ticket, within, payload);
        });
    }

    fn leave(&mut self, conns: &mut dyn Conns, request: RequestId) {
        (self.life, self.is_suspended) = (Life::Leaving, false);
        self.requests.wait(Wait::Left, request);
        self.run_rendezvous(conns, |rendezvous, cx| rendezvous.stop(cx));
        self.run_connect(conns, |connect, cx| connect.stop(cx));
        self.renewals.stop();
        self.timers.stop(&Timer::Renewal);
        for peer in self.held.peers() {
            self.release_held(conns, peer);
        }
        self.run_nat(conns, |nat, cx| nat.stop(cx));
        self.run_relay(conns, |relay, cx, _| relay.stop(cx));
        self.run_overlay(conns, |overlay, cx, _| overlay.leave(cx));
        self.timers.set(Timer::Leave, self.env.now() + LEAVE_TIMEOUT);
        self.finish_leave();
    }

    /// Signs a message and sends its copies. A first hop that refuses its copy is replaced by a
    /// spare. Returns the edges that the copies left on.
    ///
    /// # Errors
    /// If no edge took a copy.
    pub(super) fn originate(
        &mut self,
        conns: &mut dyn Conns,
        message: Message,
    ) -> Result<FixedVec<Hop, FIRST_HOPS>, SendFailure> {
        let frame_type = message.frame_type;
        let MultiPathSend { envelope, copies, spares } =
            self.run_overlay(conns, |overlay, cx, _| overlay.send(cx, message))?;
        let mut spares = spares.into_iter();
        let (mut taken, mut failure) = (FixedVec::new(), SendFailure::Unroutable);
        for copy in copies {
            let frame = envelope.avoiding(copy.avoid).to_frame(frame_type);
            let hops = core::iter::once(copy.conn).chain(&mut spares);
            match self.send_to_first(conns, Class::Own, frame, hops) {
                Ok(conn) => taken.extend(self.overlay.hop(conn)),
                // A full queue is the more useful reason than conns that are gone.
                Err(SendFailure::Unroutable) => {}
                Err(error) => failure = error,
            }
        }
        if taken.is_empty() { Err(failure) } else { Ok(taken) }
    }

    /// Sends a message over the edge to its target. Without one it waits, if the application asked
    /// for the edge.
    fn send_direct_or_hold(
        &mut self,
        conns: &mut dyn Conns,
        request: RequestId,
        target: NodeId,
        payload: Bytes,
    ) {
        let (len, max) = (payload.len(), DIRECT_PAYLOAD_MAX);
        let waits = self.overlay.edges().get(&target).is_none()
            && self.connect.is_attempted(&target)
            && len <= max;
        let outcome = if !waits {
            self.send_direct(conns, target, payload)
        } else if self.held.push(target, request, payload) {
            return self.requests.wait(Wait::Held(target), request);
        } else {
            Err(SendFailure::Backpressure)
        };
        self.settle(request, Outcome::Send(outcome));
    }

    /// Sends what waited for an edge to `peer`, or fails it if there is none.
    pub(super) fn release_held(&mut self, conns: &mut dyn Conns, peer: NodeId) {
        for (request, payload) in self.held.take(&peer) {
            let outcome = self.send_direct(conns, peer, payload);
            self.requests.unwait(Wait::Held(peer), request);
            self.settle(request, Outcome::Send(outcome));
        }
    }

    /// Sends a message over the edge to its target.
    fn send_direct(
        &mut self,
        conns: &mut dyn Conns,
        target: NodeId,
        payload: Bytes,
    ) -> Result<u8, SendFailure> {
        let send = self.overlay.send_direct(&target, payload)?;
        match self.send_to_first(conns, Class::Own, send.frame, send.hops.into_iter()) {
            Ok(_) => {
                self.watch_edge(conns, target);
                Ok(1)
            }
            Err(SendFailure::Unroutable) => Err(SendFailure::NoEdge),
            Err(error) => Err(error),
        }
    }

    /// Delivers a message to this node itself at once.
    fn send_to_self(
        &mut self,
        payload: Bytes,
        max: usize,
        path: DeliveryPath,
        sealed: bool,
    ) -> Outcome {
        let len = payload.len();
        if len > max {
            Outcome::Send(Err(SendFailure::TooLarge { len, max }))
        } else if self.take_delivery_place() {
            Outcome::Delivered { payload, path, sealed }
        } else {
            Outcome::Undelivered
        }
    }

    /// Passes `frame` to the first of `hops` that takes it, and returns that one. An edge takes
    /// what fits the budget that its peer has for this node. It refuses as a whole: frames held
    /// back on one of its conns may arrive together with those of another.
    pub(super) fn send_to_first(
        &mut self,
        conns: &mut dyn Conns,
        class: Class,
        mut frame: Frame,
        hops: impl Iterator<Item = ConnId>,
    ) -> Result<ConnId, SendFailure> {
        let (now, rate) = (self.env.now(), Rate::OUTBOUND);
        let rest = class.leaves_free(rate.burst() as usize) as u64;
        let (mut failure, mut full) = (SendFailure::Unroutable, None);
        for conn in hops {
            let mut edge = if class.is_paced() { self.overlay.edge_of(conn) } else { None };
            let peer = edge.as_ref().map(|edge| edge.peer);
            if full.is_some() && full == peer {
                continue;
            }
            let before = edge.as_ref().map(|edge| edge.outbound);
            if let Some(edge) = &mut edge
                && !edge.outbound.take_and_leave(now, rate, 1, rest)
            {
                if class == Class::Own && self.timers.deadline(&Timer::SendReady).is_none() {
                    let at = edge.outbound.holds_at(rate, READY_TOKENS);
                    self.timers.set(Timer::SendReady, at);
                }
                (failure, full) = (SendFailure::Backpressure, peer);
                continue;
            }
            let refused = match conns.try_send(conn, class, frame) {
                Ok(()) => return Ok(conn),
                Err(refused) => refused,
            };
            if let (Some(edge), Some(before)) = (edge, before) {
                edge.outbound = before;
            }
            if matches!(refused, SendError::Full(_)) {
                (failure, full) = (SendFailure::Backpressure, peer);
            }
            frame = refused.into_frame();
        }
        Err(failure)
    }

    /// Reports that a message may be sent again, if one was refused.
    pub(super) fn report_send_ready(&mut self) {
        if self.requests.take_refused() {
            self.events.push_back(Event::SendReady);
        }
    }

    /// Settles a command that comes after [`Command::Leave`].
    fn settle_after_leave(&mut self, command: Command) {
        let (request, outcome) = match command {
            Command::Send { request, .. }
            | Command::SendDirect { request, .. }
            | Command::SendSealed { request, .. } => {
                (request, Outcome::Send(Err(SendFailure::Closed)))
            }
            Command::Rendezvous { request, .. } => {
                (request, Outcome::Rendezvous(Err(RendezvousError::Closed)))
            }
            Command::Connect { request, target, .. } => {
                (request, Outcome::Connect(target, Err(ConnectError::Closed)))
            }
            Command::CloseEdge { request, .. } => (request, Outcome::EdgeClosed(false)),
            Command::Bootstrap(_)
            | Command::ImportPeers(_)
            | Command::Suspend
            | Command::Resume => return,
            Command::Leave { request } if self.life == Life::Leaving => {
                return self.requests.wait(Wait::Left, request);
            }
            Command::Leave { request } => (request, Outcome::Left),
        };
        self.settle(request, outcome);
    }

    /// The node has left once its last conn is gone.
    pub(super) fn finish_leave(&mut self) {
        if self.life == Life::Leaving && !self.overlay.has_conns() {
            self.timers.stop(&Timer::Leave);
            self.settle_leave();
        }
    }

    pub(super) fn settle_leave(&mut self) {
        self.life = Life::Left;
        self.requests.settle_all(&mut self.events, Wait::Left, &Outcome::Left);
    }
}
