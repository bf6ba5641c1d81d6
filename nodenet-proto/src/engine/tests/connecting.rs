//! `connect` and bootstrap: outcomes, time-outs, folding of parallel requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::kit::{EngineNet, LATENCY, Who, identity};
use crate::NodeId;
use crate::api::{
    Command, Config, ConnectError, DeliveryPath, EdgeDownReason, EdgePolicy, Event, SendFailure,
};
use crate::stats::DropReason;
use crate::transport::{ConnDownReason, DialError};
use crate::wire::{self, Leave, Message};

const SECOND: Duration = Duration::from_secs(1);

/// An engine, and one that admits no peer.
fn beside_a_refusing_engine() -> EngineNet {
    let mut world = EngineNet::of(1);
    let edge_policy = EdgePolicy::Ask(Arc::new(|_: &NodeId| false));
    world.add(Config { edge_policy, ..Config::default() });
    world
}

/// An engine, and a puppet, which sends nothing unless the test does.
fn beside_a_puppet() -> (EngineNet, Who) {
    let mut world = EngineNet::of(1);
    let mute = world.add_puppet(identity(77));
    (world, mute)
}

#[test]
fn connecting_to_a_neighbour_succeeds_at_once() {
    let mut world = EngineNet::of(2);
    world.bootstrap(0, 1);
    world.run_for(SECOND);
    world.events(0);
    let peer = world.id(1);
    let request = world.connect(0, 1);
    assert_eq!(world.events(0), [Event::Connected { request, peer }]);
}

#[test]
fn a_connect_is_settled_by_the_first_frame_of_the_peer() {
    let (mut world, puppet) = beside_a_puppet();
    let peer = world.id(puppet);
    let (first, second) = (world.connect(0, puppet), world.connect(0, puppet));
    world.run_for(4 * LATENCY);
    let third = world.connect(0, puppet);
    let up = Event::EdgeUp { peer, outgoing: true, remote: world.addr(puppet) };
    assert_eq!(world.events(0), [up], "a handshake does not show that the peer takes the edge");
    let conn = world.conns_between(puppet, 0)[0];
    world.say(conn, wire::Ping.to_frame());
    let connected = |request| Event::Connected { request, peer };
    assert_eq!(world.events(0), [first, second, third].map(connected));
    let fourth = world.connect(0, puppet);
    assert_eq!(world.events(0), [connected(fourth)]);
}

#[test]
fn a_connect_that_the_peer_refuses_fails() {
    let mut world = beside_a_refusing_engine();
    let request = world.connect(0, 1);
    world.run_for(SECOND);
    let reason = EdgeDownReason::Conn(ConnDownReason::ClosedByPeer);
    let events = world.events(0);
    let failed = Event::ConnectFailed { request, error: ConnectError::NotTaken(reason) };
    assert!(events.contains(&failed), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Connected { .. })));
}

#[test]
fn a_connect_that_is_never_answered_fails_after_five_seconds() {
    let (mut world, puppet) = beside_a_puppet();
    let request = world.connect(0, puppet);
    world.run_for(6 * SECOND);
    let error = ConnectError::NotTaken(EdgeDownReason::Dead);
    assert!(world.events(0).contains(&Event::ConnectFailed { request, error }));
}

#[test]
fn a_connect_fails_if_the_first_frame_of_the_peer_is_a_leave() {
    let (mut world, puppet) = beside_a_puppet();
    let request = world.connect(0, puppet);
    world.run_for(4 * LATENCY);
    let conn = world.conns_between(puppet, 0)[0];
    world.say(conn, Leave.to_frame());
    world.run_for(2 * LATENCY);
    let error = ConnectError::NotTaken(EdgeDownReason::Left);
    assert!(world.events(0).contains(&Event::ConnectFailed { request, error }));
}

#[test]
fn leaving_settles_a_connect_that_waits_for_the_first_frame() {
    let (mut world, puppet) = beside_a_puppet();
    let request = world.connect(0, puppet);
    world.run_for(4 * LATENCY);
    world.leave(0);
    let failed = Event::ConnectFailed { request, error: ConnectError::Closed };
    assert!(world.events(0).contains(&failed));
}

#[test]
fn a_connect_to_a_known_peer_needs_no_address() {
    let mut world = EngineNet::of(2);
    let (target, known) = (world.id(1), world.known(1));
    world.command(0, |_| Command::ImportPeers(vec![known]));
    let request = world.command(0, |request| Command::Connect { request, target, addrs: vec![] });
    world.run_for(SECOND);
    assert!(world.events(0).contains(&Event::Connected { request, peer: target }));
}

#[test]
fn a_failed_bootstrap_is_reported_once_until_there_was_an_edge() {
    let mut world = EngineNet::of(2);
    world.crash(1);
    world.bootstrap(0, 1);
    world.run_for(120 * SECOND);
    assert!(world.wire.dials.len() > 3);
    let failed = |error| Event::BootstrapFailed { peer: world.id(1), error };
    let timed_out = failed(ConnectError::Dial(DialError::TimedOut));
    assert_eq!(world.events(0), std::slice::from_ref(&timed_out));
    world.restart(1);
    world.run_for(60 * SECOND);
    assert_eq!(world.peers(0), [1]);
    world.events(0);
    world.crash(1);
    world.run_for(600 * SECOND);
    let told = world.events(0).into_iter().filter(|event| *event == timed_out).count();
    assert_eq!(told, 1);
}

#[test]
fn a_bootstrap_peer_that_takes_no_edge_is_reported() {
    let mut world = beside_a_refusing_engine();
    world.bootstrap(0, 1);
    world.run_for(60 * SECOND);
    let reason = EdgeDownReason::Conn(ConnDownReason::ClosedByPeer);
    let failed =
        Event::BootstrapFailed { peer: world.id(1), error: ConnectError::NotTaken(reason) };
    let told = world.events(0).into_iter().filter(|event| *event == failed).count();
    assert_eq!(told, 1);
}

#[test]
fn requests_for_one_peer_share_one_attempt() {
    let mut world = EngineNet::of(2);
    let peer = world.id(1);
    let (first, second) = (world.connect(0, 1), world.connect(0, 1));
    world.run_for(SECOND);
    let events = world.events(0);
    assert!(events.contains(&Event::Connected { request: first, peer }));
    assert!(events.contains(&Event::Connected { request: second, peer }));
    assert_eq!(world.wire.dials.len(), 1);
}

#[test]
fn a_failed_connect_has_its_reason() {
    let mut world = EngineNet::of(3);
    let (target, elsewhere) = (world.id(1), world.addr(2));
    let connect = |addrs| move |request| Command::Connect { request, target, addrs };
    let nowhere = world.command(0, connect(vec![]));
    let unspecified = world.command(0, connect(vec!["0.0.0.0:1".parse().unwrap()]));
    let wrong = world.command(0, connect(vec![elsewhere]));
    world.run_for(SECOND);
    let failed = |request, error| Event::ConnectFailed { request, error };
    assert_eq!(
        world.events(0),
        [
            failed(nowhere, ConnectError::NoAddress),
            failed(unspecified, ConnectError::NoAddress),
            failed(wrong, ConnectError::Dial(DialError::IdentityMismatch)),
        ]
    );
    assert_eq!(world.engine(0).stats().drops(DropReason::ImplausibleAddress), 1);
    world.crash(1);
    let silent = world.connect(0, 1);
    world.run_for(11 * SECOND);
    let error = ConnectError::Dial(DialError::TimedOut);
    assert_eq!(world.events(0), [failed(silent, error)]);
    let own = world.id(0);
    let request =
        world.command(0, |request| Command::Connect { request, target: own, addrs: vec![] });
    assert_eq!(world.events(0), [failed(request, ConnectError::SelfEdge)]);
}

#[test]
fn the_second_address_is_tried_before_the_first_has_timed_out() {
    let mut world = EngineNet::of(3);
    world.crash(2);
    let (target, addrs) = (world.id(1), vec![world.addr(2), world.addr(1)]);
    let request = world.command(0, |request| Command::Connect { request, target, addrs });
    world.run_for(SECOND);
    assert!(world.events(0).contains(&Event::Connected { request, peer: target }));
}

/// Three engines in a row: the first and the last know only the middle one.
fn in_a_row() -> EngineNet {
    let mut world = EngineNet::still(3);
    for who in 0..3 {
        let addr = world.addr(who);
        world.with_engine(who, |engine, now, _| engine.handle_local_addrs(now, &[addr]));
    }
    world.connect(0, 1);
    world.connect(2, 1);
    world.run_for(SECOND);
    (0..3).for_each(|number| drop(world.events(number)));
    world
}

#[test]
fn a_peer_is_found_and_connected_to_by_its_identifier_alone() {
    let mut world = in_a_row();
    let target = world.id(2);
    let request = world.command(0, |request| Command::Connect { request, target, addrs: vec![] });
    world.run_for(SECOND);
    assert!(world.events(0).contains(&Event::Connected { request, peer: target }));
}

#[test]
fn a_message_to_a_peer_that_is_being_connected_leaves_with_the_handshake() {
    let mut world = in_a_row();
    let target = world.id(2);
    world.command(0, |request| Command::Connect { request, target, addrs: vec![] });
    let sent = ["first", "second"].map(|text| {
        let payload = Bytes::from(text);
        world.command(0, |request| Command::SendDirect { request, target, payload })
    });
    world.run_for(SECOND);
    let events = world.events(0);
    for request in sent {
        assert!(events.contains(&Event::Sent { request, copies: 1 }), "{events:?}");
    }
    let delivered = world.events(2).into_iter().filter_map(|event| match event {
        Event::Delivered { payload, path: DeliveryPath::Direct, .. } => Some(payload),
        _ => None,
    });
    assert_eq!(delivered.collect::<Vec<_>>(), ["first", "second"]);
}

#[test]
fn a_message_to_a_peer_that_cannot_be_connected_fails() {
    let mut world = in_a_row();
    let target = NodeId::from_bytes([9; 32]);
    let request = world.command(0, |request| Command::Connect { request, target, addrs: vec![] });
    let payload = Bytes::from("lost");
    let sent = world.command(0, |request| Command::SendDirect { request, target, payload });
    world.run_for(6 * SECOND);
    assert_eq!(world.events(0), [], "the peer is asked again and again");
    world.run_for(2 * SECOND);
    let failed = Event::ConnectFailed { request, error: ConnectError::Unanswered };
    let unsent = Event::SendFailed { request: sent, error: SendFailure::NoEdge };
    assert_eq!(world.events(0), [failed, unsent]);
}

#[test]
fn leaving_settles_what_waits_for_an_edge() {
    let mut world = in_a_row();
    let target = NodeId::from_bytes([9; 32]);
    world.command(0, |request| Command::Connect { request, target, addrs: vec![] });
    let payload = Bytes::from("lost");
    let sent = world.command(0, |request| Command::SendDirect { request, target, payload });
    world.leave(0);
    let is_settled = |event: &Event| event.request() == Some(sent);
    assert_eq!(world.events(0).iter().filter(|event| is_settled(event)).count(), 1);
}
