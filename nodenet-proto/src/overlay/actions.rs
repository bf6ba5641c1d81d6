//! Actions and timers of the overlay: all that its rooms may ask of the engine.

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

/// What wakes the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// A bootstrap peer is to be dialed.
    Bootstrap,
    /// The liveness of this conn is to be judged.
    Conn(ConnId),
    /// A task of the maintenance is due.
    Maintenance,
}

impl Timer {
    /// For traces.
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
/// neighbour and has the work of the network; its signature is not checked.
#[derive(Debug)]
pub(crate) struct ServiceMessage {
    /// The neighbour that forwarded it.
    pub(crate) from: NodeId,
    /// The message.
    pub(crate) message: RoutedFrame,
}

/// What the overlay wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Reach a peer.
    Connect(Want),
    /// There is an edge to this peer.
    EdgeUp {
        /// The peer.
        peer: NodeId,
        /// Whether the peer has sent a frame over it or opened it.
        is_taken: bool,
    },
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
    /// Hand this frame to the first of these conns that takes it. If none does it is lost.
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
        /// Who sent it, authenticated.
        originator: NodeId,
        /// What it says.
        payload: bytes::Bytes,
        /// How it came.
        path: DeliveryPath,
    },
    /// Hand a frame to the service that its type is for.
    Frame(ServiceFrame),
    /// Hand a routed message to the service that its type is for.
    Message(Box<ServiceMessage>),
    /// Tell the application.
    Event(Event),
    /// Set a timer, replacing it if it is set.
    Set(Timer, Instant),
    /// Stop a timer.
    Stop(Timer),
}

/// A control frame for one conn. If its queue is full the peer has not been listening for a while,
/// and liveness will tell.
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
