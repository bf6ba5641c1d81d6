//! Engine: everything above the transport boundary, composed. Only here one machine's action
//! becomes another's input.
//!
//! [`crate::node::Node`] is an engine plus QUIC. The simulator's overlay world drives engines
//! alone.
//!
//! Responsible for: the environment of the machines, the one queue of timers, and output to the
//! transport and the application. Every command is settled exactly once. Never: has a rule of the
//! protocol.
//!
//! Each handler takes one input, lets the machine concerned push its actions, and carries them out
//! before it returns. Afterwards [`Engine::poll`] returns the outputs.
//!
//! A service over the overlay has an arm in four files: `commands`, `frames`, `actions`, `timers`.

mod actions;
mod commands;
mod env;
mod frames;
mod held;
mod relaying;
mod renewals;
mod report;
mod requests;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use self::env::Env;
use self::held::HeldSends;
use self::renewals::Renewals;
use self::requests::{Requests, Wait};
use self::timers::Timer;
use crate::NodeId;
use crate::api::{Config, Event, INBOUND_EDGES_CAP};
use crate::connect::Connect;
use crate::env::{Crypto, Seed, TimerQueue, UnixNanos};
use crate::identity::Identity;
use crate::io::Deadline;
use crate::nat::Nat;
use crate::overlay::{self, Dialed, Overlay, Peer};
use crate::relay::Relay;
use crate::rendezvous::Rendezvous;
use crate::transport::{self, ConnId, Conns, DialId, Direction, Role};

/// Room for actions that is kept between two inputs; a joining node needs much more for a while.
const ACTIONS_KEPT: usize = 16;

/// Output of [`Engine::poll`].
#[derive(Debug)]
pub enum Output {
    /// For the transport to carry out.
    Transport(transport::Command),
    /// For the application.
    Event(Event),
    /// Nothing more to do until then, or until the next input.
    Timeout(Option<Deadline>),
}

/// Whether the node is part of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Its conns drain.
    Leaving,
    Left,
}

/// Everything above the transport boundary.
pub struct Engine {
    env: Env,
    overlay: Overlay,
    connect: Connect,
    rendezvous: Rendezvous,
    nat: Nat,
    relay: Relay,
    life: Life,
    /// Whether no timer fires until the application resumes.
    is_suspended: bool,
    timers: TimerQueue<Timer>,
    requests: Requests,
    held: HeldSends,
    renewals: Renewals,
    /// For the transport. Bounded by what one input can cause, because every input is followed by a
    /// drain.
    commands: VecDeque<transport::Command>,
    /// For the application. Deliveries in it are capped by the configuration.
    events: VecDeque<Event>,
    deliveries: usize,
    /// Whether this input made room for messages.
    makes_room: bool,
    /// Where the overlay pushes its actions; empty between calls.
    actions: Vec<overlay::Action>,
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
        let relay = Relay::new(&config, wall);
        let mut engine = Self {
            relay,
            overlay: Overlay::new(identity.id(), &config, now),
            connect: Connect::new(),
            rendezvous: Rendezvous::new(now),
            nat: Nat::new(now),
            requests: Requests::new(identity.id()),
            held: HeldSends::default(),
            renewals: Renewals::default(),
            env: Env::new(config, identity, crypto, seed, now, wall),
            life: Life::Running,
            is_suspended: false,
            timers: TimerQueue::new(),
            commands: VecDeque::new(),
            events: VecDeque::new(),
            deliveries: 0,
            makes_room: false,
            actions: Vec::new(),
        };
        engine.env.own_mut().set_relay_quota_used(engine.relay.is_quota_used());
        engine
    }

    /// Takes a report of the transport.
    pub fn handle_transport(
        &mut self,
        now: Instant,
        event: transport::Event,
        conns: &mut dyn Conns,
    ) {
        use transport::Event::{
            ConnDown, ConnUp, DialFailed, Frame, PathChanged, Punched, SpliceOpened, SpliceOver,
            Writable,
        };
        self.env.advance(now);
        match event {
            Frame { conn, frame } => self.run_overlay(conns, |overlay, cx, _| {
                overlay.handle_frame(cx, conn, frame);
            }),
            ConnUp { conn, peer, key, role: Role::Edge, direction, remote } => {
                self.conn_up(conns, conn, Peer { id: peer, key, remote }, direction);
            }
            ConnDown { conn, reason } => {
                self.makes_room = true;
                self.run_overlay(conns, |overlay, cx, _| {
                    overlay.handle_conn_down(cx, conn, reason);
                });
                self.finish_leave();
            }
            DialFailed { dial, error } => self.run_connect(conns, |connect, cx| {
                connect.handle_dial_failed(cx, dial, error);
            }),
            Punched { remote } => {
                // An attempt may have a use for it besides the test of reachability.
                let is_of_peer =
                    self.run_connect(conns, |connect, cx| connect.handle_punched(cx, remote));
                self.run_nat(conns, |nat, cx| nat.handle_punched(cx, remote, is_of_peer));
            }
            // Nothing waits here for room: what did not fit went elsewhere, or was refused.
            Writable(_) => self.makes_room = true,
            PathChanged { remote, .. } => {
                self.run_nat(conns, |nat, cx| nat.handle_sent(cx, remote));
            }
            SpliceOpened { splice, locals } => self.run_relay(conns, |relay, cx, neighbours| {
                relay.handle_splice_opened(cx, neighbours, splice, locals);
            }),
            SpliceOver { splice, reason } => self.run_relay(conns, |relay, cx, _| {
                relay.handle_splice_over(cx, splice, reason);
            }),
            // No machine takes these yet.
            ConnUp { role: Role::Media, .. } => {}
        }
        if core::mem::take(&mut self.makes_room) {
            self.report_send_ready();
        }
    }

    fn conn_up(&mut self, conns: &mut dyn Conns, conn: ConnId, peer: Peer, direction: Direction) {
        match direction {
            _ if self.life != Life::Running => {
                self.run_overlay(conns, |overlay, cx, _| overlay.handle_unwanted(cx, conn));
            }
            Direction::Inbound => {
                self.run_overlay(conns, |overlay, cx, _| overlay.handle_accepted(cx, conn, peer));
            }
            Direction::Outgoing(dial) => self.dial_up(conns, conn, peer, dial),
        }
    }

    fn dial_up(&mut self, conns: &mut dyn Conns, conn: ConnId, peer: Peer, dial: DialId) {
        let Some(purpose) = self.connect.handle_dial_up(dial) else {
            return self.run_overlay(conns, |overlay, cx, _| overlay.handle_unwanted(cx, conn));
        };
        let dialed = self
            .run_overlay(conns, |overlay, cx, _| overlay.handle_dialed(cx, conn, peer, purpose));
        match dialed {
            // The connect machine got it by an action, as every edge.
            Dialed::Edge => {}
            Dialed::Probed => {
                self.run_connect(conns, |connect, cx| connect.handle_probe_over(cx, peer.id));
            }
            Dialed::Refused(error) => self.refuse_attempt(conns, peer.id, error),
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
        let before = self.env.own().local_addrs().to_vec();
        self.env.set_local_addrs(addrs);
        if before != self.env.own().local_addrs() && !before.is_empty() {
            self.renewals.handle_local_addrs();
        }
        if before != self.env.own().local_addrs()
            && let Some(at) = self.connect.handle_local_addrs(self.env.now())
        {
            self.timers.set(Timer::Connect, at);
        }
        if let Some(at) = self.nat.handle_local_addrs(self.env.now()) {
            self.timers.set(Timer::Nat, at);
        }
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
        let next = self.timers.peek().filter(|_| !self.is_suspended);
        Output::Timeout(next.map(|(at, timer)| Deadline { at, reason: timer.name() }))
    }

    /// Whether no timer fires until the application resumes.
    pub fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// This node's identifier.
    pub fn id(&self) -> NodeId {
        *self.overlay.edges().own()
    }

    /// Asserts every invariant.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub fn check(&self) {
        self.overlay.check(self.env.config());
        self.connect.check();
        self.rendezvous.check();
        self.nat.check();
        self.renewals.check();
        self.held.check(|peer| self.connect.is_attempted(peer));
        self.relay.check();
        self.requests.check(|wait| match wait {
            Wait::Held(peer) => self.connect.is_attempted(&peer),
            Wait::Edge(peer) => self.connect.is_requested(&peer),
            Wait::Ticket(ticket) => self.rendezvous.is_open(ticket),
            Wait::Left => self.life == Life::Leaving,
        });
        self.timers.check();
        assert!(self.actions.is_empty());
        for timer in self.timers.keys() {
            match timer {
                Timer::Overlay(overlay::Timer::Conn(conn)) => assert!(self.overlay.is_live(*conn)),
                Timer::Overlay(overlay::Timer::Bootstrap | overlay::Timer::Maintenance)
                | Timer::Connect
                | Timer::Renewal
                | Timer::Rendezvous => assert_eq!(self.life, Life::Running),
                Timer::Nat | Timer::Relay => assert_eq!(self.life, Life::Running),
                Timer::Leave => assert_eq!(self.life, Life::Leaving),
                Timer::SendReady => {}
            }
        }
        let deliveries = |event: &&Event| matches!(event, Event::Delivered { .. });
        assert_eq!(self.deliveries, self.events.iter().filter(deliveries).count());
        assert!(self.deliveries <= self.env.config().delivery_queue_max);
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
