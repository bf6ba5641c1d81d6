//! Datagrams and deadlines between a node and its driver.

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

/// Source, destination and options of a datagram in the [`TransmitBuf`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The socket to send from.
    pub socket: SocketId,
    /// The destination.
    pub remote: SocketAddr,
    /// From which of this machine's addresses, if it matters.
    pub local_ip: Option<IpAddr>,
    /// ECN bits to set.
    pub ecn: Option<EcnCodepoint>,
    /// If set, the bytes are several datagrams of this length, the last one possibly shorter.
    pub segment_len: Option<usize>,
    /// The TTL (IPv6: the hop limit), if it is not the system's. Such a datagram is meant to end on
    /// the way: a driver that cannot set the TTL drops it.
    pub ttl: Option<u8>,
}

/// Buffer for the datagrams to send. Cleared by every [`crate::node::Node::poll_output`].
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

/// The next call of the driver, and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Time of the call.
    pub at: Instant,
    /// Name of the timer, for traces.
    pub reason: &'static str,
}
