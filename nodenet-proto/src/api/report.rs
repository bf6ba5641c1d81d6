//! Snapshots of a node that an application can ask for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::NodeId;

/// One live edge, as a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeInfo {
    /// To whom.
    pub peer: NodeId,
    /// Whether we dialed any of its conns.
    pub outgoing: bool,
    /// Whether it is one of the sixteen nearest to this node.
    pub sibling: bool,
    /// Where the peer is now, from here.
    pub remote: SocketAddr,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Conns that make up the edge.
    pub conns: u8,
    /// Since it came up.
    pub age: Duration,
    /// Since anything was received.
    pub idle: Duration,
}
