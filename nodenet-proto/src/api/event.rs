//! Events that a node reports to its application.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{
    ConnectError, EdgeDownReason, FoundPeer, NatReport, RendezvousError, RequestId, SendFailure,
};
use crate::NodeId;

/// The path of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPath {
    /// Over the edge from its sender.
    Direct,
    /// By routing.
    Routed {
        /// Edges crossed, derived from the hop limit, which forwarders can change.
        hops: u8,
    },
}

/// An event for the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message for this node arrived; duplicates are not reported.
    Delivered {
        /// The node that sent it, authenticated.
        originator: NodeId,
        /// The payload.
        payload: Bytes,
        /// The path that it took.
        path: DeliveryPath,
        /// Whether the originator sealed it for this node, so that no forwarder could read it. The
        /// box is bound to both identifiers.
        sealed: bool,
        /// The command that this event settles, if the message is from this node itself: the
        /// message is delivered, and no [`Event::Sent`] follows.
        request: Option<RequestId>,
    },
    /// A message was taken on this many first hops, each of which has room for it by its own rule.
    /// A copy that a first hop then loses, because its application does not read or the edge ends,
    /// is counted there and not reported here.
    Sent {
        /// The command that it settles.
        request: RequestId,
        /// Copies that were taken.
        copies: u8,
    },
    /// A message did not leave.
    SendFailed {
        /// The command that it settles.
        request: RequestId,
        /// Why.
        error: SendFailure,
    },
    /// A message was refused for [`SendFailure::Backpressure`], and it is time to try again. An
    /// edge has budget for half a burst, a conn has room or is gone, or an edge came up. Reported
    /// once for any number of refused messages. The next try may be refused again, and the event
    /// follows again then.
    SendReady,
    /// A node answered a rendezvous.
    Found {
        /// The command that it settles.
        request: RequestId,
        /// The node, with what it signed.
        peer: FoundPeer,
    },
    /// A rendezvous brought no answer.
    RendezvousFailed {
        /// The command that it settles.
        request: RequestId,
        /// Why.
        error: RendezvousError,
    },
    /// There is an edge to the peer, and the peer sent a frame over it: it has taken the edge.
    Connected {
        /// The command that it settles.
        request: RequestId,
        /// The peer.
        peer: NodeId,
    },
    /// There is no edge to the peer.
    ConnectFailed {
        /// The command that it settles.
        request: RequestId,
        /// Why.
        error: ConnectError,
    },
    /// There is no edge to a bootstrap peer. Reported once for each reason until there is one; the
    /// node goes on dialing it.
    BootstrapFailed {
        /// Which bootstrap peer.
        peer: NodeId,
        /// Why.
        error: ConnectError,
    },
    /// An edge came up: the peer proved its identifier, and this node admits it. The peer may not
    /// take an edge that this node dialed, and closes it then.
    EdgeUp {
        /// The peer.
        peer: NodeId,
        /// Whether this node dialed it.
        outgoing: bool,
        /// Where the peer is, from here.
        remote: SocketAddr,
    },
    /// An edge is gone.
    EdgeDown {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: EdgeDownReason,
    },
    /// The edge named by [`super::Command::CloseEdge`] is closed; false if there was none.
    EdgeClosed {
        /// The command that it settles.
        request: RequestId,
        /// Whether there was one.
        existed: bool,
    },
    /// Most recent messages are stale by about the same amount. The clock of this node, or those of
    /// all others, is wrong by `offset_s` seconds (positive: this node's is behind). Reported once.
    ClockSkewSuspected {
        /// Seconds by which the clocks of others seem ahead.
        offset_s: i64,
    },
    /// What this node knows of its own address, of the NAT in front of it or of its reachability
    /// changed.
    NatChanged(Box<NatReport>),
    /// Every edge is closed after [`super::Command::Leave`].
    Left {
        /// The command that it settles.
        request: RequestId,
    },
}

impl Event {
    /// The command that this event settles; none if it settles no command.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Sent { request, .. }
            | Self::SendFailed { request, .. }
            | Self::Found { request, .. }
            | Self::RendezvousFailed { request, .. }
            | Self::Connected { request, .. }
            | Self::ConnectFailed { request, .. }
            | Self::EdgeClosed { request, .. }
            | Self::Left { request } => Some(*request),
            Self::Delivered { request, .. } => *request,
            Self::SendReady
            | Self::BootstrapFailed { .. }
            | Self::EdgeUp { .. }
            | Self::EdgeDown { .. }
            | Self::NatChanged(_)
            | Self::ClockSkewSuspected { .. } => None,
        }
    }
}
