//! Races of commands and faults: every command is settled once, and no state stays for ever.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::kit::{EngineNet, Who, identity};
use crate::api::{
    BootstrapPeer, Command, Config, ConnectError, EdgeDownReason, Event, RequestId, SendFailure,
};
use crate::buf::Frame;
use crate::env::Seed;
use crate::stats::DropReason;
use crate::transport::{Class, ConnId, Conns, DialError, PathInfo, SendError};
use crate::wire::{self, FrameType, Message, SEND_PAYLOAD_MAX};

const SECOND: Duration = Duration::from_secs(1);
/// An address at which no node answers.
const NOWHERE: &str = "203.0.113.1:9";

fn nowhere() -> SocketAddr {
    NOWHERE.parse().expect("a literal of this test")
}

fn seed_at(world: &mut EngineNet, who: Who, seed: Who, addr: SocketAddr) {
    let seeds = vec![BootstrapPeer { id: world.id(seed), addrs: vec![addr] }];
    world.command(who, |_| Command::Bootstrap(seeds));
}

fn connect_at(world: &mut EngineNet, from: Who, to: Who, addr: SocketAddr) -> RequestId {
    let (target, addrs) = (world.id(to), vec![addr]);
    world.command(from, |request| Command::Connect { request, target, addrs })
}

// Dialing.

#[test]
fn a_new_address_of_a_bootstrap_peer_is_dialed_while_the_old_one_does_not_answer() {
    let mut world = EngineNet::of(3);
    seed_at(&mut world, 0, 1, nowhere());
    world.run_for(2 * SECOND);
    assert_eq!(world.wire.dials.len(), 1);
    let addr = world.addr(1);
    seed_at(&mut world, 0, 1, addr);
    // Other peers are dialed meanwhile, too.
    world.bootstrap(0, 2);
    world.run_for(SECOND);
    assert_eq!(world.peers(0).len(), 2);
}

#[test]
fn a_new_address_of_a_bootstrap_peer_does_not_wait_for_the_backoff_of_the_old_one() {
    let mut world = EngineNet::of(3);
    world.connect(0, 2);
    seed_at(&mut world, 0, 1, nowhere());
    world.run_for(2000 * SECOND);
    let addr = world.addr(1);
    seed_at(&mut world, 0, 1, addr);
    world.run_for(SECOND);
    assert_eq!(world.peers(0).len(), 2);
}

#[test]
fn a_connect_adds_its_addresses_to_the_attempt_that_is_under_way() {
    let mut world = EngineNet::of(2);
    let first = connect_at(&mut world, 0, 1, nowhere());
    world.run_for(2 * SECOND);
    let second = world.connect(0, 1);
    world.run_for(SECOND);
    let (events, peer) = (world.events(0), world.id(1));
    for request in [first, second] {
        assert!(events.contains(&Event::Connected { request, peer }), "{request:?}");
    }
}

#[test]
fn an_attempt_under_way_is_kept_while_many_other_peers_are_lost() {
    let mut world = EngineNet::of(1);
    let wanted = world.add_puppet(identity(100));
    world.connect(0, wanted);
    world.run_for(SECOND);
    world.crash(wanted);
    world.run_for(40 * SECOND);
    // Puppets answer no ping, so all of these are lost after five seconds.
    for number in 0..64 {
        let puppet = world.add_puppet(identity(200 + number));
        world.connect(0, puppet);
    }
    world.run_for(4 * SECOND);
    world.events(0);
    let request = world.connect(0, wanted);
    world.run_for(15 * SECOND);
    let error = ConnectError::Dial(DialError::TimedOut);
    assert!(world.events(0).contains(&Event::ConnectFailed { request, error }));
}

#[test]
fn an_inbound_edge_does_not_keep_a_node_from_its_bootstrap_peers() {
    let mut world = EngineNet::of(3);
    world.bootstrap(0, 1);
    world.crash(1);
    world.connect(2, 0);
    world.run_for(3600 * SECOND);
    assert_eq!(world.peers(0), [2]);
    world.wire.dials.clear();
    world.run_for(600 * SECOND);
    assert!(world.wire.dials.len() >= 20, "an attempt every thirty seconds");
    world.restart(1);
    world.run_for(60 * SECOND);
    assert_eq!(world.peers(0).len(), 2);
}

// Edges of several conns.

#[test]
fn the_cap_on_inbound_edges_holds_when_a_peer_replaces_the_conn_that_this_node_opened() {
    let mut world = EngineNet::new();
    world.add(Config { inbound_edges_max: 1, ..Config::default() });
    let (dialed, inbound) = (world.add_puppet(identity(50)), world.add_puppet(identity(51)));
    let request = world.connect(0, dialed);
    // Not so long that the ping without an answer puts the edge in doubt.
    world.run_for(SECOND / 4);
    let conn = world.open(inbound, 0);
    world.say(conn, wire::Ping.to_frame());
    assert_eq!(world.peers(0).len(), 2);
    world.events(0);
    let ours = world.conns_between(dialed, 0)[0];
    let theirs = world.open(dialed, 0);
    world.say(theirs, wire::Ping.to_frame());
    assert_eq!(world.peers(0).len(), 2);
    world.say(ours, wire::Leave.to_frame());
    assert_eq!(world.peers(0), [inbound]);
    let (peer, reason) = (world.id(dialed), EdgeDownReason::ClosedHere);
    let expected = [Event::Connected { request, peer }, Event::EdgeDown { peer, reason }];
    assert_eq!(world.events(0), expected);
    assert_eq!(world.engine(0).stats().drops(DropReason::InboundFull), 1);
}

#[test]
fn further_frames_of_a_peer_beyond_the_cap_have_no_effect() {
    let mut world = EngineNet::new();
    world.add(Config { inbound_edges_max: 1, ..Config::default() });
    let (first, second) = (world.add_puppet(identity(50)), world.add_puppet(identity(51)));
    let conn = world.open(first, 0);
    world.say(conn, wire::Ping.to_frame());
    let conn = world.open(second, 0);
    for _ in 0..3 {
        let (conn, frame) = (ConnId(conn.0 ^ 1), wire::Ping.to_frame());
        world.give(0, crate::transport::Event::Frame { conn, frame });
    }
    world.run_for(SECOND);
    assert_eq!(world.peers(0), [first]);
    assert!(world.heard(second, FrameType::Pong).is_empty());
    let stats = world.engine(0).stats();
    assert_eq!(stats.drops(DropReason::InboundFull), 1);
    assert_eq!(stats.drops(DropReason::UnknownConn), 2);
}

#[test]
fn a_leave_is_sent_on_every_conn_because_one_alone_spares_newer_conns() {
    let mut world = EngineNet::of(1);
    let puppet = world.add_puppet(identity(50));
    let old = world.open(puppet, 0);
    let new = world.open(puppet, 0);
    for conn in [old, new, old] {
        world.say(conn, wire::Ping.to_frame());
    }
    let peer = world.id(puppet);
    world.command(0, |request| Command::CloseEdge { request, peer });
    world.run_for(SECOND);
    assert_eq!(world.heard(puppet, FrameType::Leave).len(), 2);
}

#[test]
fn a_leave_does_not_overtake_queued_frames() {
    let mut world = EngineNet::of(2);
    world.connect(0, 1);
    world.run_for(SECOND);
    world.wire.sent.clear();
    let target = world.id(1);
    let payload = Bytes::from_static(b"first");
    world.command(0, |request| Command::SendDirect { request, target, payload });
    world.leave(0);
    let sent = world.wire.sent.iter().filter(|(who, ..)| *who == 0);
    let classes: Vec<_> = sent.map(|(_, _, class, frame)| (*class, *frame)).collect();
    let leave = (Class::Leave, FrameType::Leave.to_byte());
    assert_eq!(classes, [(Class::Own, FrameType::App.to_byte()), leave]);
}

// Sending.

#[test]
fn the_largest_payload_fits_with_any_number_of_first_hops() {
    for neighbours in 1..=4 {
        let mut world = EngineNet::of(neighbours + 1);
        for peer in 1..=neighbours {
            world.connect(0, peer);
        }
        world.run_for(SECOND);
        let (target, payload) = (world.id(1), Bytes::from(vec![7; SEND_PAYLOAD_MAX]));
        let sent = payload.clone();
        let request = world.command(0, |request| Command::Send { request, target, payload: sent });
        let copies = neighbours.min(3) as u8;
        assert!(world.events(0).contains(&Event::Sent { request, copies }));
        world.run_for(SECOND);
        let is_it =
            |event: &Event| matches!(event, Event::Delivered { payload: p, .. } if *p == payload);
        assert_eq!(world.events(1).iter().filter(|event| is_it(event)).count(), 1);
    }
}

/// A transport on which one conn is full and the others are gone.
struct OneFull(ConnId);

impl Conns for OneFull {
    fn try_send(&mut self, conn: ConnId, _: Class, frame: Frame) -> Result<(), SendError> {
        Err(if conn == self.0 { SendError::Full(frame) } else { SendError::Gone(frame) })
    }

    fn path(&self, _: ConnId) -> Option<PathInfo> {
        None
    }
}

#[test]
fn a_full_queue_is_backpressure_even_if_the_other_first_hops_are_gone() {
    let mut world = EngineNet::of(4);
    for peer in 1..4 {
        world.connect(0, peer);
    }
    world.run_for(SECOND);
    world.events(0);
    for peer in 1..4 {
        let (full, target) = (world.conns_between(0, peer)[0], world.id(1));
        let (request, payload) = (RequestId(99), Bytes::new());
        world.with_engine(0, |engine, now, _| {
            let send = Command::Send { request, target, payload };
            engine.handle_command(now, send, &mut OneFull(full));
        });
        let error = SendFailure::Backpressure;
        assert_eq!(world.events(0), [Event::SendFailed { request, error }]);
    }
}

// Settled exactly once.

#[test]
fn leaving_settles_every_open_request_once() {
    let mut world = EngineNet::of(3);
    world.connect(0, 1);
    world.run_for(SECOND);
    world.events(0);
    let pending = [
        connect_at(&mut world, 0, 2, nowhere()),
        world.connect(0, 2),
        world.send(0, 1, b"last words"),
    ];
    let leaves = [world.leave(0), world.leave(0)];
    world.run_for(60 * SECOND);
    let settled: Vec<RequestId> = world.events(0).iter().filter_map(Event::request).collect();
    let mut expected = [pending.as_slice(), &leaves].concat();
    expected.sort_unstable();
    let mut sorted = settled.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(settled[3..], leaves, "the node left last");
    assert!(world.engine(0).edges(&world.wire).is_empty());
}

#[test]
fn closing_an_edge_that_does_not_exist_is_settled_and_has_no_effect() {
    let mut world = EngineNet::of(2);
    for who in [0, 1] {
        let peer = world.id(who);
        let request = world.command(0, |request| Command::CloseEdge { request, peer });
        assert_eq!(world.events(0), [Event::EdgeClosed { request, existed: false }]);
    }
}

#[test]
fn a_connect_is_settled_by_an_edge_that_the_peer_opened_meanwhile() {
    let mut world = EngineNet::of(2);
    let request = connect_at(&mut world, 0, 1, nowhere());
    world.run_for(SECOND);
    world.connect(1, 0);
    world.run_for(SECOND);
    let peer = world.id(1);
    let settled: Vec<Event> =
        world.events(0).into_iter().filter(|event| event.request().is_some()).collect();
    assert_eq!(settled, [Event::Connected { request, peer }]);
    world.run_for(60 * SECOND);
    assert_eq!(world.events(0), [], "the dial that was given up is no news");
}

#[test]
fn too_many_connects_are_refused_and_all_are_settled() {
    let mut world = EngineNet::of(1);
    let puppets: Vec<Who> = (0..80).map(|i| world.add_puppet(identity(100 + i))).collect();
    for &puppet in &puppets {
        connect_at(&mut world, 0, puppet, nowhere());
    }
    for _ in 0..80 {
        connect_at(&mut world, 0, puppets[0], nowhere());
    }
    let busy =
        |event: &Event| matches!(event, Event::ConnectFailed { error: ConnectError::Busy, .. });
    let refused = world.events(0);
    assert_eq!(refused.len(), 16 + 17);
    assert!(refused.iter().all(busy));
    world.run_for(11 * SECOND);
    assert_eq!(world.events(0).len(), 160 - 33);
}

#[test]
fn commands_in_any_order_are_each_settled_once() {
    for run in 0..60 {
        let mut random = Seed::from_u64(run).stream("commands");
        let mut world = EngineNet::of(5);
        let mut asked = Vec::new();
        let mut settled = BTreeMap::new();
        for _ in 0..60 {
            let other = random.below(5) as Who;
            let peer = world.id(other);
            let addr = if random.below(3) == 0 { nowhere() } else { world.addr(other) };
            let payload = Bytes::from_static(b"x");
            match random.below(12) {
                0..=2 => asked.push(connect_at(&mut world, 0, other, addr)),
                3 | 4 => asked.push(world.send(0, other, b"routed")),
                5 => asked.push(world.command(0, |request| Command::SendDirect {
                    request,
                    target: peer,
                    payload,
                })),
                6 => asked.push(world.command(0, |request| Command::CloseEdge { request, peer })),
                7 => seed_at(&mut world, 0, other, addr),
                8 if other != 0 => world.crash(other),
                9 if other != 0 => world.restart(other),
                10 if other != 0 => {
                    world.restart(other);
                    world.connect(other, 0);
                }
                11 if random.below(20) == 0 => asked.push(world.leave(0)),
                _ => {}
            }
            world.run_for(Duration::from_millis(random.below(700)));
            for request in world.events(0).iter().filter_map(Event::request) {
                *settled.entry(request).or_insert(0) += 1;
            }
        }
        world.run_for(60 * SECOND);
        for request in world.events(0).iter().filter_map(Event::request) {
            *settled.entry(request).or_insert(0) += 1;
        }
        let once: BTreeMap<RequestId, i32> =
            asked.into_iter().map(|request| (request, 1)).collect();
        assert_eq!(settled, once, "run {run}");
    }
}

// Clocks.

#[test]
fn a_clock_that_runs_backwards_counts_as_standing_still() {
    let mut world = EngineNet::of(2);
    world.bootstrap(0, 1);
    world.run_for(SECOND);
    let (target, peer) = (world.id(1), world.id(1));
    world.with_engine(0, |engine, now, wire| {
        let (request, before) = (RequestId(90), now - 30 * SECOND);
        let payload = Bytes::from_static(b"from the past");
        engine.handle_command(before, Command::Send { request, target, payload }, wire);
        engine.handle_timeout(before, wire);
        let request = RequestId(91);
        engine.handle_command(before, Command::CloseEdge { request, peer }, wire);
        engine.handle_timeout(before, wire);
    });
    world.run_for(SECOND);
    let delivered = |event: &Event| matches!(event, Event::Delivered { .. });
    assert_eq!(world.events(1).iter().filter(|event| delivered(event)).count(), 1);
}

#[test]
fn a_node_that_was_suspended_for_a_day_finds_its_bootstrap_peer_again() {
    let mut world = EngineNet::of(2);
    world.bootstrap(0, 1);
    world.run_for(SECOND);
    world.with_engine(0, |engine, now, wire| {
        engine.handle_timeout(now + 86_400 * SECOND, wire);
    });
    world.now += 86_400 * SECOND;
    world.run_for(60 * SECOND);
    assert_eq!(world.peers(0), [1]);
}
