//! Requested peers that have an edge and have not sent a frame over it yet.
//!
//! A handshake shows who the peer is, not that it takes the edge: it may be full, or refuse this
//! node, and closes the conn then. Every edge begins with a ping, so the first frame of a peer that
//! takes the edge arrives within a round trip.

use std::collections::BTreeSet;

use crate::NodeId;

/// The peers whose first frame is awaited. Each has a request, so their number is bounded by the
/// bound on requests.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstFrames {
    awaited: BTreeSet<NodeId>,
}

impl FirstFrames {
    /// The first frame of `peer` is awaited from now on.
    pub(super) fn expect(&mut self, peer: NodeId) {
        self.awaited.insert(peer);
    }

    /// The wait for `peer` is over. Whether there was one.
    pub(super) fn settle(&mut self, peer: &NodeId) -> bool {
        !self.awaited.is_empty() && self.awaited.remove(peer)
    }

    /// Whether the first frame of `peer` is awaited.
    pub(super) fn is_awaited(&self, peer: &NodeId) -> bool {
        self.awaited.contains(peer)
    }

    /// Ends every wait and returns the peers.
    pub(super) fn take(&mut self) -> BTreeSet<NodeId> {
        core::mem::take(&mut self.awaited)
    }
}
