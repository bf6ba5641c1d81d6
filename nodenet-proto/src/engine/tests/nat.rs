//! Connects and their answers at whole engines: who may cause them, and how often.

use std::time::Duration;

use super::kit::identity;
use super::puppets::{drops, flood, sign, victim};
use crate::stats::DropReason;
use crate::wire::nat::{Connect, ConnectAck};
use crate::wire::{Addr, AddrList, Decode, Encode, FrameType};

use super::puppets::routed;

const SECOND: Duration = Duration::from_secs(1);

/// The payload of a Connect that names this address.
fn connect(number: u8, addr: &str) -> Vec<u8> {
    let addrs = AddrList::first_of([Addr::new(b"quic", addr.as_bytes())]);
    Connect { nonce: [number; 16], addrs }.to_bytes().to_vec()
}

#[test]
fn a_connect_that_is_forged_or_repeated_is_not_answered_twice() {
    let (mut world, puppet, conn) = victim();
    let (target, now) = (world.id(0), world.wall());
    let payload = connect(1, "198.51.100.1:1");
    let mut forged = sign(60, FrameType::Connect, target, now, &payload);
    forged.key = *identity(61).public_key();
    world.say(conn, forged.to_frame(FrameType::Connect));
    assert_eq!(drops(&world, DropReason::BadSignature), 1);
    let genuine = sign(60, FrameType::Connect, target, now, &payload);
    for _ in 0..3 {
        world.say(conn, genuine.to_frame(FrameType::Connect));
    }
    // As an answer it is no better.
    world.say(conn, genuine.to_frame(FrameType::ConnectAck));
    assert_eq!(drops(&world, DropReason::Duplicate), 2);
    assert_eq!(drops(&world, DropReason::BadSignature), 2);
    world.run_for(SECOND);
    let acks = world.heard(puppet, FrameType::ConnectAck);
    assert_eq!(acks.len(), 1);
    let ack = ConnectAck::decode_front(&routed(acks[0].clone()).into_payload());
    assert_eq!(ack.map(|ack| ack.nonce), Ok([1; 16]));
    assert_eq!(world.punches(), vec!["198.51.100.1:1".parse().expect("a literal"); 1 + 5]);
}

/// THREATS.md#c3
#[test]
fn two_hundred_connects_of_one_originator_draw_thirty_two_answers_and_four_bursts() {
    let (mut world, puppet, conn) = victim();
    let (target, now) = (world.id(0), world.wall());
    for number in 0..200 {
        let payload = connect(number, &format!("198.51.{number}.1:1"));
        let message = sign(60, FrameType::Connect, target, now, &payload);
        flood(&mut world, conn, message.to_frame(FrameType::Connect));
    }
    assert_eq!(drops(&world, DropReason::OriginatorRateLimited), 168);
    assert_eq!(drops(&world, DropReason::PunchRateLimited), 28);
    world.run_for(SECOND);
    assert_eq!(world.punches().len(), 4 * (1 + 5));
    let acks = world.heard(puppet, FrameType::ConnectAck).len();
    assert!((30..=32).contains(&acks), "{acks}");
}

/// THREATS.md#e6
#[test]
fn an_answer_that_nothing_asked_for_is_counted() {
    let (mut world, _, conn) = victim();
    let payload = ConnectAck { nonce: [1; 16], addrs: AddrList::new() }.to_bytes();
    let message = sign(60, FrameType::ConnectAck, world.id(0), world.wall(), &payload);
    world.say(conn, message.to_frame(FrameType::ConnectAck));
    assert_eq!(drops(&world, DropReason::Unsolicited), 1);
    assert!(world.punches().is_empty());
}
