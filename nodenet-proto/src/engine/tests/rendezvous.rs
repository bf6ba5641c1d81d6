//! Rendezvous and sealed messages between engines (PROTOCOL.md#rendezvous).

use std::time::Duration;

use bytes::Bytes;

use super::kit::{EngineNet, Who, identity};
use super::puppets::{drops, flood, routed, sign, victim};
use crate::api::{
    AddressPolicy, Command, Config, DeliveryPath, Event, FoundPeer, RendezvousError, SendFailure,
};
use crate::env::Ed25519Crypto;
use crate::stats::DropReason;
use crate::wire::rendezvous::{Hello, Reply};
use crate::wire::{self, AddrList, Decode, Encode, FrameType, Message};

const SECOND: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(10);

/// Engines in a row, each with edges to the next only.
fn row(configs: impl IntoIterator<Item = Config>) -> EngineNet {
    let mut world = EngineNet::new();
    let count = configs.into_iter().map(|config| world.add(config)).count();
    for who in 1..count {
        world.connect(who - 1, who);
    }
    world.run_for(SECOND);
    for who in 0..count {
        let addr = world.addr(who);
        world.with_engine(who, |engine, now, _| engine.handle_local_addrs(now, &[addr]));
        world.events(who);
    }
    world
}

fn still() -> Config {
    Config { maintenance: false, ..Config::default() }
}

fn rendezvous(world: &mut EngineNet, from: Who, to: Who) -> crate::api::RequestId {
    let target = world.id(to);
    world.command(from, |request| Command::Rendezvous { request, target, within: WITHIN })
}

fn found(world: &EngineNet, who: Who) -> FoundPeer {
    let of = world.identity(who);
    FoundPeer {
        id: of.id(),
        key: *of.public_key(),
        exchange_key: *of.exchange_key(),
        addrs: vec![world.addr(who)],
    }
}

#[test]
fn a_rendezvous_brings_keys_and_addresses_of_a_node_without_an_edge() {
    let mut world = row([still(), still(), still()]);
    let request = rendezvous(&mut world, 0, 2);
    world.run_for(SECOND);
    let peer = found(&world, 2);
    assert_eq!(world.events(0), [Event::Found { request, peer }]);
    let asked_of = world.engine(0).edges(&world.wire)[0].clone();
    assert_eq!((asked_of.questions, asked_of.unanswered), (1, 0));
    let exported = world.engine(0).export_peers(&world.wire);
    assert!(exported.contains(&world.known(2)), "it is a contact now");
    let exported = world.engine(2).export_peers(&world.wire);
    assert!(exported.contains(&world.known(0)), "and so is the requester");
}

#[test]
fn a_rendezvous_with_itself_or_without_edges_is_settled_at_once() {
    let mut world = EngineNet::still(1);
    let request = rendezvous(&mut world, 0, 0);
    let peer = FoundPeer { addrs: Vec::new(), ..found(&world, 0) };
    assert_eq!(world.events(0), [Event::Found { request, peer }]);
    let target = identity(70).id();
    let within = WITHIN;
    let request = world.command(0, |request| Command::Rendezvous { request, target, within });
    let error = RendezvousError::Unroutable;
    assert_eq!(world.events(0), [Event::RendezvousFailed { request, error }]);
}

#[test]
fn a_rendezvous_with_a_node_that_is_gone_fails_at_the_deadline_of_the_caller() {
    let mut world = row([still(), still(), still()]);
    world.crash(2);
    let request = rendezvous(&mut world, 0, 2);
    world.run_for(WITHIN - Duration::from_millis(1));
    assert_eq!(world.events(0), []);
    world.run_for(Duration::from_millis(1));
    let error = RendezvousError::Unanswered;
    assert_eq!(world.events(0), [Event::RendezvousFailed { request, error }]);
    let asked_of = world.engine(0).edges(&world.wire)[0].clone();
    assert_eq!((asked_of.questions, asked_of.unanswered), (5, 5), "at 0, 1, 2.5, 4.75 and 8.1 s");
}

/// The nearest first hop, a puppet, takes Hellos and forwards none.
#[test]
fn a_rendezvous_gets_around_a_first_hop_that_drops_what_it_takes() {
    let mut world = row([still(), still()]);
    let target = world.id(1);
    let away = |number: &u64| target.compare_distance(&identity(*number).id(), &world.id(0));
    let near: Vec<u64> = (100..200).filter(|number| away(number).is_lt()).take(3).collect();
    let asker = world.add(still());
    for number in &near {
        let puppet = world.add_puppet(identity(*number));
        let conn = world.open(puppet, asker);
        world.say(conn, wire::Ping.to_frame());
    }
    world.connect(asker, 0);
    world.run_for(SECOND);
    world.events(asker);
    let request = rendezvous(&mut world, asker, 1);
    world.run_for(Duration::from_millis(700));
    assert_eq!(world.events(asker), [], "three first hops took the first question");
    world.run_for(SECOND);
    let peer = found(&world, 1);
    assert_eq!(world.events(asker), [Event::Found { request, peer }]);
    // There are four edges, so the second question leaves over two of the first as well.
    for edge in world.engine(asker).edges(&world.wire) {
        let is_puppet = edge.peer != world.id(0);
        assert_eq!(edge.unanswered, u32::from(is_puppet), "{edge:?}");
        assert!(edge.questions > 0);
    }
}

#[test]
fn a_sealed_message_asks_for_the_key_once_and_is_opened_by_its_target_alone() {
    let mut world = row([still(), still(), still()]);
    let target = world.id(2);
    for text in [&b"first"[..], b"second"] {
        let payload = Bytes::from_static(text);
        let within = WITHIN;
        let request = world.command(0, |request| Command::SendSealed {
            request,
            target,
            payload: payload.clone(),
            within,
        });
        world.run_for(SECOND);
        assert_eq!(world.events(0), [Event::Sent { request, copies: 1 }]);
        let delivered = Event::Delivered {
            originator: world.id(0),
            payload,
            path: DeliveryPath::Routed { hops: 2 },
            sealed: true,
            request: None,
        };
        assert_eq!(world.events(2), [delivered]);
    }
    let hellos = world.wire.sent.iter().filter(|sent| sent.3 == FrameType::Hello.to_byte());
    assert_eq!(hellos.count(), 2, "one question, over two edges");
}

#[test]
fn a_sealed_message_to_a_node_that_does_not_answer_is_not_sent() {
    let mut world = row([still(), still()]);
    let (target, payload, within) = (identity(70).id(), Bytes::from_static(b"secret"), WITHIN);
    let request =
        world.command(0, |request| Command::SendSealed { request, target, payload, within });
    world.run_for(WITHIN);
    let error = SendFailure::NoKey;
    assert_eq!(world.events(0), [Event::SendFailed { request, error }]);
}

#[test]
fn a_sealed_message_to_this_node_itself_is_delivered_as_sealed() {
    let mut world = EngineNet::still(1);
    let (originator, payload) = (world.id(0), Bytes::from_static(b"to myself"));
    let (target, within, copy) = (originator, WITHIN, payload.clone());
    let request =
        world.command(0, |request| Command::SendSealed { request, target, payload: copy, within });
    let (path, request) = (DeliveryPath::Routed { hops: 0 }, Some(request));
    let delivered = Event::Delivered { originator, payload, path, sealed: true, request };
    assert_eq!(world.events(0), [delivered]);
}

#[test]
fn open_requests_are_settled_when_the_node_leaves() {
    let mut world = row([still(), still()]);
    let (target, payload, within) = (identity(70).id(), Bytes::from_static(b"secret"), WITHIN);
    let asked = world.command(0, |request| Command::Rendezvous { request, target, within });
    let sealed =
        world.command(0, |request| Command::SendSealed { request, target, payload, within });
    world.leave(0);
    let events = world.events(0);
    let error = RendezvousError::Closed;
    assert!(events.contains(&Event::RendezvousFailed { request: asked, error }), "{events:?}");
    let error = SendFailure::Closed;
    assert!(events.contains(&Event::SendFailed { request: sealed, error }), "{events:?}");
}

/// A Hello of participant `who` for engine 0, in an envelope made now.
fn hello(world: &EngineNet, who: u64, nonce: u8) -> crate::buf::Frame {
    let (crypto, target) = (&Ed25519Crypto, world.id(0));
    let hello = Hello::sign(crypto, &identity(who), &target, AddrList::new(), [nonce; 16]);
    sign(who, FrameType::Hello, target, world.wall(), &hello.to_bytes()).to_frame(FrameType::Hello)
}

/// THREATS.md#b14, THREATS.md#hellos-multiply
#[test]
fn a_captured_hello_is_answered_once_and_a_redirected_one_never() {
    let (mut world, puppet, conn) = victim();
    let captured = hello(&world, 60, 1);
    for _ in 0..3 {
        world.say(conn, captured.to_bytes());
    }
    assert_eq!(world.heard(puppet, FrameType::Reply).len(), 1);
    assert_eq!(drops(&world, DropReason::Duplicate), 2);
    // The originator stamps the same question again.
    world.say(conn, hello(&world, 60, 1));
    assert_eq!(drops(&world, DropReason::HelloRepeated), 1);
    // A forwarder puts it into an envelope of its own.
    let payload = routed(hello(&world, 60, 2).to_bytes()).into_payload();
    let redirected = sign(61, FrameType::Hello, world.id(0), world.wall(), &payload);
    world.say(conn, redirected.to_frame(FrameType::Hello));
    assert_eq!(drops(&world, DropReason::HelloRefused), 1);
    assert_eq!(world.heard(puppet, FrameType::Reply).len(), 0);
}

/// Identities cost nothing, so each Hello has a fresh one.
///
/// THREATS.md#hello-flood
#[test]
fn a_flood_of_hellos_is_refused_before_a_signature_is_verified() {
    let (mut world, puppet, conn) = victim();
    for who in 1_000..1_400 {
        let hello = hello(&world, who, 1);
        flood(&mut world, conn, hello);
    }
    let mut forged = sign(1_500, FrameType::Hello, world.id(0), world.wall(), b"forged");
    forged.key = *identity(1_501).public_key();
    let forged = forged.to_frame(FrameType::Hello);
    flood(&mut world, conn, forged.to_bytes());
    assert_eq!(drops(&world, DropReason::HelloRateLimited), 400 - 116 + 1);
    assert_eq!(drops(&world, DropReason::BadSignature), 0, "it was not verified");
    world.run_for(SECOND);
    assert_eq!(world.heard(puppet, FrameType::Reply).len(), 32, "what the edge takes at once");
    world.say(conn, forged);
    assert_eq!(drops(&world, DropReason::BadSignature), 1, "there is budget again");
}

#[test]
fn a_reply_that_was_not_asked_for_teaches_nothing() {
    let (mut world, _, conn) = victim();
    let reply = Reply::sign(&Ed25519Crypto, &identity(60), AddrList::new(), [1; 16]).to_bytes();
    let reply = sign(60, FrameType::Reply, world.id(0), world.wall(), &reply);
    world.say(conn, reply.to_frame(FrameType::Reply));
    assert_eq!(drops(&world, DropReason::Unsolicited), 1);
    assert_eq!(world.engine(0).gauges().exchange_keys, 0);
}

#[test]
fn a_node_that_only_relays_may_reach_names_no_address() {
    let hidden = Config { address_policy: AddressPolicy::RelayOnly, ..still() };
    let mut world = row([still(), still(), hidden]);
    let request = rendezvous(&mut world, 0, 2);
    world.run_for(SECOND);
    let peer = FoundPeer { addrs: Vec::new(), ..found(&world, 2) };
    assert_eq!(world.events(0), [Event::Found { request, peer }]);
}

#[test]
fn a_hello_of_this_node_decodes_as_the_reference_does() {
    let (mut world, puppet, _) = victim();
    let (target, within) = (identity(70).id(), WITHIN);
    world.command(0, |request| Command::Rendezvous { request, target, within });
    world.run_for(SECOND / 10);
    let heard = world.heard(puppet, FrameType::Hello);
    let message = routed(heard[0].clone());
    assert_eq!((message.target(), message.hop_limit()), (&target, 16));
    let hello = Hello::decode_exact(&message.into_payload()).expect("well formed");
    assert!(hello.verify(&Ed25519Crypto, &target, world.identity(0).public_key()));
}
