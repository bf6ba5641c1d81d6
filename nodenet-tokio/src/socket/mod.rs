//! The sockets of a node: UDP, or in memory on a [`crate::testing::Hub`].

mod udp;

use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::task::{Context, Poll};

use bytes::BytesMut;
use nodenet_proto::io::{EcnCodepoint, Transmit};

use crate::testing::HubSocket;
use udp::UdpSocket;
pub(crate) use udp::{ReadBuf, bind_udp};

/// What went wrong at the sockets. What went right is counted by the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketStats {
    /// Sends that the system refused: no route, an address that is gone, a datagram larger than the
    /// interface takes. The protocol treats them as lost.
    pub send_errors: u64,
    /// Datagrams for an address family that the socket does not speak.
    pub family_mismatches: u64,
    /// Reads that failed.
    pub receive_errors: u64,
}

/// One datagram as it arrived.
pub(crate) struct Received {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) data: BytesMut,
}

/// One bound socket. Never waits by itself, retries a datagram, or decides what to send.
pub(crate) enum Socket {
    /// A socket of this machine.
    Udp(UdpSocket),
    /// A socket on a hub.
    Hub(HubSocket),
}

impl Socket {
    /// Takes over a bound UDP socket.
    pub(crate) fn udp(socket: net::UdpSocket) -> io::Result<Self> {
        UdpSocket::new(socket).map(Self::Udp)
    }

    /// The bound address; a wildcard stays one.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Hub(socket) => socket.local_addr(),
        }
    }

    /// Whether IPv4 peers can be reached.
    pub(crate) fn speaks_ipv4(&self) -> bool {
        match self {
            Self::Udp(socket) => socket.speaks_ipv4(),
            Self::Hub(_) => true,
        }
    }

    /// Whether datagrams can be sent to the address at all.
    pub(crate) fn speaks(&self, remote: &SocketAddr) -> bool {
        match self {
            Self::Udp(socket) => socket.speaks(remote),
            Self::Hub(_) => true,
        }
    }

    /// Whether datagrams are never fragmented on the way, so that path discovery may probe.
    pub(crate) fn never_fragments(&self) -> bool {
        match self {
            Self::Udp(socket) => socket.never_fragments(),
            Self::Hub(_) => true,
        }
    }

    /// Datagrams that one send may carry now.
    pub(crate) fn segments_max(&self) -> usize {
        match self {
            Self::Udp(socket) => socket.segments_max(),
            Self::Hub(socket) => socket.segments_max(),
        }
    }

    /// Whether there is something to read; if not, the task is woken when there is.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Udp(socket) => socket.poll_readable(cx),
            Self::Hub(socket) => socket.poll_readable(cx),
        }
    }

    /// Waits until there is room to send. Cancel safe.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.writable().await,
            Self::Hub(socket) => {
                socket.writable().await;
                Ok(())
            }
        }
    }

    /// Reads one batch. Each datagram has memory of its own, so that whoever keeps one keeps no
    /// other alive.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing to read.
    pub(crate) fn try_receive(
        &self,
        buf: &mut ReadBuf,
        each: impl FnMut(Received),
    ) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.try_receive(buf, each),
            Self::Hub(socket) => socket.try_receive(each),
        }
    }

    /// Sends `bytes` from `*done` on and advances it. False if there is no room now: call again
    /// with the same arguments once the socket is writable. A datagram that is refused counts as
    /// sent and lost.
    pub(crate) fn try_send(
        &self,
        how: &Transmit,
        bytes: &[u8],
        done: &mut usize,
        stats: &mut SocketStats,
    ) -> bool {
        match self {
            Self::Udp(socket) => socket.try_send(how, bytes, done, stats),
            Self::Hub(socket) => socket.try_send(how, bytes, done),
        }
    }
}
