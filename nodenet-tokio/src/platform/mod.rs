//! Platform traits: the sockets, the wall clock, the addresses and the entropy of a node.
//!
//! Responsible for: what the driver may use of its surroundings. Never: how they work, which
//! [`system`] knows for production and `crate::testing` for tests.
//!
//! Both traits are object-safe, so that [`crate::Builder`] and [`crate::Node`] need no type
//! parameter. The price is one virtual call for each batch of datagrams. Monotonic time is no part
//! of a platform: it is always the runtime's.

pub(crate) mod system;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use nodenet_proto::env::{Seed, UnixNanos};
use nodenet_proto::io::{EcnCodepoint, Transmit};

/// Largest result of one read: one datagram, or several that the kernel merged.
const READ_LEN: usize = 65_536;
/// Reads in one system call. Each may hold up to 64 merged datagrams.
const READ_BATCH: usize = 8;

/// What a node runs on.
pub(crate) trait Platform: fmt::Debug + Send + Sync {
    /// Binds another socket.
    fn bind(&self, addr: SocketAddr) -> io::Result<Box<dyn Socket>>;

    /// Wall time now.
    fn wall(&self) -> UnixNanos;

    /// The seed of all random streams of a node whose main socket is bound to `local_addr`.
    fn node_seed(&self, local_addr: SocketAddr) -> Result<Seed, getrandom::Error>;

    /// The addresses at which a socket can be reached as far as this platform knows, best first.
    /// Loopback stands last, and is left out unless `allow_local` or there is no other.
    fn reachable_addrs(&self, socket: &dyn Socket, allow_local: bool) -> Vec<SocketAddr>;

    /// A watch on the network, if this platform has one.
    fn network_monitor(&self) -> Option<Box<dyn NetworkMonitor>> {
        None
    }

    /// How long the machine slept since it started, as far as this platform knows.
    fn slept(&self) -> Duration {
        Duration::ZERO
    }
}

/// Changes of the network of this machine.
pub(crate) trait NetworkMonitor: Send {
    /// Ready if packets may take another way since the last call; if not, the task is woken then.
    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// One bound socket. It never waits, retries a datagram, or decides what to send.
///
/// One task uses a socket, so one waker for each direction is enough.
pub(crate) trait Socket: Send + Sync {
    /// The bound address; a wildcard stays one.
    fn local_addr(&self) -> SocketAddr;

    /// Whether IPv4 peers can be reached.
    fn supports_ipv4(&self) -> bool;

    /// Whether datagrams can be sent to the family of this address.
    fn supports(&self, remote: &SocketAddr) -> bool;

    /// Whether datagrams are never fragmented on the way, so that path MTU discovery may probe.
    fn never_fragments(&self) -> bool;

    /// Datagrams that one send may carry now. The number may fall to 1 during a send.
    fn segments_max(&self) -> usize;

    /// Ready if there is something to read; if not, the task is woken when there is.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready if there is room to send; if not, the task is woken when there is.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads one batch. Each datagram has memory of its own, so that one that is kept keeps no
    /// other alive.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing to read.
    fn try_receive(&self, buf: &mut ReadBuf, each: &mut dyn FnMut(Received)) -> io::Result<()>;

    /// Sends `bytes` from `*done` on and advances it. False if there is no room now: call again
    /// with the same arguments once the socket is writable. A datagram that is refused counts as
    /// sent and lost, and so does one with a TTL where none can be set.
    fn try_send(
        &self,
        transmit: &Transmit,
        bytes: &[u8],
        done: &mut usize,
        stats: &mut SocketStats,
    ) -> bool;
}

/// One datagram as it arrived.
pub(crate) struct Received {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) data: BytesMut,
}

/// Memory that reads go through; all sockets of a node share one.
pub(crate) struct ReadBuf(Vec<u8>);

impl ReadBuf {
    pub(crate) fn new() -> Self {
        Self(vec![0; READ_LEN * READ_BATCH])
    }
}

/// Failures of the sockets of a node. What succeeds is counted by the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketStats {
    /// Sends that the system refused: no route, an address that is gone, a datagram larger than the
    /// interface takes. The protocol treats them as lost.
    pub send_errors: u64,
    /// Datagrams for an address family that the socket does not support.
    pub family_mismatches: u64,
    /// Sends whose source address the host no longer has. They left from another one.
    pub sources_lost: u64,
    /// Datagrams with a TTL of their own that were dropped, because this platform cannot set the
    /// TTL of one datagram. With that of the system they would arrive where they must not.
    pub ttl_unsupported: u64,
    /// Reads that failed.
    pub receive_errors: u64,
}
