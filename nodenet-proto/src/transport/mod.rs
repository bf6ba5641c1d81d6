//! The transport boundary: commands, events and sends between the engine and its transport.
//!
//! Two enums and one trait. `quic` implements them over UDP, with `splice` for the sockets of a
//! relay volunteer. The simulator implements them over in-memory conns. A conn is authenticated
//! when the engine gets its first event. Identifiers are counters and never reused, so that a late
//! event for a conn that is gone is recognised and discarded.

use core::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::NodeId;
use crate::buf::Frame;

/// One connection. Counted up by the transport, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// One attempt to dial. Counted up by the engine, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

impl fmt::Display for DialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// One splice: a pair of sockets between which a relay volunteer passes datagrams on. Counted up by
/// the engine, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpliceId(pub u64);

impl fmt::Display for SpliceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// Which of a conn's send queues a frame waits in; earlier variants go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Pings, pongs, questions.
    Control,
    /// Frames this node originates for its application.
    Own,
    /// Frames forwarded for others, and answers to peers without an edge.
    Transit,
    /// The Leave, which goes behind everything that waits: the peer takes nothing that follows it.
    Leave,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Own, Self::Transit, Self::Leave];

    /// Whether the peer charges such frames to this node's budget for messages.
    pub const fn is_paced(self) -> bool {
        matches!(self, Self::Own | Self::Transit)
    }

    /// The part of `shared` that a paced class must leave free. Transit leaves a quarter to the
    /// frames of this node's application, which it could otherwise keep out (a guess).
    pub const fn leaves_free(self, shared: usize) -> usize {
        match self {
            Self::Transit => shared / 4,
            Self::Control | Self::Own | Self::Leave => 0,
        }
    }
}

/// Largest frame on an edge, its header included (PROTOCOL.md#frame-size).
pub const FRAME_MAX: usize = 65_536;
/// From the handshake to the peer's stream, and again from there to its first whole frame
/// (PROTOCOL.md#first-frame).
pub const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// A conn that receives nothing for this long ends (PROTOCOL.md#idle-time-out).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// What was queued at a graceful close may take this long to be acknowledged (PROTOCOL.md#drain).
pub const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Frames of the paced classes that one conn holds without an acknowledgement of the peer's
/// transport, at most. A path that stalled delivers all of them at once, and an application on the
/// reference reads from a queue of 64. Half of it stays free for what follows before the
/// application has read. A long frame counts until its first bytes are acknowledged.
pub const UNACKED_MAX: usize = 32;

/// Bytes that all splices of a node pass on in a second (reference).
pub const SPLICE_BYTES_PER_S: u64 = 2_000_000;

/// Role of a conn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Frames of the overlay.
    Edge,
    /// The media of a call. No transport brings such a conn up yet.
    Media,
}

/// Which end opened a conn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// This node, by this dial.
    Outgoing(DialId),
    /// The peer.
    Inbound,
}

/// What the engine asks of the transport. A transport carries out every one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Open a conn to exactly `expected` at `remote`. Settled by one [`Event::ConnUp`] or
    /// [`Event::DialFailed`] with the same `dial`, at the latest shortly after `deadline`.
    Dial {
        /// Names the attempt.
        dial: DialId,
        /// The identity that the other end must prove.
        expected: NodeId,
        /// Where.
        remote: SocketAddr,
        /// When to give up.
        deadline: Instant,
    },
    /// Forget a dial. If it is still pending it settles as [`DialError::Cancelled`].
    CancelDial(DialId),
    /// Close a conn. Answered by [`Event::ConnDown`] with [`ConnDownReason::ClosedHere`]; frames
    /// that the peer sent meanwhile are not delivered any more.
    Close {
        /// Which.
        conn: ConnId,
        /// How.
        mode: CloseMode,
    },
    /// Send these bytes as one datagram of their own, from the socket of the conns. The NAT of this
    /// node then lets the peer's datagrams to that socket in. No event follows.
    Punch {
        /// Where.
        remote: SocketAddr,
        /// What. No conn of either end takes it for a packet.
        bytes: Bytes,
        /// With which TTL (IPv6: hop limit), if not the system's. Where it cannot be set, nothing
        /// is sent.
        ttl: Option<u8>,
    },
    /// Open a splice. Settled by one [`Event::SpliceOpened`] or [`Event::SpliceOver`]; the first is
    /// followed by the second in the end.
    OpenSplice {
        /// Names the splice.
        splice: SpliceId,
        /// Its sides. They may be of different families.
        sides: [SpliceSide; 2],
        /// Splices with the same number share the rate of all as one.
        group: u64,
    },
    /// Close a splice. Answered by [`Event::SpliceOver`] unless it is over already.
    CloseSplice(SpliceId),
    /// Set what all splices together may pass on. No event follows.
    LimitSplices {
        /// Bytes in a second; [`SPLICE_BYTES_PER_S`] without this command.
        bytes_per_s: u64,
        /// Bytes from now on. When they are used up, all splices are over.
        bytes_left: Option<u64>,
    },
}

/// One side of a splice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpliceSide {
    /// The address of this node for its socket.
    pub local_ip: IpAddr,
    /// The host that is likely to send there. Another one can, unless this one does.
    pub prefers: Option<IpAddr>,
}

/// How a conn is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseMode {
    /// At once; what is queued is lost.
    Abort,
    /// After what is queued was acknowledged, or after one second (PROTOCOL.md#drain).
    Drain,
}

/// What the transport reports to the engine.
#[derive(Debug)]
pub enum Event {
    /// A conn is up and its peer proved its identity.
    ConnUp {
        /// The new conn.
        conn: ConnId,
        /// The peer's identifier, which is the hash of `key`.
        peer: NodeId,
        /// The peer's Ed25519 key, proved by the transport.
        key: [u8; 32],
        /// What it is for.
        role: Role,
        /// Which end opened it.
        direction: Direction,
        /// Where the peer is, from here.
        remote: SocketAddr,
    },
    /// A dial failed.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Why.
        error: DialError,
    },
    /// A whole frame arrived.
    Frame {
        /// On which conn.
        conn: ConnId,
        /// The frame, without the transport's own framing.
        frame: Frame,
    },
    /// A send on this conn was refused with [`SendError::Full`] and would be accepted now. Half of
    /// what filled its queue has left, or half of [`UNACKED_MAX`] frames are acknowledged.
    Writable(ConnId),
    /// A conn is gone. Nothing follows for it.
    ConnDown {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: ConnDownReason,
    },
    /// The peer of a conn sends from another address, and is sent to there. The address may still
    /// have to prove itself; one that does not is left again, with another such event.
    PathChanged {
        /// Of which conn.
        conn: ConnId,
        /// Where the peer is now.
        remote: SocketAddr,
    },
    /// A punch arrived at the socket of the conns.
    Punched {
        /// From where. Nothing proves that it was sent there.
        remote: SocketAddr,
    },
    /// Both sockets of a splice are bound.
    SpliceOpened {
        /// Which.
        splice: SpliceId,
        /// The addresses of its sides.
        locals: [SocketAddr; 2],
    },
    /// A splice is over, or did not open. Nothing follows for it.
    SpliceOver {
        /// Which.
        splice: SpliceId,
        /// Why.
        reason: SpliceOverReason,
    },
}

/// Why a dial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No answer, or the handshake failed.
    #[error("no node answered there, or the handshake failed")]
    NoRoute,
    /// Another node answered.
    #[error("the node that answered there has another identifier")]
    IdentityMismatch,
    /// The address cannot be dialed.
    #[error("that address cannot be dialed")]
    BadAddress,
    /// The deadline passed.
    #[error("no answer in time")]
    TimedOut,
    /// The engine cancelled it.
    #[error("cancelled")]
    Cancelled,
}

/// Why a conn is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnDownReason {
    /// Closed by a command from here.
    #[error("closed here")]
    ClosedHere,
    /// Closed by the peer.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// The peer broke the transport's protocol.
    #[error("the peer broke the protocol")]
    PeerMisbehaved,
    /// Nothing was received for the idle time-out.
    #[error("timed out")]
    TimedOut,
    /// The peer stopped taking what is sent.
    #[error("the peer stopped reading")]
    Stalled,
    /// No complete first frame in time.
    #[error("no frame in time")]
    Silent,
    /// The peer lost its state (stateless reset).
    #[error("reset by the peer")]
    Reset,
}

/// Why a splice is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpliceOverReason {
    /// Closed by a command from here.
    #[error("closed here")]
    ClosedHere,
    /// It passed nothing on for the idle time-out.
    #[error("idle")]
    Idle,
    /// As many splices are open as this node takes.
    #[error("too many splices are open")]
    Full,
    /// One of its sockets could not be opened, or was lost.
    #[error("a socket could not be opened or was lost")]
    SocketFailed,
    /// What may be passed on is used up.
    #[error("what may be passed on is used up")]
    QuotaUsed,
    /// This transport opens no splices.
    #[error("this transport opens no splices")]
    Unsupported,
}

/// The current path of a conn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathInfo {
    /// The peer's current address; follows migrations.
    pub remote: SocketAddr,
    /// Smoothed round-trip time.
    pub rtt: Duration,
}

/// Why a frame was not taken. It comes back with the error, to be offered elsewhere.
#[derive(Debug)]
pub enum SendError {
    /// The conn's queue for this class is full, or too many frames are not acknowledged.
    Full(Frame),
    /// There is no such conn (any more).
    Gone(Frame),
}

impl SendError {
    /// The frame that was refused.
    pub fn into_frame(self) -> Frame {
        match self {
            Self::Full(frame) | Self::Gone(frame) => frame,
        }
    }
}

/// The calls the engine makes into the transport and that answer at once.
pub trait Conns {
    /// Queues a whole frame on a conn, or gives it back.
    fn try_send(&mut self, conn: ConnId, class: Class, frame: Frame) -> Result<(), SendError>;

    /// The current path of a conn.
    fn path(&self, conn: ConnId) -> Option<PathInfo>;

    /// Datagrams that arrived on a conn so far, if the transport counts them. What is sent is
    /// acknowledged, so a path on which this stands still does not carry any more.
    fn received(&self, _conn: ConnId) -> Option<u64> {
        None
    }
}
