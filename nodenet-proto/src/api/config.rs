//! Settings of everything above the transport boundary.

use core::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::NodeId;

/// The application's say over who may become an edge. Asked before a peer is registered, in either
/// direction; must answer at once. It can not waive proof of work.
#[derive(Clone, Default)]
pub enum EdgePolicy {
    /// Everyone.
    #[default]
    AdmitAll,
    /// Those for whom the function says true.
    Ask(Arc<dyn Fn(&NodeId) -> bool + Send + Sync>),
}

impl fmt::Debug for EdgePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdmitAll => "AdmitAll",
            Self::Ask(_) => "Ask(..)",
        })
    }
}

/// What a node spends on the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Forwards for everyone, with as many edges as short ways take.
    #[default]
    Router,
    /// Runs on a battery: few edges, everything it does by itself done together and seldom. It
    /// still forwards and is still found.
    Light,
}

/// Addresses that a node names of itself, at most (a guess: those configured, one for each family).
pub const OWN_ADDRS_MAX: usize = 4;

/// Edges that others may open, whatever the configuration says. The places of edges are counted
/// with 16 bits; half of those are left for the edges that the node opens itself.
pub const INBOUND_EDGES_CAP: usize = 1 << 15;

/// Settings of an [`crate::engine::Engine`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Leading zero bits required of every identifier; the same in the whole network
    /// (PROTOCOL.md#proof-of-work).
    pub difficulty: u16,
    /// Who may become an edge.
    pub edge_policy: EdgePolicy,
    /// Edges that others opened, at most (reference; PROTOCOL.md#inbound-edges). More than
    /// [`INBOUND_EDGES_CAP`] means that.
    pub inbound_edges_max: usize,
    /// Messages that wait for the application, at most.
    pub delivery_queue_max: usize,
    /// Addresses under which this node can be reached from anywhere, as the operator knows them.
    /// The first [`OWN_ADDRS_MAX`] are told to others.
    pub public_addrs: Vec<SocketAddr>,
    /// Whether the node dials, pings and looks up by itself. Off: it only answers and forwards.
    pub maintenance: bool,
    /// What the node spends on the network.
    pub profile: Profile,
    /// Whether loopback and link-local addresses may be dialed and advertised.
    pub allow_local_addrs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            difficulty: 0,
            edge_policy: EdgePolicy::AdmitAll,
            inbound_edges_max: 256,
            delivery_queue_max: 256,
            public_addrs: Vec::new(),
            maintenance: true,
            profile: Profile::Router,
            allow_local_addrs: false,
        }
    }
}
