//! Options of translators beyond what RFC 4787 requires.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{OUTSIDE, SECOND, SERVERS, a, inside, now, out, server};
use crate::env::Seed;
use crate::testkit::nat_box::{
    Behavior, Collision, Header, NatBox, NatConfig, NatDrop, Pooling, PortAllocation, Side,
};

#[test]
fn each_rule_of_a_collision_does_what_it_says() {
    let preserving = PortAllocation::Preserving;
    let of = |collision| {
        let mut nat = with(|config| config.allocation = preserving(collision));
        let [first, second] =
            [1, 2].map(|host| nat.outbound(now(), inside(host, 5_000), SERVERS[0]));
        nat.check();
        (first.map(|at| at.port()), second.map(|at| at.port()), nat)
    };
    let (first, second, _) = of(Collision::Next);
    assert_eq!((first, second), (Ok(5_000), Ok(5_001)));
    let (first, second, mut nat) = of(Collision::TakeOver);
    assert_eq!((first, second), (Ok(5_000), Ok(5_000)));
    let external = SocketAddr::new(OUTSIDE.into(), 5_000);
    assert_eq!(nat.inbound(now(), external, SERVERS[0]), Ok(inside(2, 5_000)), "the newer one");
    let (first, second, nat) = of(Collision::Refuse);
    assert_eq!((first, second), (Ok(5_000), Err(NatDrop::PortsExhausted)));
    assert_eq!(nat.drops(NatDrop::PortsExhausted), 1);
}

#[test]
fn ports_of_a_host_are_random_within_a_block_of_its_own() {
    let mut nat = block(64);
    let mut blocks = BTreeMap::new();
    for host in 1..=8 {
        let ports: Vec<u16> =
            (1..=64).map(|port| out(&mut nat, inside(host, port), SERVERS[0]).port()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(|port| (port - 40_000) / 64).collect();
        assert_eq!(numbers.len(), 1, "one block: {ports:?}");
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 64, "each port once");
        assert!(!ports.is_sorted());
        blocks.insert(host, numbers);
    }
    assert_eq!(blocks.values().collect::<BTreeSet<_>>().len(), 8, "no block is shared");
    nat.check();
}

#[test]
fn a_full_block_and_a_missing_block_drop_what_is_new() {
    let mut nat = block(64);
    for port in 1..=64 {
        out(&mut nat, inside(1, port), SERVERS[0]);
    }
    let full = Err(NatDrop::PortsExhausted);
    assert_eq!(nat.outbound(now(), inside(1, 65), SERVERS[0]), full);
    // The range has 1,000 ports, that is 15 whole blocks.
    for host in 2..=15 {
        out(&mut nat, inside(host, 1), SERVERS[0]);
    }
    assert_eq!(nat.outbound(now(), inside(16, 1), SERVERS[0]), full, "no block is left");
    let late = now() + 301 * SECOND;
    assert!(nat.outbound(late, inside(16, 1), SERVERS[0]).is_ok(), "that of an idle host");
    nat.check();
}

#[test]
fn pooling_by_socket_gives_one_host_several_addresses_and_one_socket_one() {
    let pool = (1..=8).map(|last| Ipv4Addr::new(203, 0, 113, last).into()).collect();
    let config = NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        pooling: Pooling::PairedBySocket,
        ..NatConfig::default()
    };
    let mut nat = NatBox::new(config, pool, &Seed::from_u64(1));
    let mut addresses = BTreeSet::new();
    for port in 1..=20 {
        let seen: BTreeSet<IpAddr> =
            SERVERS.iter().map(|to| out(&mut nat, inside(1, port), *to).ip()).collect();
        assert_eq!(seen.len(), 1);
        addresses.extend(seen);
    }
    assert!(addresses.len() > 4, "{addresses:?}");
}

#[test]
fn each_combination_of_refreshes_keeps_what_it_says() {
    for (outbound_refresh, inbound_refresh, after_out, after_in) in
        [(true, false, true, false), (false, true, false, true), (false, false, false, false)]
    {
        let lives = |by_outbound: bool| {
            let mut nat = with(|config| {
                config.lifetime = 120 * SECOND;
                config.outbound_refresh = outbound_refresh;
                config.inbound_refresh = inbound_refresh;
            });
            let external = out(&mut nat, a(), SERVERS[0]);
            let middle = now() + 100 * SECOND;
            if by_outbound {
                assert_eq!(nat.outbound(middle, a(), SERVERS[0]), Ok(external));
            } else {
                assert_eq!(nat.inbound(middle, external, SERVERS[0]), Ok(a()));
            }
            nat.inbound(now() + 200 * SECOND, external, SERVERS[0]).is_ok()
        };
        let name = format!("outbound {outbound_refresh}, inbound {inbound_refresh}");
        assert_eq!((lives(true), lives(false)), (after_out, after_in), "{name}");
    }
}

#[test]
fn a_ttl_is_counted_down_on_the_way_out_in_and_around() {
    let mut nat = with(|config| config.filtering = Behavior::EndpointIndependent);
    let ways = |external| {
        [
            (Side::Inside, Header::new(a(), server(9, 9))),
            (Side::Outside, Header::new(server(9, 9), external)),
            (Side::Inside, Header::new(inside(7, 7), external)),
        ]
    };
    let external = out(&mut nat, a(), SERVERS[0]);
    for (side, header) in ways(external) {
        let left = nat.forward(now(), side, Header { ttl: 2, ..header }).map(|(_, left)| left.ttl);
        assert_eq!(left, Ok(1), "{header:?}");
        for ttl in [0, 1] {
            let dead = nat.forward(now(), side, Header { ttl, ..header });
            assert_eq!(dead, Err(NatDrop::TtlExpired), "{header:?}");
        }
    }
    assert_eq!(nat.drops(NatDrop::TtlExpired), 6);
}

#[test]
fn a_forwarded_port_leads_in_from_any_source_and_is_the_source_of_its_endpoint() {
    let mut nat = with(|config| config.filtering = Behavior::AddressAndPortDependent);
    nat.forward_port(40_777, a());
    let external = SocketAddr::new(OUTSIDE.into(), 40_777);
    assert_eq!(nat.inbound(now(), external, server(9, 9)), Ok(a()));
    assert_eq!(out(&mut nat, a(), SERVERS[0]), external);
    assert_ne!(out(&mut nat, inside(2, 40_777), SERVERS[0]), external, "it is reserved");
    nat.unforward_port(40_777);
    assert_eq!(nat.inbound(now(), external, server(9, 9)), Err(NatDrop::NoMapping));
}

#[test]
fn a_new_address_without_a_reboot_ends_the_mappings_of_the_old_one() {
    let mut nat = with(|_| ());
    let before = out(&mut nat, a(), SERVERS[0]);
    let moved = Ipv4Addr::new(203, 0, 113, 2);
    nat.renumber(vec![moved.into()]);
    assert_eq!(nat.inbound(now(), before, SERVERS[0]), Err(NatDrop::NoMapping));
    assert_eq!(out(&mut nat, a(), SERVERS[0]).ip(), IpAddr::from(moved));
    nat.check();
}

fn with(change: impl FnOnce(&mut NatConfig)) -> NatBox {
    let mut config = NatConfig::default();
    change(&mut config);
    NatBox::new(config, vec![OUTSIDE.into()], &Seed::from_u64(1))
}

fn block(size: u16) -> NatBox {
    with(|config| {
        config.allocation = PortAllocation::Block { size };
        config.ports = 40_000..=40_999;
    })
}

#[test]
fn background_flows_take_the_ports_between_two_flows_of_a_host() {
    let config = NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Sequential { step: 1 },
        ..NatConfig::default()
    };
    let seed = Seed::from_u64(1);
    let mut nat = NatBox::new(config, vec![OUTSIDE.into()], &seed);
    nat.set_background(now(), 20, &seed);
    let port = |nat: &mut NatBox, secs, number| {
        let at = now() + Duration::from_secs(secs);
        let remote = SocketAddr::from(([198, 51, 100, number], 1));
        nat.outbound(at, a(), remote).expect("there is room").port()
    };
    let (first, second, third) =
        (port(&mut nat, 1, 1), port(&mut nat, 1, 2), port(&mut nat, 101, 3));
    assert_eq!(second.wrapping_sub(first), 1, "at one moment nothing comes between");
    let taken = third.wrapping_sub(second);
    assert!((1_800..2_200).contains(&taken), "about 20 a second, {taken}");
}
