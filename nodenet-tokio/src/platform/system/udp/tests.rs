use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nodenet_proto::io::{EcnCodepoint, SocketId, Transmit};
use tokio::time::timeout;

use super::{
    Access, ReadBuf, Received, Socket, SocketStats, UdpSocket, bind_udp, send_pieces, split,
};

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
async fn congestion_marks_cross() {
    let (a, b) = pair("127.0.0.1:0", "127.0.0.1:0");
    writable(&a).await;
    for ecn in [EcnCodepoint::Ect0, EcnCodepoint::Ect1, EcnCodepoint::Ce] {
        let transmit = Transmit { ecn: Some(ecn), ..transmit_to(b.local_addr(), None, None) };
        assert!(a.try_send(&transmit, b"marked", &mut 0, &mut SocketStats::default()));
        let expected = matches!(b.access, Access::Offload(_)).then_some(ecn);
        assert_eq!(receive(&b, 1).await[0].ecn, expected);
    }
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
    let transmit = transmit_to(there.remote, there.local_ip, None);
    assert!(dual.try_send(&transmit, b"back", &mut 0, &mut SocketStats::default()));
    let back = receive(&v4, 1).await.remove(0);
    assert_eq!((back.remote, &back.data[..]), (dual_v4, &b"back"[..]));
}

#[tokio::test]
async fn a_datagram_of_another_family_is_counted_and_dropped() {
    let (v4, _) = pair("127.0.0.1:0", "127.0.0.1:0");
    let v6: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
    assert!(!v4.supports(&v6));
    let stats = send(&v4, v6, None, b"lost").await;
    assert_eq!(stats, SocketStats { family_mismatches: 1, ..SocketStats::default() });
}

#[tokio::test]
async fn a_datagram_that_the_system_refuses_is_counted_and_dropped() {
    let (a, b) = pair("127.0.0.1:0", "127.0.0.1:0");
    let stats = send(&a, b.local_addr(), None, &vec![0; 65_508]).await;
    assert_eq!(stats, SocketStats { send_errors: 1, ..SocketStats::default() });
}

#[tokio::test]
async fn a_source_address_that_is_gone_is_left_out_and_costs_other_peers_nothing() {
    let (dual, other) = pair("[::]:0", "127.0.0.1:0");
    if !dual.local_addr().is_ipv6() {
        return;
    }
    let (peer, _) = pair("[::1]:0", "[::1]:0");
    let segments = dual.segments_max();
    let mut stats = SocketStats::default();
    for source in ["2001:db8::1", "192.0.2.1"] {
        writable(&dual).await;
        let remote = if source.contains(':') { peer.local_addr() } else { other.local_addr() };
        let transmit = transmit_to(remote, Some(source.parse().unwrap()), Some(500));
        assert!(dual.try_send(&transmit, &[7; 1_500], &mut 0, &mut stats));
        let there = if source.contains(':') { &peer } else { &other };
        assert_eq!(receive(there, 3).await[0].data.len(), 500);
    }
    assert_eq!(stats, SocketStats { sources_lost: 2, ..SocketStats::default() });
    assert_eq!(dual.segments_max(), segments);
    let marked =
        Transmit { ecn: Some(EcnCodepoint::Ect0), ..transmit_to(other.local_addr(), None, None) };
    assert!(dual.try_send(&marked, b"marked", &mut 0, &mut stats));
    let expected = matches!(other.access, Access::Offload(_)).then_some(EcnCodepoint::Ect0);
    assert_eq!(receive(&other, 1).await[0].ecn, expected);
}

#[tokio::test]
async fn a_datagram_that_the_system_calls_invalid_costs_other_peers_nothing() {
    let (dual, _) = pair("[::]:0", "127.0.0.1:0");
    let segments = dual.segments_max();
    let port_zero = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let stats = send(&dual, port_zero, None, b"lost").await;
    assert_eq!(stats, SocketStats { send_errors: 1, ..SocketStats::default() });
    assert_eq!(dual.segments_max(), segments);
}

/// Without the TTL each of them arrives with 64, the default of the system.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[tokio::test]
async fn a_datagram_leaves_with_the_ttl_that_it_asks_for_and_the_next_one_without() {
    let (dual, v4) = pair("[::]:0", "127.0.0.1:0");
    let mut cases = vec![(&v4, "127.0.0.1:0"), (&dual, "127.0.0.1:0")];
    if dual.local_addr().is_ipv6() {
        cases.push((&dual, "[::1]:0"));
    }
    for (from, to) in cases {
        let to = ttl_reader(to);
        let without = Transmit { ttl: None, ..transmit_to(to.local_addr().unwrap(), None, None) };
        let mut stats = SocketStats::default();
        for (ttl, expected) in [(Some(2), 2), (None, 64), (Some(3), 3), (Some(255), 255)] {
            writable(from).await;
            let transmit = Transmit { ttl, ..without };
            assert!(from.try_send(&transmit, b"short", &mut 0, &mut stats));
            assert_eq!(received_ttl(&to), (b"short".to_vec(), expected), "to {to:?}");
        }
        assert_eq!(stats, SocketStats::default());
    }
}

/// Linux refuses a TTL of 0 (EINVAL): there is one that no platform can set.
#[tokio::test]
async fn a_datagram_whose_ttl_can_not_be_set_is_dropped_and_counted() {
    let (a, b) = pair("127.0.0.1:0", "127.0.0.1:0");
    let transmit = Transmit { ttl: Some(0), ..transmit_to(b.local_addr(), None, None) };
    let (mut stats, mut done) = (SocketStats::default(), 0);
    writable(&a).await;
    assert!(a.try_send(&transmit, b"short", &mut done, &mut stats));
    assert_eq!((done, stats.send_errors + stats.ttl_unsupported), (5, 1));
    send(&a, b.local_addr(), None, b"next").await;
    assert_eq!(receive(&b, 1).await[0].data[..], b"next"[..], "the other one did not leave");
    assert!(a.segments_max() > 1 || matches!(a.access, Access::Plain), "nor did it cost GSO");
}

#[test]
fn a_send_that_stops_half_way_goes_on_there() {
    let (mut sent, mut done, mut room) = (Vec::new(), 0, 2);
    let mut stats = SocketStats::default();
    let mut pass = |room: &mut usize, done: &mut usize| {
        let mut send = |piece: &[u8], _: &mut SocketStats| match room.checked_sub(1) {
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
    let mut send = |piece: &[u8], _: &mut SocketStats| {
        // The first attempt lowers the number.
        if segments_max.replace(1) == 40 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sent.push(piece.to_vec());
        Ok(())
    };
    let all = send_pieces(b"abcdefg", &mut done, 3, || segments_max.get(), &mut send, &mut stats);
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

fn transmit_to(
    remote: SocketAddr,
    local_ip: Option<IpAddr>,
    segment_len: Option<usize>,
) -> Transmit {
    Transmit { socket: SocketId::MAIN, remote, local_ip, ecn: None, segment_len, ttl: None }
}

async fn send(
    from: &UdpSocket,
    to: SocketAddr,
    segment_len: Option<usize>,
    bytes: &[u8],
) -> SocketStats {
    let (transmit, mut done) = (transmit_to(to, None, segment_len), 0);
    let mut stats = SocketStats::default();
    while !from.try_send(&transmit, bytes, &mut done, &mut stats) {
        writable(from).await;
    }
    stats
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn ttl_reader(addr: &str) -> std::net::UdpSocket {
    use nix::sys::socket::{setsockopt, sockopt};
    let socket = std::net::UdpSocket::bind(addr).unwrap();
    match socket.local_addr().unwrap() {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).unwrap(),
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true).unwrap(),
    }
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// The next datagram, and the TTL with which it arrived.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn received_ttl(socket: &std::net::UdpSocket) -> (Vec<u8>, i32) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    use std::os::fd::AsRawFd;

    let (mut bytes, mut space) = ([0; 64], nix::cmsg_space!(i32));
    let mut slices = [io::IoSliceMut::new(&mut bytes)];
    let fd = socket.as_raw_fd();
    let got = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut space), MsgFlags::empty());
    let got = got.expect("a datagram");
    let ttl = got.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => Some(ttl),
        _ => None,
    });
    let (len, ttl) = (got.bytes, ttl.expect("the system reports it"));
    (bytes[..len].to_vec(), ttl)
}

async fn writable(socket: &UdpSocket) {
    poll_fn(|cx| socket.poll_writable(cx)).await.expect("the socket works");
}

async fn receive(socket: &UdpSocket, count: usize) -> Vec<Received> {
    let (mut got, mut buf) = (Vec::new(), ReadBuf::new());
    while got.len() < count {
        let readable = poll_fn(|cx| socket.poll_readable(cx));
        timeout(Duration::from_secs(5), readable).await.expect("a datagram").unwrap();
        let _ = socket.try_receive(&mut buf, &mut |one| got.push(one));
    }
    assert_eq!(got.len(), count);
    got
}
