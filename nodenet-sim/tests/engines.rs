//! Tests of whole engines in small worlds, host by host.

#![allow(clippy::unwrap_used, reason = "functions that tests share fail as the tests do")]

use std::time::Duration;

use nodenet_proto::api::{self, Command};
use nodenet_sim::crypto::Signatures;
use nodenet_sim::net::Nat;
use nodenet_sim::world::overlay::{OverlayWorld, WorldConfig};
use nodenet_sim::world::{Host, Join, Settled, World};

/// A dozen nodes, started half a second apart, each with all earlier nodes as bootstrap peers.
fn dozen(signatures: Signatures) -> (OverlayWorld, Vec<Host>) {
    let mut world = OverlayWorld::new(WorldConfig { signatures, ..WorldConfig::default() });
    let mut hosts = Vec::new();
    for _ in 0..12 {
        let (nat, bootstrap) = (Nat::Public, hosts.clone());
        let join = Join { nat, bootstrap, config: api::Config::default() };
        hosts.push(world.join(join).unwrap());
        world.run_for(Duration::from_millis(500)).unwrap();
    }
    world.run_for(Duration::from_secs(60)).unwrap();
    (world, hosts)
}

fn send_all_pairs(world: &mut OverlayWorld, hosts: &[Host]) {
    for &from in hosts {
        for &to in hosts {
            world.send(from, to).unwrap();
        }
        world.run_for(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn a_dozen_engines_deliver_every_message_exactly_once() {
    let (mut world, hosts) = dozen(Signatures::StandIn);
    send_all_pairs(&mut world, &hosts);
    world.check_all();
    assert_eq!(world.probes().tracked().len(), 144);
    for message in world.probes().tracked() {
        assert!(matches!(message.settled, Settled::Sent(_)), "{message:?}");
        assert!(message.arrival.is_some() && message.duplicates == 0, "{message:?}");
        let hops = message.arrival.unwrap().hops;
        assert_eq!(
            hops == 0,
            message.from == message.to,
            "only what is for oneself crosses no edge"
        );
    }
}

#[test]
fn real_signatures_change_nothing_but_the_bytes() {
    let outcome = |signatures| {
        let (mut world, hosts) = dozen(signatures);
        send_all_pairs(&mut world, &hosts);
        let edges: Vec<_> = hosts.iter().map(|&host| world.edges(host)).collect();
        let tracked: Vec<_> = world
            .probes()
            .tracked()
            .iter()
            .map(|message| (message.arrival, message.settled))
            .collect();
        (world.trace().events(), world.now(), format!("{edges:?}"), tracked, world.trace().value())
    };
    let (cheap, real) = (outcome(Signatures::StandIn), outcome(Signatures::Real));
    assert_eq!((cheap.0, cheap.1, cheap.2, cheap.3), (real.0, real.1, real.2, real.3));
    assert_ne!(cheap.4, real.4, "signatures are part of the trace");
}

#[test]
fn the_survivors_of_a_crash_notice_and_a_restart_is_found_again() {
    let (mut world, hosts) = dozen(Signatures::StandIn);
    let (victim, witness) = (hosts[5], hosts[8]);
    let id = world.id(victim);
    let sees = |world: &OverlayWorld| world.edges(witness).iter().any(|edge| edge.peer == id);
    assert!(sees(&world));
    world.crash(victim);
    world.run_for(Duration::from_secs(47)).unwrap();
    assert!(!sees(&world), "the loss of the edge is noticed");
    let again = world.restart(victim, hosts[..5].to_vec()).unwrap();
    world.run_for(Duration::from_secs(60)).unwrap();
    world.send(witness, again).unwrap();
    world.run_for(Duration::from_secs(5)).unwrap();
    assert!(world.probes().tracked()[0].arrival.is_some());
}

/// A restarted node has only the peers that it exported. The nodes through which it joined the
/// first time are gone.
#[test]
fn a_node_rejoins_by_exported_peers_when_every_bootstrap_contact_is_gone() {
    let mut world = OverlayWorld::new(WorldConfig::default());
    let mut hosts: Vec<Host> = Vec::new();
    for _ in 0..60 {
        let bootstrap = hosts.iter().copied().take(3).collect();
        let config = api::Config::default();
        hosts.push(world.join(Join { nat: Nat::Public, bootstrap, config }).unwrap());
        world.run_for(Duration::from_millis(500)).unwrap();
    }
    world.run_for(Duration::from_secs(60)).unwrap();
    let (victim, witness) = (hosts[30], hosts[45]);
    let peers = world.export_peers(victim);
    assert!(peers.len() > 20, "{}", peers.len());
    for &host in hosts[..3].iter().chain([&victim]) {
        world.crash(host);
    }
    // By then no peer dials its old address any more.
    world.run_for(Duration::from_secs(3_600)).unwrap();

    let lost = world.restart(victim, Vec::new()).unwrap();
    world.run_for(Duration::from_secs(60)).unwrap();
    assert!(world.edges(lost).is_empty(), "without a peer there is no way back");
    assert_eq!(world.joined_at(lost), None);
    world.crash(lost);
    let again = world.restart(victim, Vec::new()).unwrap();
    world.command(again, Command::ImportPeers(peers)).unwrap();
    world.run_for(Duration::from_secs(60)).unwrap();
    assert_eq!(world.id(again), world.id(victim));
    assert_eq!(
        world.joined_at(hosts[0]),
        Some(world.started_at(hosts[0])),
        "the first is the network"
    );
    assert!(world.joined_at(again) > Some(world.started_at(again)), "{:?}", world.joined_at(again));
    for (from, to) in [(witness, again), (again, witness)] {
        world.send(from, to).unwrap();
    }
    world.run_for(Duration::from_secs(5)).unwrap();
    assert!(world.probes().tracked().iter().all(|message| message.arrival.is_some()));
}

#[test]
fn light_nodes_alone_are_a_network() {
    let mut world = OverlayWorld::new(WorldConfig::default());
    let config = api::Config { profile: api::Profile::Light, ..api::Config::default() };
    let mut hosts: Vec<Host> = Vec::new();
    for _ in 0..24 {
        let bootstrap = hosts.first().copied().into_iter().collect();
        let join = Join { nat: Nat::Public, bootstrap, config: config.clone() };
        hosts.push(world.join(join).unwrap());
        world.run_for(Duration::from_secs(1)).unwrap();
    }
    world.run_for(Duration::from_secs(600)).unwrap();
    send_all_pairs(&mut world, &hosts);
    let lost = world.probes().tracked().iter().filter(|message| message.arrival.is_none()).count();
    assert_eq!(lost, 0);
}

/// Two nodes that cannot connect to each other, and a light node that can connect to both.
#[test]
fn a_light_node_forwards_if_there_is_no_other_path() {
    let mut world = OverlayWorld::new(WorldConfig::default());
    let mut join = |nat, bootstrap, profile| {
        let config = api::Config { profile, ..api::Config::default() };
        let host = world.join(Join { nat, bootstrap, config }).unwrap();
        world.run_for(Duration::from_secs(5)).unwrap();
        host
    };
    let light = join(Nat::Public, Vec::new(), api::Profile::Light);
    let [from, to] = [(); 2].map(|()| join(Nat::Hard, vec![light], api::Profile::Router));
    world.run_for(Duration::from_secs(300)).unwrap();
    assert_eq!(world.edges(from).len(), 1, "the light one is all it has");
    world.send(from, to).unwrap();
    world.run_for(Duration::from_secs(5)).unwrap();
    assert_eq!(world.probes().tracked()[0].arrival.map(|arrival| arrival.hops), Some(2));
}

/// A contact through which all nodes join accepts new nodes by closing edges of earlier nodes, even
/// if its limit of inbound edges is small.
#[test]
fn a_contact_with_full_inbound_edges_still_accepts_new_nodes() {
    let mut world = OverlayWorld::new(WorldConfig::default());
    let config = api::Config { inbound_edges_max: 6, ..api::Config::default() };
    let contact = Join { nat: Nat::Public, bootstrap: Vec::new(), config };
    let mut hosts = vec![world.join(contact).unwrap()];
    for _ in 0..40 {
        let (bootstrap, config) = (vec![hosts[0]], api::Config::default());
        hosts.push(world.join(Join { nat: Nat::Public, bootstrap, config }).unwrap());
        world.run_for(Duration::from_secs(2)).unwrap();
    }
    world.run_for(Duration::from_secs(120)).unwrap();
    let inbound = world.edges(hosts[0]).iter().filter(|edge| !edge.outgoing).count();
    assert!(inbound <= 6, "{inbound}");
    for &host in &hosts[1..] {
        assert!(world.edges(host).len() >= 16, "{} edges", world.edges(host).len());
    }
    for pair in hosts.windows(2) {
        world.send(pair[0], pair[1]).unwrap();
        world.send(pair[1], hosts[0]).unwrap();
    }
    world.run_for(Duration::from_secs(10)).unwrap();
    let lost = world.probes().tracked().iter().filter(|message| message.arrival.is_none()).count();
    assert_eq!(lost, 0);
}

/// No peer can dial a node behind a hard NAT, so new nodes do not announce themselves to it.
#[test]
fn nodes_behind_hard_nats_find_nodes_that_join_near_them_later() {
    let mut world = OverlayWorld::new(WorldConfig::default());
    let mut join = |nat, contact: Option<Host>| {
        let (bootstrap, config) = (contact.into_iter().collect(), api::Config::default());
        let host = world.join(Join { nat, bootstrap, config }).unwrap();
        world.run_for(Duration::from_millis(500)).unwrap();
        host
    };
    let contact = join(Nat::Public, None);
    let mut public: Vec<_> = (0..20).map(|_| join(Nat::Public, Some(contact))).collect();
    let hard: Vec<_> = (0..8).map(|_| join(Nat::Hard, Some(contact))).collect();
    public.extend((0..500).map(|_| join(Nat::Public, Some(contact))));
    world.run_for(Duration::from_secs(300)).unwrap();
    for host in hard {
        let id = world.id(host);
        public.sort_by(|&a, &b| id.compare_distance(&world.id(a), &world.id(b)));
        let has_edge = |&&near: &&Host| world.edges(near).iter().any(|edge| edge.peer == id);
        assert_eq!(public[..8].iter().filter(has_edge).count(), 8, "{host}");
    }
}

#[test]
fn a_node_that_leaves_is_noticed_at_once() {
    let (mut world, hosts) = dozen(Signatures::StandIn);
    let id = world.id(hosts[5]);
    world.leave(hosts[5]).unwrap();
    world.run_for(Duration::from_secs(3)).unwrap();
    assert!(!world.is_up(hosts[5]));
    for &host in hosts.iter().filter(|&&host| host != hosts[5]) {
        assert!(world.edges(host).iter().all(|edge| edge.peer != id));
    }
}
