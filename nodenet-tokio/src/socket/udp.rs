//! One UDP socket: batched reads, segmented writes, addresses folded to one form.
//!
//! Responsible for: dual stack, buffer sizes, offloads with their fallback, and the size limit of one
//! send. Never: waits, retries a datagram, or decides what to send.
//!
//! On a dual-stack socket the system shows IPv4 peers as `::ffff:a.b.c.d`. They are folded to IPv4 on
//! receipt and mapped back on sending, because the core compares addresses.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use bytes::BytesMut;
use nodenet_proto::node::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;

use super::{Received, SocketStats};

/// Largest UDP payload over IPv4, and so the most bytes one segmented send may carry (RFC 768).
const UDP_PAYLOAD_MAX: usize = 65_507;
/// Room for whatever one read returns: one datagram, or what the kernel merged.
const READ_LEN: usize = 65_536;
/// Reads in one system call. Each may hold up to 64 merged datagrams.
const READ_BATCH: usize = 8;
/// Asked of the system for each direction; it may grant less. Smaller buffers lose datagrams when
/// the task is not scheduled for a few milliseconds (measured: none lost at 4 MiB).
const SOCKET_BUFFER_LEN: usize = 4 << 20;
/// Most datagrams in one segmented send: as many as fit [`UDP_PAYLOAD_MAX`] at the largest datagram
/// that path discovery reaches on Ethernet (1,472 bytes).
const SEGMENTS_MAX: usize = UDP_PAYLOAD_MAX / 1_472;

/// How to reach the system.
enum Access {
    /// Offloads, ECN and the local address of each datagram.
    Offload(UdpSocketState),
    /// One datagram at a time.
    Plain,
}

/// Memory that reads go through; all sockets of a node share one.
pub(crate) struct ReadBuf(Vec<u8>);

impl ReadBuf {
    pub(crate) fn new() -> Self {
        Self(vec![0; READ_LEN * READ_BATCH])
    }
}

/// One bound socket.
pub(crate) struct UdpSocket {
    io: tokio::net::UdpSocket,
    access: Access,
    local_addr: SocketAddr,
    speaks_ipv4: bool,
}

impl UdpSocket {
    /// Takes over a bound socket.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let speaks_ipv4 =
            socket.local_addr()?.is_ipv4() || !socket2::SockRef::from(&socket).only_v6()?;
        let io = tokio::net::UdpSocket::from_std(socket)?;
        let access = match UdpSocketState::new((&io).into()) {
            Ok(state) => Access::Offload(state),
            Err(error) => {
                tracing::debug!(%error, "no socket offloads here, going on without");
                Access::Plain
            }
        };
        let local_addr = io.local_addr()?;
        Ok(Self { io, access, local_addr, speaks_ipv4 })
    }

    /// The bound address; a wildcard stays one.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether IPv4 peers can be reached.
    pub(crate) fn speaks_ipv4(&self) -> bool {
        self.speaks_ipv4
    }

    /// Whether datagrams can be sent to the address at all.
    pub(crate) fn speaks(&self, remote: &SocketAddr) -> bool {
        match remote {
            SocketAddr::V4(_) => self.speaks_ipv4,
            SocketAddr::V6(_) => self.local_addr.is_ipv6(),
        }
    }

    /// Whether datagrams are never fragmented on the way, so that path discovery may probe.
    pub(crate) fn never_fragments(&self) -> bool {
        matches!(&self.access, Access::Offload(state) if !state.may_fragment())
    }

    /// Datagrams that one send may carry now; falls to 1 when the system turns out not to segment.
    pub(crate) fn segments_max(&self) -> usize {
        match &self.access {
            Access::Offload(state) => state.max_gso_segments().clamp(1, SEGMENTS_MAX),
            Access::Plain => 1,
        }
    }

    /// Whether there is something to read; if not, the task is woken when there is.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(cx)
    }

    /// Waits until there is room to send. Cancel safe.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Reads one batch. Each datagram gets memory of its own, so that whoever keeps one keeps no
    /// other alive.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing to read.
    pub(crate) fn try_receive(
        &self,
        ReadBuf(buf): &mut ReadBuf,
        mut each: impl FnMut(Received),
    ) -> io::Result<()> {
        let Access::Offload(state) = &self.access else {
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

    /// Sends `bytes` from `*done` on and advances it. False if the system has no room now: call again
    /// with the same arguments once the socket is writable. A datagram that the system refuses counts
    /// as sent and lost.
    pub(crate) fn try_send(
        &self,
        how: &Transmit,
        bytes: &[u8],
        done: &mut usize,
        stats: &mut SocketStats,
    ) -> bool {
        if !self.speaks(&how.remote) {
            stats.family_mismatches += 1;
            *done = bytes.len();
        }
        let segment_len = how.segment_len.unwrap_or(bytes.len()).max(1);
        let segments_max = || self.segments_max();
        let mut send = |piece: &[u8]| {
            let sent = self.send_piece(how, piece, segment_len);
            if let Err(error) = &sent {
                tracing::trace!(%error, remote = %how.remote, len = piece.len(), "not sent");
            }
            sent
        };
        send_pieces(bytes, done, segment_len, segments_max, &mut send, stats)
    }

    fn send_piece(&self, how: &Transmit, piece: &[u8], segment_len: usize) -> io::Result<()> {
        let mapped = self.local_addr.is_ipv6();
        let remote = if mapped { unfold(how.remote) } else { how.remote };
        let Access::Offload(state) = &self.access else {
            return self.io.try_send_to(piece, remote).map(|_| ());
        };
        let transmit = quinn_udp::Transmit {
            destination: remote,
            ecn: how.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: piece,
            segment_size: (piece.len() > segment_len).then_some(segment_len),
            src_ip: how.local_ip.map(|ip| if mapped { unfold_ip(ip) } else { ip }),
        };
        self.io.try_io(Interest::WRITABLE, || state.try_send((&self.io).into(), &transmit))
    }
}

/// Binds a UDP socket as a node wants it: with large buffers, and for `[::]` serving IPv4, too. On a
/// machine without IPv6 `[::]` stands for `0.0.0.0`.
///
/// # Errors
/// What the system says.
pub(crate) fn bind_udp(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    match open(addr) {
        Err(_) if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !has_ipv6() => {
            open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()))
        }
        opened => opened,
    }
}

/// Sends `bytes` from `*done` on, in pieces of as many segments as one send may carry. False when
/// there is no room; `*done` then tells how far it came.
fn send_pieces(
    bytes: &[u8],
    done: &mut usize,
    segment_len: usize,
    segments_max: impl Fn() -> usize,
    send: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    stats: &mut SocketStats,
) -> bool {
    while *done < bytes.len() {
        let segments = segments_max().min(UDP_PAYLOAD_MAX / segment_len).max(1);
        let piece = &bytes[*done..bytes.len().min(*done + segments * segment_len)];
        match send(piece) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // The system does not segment after all: the same bytes again, one by one.
            Err(_) if piece.len() > segment_len && segments_max() == 1 => continue,
            Err(_) => stats.send_errors += 1,
        }
        *done += piece.len();
    }
    true
}

fn open(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // Best effort: the node works with the system's default, it only loses more under load.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_LEN);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_LEN);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Whether this machine can bind IPv6 at all.
fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The datagrams in one read. An empty datagram is one, too.
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
mod tests {
    use std::future::poll_fn;
    use std::io;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use nodenet_proto::node::{SocketId, Transmit};
    use tokio::time::timeout;

    use super::{Access, ReadBuf, Received, SocketStats, UdpSocket, bind_udp, send_pieces, split};

    #[tokio::test]
    async fn a_batch_arrives_as_the_datagrams_it_was_made_of() {
        let (a, b) = pair("127.0.0.1:0", "127.0.0.1:0");
        let bytes: Vec<u8> = (0..10 * 1_200 + 77).map(|i| (i % 251) as u8).collect();
        let stats = send(&a, b.local_addr(), Some(1_200), &bytes).await;
        let got = receive(&b, 11).await;
        let mut lens = vec![1_200; 10];
        lens.push(77);
        assert_eq!(got.iter().map(|one| one.data.len()).collect::<Vec<_>>(), lens);
        assert_eq!(got.iter().flat_map(|one| one.data.iter().copied()).collect::<Vec<_>>(), bytes);
        assert!(got.iter().all(|one| one.remote == a.local_addr()));
        assert_eq!(got[0].local_ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(stats, SocketStats::default());
    }

    #[tokio::test]
    async fn a_batch_larger_than_one_send_is_cut() {
        let (a, b) = pair("127.0.0.1:0", "127.0.0.1:0");
        let stats = send(&a, b.local_addr(), Some(1_400), &vec![7; 60 * 1_400]).await;
        let got = receive(&b, 60).await;
        assert!(got.iter().all(|one| one.data.len() == 1_400));
        assert_eq!(stats, SocketStats::default());
    }

    #[tokio::test]
    async fn every_datagram_has_memory_of_its_own() {
        let (a, b) = pair("127.0.0.1:0", "127.0.0.1:0");
        send(&a, b.local_addr(), Some(1_000), &[7; 4_000]).await;
        let got = receive(&b, 4).await;
        assert!(got.iter().all(|one| one.data.capacity() < 2_000));
    }

    #[tokio::test]
    async fn without_offloads_the_same_datagrams_arrive() {
        let (mut a, mut b) = pair("127.0.0.1:0", "127.0.0.1:0");
        a.access = Access::Plain;
        b.access = Access::Plain;
        assert_eq!((a.segments_max(), a.never_fragments()), (1, false));
        send(&a, b.local_addr(), Some(500), &[9; 1_100]).await;
        let got = receive(&b, 3).await;
        assert_eq!(got.iter().map(|one| one.data.len()).collect::<Vec<_>>(), [500, 500, 100]);
    }

    #[tokio::test]
    async fn a_dual_stack_socket_shows_ipv4_peers_as_ipv4() {
        let (dual, v4) = pair("[::]:0", "127.0.0.1:0");
        let dual_v4 = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), dual.local_addr().port());
        send(&v4, dual_v4, None, b"there").await;
        let there = receive(&dual, 1).await.remove(0);
        assert_eq!(there.remote, v4.local_addr());
        if dual.local_addr().is_ipv6() {
            assert_eq!(there.local_ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        }
        let how = transmit(there.remote, there.local_ip, None);
        assert!(dual.try_send(&how, b"back", &mut 0, &mut SocketStats::default()));
        let back = receive(&v4, 1).await.remove(0);
        assert_eq!((back.remote, &back.data[..]), (dual_v4, &b"back"[..]));
    }

    #[tokio::test]
    async fn what_the_socket_can_not_speak_is_counted_and_forgotten() {
        let (v4, _) = pair("127.0.0.1:0", "127.0.0.1:0");
        let v6: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        assert!(!v4.speaks(&v6));
        let stats = send(&v4, v6, None, b"lost").await;
        assert_eq!(stats, SocketStats { family_mismatches: 1, ..SocketStats::default() });
    }

    #[tokio::test]
    async fn a_datagram_the_system_refuses_is_counted_and_forgotten() {
        let (a, b) = pair("127.0.0.1:0", "127.0.0.1:0");
        let stats = send(&a, b.local_addr(), None, &vec![0; 65_508]).await;
        assert_eq!(stats, SocketStats { send_errors: 1, ..SocketStats::default() });
    }

    #[test]
    fn a_send_that_stops_half_way_goes_on_there() {
        let (mut sent, mut done, mut room) = (Vec::new(), 0, 2);
        let mut stats = SocketStats::default();
        let mut pass = |room: &mut usize, done: &mut usize| {
            let mut send = |piece: &[u8]| match room.checked_sub(1) {
                Some(less) => {
                    *room = less;
                    sent.push(piece.to_vec());
                    Ok(())
                }
                None => Err(io::ErrorKind::WouldBlock.into()),
            };
            send_pieces(b"onetwothreefour", done, 3, || 2, &mut send, &mut stats)
        };
        assert!(!pass(&mut room, &mut done));
        assert_eq!(done, 12);
        assert!(!pass(&mut room, &mut done));
        room = 1;
        assert!(pass(&mut room, &mut done));
        assert_eq!(sent, [&b"onetwo"[..], b"threef", b"our"]);
        assert_eq!(stats, SocketStats::default());
    }

    #[test]
    fn a_batch_that_can_not_be_segmented_goes_out_one_by_one() {
        let (mut sent, mut done) = (Vec::new(), 0);
        let segments_max = std::cell::Cell::new(40);
        let mut stats = SocketStats::default();
        let mut send = |piece: &[u8]| {
            // As the first attempt shows, in the middle of it.
            if segments_max.replace(1) == 40 {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            sent.push(piece.to_vec());
            Ok(())
        };
        let all =
            send_pieces(b"abcdefg", &mut done, 3, || segments_max.get(), &mut send, &mut stats);
        assert!(all);
        assert_eq!(sent, [&b"abc"[..], b"def", b"g"]);
        assert_eq!(stats.send_errors, 0, "nothing was lost");
    }

    #[test]
    fn an_empty_datagram_is_a_datagram() {
        assert_eq!(split(b"", 0).count(), 1);
        assert_eq!(split(b"abcde", 2).collect::<Vec<_>>(), [&b"ab"[..], b"cd", b"e"]);
    }

    fn pair(a: &str, b: &str) -> (UdpSocket, UdpSocket) {
        let bind = |addr: &str| UdpSocket::new(bind_udp(addr.parse().unwrap()).unwrap()).unwrap();
        (bind(a), bind(b))
    }

    fn transmit(
        remote: SocketAddr,
        local_ip: Option<IpAddr>,
        segment_len: Option<usize>,
    ) -> Transmit {
        Transmit { socket: SocketId::MAIN, remote, local_ip, ecn: None, segment_len }
    }

    async fn send(
        from: &UdpSocket,
        to: SocketAddr,
        segment_len: Option<usize>,
        bytes: &[u8],
    ) -> SocketStats {
        let (how, mut done) = (transmit(to, None, segment_len), 0);
        let mut stats = SocketStats::default();
        while !from.try_send(&how, bytes, &mut done, &mut stats) {
            from.writable().await.unwrap();
        }
        stats
    }

    async fn receive(socket: &UdpSocket, count: usize) -> Vec<Received> {
        let (mut got, mut buf) = (Vec::new(), ReadBuf::new());
        while got.len() < count {
            let readable = poll_fn(|cx| socket.poll_readable(cx));
            timeout(Duration::from_secs(5), readable).await.expect("a datagram").unwrap();
            let _ = socket.try_receive(&mut buf, |one| got.push(one));
        }
        assert_eq!(got.len(), count);
        got
    }
}
