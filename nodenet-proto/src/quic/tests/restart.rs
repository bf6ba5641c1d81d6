//! Stateless resets after a restart: a process that was killed and its successor under the same
//! identity (RFC 9000 §10.3).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;

use super::peer::{Pair, Peer};
use crate::stats::DropReason;
use crate::testkit::{Datagram, Host, Net, Outbox};
use crate::transport::{ConnDownReason, ConnId};

/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// Sends a frame from `stayed` to the host that took the other's place; returns whether a reset of
/// the conn arrives after one round trip.
fn is_reset(net: &mut Net, stayed: &mut Peer, other: &mut Peer, conn: ConnId) -> bool {
    stayed.send(conn, b"still there?");
    net.run(&mut [&mut *stayed, &mut *other], ROUND_TRIP);
    stayed.take_down() == Some((conn, ConnDownReason::Reset))
}

#[test]
fn a_node_that_was_started_again_resets_the_conns_of_its_former_process() {
    let mut pair = Pair::new(21);
    let mut successor = Peer::started_again(2, &pair.net);
    assert_eq!(successor.addr, pair.b.addr);
    assert!(is_reset(&mut pair.net, &mut pair.a, &mut successor, pair.at_a), "of a dialer");

    let mut pair = Pair::new(22);
    let mut successor = Peer::started_again(1, &pair.net);
    assert!(is_reset(&mut pair.net, &mut pair.b, &mut successor, pair.at_b), "of an acceptor");
}

#[test]
fn a_node_of_another_identity_at_the_address_resets_nothing() {
    let mut pair = Pair::new(23);
    let mut stranger = Peer::started_again(3, &pair.net);
    stranger.addr = pair.b.addr;
    assert!(!is_reset(&mut pair.net, &mut pair.a, &mut stranger, pair.at_a));
    pair.net.run(&mut [&mut pair.a, &mut stranger], Duration::from_secs(3));
    assert_eq!(pair.a.take_down(), None);
    assert!(stranger.drops(DropReason::Stray) > 1, "it saw the packets");
}

#[test]
fn fifty_neighbours_that_send_at_once_are_all_reset_after_one_round_trip() {
    let mut net = Net::new(24);
    let mut hub = Peer::new(2, &net);
    let mut neighbours: Vec<Peer> = (100..150).map(|number| Peer::new(number, &net)).collect();
    for neighbour in &mut neighbours {
        neighbour.dial(&net, hub.id, hub.addr);
        net.run(&mut [neighbour, &mut hub], Duration::from_millis(100));
    }
    let conns: Vec<_> = neighbours.iter_mut().map(|neighbour| neighbour.take_up().0).collect();
    for (neighbour, conn) in neighbours.iter_mut().zip(&conns) {
        neighbour.send(*conn, b"");
    }
    run(&mut net, &mut neighbours, &mut hub, Duration::from_secs(1));

    let mut hub = Peer::started_again(2, &net);
    for (neighbour, conn) in neighbours.iter_mut().zip(&conns) {
        neighbour.send(*conn, b"still there?");
    }
    run(&mut net, &mut neighbours, &mut hub, ROUND_TRIP);
    for (neighbour, conn) in neighbours.iter_mut().zip(&conns) {
        assert_eq!(neighbour.take_down(), Some((*conn, ConnDownReason::Reset)));
    }
}

#[test]
fn replayed_packets_of_a_dead_conn_draw_less_than_they_bring() {
    let mut pair = Pair::new(25);
    let packets = Arc::new(Mutex::new(Vec::new()));
    let (seen, from) = (packets.clone(), pair.a.addr);
    pair.net.tap = Some(Box::new(move |_, sender, _, packet| {
        if sender == from {
            seen.lock().expect("one thread").push(packet.to_vec());
        }
    }));
    for len in [0, 1, 100, 1000, 5000] {
        pair.a.send(pair.at_a, &vec![0; len]);
        pair.run_ms(200);
    }
    let packets = packets.lock().expect("one thread");
    assert!(packets.len() > 5, "of several lengths");

    let mut successor = Peer::started_again(2, &pair.net);
    let mut resets = 0;
    for packet in packets.iter().cycle().take(1000) {
        let (to, data) = (successor.addr, BytesMut::from(&packet[..]));
        successor.receive(pair.net.now, Datagram { from, to, ecn: None, data });
        let before = successor.quic.stats().counters;
        successor.drain(pair.net.now, &mut Outbox::default());
        let after = &successor.quic.stats().counters;
        assert!(after.datagrams_sent - before.datagrams_sent <= 1);
        assert!(after.bytes_sent - before.bytes_sent < packet.len() as u64);
        resets += after.datagrams_sent - before.datagrams_sent;
    }
    assert!(resets > 900, "{resets}");
}

fn run(net: &mut Net, neighbours: &mut [Peer], hub: &mut Peer, span: Duration) {
    let mut hosts: Vec<&mut dyn Host> = vec![hub];
    hosts.extend(neighbours.iter_mut().map(|neighbour| neighbour as &mut dyn Host));
    net.run(&mut hosts, span);
}
