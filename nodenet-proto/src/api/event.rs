//! Events: what an application is told.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{ConnectError, EdgeDownReason, RequestId, SendFailure};
use crate::NodeId;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPath {
    /// Over the edge from its sender.
    Direct,
    /// By routing.
    Routed {
        /// Edges crossed, as the hop limit tells it; forwarders can lie about it.
        hops: u8,
    },
}

/// What an application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message for this node arrived; duplicates are not reported.
    Delivered {
        /// Who sent it, authenticated.
        originator: NodeId,
        /// What it says.
        payload: Bytes,
        /// How it came.
        path: DeliveryPath,
        /// The command that this event settles, if the message is from this node itself: the
        /// message is delivered, and no [`Event::Sent`] follows.
        request: Option<RequestId>,
    },
    /// A message was taken on this many first hops, each of which has room for it by its own rule.
    /// What a first hop then loses, because its application does not read or the edge ends, is
    /// counted there and not reported here.
    Sent {
        /// Which command.
        request: RequestId,
        /// Copies that were taken.
        copies: u8,
    },
    /// A message did not leave.
    SendFailed {
        /// Which command.
        request: RequestId,
        /// Why.
        error: SendFailure,
    },
    /// A message was refused for [`SendFailure::Backpressure`], and this is the time to try again:
    /// an edge has budget for half a burst, a conn has room or is gone, or an edge came up. Told
    /// once, however many were refused; the next try may be refused again, and this is told again
    /// then.
    SendReady,
    /// There is an edge to the peer, and the peer said something over it: it has taken the edge.
    Connected {
        /// Which command.
        request: RequestId,
        /// To whom.
        peer: NodeId,
    },
    /// There is none.
    ConnectFailed {
        /// Which command.
        request: RequestId,
        /// Why.
        error: ConnectError,
    },
    /// There is no edge to an operator seed. Told once for each reason until there is one; the seed
    /// is tried on.
    BootstrapFailed {
        /// Which seed.
        peer: NodeId,
        /// Why.
        error: ConnectError,
    },
    /// An edge came up: the peer proved who it is, and this node admits it. One that this node
    /// dialed may not be taken by the peer, and goes down again then.
    EdgeUp {
        /// To whom.
        peer: NodeId,
        /// Whether we dialed it.
        outgoing: bool,
        /// Where the peer is, from here.
        remote: SocketAddr,
    },
    /// An edge is gone.
    EdgeDown {
        /// To whom.
        peer: NodeId,
        /// Why.
        reason: EdgeDownReason,
    },
    /// The edge named by [`super::Command::CloseEdge`] is closed; false if there was none.
    EdgeClosed {
        /// Which command.
        request: RequestId,
        /// Whether there was one.
        existed: bool,
    },
    /// Most recent messages are stale by about the same amount: this node's clock, or everyone
    /// else's, is wrong by `offset_s` seconds (positive: ours is behind). Reported once.
    ClockSkewSuspected {
        /// Seconds by which the others seem ahead.
        offset_s: i64,
    },
    /// Every edge is closed after [`super::Command::Leave`].
    Left {
        /// Which command.
        request: RequestId,
    },
}

impl Event {
    /// The command that this event settles; none if it settles no command.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Sent { request, .. }
            | Self::SendFailed { request, .. }
            | Self::Connected { request, .. }
            | Self::ConnectFailed { request, .. }
            | Self::EdgeClosed { request, .. }
            | Self::Left { request } => Some(*request),
            Self::Delivered { request, .. } => *request,
            Self::SendReady
            | Self::BootstrapFailed { .. }
            | Self::EdgeUp { .. }
            | Self::EdgeDown { .. }
            | Self::ClockSkewSuspected { .. } => None,
        }
    }
}
