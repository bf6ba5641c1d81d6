//! Whole nodes on an in-memory network in virtual time.

mod determinism;
mod hostile;
mod outage;
mod own_address;
mod pacing;
mod relay;
mod renewal;
mod roaming;
mod volunteer;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::api::{Command, EdgeDownReason, Event, RequestId};
use crate::env::Seed;
use crate::io::{SocketId, TransmitBuf};
use crate::node::{Config, ConfigError, Input, Node, Output};
use crate::stats::DropReason;
use crate::testkit::{self, Datagram, Host, Net, NodeHost, Outbox, WALL};
use crate::wire::SEND_PAYLOAD_MAX;
use crate::wire::nat::PUNCH_DATAGRAM;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_nodes_find_each_other_and_exchange_messages() {
    let mut net = Net::new(1);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 2 * SECOND);
    assert_eq!((a.neighbours(), b.neighbours()), (vec![b.id], vec![a.id]));

    for len in [0, 1, 127, 128, 16_384, SEND_PAYLOAD_MAX] {
        let payload = vec![len as u8; len];
        let there = a.send(&net, b.id, &payload);
        b.send(&net, a.id, &payload);
        net.run(&mut [&mut a, &mut b], 2 * SECOND);
        assert_eq!(a.take_delivered(), [(b.id, Bytes::from(payload.clone()))]);
        assert_eq!(b.take_delivered(), [(a.id, Bytes::from(payload))]);
        let sent = Event::Sent { request: there, copies: 1 };
        assert!(a.events.contains(&sent), "{len}");
    }
}

#[test]
fn a_node_forwards_between_two_that_only_share_it() {
    let mut net = Net::new(2);
    let (mut a, mut b, mut c) =
        (NodeHost::new(1, &net), NodeHost::new(2, &net), NodeHost::new(3, &net));
    a.bootstrap(&net, &b);
    c.bootstrap(&net, &b);
    net.run(&mut [&mut a, &mut b, &mut c], 2 * SECOND);
    for number in 0..50_u8 {
        a.send(&net, c.id, &[number; 2000]);
        c.send(&net, a.id, &[number; 2000]);
        // Slower than an edge takes them.
        net.run(&mut [&mut a, &mut b, &mut c], SECOND / 100);
    }
    net.run(&mut [&mut a, &mut b, &mut c], 5 * SECOND);
    let all = |from| (0..50_u8).map(|i| (from, Bytes::from(vec![i; 2000]))).collect::<Vec<_>>();
    assert_eq!(c.take_delivered(), all(a.id));
    assert_eq!(a.take_delivered(), all(c.id));
    assert_eq!(b.take_delivered(), []);
}

#[test]
fn a_leave_is_detected_at_once_and_settled_when_everything_is_sent() {
    let mut net = Net::new(3);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 2 * SECOND);
    a.events.clear();

    let request = RequestId(9);
    b.command(&net, Command::Leave { request });
    net.run(&mut [&mut a, &mut b], SECOND / 4);
    assert!(b.events.contains(&Event::Left { request }));
    let down = Event::EdgeDown { peer: b.id, reason: EdgeDownReason::Left };
    assert_eq!(a.events, [down]);
    assert_eq!(a.neighbours(), []);
}

#[test]
fn edges_outlive_minutes_of_silence_and_not_the_death_of_the_peer() {
    let mut net = Net::new(4);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 400 * SECOND);
    assert_eq!((a.neighbours(), b.neighbours()), (vec![b.id], vec![a.id]));

    net.run(&mut [&mut a], 47 * SECOND);
    assert_eq!(a.neighbours(), [], "noticed within the silence of few edges");
    assert_eq!(a.node.stats().gauges.conns, 0);
}

#[test]
fn inputs_without_a_drain_between_them_lose_nothing() {
    let mut net = Net::new(5);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 2 * SECOND);
    for number in 0..32 {
        b.send(&net, a.id, &[number]);
    }
    net.settle(&mut [&mut b]);
    // All of it arrives before the node is polled.
    net.link.latency = Duration::ZERO;
    net.run(&mut [&mut a, &mut b], SECOND);
    let delivered: Vec<u8> = a.take_delivered().iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(delivered, (0..32).collect::<Vec<u8>>());
}

#[test]
fn a_deadline_that_passed_is_handled_in_the_same_call() {
    let net = Net::new(6);
    let mut a = NodeHost::new(1, &net);
    let mut buf = TransmitBuf::new(1);
    let dead = testkit::identity(2).id();
    let (request, addrs) = (RequestId(1), vec![testkit::addr(2)]);
    a.command(&net, Command::Connect { request, target: dead, addrs });
    while !matches!(a.node.poll_output(&mut buf), Output::Timeout(_)) {}

    // The driver missed every deadline and got a datagram first.
    let late = net.now + 60 * SECOND;
    let (remote, data) = (testkit::addr(3), BytesMut::from(&[0x40; 40][..]));
    let to = a.addr;
    a.receive(late, Datagram { from: remote, to, ecn: None, data });
    let mut failed = false;
    loop {
        match a.node.poll_output(&mut buf) {
            Output::Event(Event::ConnectFailed { .. }) => failed = true,
            Output::Timeout(deadline) => {
                assert!(deadline.is_none_or(|deadline| deadline.at > late));
                break;
            }
            _ => {}
        }
    }
    assert!(failed);
}

#[test]
fn input_for_a_socket_that_no_machine_asked_for_is_dropped() {
    let net = Net::new(7);
    let mut a = NodeHost::new(1, &net);
    let socket = SocketId(1);
    let (remote, data) = (testkit::addr(2), BytesMut::from(&[0xc0; 1200][..]));
    let datagram = Input::Datagram { socket, remote, local_ip: None, ecn: None, data };
    a.node.handle_input(net.now, datagram);
    a.node.handle_input(net.now, Input::SocketOpened { socket, local: remote });
    a.node.handle_input(net.now, Input::SocketFailed { socket });
    let stats = a.node.stats();
    assert_eq!(stats.drops(DropReason::UnknownSocket), 3);
    assert_eq!((stats.counters.datagrams_received, stats.counters.bytes_received), (1, 1200));
}

#[test]
fn datagrams_that_are_not_quic_are_counted_by_kind_and_draw_no_answer() {
    let net = Net::new(8);
    let mut a = NodeHost::new(1, &net);
    for datagram in [&b""[..], &[0x00, 1, 2], &[0x3f; 100], &PUNCH_DATAGRAM] {
        let (from, to, data) = (testkit::addr(2), a.addr, BytesMut::from(datagram));
        a.receive(net.now, Datagram { from, to, ecn: None, data });
    }
    let mut buf = TransmitBuf::new(1);
    assert!(matches!(a.node.poll_output(&mut buf), Output::Timeout(_)));
    let stats = a.node.stats();
    assert_eq!(stats.drops(DropReason::NotQuic), 3);
    assert_eq!(stats.drops(DropReason::Punch), 1);
    assert_eq!((stats.counters.datagrams_received, stats.counters.datagrams_sent), (4, 0));
}

#[test]
fn a_peer_at_another_form_of_its_address_is_the_same_peer() {
    let mut net = Net::new(9);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    a.bootstrap(&net, &b);
    net.run(&mut [&mut a, &mut DualStack(&mut b)], 2 * SECOND);
    assert_eq!(b.node.edges()[0].remote, a.addr);
    net.run(&mut [&mut a, &mut b], 20 * SECOND);
    assert_eq!(b.neighbours(), [a.id], "without the mapping, too");
}

/// A machine whose socket reports IPv4 peers as IPv4-mapped IPv6 addresses.
struct DualStack<'a>(&'a mut NodeHost);

impl Host for DualStack<'_> {
    fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    fn receive(&mut self, now: Instant, mut datagram: Datagram) {
        let SocketAddr::V4(v4) = datagram.from else {
            panic!("the addresses of this network are IPv4");
        };
        datagram.from = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
        self.0.receive(now, datagram);
    }

    fn expire(&mut self, now: Instant) {
        self.0.expire(now);
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        self.0.drain(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }
}

#[test]
fn an_identity_without_the_required_work_is_refused() {
    let mut config = Config::default();
    config.engine.difficulty = 200;
    let node = Node::new(config, testkit::identity(1), Seed::from_u64(1), testkit::base(), WALL);
    assert!(matches!(node, Err(ConfigError::WorkUnmet { wants: 200, .. })));
}
