//! Messages from one application to another: routes, copies, backpressure, local repair, detours.

use std::time::Duration;

use bytes::Bytes;

use super::kit::{EngineNet, LATENCY, Who, identity};
use crate::api::{Command, Config, DeliveryPath, Event, RequestId, SendFailure};
use crate::stats::DropReason;
use crate::transport::{self, Class, ConnDownReason};
use crate::wire::{self, DIRECT_PAYLOAD_MAX, Message, SEND_PAYLOAD_MAX};

const SECOND: Duration = Duration::from_secs(1);

/// A network in which only these pairs have edges.
fn world(count: usize, edges: &[(Who, Who)]) -> EngineNet {
    let mut world = EngineNet::still(count);
    for &(from, to) in edges {
        world.connect(from, to);
    }
    world.run_for(SECOND);
    for who in 0..count {
        world.events(who);
    }
    world
}

/// A network of `count` engines in a line along which identifiers come closer to that of the last.
fn line(count: usize) -> (EngineNet, Vec<Who>) {
    let mut world = EngineNet::still(count);
    let target = world.id(count - 1);
    let mut order: Vec<Who> = (0..count).collect();
    order.sort_by(|&a, &b| target.compare_distance(&world.id(b), &world.id(a)));
    for pair in order.windows(2) {
        world.connect(pair[0], pair[1]);
    }
    world.run_for(SECOND);
    for who in 0..count {
        world.events(who);
    }
    (world, order)
}

fn delivered(world: &mut EngineNet, who: Who) -> Vec<(Who, Bytes, DeliveryPath)> {
    let events = world.events(who);
    let delivered = events.into_iter().filter_map(|event| match event {
        Event::Delivered { originator, payload, path, sealed: false, request: None } => {
            Some((originator, payload, path))
        }
        _ => None,
    });
    let delivered: Vec<_> = delivered.collect();
    delivered.into_iter().map(|(id, payload, path)| (world.who(&id), payload, path)).collect()
}

#[test]
fn a_message_reaches_a_neighbour_in_one_hop() {
    let mut world = world(2, &[(0, 1)]);
    let request = world.send(0, 1, b"hello");
    assert_eq!(world.events(0), [Event::Sent { request, copies: 1 }]);
    world.run_for(LATENCY);
    let path = DeliveryPath::Routed { hops: 1 };
    assert_eq!(delivered(&mut world, 1), [(0, Bytes::from_static(b"hello"), path)]);
}

#[test]
fn a_message_crosses_a_line_of_nodes() {
    let (mut world, order) = line(6);
    world.send(order[0], order[5], b"over five hops");
    world.run_for(SECOND);
    let path = DeliveryPath::Routed { hops: 5 };
    let expected = (order[0], Bytes::from_static(b"over five hops"), path);
    assert_eq!(delivered(&mut world, order[5]), [expected]);
    for &who in &order[1..5] {
        assert_eq!(delivered(&mut world, who), []);
    }
}

#[test]
fn three_copies_leave_and_one_arrives() {
    let all: Vec<(Who, Who)> = (0..5).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    let mut world = world(5, &all);
    let request = world.send(0, 1, b"once");
    assert_eq!(world.events(0), [Event::Sent { request, copies: 3 }]);
    world.run_for(SECOND);
    assert_eq!(delivered(&mut world, 1).len(), 1);
    assert_eq!(world.engine(1).stats().drops(DropReason::Duplicate), 2);
}

#[test]
fn a_message_to_this_node_itself_stays_off_the_wire() {
    let mut world = world(2, &[(0, 1)]);
    let before = world.wire.sent.len();
    let request = world.send(0, 0, b"note");
    let (originator, payload) = (world.id(0), Bytes::from_static(b"note"));
    let path = DeliveryPath::Routed { hops: 0 };
    let request = Some(request);
    assert_eq!(
        world.events(0),
        [Event::Delivered { originator, payload, path, sealed: false, request }]
    );
    assert_eq!(world.wire.sent.len(), before);
}

#[test]
fn a_message_to_this_node_itself_is_refused_if_the_queue_is_full() {
    let mut world = EngineNet::new();
    world.add(Config { delivery_queue_max: 1, ..Config::default() });
    let (originator, payload) = (world.id(0), Bytes::from_static(b"note"));
    let requests = [7, 8].map(RequestId);
    world.with_engine(0, |engine, now, wire| {
        for request in requests {
            let command = Command::Send { request, target: originator, payload: payload.clone() };
            engine.handle_command(now, command, wire);
        }
    });
    let (path, [first, second]) = (DeliveryPath::Routed { hops: 0 }, requests);
    let delivered =
        Event::Delivered { originator, payload, path, sealed: false, request: Some(first) };
    let failed = Event::SendFailed { request: second, error: SendFailure::Backpressure };
    assert_eq!(world.events(0), [delivered, failed]);
    assert_eq!(world.engine(0).stats().drops(DropReason::DeliveryQueueFull), 1);
}

#[test]
fn a_message_over_the_edge_is_not_routed() {
    let mut world = world(3, &[(0, 1), (1, 2)]);
    let payload = Bytes::from_static(b"direct");
    let (near, far) = (world.id(1), world.id(2));
    let to = |target, payload| move |request| Command::SendDirect { request, target, payload };
    let request = world.command(0, to(near, payload.clone()));
    assert_eq!(world.events(0), [Event::Sent { request, copies: 1 }]);
    world.run_for(LATENCY);
    assert_eq!(delivered(&mut world, 1), [(0, payload.clone(), DeliveryPath::Direct)]);
    let request = world.command(0, to(far, payload));
    let error = SendFailure::NoEdge;
    assert_eq!(world.events(0), [Event::SendFailed { request, error }]);
}

#[test]
fn every_size_up_to_the_limit_arrives_intact() {
    let (mut world, order) = line(3);
    let (from, to) = (order[0], order[2]);
    let target = world.id(to);
    for len in [0, 1, 127, 128, 16_383, 16_384, SEND_PAYLOAD_MAX] {
        let payload: Bytes = (0..len).map(|i| (i * 31 + 7) as u8).collect();
        let sent = payload.clone();
        world.command(from, |request| Command::Send { request, target, payload: sent });
        world.run_for(SECOND);
        let path = DeliveryPath::Routed { hops: 2 };
        assert_eq!(delivered(&mut world, to), [(from, payload, path)], "{len}");
    }
}

#[test]
fn a_payload_that_does_not_fit_is_refused_before_any_other_check() {
    let mut world = EngineNet::of(2);
    let target = world.id(1);
    let payload = |len| Bytes::from(vec![0; len]);
    let too_large = |len, max| SendFailure::TooLarge { len, max };
    let (len, max) = (SEND_PAYLOAD_MAX + 1, SEND_PAYLOAD_MAX);
    let routed =
        world.command(0, |request| Command::Send { request, target, payload: payload(len) });
    let direct_max = DIRECT_PAYLOAD_MAX;
    let direct = world.command(0, |request| Command::SendDirect {
        request,
        target,
        payload: payload(direct_max + 1),
    });
    let lonely = world.send(0, 1, b"anybody there?");
    assert_eq!(
        world.events(0),
        [
            Event::SendFailed { request: routed, error: too_large(len, max) },
            Event::SendFailed { request: direct, error: too_large(direct_max + 1, direct_max) },
            Event::SendFailed { request: lonely, error: SendFailure::Unroutable },
        ]
    );
}

#[test]
fn full_queues_are_backpressure_to_the_application() {
    let mut world = world(3, &[(0, 1), (0, 2)]);
    let [one, two] = [1, 2].map(|peer| world.conns_between(0, peer)[0]);
    world.set_full(one, true);
    let request = world.send(0, 1, b"around");
    assert_eq!(world.events(0), [Event::Sent { request, copies: 1 }]);
    world.set_full(two, true);
    let request = world.send(0, 1, b"stuck");
    let error = SendFailure::Backpressure;
    assert_eq!(world.events(0), [Event::SendFailed { request, error }]);
    world.set_full(one, false);
    world.give(0, transport::Event::Writable(one));
    assert_eq!(world.events(0), [Event::SendReady]);
    let request = world.send(0, 1, b"again");
    assert_eq!(world.events(0), [Event::Sent { request, copies: 1 }]);
    world.give(0, transport::Event::Writable(one));
    assert_eq!(world.events(0), [], "nothing was refused since");
}

#[test]
fn send_ready_follows_a_new_edge_and_not_a_conn_without_a_frame() {
    let mut world = world(2, &[(0, 1)]);
    let full = world.conns_between(0, 1)[0];
    world.set_full(full, true);
    let request = world.send(0, 1, b"stuck");
    let error = SendFailure::Backpressure;
    assert_eq!(world.events(0), [Event::SendFailed { request, error }]);
    let puppet = world.add_puppet(identity(50));
    let conn = world.open(puppet, 0);
    world.run_for(SECOND);
    assert_eq!(world.events(0), []);
    world.say(conn, wire::Ping.to_frame());
    assert_eq!(world.events(0).last(), Some(&Event::SendReady));
    let request = world.send(0, 1, b"around");
    assert_eq!(world.events(0), [Event::Sent { request, copies: 1 }]);
}

#[test]
fn send_ready_follows_when_the_conn_is_gone() {
    let mut world = world(2, &[(0, 1)]);
    let conn = world.conns_between(0, 1)[0];
    world.set_full(conn, true);
    for _ in 0..2 {
        let request = world.send(0, 1, b"stuck");
        let error = SendFailure::Backpressure;
        assert_eq!(world.events(0), [Event::SendFailed { request, error }]);
    }
    world.leave(1);
    world.run_for(SECOND);
    let events = world.events(0);
    assert_eq!(events.iter().filter(|event| **event == Event::SendReady).count(), 1, "{events:?}");
    let request = world.send(0, 1, b"gone");
    let error = SendFailure::Unroutable;
    assert_eq!(world.events(0), [Event::SendFailed { request, error }]);
}

#[test]
fn a_first_hop_that_refuses_is_replaced() {
    let mut world = world(5, &[(0, 1), (0, 2), (0, 3), (0, 4)]);
    let target = world.id(1);
    let nearest: Who = world.conns_between(0, 1).len();
    assert_eq!(nearest, 1);
    let conn = world.conns_between(0, 1)[0];
    world.set_full(conn, true);
    let payload = Bytes::from_static(b"three copies all the same");
    let request = world.command(0, |request| Command::Send { request, target, payload });
    assert_eq!(world.events(0), [Event::Sent { request, copies: 3 }]);
}

/// A forwarder with two next hops to the target, best first.
fn fork(mut world: EngineNet) -> (EngineNet, Who, [Who; 2], Who) {
    let target = world.id(4);
    let mut order: Vec<Who> = (0..4).collect();
    order.sort_by(|&a, &b| target.compare_distance(&world.id(b), &world.id(a)));
    let [origin, forwarder, second, best] = order[..] else { unreachable!("four of them") };
    let edges =
        [(origin, forwarder), (forwarder, second), (forwarder, best), (second, 4), (best, 4)];
    for (from, to) in edges {
        world.connect(from, to);
    }
    world.run_for(SECOND);
    (world, origin, [best, second], forwarder)
}

#[test]
fn a_forwarder_repairs_around_a_full_edge() {
    let (mut world, origin, [best, second], forwarder) = fork(EngineNet::still(5));
    world.events(4);
    let conn = world.conns_between(forwarder, best)[0];
    world.set_full(conn, true);
    world.send(origin, 4, b"around");
    world.run_for(SECOND);
    assert_eq!(delivered(&mut world, 4).len(), 1);
    let conn = world.conns_between(forwarder, second)[0];
    world.set_full(conn, true);
    world.send(origin, 4, b"stuck");
    world.run_for(SECOND);
    assert_eq!(delivered(&mut world, 4).len(), 0);
    assert_eq!(world.engine(forwarder).stats().drops(DropReason::RepairExhausted), 1);
}

#[test]
fn a_forwarder_routes_around_a_dead_neighbour_once_it_is_detected() {
    let (mut world, origin, [best, _], _) = fork(EngineNet::of(5));
    world.events(4);
    world.crash(best);
    world.run_for(47 * SECOND);
    for _ in 0..20 {
        world.send(origin, 4, b"around");
        world.run_for(SECOND);
    }
    assert_eq!(delivered(&mut world, 4).len(), 20);
}

#[test]
fn a_neighbour_behind_a_dead_edge_is_reached_around_it() {
    let all: Vec<(Who, Who)> = (0..6).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    let mut world = world(6, &all);
    // The conns between the two lose all frames.
    for conn in world.conns_between(1, 0) {
        world.give(1, transport::Event::ConnDown { conn, reason: ConnDownReason::TimedOut });
    }
    for _ in 0..20 {
        world.send(0, 1, b"around");
    }
    world.run_for(SECOND);
    assert_eq!(delivered(&mut world, 1).len(), 20);
}

#[test]
fn transit_frames_wait_behind_own_and_control_frames() {
    let (mut world, order) = line(3);
    world.wire.sent.clear();
    world.send(order[0], order[2], b"classes");
    world.run_for(SECOND);
    let classes: Vec<(Who, Class)> =
        world.wire.sent.iter().map(|(who, _, class, _)| (*who, *class)).collect();
    assert_eq!(classes, [(order[0], Class::Own), (order[1], Class::Transit)]);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = EngineNet::of(8);
        for who in 1..8 {
            world.bootstrap(who, 0);
        }
        world.run_for(100 * SECOND);
        world.send(3, 5, b"again");
        world.run_for(100 * SECOND);
        (world.wire.sent, world.wire.dials)
    };
    assert_eq!(run(), run());
}

/// Four nodes by distance from the target, which is the last. The node nearest to it has no edge to
/// it, as behind NATs, and the next one may have.
fn around_a_dead_end(bridged: bool) -> (EngineNet, Vec<Who>) {
    let mut world = EngineNet::still(4);
    let target = world.id(3);
    let mut order: Vec<Who> = (0..4).collect();
    order.sort_by(|&a, &b| target.compare_distance(&world.id(b), &world.id(a)));
    let [origin, far, near, target] = order[..] else { unreachable!("there are four") };
    world.connect(origin, near);
    world.connect(near, far);
    if bridged {
        world.connect(far, target);
    }
    world.run_for(SECOND);
    for who in 0..4 {
        world.events(who);
    }
    (world, order)
}

#[test]
fn a_neighbour_that_is_farther_leads_around_a_dead_end() {
    let (mut world, order) = around_a_dead_end(true);
    world.send(order[0], order[3], b"around");
    world.run_for(SECOND);
    let path = DeliveryPath::Routed { hops: 3 };
    let expected = (order[0], Bytes::from_static(b"around"), path);
    assert_eq!(delivered(&mut world, order[3]), [expected]);
}

#[test]
fn a_detour_that_leads_nowhere_ends_after_one_edge() {
    let (mut world, order) = around_a_dead_end(false);
    let before = world.wire.sent.len();
    world.send(order[0], order[3], b"nowhere");
    world.run_for(SECOND);
    assert_eq!(world.wire.sent.len() - before, 2, "to the dead end and once beyond it");
    assert_eq!(world.engine(order[1]).stats().drops(DropReason::DeadEnd), 1);
}
