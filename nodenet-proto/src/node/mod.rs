//! A whole node as a state machine: engine and transport behind one drain loop.
//!
//! Responsible for: which machine gets an input (`demux`), and the order in which a drain goes
//! through the machines (`pump`). Never: a rule of the protocol.
//!
//! # The contract of the loop
//! 0. Once the socket is bound, and whenever they change, give the node the addresses at which it
//!    can be reached ([`Input::LocalAddrs`]). Without them it has none to name to others, unless
//!    the operator configured some. Every minute, and after the machine slept, give it the wall
//!    clock ([`Input::WallClock`]). The node derives it from monotonic time, which stands still
//!    meanwhile. Messages with a stamp that is off by more than 30 s are dropped at both ends.
//! 1. Give the node what happened with [`Node::handle_input`], or call [`Node::handle_timeout`]
//!    when a deadline passed. Time enters only here and must not go backwards.
//! 2. Call [`Node::poll_output`] and carry out the outputs until it returns [`Output::Timeout`].
//! 3. Wait for the next input or until that deadline, whichever comes first. Go to 1.
//!
//! Two inputs without a drain between them are legal.

pub(crate) mod demux;
mod pump;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;

use crate::NodeId;
use crate::addr::canonical;
use crate::api::{self, Command, EdgeInfo, Event, Explanation, KnownPeer, NatReport, RelayReport};
use crate::engine::Engine;
use crate::env::{Ed25519Crypto, Seed, UnixNanos};
use crate::identity::Identity;
use crate::io::{Deadline, EcnCodepoint, SocketId, Transmit, TransmitBuf};
use crate::quic::{self, Quic};
use crate::splice::Splices;
use crate::stats::Stats;
#[cfg(test)]
pub(crate) use demux::payload_of;
use pump::EngineState;

/// Settings of a [`Node`].
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Everything above the transport boundary.
    pub engine: api::Config,
    /// The transport.
    pub quic: quic::Config,
}

/// Why a configuration does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The identity does not clear the configured difficulty.
    #[error(
        "the identity has {has} leading zero bits, the network requires {wants}; \
         mint a new identity"
    )]
    WorkUnmet {
        /// Bits the identity has.
        has: u16,
        /// Bits the configuration asks for.
        wants: u16,
    },
}

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// One UDP datagram arrived. What the kernel merged (GRO) is split by the driver first.
    Datagram {
        /// On which socket.
        socket: SocketId,
        /// From where. IPv4-mapped IPv6 addresses are folded to IPv4 here.
        remote: SocketAddr,
        /// To which of this machine's addresses, if the system reports it.
        local_ip: Option<IpAddr>,
        /// Its ECN bits, if the system reports them.
        ecn: Option<EcnCodepoint>,
        /// Its payload.
        data: BytesMut,
    },
    /// A socket that [`Output::OpenSocket`] asked for is open.
    SocketOpened {
        /// Which.
        socket: SocketId,
        /// The address it is bound to.
        local: SocketAddr,
    },
    /// A socket that [`Output::OpenSocket`] asked for could not be opened, or an open one is lost.
    SocketFailed {
        /// Which.
        socket: SocketId,
    },
    /// The application asks for something.
    Command(Command),
    /// The addresses at which the main socket can be reached on this machine's interfaces, port
    /// included, best first.
    LocalAddrs(Vec<SocketAddr>),
    /// The wall clock now.
    WallClock(UnixNanos),
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Output {
    /// Send what is in the [`TransmitBuf`].
    Transmit(Transmit),
    /// Open another UDP socket on a port of the system's choice, and answer with
    /// [`Input::SocketOpened`] or [`Input::SocketFailed`]. A relay volunteer asks for these.
    OpenSocket {
        /// The id of the socket. Never [`SocketId::MAIN`], never used twice.
        socket: SocketId,
        /// The address of this machine for it.
        local_ip: IpAddr,
    },
    /// Close a socket that was asked for.
    CloseSocket {
        /// Which.
        socket: SocketId,
    },
    /// Give this to the application.
    Event(Event),
    /// Nothing more until then, or until the next input.
    Timeout(Option<Deadline>),
}

/// A whole node.
pub struct Node {
    engine: Engine,
    quic: Quic,
    splices: Splices,
    engine_state: EngineState,
    /// The addresses that the driver named last.
    newest_addrs: Vec<SocketAddr>,
    /// Those of them that the edges follow: not those that are new since the node was suspended.
    local_addrs: Vec<SocketAddr>,
    /// Counters of what arrived, and of what no machine of the node takes.
    stats: Stats,
    /// The time of the last input or timeout.
    now: Instant,
}

impl Node {
    /// A node with no edges. `wall` is the wall time at `now`. `seed` is secret, and a new one from
    /// the operating system at every start. All that the node draws follows from it, TLS keys as
    /// well. It is independent of the master seed of an identity.
    ///
    /// # Errors
    /// If the configuration does not work with this identity.
    pub fn new(
        config: Config,
        identity: Identity,
        seed: Seed,
        now: Instant,
        wall: UnixNanos,
    ) -> Result<Self, ConfigError> {
        let (has, wants) = (identity.id().leading_zeros(), config.engine.difficulty);
        if has < wants {
            return Err(ConfigError::WorkUnmet { has, wants });
        }
        let quic = Quic::new(config.quic, &identity, &seed.child("quic", 0), now);
        let seed = seed.child("engine", 0);
        let engine =
            Engine::new(config.engine, identity, Box::new(Ed25519Crypto), &seed, now, wall);
        Ok(Self {
            engine,
            quic,
            splices: Splices::new(now),
            engine_state: EngineState::HasInput,
            newest_addrs: Vec::new(),
            local_addrs: Vec::new(),
            stats: Stats::default(),
            now,
        })
    }

    /// This node's identifier.
    pub fn id(&self) -> NodeId {
        self.engine.id()
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let now = self.enter(now);
        match input {
            Input::Datagram { socket, remote, local_ip, ecn, data } => {
                self.on_datagram(now, socket, remote, local_ip, ecn, data);
            }
            Input::SocketOpened { socket, local } => {
                self.splices.handle_socket_opened(socket, canonical(local));
            }
            Input::SocketFailed { socket } => self.splices.handle_socket_failed(socket),
            Input::Command(command) => {
                if matches!(command, Command::Resume) {
                    let gone = self.take_gone();
                    self.quic.handle_network_change(now, &gone);
                }
                self.engine_state = EngineState::HasInput;
                self.engine.handle_command(now, command, &mut self.quic);
            }
            Input::LocalAddrs(addrs) => {
                self.engine_state = EngineState::HasInput;
                self.engine.handle_local_addrs(now, &addrs);
                self.on_local_addrs(now, addrs);
            }
            Input::WallClock(wall) => {
                self.engine_state = EngineState::HasInput;
                self.engine.handle_wall_clock(now, wall);
            }
        }
    }

    /// Lets timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.enter(now);
        if self.engine.is_suspended() {
            return;
        }
        self.quic.handle_timeout(now);
        self.splices.handle_timeout(now);
        // Most timers are those of conns.
        if self.engine_state.is_due(now) {
            self.engine_state = EngineState::HasInput;
            self.engine.handle_timeout(now, &mut self.quic);
        }
    }

    /// The next thing to do. [`Output::Timeout`] means there is no other.
    ///
    /// Each call gives every conn that has something to read one share, and hands out at most one
    /// batch of datagrams. The order is: events for the application, what arrived, what is to be
    /// sent, timers that became due meanwhile.
    pub fn poll_output(&mut self, buf: &mut TransmitBuf) -> Output {
        self.pump(buf)
    }

    /// Counters of the whole node, and gauges of now.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.merge(&self.quic.stats());
        stats.merge(self.splices.stats());
        stats.merge(self.engine.stats());
        stats.gauges.merge(&self.engine.gauges());
        stats
    }

    /// The live edges, nearest to this node first.
    pub fn edges(&self) -> Vec<EdgeInfo> {
        self.engine.edges(&self.quic)
    }

    /// What this node knows of its own address, the NAT in front of it and its reachability.
    pub fn nat_report(&self) -> &NatReport {
        self.engine.nat_report()
    }

    /// The addresses that any node is told that asks for those of this one.
    pub fn named_addrs(&self) -> Vec<SocketAddr> {
        self.engine.named_addrs()
    }

    /// What happened in the last attempt to connect to `peer`: see [`Engine::explain`].
    pub fn explain(&self, peer: &NodeId) -> Option<Explanation> {
        self.engine.explain(peer)
    }

    /// What this node does as a relay volunteer.
    pub fn relay_report(&self) -> RelayReport {
        let mut report = self.engine.relay_report();
        if let (Some(max), Some(left)) = (report.bytes_per_month, self.splices.bytes_left()) {
            report.used.bytes = max.saturating_sub(left);
        }
        report
    }

    /// Peers worth remembering across a restart: see [`Engine::export_peers`].
    pub fn export_peers(&self) -> Vec<KnownPeer> {
        self.engine.export_peers(&self.quic)
    }

    /// Asserts every invariant.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub fn check(&self) {
        self.engine.check();
        self.quic.check();
        self.splices.check();
    }

    /// The edges stay with their peers when the addresses of this machine change.
    fn on_local_addrs(&mut self, now: Instant, addrs: Vec<SocketAddr>) {
        self.newest_addrs = addrs;
        let is_change = !self.local_addrs.is_empty() && self.local_addrs != self.newest_addrs;
        if is_change && !self.engine.is_suspended() {
            let gone = self.take_gone();
            self.quic.handle_network_change(now, &gone);
            self.engine.handle_command(now, Command::Resume, &mut self.quic);
        } else if !is_change {
            self.local_addrs.clone_from(&self.newest_addrs);
        }
    }

    /// The addresses that this machine has no more. The edges follow those that it has now.
    fn take_gone(&mut self) -> Vec<SocketAddr> {
        let before = core::mem::replace(&mut self.local_addrs, self.newest_addrs.clone());
        let is_gone = |addr: &SocketAddr| !self.local_addrs.iter().any(|own| own.ip() == addr.ip());
        before.into_iter().filter(is_gone).collect()
    }

    /// The time of this call. Where a driver's clock goes backwards, the node's stands still.
    fn enter(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.quic.advance(self.now);
        self.now
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.id())
    }
}
