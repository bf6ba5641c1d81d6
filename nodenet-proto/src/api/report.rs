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
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Conns that make up the edge.
    pub conns: u8,
    /// Time since it came up.
    pub age: Duration,
    /// Time since a frame was received.
    pub idle: Duration,
}
