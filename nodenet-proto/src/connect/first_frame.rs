//! Connect requests that wait for the peer's first frame (docs/decisions/0011).
//!
//! A handshake proves the peer's identifier, not that the peer takes the edge. It may be full, or
//! refuse this node, and closes the conn then. Every edge begins with a ping. The first frame of a
//! peer that takes the edge thus arrives within a round trip.

use std::collections::BTreeSet;

use crate::NodeId;

/// The peers of which the first frame is awaited. Each has a request, so the bound on requests
/// bounds their number.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstFrames {
    awaited: BTreeSet<NodeId>,
}

impl FirstFrames {
    /// The first frame of `peer` is awaited from now on.
    pub(super) fn expect(&mut self, peer: NodeId) {
        self.awaited.insert(peer);
    }

    /// The wait for `peer` is over. Returns whether there was one.
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
