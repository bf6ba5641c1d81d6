//! Snapshots of a node for its application.

use std::net::SocketAddr;
use std::time::Duration;

use crate::NodeId;

/// One live edge, as a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeInfo {
    /// The peer.
    pub peer: NodeId,
    /// Whether this node dialed any of its conns.
    pub outgoing: bool,
    /// Whether it is one of the sixteen nearest to this node.
    pub sibling: bool,
    /// Where the peer is now, from here.
    pub remote: SocketAddr,
    /// The volunteer that relays the edge. `remote` is then an address of the volunteer.
    pub relayed_by: Option<NodeId>,
    /// Whether the peer relays for others, as it says itself or as others say of it.
    pub relays: bool,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Conns that make up the edge.
    pub conns: u8,
    /// Time since it came up.
    pub age: Duration,
    /// Time since a frame was received.
    pub idle: Duration,
    /// Questions to other nodes that the peer took as first hop and whose outcome is known.
    pub questions: u32,
    /// Those that brought no answer. A target that is gone leaves them unanswered over every peer.
    pub unanswered: u32,
}

/// A node that answered a rendezvous: keys and addresses that it signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPeer {
    /// Its identifier, the hash of `key`.
    pub id: NodeId,
    /// Its Ed25519 key.
    pub key: [u8; 32],
    /// Its X25519 key, for sealed boxes.
    pub exchange_key: [u8; 32],
    /// Its addresses that this node may dial, best first. Empty if it names none.
    pub addrs: Vec<SocketAddr>,
}
