//! Datagrams and deadlines: what passes between a node and the loop that drives it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// One UDP socket of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

impl SocketId {
    /// The socket that carries everything but relayed traffic.
    pub const MAIN: Self = Self(0);
}

/// Explicit congestion notification bits of a datagram.
pub use quinn_proto::EcnCodepoint;

/// How to send the bytes in the [`TransmitBuf`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// From which socket.
    pub socket: SocketId,
    /// To where.
    pub remote: SocketAddr,
    /// From which of our addresses, if it matters.
    pub local_ip: Option<IpAddr>,
    /// ECN bits to set.
    pub ecn: Option<EcnCodepoint>,
    /// If set, the bytes are several datagrams of this length, the last one possibly shorter.
    pub segment_len: Option<usize>,
}

/// Where the node writes what is to be sent. Cleared by every
/// [`crate::node::Node::poll_output`].
#[derive(Debug)]
pub struct TransmitBuf {
    /// The bytes of the datagram or datagrams.
    pub bytes: Vec<u8>,
    /// Datagrams that one send can carry (GSO); 1 without it.
    pub segments_max: usize,
}

impl TransmitBuf {
    /// A buffer for a socket that can send this many datagrams at once.
    pub fn new(segments_max: usize) -> Self {
        Self { bytes: Vec::with_capacity(2048), segments_max: segments_max.max(1) }
    }
}

/// When to call back, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Which timer, for traces.
    pub reason: &'static str,
}
