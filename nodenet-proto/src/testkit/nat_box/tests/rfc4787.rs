//! The translator against each requirement of RFC 4787 that is modelled.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{OUTSIDE, SECOND, SERVERS, a, b, inside, now, out, server, v6};
use crate::env::Seed;
use crate::testkit::nat_box::{
    Behavior, Collision, Hairpinning, NatBox, NatConfig, NatDrop, Pooling, PortAllocation,
};

use Behavior::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

#[test]
fn req_1_endpoint_independent_mapping_shows_every_server_the_same_endpoint() {
    for allocation in allocations() {
        let mut nat = with(|config| config.allocation = allocation);
        let seen: BTreeSet<_> = SERVERS.iter().map(|server| out(&mut nat, a(), *server)).collect();
        assert_eq!(seen.len(), 1, "{allocation:?}");
    }
}

#[test]
fn address_dependent_mapping_shows_another_endpoint_to_every_address() {
    let mut nat = with(|config| config.mapping = AddressDependent);
    let [first, same_host, other] = SERVERS.map(|server| out(&mut nat, a(), server));
    assert_eq!(first, same_host);
    assert_ne!(first, other);
}

#[test]
fn address_and_port_dependent_mapping_shows_another_endpoint_to_every_endpoint() {
    let mut nat = with(|config| config.mapping = AddressAndPortDependent);
    let seen: BTreeSet<_> = SERVERS.iter().map(|server| out(&mut nat, a(), *server)).collect();
    assert_eq!(seen.len(), 3);
    let again: BTreeSet<_> = SERVERS.iter().map(|server| out(&mut nat, a(), *server)).collect();
    assert_eq!(again, seen, "a mapping is used again for its destination");
}

#[test]
fn req_2_paired_pooling_keeps_one_external_address_for_each_host() {
    let addresses = |pooling| {
        let config = NatConfig { pooling, ..symmetric(PortAllocation::Random) };
        let pool = (1..=8).map(|last| Ipv4Addr::new(203, 0, 113, last).into()).collect();
        let mut nat = NatBox::new(config, pool, &Seed::from_u64(1));
        let mut seen_of = |host: u8| -> BTreeSet<IpAddr> {
            let sockets = (1..=20).map(|port| inside(host, port));
            sockets.map(|socket| out(&mut nat, socket, SERVERS[0]).ip()).collect()
        };
        [1, 2, 3, 4, 5].map(&mut seen_of)
    };
    let paired = addresses(Pooling::Paired);
    assert!(paired.iter().all(|seen| seen.len() == 1), "{paired:?}");
    assert!(paired.iter().collect::<BTreeSet<_>>().len() > 1, "the pool is used: {paired:?}");
    assert!(addresses(Pooling::Arbitrary).iter().all(|seen| seen.len() > 1));
}

#[test]
fn req_3_no_two_mappings_share_an_external_port() {
    for allocation in allocations() {
        let mut nat = with(|config| {
            config.allocation = allocation;
            config.ports = 40_000..=40_099;
        });
        let sockets: Vec<_> = (1..=100).map(|host| inside(host, 5_000)).collect();
        let seen: BTreeSet<_> =
            sockets.iter().map(|socket| out(&mut nat, *socket, SERVERS[0])).collect();
        assert_eq!(seen.len(), 100, "{allocation:?}: all ports, each once");
        let more = nat.outbound(now(), inside(101, 5_000), SERVERS[0]);
        assert_eq!(more, Err(NatDrop::PortsExhausted), "{allocation:?}");
        assert_eq!(nat.drops(NatDrop::PortsExhausted), 1);
        nat.check();
    }
}

#[test]
fn req_3a_a_replaced_port_stays_on_its_side_of_1024() {
    let mut nat = with(|_| ());
    for (port, side) in [(300, 1..=1_023), (5_000, 1_024..=u16::MAX)] {
        assert_eq!(out(&mut nat, inside(1, port), SERVERS[0]).port(), port, "it is free");
        for host in 2..30 {
            let replaced = out(&mut nat, inside(host, port), SERVERS[0]).port();
            assert!(replaced != port && side.contains(&replaced), "{port} became {replaced}");
        }
    }
}

#[test]
fn a_port_outside_of_the_range_is_not_kept() {
    let mut nat = with(|config| config.ports = 40_000..=40_099);
    assert!((40_000..=40_099).contains(&out(&mut nat, inside(1, 5_000), SERVERS[0]).port()));
    assert_eq!(out(&mut nat, inside(1, 40_061), SERVERS[0]).port(), 40_061);
}

#[test]
fn sequential_ports_follow_in_steps_around_the_range() {
    for step in [1, 2, 4, 10] {
        let mut nat = NatBox::new(
            NatConfig { ports: 40_000..=40_099, ..symmetric(PortAllocation::Sequential { step }) },
            vec![OUTSIDE.into()],
            &Seed::from_u64(u64::from(step)),
        );
        let ports: Vec<u16> =
            (1..=60).map(|port| out(&mut nat, a(), server(1, port)).port()).collect();
        for pair in ports.windows(2).take(100 / usize::from(step) - 1) {
            assert_eq!((pair[0] - 40_000 + step) % 100, pair[1] - 40_000, "step {step}: {ports:?}");
        }
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 60, "step {step}");
    }
}

#[test]
fn random_ports_do_not_follow_from_each_other() {
    let ports = |seed| {
        let config = symmetric(PortAllocation::Random);
        let mut nat = NatBox::new(config, vec![OUTSIDE.into()], &Seed::from_u64(seed));
        (1..=20).map(|port| out(&mut nat, a(), server(1, port)).port()).collect::<Vec<_>>()
    };
    let steps: BTreeSet<_> =
        ports(1).windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(steps.len(), 19);
    assert_eq!(ports(1), ports(1), "same seed, same ports");
    assert_ne!(ports(1), ports(2));
}

#[test]
fn req_5_a_mapping_lives_for_its_lifetime_and_no_longer() {
    for lifetime in [120 * SECOND, 300 * SECOND] {
        let mut nat = with(|config| config.lifetime = lifetime);
        let external = out(&mut nat, a(), SERVERS[0]);
        assert_eq!(nat.inbound(now() + lifetime, external, SERVERS[0]), Ok(a()));
        let late = now() + lifetime + SECOND;
        assert_eq!(nat.mappings(late), 0);
        assert_eq!(nat.inbound(late, external, SERVERS[0]), Err(NatDrop::NoMapping));
        assert_eq!(nat.drops(NatDrop::NoMapping), 1);
    }
}

#[test]
fn req_5c_the_default_lifetime_is_five_minutes() {
    assert_eq!(NatConfig::default().lifetime, Duration::from_secs(300));
}

#[test]
fn req_6_outbound_datagrams_refresh_a_mapping() {
    let mut nat = with(|config| config.lifetime = 120 * SECOND);
    let external = out(&mut nat, a(), SERVERS[0]);
    for minutes in 1..=10 {
        let later = now() + minutes * 60 * SECOND;
        assert_eq!(nat.outbound(later, a(), SERVERS[0]), Ok(external));
        assert_eq!(nat.inbound(later + 119 * SECOND, external, SERVERS[0]), Ok(a()));
    }
}

#[test]
fn req_6a_inbound_datagrams_refresh_only_if_that_is_asked_for() {
    for (inbound_refresh, after) in [(true, Ok(a())), (false, Err(NatDrop::NoMapping))] {
        let mut nat = with(|config| {
            config.lifetime = 120 * SECOND;
            config.inbound_refresh = inbound_refresh;
        });
        let external = out(&mut nat, a(), SERVERS[0]);
        assert_eq!(nat.inbound(now() + 100 * SECOND, external, SERVERS[0]), Ok(a()));
        let later = nat.inbound(now() + 200 * SECOND, external, SERVERS[0]);
        assert_eq!(later, after, "refresh by inbound: {inbound_refresh}");
    }
}

#[test]
fn a_filtered_datagram_refreshes_nothing() {
    let mut nat = with(|config| {
        config.lifetime = 120 * SECOND;
        config.inbound_refresh = true;
    });
    let external = out(&mut nat, a(), SERVERS[0]);
    let stranger = server(9, 9);
    assert_eq!(nat.inbound(now() + 100 * SECOND, external, stranger), Err(NatDrop::Filtered));
    let late = now() + 130 * SECOND;
    assert_eq!(nat.inbound(late, external, SERVERS[0]), Err(NatDrop::NoMapping));
}

#[test]
fn a_permission_ends_although_its_mapping_lives_on() {
    let mut nat = with(|config| config.lifetime = 120 * SECOND);
    let external = out(&mut nat, a(), SERVERS[0]);
    let later = now() + 100 * SECOND;
    assert_eq!(nat.outbound(later, a(), SERVERS[2]), Ok(external));
    let late = now() + 130 * SECOND;
    assert_eq!(nat.inbound(late, external, SERVERS[0]), Err(NatDrop::Filtered));
    assert_eq!(nat.inbound(late, external, SERVERS[2]), Ok(a()));
}

#[test]
fn req_8_each_filtering_behavior_lets_in_whom_it_names() {
    let [asked, same_host, other] = SERVERS;
    let (yes, no) = (Ok(a()), Err(NatDrop::Filtered));
    for (filtering, expected) in [
        (EndpointIndependent, [yes, yes, yes]),
        (AddressDependent, [yes, yes, no]),
        (AddressAndPortDependent, [yes, no, no]),
    ] {
        let mut nat = with(|config| config.filtering = filtering);
        let external = out(&mut nat, a(), asked);
        let got = [asked, same_host, other].map(|from| nat.inbound(now(), external, from));
        assert_eq!(got, expected, "{filtering:?}");
        let refused = expected.iter().filter(|result| result.is_err()).count();
        assert_eq!(nat.drops(NatDrop::Filtered), refused as u64);
    }
}

#[test]
fn a_permission_belongs_to_the_mapping_that_was_sent_through() {
    let mut nat = with(|config| config.mapping = AddressAndPortDependent);
    let [first, _, other] = SERVERS.map(|server| out(&mut nat, a(), server));
    assert_eq!(nat.inbound(now(), first, SERVERS[0]), Ok(a()));
    assert_eq!(nat.inbound(now(), first, SERVERS[2]), Err(NatDrop::Filtered));
    assert_eq!(nat.inbound(now(), other, SERVERS[2]), Ok(a()));
}

#[test]
fn req_9_two_hosts_behind_one_box_reach_each_other_by_external_endpoints() {
    for (hairpinning, source) in
        [(Hairpinning::ExternalSource, None), (Hairpinning::InternalSource, Some(a()))]
    {
        let mut nat = with(|config| config.hairpinning = hairpinning);
        let (of_a, of_b) = (out(&mut nat, a(), SERVERS[0]), out(&mut nat, b(), SERVERS[0]));
        assert_eq!(nat.hairpin(now(), a(), of_b), Err(NatDrop::Filtered), "b sent nothing to it");
        let source = source.unwrap_or(of_a);
        nat.outbound(now(), b(), of_a).expect("b sends to a");
        assert_eq!(nat.hairpin(now(), a(), of_b), Ok((source, b())), "{hairpinning:?}");
    }
}

#[test]
fn without_hairpinning_the_external_endpoint_leads_nowhere_and_makes_no_mapping() {
    let mut nat = with(|config| config.hairpinning = Hairpinning::Unsupported);
    let of_b = out(&mut nat, b(), SERVERS[0]);
    assert_eq!(nat.hairpin(now(), a(), of_b), Err(NatDrop::NoHairpinning));
    assert_eq!((nat.mappings(now()), nat.drops(NatDrop::NoHairpinning)), (1, 1));
}

#[test]
fn req_11_a_port_conflict_changes_neither_mapping_nor_filtering() {
    let mut nat = with(|_| ());
    out(&mut nat, inside(1, 5_000), SERVERS[0]);
    let conflict = inside(2, 5_000);
    let seen: BTreeSet<_> = SERVERS.iter().map(|server| out(&mut nat, conflict, *server)).collect();
    assert_eq!(seen.len(), 1, "the mapping of the second host is endpoint-independent, too");
    let external = *seen.first().expect("one");
    assert_ne!(external.port(), 5_000);
    assert_eq!(nat.inbound(now(), external, server(9, 9)), Err(NatDrop::Filtered));
}

#[test]
fn a_family_without_external_address_is_filtered_and_not_translated() {
    let mut nat = with(|_| ());
    let (host, peer, stranger) =
        (v6("[2001:db8::1]:4242"), v6("[2001:db8:1::1]:4242"), v6("[2001:db8:2::1]:4242"));
    assert!(nat.translates(OUTSIDE.into()) && !nat.translates(host.ip()));
    assert_eq!(nat.inbound(now(), host, peer), Err(NatDrop::NoMapping));
    assert_eq!(nat.outbound(now(), host, peer), Ok(host));
    assert_eq!(nat.inbound(now(), host, peer), Ok(host));
    assert_eq!(nat.inbound(now(), host, stranger), Err(NatDrop::Filtered));
    let mixed = nat.outbound(now(), host, SERVERS[0]);
    assert_eq!(mixed, Err(NatDrop::FamilyMismatch));
}

#[test]
fn a_firewall_keeps_addresses_and_filters_by_what_was_sent() {
    for (filtering, stranger) in [(AddressDependent, false), (EndpointIndependent, true)] {
        let mut firewall = NatBox::firewall(filtering, &Seed::from_u64(1));
        let host = server(7, 4_242);
        assert_eq!(firewall.inbound(now(), host, SERVERS[0]), Err(NatDrop::NoMapping));
        assert_eq!(firewall.outbound(now(), host, SERVERS[0]), Ok(host));
        assert_eq!(firewall.inbound(now(), host, SERVERS[1]), Ok(host));
        assert_eq!(firewall.inbound(now(), host, SERVERS[2]).is_ok(), stranger);
    }
}

#[test]
fn full_tables_refuse_what_is_new_and_keep_what_is_there() {
    let mut nat = with(|config| {
        config.mappings_max = 3;
        config.mappings_per_host_max = 2;
        config.permissions_max = 2;
        config.lifetime = 120 * SECOND;
    });
    let kept = out(&mut nat, inside(1, 1), SERVERS[0]);
    out(&mut nat, inside(1, 2), SERVERS[0]);
    let full = Err(NatDrop::TableFull);
    assert_eq!(nat.outbound(now(), inside(1, 3), SERVERS[0]), full, "of one host");
    out(&mut nat, inside(2, 1), SERVERS[0]);
    assert_eq!(nat.outbound(now(), inside(3, 1), SERVERS[0]), full, "of the box");
    assert_eq!(nat.outbound(now(), inside(1, 1), SERVERS[2]), Ok(kept));
    assert_eq!(nat.outbound(now(), inside(1, 1), server(3, 3)), full, "of one mapping");
    assert_eq!(nat.drops(NatDrop::TableFull), 3);
    assert_eq!(nat.inbound(now(), kept, SERVERS[0]), Ok(inside(1, 1)));

    let late = now() + 121 * SECOND;
    assert!(nat.outbound(late, inside(3, 1), SERVERS[0]).is_ok(), "expired ones make room");
    nat.check();
}

#[test]
fn a_restart_loses_every_mapping_and_may_change_the_address() {
    let mut nat = with(|_| ());
    let before = out(&mut nat, a(), SERVERS[0]);
    let moved = Ipv4Addr::new(203, 0, 113, 2);
    nat.restart(vec![moved.into()]);
    assert_eq!(nat.inbound(now(), before, SERVERS[0]), Err(NatDrop::NoMapping));
    assert_eq!(out(&mut nat, a(), SERVERS[0]), SocketAddr::new(moved.into(), a().port()));
}

proptest! {
    /// Whatever is sent, tables stay consistent and bounded, and a datagram that gets in was
    /// permitted by one that went out.
    #[test]
    fn invariants_hold_whatever_is_sent(
        behaviors in (0..3_usize, 0..3_usize, 0..3_usize),
        steps in prop::collection::vec(
            (0..3_u8, 0..4_u8, 1..4_u16, 0..5_u8, 1..3_u16, 0..90_u64),
            1..120,
        ),
    ) {
        let (mapping, filtering) = (Behavior::ALL[behaviors.0], Behavior::ALL[behaviors.1]);
        let mut nat = with(|config| {
            config.mapping = mapping;
            config.filtering = filtering;
            config.allocation = allocations()[behaviors.2];
            config.ports = 2_000..=2_009;
            config.mappings_max = 8;
            config.mappings_per_host_max = 6;
            config.permissions_max = 3;
            config.lifetime = 120 * SECOND;
        });
        let mut at = now();
        let mut sent: Vec<(Instant, SocketAddr, SocketAddr, SocketAddr)> = Vec::new();
        for (kind, host, port, peer, peer_port, pause) in steps {
            at += Duration::from_secs(pause);
            let (internal, remote) = (inside(host, port), server(peer, peer_port));
            if kind < 2 {
                if let Ok(external) = nat.outbound(at, internal, remote) {
                    prop_assert!((2_000..=2_009).contains(&external.port()));
                    sent.push((at, internal, external, remote));
                }
            } else {
                let external = SocketAddr::new(OUTSIDE.into(), 2_000 + peer_port + port);
                if let Ok(internal) = nat.inbound(at, external, remote) {
                    let permitted = sent.iter().any(|(then, host, by, to)| {
                        at - *then <= 120 * SECOND && (*host, *by) == (internal, external)
                            && filtering.key(*to) == filtering.key(remote)
                    });
                    prop_assert!(permitted);
                }
            }
            nat.check();
        }
    }
}

fn allocations() -> [PortAllocation; 3] {
    [
        PortAllocation::Preserving(Collision::Random),
        PortAllocation::Sequential { step: 1 },
        PortAllocation::Random,
    ]
}

fn with(change: impl FnOnce(&mut NatConfig)) -> NatBox {
    let mut config = NatConfig::default();
    change(&mut config);
    NatBox::new(config, vec![OUTSIDE.into()], &Seed::from_u64(1))
}

fn symmetric(allocation: PortAllocation) -> NatConfig {
    NatConfig { mapping: AddressAndPortDependent, allocation, ..NatConfig::default() }
}
