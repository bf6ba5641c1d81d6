//! Actions of the machines: how each becomes another machine's input, a command to the transport,
//! or an event.
//!
//! Machines do not call each other. Each run of one returns its actions in order, and each action
//! is carried out before the next, with all that it leads to.

use std::net::SocketAddr;

use bytes::Bytes;

use super::renewals::last_known;
use super::requests::{Outcome, Wait};
use super::timers::Timer;
use super::{ACTIONS_KEPT, Engine};
use crate::NodeId;
use crate::api::{ConnectError, ConnectOutcome, DeliveryPath, Event, SendFailure};
use crate::connect::{self, Candidate, Connect, Purpose, Source, Want};
use crate::context::Context;
use crate::nat::{self, Nat, Prober, Volley};
use crate::overlay::edges::PathKind;
use crate::overlay::{self, Hop, Message, Overlay};
use crate::rendezvous::{self, Rendezvous, Settled, Ticket, Unsealed};
use crate::stats::DropReason;
use crate::transport::{self, Class, ConnId, Conns};
use crate::wire::FrameType;

/// Contacts from which a prober is chosen for the reachability test (a guess).
const PROBERS_MAX: usize = 128;

impl Engine {
    /// Calls the overlay, and carries out its actions. It may read the attempts under way.
    #[inline]
    pub(super) fn run_overlay<T>(
        &mut self,
        conns: &mut dyn Conns,
        act: impl FnOnce(&mut Overlay, &mut Context<'_, overlay::Action>, &Connect) -> T,
    ) -> T {
        let mut actions = core::mem::take(&mut self.actions);
        let mut cx = self.env.context(|streams| &mut streams.overlay, &mut actions, conns);
        let result = act(&mut self.overlay, &mut cx, &self.connect);
        for action in actions.drain(..) {
            self.carry_out(action, conns);
        }
        actions.shrink_to(ACTIONS_KEPT);
        self.actions = actions;
        result
    }

    /// Calls the connect machine, and carries out its actions.
    pub(super) fn run_connect<T>(
        &mut self,
        conns: &mut dyn Conns,
        act: impl FnOnce(&mut Connect, &mut Context<'_, connect::Action>) -> T,
    ) -> T {
        let mut actions = Vec::new();
        let mut cx = self.env.context(|streams| &mut streams.connect, &mut actions, conns);
        let result = act(&mut self.connect, &mut cx);
        for action in actions {
            self.carry_out_connect(action, conns);
        }
        result
    }

    /// Calls rendezvous, and carries out its actions.
    pub(super) fn run_rendezvous<T>(
        &mut self,
        conns: &mut dyn Conns,
        act: impl FnOnce(&mut Rendezvous, &mut Context<'_, rendezvous::Action>) -> T,
    ) -> T {
        let mut actions = Vec::new();
        let mut cx = self.env.context(|streams| &mut streams.rendezvous, &mut actions, conns);
        let result = act(&mut self.rendezvous, &mut cx);
        for action in actions {
            self.carry_out_rendezvous(action, conns);
        }
        result
    }

    /// Calls the service for this node's own address, and carries out its actions.
    pub(super) fn run_nat<T>(
        &mut self,
        conns: &mut dyn Conns,
        act: impl FnOnce(&mut Nat, &mut Context<'_, nat::Action>) -> T,
    ) -> T {
        let mut actions = Vec::new();
        let mut cx = self.env.context(|streams| &mut streams.nat, &mut actions, conns);
        let result = act(&mut self.nat, &mut cx);
        for action in actions {
            self.carry_out_nat(action, conns);
        }
        result
    }

    fn carry_out(&mut self, action: overlay::Action, conns: &mut dyn Conns) {
        use overlay::Action;
        match action {
            Action::Offer { class, frame, hops } => self.offer(conns, class, frame, &hops),
            Action::Deliver { originator, payload, path } => {
                self.deliver(conns, originator, payload, path);
            }
            Action::Frame(frame) => self.serve_frame(conns, frame),
            Action::Message(message) => self.serve_message(conns, *message),
            Action::Connect(want) => self.want(conns, want),
            Action::EdgeUp { peer, conn, is_taken } => {
                self.makes_room = true;
                let path = conns.path(conn).map(|path| self.outcome_at(path.remote));
                self.run_connect(conns, |connect, cx| {
                    connect.handle_edge_up(cx, peer, path, is_taken);
                });
                self.pass_edge_up(conns, peer, conn);
                self.release_held(conns, peer);
                self.run_relay(conns, |relay, cx, neighbours| {
                    relay.handle_edge_up(cx, neighbours, &peer);
                });
            }
            Action::FirstFrame(peer) => {
                self.run_connect(conns, |connect, cx| connect.handle_first_frame(cx, peer));
            }
            Action::Doubtful(peer) => self.handle_doubtful(conns, peer),
            Action::EdgeDown { peer, reason } => {
                let last = self.nat.neighbour(&peer).map(|addr| last_known(addr, false));
                self.run_connect(conns, |connect, cx| connect.handle_edge_down(cx, peer, reason));
                self.run_nat(conns, |nat, cx| nat.handle_edge_down(cx, peer));
                self.run_relay(conns, |relay, cx, neighbours| {
                    relay.handle_edge_down(cx, neighbours, &peer);
                });
                self.handle_edge_lost(conns, peer, reason, last);
            }
            Action::Close { conn, mode } => {
                self.commands.push_back(transport::Command::Close { conn, mode });
            }
            Action::Event(event) => self.events.push_back(event),
            Action::Set(timer, at) => self.set_timer(Timer::Overlay(timer), at),
            Action::Stop(timer) => self.timers.stop(&Timer::Overlay(timer)),
        }
    }

    fn carry_out_connect(&mut self, action: connect::Action, conns: &mut dyn Conns) {
        use connect::Action;
        match action {
            Action::Dial { dial, expected, remote, deadline } => {
                self.run_nat(conns, |nat, cx| nat.handle_sent(cx, remote));
                self.commands.push_back(transport::Command::Dial {
                    dial,
                    expected,
                    remote,
                    deadline,
                });
            }
            Action::CancelDial(dial) => {
                self.commands.push_back(transport::Command::CancelDial(dial));
            }
            Action::Ask { is_to_wait: true, .. } if !self.overlay.edges().is_empty() => {}
            Action::Ask { peer, nonce, tried, .. } => self.ask_peer(conns, peer, nonce, &tried),
            Action::Punch { peer, addrs, named_by } => {
                let volley = if named_by.is_none() { Volley::Short } else { Volley::Full };
                let len = named_by.unwrap_or_default();
                self.run_nat(conns, |nat, cx| nat.burst(cx, peer, &addrs, volley, len));
            }
            Action::AskRelay(peer) => {
                self.run_relay(conns, |relay, cx, neighbours| relay.ask(cx, neighbours, peer));
            }
            Action::StopRelay(peer) => {
                self.run_relay(conns, |relay, cx, _| relay.stop_asking(cx, &peer));
            }
            Action::Upgrade(peer) => self.upgrade(conns, peer),
            Action::Settle { peer, result } => {
                if result.is_ok() {
                    self.keep_edge(peer);
                }
                let outcome = Outcome::Connect(peer, result);
                self.requests.settle_all(&mut self.events, Wait::Edge(peer), &outcome);
                self.release_held(conns, peer);
            }
            Action::Elsewhere { peer, addr } => self.overlay.handle_elsewhere(&peer, addr),
            Action::Begun(peer) => {
                self.run_overlay(conns, |overlay, cx, _| overlay.handle_attempt_begun(cx, &peer));
            }
            Action::Failed { peer, error, is_partial } => {
                self.release_held(conns, peer);
                if self.overlay.edges().get(&peer).is_some() {
                    // Another conn was wanted for it, and the one that there is may do.
                    return;
                }
                self.run_overlay(conns, |overlay, cx, _| {
                    overlay.handle_attempt_failed(cx, peer, error, is_partial);
                })
            }
            Action::Set(at) => self.set_timer(Timer::Connect, at),
            Action::Stop => self.timers.stop(&Timer::Connect),
        }
    }

    /// What an edge at this address is.
    fn outcome_at(&self, remote: SocketAddr) -> ConnectOutcome {
        match self.relay.is_relayed(remote) {
            Some(volunteer) => ConnectOutcome::Relayed { remote, volunteer },
            None => ConnectOutcome::Direct { remote },
        }
    }

    /// Originates a Connect over first hops that did not bring an answer before.
    fn ask_peer(
        &mut self,
        conns: &mut dyn Conns,
        peer: NodeId,
        nonce: connect::Nonce,
        tried: &[NodeId],
    ) {
        self.choose_volunteers(conns);
        let payload = self.run_nat(conns, |nat, cx| nat.connect_payload(cx, nonce));
        let hop = |peer: &NodeId| {
            let edge = self.overlay.edges().get(peer)?;
            Some(Hop { peer: edge.peer, subnet: edge.subnet })
        };
        let tried = tried.iter().filter_map(hop).collect();
        let message = Message { frame_type: FrameType::Connect, target: peer, payload, tried };
        let hops = match self.originate(conns, message) {
            Ok(hops) => Some(hops.iter().map(|hop| hop.peer).collect::<Vec<_>>()),
            // A queue has room again before the next sending.
            Err(SendFailure::Backpressure) => Some(Vec::new()),
            Err(_) => None,
        };
        self.run_connect(conns, |connect, cx| {
            connect.handle_asked(cx, peer, &nonce, hops.as_deref());
        });
    }

    fn carry_out_rendezvous(&mut self, action: rendezvous::Action, conns: &mut dyn Conns) {
        use rendezvous::Action;
        match action {
            Action::Ask { nonce, message } => {
                let taken = self.originate(conns, message);
                self.run_rendezvous(conns, |rendezvous, cx| {
                    rendezvous.handle_asked(cx, &nonce, taken);
                });
            }
            Action::Answer(message) => {
                let requester = message.target;
                match self.originate(conns, message) {
                    Ok(hops) => self.rendezvous.handle_answered(&requester, &hops),
                    Err(_) => self.env.stats_mut().count_drop(DropReason::RepairExhausted),
                }
            }
            Action::Send(ticket, message) => {
                let sent = self.originate(conns, message).map(|hops| hops.len() as u8);
                self.settle_ticket(ticket, &Outcome::Send(sent));
            }
            Action::Learn { id, key, addrs } => {
                self.run_overlay(conns, |overlay, cx, _| {
                    overlay.handle_introduced(cx, id, key, &addrs);
                });
            }
            Action::Settle(ticket, settled) => {
                let outcome = match settled {
                    Settled::Found(peer) => Outcome::Rendezvous(Ok(peer)),
                    Settled::Failed(error) => Outcome::Rendezvous(Err(error)),
                    Settled::Unsent(error) => Outcome::Send(Err(error)),
                };
                self.settle_ticket(ticket, &outcome);
            }
            Action::Set(at) => self.set_timer(Timer::Rendezvous, at),
            Action::Stop => self.timers.stop(&Timer::Rendezvous),
        }
    }

    fn settle_ticket(&mut self, ticket: Ticket, outcome: &Outcome) {
        self.requests.settle_all(&mut self.events, Wait::Ticket(ticket), outcome);
    }

    /// Gives a message to the application. One that was sealed for this node is opened before.
    fn deliver(
        &mut self,
        conns: &mut dyn Conns,
        originator: NodeId,
        payload: Bytes,
        path: DeliveryPath,
    ) {
        let unsealed = match path {
            DeliveryPath::Direct => Unsealed::Plain(payload),
            DeliveryPath::Routed { .. } => self.run_rendezvous(conns, |rendezvous, cx| {
                rendezvous.unseal(cx, &originator, payload)
            }),
        };
        let (payload, sealed) = match unsealed {
            Unsealed::Plain(payload) => (payload, false),
            Unsealed::Sealed(payload) => (payload, true),
            Unsealed::Refused => return,
        };
        if self.take_delivery_place() {
            let request = None;
            self.events.push_back(Event::Delivered { originator, payload, path, sealed, request });
        }
    }

    fn carry_out_nat(&mut self, action: nat::Action, conns: &mut dyn Conns) {
        use nat::Action;
        match action {
            Action::Originate { frame_type, target, payload } => {
                let message = Message { frame_type, target, payload, tried: Vec::new() };
                if self.originate(conns, message).is_err() {
                    self.run_nat(conns, |nat, cx| nat.handle_unsent(cx, frame_type));
                }
            }
            Action::Punch { remote, bytes, ttl } => {
                self.commands.push_back(transport::Command::Punch { remote, bytes, ttl });
            }
            Action::Answered { peer, answer, volunteers } => {
                if self.connect.is_requested(&peer) {
                    self.relay.note_named(peer, volunteers);
                }
                let is_taken =
                    self.run_connect(conns, |connect, cx| connect.handle_answer(cx, peer, &answer));
                if !is_taken {
                    self.env.stats_mut().count_drop(DropReason::Unsolicited);
                }
            }
            Action::FindProbers => {
                let known = self.overlay.unconnected(PROBERS_MAX).into_iter();
                let probers: Vec<Prober> = known.map(|(id, addrs)| Prober { id, addrs }).collect();
                self.run_nat(conns, |nat, cx| nat.handle_probers(cx, &probers));
            }
            Action::FindWitness(peer) => {
                let open = self.overlay.witnesses(PROBERS_MAX).into_iter();
                let nodes: Vec<Prober> = open.map(|(id, addrs)| Prober { id, addrs }).collect();
                self.run_nat(conns, |nat, cx| nat.handle_witnesses(cx, peer, &nodes));
            }
            Action::Reach { peer, addr } => {
                let source = Source::Unverified;
                let candidates = vec![Candidate { addr, source, is_open: true }];
                self.want(conns, Want { peer, candidates, purpose: Purpose::Edge });
            }
            Action::PortMoved { peer, addr } => {
                self.connect.handle_port_moved(self.env.now(), &peer, addr);
            }
            Action::Predicted { peer, first, step, count } => {
                let now = self.env.now();
                self.connect.handle_predicted(now, &peer, first, step, count);
            }
            Action::AskAll => self.run_overlay(conns, |overlay, cx, _| overlay.ask_all(cx)),
            Action::Ask(peer) => {
                self.run_overlay(conns, |overlay, cx, _| overlay.ask_neighbour(cx, &peer))
            }
            Action::Event(event) => {
                if matches!(event, Event::NatChanged(_)) {
                    self.run_connect(conns, |connect, cx| connect.handle_news(cx));
                }
                self.events.push_back(event);
            }
            Action::Set(at) => self.set_timer(Timer::Nat, at),
            Action::Stop => self.timers.stop(&Timer::Nat),
        }
    }

    /// Tells the service for this node's own address of a conn that joined an edge.
    fn pass_edge_up(&mut self, conns: &mut dyn Conns, peer: crate::NodeId, conn: ConnId) {
        let edge = self.overlay.edges().get(&peer);
        let known = edge.and_then(|edge| edge.conns().find(|known| known.id == conn));
        let Some(is_accepted) = known.map(|conn| !conn.outgoing) else { return };
        let Some(path) = conns.path(conn) else { return };
        let is_relayed = self.relay.is_relayed(path.remote).is_some();
        let kind = if is_relayed { PathKind::Relayed } else { PathKind::Direct };
        self.run_overlay(conns, |overlay, cx, _| overlay.set_path(cx, &peer, conn, kind));
        if is_relayed {
            // Its address says nothing of the peer.
            return self.run_connect(conns, |connect, cx| {
                connect.handle_relayed(cx, peer, !is_accepted);
            });
        }
        self.run_nat(conns, |nat, cx| nat.handle_edge_up(cx, peer, path.remote, is_accepted));
    }

    /// Starts an attempt for the topology. A contact that cannot be dialed now is chosen again at
    /// the next fill; the attempt at a bootstrap peer counts as failed.
    pub(super) fn want(&mut self, conns: &mut dyn Conns, want: Want) {
        let (peer, purpose) = (want.peer, want.purpose);
        if purpose != Purpose::Bootstrap && self.nat.is_quiet(self.env.now(), &peer) {
            return;
        }
        let begun = self.run_connect(conns, |connect, cx| connect.want(cx, want));
        if let Err(error) = begun
            && purpose == Purpose::Bootstrap
        {
            self.run_overlay(conns, |overlay, cx, _| {
                overlay.handle_attempt_failed(cx, peer, error, false);
            });
        }
    }

    /// Looks for a direct path to a peer whose edge goes over a relay.
    fn upgrade(&mut self, conns: &mut dyn Conns, peer: NodeId) {
        let edge = self.overlay.edges().get(&peer);
        if !edge.is_some_and(|edge| edge.send_conn().is_relayed()) {
            return self.run_connect(conns, |connect, cx| connect.handle_upgraded(cx, &peer));
        }
        self.want(conns, Want { peer, candidates: Vec::new(), purpose: Purpose::Upgrade });
    }

    pub(super) fn set_timer(&mut self, timer: Timer, at: std::time::Instant) {
        assert!(at > self.env.now(), "a machine set {timer:?} to the past");
        self.timers.set(timer, at);
    }

    /// Offers a frame to one conn after another. This is local repair: a full queue moves it on.
    pub(super) fn offer(
        &mut self,
        conns: &mut dyn Conns,
        class: Class,
        frame: crate::buf::Frame,
        hops: &[transport::ConnId],
    ) {
        if self.send_to_first(conns, class, frame, hops.iter().copied()).is_err() {
            let reason = match class {
                Class::Own | Class::Transit => DropReason::RepairExhausted,
                Class::Control | Class::Leave => DropReason::ControlUnsent,
            };
            self.env.stats_mut().count_drop(reason);
        }
    }

    /// Takes a place in the delivery queue, if there is one.
    pub(super) fn take_delivery_place(&mut self) -> bool {
        let has_room = self.deliveries < self.env.config().delivery_queue_max;
        if has_room {
            self.deliveries += 1;
        } else {
            self.env.stats_mut().count_drop(DropReason::DeliveryQueueFull);
        }
        has_room
    }

    /// A peer that this node dialed may not become an edge: the attempt at it is over.
    pub(super) fn refuse_attempt(
        &mut self,
        conns: &mut dyn Conns,
        peer: crate::NodeId,
        error: ConnectError,
    ) {
        self.run_connect(conns, |connect, cx| connect.handle_refused(cx, peer, error));
    }

    /// Settles one request.
    pub(super) fn settle(&mut self, request: crate::api::RequestId, outcome: Outcome) {
        self.requests.settle(&mut self.events, request, outcome);
    }
}
