//! Contacts without an edge: probes of incumbents, and which of them answers and exports name.

use std::time::Duration;

use super::kit::{EngineNet, LATENCY, Who, identity};
use crate::api::{Command, Config, KnownPeer};
use crate::buf::Frame;
use crate::transport::ConnId;
use crate::wire::{
    self, Addr, Decode, FrameHeader, FrameType, Message, Neighbors, RoutedFrame, Siblings,
};

const SECOND: Duration = Duration::from_secs(1);

/// A node whose farthest bucket is full of verified contacts. It has edges to all but two, which
/// closed theirs. They are not among the nearest and have a neighbour in their slot, so that no
/// slot needs them. They were seen 31 minutes ago, before all others; the first of them first.
struct FullBucket {
    world: EngineNet,
    incumbents: [Who; 2],
    newcomers: [Who; 2],
}

impl FullBucket {
    fn new() -> Self {
        let mut world = EngineNet::of(1);
        let own = world.id(0).as_bytes()[0];
        // The first bit names the bucket, the next two the slot in it, of which the last is the
        // farthest.
        let slot = |number: &u64| (identity(*number).id().as_bytes()[0] ^ own) >> 5;
        let mut add = |wanted: u8, count: usize| -> Vec<Who> {
            let numbers = (1..).filter(|number| slot(number) == wanted).take(count);
            let still = || Config { maintenance: false, ..Config::default() };
            numbers.map(|number| world.add_as(identity(number), still())).collect()
        };
        let nearest = [add(4, 6), add(5, 5), add(6, 5)].concat();
        let [first, second, edge, another, newcomer, last] = add(7, 6)[..] else { unreachable!() };
        let (incumbents, newcomers) = ([first, second], [newcomer, last]);
        let peer = world.id(0);
        for who in incumbents {
            world.connect(0, who);
            world.run_for(20 * LATENCY);
            world.command(who, |request| Command::CloseEdge { request, peer });
            world.run_for(20 * LATENCY);
        }
        for who in nearest.into_iter().chain([edge, another]) {
            world.connect(0, who);
            world.run_for(SECOND);
        }
        world.run_for(31 * 60 * SECOND);
        world.wire.dials.clear();
        let bench = Self { world, incumbents, newcomers };
        assert_eq!((bench.world.peers(0).len(), bench.contacts()), (18, (20, 0, 0)));
        bench
    }

    /// An answer names a new peer to the node, and the clock advances enough for a probe.
    fn mention(&mut self, newcomer: Who) {
        let known = vec![self.world.known(newcomer)];
        self.world.command(0, |_| Command::ImportPeers(known));
        self.world.run_for(40 * SECOND);
    }

    /// Numbers of entries, replacements and evicted contacts.
    fn contacts(&self) -> (u64, u64, u64) {
        let gauges = self.world.engine(0).gauges();
        (gauges.contacts, gauges.replacements, gauges.evicted)
    }

    fn dialed(&self) -> Vec<Who> {
        self.world.wire.dials.iter().map(|(_, _, peer, _)| self.world.who(peer)).collect()
    }
}

#[test]
fn a_dead_incumbent_of_a_full_bucket_fails_three_probes_and_a_new_contact_takes_its_place() {
    let mut bench = FullBucket::new();
    let ([dead, _], [newcomer, last]) = (bench.incumbents, bench.newcomers);
    bench.world.crash(dead);
    bench.mention(newcomer);
    bench.mention(newcomer);
    assert_eq!((bench.dialed(), bench.contacts()), (vec![dead; 2], (20, 1, 0)));
    bench.mention(newcomer);
    assert_eq!((bench.dialed(), bench.contacts()), (vec![dead; 3], (20, 0, 1)));
    bench.mention(newcomer);
    assert_eq!(bench.contacts(), (20, 0, 1), "it waits no more");
    bench.mention(last);
    assert_eq!(bench.contacts(), (20, 1, 1));
    assert_eq!(bench.dialed(), [dead; 3], "the new contact, never seen, is not probed");
}

#[test]
fn an_incumbent_that_answers_a_probe_stays_and_is_not_probed_again_soon() {
    let mut bench = FullBucket::new();
    let ([first, second], [newcomer, _]) = (bench.incumbents, bench.newcomers);
    bench.mention(newcomer);
    bench.mention(newcomer);
    assert_eq!((bench.dialed(), bench.contacts()), (vec![first, second], (20, 1, 0)));
    // The others are edges, and each mention probes one of them.
    for _ in 0..20 {
        bench.mention(newcomer);
    }
    assert_eq!((bench.dialed(), bench.contacts()), (vec![first, second], (20, 1, 0)));
    assert_eq!(bench.world.peers(0).len(), 18, "neither has become one");
}

/// A node, and a neighbour that asks it for its siblings.
fn asked() -> (EngineNet, Who, ConnId) {
    let mut world = EngineNet::still(3);
    let puppet = world.add_puppet(identity(50));
    let conn = world.open(puppet, 0);
    world.say(conn, wire::Ping.to_frame());
    (world, puppet, conn)
}

/// The addresses of `who` in its answer; nothing if the answer does not name it.
fn addrs_in_answer(
    world: &mut EngineNet,
    (puppet, conn): (Who, ConnId),
    who: Who,
) -> Option<Vec<Addr>> {
    world.say(conn, Siblings { nonce: [9; 8] }.to_frame());
    world.run_for(LATENCY);
    let frame = Frame::from(world.heard(puppet, FrameType::Neighbors).pop().unwrap());
    let (header, payload_at) = FrameHeader::of(&frame).unwrap();
    let answer = RoutedFrame::parse(frame, header.frame_type().unwrap(), payload_at).unwrap();
    let answer = Neighbors::decode_exact(&answer.into_payload()).unwrap();
    let id = world.id(who);
    let contact = answer.contacts.as_slice().iter().find(|contact| contact.id == id);
    contact.map(|contact| contact.addrs.clone())
}

#[test]
fn a_peer_without_an_edge_is_named_in_answers_for_ten_minutes_after_it_was_seen() {
    let (mut world, puppet, conn) = asked();
    let heard = world.now;
    world.connect(1, 0);
    world.run_for(SECOND);
    let peer = world.id(0);
    world.command(1, |request| Command::CloseEdge { request, peer });
    world.run_for(SECOND);
    let addrs = Some(vec![Addr::from_socket_addr(world.addr(1))]);
    assert_eq!(addrs_in_answer(&mut world, (puppet, conn), 1), addrs);
    world.run_for(599 * SECOND - (world.now - heard));
    assert_eq!(addrs_in_answer(&mut world, (puppet, conn), 1), addrs);
    world.run_for(2 * SECOND);
    assert_eq!(addrs_in_answer(&mut world, (puppet, conn), 1), None);
}

#[test]
fn gossiped_peers_and_addresses_are_not_passed_on() {
    let (mut world, puppet, conn) = asked();
    world.connect(1, 0);
    world.run_for(SECOND);
    let elsewhere = KnownPeer { addrs: vec![world.addr(2)], ..world.known(1) };
    let hearsay = vec![world.known(2), elsewhere];
    world.command(0, |_| Command::ImportPeers(hearsay));
    let own = Some(vec![Addr::from_socket_addr(world.addr(1))]);
    assert_eq!(addrs_in_answer(&mut world, (puppet, conn), 1), own);
    assert_eq!(addrs_in_answer(&mut world, (puppet, conn), 2), None, "this node never saw it");
    let peer = world.id(0);
    world.command(1, |request| Command::CloseEdge { request, peer });
    world.run_for(SECOND);
    assert_eq!(addrs_in_answer(&mut world, (puppet, conn), 1), own);
}

#[test]
fn an_inbound_peer_is_exported_at_its_current_address() {
    let mut world = EngineNet::of(2);
    world.connect(0, 1);
    let puppets: Vec<Who> = (50..53).map(|number| world.add_puppet(identity(number))).collect();
    world.run_for(SECOND);
    for &puppet in &puppets {
        let conn = world.open(puppet, 0);
        world.say(conn, wire::Ping.to_frame());
    }
    let exported = world.engine(0).export_peers(&world.wire);
    assert_eq!(exported[0], world.known(1), "where it was dialed comes first");
    let seen: Vec<KnownPeer> = puppets.iter().map(|&puppet| world.known(puppet)).collect();
    assert_eq!(exported.len(), 4);
    assert!(seen.iter().all(|peer| exported[1..].contains(peer)), "{exported:?}");
}
