//! Everything above the transport boundary, composed: the only place where one machine's action
//! becomes another's input.
//!
//! [`crate::node::Node`] is an engine plus QUIC. The simulator's overlay world drives engines alone.

mod command;
mod config;

use std::time::Instant;

pub use command::{
    Command, ConnectError, DeliveryPath, EdgeDownReason, EdgeInfo, Event, RequestId, SeedPeer,
    SendFailure,
};
pub use config::{Config, EdgePolicy};

use crate::env::{Crypto, Seed, UnixNanos};
use crate::identity::Identity;
use crate::stats::Stats;
use crate::transport::{self, Conns};

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

/// When to call back, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Which timer, for traces.
    pub reason: &'static str,
}

/// Everything above the transport boundary.
pub struct Engine {
    _private: (),
}

impl Engine {
    /// A node with no edges. `wall` is the wall time at `now`.
    pub fn new(
        _config: Config,
        _identity: Identity,
        _crypto: Box<dyn Crypto>,
        _seed: &Seed,
        _now: Instant,
        _wall: UnixNanos,
    ) -> Self {
        todo!()
    }

    /// Takes a command of the application.
    pub fn handle_command(&mut self, _now: Instant, _command: Command, _conns: &mut dyn Conns) {
        todo!()
    }

    /// Takes a report of the transport.
    pub fn handle_transport(
        &mut self,
        _now: Instant,
        _event: transport::Event,
        _conns: &mut dyn Conns,
    ) {
        todo!()
    }

    /// Lets timers that are due fire.
    pub fn handle_timeout(&mut self, _now: Instant, _conns: &mut dyn Conns) {
        todo!()
    }

    /// Takes a new reading of the wall clock.
    pub fn handle_wall_clock(&mut self, _now: Instant, _wall: UnixNanos) {
        todo!()
    }

    /// Takes the addresses at which the main socket can be reached, best first.
    pub fn handle_local_addrs(&mut self, _now: Instant, _addrs: &[std::net::SocketAddr]) {
        todo!()
    }

    /// The next output. [`Output::Timeout`] means there is no other.
    pub fn poll(&mut self) -> Output {
        todo!()
    }

    /// Counters of everything above the boundary.
    pub fn stats(&self) -> &Stats {
        todo!()
    }

    /// The live edges, nearest to this node first.
    pub fn edges(&self, _conns: &dyn Conns) -> Vec<EdgeInfo> {
        todo!()
    }

    /// Asserts every invariant.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub fn check(&self) {}
}
