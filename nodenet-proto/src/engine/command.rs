//! What an application may ask of a node, and what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::NodeId;
use crate::transport::{ConnDownReason, DialError};

/// Names a command that has an outcome. The caller allocates it; one event settles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A peer the operator named as a way into the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedPeer {
    /// Whom to expect there.
    pub id: NodeId,
    /// Where, best first. Names are resolved by the driver, which repeats the command when they change.
    pub addrs: Vec<SocketAddr>,
}

/// A peer that a node knew, to be remembered across a restart. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its identifier, which is the hash of `key`.
    pub id: NodeId,
    /// Its Ed25519 key.
    pub key: [u8; 32],
    /// Where it proved itself, and where it says that it is, best first.
    pub addrs: Vec<SocketAddr>,
}

/// What an application may ask.
#[derive(Debug, Clone)]
pub enum Command {
    /// Send `payload` to `target` by routing. Settled by [`Event::Sent`] or [`Event::SendFailed`].
    Send {
        /// Names the outcome.
        request: RequestId,
        /// For whom.
        target: NodeId,
        /// At most [`crate::wire::SEND_PAYLOAD_MAX`] bytes.
        payload: Bytes,
    },
    /// Send `payload` over the edge to `target`. Settled by [`Event::Sent`] or [`Event::SendFailed`].
    SendDirect {
        /// Names the outcome.
        request: RequestId,
        /// For whom.
        target: NodeId,
        /// At most [`crate::wire::DIRECT_PAYLOAD_MAX`] bytes.
        payload: Bytes,
    },
    /// Get an edge to `target`, dialing these addresses if there is none, and after them those that this
    /// node knows. Settled by [`Event::Connected`] or [`Event::ConnectFailed`], after fifteen seconds at
    /// the latest: ten for the dials, five for the peer's first word.
    Connect {
        /// Names the outcome.
        request: RequestId,
        /// To whom.
        target: NodeId,
        /// Where it may be, best first; the first eight count.
        addrs: Vec<SocketAddr>,
    },
    /// Adds operator seeds, or replaces the addresses of known ones. They are tried for ever.
    Bootstrap(Vec<SeedPeer>),
    /// Adds peers that this node knew earlier ([`super::Engine::export_peers`]). They are dialed like
    /// any other contact, and forgotten like any other if they do not answer while others do.
    ImportPeers(Vec<KnownPeer>),
    /// Close the edge to `peer`. Settled by [`Event::EdgeClosed`].
    CloseEdge {
        /// Names the outcome.
        request: RequestId,
        /// Which edge.
        peer: NodeId,
    },
    /// Tell every neighbour, drain, close. Settled by [`Event::Left`].
    Leave {
        /// Names the outcome.
        request: RequestId,
    },
}

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
    },
    /// A message was taken on this many first hops, each of which has room for it by its own rule (0: it was
    /// for ourselves and is delivered). What a first hop then loses, because its application does not read
    /// or the edge ends, is counted there and not told here.
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
    /// A message was refused for [`SendFailure::Backpressure`], and this is the time to try again: an edge has
    /// budget for half a burst, a conn has room or is gone, or an edge came up. Told once, however many were refused;
    /// the next try may be refused again, and this is told again then.
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
    /// There is no edge to an operator seed. Told once for each reason until there is one; the seed is
    /// tried on.
    SeedFailed {
        /// Which seed.
        peer: NodeId,
        /// Why.
        error: ConnectError,
    },
    /// An edge came up: the peer proved who it is, and this node admits it. One that this node dialed may
    /// not be taken by the peer, and goes down again then.
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
    /// The edge named by [`Command::CloseEdge`] is closed; false if there was none.
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
    /// Every edge is closed after [`Command::Leave`].
    Left {
        /// Which command.
        request: RequestId,
    },
}

/// Why a message did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// There is no edge to send it over.
    #[error("there is no edge to send over; wait until the node has joined")]
    Unroutable,
    /// No candidate edge has room: its peer's budget for this node is spent (480 messages a second and 32 at
    /// once, those in transit included), 32 messages are not acknowledged, or its queue is full.
    /// [`Event::SendReady`] tells when to try again. For a message to this node itself its own queue is
    /// full, and nothing is told.
    #[error("no edge has room for another message now; try again in a moment")]
    Backpressure,
    /// The payload does not fit a frame.
    #[error("the payload has {len} bytes, at most {max} fit")]
    TooLarge {
        /// Its length.
        len: usize,
        /// What fits.
        max: usize,
    },
    /// The node has left.
    #[error("the node has left the network")]
    Closed,
}

/// Why there is no edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No address to dial.
    #[error("no address of that node is known")]
    NoAddress,
    /// Dialing failed; the last error.
    #[error("dialing failed: {0}")]
    Dial(DialError),
    /// The peer proved who it is, and the edge ended before it said anything: it may be full, refuse this
    /// node, or ask for more proof of work.
    #[error("the peer did not take the edge: {0}")]
    NotTaken(EdgeDownReason),
    /// The peer proved its identifier, which lacks the required work.
    #[error("the peer's identifier lacks the required proof of work")]
    WorkUnmet,
    /// The application's policy refused it.
    #[error("the edge policy refused the peer")]
    Refused,
    /// That is this node itself.
    #[error("that is this node itself")]
    SelfEdge,
    /// Too many dials are under way.
    #[error("too many dials are under way; try again in a moment")]
    Busy,
    /// The node has left.
    #[error("the node has left the network")]
    Closed,
}

/// Why an edge is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EdgeDownReason {
    /// The peer said goodbye.
    #[error("the peer left")]
    Left,
    /// The peer did not answer.
    #[error("the peer does not answer")]
    Dead,
    /// Its last conn is gone.
    #[error("{0}")]
    Conn(ConnDownReason),
    /// Closed by a command.
    #[error("closed here")]
    ClosedHere,
}

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
