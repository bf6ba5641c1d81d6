//! The Linux router against what was measured of the kernel (docs/SIMULATOR.md#linux-router).

mod flows;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{OUTSIDE, now, out, server, v6};
use crate::env::Seed;
use crate::testkit::nat_box::{LinuxConfig, NatBox, NatDrop, SourceRule};

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
