//! Hosts: interfaces, roaming, sleep, blocked sockets, clocks, NAT boxes that reboot.

use std::net::SocketAddr;
use std::time::Duration;

use nodenet_proto::api::{EdgeDownReason, Event, SendFailure};
use nodenet_proto::testkit::{BoxKind, LinkProfile, LinuxConfig, NatConfig};

use super::{MS, SECOND, Small, open, quiet};
use crate::clock::Moment;
use crate::world::packet::{Gateway, HostSpec, NetworkSpec, PORT};
use crate::world::{Host, Settled};

fn translated(name: &str, lifetime: Duration) -> NetworkSpec {
    let config = NatConfig { lifetime, inbound_refresh: true, ..NatConfig::default() };
    NetworkSpec { gateway: Gateway::Nat(config.into()), ..open(name) }
}

fn remote(small: &Small, host: Host, peer: Host) -> SocketAddr {
    let id = small.world.id(peer);
    let edges = small.world.edges(host);
    edges.iter().find(|edge| edge.peer == id).expect("there is an edge").remote
}

#[test]
fn a_host_that_roams_keeps_its_edges_and_is_seen_at_its_new_address() {
    let mut small = Small::new(1);
    let mobile = small.world.add_network(open("mobile"));
    let [a, b] = ["a", "b"].map(|name| small.host(name));
    small.connect(a, b);
    let before = small.world.local_addrs(a);
    assert_eq!(remote(&small, b, a), before[0]);
    small.world.roam(a, &[mobile]).unwrap();
    let after = small.world.local_addrs(a);
    assert_ne!(before, after);
    // The other end sends to where nothing is until it hears from the new address.
    assert!(!small.delivers(b, a, 10 * MS));
    assert!(small.delivers(a, b, 5 * SECOND));
    assert!(small.delivers(b, a, 5 * SECOND));
    assert_eq!(remote(&small, b, a), after[0]);
    assert!(small.world.drops().absent > 0);
    // Back where it was, it has the address of before.
    small.world.roam(a, &[small.internet]).unwrap();
    assert_eq!(small.world.local_addrs(a), before);
}

#[test]
fn a_host_without_a_network_of_the_family_sends_nothing() {
    let mut small = Small::new(1);
    let six = small.world.add_network(NetworkSpec { ipv4: false, ipv6: true, ..open("six") });
    let (a, b) = (small.host("a"), small.within("b", six));
    small.world.connect(a, b).unwrap();
    small.world.run_for(20 * SECOND).unwrap();
    assert!(!small.world.has_edge(a, b));
    assert!(small.world.drops().unreachable > 0);
    assert_eq!(small.world.net().stats().sent, 0);
}

#[test]
fn a_host_with_two_interfaces_uses_that_of_the_family_and_of_the_network_of_the_peer() {
    let mut small = Small::new(1);
    let six = small.world.add_network(NetworkSpec { ipv4: false, ipv6: true, ..open("six") });
    let home = small.world.add_network(translated("home", 300 * SECOND));
    let both =
        HostSpec { networks: vec![small.internet, six, home], ..HostSpec::new("a", six, quiet()) };
    let a = small.with(both);
    let (b, c, d) = (small.host("b"), small.within("c", six), small.within("d", home));
    for peer in [b, c, d] {
        small.connect(a, peer);
        assert!(small.delivers(peer, a, SECOND));
    }
    let own = small.world.local_addrs(a);
    assert_eq!(own.len(), 3);
    assert_eq!([b, c, d].map(|peer| remote(&small, peer, a)), [own[0], own[1], own[2]]);
}

#[test]
fn a_sleeping_host_neither_sends_nor_runs_and_goes_on_when_it_wakes() {
    let mut small = Small::new(1);
    let [a, b] = ["a", "b"].map(|name| small.host(name));
    small.connect(a, b);
    small.world.sleep(a, false);
    let sent = small.world.net().stats().sent;
    assert!(!small.delivers(b, a, 20 * SECOND));
    // The command is given, and nothing leaves.
    small.world.send_direct(a, b).unwrap();
    small.world.run_for(SECOND).unwrap();
    assert_eq!(small.arrival(1), None);
    assert!(small.world.drops().asleep > 0);
    assert_eq!(small.world.net().stats().sent - sent, small.world.drops().asleep);
    small.world.wake(a).unwrap();
    small.world.run_for(30 * SECOND).unwrap();
    assert!(small.arrival(0).is_some() && small.arrival(1).is_some());
}

#[test]
fn a_node_whose_monotonic_clock_stood_still_in_sleep_outlives_the_idle_timeout() {
    let survives = |stands: bool| {
        let mut small = Small::new(1);
        let [a, b] = ["a", "b"].map(|name| small.host(name));
        small.connect(a, b);
        small.world.sleep(a, stands);
        // Beyond the idle timeout of QUIC, 300 s (PROTOCOL.md#idle-timeout).
        small.world.run_for(400 * SECOND).unwrap();
        small.world.wake(a).unwrap();
        small.world.run_for(MS).unwrap();
        small.world.has_edge(a, b)
    };
    assert!(survives(true));
    assert!(!survives(false));
}

#[test]
fn a_blocked_socket_delays_what_is_sent_and_loses_none_of_it() {
    let mut small = Small::new(1);
    let [a, b] = ["a", "b"].map(|name| small.host(name));
    small.connect(a, b);
    let until = small.world.now() + 200 * MS;
    small.world.block(a, until);
    let sent = small.world.net().stats().sent;
    for _ in 0..3 {
        small.world.send_direct(a, b).unwrap();
    }
    small.world.run_until(until.before(MS)).unwrap();
    assert_eq!((small.world.net().stats().sent, small.arrival(0)), (sent, None));
    assert_eq!(small.settled(0), Settled::Sent(1));
    small.world.run_for(SECOND).unwrap();
    let latency = small.world.link(a, b).unwrap().latency;
    for number in 0..3 {
        assert_eq!(small.arrival(number), Some(until + latency), "message {number}");
    }
    assert_eq!(small.world.net().stats().lost, 0);
}

#[test]
fn messages_of_a_host_whose_wall_clock_is_wrong_are_refused_until_it_is_set() {
    let mut small = Small::new(1);
    let spec = HostSpec::new("a", small.internet, quiet());
    let a = small.with(HostSpec { wall_offset_ms: 60_000, ..spec });
    let b = small.host("b");
    small.connect(a, b);
    let routed = |small: &mut Small| {
        let number = small.world.probes().tracked().len();
        small.world.send(a, b).unwrap();
        small.world.run_for(2 * SECOND).unwrap();
        small.arrival(number).is_some()
    };
    assert!(!routed(&mut small));
    small.world.step_wall(a, -60_000);
    assert!(!routed(&mut small), "the driver has not looked yet");
    small.world.run_for(60 * SECOND).unwrap();
    assert!(routed(&mut small));
}

#[test]
fn a_fast_clock_brings_timers_forward() {
    let ended = |ppm: i32| {
        let mut small = Small::new(1);
        let spec = HostSpec::new("a", small.internet, quiet());
        let a = small.with(HostSpec { clock_rate_ppm: ppm, ..spec });
        let b = small.host("b");
        small.connect(a, b);
        small.world.crash(b);
        small.world.take_seen();
        small.world.run_for(400 * SECOND).unwrap();
        let seen = small.world.take_seen();
        let down = seen.iter().find(|seen| matches!(seen.event, Event::EdgeDown { .. }));
        down.expect("the idle timeout ends it").at
    };
    let (right, fast) = (ended(0), ended(100_000));
    let expected = Duration::from_secs_f64(right.since(Moment::START).as_secs_f64() / 1.1);
    let difference = expected.abs_diff(fast.since(Moment::START));
    assert!(difference < SECOND, "{fast} and {right}");
}

/// The edge of a host behind a NAT that rebooted: does the peer outside reach it again?
#[test]
fn after_a_reboot_of_its_nat_a_host_is_reached_once_it_has_sent() {
    for has_new_address in [false, true] {
        let mut small = Small::new(1);
        let home = small.world.add_network(translated("home", 300 * SECOND));
        let (a, b) = (small.within("a", home), small.host("b"));
        small.connect(a, b);
        let before = remote(&small, b, a);
        assert_eq!(before.ip(), small.world.external(home)[0]);
        small.world.run_for(60 * SECOND).unwrap();
        assert!(small.world.reboot(home, has_new_address));
        assert!(!small.delivers(b, a, 2 * SECOND), "the mapping is lost");
        assert!(small.delivers(a, b, 5 * SECOND));
        small.world.run_for(5 * SECOND).unwrap();
        assert!(small.delivers(b, a, 10 * SECOND));
        assert_eq!(remote(&small, b, a).ip() != before.ip(), has_new_address);
    }
}

#[test]
fn an_idle_mapping_that_expired_keeps_the_peer_out_until_the_host_sends() {
    let mut small = Small::new(1);
    let home = small.world.add_network(translated("home", 30 * SECOND));
    let (a, b) = (small.within("a", home), small.host("b"));
    small.connect(a, b);
    small.world.run_for(40 * SECOND).unwrap();
    assert!(!small.delivers(b, a, 2 * SECOND));
    assert!(small.world.gateway(home).unwrap().drops_total() > 0);
    assert!(small.delivers(a, b, 5 * SECOND));
}

#[test]
fn a_host_behind_two_nats_reaches_the_internet_through_both() {
    let mut small = Small::new(1);
    let carrier = small.world.add_network(translated("carrier", 300 * SECOND));
    let spec = NetworkSpec { behind: Some(carrier), ..translated("home", 300 * SECOND) };
    let home = small.world.add_network(spec);
    let (a, b) = (small.within("a", home), small.host("b"));
    small.connect(a, b);
    assert_eq!(remote(&small, b, a).ip(), small.world.external(carrier)[0]);
    for network in [home, carrier] {
        assert_eq!(small.world.gateway(network).unwrap().drops_total(), 0);
    }
    // A link between two hosts is one between the addresses where the path crosses.
    let broken = LinkProfile { loss: 1.0, ..LinkProfile::REGION };
    assert_eq!(small.world.set_link(a, b, broken), 1);
    assert!(!small.delivers(a, b, 10 * SECOND));
    assert_eq!(small.world.link(b, a).unwrap().loss, 0.0);
}

#[test]
fn a_host_that_crashed_starts_again_with_its_identity_and_no_edges() {
    let mut small = Small::new(1);
    let [a, b] = ["a", "b"].map(|name| small.host(name));
    small.connect(a, b);
    let (id, addrs) = (small.world.id(a), small.world.local_addrs(a));
    small.world.crash(a);
    assert!(!small.world.is_up(a) && !small.delivers(b, a, SECOND));
    small.world.start(a, &[]).unwrap();
    assert_eq!((small.world.id(a), small.world.local_addrs(a)), (id, addrs));
    assert!(small.world.edges(a).is_empty());
    // A stateless reset ends the peer's side of the old conn.
    small.world.run_for(5 * SECOND).unwrap();
    let seen = small.world.take_seen();
    let down = seen.iter().find(|seen| matches!(seen.event, Event::EdgeDown { .. }));
    assert!(matches!(
        &down.unwrap().event,
        Event::EdgeDown { reason: EdgeDownReason::Conn(_), .. }
    ));
    small.connect(b, a);
}

#[test]
fn a_node_that_left_is_down_and_its_peers_know() {
    let mut small = Small::new(1);
    let [a, b] = ["a", "b"].map(|name| small.host(name));
    small.connect(a, b);
    small.world.leave(a).unwrap();
    small.world.run_for(5 * SECOND).unwrap();
    assert!(!small.world.is_up(a) && !small.world.has_edge(b, a));
    small.world.send_direct(b, a).unwrap();
    assert_eq!(small.settled(0), Settled::Failed(SendFailure::NoEdge));
}

/// The port with which a peer sees a host behind a Linux router that rebooted while their edge was
/// idle, before and after.
fn port_after_reboot(input_open: bool, early: Option<bool>) -> (u16, u16) {
    let mut small = Small::new(1);
    let kind = LinuxConfig { input_open, ..LinuxConfig::default() };
    let gateway = Gateway::Nat(BoxKind::Linux(kind));
    let network = small.world.add_network(NetworkSpec { gateway, ..open("router") });
    let (a, b) = (small.within("a", network), small.host("b"));
    small.connect(a, b);
    small.world.run_for(20 * SECOND).unwrap();
    let before = remote(&small, b, a).port();
    assert!(small.world.reboot(network, false));
    if let Some(from_peers) = early {
        small.world.send_early(network, from_peers);
    }
    small.world.run_for(SECOND).unwrap();
    assert!(small.delivers(a, b, 5 * SECOND));
    small.world.run_for(5 * SECOND).unwrap();
    assert!(small.delivers(b, a, 5 * SECOND));
    (before, remote(&small, b, a).port())
}

#[test]
fn a_datagram_of_the_peer_that_comes_first_after_a_reboot_moves_the_port_of_an_open_router() {
    let kept = (PORT, PORT);
    // The host sends first, or an endpoint to which no host has sent.
    for early in [None, Some(false)] {
        assert_eq!(port_after_reboot(true, early), kept, "{early:?}");
    }
    let (before, after) = port_after_reboot(true, Some(true));
    assert!(before == PORT && after != PORT, "{after}");
    // A router that accepts nothing for itself makes no entry.
    assert_eq!(port_after_reboot(false, Some(true)), kept);
}

#[test]
fn an_ipv6_host_behind_a_nat64_reaches_ipv4_hosts_if_it_translates_their_addresses() {
    for clat in [true, false] {
        let mut small = Small::new(1);
        let gateway = Gateway::Nat(BoxKind::Nat64(NatConfig::default()));
        let (ipv4, ipv6) = (false, true);
        let spec = NetworkSpec { gateway, ipv4, ipv6, clat, ..open("six") };
        let six = small.world.add_network(spec);
        let (a, b) = (small.within("a", six), small.host("b"));
        if !clat {
            small.world.connect(a, b).unwrap();
            small.world.run_for(20 * SECOND).unwrap();
            assert!(!small.world.has_edge(a, b) && small.world.drops().unreachable > 0);
            continue;
        }
        small.connect(a, b);
        assert!(small.delivers(a, b, SECOND) && small.delivers(b, a, SECOND));
        // Each end sees an IPv4 address of the other.
        assert_eq!(remote(&small, a, b), small.world.local_addrs(b)[0]);
        assert_eq!(remote(&small, b, a).ip(), small.world.external(six)[0]);
        let broken = LinkProfile { loss: 1.0, ..LinkProfile::REGION };
        assert_eq!(small.world.set_link(a, b, broken), 1);
        assert!(!small.delivers(a, b, 5 * SECOND));
    }
}
