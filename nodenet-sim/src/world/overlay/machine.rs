//! Machine of a host: the interface that a world drives, implemented by engines, applications and
//! adversaries.
//!
//! Responsible for: the calls of the transport boundary. Never: the network.

use std::net::SocketAddr;
use std::time::Instant;

use nodenet_proto::api::{self, Command, EdgeInfo, KnownPeer};
use nodenet_proto::engine::{Engine, Output};
use nodenet_proto::env::{Crypto, Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::stats::Stats;
use nodenet_proto::transport::{Conns, Event};

use crate::world::Host;

/// A node above the transport boundary: an [`Engine`], an application, an adversary.
pub trait Machine {
    /// Takes a command of the application.
    fn handle_command(&mut self, now: Instant, command: Command, conns: &mut dyn Conns);
    /// Takes a report of the transport.
    fn handle_transport(&mut self, now: Instant, event: Event, conns: &mut dyn Conns);
    /// Fires the timers that are due.
    fn handle_timeout(&mut self, now: Instant, conns: &mut dyn Conns);
    /// Takes the addresses at which the host can be reached.
    fn handle_local_addrs(&mut self, now: Instant, addrs: &[SocketAddr]);
    /// The next output.
    fn poll(&mut self) -> Output;
    /// The live edges, nearest to this node first.
    fn edges(&self, conns: &dyn Conns) -> Vec<EdgeInfo>;
    /// Peers worth remembering across a restart, best first.
    fn export_peers(&self, _conns: &dyn Conns) -> Vec<KnownPeer> {
        Vec::new()
    }
    /// Counters since start.
    fn stats(&self) -> &Stats;
    /// Number of entries of its tables, by name.
    fn gauges(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    /// Asserts every invariant.
    fn check(&self);
}

impl Machine for Engine {
    fn handle_command(&mut self, now: Instant, command: Command, conns: &mut dyn Conns) {
        self.handle_command(now, command, conns);
    }

    fn handle_transport(&mut self, now: Instant, event: Event, conns: &mut dyn Conns) {
        self.handle_transport(now, event, conns);
    }

    fn handle_timeout(&mut self, now: Instant, conns: &mut dyn Conns) {
        self.handle_timeout(now, conns);
    }

    fn handle_local_addrs(&mut self, now: Instant, addrs: &[SocketAddr]) {
        self.handle_local_addrs(now, addrs);
    }

    fn poll(&mut self) -> Output {
        self.poll()
    }

    fn edges(&self, conns: &dyn Conns) -> Vec<EdgeInfo> {
        self.edges(conns)
    }

    fn export_peers(&self, conns: &dyn Conns) -> Vec<KnownPeer> {
        self.export_peers(conns)
    }

    fn stats(&self) -> &Stats {
        self.stats()
    }

    fn gauges(&self) -> Vec<(&'static str, u64)> {
        self.gauges().named().collect()
    }

    fn check(&self) {
        self.check();
    }
}

/// Arguments of a [`Factory`]: the inputs of a new node.
pub struct Spawn {
    /// Its host.
    pub host: Host,
    /// Its keys.
    pub identity: Identity,
    /// Its settings.
    pub config: api::Config,
    /// Its signatures.
    pub crypto: Box<dyn Crypto>,
    /// Its randomness.
    pub seed: Seed,
    /// The time.
    pub now: Instant,
    /// The time of its wall clock.
    pub wall: UnixNanos,
}

/// Makes the machine of a new host.
pub type Factory = Box<dyn FnMut(Spawn) -> Box<dyn Machine>>;

/// Makes whole engines.
pub fn engines() -> Factory {
    Box::new(|spawn| {
        let Spawn { identity, config, crypto, seed, now, wall, .. } = spawn;
        Box::new(Engine::new(config, identity, crypto, &seed, now, wall))
    })
}
