//! Peers that change their address, on both ends of a conn.

use std::net::SocketAddr;
use std::time::Duration;

use super::peer::{Pair, Peer};
use crate::testkit::Net;
use crate::transport::Conns;

const SECOND: Duration = Duration::from_secs(1);

fn elsewhere(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], port))
}

#[test]
fn a_dialed_conn_follows_its_peer_to_another_port_and_to_another_host() {
    for moved in [None, Some(elsewhere(9_999))] {
        let mut pair = Pair::new(70);
        let home = pair.b.addr;
        pair.b.addr = moved.unwrap_or(SocketAddr::new(home.ip(), 9_999));
        pair.b.send(pair.at_b, &[7; 600]);
        pair.run_ms(100);
        assert_eq!(pair.a.take_frames().len(), 1, "what comes from there counts at once");
        assert_eq!(pair.a.take_moved(), [(pair.at_a, pair.b.addr)]);
        assert_eq!(pair.a.quic.path(pair.at_a).map(|path| path.remote), Some(pair.b.addr));
        pair.a.send(pair.at_a, b"found you");
        pair.run_ms(50);
        assert_eq!(pair.b.take_frames().len(), 1);
        pair.b.addr = home;
        pair.b.send(pair.at_b, &[7; 600]);
        pair.run_ms(100);
        assert_eq!(pair.a.take_moved(), [(pair.at_a, home)], "and back again");
        assert_eq!((pair.a.take_down(), pair.b.take_down()), (None, None));
    }
}

#[test]
fn an_address_that_copies_packets_of_the_peer_is_not_followed() {
    let mut pair = Pair::new(71);
    let home = pair.b.addr;
    // The packet overtakes the one from home, and what goes to its source reaches no one.
    pair.b.addr = elsewhere(9_999);
    pair.b.send(pair.at_b, &[7; 600]);
    pair.net.settle(&mut [&mut pair.b]);
    pair.b.addr = home;
    for _ in 0..50 {
        pair.a.send(pair.at_a, &[1; 500]);
        pair.b.send(pair.at_b, &[2; 500]);
        pair.run_ms(100);
    }
    assert_eq!(pair.a.take_frames().len(), 51);
    assert_eq!(pair.b.take_frames().len(), 50, "what went astray is sent again");
    assert_eq!((pair.a.take_moved(), pair.b.take_moved()), (vec![], vec![]));
    assert_eq!(pair.a.quic.path(pair.at_a).map(|path| path.remote), Some(home));
}

#[test]
fn an_address_without_proof_gets_three_times_what_came_from_there() {
    let mut pair = Pair::new(72);
    pair.b.addr = elsewhere(9_999);
    pair.b.send(pair.at_b, &[7; 200]);
    let (sent, seen) = std::sync::mpsc::channel();
    pair.net.tap = Some(Box::new(move |_, from, to, data| {
        let _ = sent.send((from == elsewhere(9_999), to == elsewhere(9_999), data.len()));
    }));
    pair.net.settle(&mut [&mut pair.b]);
    for _ in 0..20 {
        pair.a.send(pair.at_a, &[1; 1_000]);
    }
    pair.net.run(&mut [&mut pair.a], 2 * SECOND);
    pair.net.tap = None;
    let (mut received, mut answered) = (0, 0);
    for (is_from, is_to, len) in seen.iter() {
        received += if is_from { len } else { 0 };
        answered += if is_to { len } else { 0 };
    }
    assert!(answered > 0 && answered <= 3 * received, "{answered} bytes for {received}");
}

/// Bytes that came from an address, and that went there.
type Traffic = std::sync::mpsc::Receiver<(usize, usize)>;

fn watch(pair: &mut Pair, addr: SocketAddr) -> Traffic {
    let (sent, seen) = std::sync::mpsc::channel();
    pair.net.tap = Some(Box::new(move |_, from, to, data: &[u8]| {
        let of = |is: bool| if is { data.len() } else { 0 };
        let _ = sent.send((of(from == addr), of(to == addr)));
    }));
    seen
}

/// The dialer sends frames of 1,000 bytes for this long, as fast as they are taken. Returns how
/// many arrived.
fn send_bulk(pair: &mut Pair, ms: u64) -> usize {
    for _ in 0..ms / 10 {
        while pair.a.try_send(pair.at_a, crate::transport::Class::Own, &[1; 1_000]).is_ok() {}
        pair.run_ms(10);
    }
    pair.b.take_frames().len()
}

/// Such a peer can not be told from one that acknowledges what another host gets.
#[test]
fn a_peer_on_another_host_gets_three_times_what_comes_from_there_until_a_handshake_proves_it() {
    let mut pair = Pair::new(75);
    pair.b.addr = elsewhere(9_999);
    let traffic = watch(&mut pair, elsewhere(9_999));
    pair.b.send(pair.at_b, &[7; 600]);
    pair.run_ms(100);
    assert_eq!(pair.a.take_moved(), [(pair.at_a, elsewhere(9_999))]);
    send_bulk(&mut pair, 1_000);
    let (from, to) = traffic.try_iter().fold((0, 0), |sum, (a, b)| (sum.0 + a, sum.1 + b));
    println!("{from} bytes from the host, {to} to it");
    assert!(to > from && to <= 3 * from, "{to} bytes for {from}");
    // Its own handshake shows that it gets what is sent there.
    pair.b.dial(&pair.net, pair.a.id, pair.a.addr);
    pair.run_ms(2_500);
    let _ = (pair.a.take_up(), pair.b.take_up(), pair.b.take_frames());
    assert!(send_bulk(&mut pair, 3_000) > 500);
    let (from, to) = traffic.try_iter().fold((0, 0), |sum, (a, b)| (sum.0 + a, sum.1 + b));
    assert!(to > 3 * from, "{to} bytes for {from}");
}

#[test]
fn a_handshake_of_another_peer_at_the_same_address_proves_nothing() {
    let mut pair = Pair::new(76);
    pair.b.addr = elsewhere(9_999);
    let traffic = watch(&mut pair, elsewhere(9_999));
    pair.b.send(pair.at_b, &[7; 600]);
    pair.run_ms(100);
    let mut other = Peer::new(3, &pair.net);
    other.addr = elsewhere(9_999);
    other.dial(&pair.net, pair.a.id, pair.a.addr);
    pair.net.run(&mut [&mut pair.a, &mut other], SECOND);
    assert_eq!(pair.a.take_up().1, other.id);
    let _ = traffic.try_iter().count();
    send_bulk(&mut pair, 2_000);
    let (from, to) = traffic.try_iter().fold((0, 0), |sum, (a, b)| (sum.0 + a, sum.1 + b));
    assert!(to <= 3 * (from + 700), "{to} bytes for {from}");
}

#[test]
fn a_peer_at_another_port_of_the_host_that_was_dialed_is_not_limited() {
    let mut pair = Pair::new(77);
    pair.b.addr.set_port(9_999);
    pair.b.send(pair.at_b, &[7; 600]);
    pair.run_ms(100);
    assert_eq!(pair.a.take_moved().len(), 1);
    assert!(send_bulk(&mut pair, 3_000) > 500);
}

#[test]
fn a_network_that_changed_shows_to_the_peers_of_both_ends_within_a_round_trip() {
    let mut pair = Pair::new(73);
    pair.a.addr = elsewhere(1_111);
    pair.a.quic.handle_network_change(pair.net.now, &[]);
    pair.run_ms(15);
    assert_eq!(pair.b.take_moved(), [(pair.at_b, pair.a.addr)]);
    pair.run_ms(1_000);
    pair.b.addr = elsewhere(2_222);
    pair.b.quic.handle_network_change(pair.net.now, &[]);
    pair.run_ms(45);
    assert_eq!(pair.a.take_moved(), [(pair.at_a, pair.b.addr)]);
}

#[test]
fn no_datagram_of_a_conn_is_to_leave_from_an_address_that_is_gone() {
    let mut net = Net::new(78);
    let (mut a, mut b) = (Peer::new(1, &net), Peer::new(2, &net));
    b.local_ip = Some(b.addr.ip());
    a.dial(&net, b.id, b.addr);
    net.run(&mut [&mut a, &mut b], SECOND);
    let ((at_a, ..), (at_b, ..)) = (a.take_up(), b.take_up());
    a.send(at_a, b"");
    net.run(&mut [&mut a, &mut b], SECOND);
    assert!(b.sources.contains(&b.local_ip));
    b.sources.clear();
    b.quic.handle_network_change(net.now, &[b.addr]);
    b.send(at_b, &[1; 600]);
    net.run(&mut [&mut a, &mut b], SECOND);
    assert!(!b.sources.is_empty() && b.sources.iter().all(Option::is_none), "{:?}", b.sources);
}

#[test]
fn a_new_path_carries_one_more_exchange_between_two_and_a_half_and_three_seconds_later() {
    let mut net = Net::new(74);
    let (began, (sent, seen)) = (net.now, std::sync::mpsc::channel());
    net.tap = Some(Box::new(move |at, _, _, _| {
        let _ = sent.send(at);
    }));
    let mut pair = Pair::on(net);
    let kept = Duration::from_millis(2_500)..3 * SECOND;
    // Ten seconds pass before the first frame.
    let idle = SECOND..10 * SECOND;
    let later = seen.try_iter().map(|at| at - began).filter(|at| idle.contains(at));
    let later: Vec<_> = later.collect();
    assert!(matches!(&later[..], [ping, ack] if kept.contains(ping) && kept.contains(ack)));
    // The acceptor sees another port of the dialer, and pings for it.
    pair.a.addr.set_port(9_999);
    pair.a.send(pair.at_a, b"from elsewhere");
    let moved = pair.net.now;
    pair.run_ms(20_000);
    assert_eq!(seen.try_iter().filter(|at| kept.contains(&(*at - moved))).count(), 2);
}
