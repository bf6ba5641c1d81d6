//! Settings of everything above the transport boundary.

use core::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::RelayPolicy;
use crate::NodeId;

/// The application's policy on edges. It is asked before a peer is dialed and before an edge
/// begins, in either direction, and must answer at once. It cannot waive proof of work.
#[derive(Clone, Default)]
pub enum EdgePolicy {
    /// Every peer.
    #[default]
    AdmitAll,
    /// The peers for which the function returns true.
    Ask(Arc<dyn Fn(&NodeId) -> bool + Send + Sync>),
}

impl EdgePolicy {
    /// Whether this peer may become an edge.
    pub fn admits(&self, peer: &NodeId) -> bool {
        match self {
            Self::AdmitAll => true,
            Self::Ask(admits) => admits(peer),
        }
    }
}

impl fmt::Debug for EdgePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdmitAll => "AdmitAll",
            Self::Ask(_) => "Ask(..)",
        })
    }
}

/// Effort of a node for the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Forwards for others, with as many edges as short routes take.
    #[default]
    Router,
    /// Runs on a battery: few edges, and maintenance in rare batches. It still forwards and is
    /// still found.
    Light,
}

/// Which nodes this one tells its addresses (PROTOCOL.md#who-learns-addresses).
///
/// Neighbours know the address of the conn in any case, and name it to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Every node that asks.
    #[default]
    Anyone,
    /// Nodes that the application asked for itself, and neighbours.
    Known,
    /// None.
    RelayOnly,
}

/// What a node learns of the way to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disclosure {
    /// Its addresses.
    Addresses,
    /// The nodes that relay for it, alone.
    Volunteers,
}

impl AddressPolicy {
    /// What a node learns that this one knows, or does not know. Every service that names addresses
    /// asks here.
    pub(crate) const fn disclosure(self, is_known: bool) -> Disclosure {
        match self {
            Self::Anyone => Disclosure::Addresses,
            Self::Known if is_known => Disclosure::Addresses,
            Self::Known | Self::RelayOnly => Disclosure::Volunteers,
        }
    }
}

/// What a node does where a path takes a guess at the external port of one side
/// (PROTOCOL.md#port-prediction).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardPunch {
    /// Nothing: a volunteer relays.
    Off,
    /// Ports are predicted where the NAT takes them in sequence, or of a block for each host.
    #[default]
    Predict,
}

/// Addresses that a node names to any asker, at most (a guess: those configured, one for each
/// family).
pub const OWN_ADDRS_MAX: usize = 4;

/// Addresses that a node names in one message, at most: the reference punches and dials the first
/// eight (reference; PROTOCOL.md#named-addresses).
pub const NAMED_ADDRS_MAX: usize = 8;

/// Inbound edges, at most, even if the configuration allows more. The places of edges are counted
/// with 16 bits; half of those are left for outgoing edges.
pub const INBOUND_EDGES_CAP: usize = 1 << 15;

/// Settings of an [`crate::engine::Engine`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Leading zero bits required of every identifier; the same in the whole network
    /// (PROTOCOL.md#proof-of-work).
    pub difficulty: u16,
    /// Which peer may become an edge.
    pub edge_policy: EdgePolicy,
    /// Inbound edges, at most (reference; PROTOCOL.md#inbound-edges). More than
    /// [`INBOUND_EDGES_CAP`] means that.
    pub inbound_edges_max: usize,
    /// Messages that wait for the application, at most.
    pub delivery_queue_max: usize,
    /// Addresses at which this node can be reached from anywhere, as the operator configures them.
    /// The first [`OWN_ADDRS_MAX`] are announced.
    pub public_addrs: Vec<SocketAddr>,
    /// Whether the node dials, pings and looks up on its own. Off: it only answers and forwards.
    pub maintenance: bool,
    /// Effort of the node for the network.
    pub profile: Profile,
    /// Which nodes learn the addresses of this node by rendezvous.
    pub address_policy: AddressPolicy,
    /// Whether the node tests if any node can reach it, once an hour, by a Connect to a few
    /// probers (PROTOCOL.md#reachability-test). Only with `maintenance`.
    pub test_reachability: bool,
    /// What the node relays for others.
    pub relay: RelayPolicy,
    /// What is tried where the external port of one side has to be guessed.
    pub hard_punch: HardPunch,
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
            address_policy: AddressPolicy::Anyone,
            test_reachability: true,
            relay: RelayPolicy::default(),
            hard_punch: HardPunch::default(),
            allow_local_addrs: false,
        }
    }
}
