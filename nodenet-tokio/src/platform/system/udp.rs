//! One UDP socket: batched reads, segmented writes, addresses folded to one form.
//!
//! Responsible for: dual stack, buffer sizes, offloads with their fallback, the TTL of one
//! datagram, and the size limit of one send. Never: waits, retries a datagram, or decides what to
//! send.
//!
//! A dual-stack socket reports IPv4 peers as IPv4-mapped IPv6 addresses, `::ffff:a.b.c.d`. They are
//! folded to IPv4 on receipt and mapped back on sending, because the core compares addresses.

mod ttl;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll};

use bytes::BytesMut;
use nodenet_proto::io::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;

use crate::platform::{READ_BATCH, READ_LEN, ReadBuf, Received, Socket, SocketStats};

/// Largest UDP payload over IPv4, and so the most bytes one segmented send may carry (RFC 768).
const UDP_PAYLOAD_MAX: usize = 65_507;
/// Buffer requested from the system for each direction; it may grant less. Smaller buffers lose
/// datagrams when the task is not scheduled for a few milliseconds (measured: none lost at 4 MiB).
const SOCKET_BUFFER_LEN: usize = 4 << 20;
/// Most datagrams in one segmented send: as many as fit [`UDP_PAYLOAD_MAX`] at the largest datagram
/// that path discovery reaches on Ethernet (1,472 bytes).
const SEGMENTS_MAX: usize = UDP_PAYLOAD_MAX / 1_472;

/// Interface to the system.
enum Access {
    /// Offloads, ECN and the local address of each datagram.
    Offload(RwLock<UdpSocketState>),
    /// One datagram at a time.
    Plain,
}

/// One bound socket.
pub(crate) struct UdpSocket {
    io: tokio::net::UdpSocket,
    access: Access,
    local_addr: SocketAddr,
    supports_ipv4: bool,
}

impl UdpSocket {
    /// Takes over a bound socket.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let supports_ipv4 =
            socket.local_addr()?.is_ipv4() || !socket2::SockRef::from(&socket).only_v6()?;
        let io = tokio::net::UdpSocket::from_std(socket)?;
        let access = match UdpSocketState::new((&io).into()) {
            Ok(state) => Access::Offload(RwLock::new(state)),
            Err(error) => {
                tracing::debug!(%error, "the system has no socket offloads; going on without");
                Access::Plain
            }
        };
        let local_addr = io.local_addr()?;
        Ok(Self { io, access, local_addr, supports_ipv4 })
    }

    /// Sends one piece. If the host has lost the source address, the piece leaves from another one.
    fn send_piece(
        &self,
        transmit: &Transmit,
        piece: &[u8],
        segment_len: usize,
        stats: &mut SocketStats,
    ) -> io::Result<()> {
        let mut sent = self.send_from(transmit, transmit.local_ip, piece, segment_len);
        if transmit.local_ip.is_some()
            && let Err(error) = &sent
            && may_lack_source(error)
        {
            self.renew_offloads(error);
            sent = self.send_from(transmit, None, piece, segment_len);
            // Without any route both fail alike, and the source is not to blame.
            stats.sources_lost += u64::from(sent.is_ok());
        }
        if let Err(error) = &sent
            && piece.len() <= segment_len
        {
            self.renew_offloads(error);
        }
        sent
    }

    /// Gets the offloads back that `error` made quinn-udp give up.
    ///
    /// After EINVAL it neither segments nor marks IPv4 datagrams for any peer. For a batch that may
    /// be right; for a single datagram, or a source address that is gone, the refusal concerns this
    /// send alone (measured: `findings/quinn-udp-gone-source.sh`).
    fn renew_offloads(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::InvalidInput
            && let Access::Offload(state) = &self.access
            && let Ok(fresh) = UdpSocketState::new((&self.io).into())
        {
            *state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    fn send_from(
        &self,
        transmit: &Transmit,
        source: Option<IpAddr>,
        piece: &[u8],
        segment_len: usize,
    ) -> io::Result<()> {
        let mapped = self.local_addr.is_ipv6();
        let remote = if mapped { unfold(transmit.remote) } else { transmit.remote };
        // Only punches have a TTL, and these leave from the address that the system chooses.
        if let Some(ttl) = transmit.ttl {
            let send = || ttl::send(&self.io, remote, ttl, piece);
            return self.io.try_io(Interest::WRITABLE, send);
        }
        let Some(state) = self.offloads() else {
            return self.io.try_send_to(piece, remote).map(|_| ());
        };
        let segments = quinn_udp::Transmit {
            destination: remote,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: piece,
            segment_size: (piece.len() > segment_len).then_some(segment_len),
            src_ip: source.map(|ip| if mapped { unfold_ip(ip) } else { ip }),
        };
        self.io.try_io(Interest::WRITABLE, || state.try_send((&self.io).into(), &segments))
    }

    fn offloads(&self) -> Option<RwLockReadGuard<'_, UdpSocketState>> {
        match &self.access {
            // The lock is never held while a panic may happen.
            Access::Offload(state) => Some(state.read().unwrap_or_else(PoisonError::into_inner)),
            Access::Plain => None,
        }
    }
}

impl Socket for UdpSocket {
    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn supports_ipv4(&self) -> bool {
        self.supports_ipv4
    }

    fn supports(&self, remote: &SocketAddr) -> bool {
        match remote {
            SocketAddr::V4(_) => self.supports_ipv4,
            SocketAddr::V6(_) => self.local_addr.is_ipv6(),
        }
    }

    fn never_fragments(&self) -> bool {
        self.offloads().is_some_and(|state| !state.may_fragment())
    }

    fn segments_max(&self) -> usize {
        self.offloads().map_or(1, |state| state.max_gso_segments().clamp(1, SEGMENTS_MAX))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_send_ready(cx)
    }

    fn try_receive(
        &self,
        ReadBuf(buf): &mut ReadBuf,
        each: &mut dyn FnMut(Received),
    ) -> io::Result<()> {
        let Some(state) = self.offloads() else {
            let (len, remote) = self.io.try_recv_from(&mut buf[..READ_LEN])?;
            let data = BytesMut::from(&buf[..len]);
            each(Received { remote: fold(remote), local_ip: None, ecn: None, data });
            return Ok(());
        };
        let mut metas = [RecvMeta::default(); READ_BATCH];
        let count = {
            let mut pieces = buf.chunks_exact_mut(READ_LEN);
            let mut slices: [IoSliceMut<'_>; READ_BATCH] = std::array::from_fn(|_| {
                IoSliceMut::new(pieces.next().expect("the buffer is READ_BATCH reads long"))
            });
            let receive = || state.recv((&self.io).into(), &mut slices, &mut metas);
            self.io.try_io(Interest::READABLE, receive)?
        };
        for (meta, bytes) in metas[..count].iter().zip(buf.chunks_exact(READ_LEN)) {
            for datagram in split(&bytes[..meta.len], meta.stride) {
                each(Received {
                    remote: fold(meta.addr),
                    local_ip: meta.dst_ip.map(fold_ip),
                    ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
                    data: BytesMut::from(datagram),
                });
            }
        }
        Ok(())
    }

    fn try_send(
        &self,
        transmit: &Transmit,
        bytes: &[u8],
        done: &mut usize,
        stats: &mut SocketStats,
    ) -> bool {
        if !self.supports(&transmit.remote) {
            stats.family_mismatches += 1;
            *done = bytes.len();
        } else if transmit.ttl.is_some() && !ttl::IS_SUPPORTED {
            stats.ttl_unsupported += 1;
            *done = bytes.len();
        }
        let segment_len = transmit.segment_len.unwrap_or(bytes.len()).max(1);
        let segments_max = || if transmit.ttl.is_some() { 1 } else { self.segments_max() };
        let mut send = |piece: &[u8], stats: &mut SocketStats| {
            let sent = self.send_piece(transmit, piece, segment_len, stats);
            if let Err(error) = &sent {
                tracing::trace!(%error, remote = %transmit.remote, len = piece.len(), "not sent");
            }
            sent
        };
        send_pieces(bytes, done, segment_len, segments_max, &mut send, stats)
    }
}

/// Binds a UDP socket with large buffers, for `[::]` as a dual-stack socket. On a machine without
/// IPv6 `[::]` means `0.0.0.0`.
///
/// # Errors
/// The error of the system.
pub(crate) fn bind_udp(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    match open(addr) {
        Err(_) if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !has_ipv6() => {
            open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()))
        }
        opened => opened,
    }
}

/// Sends `bytes` from `*done` on, in pieces of as many segments as one send may carry. False when
/// there is no room; `*done` is then the number of bytes sent.
fn send_pieces(
    bytes: &[u8],
    done: &mut usize,
    segment_len: usize,
    segments_max: impl Fn() -> usize,
    send: &mut dyn FnMut(&[u8], &mut SocketStats) -> io::Result<()>,
    stats: &mut SocketStats,
) -> bool {
    while *done < bytes.len() {
        let segments = segments_max().min(UDP_PAYLOAD_MAX / segment_len).max(1);
        let piece = &bytes[*done..bytes.len().min(*done + segments * segment_len)];
        match send(piece, stats) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // The system does not segment: the same bytes again, one datagram at a time.
            Err(_) if piece.len() > segment_len && segments_max() == 1 => continue,
            Err(_) => stats.send_errors += 1,
        }
        *done += piece.len();
    }
    true
}

/// Whether the system refused a send in a way that a missing source address explains: EINVAL over
/// IPv6, ENETUNREACH over IPv4 (measured on Linux 6.18).
fn may_lack_source(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, InvalidInput, NetworkUnreachable};
    matches!(error.kind(), InvalidInput | NetworkUnreachable | AddrNotAvailable)
}

fn open(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // Best effort: with the default of the system the node works, and loses more under load.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_LEN);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_LEN);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Whether this machine can bind IPv6 at all.
fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The datagrams in one read. An empty read is one empty datagram.
fn split(bytes: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(stride.max(1)))
}

fn fold(addr: SocketAddr) -> SocketAddr {
    match fold_ip(addr.ip()) {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

fn fold_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn unfold(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => addr,
    }
}

fn unfold_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(_) => ip,
    }
}

#[cfg(test)]
mod tests;
