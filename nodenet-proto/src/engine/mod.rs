//! Everything above the transport boundary, composed: the only place where one machine's action
//! becomes another's input.
//!
//! [`crate::node::Node`] is an engine plus QUIC. The simulator's overlay world drives engines
//! alone.
//!
//! Responsible for: the environment of the machines, the one queue of timers, what leaves for the
//! transport and the application, and that every command is settled exactly once. Never: a rule of
//! the protocol.
//!
//! Each handler takes one input, lets the machine concerned push its actions, and carries them out
//! before it returns. Afterwards [`Engine::poll`] hands out what is left to do.

mod env;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::env::Env;
use crate::NodeId;
use crate::api::{
    Command, Config, ConnectError, EdgeInfo, Event, INBOUND_EDGES_CAP, KnownPeer, RequestId,
    SendFailure,
};
use crate::buf::Frame;
use crate::context::Context;
use crate::env::Rate;
use crate::env::{Crypto, Seed, TimerQueue, UnixNanos};
use crate::identity::Identity;
use crate::io::Deadline;
use crate::overlay::{self, Action, MultiPathSend, Overlay, Peer};
use crate::stats::{DropReason, Gauges, Stats};
use crate::transport::{self, Class, ConnId, Conns, SendError};
use crate::wire::FrameType;

/// Timers that fire in one call; the rest are due at once and fire in the next (a guess: enough
/// that one call is seldom too short, few enough that it is never long).
const EXPIRIES_PER_CALL: usize = 64;
/// Room for actions that is kept between two inputs; a joining node needs much more for a while.
const ACTIONS_KEPT: usize = 16;
/// Messages for which an edge has budget again when the application is told: half a burst, so that
/// it is told seldom and nothing of the rate is lost (a guess).
const READY_TOKENS: u64 = 16;
/// How long [`Command::Leave`] waits for the conns to drain, which takes them a second at most
/// (PROTOCOL.md#shutdown).
const LEAVE_TIMEOUT: Duration = Duration::from_millis(1500);

/// What [`Engine::poll`] hands out.
#[derive(Debug)]
pub enum Output {
    /// For the transport to carry out.
    Transport(transport::Command),
    /// For the application.
    Event(Event),
    /// Nothing more to do until then, or until the next input.
    Timeout(Option<Deadline>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Timer {
    Overlay(overlay::Timer),
    /// Conns that have not drained by now are given up.
    Leave,
    /// An edge that had no budget for a message has some again.
    SendReady,
}

impl Timer {
    const fn name(self) -> &'static str {
        match self {
            Self::Overlay(timer) => timer.name(),
            Self::Leave => "leave",
            Self::SendReady => "send_ready",
        }
    }
}

/// Whether the node is part of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Life {
    Running,
    /// Waits for its conns to drain; these commands asked for it.
    Leaving(Vec<RequestId>),
    Left,
}

/// Everything above the transport boundary.
pub struct Engine {
    config: Arc<Config>,
    env: Env,
    overlay: Overlay,
    life: Life,
    timers: TimerQueue<Timer>,
    /// For the transport. Bounded by what one input can cause, for every input is followed by a
    /// drain.
    commands: VecDeque<transport::Command>,
    /// For the application. Deliveries in it are capped by the configuration.
    events: VecDeque<Event>,
    deliveries: usize,
    /// Whether the application was refused a message and not told since that it may try again.
    refused: bool,
    /// Where machines push; empty between calls.
    actions: Vec<Action>,
}

impl Engine {
    /// A node with no edges. `wall` is the wall time at `now`.
    pub fn new(
        mut config: Config,
        identity: Identity,
        crypto: Box<dyn Crypto>,
        seed: &Seed,
        now: Instant,
        wall: UnixNanos,
    ) -> Self {
        config.inbound_edges_max = config.inbound_edges_max.min(INBOUND_EDGES_CAP);
        let config = Arc::new(config);
        Self {
            overlay: Overlay::new(identity.id(), Arc::clone(&config), now),
            env: Env::new(identity, crypto, seed, now, wall),
            config,
            life: Life::Running,
            timers: TimerQueue::new(),
            commands: VecDeque::new(),
            events: VecDeque::new(),
            deliveries: 0,
            refused: false,
            actions: Vec::new(),
        }
    }

    /// Takes a command of the application.
    pub fn handle_command(&mut self, now: Instant, command: Command, conns: &mut dyn Conns) {
        self.env.advance(now);
        if self.life != Life::Running {
            return self.settle_after_leave(command);
        }
        match command {
            Command::Send { request, target, payload } => self.run(conns, |overlay, cx, _| {
                overlay.send(cx, request, (target, payload));
            }),
            Command::SendDirect { request, target, payload } => {
                self.run(conns, |overlay, cx, _| {
                    overlay.send_direct(cx, request, (target, payload));
                });
            }
            Command::Connect { request, target, addrs } => self.run(conns, |overlay, cx, _| {
                overlay.connect(cx, request, (target, &addrs));
            }),
            Command::Bootstrap(seeds) => {
                self.run(conns, |overlay, cx, _| overlay.bootstrap(cx, &seeds));
            }
            Command::ImportPeers(peers) => {
                self.run(conns, |overlay, cx, _| overlay.import(cx, &peers));
            }
            Command::CloseEdge { request, peer } => {
                let mut existed = false;
                self.run(conns, |overlay, cx, _| existed = overlay.close_edge(cx, &peer));
                self.events.push_back(Event::EdgeClosed { request, existed });
            }
            Command::Leave { request } => {
                self.life = Life::Leaving(vec![request]);
                self.run(conns, |overlay, cx, _| overlay.leave(cx));
                self.timers.set(Timer::Leave, self.env.now() + LEAVE_TIMEOUT);
                self.finish_leave();
            }
        }
    }

    /// Takes a report of the transport.
    pub fn handle_transport(
        &mut self,
        now: Instant,
        event: transport::Event,
        conns: &mut dyn Conns,
    ) {
        use transport::Event::{ConnDown, ConnUp, DialFailed, Frame, Writable};
        self.env.advance(now);
        let edges = self.overlay.edges().len();
        let makes_room = matches!(event, ConnDown { .. } | Writable(_));
        match event {
            Frame { conn, frame } => self.run(conns, |overlay, cx, conns| {
                overlay.handle_frame(cx, conns, conn, frame);
            }),
            ConnUp { conn, peer, key, direction, remote } => {
                let peer = Peer { id: peer, key, remote };
                self.run(conns, |overlay, cx, conns| {
                    overlay.handle_conn_up(cx, conns, (conn, peer, direction));
                });
            }
            ConnDown { conn, reason } => {
                self.run(conns, |overlay, cx, _| {
                    overlay.handle_conn_down(cx, conn, reason);
                });
                self.finish_leave();
            }
            DialFailed { dial, error } => self.run(conns, |overlay, cx, _| {
                overlay.handle_dial_failed(cx, dial, error);
            }),
            // Nothing waits here for room: what did not fit went elsewhere, or was refused.
            Writable(_) => {}
        }
        let has_more = self.overlay.edges().len() > edges;
        if makes_room || has_more {
            self.report_send_ready();
        }
    }

    /// Lets timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant, conns: &mut dyn Conns) {
        self.env.advance(now);
        for _ in 0..EXPIRIES_PER_CALL {
            match self.timers.pop_due(self.env.now()) {
                Some(Timer::Overlay(timer)) => {
                    self.run(conns, |overlay, cx, _| overlay.handle_timer(cx, timer));
                }
                Some(Timer::Leave) => self.settle_leave(),
                Some(Timer::SendReady) => self.report_send_ready(),
                None => return,
            }
        }
    }

    /// Takes a new reading of the wall clock.
    pub fn handle_wall_clock(&mut self, now: Instant, wall: UnixNanos) {
        self.env.advance(now);
        self.env.correct_wall(wall);
    }

    /// Takes the addresses at which the main socket can be reached, best first.
    pub fn handle_local_addrs(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.env.advance(now);
        self.overlay.set_local_addrs(addrs);
    }

    /// The next output. [`Output::Timeout`] means there is no other.
    pub fn poll(&mut self) -> Output {
        if let Some(command) = self.commands.pop_front() {
            return Output::Transport(command);
        }
        if let Some(event) = self.events.pop_front() {
            self.deliveries -= usize::from(matches!(event, Event::Delivered { .. }));
            return Output::Event(event);
        }
        let next = self.timers.peek();
        Output::Timeout(next.map(|(at, timer)| Deadline { at, reason: timer.name() }))
    }

    /// This node's identifier.
    pub fn id(&self) -> NodeId {
        *self.overlay.edges().own()
    }

    /// Counters of everything above the boundary. Gauges are asked for apart.
    pub fn stats(&self) -> &Stats {
        self.env.stats()
    }

    /// How full every table above the boundary is now. Looks at all of them.
    pub fn gauges(&self) -> Gauges {
        Gauges { timers: self.timers.len() as u64, ..self.overlay.gauges() }
    }

    /// The live edges, nearest to this node first.
    pub fn edges(&self, conns: &dyn Conns) -> Vec<EdgeInfo> {
        let (now, own) = (self.env.now(), self.id());
        let info = |edge: &overlay::edges::Edge| {
            let path = conns.path(edge.send_conn().id)?;
            Some(EdgeInfo {
                peer: edge.peer,
                outgoing: edge.is_outgoing(),
                sibling: edge.is_sibling(),
                remote: path.remote,
                rtt: path.rtt,
                conns: edge.conn_count() as u8,
                age: now.saturating_duration_since(edge.since),
                idle: now.saturating_duration_since(edge.heard()),
            })
        };
        let mut edges: Vec<EdgeInfo> = self.overlay.edges().iter().filter_map(info).collect();
        edges.sort_by(|a, b| own.compare_distance(&a.peer, &b.peer));
        edges
    }

    /// Peers worth remembering across a restart, best first: those that proved themselves at an
    /// address, behind them those that signed theirs, spread over the network, and last the live
    /// edges of which neither is known, at the address from which they speak now. Hand them to
    /// [`Command::ImportPeers`] at the next start.
    pub fn export_peers(&self, conns: &dyn Conns) -> Vec<KnownPeer> {
        self.overlay.export(conns)
    }

    /// Asserts every invariant.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub fn check(&self) {
        self.overlay.check();
        self.timers.check();
        assert!(self.actions.is_empty());
        for timer in self.timers.keys() {
            match timer {
                Timer::Overlay(overlay::Timer::Conn(conn)) => assert!(self.overlay.is_live(*conn)),
                Timer::Overlay(overlay::Timer::Dial | overlay::Timer::Schedule) => {
                    assert_eq!(self.life, Life::Running);
                }
                Timer::Leave => assert!(matches!(self.life, Life::Leaving(_))),
                Timer::SendReady => {}
            }
        }
        let deliveries = |event: &&Event| matches!(event, Event::Delivered { .. });
        assert_eq!(self.deliveries, self.events.iter().filter(deliveries).count());
        assert!(self.deliveries <= self.config.delivery_queue_max);
    }

    /// Lets the overlay act, and carries out what it wants done.
    fn run(
        &mut self,
        conns: &mut dyn Conns,
        act: impl FnOnce(&mut Overlay, &mut Context<'_, Action>, &dyn Conns),
    ) {
        let mut actions = core::mem::take(&mut self.actions);
        act(&mut self.overlay, &mut self.env.overlay_context(&mut actions), conns);
        for action in actions.drain(..) {
            self.carry_out(action, conns);
        }
        actions.shrink_to(ACTIONS_KEPT);
        self.actions = actions;
    }

    fn carry_out(&mut self, action: Action, conns: &mut dyn Conns) {
        match action {
            Action::Dial { dial, expected, remote, deadline } => {
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
            Action::Close { conn, mode } => {
                self.commands.push_back(transport::Command::Close { conn, mode });
            }
            Action::Offer { class, frame, hops, request } => {
                self.offer(conns, class, (frame, &hops), request);
            }
            Action::MultiPathSend(send_copies) => self.send_copies(conns, *send_copies),
            Action::Deliver { originator, payload, path, request } => {
                self.deliver(Event::Delivered { originator, payload, path }, request);
            }
            Action::Event(event) => self.events.push_back(event),
            Action::Set(timer, at) => {
                assert!(at > self.env.now(), "a machine set {timer:?} to the past");
                self.timers.set(Timer::Overlay(timer), at);
            }
            Action::Stop(timer) => self.timers.stop(&Timer::Overlay(timer)),
        }
    }

    /// Offers a frame to one conn after another. This is local repair: a full queue moves it on.
    fn offer(
        &mut self,
        conns: &mut dyn Conns,
        class: Class,
        (frame, hops): (Frame, &[ConnId]),
        request: Option<RequestId>,
    ) {
        let sent = self.send_to_first(conns, class, frame, hops.iter().copied());
        let lost = match class {
            Class::Transit => Some(DropReason::RepairExhausted),
            Class::Control | Class::Leave => Some(DropReason::ControlUnsent),
            // It is the application's own, and settled below.
            Class::Own => None,
        };
        if let Some(reason) = lost.filter(|_| sent.is_err()) {
            self.env.stats_mut().count_drop(reason);
        }
        if let Some(request) = request {
            self.settle_send(request, sent.map(|()| 1));
        }
    }

    /// Hands `frame` to the first of `hops` that takes it. An edge takes what fits the budget that
    /// its peer has for this node. It refuses as a whole: what one of its conns holds back may
    /// arrive together with what another takes.
    fn send_to_first(
        &mut self,
        conns: &mut dyn Conns,
        class: Class,
        mut frame: Frame,
        hops: impl Iterator<Item = ConnId>,
    ) -> Result<(), SendFailure> {
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
                Ok(()) => return Ok(()),
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

    /// Tells the application that was refused a message to try again.
    fn report_send_ready(&mut self) {
        if core::mem::take(&mut self.refused) {
            self.events.push_back(Event::SendReady);
        }
    }

    fn settle_send(&mut self, request: RequestId, sent: Result<u8, SendFailure>) {
        self.refused |= sent == Err(SendFailure::Backpressure);
        self.events.push_back(match sent {
            Ok(copies) => Event::Sent { request, copies },
            Err(error) => Event::SendFailed { request, error },
        });
    }

    /// Sends the copies of a message. A first hop that refuses its copy is replaced by a spare.
    fn send_copies(&mut self, conns: &mut dyn Conns, send_copies: MultiPathSend) {
        let MultiPathSend { request, envelope, copies, spares } = send_copies;
        let mut spares = spares.into_iter();
        let (mut sent, mut failure) = (0, SendFailure::Unroutable);
        for copy in copies {
            let frame = envelope.avoiding(copy.avoid).to_frame(FrameType::Route);
            let hops = core::iter::once(copy.conn).chain(&mut spares);
            match self.send_to_first(conns, Class::Own, frame, hops) {
                Ok(()) => sent += 1,
                // That some queue has no room says more than that others are gone.
                Err(SendFailure::Unroutable) => {}
                Err(error) => failure = error,
            }
        }
        self.settle_send(request, if sent == 0 { Err(failure) } else { Ok(sent) });
    }

    fn deliver(&mut self, delivered: Event, request: Option<RequestId>) {
        let is_full = self.deliveries >= self.config.delivery_queue_max;
        if is_full {
            self.env.stats_mut().count_drop(DropReason::DeliveryQueueFull);
        } else {
            self.deliveries += 1;
            self.events.push_back(delivered);
        }
        if let Some(request) = request {
            self.events.push_back(if is_full {
                Event::SendFailed { request, error: SendFailure::Backpressure }
            } else {
                Event::Sent { request, copies: 0 }
            });
        }
    }

    /// Settles a command that comes after [`Command::Leave`].
    fn settle_after_leave(&mut self, command: Command) {
        let closed = ConnectError::Closed;
        self.events.push_back(match command {
            Command::Send { request, .. } | Command::SendDirect { request, .. } => {
                Event::SendFailed { request, error: SendFailure::Closed }
            }
            Command::Connect { request, .. } => Event::ConnectFailed { request, error: closed },
            Command::CloseEdge { request, .. } => Event::EdgeClosed { request, existed: false },
            Command::Bootstrap(_) | Command::ImportPeers(_) => return,
            Command::Leave { request } => match &mut self.life {
                Life::Leaving(requests) => return requests.push(request),
                _ => Event::Left { request },
            },
        });
    }

    /// The node has left once its last conn is gone.
    fn finish_leave(&mut self) {
        if matches!(self.life, Life::Leaving(_)) && !self.overlay.has_conns() {
            self.timers.stop(&Timer::Leave);
            self.settle_leave();
        }
    }

    fn settle_leave(&mut self) {
        if let Life::Leaving(requests) = core::mem::replace(&mut self.life, Life::Left) {
            self.events.extend(requests.into_iter().map(|request| Event::Left { request }));
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?})", self.id())
    }
}

/// Drivers move whole nodes between threads.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Engine>();
};
