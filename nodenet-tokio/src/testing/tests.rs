//! Sockets on a hub without nodes.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nodenet_proto::io::{EcnCodepoint, SocketId, Transmit};
use tokio::time::{Instant, sleep, timeout};

use super::{Behavior, Hub, HubSocket, HubStats, LinkProfile, LinuxConfig, NatConfig};
use crate::platform::{ReadBuf, Received, Socket, SocketStats};

const LATENCY: Duration = LinkProfile::REGION.latency;

#[tokio::test(start_paused = true)]
async fn datagrams_arrive_after_the_latency_as_they_were_sent() {
    let (_, a, b) = pair(1);
    let begin = Instant::now();
    let bytes: Vec<u8> = (0..3_300).map(|i| (i % 251) as u8).collect();
    assert!(send(&a, &b, Some(1_100), &bytes));
    let got = receive(&b).await;
    assert_eq!(begin.elapsed(), LATENCY);
    assert_eq!(got.iter().map(|one| one.data.len()).collect::<Vec<_>>(), [1_100; 3]);
    assert_eq!(got.iter().flat_map(|one| one.data.iter().copied()).collect::<Vec<_>>(), bytes);
    assert!(got.iter().all(|one| one.remote == a.local_addr()));
    assert!(got.iter().all(|one| one.local_ip == Some(b.local_addr().ip())));
    assert!(got.iter().all(|one| one.ecn == Some(EcnCodepoint::Ect0)));
}

#[tokio::test(start_paused = true)]
async fn a_datagram_that_overtakes_wakes_the_reader_early() {
    let (hub, a, b) = pair(1);
    hub.set_links(LinkProfile { latency: Duration::from_secs(9), ..LinkProfile::REGION });
    send(&a, &b, None, b"slow");
    let fast = async {
        sleep(Duration::from_secs(1)).await;
        hub.set_link(a.local_addr(), b.local_addr(), LinkProfile::REGION);
        send(&a, &b, None, b"fast");
    };
    let begin = Instant::now();
    let (got, ()) = tokio::join!(receive(&b), fast);
    assert_eq!((&got[0].data[..], got.len()), (&b"fast"[..], 1));
    assert_eq!(begin.elapsed(), Duration::from_secs(1) + LATENCY);
    assert_eq!(&receive(&b).await[0].data[..], b"slow");
    assert_eq!(begin.elapsed(), Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn a_partition_loses_what_is_under_way_and_healing_restores() {
    let (hub, a, b) = pair(1);
    let (c, d) = (socket(&hub), socket(&hub));
    send(&a, &b, None, b"under way");
    hub.partition([a.local_addr(), c.local_addr()]);
    send(&a, &b, None, b"cut");
    send(&a, &c, None, b"together");
    send(&d, &b, None, b"the others");
    assert_eq!(&receive(&c).await[0].data[..], b"together");
    assert_eq!(&receive(&b).await[0].data[..], b"the others");
    assert!(is_silent(&b).await);
    assert_eq!(hub.stats().cut, 2);

    hub.partition([c.local_addr()]);
    send(&a, &c, None, b"a third island");
    assert!(is_silent(&c).await);

    hub.heal();
    send(&a, &b, None, b"healed");
    assert_eq!(&receive(&b).await[0].data[..], b"healed");
    let HubStats { sent, delivered, cut, .. } = hub.stats();
    assert_eq!((sent, delivered, cut), (6, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_link_of_its_own_may_differ_by_direction() {
    let (hub, a, b) = pair(1);
    let lossy = LinkProfile { loss: 1.0, ..LinkProfile::REGION };
    hub.set_link_one_way(a.local_addr(), b.local_addr(), lossy);
    send(&a, &b, None, b"there");
    send(&b, &a, None, b"back");
    assert_eq!(&receive(&a).await[0].data[..], b"back");
    assert!(is_silent(&b).await);
    assert_eq!(hub.stats().lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_socket_takes_nothing_until_it_has_room() {
    let (hub, a, b) = pair(1);
    hub.set_send_buffer_full(a.local_addr(), true);
    assert!(!send(&a, &b, None, b"later"));
    assert!(send(&b, &a, None, b"others are not affected"));
    let room = async {
        sleep(Duration::from_secs(1)).await;
        hub.set_send_buffer_full(a.local_addr(), false);
    };
    let begin = Instant::now();
    let (writable, ()) = tokio::join!(poll_fn(|cx| a.poll_writable(cx)), room);
    writable.expect("a hub never fails");
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
    assert!(send(&a, &b, None, b"now"));
    assert_eq!(&receive(&b).await[0].data[..], b"now");
}

#[tokio::test(start_paused = true)]
async fn addresses_are_unique_and_free_again_when_closed() {
    let hub = Hub::new(1);
    let any: SocketAddr = "[::]:0".parse().unwrap();
    let (a, b) = (HubSocket::bind(&hub, any).unwrap(), HubSocket::bind(&hub, any).unwrap());
    assert_ne!(a.local_addr().ip(), b.local_addr().ip(), "each is a host of its own");
    let again = HubSocket::bind(&hub, a.local_addr());
    assert_eq!(again.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    let beside = HubSocket::bind(&hub, SocketAddr::new(a.local_addr().ip(), 0)).unwrap();
    assert_eq!(beside.local_addr().ip(), a.local_addr().ip());
    assert_ne!(beside.local_addr().port(), a.local_addr().port());

    let addr = a.local_addr();
    send(&b, &a, None, b"not read");
    sleep(LATENCY).await;
    drop(a);
    assert!(send_to(&b, addr, None, b"to a closed port"));
    sleep(LATENCY).await;
    assert_eq!(hub.stats().unreachable, 1);
    let reborn = HubSocket::bind(&hub, addr).unwrap();
    assert!(is_silent(&reborn).await, "datagrams for the former socket are lost with it");
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_not_read_overflows() {
    let (hub, a, b) = pair(1);
    for _ in 0..4_500 {
        send(&a, &b, None, &[7; 1_000]);
    }
    sleep(LATENCY).await;
    assert_eq!(hub.stats().overflowed, 4_500 - (4 << 20) / 1_000);
    receive(&b).await;
    send(&a, &b, None, b"room again");
    assert_eq!(&receive_last(&b).await[..], b"room again");
    assert_eq!(hub.stats().overflowed, 4_500 - (4 << 20) / 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_socket_behind_a_nat_box_is_seen_at_the_box_and_reached_by_those_it_asked() {
    let (hub, a, b) = pair(1);
    let (sibling, stranger) = (socket(&hub), socket(&hub));
    hub.add_nat([a.local_addr(), sibling.local_addr()], NatConfig::default());
    send(&a, &b, None, b"question");
    let seen = receive(&b).await[0].remote;
    assert_ne!(seen.ip(), a.local_addr().ip());

    send_to(&b, seen, None, b"answer");
    send_to(&stranger, seen, None, b"unasked");
    send_to(&b, a.local_addr(), None, b"to a private address");
    let (got, is_silent) = tokio::join!(receive(&a), is_silent(&sibling));
    assert_eq!((&got[0].data[..], got[0].remote, got.len()), (&b"answer"[..], b.local_addr(), 1));
    assert!(is_silent, "the box tells hosts apart");
    let HubStats { filtered, unreachable, .. } = hub.stats();
    assert_eq!((filtered, unreachable), (1, 1));

    send(&sibling, &a, None, b"beside each other");
    assert_eq!(receive(&a).await[0].remote, sibling.local_addr());
}

#[tokio::test(start_paused = true)]
async fn an_early_datagram_moves_the_port_behind_an_open_linux_router() {
    for (kind, is_moved) in [(LinuxConfig::open(), true), (LinuxConfig::default(), false)] {
        let (hub, a, b) = pair(1);
        let server = socket(&hub);
        let router = hub.add_nat([a.local_addr()], kind);
        send(&a, &server, None, b"who am I");
        let seen = receive(&server).await[0].remote;
        assert!(router.external().contains(&seen.ip()));
        send_to(&b, seen, None, b"too early");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(router.drops(), 1);
        send(&a, &b, None, b"hello");
        assert_eq!(receive(&b).await[0].remote != seen, is_moved);
    }
}

#[tokio::test(start_paused = true)]
async fn a_box_that_restarts_elsewhere_shows_another_address_and_forgets() {
    let (hub, a, b) = pair(1);
    let router = hub.add_nat([a.local_addr()], LinuxConfig::default());
    let seen = async || {
        send(&a, &b, None, b"hello");
        receive(&b).await[0].remote
    };
    let before = seen().await;
    router.restart();
    send_to(&b, before, None, b"to a mapping that is gone");
    assert!(is_silent(&a).await);
    assert_eq!(seen().await, before, "the same address and the same port");
    router.restart_elsewhere();
    let after = seen().await;
    assert_ne!(after.ip(), before.ip());
    assert!(router.external().contains(&after.ip()));
    send_to(&b, after, None, b"back");
    assert_eq!(&receive(&a).await[0].data[..], b"back");
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_port_lets_in_any_source() {
    let (hub, a, b) = pair(1);
    let router = hub.add_nat([a.local_addr()], LinuxConfig::default());
    router.forward_port(40_777, a.local_addr());
    let is_of_family = |ip: &IpAddr| ip.is_ipv4() == a.local_addr().is_ipv4();
    let external = router.external().into_iter().find(is_of_family).expect("one of each family");
    send_to(&b, SocketAddr::new(external, 40_777), None, b"unasked");
    assert_eq!(&receive(&a).await[0].data[..], b"unasked");
}

#[tokio::test(start_paused = true)]
async fn the_box_of_a_carrier_is_outside_of_the_one_that_is_added_later() {
    let (hub, a, b) = pair(1);
    let carrier = hub.add_nat([a.local_addr()], NatConfig::default());
    let router = hub.add_nat([a.local_addr()], LinuxConfig::default());
    send(&a, &b, None, b"through both");
    let seen = receive(&b).await[0].remote;
    assert!(carrier.external().contains(&seen.ip()) && !router.external().contains(&seen.ip()));
    send_to(&b, seen, None, b"back");
    assert_eq!(&receive(&a).await[0].data[..], b"back");
    let firewall = hub.add_firewall([b.local_addr()], Behavior::AddressAndPortDependent);
    send(&a, &b, None, b"a new flow");
    assert!(is_silent(&b).await);
    assert_eq!((firewall.drops(), firewall.external().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_wakes_its_reader() {
    let (hub, a, b) = pair(1);
    let jitter = Duration::from_millis(500);
    hub.set_links(LinkProfile { duplication: 1.0, jitter, ..LinkProfile::REGION });
    send(&a, &b, None, b"twice");
    assert_eq!(receive(&b).await.len(), 1);
    assert_eq!(&receive(&b).await[0].data[..], b"twice");
    assert_eq!(hub.stats().duplicated, 1);
}

#[tokio::test(start_paused = true)]
async fn runs_that_differ_have_different_traces() {
    let run = async |seed, text: &[u8], pause_ms| {
        let (hub, a, b) = pair(seed);
        hub.set_links(LinkProfile { loss: 0.5, ..LinkProfile::LTE });
        for _ in 0..20 {
            send(&a, &b, None, text);
            sleep(Duration::from_millis(pause_ms)).await;
        }
        (hub.stats().trace_hash, hub.stats())
    };
    let reference = run(1, b"text", 5).await;
    assert_eq!(run(1, b"text", 5).await, reference);
    let others = [run(2, b"text", 5).await, run(1, b"tent", 5).await, run(1, b"text", 6).await];
    assert!(others.iter().all(|other| other.0 != reference.0));
}

#[tokio::test]
async fn in_real_time_the_latency_is_real() {
    let (_, a, b) = pair(1);
    let begin = Instant::now();
    send(&a, &b, None, b"hello");
    assert_eq!(receive(&b).await.len(), 1);
    assert!(begin.elapsed() >= LATENCY);
}

#[test]
#[should_panic(expected = "1.5 is not a share")]
fn a_loss_above_one_is_refused() {
    Hub::new(1).set_links(LinkProfile { loss: 1.5, ..LinkProfile::REGION });
}

#[test]
#[should_panic(expected = "is longer than a day")]
fn a_latency_without_end_is_refused() {
    Hub::new(1).set_links(LinkProfile { latency: Duration::MAX, ..LinkProfile::REGION });
}

fn pair(seed: u64) -> (Hub, HubSocket, HubSocket) {
    let hub = Hub::new(seed);
    let (a, b) = (socket(&hub), socket(&hub));
    (hub, a, b)
}

fn socket(hub: &Hub) -> HubSocket {
    HubSocket::bind(hub, "[::]:0".parse().unwrap()).unwrap()
}

fn send(from: &HubSocket, to: &HubSocket, segment_len: Option<usize>, bytes: &[u8]) -> bool {
    send_to(from, to.local_addr(), segment_len, bytes)
}

fn send_to(from: &HubSocket, remote: SocketAddr, segment_len: Option<usize>, bytes: &[u8]) -> bool {
    let ecn = Some(EcnCodepoint::Ect0);
    let (socket, local_ip, ttl) = (SocketId::MAIN, None, None);
    let transmit = Transmit { socket, remote, local_ip, ecn, segment_len, ttl };
    from.try_send(&transmit, bytes, &mut 0, &mut SocketStats::default())
}

/// Waits for datagrams and takes those that are there.
async fn receive(socket: &HubSocket) -> Vec<Received> {
    let (mut got, mut buf) = (Vec::new(), ReadBuf::new());
    while got.is_empty() {
        poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
        let _ = socket.try_receive(&mut buf, &mut |one| got.push(one));
    }
    got
}

/// Takes datagrams until none waits, and returns the last.
async fn receive_last(socket: &HubSocket) -> Vec<u8> {
    let mut last = Vec::new();
    while let Ok(got) = timeout(Duration::from_secs(1), receive(socket)).await {
        last = got[got.len() - 1].data.to_vec();
    }
    last
}

/// Whether nothing arrives for a minute.
async fn is_silent(socket: &HubSocket) -> bool {
    timeout(Duration::from_secs(60), receive(socket)).await.is_err()
}
