//! Attacks of peers on one node (THREATS.md).

use std::time::Duration;

use bytes::Bytes;

use super::kit::{EngineNet, LATENCY, WALL, Who, identity};
use super::puppets::{deliveries, drops, flood, lookup, route, routed, sign, victim};
use crate::api::{Config, EdgeDownReason, Event};
use crate::buf::Frame;
use crate::env::{Ed25519Crypto, UnixNanos};
use crate::stats::DropReason;
use crate::transport::{Class, ConnId};
use crate::wire::envelope::Envelope;
use crate::wire::frame::app_frame;
use crate::wire::{
    self, Capabilities, Decode, Encode, FrameHeader, FrameType, Lookup, Message, Neighbors,
    RoutedFrame, Siblings,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_message_with_a_forged_signature_is_not_delivered() {
    let (mut world, _, conn) = victim();
    let target = world.id(0);
    let mut forged = sign(60, FrameType::Route, target, world.wall(), b"from the victim");
    forged.key = *identity(61).public_key();
    world.say(conn, forged.to_frame(FrameType::Route));
    assert_eq!(deliveries(&mut world), 0);
    assert_eq!(drops(&world, DropReason::BadSignature), 1);
    let genuine = route(60, target, world.wall(), b"from the victim");
    world.say(conn, genuine);
    assert_eq!(deliveries(&mut world), 1);
}

#[test]
fn a_message_signed_as_one_type_is_not_taken_as_another() {
    let (mut world, _, conn) = victim();
    let envelope = sign(60, FrameType::Hello, world.id(0), world.wall(), b"hello");
    world.say(conn, envelope.to_frame(FrameType::Route));
    assert_eq!(drops(&world, DropReason::BadSignature), 1);
}

#[test]
fn a_forged_lookup_is_not_answered_and_a_signed_one_is() {
    let (mut world, puppet, conn) = victim();
    let target = world.id(0);
    let nonce = [7; 8];
    let mut forged = sign(60, FrameType::Lookup, target, world.wall(), &nonce);
    forged.key = *identity(61).public_key();
    world.say(conn, forged.to_frame(FrameType::Lookup));
    world.say(
        conn,
        sign(60, FrameType::Lookup, target, world.wall(), &nonce).to_frame(FrameType::Lookup),
    );
    world.run_for(SECOND);
    assert_eq!(world.heard(puppet, FrameType::Neighbors).len(), 1);
    assert_eq!(drops(&world, DropReason::BadSignature), 1);
}

#[test]
fn messages_outside_the_window_are_stale_even_at_the_ends_of_the_range() {
    let (mut world, _, conn) = victim();
    let target = world.id(0);
    for sent in [i64::MIN, i64::MAX, WALL.0 - 3600 * 1_000_000_000] {
        world.say(conn, route(60, target, UnixNanos(sent), b"old"));
    }
    assert_eq!(deliveries(&mut world), 0);
    assert_eq!(drops(&world, DropReason::Stale), 3);
}

#[test]
fn a_captured_message_is_delivered_once_as_long_as_it_is_fresh() {
    let (mut world, _, conn) = victim();
    let ahead = UnixNanos(world.wall().0 + 29_000_000_000);
    let captured = route(60, world.id(0), ahead, b"once");
    for _ in 0..58 {
        world.say(conn, captured.to_bytes());
        world.run_for(SECOND);
    }
    assert_eq!(deliveries(&mut world), 1);
    assert_eq!(drops(&world, DropReason::Duplicate), 57);
    world.run_for(3 * SECOND);
    world.say(conn, captured);
    assert_eq!(drops(&world, DropReason::Stale), 1);
}

/// A flood by a peer that captured a message does not make the victim forget that it took it.
#[test]
fn a_flood_does_not_bring_a_captured_message_back() {
    let (mut world, _, conn) = victim();
    let target = world.id(0);
    let ahead = UnixNanos(world.wall().0 + 29_000_000_000);
    let captured = route(60, target, ahead, b"once");
    world.say(conn, captured.to_bytes());
    assert_eq!(deliveries(&mut world), 1);
    for _ in 0..40 {
        for number in 0..512_i64 {
            let sent = UnixNanos(world.wall().0 + 29_000_000_000 + number);
            flood(&mut world, conn, route(61, target, sent, b"flood"));
        }
        world.run_for(SECOND);
    }
    assert!(deliveries(&mut world) > 16_000, "as many as one neighbour may have remembered");
    assert!(drops(&world, DropReason::DuplicatesFull) > 0);
    world.say(conn, captured);
    assert_eq!((deliveries(&mut world), drops(&world, DropReason::Duplicate)), (0, 1));
    let (other, now) = (world.add_puppet(identity(51)), world.wall());
    let other = world.open(other, 0);
    world.say(other, wire::Ping.to_frame());
    world.say(other, route(62, target, now, b"over another"));
    assert_eq!(deliveries(&mut world), 1);
}

#[test]
fn trailing_bytes_make_a_frame_malformed() {
    let (mut world, _, conn) = victim();
    let mut frame = route(60, world.id(0), world.wall(), b"with junk");
    frame.push_back(Bytes::from_static(&[0; 5000]));
    world.say(conn, frame);
    assert_eq!(drops(&world, DropReason::MalformedFrame), 1);
    assert_eq!(world.peers(0).len(), 1, "the edge survives");
}

#[test]
fn a_malformed_first_frame_ends_the_conn() {
    let mut world = EngineNet::of(1);
    let puppet = world.add_puppet(identity(50));
    let conn = world.open(puppet, 0);
    world.say(conn, Bytes::from_static(b"\x02\x01\x00"));
    world.run_for(SECOND);
    assert!(world.conns_between(0, puppet).is_empty());
    assert_eq!(world.events(0), []);
    assert_eq!(drops(&world, DropReason::MalformedFrame), 1);
}

#[test]
fn sibling_requests_are_answered_within_the_control_budget() {
    let (mut world, puppet, conn) = victim();
    world.run_for(10 * SECOND);
    for nonce in 0..200_u64 {
        let siblings = Siblings { nonce: nonce.to_be_bytes() };
        flood(&mut world, conn, siblings.to_frame());
    }
    world.run_for(SECOND);
    assert_eq!(world.heard(puppet, FrameType::Neighbors).len(), 32);
    assert_eq!(drops(&world, DropReason::ControlRateLimited), 168);
}

#[test]
fn pings_are_answered_within_the_control_budget_and_unknown_types_share_it() {
    let (mut world, puppet, conn) = victim();
    world.run_for(10 * SECOND);
    world.heard(puppet, FrameType::Pong);
    for _ in 0..100 {
        flood(&mut world, conn, wire::Ping.to_frame());
    }
    flood(&mut world, conn, Bytes::from_static(b"\x01\x63\x00"));
    world.run_for(LATENCY);
    assert_eq!(world.heard(puppet, FrameType::Pong).len(), 32);
    assert_eq!(drops(&world, DropReason::ControlRateLimited), 69);
}

#[test]
fn one_originator_is_answered_within_its_budget_over_any_edge() {
    let (mut world, puppet, conn) = victim();
    let other = world.add_puppet(identity(51));
    let second = world.open(other, 0);
    world.say(second, wire::Ping.to_frame());
    let (target, wall) = (world.id(0), world.wall());
    for nonce in 0..200 {
        let conn = if nonce % 2 == 0 { conn } else { second };
        flood(&mut world, conn, lookup(60, target, wall, nonce));
    }
    world.run_for(SECOND);
    let answers = [puppet, other].map(|who| world.heard(who, FrameType::Neighbors).len());
    assert_eq!(answers.iter().sum::<usize>(), 32);
    assert_eq!(drops(&world, DropReason::OriginatorRateLimited), 168);
}

#[test]
fn routed_answers_do_not_stand_before_the_pings_of_a_neighbour() {
    let (mut world, _, conn) = victim();
    let lookup = lookup(60, world.id(0), world.wall(), 1);
    world.say(conn, lookup);
    let answers: Vec<_> = world
        .wire
        .sent
        .iter()
        .filter(|(who, _, _, frame_type)| {
            (*who, *frame_type) == (0, FrameType::Neighbors.to_byte())
        })
        .map(|(_, _, class, _)| *class)
        .collect();
    assert_eq!(answers, [Class::Transit]);
}

#[test]
fn avoid_sets_above_three_are_refused_and_hop_limits_above_sixteen_are_lowered() {
    let (mut world, order) = forwarder();
    let target = world.id(order[2]);
    let conn = world.conns_between(order[0], order[1])[0];
    let mut crowded = route(60, target, world.wall(), b"avoid").to_bytes().to_vec();
    let wall = world.wall();
    // The count of the avoid-set stands behind header, target, hop limit, key and time.
    crowded[2 + 2 + 73] = 4;
    world.say(conn, Bytes::from(crowded));
    let stats = |world: &EngineNet, reason| world.engine(order[1]).stats().drops(reason);
    assert_eq!(stats(&world, DropReason::MalformedMessage), 1);

    let far = Envelope { hop_limit: 255, ..sign(60, FrameType::Route, target, wall, b"far") };
    world.say(conn, far.to_frame(FrameType::Route));
    world.run_for(SECOND);
    let heard = world.heard(order[2], FrameType::Route);
    assert_eq!(heard.len(), 1);
    let frame = Frame::from(heard[0].clone());
    let (_, payload_at) = FrameHeader::of(&frame).unwrap();
    assert_eq!(RoutedFrame::parse(frame, FrameType::Route, payload_at).unwrap().hop_limit(), 15);
}

/// A puppet, an engine and a puppet, ever closer to the last.
fn forwarder() -> (EngineNet, [Who; 3]) {
    let mut world = EngineNet::of(1);
    let engine = world.id(0);
    let mut numbers = (50..).filter(|&number| {
        let last = identity(99).id();
        last.compare_distance(&engine, &identity(number).id()) == std::cmp::Ordering::Less
    });
    let first = world.add_puppet(identity(numbers.next().unwrap()));
    let last = world.add_puppet(identity(99));
    for puppet in [first, last] {
        let conn = world.open(puppet, 0);
        world.say(conn, wire::Ping.to_frame());
    }
    (world, [first, 0, last])
}

#[test]
fn forged_originators_use_up_no_budget() {
    let (mut world, _, conn) = victim();
    let (target, wall) = (world.id(0), world.wall());
    for nonce in 0..500_u64 {
        let mut forged = sign(60, FrameType::Lookup, target, wall, &nonce.to_be_bytes());
        forged.payload = Bytes::from_static(&[9; 8]);
        flood(&mut world, conn, forged.to_frame(FrameType::Lookup));
    }
    assert_eq!(drops(&world, DropReason::BadSignature), 500);
    assert_eq!(drops(&world, DropReason::OriginatorRateLimited), 0);
    world.engine(0).check();
}

#[test]
fn application_frames_beyond_the_forward_budget_are_dropped() {
    let (mut world, _, conn) = victim();
    for _ in 0..1100 {
        flood(&mut world, conn, app_frame(Bytes::from_static(b"x")).unwrap());
    }
    assert_eq!(deliveries(&mut world), 1024);
    assert_eq!(drops(&world, DropReason::ForwardRateLimited), 76);
}

#[test]
fn routed_frames_are_charged_before_they_are_decoded() {
    let (mut world, _, conn) = victim();
    for _ in 0..1030 {
        flood(&mut world, conn, Bytes::from_static(b"\x01\x01\x02\xff\xff"));
    }
    assert_eq!(drops(&world, DropReason::MalformedMessage), 1024);
    assert_eq!(drops(&world, DropReason::ForwardRateLimited), 6);
}

#[test]
fn a_budget_survives_a_reconnect() {
    let (mut world, puppet, conn) = victim();
    for _ in 0..1024 {
        flood(&mut world, conn, Bytes::from_static(b"\x01\x01\x00"));
    }
    flood(&mut world, conn, wire::Leave.to_frame());
    let again = world.open(puppet, 0);
    flood(&mut world, again, Bytes::from_static(b"\x01\x01\x00"));
    assert_eq!(drops(&world, DropReason::ForwardRateLimited), 1);
}

#[test]
fn originators_without_work_are_dropped_at_the_first_hop() {
    let mut world = EngineNet::new();
    let mut dear = (0..).filter(|&n| identity(n).id().leading_zeros() >= 1);
    let mut cheap = (0..).filter(|&n| identity(n).id().leading_zeros() == 0);
    let strict = Config { difficulty: 1, ..Config::default() };
    world.add_as(identity(dear.next().unwrap()), strict);
    let puppet = world.add_puppet(identity(dear.next().unwrap()));
    let conn = world.open(puppet, 0);
    world.say(conn, wire::Ping.to_frame());
    let (target, wall) = (world.id(0), world.wall());
    world.say(conn, route(cheap.next().unwrap(), target, wall, b"cheap"));
    assert_eq!(drops(&world, DropReason::OriginatorWorkUnmet), 1);
    world.say(conn, route(dear.next().unwrap(), target, wall, b"dear"));
    assert_eq!(deliveries(&mut world), 1);
}

#[test]
fn an_application_that_does_not_read_loses_the_newest_messages() {
    let (mut world, _, conn) = victim();
    let payloads: Vec<Frame> = (0..300_u64)
        .map(|i| app_frame(Bytes::copy_from_slice(&i.to_be_bytes())).unwrap())
        .collect();
    let conn = ConnId(conn.0 ^ 1);
    world.with_engine(0, |engine, now, wire| {
        for frame in payloads {
            engine.handle_transport(now, crate::transport::Event::Frame { conn, frame }, wire);
        }
        engine.check();
    });
    let events = world.events(0);
    assert_eq!(events.len(), 256);
    let first = matches!(&events[0], Event::Delivered { payload, .. } if payload[..] == [0; 8]);
    assert!(first, "{events:?}");
    assert_eq!(drops(&world, DropReason::DeliveryQueueFull), 44);
}

#[test]
fn a_message_never_returns_to_its_sender_and_a_lookup_that_ends_here_is_answered() {
    let (mut world, puppet, conn) = victim();
    let target = world.id(puppet);
    let wall = world.wall();
    world.say(conn, route(60, target, wall, b"to itself"));
    assert_eq!(drops(&world, DropReason::DeadEnd), 1);
    world.say(conn, lookup(60, target, wall, 1));
    world.run_for(SECOND);
    let answers = world.heard(puppet, FrameType::Neighbors);
    assert_eq!(answers.len(), 1);
}

/// The contact of `who` in the victim's answer to a puppet that asks for the nodes near it.
fn caps_in_answer(world: &mut EngineNet, (puppet, conn): (Who, ConnId), who: Who) -> Capabilities {
    world.say(conn, Siblings { nonce: [9; 8] }.to_frame());
    world.run_for(SECOND);
    let answer = world.heard(puppet, FrameType::Neighbors).pop().unwrap();
    let answer = Neighbors::decode_exact(&routed(answer).into_payload()).unwrap();
    let id = world.id(who);
    let contact = answer.contacts.as_slice().iter().find(|contact| contact.id == id);
    contact.unwrap().capabilities
}

/// The nonce of what the victim last asked this puppet.
fn asked(world: &mut EngineNet, puppet: Who) -> wire::Nonce {
    let question = world.heard(puppet, FrameType::Lookup).pop().expect("it asks who is near");
    Lookup::decode_exact(&routed(question).into_payload()).unwrap().nonce
}

/// A light node is left out of routes, so a peer counts as light only on its own claim.
#[test]
fn a_false_light_bit_is_not_passed_on() {
    let (mut world, liar, conn) = victim();
    let honest = world.add_puppet(identity(51));
    let honest_conn = world.open(honest, 0);
    world.say(honest_conn, wire::Ping.to_frame());
    world.run_for(5 * SECOND);
    let nonce = asked(&mut world, liar);
    let lie = wire::Contact {
        key: Some(*world.identity(honest).public_key()),
        capabilities: Capabilities::LIGHT.with(Capabilities::PUBLIC_ANCHOR),
        ..wire::Contact::new(world.id(honest))
    };
    let answer = Neighbors::new(nonce, [lie]).to_bytes();
    let answer = sign(50, FrameType::Neighbors, world.id(0), world.wall(), &answer);
    world.say(conn, answer.to_frame(FrameType::Neighbors));
    assert_eq!(caps_in_answer(&mut world, (liar, conn), honest), Capabilities::PUBLIC_ANCHOR);
    let capabilities = Capabilities::LIGHT;
    world.say(honest_conn, wire::CapablePing { capabilities }.to_frame());
    assert_eq!(caps_in_answer(&mut world, (liar, conn), honest), Capabilities::LIGHT);
}

/// Messages sent in a neighbour's name do not keep its answers out.
#[test]
fn an_answer_that_was_asked_for_is_taken_whatever_its_sender_is_charged() {
    let (mut world, puppet, conn) = victim();
    world.run_for(5 * SECOND);
    let (nonce, target, wall) = (asked(&mut world, puppet), world.id(0), world.wall());
    for nonce in 0..32 {
        flood(&mut world, conn, lookup(50, target, wall, nonce));
    }
    let stranger = identity(70);
    let contact = wire::Contact {
        key: Some(*stranger.public_key()),
        addrs: vec![wire::Addr::from_socket_addr("10.9.9.9:4242".parse().unwrap())],
        ..wire::Contact::new(stranger.id())
    };
    let answer = Neighbors::new(nonce, [contact]).to_bytes();
    let answer = sign(50, FrameType::Neighbors, target, wall, &answer);
    let before = world.engine(0).gauges().contacts;
    flood(&mut world, conn, answer.to_frame(FrameType::Neighbors));
    assert_eq!(world.engine(0).gauges().contacts, before + 1);
}

#[test]
fn an_unsolicited_answer_is_dropped() {
    let (mut world, _, conn) = victim();
    let neighbors = Neighbors::new([0; 8], []).to_bytes();
    let envelope = sign(50, FrameType::Neighbors, world.id(0), world.wall(), &neighbors);
    world.say(conn, envelope.to_frame(FrameType::Neighbors));
    world.say(conn, Bytes::from_static(b"\x01\x03\x02\x00\x00"));
    assert_eq!(drops(&world, DropReason::Unsolicited), 2);
}

#[test]
fn unknown_types_do_not_keep_an_edge_alive() {
    let (mut world, puppet, conn) = victim();
    for _ in 0..25 {
        world.say(conn, Bytes::from_static(b"\x01\x63\x00"));
        world.run_for(SECOND);
    }
    world.run_for(22 * SECOND);
    let (peer, reason) = (world.id(puppet), EdgeDownReason::Dead);
    assert_eq!(world.events(0)[0], Event::EdgeDown { peer, reason });
}

#[test]
fn frames_on_conns_that_are_gone_are_counted_and_have_no_other_effect() {
    let (mut world, _, conn) = victim();
    flood(&mut world, conn, wire::Leave.to_frame());
    flood(&mut world, conn, wire::Ping.to_frame());
    flood(&mut world, ConnId(999), wire::Ping.to_frame());
    assert_eq!(drops(&world, DropReason::UnknownConn), 2);
    assert!(world.peers(0).is_empty());
}

#[test]
fn a_sibling_answer_names_the_neighbours_and_the_node_itself() {
    let (mut world, puppet, conn) = victim();
    let other = world.add(Config::default());
    world.connect(0, other);
    world.run_for(SECOND);
    let here = world.addr(0);
    world.with_engine(0, |engine, now, _| engine.handle_local_addrs(now, &[here]));
    world.say(conn, Siblings { nonce: [3; 8] }.to_frame());
    world.run_for(LATENCY);
    let answer = Frame::from(world.heard(puppet, FrameType::Neighbors).remove(0));
    let (_, payload_at) = FrameHeader::of(&answer).unwrap();
    let answer = RoutedFrame::parse(answer, FrameType::Neighbors, payload_at).unwrap();
    assert_eq!((answer.hop_limit(), *answer.target()), (1, world.id(puppet)));
    let digest = answer.signing_digest(&Ed25519Crypto);
    assert!(answer.is_signed(&digest, &Ed25519Crypto));
    let neighbors = Neighbors::decode_exact(&answer.into_payload()).unwrap();
    assert_eq!(neighbors.nonce, [3; 8]);
    let named: Vec<_> = neighbors
        .contacts
        .as_slice()
        .iter()
        .map(|contact| (contact.id, contact.key, contact.addrs.clone()))
        .collect();
    let expected: Vec<_> = [other, 0]
        .map(|who| {
            let key = Some(*world.identity(who).public_key());
            (world.id(who), key, vec![wire::Addr::from_socket_addr(world.addr(who))])
        })
        .into();
    assert_eq!(named, expected);
}

#[test]
fn a_wrong_clock_is_suspected_once() {
    let (mut world, _, conn) = victim();
    let target = world.id(0);
    for i in 0..40_u64 {
        let sent = UnixNanos(world.wall().0 + 3_600_000_000_000);
        world.say(conn, route(60 + i, target, sent, b"from the future"));
    }
    assert_eq!(world.events(0), [Event::ClockSkewSuspected { offset_s: 3600 }]);
}

#[test]
fn a_step_of_the_wall_clock_ends_no_edge() {
    let (mut world, _, _) = victim();
    for wall in [WALL.0 + 86_400_000_000_000, WALL.0 - 86_400_000_000_000] {
        world.with_engine(0, |engine, now, _| engine.handle_wall_clock(now, UnixNanos(wall)));
        world.run_for(5 * SECOND);
    }
    assert_eq!(world.peers(0).len(), 1);
    assert_eq!(world.engine(0).stats().counters.wall_clock_setbacks, 1);
}

#[test]
fn a_wall_clock_at_the_ends_of_its_range_does_no_harm() {
    let (mut world, puppet, _) = victim();
    for wall in [i64::MAX, i64::MIN, 0, i64::MAX - 1, WALL.0] {
        world.with_engine(0, |engine, now, _| engine.handle_wall_clock(now, UnixNanos(wall)));
        world.send(0, puppet, b"when?");
        world.run_for(SECOND / 10);
    }
    assert_eq!(world.heard(puppet, FrameType::Route).len(), 5);
}
