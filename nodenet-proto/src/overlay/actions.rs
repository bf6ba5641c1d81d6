//! Actions and timers of the overlay: all that its rooms ask of the engine.

use std::time::Instant;

use heapless::Vec as FixedVec;

use crate::NodeId;
use crate::api::{DeliveryPath, EdgeDownReason, Event};
use crate::buf::Frame;
use crate::connect::Want;
use crate::transport::{Class, CloseMode, ConnId};
use crate::wire::{FrameType, RoutedFrame};

/// Conns that are tried for one frame, at most (PROTOCOL.md#forwarding-decision).
pub const CANDIDATES: usize = 8;

/// Timers of the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// The next dial of a bootstrap peer is due.
    Bootstrap,
    /// The next liveness check of this conn is due.
    Conn(ConnId),
    /// A task of the maintenance is due.
    Maintenance,
}

impl Timer {
    /// The name in traces.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "overlay_bootstrap",
            Self::Conn(_) => "overlay_liveness",
            Self::Maintenance => "overlay_maintenance",
        }
    }
}

/// A frame of an edge that the overlay has charged to its peer and does not serve.
#[derive(Debug)]
pub(crate) struct ServiceFrame {
    /// Its type.
    pub(crate) frame_type: FrameType,
    /// The conn that it arrived on.
    pub(crate) conn: ConnId,
    /// The peer that sent it.
    pub(crate) from: NodeId,
    /// What follows the header.
    pub(crate) payload: Frame,
}

/// A routed message for this node that the overlay does not serve. It is fresh, charged to the
/// neighbour and has the proof of work of the network; its signature is not checked.
#[derive(Debug)]
pub(crate) struct ServiceMessage {
    /// The neighbour that forwarded it.
    pub(crate) from: NodeId,
    /// The message.
    pub(crate) message: RoutedFrame,
}

/// What the engine carries out for the overlay.
#[derive(Debug)]
pub(crate) enum Action {
    /// Connect to a peer.
    Connect(Want),
    /// There is an edge to this peer, or one more conn of it.
    EdgeUp {
        /// The peer.
        peer: NodeId,
        /// The conn that has just become part of it.
        conn: ConnId,
        /// Whether the peer opened it or sent a frame over it.
        is_taken: bool,
    },
    /// A ping on the edge to this peer is unanswered for long.
    Doubtful(NodeId),
    /// The first frame of this peer arrived.
    FirstFrame(NodeId),
    /// The edge to this peer is gone.
    EdgeDown {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: EdgeDownReason,
    },
    /// Close a conn.
    Close {
        /// Which.
        conn: ConnId,
        /// How.
        mode: CloseMode,
    },
    /// Hand this frame to the first of these conns that takes it. If none does, it is lost.
    Offer {
        /// Its class.
        class: Class,
        /// The frame.
        frame: Frame,
        /// Best first.
        hops: FixedVec<ConnId, CANDIDATES>,
    },
    /// Give a message to the application.
    Deliver {
        /// The node that sent it, authenticated.
        originator: NodeId,
        /// The payload.
        payload: bytes::Bytes,
        /// The path that it took.
        path: DeliveryPath,
    },
    /// Hand a frame to the service that its type is for.
    Frame(ServiceFrame),
    /// Hand a routed message to the service that its type is for.
    Message(Box<ServiceMessage>),
    /// Report this event to the application.
    Event(Event),
    /// Set a timer, replacing it if it is set.
    Set(Timer, Instant),
    /// Stop a timer.
    Stop(Timer),
}

/// A control frame for one conn. If its queue is full, the frame is lost: the peer has not read for
/// a while, and the liveness check decides about the conn.
pub(crate) fn send(conn: ConnId, frame: Frame) -> Action {
    let hops = FixedVec::from_iter([conn]);
    Action::Offer { class: Class::Control, frame, hops }
}

/// Comparison of actions in the tests of one room.
#[cfg(test)]
pub(in crate::overlay) mod testing {
    use super::Action;
    use crate::buf::Frame;

    /// The actions as text, in order. Frames are in one piece, because the pieces of a frame do not
    /// change what is sent.
    pub(in crate::overlay) fn shown(actions: impl IntoIterator<Item = Action>) -> Vec<String> {
        let show = |mut action: Action| {
            if let Action::Offer { frame, .. } = &mut action {
                *frame = Frame::from(frame.to_bytes());
            }
            format!("{action:?}")
        };
        actions.into_iter().map(show).collect()
    }
}
