//! Lifecycle of edges: joining, silence, loss, leaving, admission.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::kit::{EngineNet, LATENCY, Who, identity};
use crate::NodeId;
use crate::api::{
    Command, Config, ConnectError, EdgeDownReason, EdgePolicy, Event, INBOUND_EDGES_CAP,
    SendFailure,
};
use crate::stats::DropReason;
use crate::transport::ConnDownReason;
use crate::wire::{self, FrameType, Message};

const SECOND: Duration = Duration::from_secs(1);

fn pair() -> EngineNet {
    let mut world = EngineNet::of(2);
    world.bootstrap(0, 1);
    world.run_for(SECOND);
    world.events(0);
    world.events(1);
    world
}

fn frames(world: &EngineNet, from: Who, frame_type: FrameType) -> usize {
    let wanted = (from, frame_type.to_byte());
    world.wire.sent.iter().filter(|(who, _, _, kind)| (*who, *kind) == wanted).count()
}

#[test]
fn a_node_joins_through_its_bootstrap_peer_within_a_second() {
    let mut world = EngineNet::of(2);
    world.bootstrap(0, 1);
    world.run_for(SECOND);
    let (seed, joined) = (world.id(1), world.id(0));
    let up = |peer, outgoing, remote| Event::EdgeUp { peer, outgoing, remote };
    assert_eq!(world.events(0), [up(seed, true, world.addr(1))]);
    assert_eq!(world.events(1), [up(joined, false, world.addr(0))]);
}

#[test]
fn a_ping_shows_the_acceptor_an_edge_at_once() {
    let world = pair();
    let (at, ..) = world.wire.dials[0];
    assert!(at.duration_since(world.now - SECOND) <= Duration::from_millis(500));
    assert_eq!(frames(&world, 0, FrameType::Ping), 1);
    assert_eq!(frames(&world, 1, FrameType::Pong), 1);
}

#[test]
fn a_silent_edge_lasts_for_an_hour() {
    let mut world = EngineNet::new();
    for last in 0..2 {
        // A reachable node need not ask for new peers, so that only pings are left.
        let public_addrs = vec![SocketAddr::from(([10, 0, 0, last], 4242))];
        world.add(Config { public_addrs, ..Config::default() });
    }
    world.bootstrap(0, 1);
    world.run_for(SECOND);
    world.events(0);
    world.run_for(3600 * SECOND);
    assert_eq!(world.events(0), []);
    assert_eq!((world.peers(0), world.peers(1)), (vec![1], vec![0]));
    let pings = frames(&world, 0, FrameType::Ping) + frames(&world, 1, FrameType::Ping);
    // Half a minute, a tenth of it for jitter, and the next check eight seconds later: 87 at least.
    assert!((87..=180).contains(&pings), "{pings} pings");
}

#[test]
fn an_unreachable_node_asks_for_new_peers_every_minute() {
    let mut world = pair();
    world.run_for(3600 * SECOND);
    let lookups = frames(&world, 0, FrameType::Lookup);
    assert!((50..=75).contains(&lookups), "{lookups} lookups");
}

/// Of all that were dialed for one slot the fastest has it in the end. A peer that was
/// slower from the start never gets an edge.
#[test]
fn a_peer_that_is_tried_and_slower_never_becomes_an_edge() {
    let mut world = EngineNet::new();
    world.add(Config::default());
    let others: Vec<Who> =
        (1..160).map(|_| world.add(Config { maintenance: false, ..Config::default() })).collect();
    for &who in &others {
        // A round-trip time for each, none of them so low that there is nothing to gain.
        let rtt = Duration::from_millis(40 + (who as u64 * 37) % 160);
        world.wire.rtts.insert(world.addr(who), rtt);
    }
    let known = others.iter().map(|who| world.known(*who)).collect();
    world.command(0, |_| Command::ImportPeers(known));
    world.run_for(600 * SECOND);

    let dialed: BTreeSet<NodeId> = world.wire.dials.iter().map(|(_, _, peer, _)| *peer).collect();
    let tried: Vec<Who> =
        others.iter().copied().filter(|who| dialed.contains(&world.id(*who))).collect();
    // The first bit names the bucket, the next two the slot in it.
    let slot_of = |world: &EngineNet, who: Who| world.id(who).as_bytes()[0] >> 5;
    let own = slot_of(&world, 0);
    for slot in (0..8).filter(|slot| slot >> 2 != own >> 2) {
        let there = |who: &Who| slot_of(&world, *who) == slot;
        let rtt = |who: &Who| world.wire.rtts[&world.addr(*who)];
        let fastest = tried.iter().copied().filter(there).min_by_key(rtt).expect("there is a peer");
        let fingers: Vec<Who> = world.peers(0).into_iter().filter(there).collect();
        assert_eq!(fingers, [fastest], "slot {slot}");
    }
    let is_up = |event: &Event| matches!(event, Event::EdgeUp { .. });
    let had_edge = others.iter().filter(|who| world.events(**who).iter().any(is_up)).count();
    assert!(had_edge + 20 < tried.len(), "{had_edge} of {} tried", tried.len());
}

#[test]
fn a_dead_peer_is_detected_within_the_dead_threshold() {
    let mut world = pair();
    world.crash(1);
    world.run_for(47 * SECOND);
    let (peer, reason) = (world.id(1), EdgeDownReason::Dead);
    assert_eq!(world.events(0)[..1], [Event::EdgeDown { peer, reason }]);
}

/// One by one they would be detected within 110 seconds. The first deaths bring all checks forward.
#[test]
fn when_many_peers_die_at_once_all_are_detected_soon() {
    let mut world = EngineNet::of(1);
    for _ in 0..80 {
        let other = world.add(Config { maintenance: false, ..Config::default() });
        world.connect(other, 0);
        world.run_for(SECOND);
    }
    world.run_for(300 * SECOND);
    assert_eq!(world.peers(0).len(), 80);
    (1..=80).step_by(2).for_each(|who| world.crash(who));
    world.run_for(50 * SECOND);
    assert_eq!(world.peers(0).len(), 40);
}

#[test]
fn a_lost_bootstrap_peer_is_dialed_for_ever_and_found_again() {
    let mut world = pair();
    world.crash(1);
    world.run_for(3600 * SECOND);
    world.wire.dials.clear();
    world.run_for(600 * SECOND);
    assert!(world.wire.dials.len() >= 20, "isolated: an attempt every thirty seconds");
    world.restart(1);
    world.run_for(60 * SECOND);
    assert_eq!(world.peers(0), [1]);
}

#[test]
fn a_lost_peer_is_dialed_ever_more_rarely_and_then_evicted() {
    let mut world = EngineNet::of(3);
    world.connect(0, 1);
    world.connect(0, 2);
    world.run_for(SECOND);
    world.crash(1);
    world.run_for(3600 * SECOND);
    let dials: Vec<_> = world.wire.dials.iter().filter(|dial| dial.2 == world.id(1)).collect();
    let from_0 = dials.iter().filter(|dial| dial.1 == 0);
    let times: Vec<_> = from_0.map(|dial| dial.0).collect();
    // The application's, that of the renewal, and those of the topology.
    let waits: Vec<u64> = times[2..].windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!((15..=20).contains(&times.len()), "{waits:?}");
    for (i, wait) in waits.iter().enumerate() {
        // Three seconds for the attempt, then the wait with its jitter, rounded up to the next
        // fill.
        let ideal = (4_u64 << i.min(10)).min(60);
        assert!((3 + ideal * 8 / 10..=6 + ideal * 12 / 10).contains(wait), "{waits:?}");
    }
    assert!(world.now - *times.last().unwrap() > 1800 * SECOND, "it is forgotten");
}

#[test]
fn the_edge_of_a_node_that_leaves_ends_at_once() {
    let mut world = pair();
    let request = world.leave(1);
    world.run_for(LATENCY);
    let (peer, reason) = (world.id(1), EdgeDownReason::Left);
    assert_eq!(world.events(0), [Event::EdgeDown { peer, reason }]);
    world.run_for(SECOND);
    assert!(world.events(1).contains(&Event::Left { request }));
    assert!(world.peers(0).is_empty() && world.peers(1).is_empty());
}

/// It has no place, or leaves. A node without another edge dials it again sooner.
#[test]
fn a_peer_that_closed_the_edge_is_not_dialed_for_ten_minutes() {
    for (others, still_alone, again) in [(2, 470, 740), (1, 45, 80)] {
        let mut world = EngineNet::of(1);
        let peers =
            (1..=others).map(|_| world.add(Config { maintenance: false, ..Config::default() }));
        let peers: Vec<Who> = peers.collect();
        let known = peers.iter().map(|who| world.known(*who)).collect();
        world.command(0, |_| Command::ImportPeers(known));
        world.run_for(10 * SECOND);
        assert_eq!(world.peers(0).len(), others);
        let peer = world.id(0);
        world.command(1, |request| Command::CloseEdge { request, peer });
        world.run_for(still_alone * SECOND);
        assert!(!world.peers(0).contains(&1));
        world.run_for((again - still_alone) * SECOND);
        assert!(world.peers(0).contains(&1));
    }
}

/// A node without an outgoing edge no longer holds off the peers that closed theirs.
#[test]
fn a_node_that_loses_its_last_edge_dials_the_peers_again_that_closed_theirs() {
    let mut world = EngineNet::of(1);
    for _ in 0..2 {
        world.add(Config { maintenance: false, ..Config::default() });
    }
    let known = vec![world.known(1), world.known(2)];
    world.command(0, |_| Command::ImportPeers(known));
    world.run_for(10 * SECOND);
    let peer = world.id(0);
    world.command(1, |request| Command::CloseEdge { request, peer });
    world.run_for(SECOND);
    world.crash(2);
    // The loss is detected after 46 seconds, and then they are held off for a minute and a fifth.
    world.run_for((46 + 75) * SECOND);
    assert_eq!(world.peers(0), [1]);
}

#[test]
fn a_slot_without_a_contact_leads_to_a_lookup() {
    let mut world = EngineNet::new();
    // A reachable node need not ask for new peers.
    let public_addrs = vec![SocketAddr::from(([10, 0, 0, 1], 4242))];
    world.add(Config { public_addrs, ..Config::default() });
    let others: Vec<Who> =
        (1..=8).map(|_| world.add(Config { maintenance: false, ..Config::default() })).collect();
    let known = others.iter().map(|who| world.known(*who)).collect();
    world.command(0, |_| Command::ImportPeers(known));
    world.run_for(3 * 3600 * SECOND);
    // The first bit names the bucket, the next two the slot in it.
    let slot_of = |who: Who| world.id(who).as_bytes()[0] >> 5;
    let is_far = |who: &&Who| slot_of(**who) >> 2 != slot_of(0) >> 2;
    let mates = |who: Who| others.iter().filter(|other| slot_of(**other) == slot_of(who)).count();
    let alone =
        *others.iter().filter(is_far).find(|who| mates(**who) == 1).expect("there is a peer");
    let before = frames(&world, 0, FrameType::Lookup);
    let peer = world.id(0);
    world.command(alone, |request| Command::CloseEdge { request, peer });
    // The loss of a neighbour leads to a lookup of the own identifier too, but not before 28
    // seconds.
    world.run_for(27 * SECOND);
    assert_eq!(frames(&world, 0, FrameType::Lookup), before + 1);
}

#[test]
fn a_bootstrap_peer_that_left_is_not_dialed_for_a_minute() {
    let mut world = EngineNet::of(3);
    world.bootstrap(0, 1);
    world.bootstrap(0, 2);
    world.run_for(10 * SECOND);
    world.leave(1);
    world.run_for(SECOND);
    world.wire.dials.clear();
    world.run_for(40 * SECOND);
    assert!(world.wire.dials.iter().all(|dial| dial.1 != 0), "{:?}", world.wire.dials);
    world.restart(1);
    world.run_for(40 * SECOND);
    assert_eq!(world.peers(0).len(), 2);
}

#[test]
fn the_last_bootstrap_peer_that_left_is_dialed_sooner() {
    let mut world = pair();
    world.leave(1);
    world.run_for(12 * SECOND);
    assert_eq!(world.wire.dials.len(), 1, "the one that joined");
    world.restart(1);
    world.run_for(20 * SECOND);
    assert_eq!(world.peers(0), [1]);
}

#[test]
fn after_leaving_every_command_is_settled_as_closed() {
    let mut world = pair();
    world.leave(0);
    world.run_for(2 * SECOND);
    world.events(0);
    let send = world.send(0, 1, b"late");
    let connect = world.connect(0, 1);
    let leave = world.leave(0);
    let peer = world.id(1);
    let close = world.command(0, |request| Command::CloseEdge { request, peer });
    assert_eq!(
        world.events(0),
        [
            Event::SendFailed { request: send, error: SendFailure::Closed },
            Event::ConnectFailed { request: connect, error: ConnectError::Closed },
            Event::Left { request: leave },
            Event::EdgeClosed { request: close, existed: false },
        ]
    );
}

#[test]
fn leaving_does_not_wait_for_a_conn_that_never_drains() {
    let mut world = pair();
    let request = world.leave(0);
    world.crash(0);
    let late = world.now + Duration::from_millis(1500);
    world.now = late;
    world.with_engine(0, |engine, now, wire| engine.handle_timeout(now, wire));
    assert!(world.events(0).contains(&Event::Left { request }));
}

#[test]
fn closing_an_edge_sends_a_leave() {
    let mut world = pair();
    let (peer, other) = (world.id(1), world.id(0));
    let request = world.command(0, |request| Command::CloseEdge { request, peer });
    let reason = EdgeDownReason::ClosedHere;
    let expected = [Event::EdgeDown { peer, reason }, Event::EdgeClosed { request, existed: true }];
    assert_eq!(world.events(0), expected);
    world.run_for(SECOND);
    let reason = EdgeDownReason::Left;
    assert_eq!(world.events(1), [Event::EdgeDown { peer: other, reason }]);
    let request = world.command(0, |request| Command::CloseEdge { request, peer });
    assert_eq!(world.events(0), [Event::EdgeClosed { request, existed: false }]);
}

#[test]
fn a_node_that_lost_every_peer_wakes_rarely() {
    let mut world = pair();
    world.crash(1);
    world.run_for(60 * SECOND);
    assert!(world.peers(0).is_empty());
    let before = world.wakes;
    world.run_for(3600 * SECOND);
    let wakes = world.wakes - before;
    assert!(
        wakes < 2_000,
        "{wakes} wake-ups in an hour: a seed is dialed, and little else is done"
    );
}

#[test]
fn peers_without_work_become_no_edges_in_either_direction() {
    let mut world = EngineNet::new();
    let has_work = |number: u64| identity(number).id().leading_zeros() >= 1;
    let dear = (0..).find(|&n| has_work(n)).unwrap();
    let cheap = (0..).find(|&n| !has_work(n)).unwrap();
    let strict = Config { difficulty: 1, ..Config::default() };
    world.add_as(identity(dear), strict);
    world.add_as(identity(cheap), Config { maintenance: false, ..Config::default() });
    world.connect(1, 0);
    world.run_for(SECOND);
    assert!(world.peers(0).is_empty());
    assert_eq!(world.engine(0).stats().drops(DropReason::PeerWorkUnmet), 1);
    let (peer, reason) = (world.id(0), EdgeDownReason::Conn(ConnDownReason::ClosedByPeer));
    assert!(world.events(1).contains(&Event::EdgeDown { peer, reason }));
    let request = world.connect(0, 1);
    let error = ConnectError::WorkUnmet;
    assert_eq!(world.events(0), [Event::ConnectFailed { request, error }]);
}

#[test]
fn a_network_with_work_is_joined_through_a_bootstrap_peer_without_a_key() {
    let mut world = EngineNet::new();
    let strict = Config { difficulty: 3, ..Config::default() };
    let mut dear = (0..).filter(|&n| identity(n).id().leading_zeros() >= 3);
    for _ in 0..2 {
        world.add_as(identity(dear.next().unwrap()), strict.clone());
    }
    world.bootstrap(0, 1);
    world.run_for(SECOND);
    assert_eq!(world.peers(0), [1]);
}

#[test]
fn the_policy_refuses_in_both_directions() {
    let mut world = EngineNet::new();
    let nobody = EdgePolicy::Ask(std::sync::Arc::new(|_| false));
    world.add(Config { edge_policy: nobody, ..Config::default() });
    world.add(Config { maintenance: false, ..Config::default() });
    world.connect(1, 0);
    world.run_for(SECOND);
    assert_eq!(world.engine(0).stats().drops(DropReason::EdgeRefused), 1);
    let request = world.connect(0, 1);
    let error = ConnectError::Refused;
    assert_eq!(world.events(0), [Event::ConnectFailed { request, error }]);
}

#[test]
fn the_cap_on_inbound_edges_holds() {
    let mut world = EngineNet::new();
    world.add(Config { inbound_edges_max: 2, ..Config::default() });
    for _ in 0..4 {
        let newcomer = world.add(Config::default());
        world.connect(newcomer, 0);
        world.run_for(10 * LATENCY);
    }
    assert_eq!(world.peers(0).len(), 2);
    assert_eq!(world.engine(0).stats().drops(DropReason::InboundFull), 2);
}

#[test]
fn the_configured_cap_on_inbound_edges_is_clamped_to_what_can_be_counted() {
    let mut world = EngineNet::new();
    world.add(Config { inbound_edges_max: usize::MAX, ..Config::default() });
    assert_eq!(world.engine(0).env.config().inbound_edges_max, INBOUND_EDGES_CAP);
}

#[test]
fn without_maintenance_a_node_dials_only_on_command() {
    let mut world = EngineNet::new();
    world.add(Config { maintenance: false, ..Config::default() });
    world.add(Config { maintenance: false, ..Config::default() });
    world.bootstrap(0, 1);
    world.run_for(60 * SECOND);
    assert_eq!(world.wire.dials, []);
    world.connect(0, 1);
    world.run_for(60 * SECOND);
    assert_eq!(world.peers(1), [0], "the ping at registration is no maintenance");
    assert_eq!(world.wire.sent.len(), 2);
}

// Several conns to one peer (PROTOCOL.md#conns-of-an-edge, THREATS.md#e23).

#[test]
fn two_simultaneous_dials_make_one_edge_of_two_conns() {
    let mut world = EngineNet::of(2);
    world.connect(0, 1);
    world.connect(1, 0);
    world.run_for(SECOND);
    assert_eq!((world.peers(0), world.peers(1)), (vec![1], vec![0]));
    assert_eq!(world.conns_between(0, 1).len(), 2);
    world.run_for(600 * SECOND);
    world.send(0, 1, b"still there");
    world.run_for(SECOND);
    assert_eq!(world.events(1).iter().filter(|e| matches!(e, Event::Delivered { .. })).count(), 1);
}

#[test]
fn a_restarted_peer_is_reached_over_its_new_conn_at_once() {
    let mut world = pair();
    world.crash(0);
    world.restart(0);
    world.connect(0, 1);
    world.run_for(SECOND);
    world.events(0);
    let request = world.send(1, 0, b"welcome back");
    assert!(world.events(1).contains(&Event::Sent { request, copies: 1 }));
    world.run_for(SECOND);
    assert!(world.events(0).iter().any(|event| matches!(event, Event::Delivered { .. })));
}

#[test]
fn a_leave_spares_the_conn_of_a_peer_that_was_started_again() {
    let mut world = EngineNet::of(1);
    let puppet = world.add_puppet(identity(50));
    let old = world.open(puppet, 0);
    world.say(old, wire::Ping.to_frame());
    let new = world.open(puppet, 0);
    world.say(new, wire::Ping.to_frame());
    assert_eq!(world.conns_between(0, puppet).len(), 2);
    world.say(old, wire::Leave.to_frame());
    world.run_for(SECOND);
    assert_eq!(world.conns_between(0, puppet).len(), 1);
    assert_eq!(world.peers(0), [puppet]);
    world.say(new, wire::Leave.to_frame());
    assert!(world.peers(0).is_empty());
}

#[test]
fn a_fourth_conn_ends_the_one_silent_longest() {
    let mut world = EngineNet::of(1);
    let puppet = world.add_puppet(identity(50));
    for _ in 0..4 {
        let conn = world.open(puppet, 0);
        world.say(conn, wire::Ping.to_frame());
    }
    world.run_for(SECOND);
    assert_eq!(world.engine(0).edges(&world.wire)[0].conns, 3);
    assert_eq!(world.conns_between(0, puppet).len(), 3);
}

#[test]
fn replacing_the_dialed_conn_of_an_edge_does_not_bypass_the_inbound_cap() {
    let mut world = EngineNet::new();
    world.add(Config { inbound_edges_max: 1, ..Config::default() });
    let [honest, pushy] = [50, 51].map(|number| world.add_puppet(identity(number)));
    let conn = world.open(honest, 0);
    world.say(conn, wire::Ping.to_frame());
    world.connect(0, pushy);
    world.run_for(10 * LATENCY);
    assert_eq!(world.peers(0).len(), 2);
    for _ in 0..3 {
        let conn = world.open(pushy, 0);
        world.say(conn, wire::Ping.to_frame());
    }
    world.run_for(10 * LATENCY);
    assert_eq!(world.peers(0).len(), 2);
    assert_eq!(world.conns_between(0, pushy).len(), 2, "ours, and the newest of theirs");
    assert_eq!(world.engine(0).gauges().edges_inbound, 1);
}
