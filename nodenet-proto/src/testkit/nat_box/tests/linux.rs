//! The Linux router against what was measured of the kernel (docs/SIMULATOR.md#linux-router).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{OUTSIDE, SECOND, now, out, server, v6};
use crate::env::Seed;
use crate::testkit::nat_box::{Header, LinuxConfig, NatBox, NatDrop, Side, SourceRule};

/// Three servers with an address each.
const H: [SocketAddr; 3] = [server(1, 7_000), server(2, 7_000), server(3, 7_000)];
const MS: Duration = Duration::from_millis(1);

/// K1. One word in the rule decides: only the random flags give each destination another port.
#[test]
fn only_a_random_flag_makes_a_rule_show_servers_different_ports() {
    for (ports, random, is_kept) in [
        (None, false, true),
        (None, true, false),
        (Some(40_000..=40_099), false, false),
        (Some(40_000..=40_099), true, false),
        (Some(4_000..=5_999), false, true),
    ] {
        let config = LinuxConfig { ports: ports.clone(), random, ..LinuxConfig::default() };
        let mut nat = with(config);
        let seen = H.map(|server| out(&mut nat, socket(1), server).port());
        let differ = BTreeSet::from(seen).len();
        assert_eq!(differ, if random { 3 } else { 1 }, "{ports:?} {random}: {seen:?}");
        assert_eq!(seen[0] == 5_000, is_kept, "{ports:?} {random}: {seen:?}");
        assert!(seen.iter().all(|port| ports.clone().is_none_or(|ports| ports.contains(port))));
    }
}

/// K2. The second host with a port gets one other port, the same at all servers.
#[test]
fn of_two_hosts_with_one_port_the_second_gets_another_one_for_all_servers() {
    let mut nat = router();
    assert_eq!(H.map(|server| out(&mut nat, socket(1), server).port()), [5_000; 3]);
    let second = H.map(|server| out(&mut nat, socket(2), server).port());
    assert_ne!(second[0], 5_000);
    assert_eq!(BTreeSet::from(second).len(), 1, "{second:?}");
}

/// K2. With crossed orders both hosts show two ports, and a new destination sees that of the
/// newest flow. Old servers go on seeing the old one.
#[test]
fn in_crossed_order_both_hosts_show_two_ports_and_new_servers_the_newest() {
    let mut nat = router();
    let [h1, h2, h3] = H;
    assert_eq!(out(&mut nat, socket(1), h1).port(), 5_000);
    assert_eq!(out(&mut nat, socket(2), h2).port(), 5_000, "no tuple is taken there");
    let moved = out(&mut nat, socket(2), h1);
    assert_ne!(moved.port(), 5_000);
    assert_eq!(out(&mut nat, socket(2), h3), moved);
    assert_eq!(out(&mut nat, socket(2), server(1, 7_001)), moved, "another port of the first");
    assert_eq!(out(&mut nat, socket(2), h2).port(), 5_000, "an old flow stays");
    let own = out(&mut nat, socket(1), h2);
    assert!(own.port() != 5_000 && own != moved);
    assert_eq!(out(&mut nat, socket(1), server(4, 7_000)), own);
}

/// K3. A port is taken only together with the remote endpoint.
#[test]
fn two_hosts_keep_one_port_as_long_as_they_talk_to_different_servers() {
    let mut nat = router();
    assert_eq!(out(&mut nat, socket(1), H[0]).port(), 5_000);
    assert_eq!(out(&mut nat, socket(2), H[1]).port(), 5_000);
    assert_eq!(nat.inbound(now(), external(5_000), H[0]), Ok(socket(1)));
    assert_eq!(nat.inbound(now(), external(5_000), H[1]), Ok(socket(2)));
}

/// K3. Replacement ports come from three classes, in no order.
#[test]
fn a_replacement_port_is_random_within_the_class_of_the_source_port() {
    for (port, class) in
        [(300, 1..=511), (800, 600..=1_023), (5_000, 1_024..=65_535), (40_000, 1_024..=65_535)]
    {
        let mut nat = router();
        let mut of = |host| out(&mut nat, at(host, port), H[0]).port();
        assert_eq!(of(1), port);
        let replaced: Vec<u16> = (2..42).map(of).collect();
        assert!(replaced.iter().all(|port| class.contains(port)), "{replaced:?}");
        assert!(!replaced.is_sorted(), "{replaced:?}");
    }
}

/// K4. A range without a random flag is endpoint-independent: 50 sockets, 50 ports, no order.
#[test]
fn a_port_range_gives_each_socket_one_port_for_all_servers() {
    let mut nat = range();
    let ports: Vec<u16> = (0..50)
        .map(|number| {
            let seen = H.map(|server| out(&mut nat, at(1, 6_000 + number), server).port());
            assert_eq!(BTreeSet::from(seen).len(), 1, "{seen:?}");
            seen[0]
        })
        .collect();
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 50);
    assert!(!ports.is_sorted());
}

/// K4. Of 110 sockets and 100 ports towards one server ten are dropped without a word; other
/// servers still answer them.
#[test]
fn a_full_port_range_drops_silently_towards_that_server_alone() {
    let mut nat = range();
    let mut passed = |server| -> Vec<u16> {
        let sockets = (0..110).map(|number| 6_000 + number);
        sockets.filter(|port| nat.outbound(now(), at(1, *port), server).is_ok()).collect()
    };
    let first = passed(H[0]);
    assert_eq!(first.len(), 100);
    let late: Vec<u16> = (6_000..6_110).filter(|port| !first.contains(port)).collect();
    assert_eq!(late.len(), 10);
    let mut other = range();
    for port in late {
        assert!(other.outbound(now(), at(1, port), H[1]).is_ok());
    }
    assert_eq!(nat.drops(NatDrop::PortsExhausted), 10);
}

/// K5. A pool is paired per socket: each keeps the address that its first destination chose.
#[test]
fn a_pool_is_paired_by_the_first_destination_of_each_socket() {
    let mut nat = pool(LinuxConfig::default());
    let destinations: Vec<_> = (1..=20).map(|host| server(host, 7_000)).collect();
    assert_eq!(ips(destinations.iter().map(|to| out(&mut nat, at(1, 6_000), *to))).len(), 1);
    let mut nat = pool(LinuxConfig::default());
    assert_eq!(ips((0..20).map(|n| out(&mut nat, at(1, 6_000 + n), H[0]))).len(), 1);
    let mut nat = pool(LinuxConfig::default());
    let firsts: Vec<_> = (0..20_u16)
        .map(|n| out(&mut nat, at(1, 6_000 + n), destinations[usize::from(n)]))
        .collect();
    assert!(ips(firsts.iter().copied()).len() > 8, "{firsts:?}");
    for (n, first) in firsts.iter().enumerate() {
        assert_eq!(out(&mut nat, at(1, 6_000 + n as u16), server(99, 1)), *first);
    }
}

/// K5. With `persistent` a host has one address; with `random` it changes with the destination.
#[test]
fn persistent_gives_a_host_one_address_and_random_one_for_each_destination() {
    let of = |config| {
        let mut nat = pool(config);
        ips((1..=20).map(|n| out(&mut nat, at(1, 6_000 + n), server(n as u8, 7_000)))).len()
    };
    assert_eq!(of(LinuxConfig { persistent: true, ..LinuxConfig::default() }), 1);
    let mut nat = pool(LinuxConfig { random: true, ..LinuxConfig::default() });
    let seen = (1..=20).map(|host| out(&mut nat, socket(1), server(host, 7_000)));
    assert!(ips(seen).len() > 8);
}

/// K6. Two routers in a row are endpoint-independent, with `masquerade` and with a range.
#[test]
fn two_routers_in_a_row_show_all_servers_one_port() {
    for mut carrier in [router(), range()] {
        let mut homes = [1, 2].map(|n| {
            NatBox::new(LinuxConfig::default(), vec![[100, 64, 0, n].into()], &Seed::from_u64(9))
        });
        let seen = homes.each_mut().map(|home| {
            H.map(|server| {
                let between = out(home, socket(1), server);
                out(&mut carrier, between, server).port()
            })
        });
        for ports in seen {
            assert_eq!(BTreeSet::from(ports).len(), 1, "{ports:?}");
        }
        assert_ne!(seen[0], seen[1]);
    }
}

/// K6. The same holds for IPv6 with translation.
#[test]
fn nat66_keeps_a_port_and_gives_the_second_host_another_one() {
    let wan = v6("[2001:db8:ffff::1]:0").ip();
    let mut nat = NatBox::new(LinuxConfig::default(), vec![wan], &Seed::from_u64(1));
    let (h1, h2) = (v6("[2001:db8:1::1]:7000"), v6("[2001:db8:2::1]:7000"));
    let (first, second) = (v6("[fd00::1]:5000"), v6("[fd00::2]:5000"));
    assert_eq!(out(&mut nat, first, h1), SocketAddr::new(wan, 5_000));
    let moved = out(&mut nat, second, h1);
    assert_ne!(moved.port(), 5_000);
    assert_eq!(out(&mut nat, second, h2), moved);
}

/// L1. Up to four packets at once, in any order, live 30 s.
#[test]
fn a_question_with_its_answer_lives_thirty_seconds() {
    for passes in [&[OUT][..], &[OUT, IN], &[OUT, IN, OUT], &[OUT, OUT, IN, IN]] {
        let all: Vec<_> = passes.iter().map(|pass| (*pass, 0)).collect();
        assert_eq!(life(&all), 30, "{passes:?}");
    }
}

/// L1. A packet in either direction more than two seconds after the first makes it two minutes, if
/// there was an answer before. A first answer does not count itself.
#[test]
fn a_packet_after_two_seconds_of_an_answered_flow_makes_it_two_minutes() {
    assert_eq!(life(&[(OUT, 0), (IN, 0), (OUT, 2_500)]), 120);
    assert_eq!(life(&[(OUT, 0), (IN, 0), (IN, 2_500)]), 120);
    assert_eq!(life(&[(OUT, 0), (IN, 0), (OUT, 1_500)]), 30);
    assert_eq!(life(&[(OUT, 0), (IN, 0), (IN, 1_500)]), 30);
    assert_eq!(life(&[(OUT, 0), (IN, 2_500)]), 30, "the first answer");
    assert_eq!(life(&[(OUT, 0), (IN, 2_500), (IN, 2_600)]), 120);
    assert_eq!(life(&[(OUT, 0), (OUT, 2_500), (OUT, 9_000)]), 30, "never answered");
}

/// L2. Receiving refreshes as well, assured or not. A stricter box does without.
#[test]
fn inbound_alone_keeps_a_flow_alive_unless_the_box_is_stricter() {
    for (inbound_refresh, arrive) in [(true, 8), (false, 1)] {
        let timeouts = LinuxConfig { timeout: 3 * SECOND, timeout_stream: 6 * SECOND, ..open() };
        let mut nat = with(LinuxConfig { inbound_refresh, input_open: false, ..timeouts });
        let seen = out(&mut nat, socket(1), H[0]);
        let times = (1..=8).map(|round| now() + 2 * round * SECOND);
        let arrived = times.filter(|at| nat.inbound(*at, seen, H[0]).is_ok()).count();
        assert_eq!(arrived, arrive, "refresh by inbound: {inbound_refresh}");
    }
}

/// T1. On an open router one early packet moves our port towards that peer, and what the peer
/// sends to the old port goes to the router itself.
#[test]
fn one_early_packet_moves_the_port_where_input_is_open() {
    let mut nat = with(open());
    let [server, peer, _] = H;
    let seen = out(&mut nat, socket(1), server);
    assert_eq!(nat.inbound(now(), seen, peer), Err(NatDrop::ToTheBox));
    let moved = out(&mut nat, socket(1), peer);
    assert_ne!(moved, seen);
    assert_eq!(nat.inbound(now(), seen, peer), Err(NatDrop::ToTheBox), "the old port");
    assert_eq!(nat.inbound(now(), moved, peer), Ok(socket(1)), "the new one");
    assert_eq!(nat.drops(NatDrop::ToTheBox), 2);
}

/// T1. Where input drops or rejects, an early packet leaves no trace.
#[test]
fn an_early_packet_leaves_no_trace_where_input_drops() {
    let mut nat = router();
    let [server, peer, _] = H;
    let seen = out(&mut nat, socket(1), server);
    assert_eq!(nat.inbound(now(), seen, peer), Err(NatDrop::NoMapping));
    assert_eq!(out(&mut nat, socket(1), peer), seen);
    assert_eq!(nat.inbound(now(), seen, peer), Ok(socket(1)));
}

/// T2. Every later destination sees the new port; a server with an old flow sees the old one.
#[test]
fn a_moved_port_sticks_for_new_destinations() {
    let mut nat = with(open());
    let [old, peer, new] = H;
    let seen = out(&mut nat, socket(1), old);
    let _ = nat.inbound(now(), seen, peer);
    let moved = out(&mut nat, socket(1), peer);
    assert_eq!(out(&mut nat, socket(1), new), moved);
    assert_eq!(out(&mut nat, socket(1), old), seen);
}

/// T3. The claim lasts 30 s after the last early packet, and each one renews it.
#[test]
fn an_early_packet_claims_the_tuple_for_thirty_seconds_after_the_last() {
    for (wait, is_moved) in [(1, true), (10, true), (29, true), (31, false)] {
        let mut nat = with(open());
        let seen = out(&mut nat, socket(1), H[0]);
        let _ = nat.inbound(now(), seen, H[1]);
        let later = now() + wait * SECOND;
        // The flow to the server is kept alive meanwhile.
        nat.outbound(now() + 20 * SECOND, socket(1), H[0]).expect("it lives");
        let source = nat.outbound(later, socket(1), H[1]).expect("there are ports");
        assert_eq!(source != seen, is_moved, "after {wait} s");
    }
    let mut nat = with(open());
    let seen = out(&mut nat, socket(1), H[0]);
    for round in 0..40 {
        let _ = nat.inbound(now() + round * SECOND, seen, H[1]);
        nat.outbound(now() + round * SECOND, socket(1), H[0]).expect("it lives");
    }
    assert_ne!(nat.outbound(now() + 60 * SECOND, socket(1), H[1]), Ok(seen));
}

/// A moved port also outlives its flow: until the entry is collected, new flows of the socket take
/// its port. So thirty seconds of silence end the claim, but do not bring the old port back.
#[test]
fn a_flow_that_is_over_lends_its_port_until_it_is_collected() {
    for (wait, is_moved) in [(10, true), (31, true), (45, true), (62, false)] {
        let mut nat = with(open());
        let seen = out(&mut nat, socket(1), H[0]);
        let _ = nat.inbound(now(), seen, H[1]);
        let moved = out(&mut nat, socket(1), H[1]);
        let later = now() + wait * SECOND;
        let next = nat.outbound(later, socket(1), H[2]);
        assert_eq!(next, Ok(if is_moved { moved } else { seen }), "after {wait} s");
        assert_eq!(nat.inbound(later, moved, H[1]).is_ok(), wait < 30, "after {wait} s");
        nat.check();
    }
}

/// T5. TTL 2 makes a mapping and dies behind the router; TTL 1 dies in it and makes none.
#[test]
fn ttl_two_leaves_the_router_and_ttl_one_makes_no_mapping() {
    let mut nat = router();
    let header = |ttl| Header { ttl, ..Header::new(socket(1), H[0]) };
    assert_eq!(nat.forward(now(), Side::Inside, header(1)), Err(NatDrop::TtlExpired));
    assert_eq!(nat.mappings(now()), 0);
    let passed = nat.forward(now(), Side::Inside, header(2));
    let left = Header { ttl: 1, ..Header::new(external(5_000), H[0]) };
    assert_eq!(passed, Ok((Side::Outside, left)));
    assert_eq!(nat.inbound(now(), external(5_000), H[0]), Ok(socket(1)));
}

/// T7. A way out: a peer of which this socket has no flow sees the port that holds now, and one
/// that is punched there gets in. Another way: a new socket that sends first.
#[test]
fn the_newest_port_or_a_new_socket_gets_out_of_a_claim() {
    let mut nat = with(open());
    let [old, peer, fresh] = H;
    let seen = out(&mut nat, socket(1), old);
    let _ = nat.inbound(now(), seen, peer);
    out(&mut nat, socket(1), peer);
    let current = out(&mut nat, socket(1), fresh);
    assert_eq!(nat.inbound(now(), current, peer), Ok(socket(1)));

    let new = out(&mut nat, at(1, 5_001), peer);
    assert_eq!(new.port(), 5_001);
    assert_eq!(nat.inbound(now(), new, peer), Ok(at(1, 5_001)));
}

/// R1. After a reboot a plain router gives the same port again, although the peer sends first. An
/// open one does not, as long as the stream of the peer lasts.
#[test]
fn after_a_reboot_an_open_router_loses_the_port_to_the_stream_of_the_peer() {
    for input_open in [false, true] {
        let mut nat = with(LinuxConfig { input_open, ..LinuxConfig::default() });
        let before = out(&mut nat, socket(1), H[0]);
        nat.restart(vec![OUTSIDE.into()]);
        assert!(nat.inbound(now(), before, H[0]).is_err(), "the stream arrives first");
        let after = out(&mut nat, socket(1), H[0]);
        assert_eq!(after != before, input_open, "input open: {input_open}");
        assert_eq!(nat.inbound(now(), before, H[0]).is_ok(), !input_open);
    }
    let mut nat = with(open());
    let before = out(&mut nat, socket(1), H[0]);
    nat.restart(vec![OUTSIDE.into()]);
    assert_eq!(out(&mut nat, socket(1), H[0]), before, "without a packet of the peer first");
}

/// R2. With `masquerade` entries vanish with the address, and the next packet leaves from the new
/// one and the same port. With a constant address nothing changes.
#[test]
fn a_new_wan_address_ends_masqueraded_flows_and_no_others() {
    let moved = Ipv4Addr::new(203, 0, 113, 2);
    let mut nat = router();
    let before = out(&mut nat, socket(1), H[0]);
    nat.renumber(vec![moved.into()]);
    assert_eq!(nat.inbound(now(), before, H[0]), Err(NatDrop::NoMapping));
    assert_eq!(out(&mut nat, socket(1), H[0]), SocketAddr::new(moved.into(), 5_000));

    let mut nat = with(LinuxConfig { rule: SourceRule::Snat, ..LinuxConfig::default() });
    let before = out(&mut nat, socket(1), H[0]);
    nat.renumber(vec![moved.into()]);
    assert_eq!(out(&mut nat, socket(1), H[0]), before);
    nat.check();
}

/// R3. A packet to the own external address goes to the router, and changes no mapping.
#[test]
fn hairpin_is_a_dead_end_and_changes_nothing() {
    let mut nat = router();
    let of_b = out(&mut nat, at(2, 6_000), H[0]);
    assert_eq!(nat.hairpin(now(), socket(1), of_b), Err(NatDrop::NoHairpinning));
    assert_eq!(nat.mappings(now()), 1);
    assert_eq!(out(&mut nat, socket(1), H[0]).port(), 5_000);
}

/// M3. A forwarded port reserves nothing: a flow of another host that has it goes on, and its next
/// flow to a peer that the owner heard from moves.
#[test]
fn a_forwarded_port_reserves_nothing() {
    let mut nat = router();
    let [server, stranger, _] = H;
    let (owner, other) = (at(1, 9_000), socket(2));
    assert_eq!(out(&mut nat, other, server).port(), 5_000);
    nat.forward_port(5_000, owner);
    assert_eq!(nat.inbound(now(), external(5_000), server), Ok(other), "its flow goes on");
    assert_eq!(nat.inbound(now(), external(5_000), stranger), Ok(owner));
    assert_ne!(out(&mut nat, other, stranger).port(), 5_000);

    // A host that uses the mapped port as its source first takes it from flows of the owner.
    let mut nat = router();
    nat.forward_port(47_000, at(1, 47_000));
    assert_eq!(out(&mut nat, at(2, 47_000), server).port(), 47_000);
    assert_ne!(out(&mut nat, at(1, 47_000), server).port(), 47_000);
}

/// M4. A forwarded port does not decide from where traffic leaves, but for answers to what came in.
#[test]
fn a_forwarded_port_is_no_source_but_for_answers() {
    let mut nat = with(LinuxConfig { random: true, ..LinuxConfig::default() });
    nat.forward_port(40_777, at(1, 40_777));
    assert_ne!(out(&mut nat, at(1, 40_777), H[0]).port(), 40_777);
    assert_eq!(nat.inbound(now(), external(40_777), H[1]), Ok(at(1, 40_777)));
    assert_eq!(out(&mut nat, at(1, 40_777), H[1]).port(), 40_777);

    let mut nat = router();
    nat.forward_port(40_779, at(1, 50_000));
    assert_eq!(out(&mut nat, at(1, 50_000), H[0]).port(), 50_000, "by port keeping");
}

/// M7. A flow that came in goes on after its mapping is deleted; strangers are refused.
#[test]
fn a_live_flow_outlasts_the_deletion_of_its_forwarded_port() {
    let mut nat = router();
    nat.forward_port(40_777, socket(1));
    assert_eq!(nat.inbound(now(), external(40_777), H[0]), Ok(socket(1)));
    nat.unforward_port(40_777);
    for second in 1..=14 {
        let at = now() + second * SECOND;
        assert_eq!(nat.inbound(at, external(40_777), H[0]), Ok(socket(1)));
        assert_eq!(nat.inbound(at, external(40_777), H[1]), Err(NatDrop::NoMapping));
    }
}

/// A family without an external address is filtered by the same connection tracking.
#[test]
fn a_router_without_translation_is_a_stateful_firewall() {
    let mut nat = router();
    let (host, peer) = (v6("[2001:db8::1]:5000"), v6("[2001:db8:1::1]:7000"));
    let stranger = v6("[2001:db8:1::1]:7001");
    assert_eq!(nat.inbound(now(), host, peer), Err(NatDrop::NoMapping));
    assert_eq!(nat.outbound(now(), host, peer), Ok(host));
    assert_eq!(nat.inbound(now(), host, peer), Ok(host));
    assert_eq!(nat.inbound(now(), host, stranger), Err(NatDrop::NoMapping));
    assert_eq!(nat.outbound(now(), host, H[0]), Err(NatDrop::FamilyMismatch));
}

#[test]
fn a_full_table_refuses_new_flows_until_old_ones_are_over() {
    let mut nat = with(LinuxConfig { entries_max: 2, collected_after: Duration::ZERO, ..open() });
    out(&mut nat, socket(1), H[0]);
    let _ = nat.inbound(now(), external(9), H[0]);
    assert_eq!(nat.outbound(now(), socket(1), H[1]), Err(NatDrop::TableFull));
    assert_eq!(nat.inbound(now(), external(9), H[1]), Err(NatDrop::TableFull));
    let late = now() + 31 * SECOND;
    assert!(nat.outbound(late, socket(1), H[1]).is_ok());
    assert_eq!(nat.mappings(late), 1);
    nat.check();
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    Out,
    In,
}
const OUT: Pass = Pass::Out;
const IN: Pass = Pass::In;

/// Seconds that a flow lives after the last of these packets, each with its time in milliseconds.
fn life(passes: &[(Pass, u32)]) -> u64 {
    let lives = |seconds: u64| {
        let mut nat = router();
        let mut last = now();
        for (pass, ms) in passes {
            last = now() + *ms * MS;
            let passed = match pass {
                Pass::Out => nat.outbound(last, socket(1), H[0]),
                Pass::In => nat.inbound(last, external(5_000), H[0]),
            };
            passed.expect("the flow lives");
        }
        nat.check();
        let almost = last + Duration::from_secs(seconds) - MS;
        nat.inbound(almost, external(5_000), H[0]).is_ok()
    };
    let dies = |seconds| !lives(seconds + 1);
    [30, 120].into_iter().find(|seconds| lives(*seconds) && dies(*seconds)).expect("one of the two")
}

fn at(host: u8, port: u16) -> SocketAddr {
    super::inside(host, port)
}

fn socket(host: u8) -> SocketAddr {
    at(host, 5_000)
}

fn external(port: u16) -> SocketAddr {
    SocketAddr::new(OUTSIDE.into(), port)
}

fn with(config: LinuxConfig) -> NatBox {
    NatBox::new(config, vec![OUTSIDE.into()], &Seed::from_u64(1))
}

fn router() -> NatBox {
    with(LinuxConfig::default())
}

fn open() -> LinuxConfig {
    LinuxConfig::open()
}

fn range() -> NatBox {
    let ports = Some(40_000..=40_099);
    with(LinuxConfig { rule: SourceRule::Snat, ports, ..LinuxConfig::default() })
}

fn pool(config: LinuxConfig) -> NatBox {
    let pool = (1..=32).map(|last| Ipv4Addr::new(203, 0, 113, last).into()).collect();
    NatBox::new(LinuxConfig { rule: SourceRule::Snat, ..config }, pool, &Seed::from_u64(1))
}

fn ips(seen: impl Iterator<Item = SocketAddr>) -> BTreeSet<IpAddr> {
    seen.map(|endpoint| endpoint.ip()).collect()
}
