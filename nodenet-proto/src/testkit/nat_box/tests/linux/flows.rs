//! How long flows live, what comes too early, reboots, and forwarded ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::{H, MS, at, external, open, router, socket, with};
use crate::testkit::nat_box::tests::{OUTSIDE, SECOND, now, out, server, v6};
use crate::testkit::nat_box::{Header, LinuxConfig, NatDrop, Side, SourceRule};

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

/// A peer that has a flow with the owner already comes to the forwarded port as another flow. Its
/// source port changes inside, because the answers of both would look the same.
#[test]
fn a_peer_with_a_flow_comes_to_a_forwarded_port_from_another_port() {
    let mut nat = router();
    nat.forward_port(5_900, socket(1));
    let peer = H[0];
    assert_eq!(out(&mut nat, socket(1), peer), external(5_000));
    let to_port = Header::new(peer, external(5_900));
    let (_, inside) = nat.forward(now(), Side::Outside, to_port).expect("it is forwarded");
    assert_eq!((inside.to, inside.from.ip()), (socket(1), peer.ip()));
    assert_ne!(inside.from.port(), peer.port());
    let answer = Header::new(socket(1), inside.from);
    let (_, outside) = nat.forward(now(), Side::Inside, answer).expect("it is answered");
    assert_eq!((outside.from, outside.to), (external(5_900), peer));
    let again = nat.forward(now(), Side::Outside, to_port).expect("it goes on");
    assert_eq!(again, (Side::Inside, inside));
    assert_eq!(nat.inbound(now(), external(5_000), peer), Ok(socket(1)), "so does the first flow");
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

proptest! {
    /// Whatever is sent, tables stay consistent and bounded, and what gets in was asked for by the
    /// same tuple or comes to a forwarded port.
    #[test]
    fn invariants_hold_whatever_is_sent(
        options in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        steps in prop::collection::vec(
            (0..4_u8, 1..4_u8, 0..3_u16, 1..4_u8, 0..20_u64),
            1..120,
        ),
    ) {
        let (random, input_open, has_range, inbound_refresh) = options;
        let mut nat = with(LinuxConfig {
            random,
            input_open,
            inbound_refresh,
            ports: has_range.then_some(5_000..=5_003),
            entries_max: 12,
            collected_after: 10 * SECOND,
            ..LinuxConfig::default()
        });
        nat.forward_port(5_002, at(3, 5_002));
        let mut later = now();
        let mut asked = Vec::new();
        for (kind, host, port, peer, pause) in steps {
            later += Duration::from_secs(pause);
            let (internal, remote) = (at(host, 5_000 + port), server(peer, 7_000));
            if kind < 2 {
                if let Ok(source) = nat.outbound(later, internal, remote) {
                    asked.push((internal, source, remote));
                }
            } else {
                let to = external(5_000 + port);
                if let Ok(got) = nat.inbound(later, to, remote) {
                    let is_forwarded = port == 2 && got == at(3, 5_002);
                    prop_assert!(is_forwarded || asked.contains(&(got, to, remote)));
                }
            }
            nat.check();
        }
    }
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
