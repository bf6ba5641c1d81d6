//! Light nodes and their neighbours: batches of pings, and patience with a silent light peer.

use std::time::Duration;

use super::kit::{EngineNet, LATENCY, identity};
use crate::api::{Config, EdgeDownReason, Event, Profile};
use crate::transport::ConnId;
use crate::wire::{self, Capabilities, FrameType, Message};

const SECOND: Duration = Duration::from_secs(1);

/// Pings that left so far on this end of a conn.
fn pings(world: &EngineNet, conn: ConnId) -> usize {
    let is_ping = (conn, FrameType::Ping.to_byte());
    world.wire.sent.iter().filter(|(_, on, _, kind)| (*on, *kind) == is_ping).count()
}

#[test]
fn a_light_node_announces_itself_at_once_on_an_inbound_edge() {
    let mut world = EngineNet::new();
    world.add(Config::default());
    world.add(Config { profile: Profile::Light, ..Config::default() });
    world.connect(0, 1);
    world.run_for(SECOND);
    assert_eq!(pings(&world, world.conns_between(1, 0)[0]), 1);
}

/// Messages and edges since the last batch delay no ping to the batch after the next: no NAT keeps
/// a mapping for that long.
#[test]
fn a_light_node_pings_every_edge_in_every_batch() {
    let mut world = EngineNet::new();
    world.add(Config { profile: Profile::Light, ..Config::default() });
    world.add(Config::default());
    world.add(Config::default());
    world.connect(0, 1);
    let seconds_to_next_ping = |world: &mut EngineNet, peer| {
        let conn = world.conns_between(0, peer)[0];
        let before = pings(world, conn);
        let is_due = |_: &u32| {
            world.run_for(SECOND);
            pings(world, conn) > before
        };
        (1..=300).find(is_due).expect("it pings")
    };
    world.run_for(SECOND);
    for _ in 0..3 {
        seconds_to_next_ping(&mut world, 1);
    }
    world.run_for(50 * SECOND);
    world.send(1, 0, b"are you there");
    assert!((58..=62).contains(&seconds_to_next_ping(&mut world, 1)), "after a message");
    world.run_for(50 * SECOND);
    world.connect(2, 0);
    world.run_for(SECOND);
    assert!((57..=61).contains(&seconds_to_next_ping(&mut world, 2)), "after an edge came up");
}

/// One of its own batches may be missed. After that the peer could be dead, and here it is.
#[test]
fn a_silent_light_peer_is_pinged_after_four_minutes() {
    let mut world = EngineNet::of(1);
    let [light, awake] = [50, 51].map(|number| world.add_puppet(identity(number)));
    let ends = [light, awake].map(|puppet| world.open(puppet, 0));
    let capabilities = Capabilities::LIGHT;
    world.say(ends[0], wire::CapablePing { capabilities }.to_frame());
    world.say(ends[1], wire::Ping.to_frame());
    let conns = ends.map(|end| ConnId(end.0 ^ 1));
    let asked = |world: &EngineNet| conns.map(|conn| pings(world, conn));
    // Half a minute, a tenth of it for jitter, and the next check eight seconds later.
    world.run_for(41 * SECOND);
    assert_eq!(asked(&world).map(|count| count > 0), [false, true]);
    world.run_for((240 - 24 - 41) * SECOND - LATENCY);
    assert_eq!(asked(&world)[0], 0, "a tenth for jitter");
    let is_asked = |_| {
        world.run_for(SECOND);
        asked(&world)[0] > 0
    };
    assert!((216..=240 + 24 + 8).any(is_asked));
    world.events(0);
    world.run_for(6 * SECOND);
    let (peer, reason) = (world.id(light), EdgeDownReason::Dead);
    assert!(world.events(0).contains(&Event::EdgeDown { peer, reason }));
}
