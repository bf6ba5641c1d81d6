//! Exhaustion of places: conns, edges, and dials that peers can cause.

use std::net::IpAddr;
use std::time::Duration;

use super::kit::{EngineNet, Who, identity};
use super::puppets::drops;
use crate::api::{Command, Config, KnownPeer};
use crate::stats::DropReason;
use crate::transport::ConnId;
use crate::wire::{self, Message};

const SECOND: Duration = Duration::from_secs(1);

/// Conns without a frame are closed for new ones, the oldest first.
#[test]
fn silent_conns_do_not_keep_a_new_peer_out() {
    let mut world = EngineNet::of(1);
    let mute = world.add_puppet(identity(50));
    let conns: Vec<ConnId> = (0..300).map(|_| world.open(mute, 0)).collect();
    world.run_for(SECOND);
    assert_eq!(world.conns_between(mute, 0), conns[300 - 64..], "a quarter of the places");
    assert_eq!(drops(&world, DropReason::InboundFull), 300 - 64);
    let newcomer = world.add_puppet(identity(51));
    let conn = world.open(newcomer, 0);
    world.say(conn, wire::Ping.to_frame());
    assert_eq!(world.peers(0), [newcomer]);
    let late = world.open(mute, 0);
    world.say(late, wire::Ping.to_frame());
    assert_eq!(world.peers(0).len(), 2, "a conn with a frame becomes an edge");
}

/// Sixty-four peers at one host, and one elsewhere that does not wait for them.
#[test]
fn a_host_that_gossip_names_again_and_again_is_dialed_at_eight_ports_at_once() {
    let mut world = EngineNet::of(2);
    // No NAT is before a host of the own network, so that it is dialed without a question.
    let host = [192, 168, 2, 1];
    let named = (0..64).map(|number| {
        let identity = identity(100 + number);
        let addrs = vec![(host, 4000 + number as u16).into()];
        KnownPeer { id: identity.id(), key: *identity.public_key(), addrs }
    });
    let peers = named.chain([world.known(1)]).collect();
    world.command(0, |_| Command::ImportPeers(peers));
    world.run_for(60 * SECOND);
    assert_eq!(world.peers(0), [1]);
    let dials = world.wire.dials.iter();
    let begun: Vec<_> =
        dials.filter(|dial| dial.3.ip() == IpAddr::from(host)).map(|dial| dial.0).collect();
    let lasts = 3 * SECOND;
    for at in &begun {
        let until = *at..*at + lasts;
        assert!(begun.iter().filter(|other| until.contains(other)).count() <= 8);
    }
    assert!(begun.len() > 100, "they get their turn: {}", begun.len());
}

/// The transport has as many places for conns as the engine has for edges.
#[test]
fn three_conns_a_peer_do_not_keep_new_peers_out() {
    let mut world = EngineNet::new();
    world.add(Config { inbound_edges_max: 16, ..Config::default() });
    let greedy: Vec<Who> = (50..55).map(|number| world.add_puppet(identity(number))).collect();
    for _ in 0..3 {
        for puppet in &greedy {
            let conn = world.open(*puppet, 0);
            world.say(conn, wire::Ping.to_frame());
        }
    }
    let conns = |world: &EngineNet, who: &Who| world.conns_between(*who, 0).len();
    let held = |world: &EngineNet| greedy.iter().map(|puppet| conns(world, puppet)).sum::<usize>();
    assert_eq!((held(&world), world.peers(0).len()), (14, 5), "two places are kept free");
    for number in 60..69 {
        let newcomer = world.add_puppet(identity(number));
        let conn = world.open(newcomer, 0);
        world.say(conn, wire::Ping.to_frame());
        assert!(held(&world) + world.peers(0).len() - 5 <= 14);
    }
    assert_eq!((held(&world), world.peers(0).len()), (5, 14), "no peer lost an edge");
}

/// A host at its limit of dials does not get a peer evicted that has an address there.
#[test]
fn a_contact_is_not_evicted_for_an_address_that_was_not_dialed() {
    let mut world = EngineNet::of(2);
    let host = world.addr(1).ip();
    let fakes = (0..64).map(|number| {
        let identity = identity(100 + number);
        let addrs = vec![(host, 5000 + number as u16).into()];
        KnownPeer { id: identity.id(), key: *identity.public_key(), addrs }
    });
    world.command(0, |_| Command::ImportPeers(fakes.collect()));
    world.run_for(SECOND);
    let mut victim = world.known(1);
    victim.addrs.push((IpAddr::from([192, 0, 2, 9]), 1).into());
    world.command(0, |_| Command::ImportPeers(vec![victim]));
    world.run_for(120 * SECOND);
    let elsewhere = |dial: &&(_, _, _, std::net::SocketAddr)| dial.3.ip() != host;
    assert!(
        world.wire.dials.iter().filter(elsewhere).count() >= 3,
        "it was dialed where it is not"
    );
    assert_eq!(world.peers(0), [1]);
}
