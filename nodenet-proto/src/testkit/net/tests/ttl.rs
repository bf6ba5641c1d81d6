//! TTL on the way, and ways between the families.

use std::net::{IpAddr, SocketAddr};

use super::{SECOND, external, inside, router};
use crate::env::Seed;
use crate::testkit::nat_box::{
    BoxKind, LinuxConfig, NatBox, NatConfig, NatDrop, SourceRule, nat64_address,
};
use crate::testkit::{LinkProfile, Net, Puppet, Realm, addr};

/// T5. Behind one router TTL 2 leaves it and dies on the way, behind two TTL 3.
#[test]
fn a_short_ttl_leaves_the_own_routers_and_dies_before_the_other() {
    for depth in [1_u8, 2] {
        let mut net = Net::new(1);
        let outer = router(&mut net, Realm::PUBLIC, 1, LinuxConfig::default());
        let realm = match depth {
            1 => outer,
            _ => {
                let wan: IpAddr = [100, 64, 0, 7].into();
                let nat = NatBox::new(LinuxConfig::default(), vec![wan], &Seed::from_u64(2));
                net.add_gateway(outer, nat)
            }
        };
        let (mut a, mut peer) = (inside(&mut net, realm, 1), Puppet::new(addr(1)));
        for (ttl, mappings, dead_at_box) in [(depth, 0, 1), (depth + 1, 1, 1)] {
            a.send_with_ttl(peer.addr, "short", ttl);
            net.run(&mut [&mut a, &mut peer], SECOND);
            assert_eq!(peer.take_heard(), [], "TTL {ttl} behind {depth}");
            let nat = net.nat(outer).expect("a box");
            assert_eq!(nat.mappings(net.now), mappings, "TTL {ttl} behind {depth}");
            assert_eq!(nat.drops(NatDrop::TtlExpired), dead_at_box);
        }
        assert_eq!(net.stats().expired, 1);
        peer.send(external(1, 4242), "in");
        net.run(&mut [&mut a, &mut peer], SECOND);
        assert_eq!(a.take_heard(), [(peer.addr, b"in".to_vec())]);
        a.send_with_ttl(peer.addr, "enough", depth + 2);
        net.run(&mut [&mut a, &mut peer], SECOND);
        assert_eq!(peer.take_heard().len(), 1);
    }
}

#[test]
fn each_router_of_a_link_counts_the_ttl_down() {
    let mut net = Net::new(1);
    net.link = LinkProfile { hops: 5, ..LinkProfile::REGION };
    let (mut a, mut b) = (Puppet::new(addr(1)), Puppet::new(addr(2)));
    for ttl in [5, 6] {
        a.send_with_ttl(b.addr, [ttl], ttl);
    }
    net.run(&mut [&mut a, &mut b], SECOND);
    assert_eq!(b.take_heard(), [(a.addr, vec![6])]);
    assert_eq!(net.stats().expired, 1);
}

#[test]
fn an_ipv6_host_behind_a_nat64_talks_to_an_ipv4_host() {
    let mut net = Net::new(1);
    let nat = NatBox::new(
        BoxKind::Nat64(NatConfig::default()),
        vec![external(1, 0).ip()],
        &Seed::from_u64(1),
    );
    let realm = net.add_gateway(Realm::PUBLIC, nat);
    let mut a = Puppet::within(realm, "[2001:db8::1]:5000".parse().expect("a literal"));
    net.place(realm, a.addr.ip());
    let (mut v4, mut v6) =
        (Puppet::new(addr(1)), Puppet::new("[2001:db8:1::1]:1".parse().expect("a literal")));
    let IpAddr::V4(ip) = v4.addr.ip() else { panic!("{} is not IPv4", v4.addr) };
    let name = SocketAddr::new(nat64_address(ip).into(), v4.addr.port());
    a.send(name, "to IPv4");
    a.send(v6.addr, "to IPv6");
    net.run(&mut [&mut a, &mut v4, &mut v6], SECOND);
    assert_eq!(v4.take_heard(), [(external(1, 5000), b"to IPv4".to_vec())]);
    assert_eq!(v6.take_heard(), [(a.addr, b"to IPv6".to_vec())]);
    v4.send(external(1, 5000), "back");
    v6.send(a.addr, "back");
    net.run(&mut [&mut a, &mut v4, &mut v6], SECOND);
    let mut from: Vec<_> = a.take_heard().into_iter().map(|(from, _)| from).collect();
    from.sort();
    assert_eq!(from, [name, v6.addr]);
}

/// RFC 7915 §4.2: the report names what fits with the longer header of IPv6.
#[test]
fn a_nat64_reports_an_mtu_that_is_twenty_bytes_longer() {
    let mut net = Net::new(1);
    net.link = LinkProfile { mtu: 1_280, reports_too_big: true, ..LinkProfile::REGION };
    let nat = NatBox::new(
        BoxKind::Nat64(NatConfig::default()),
        vec![external(1, 0).ip()],
        &Seed::from_u64(1),
    );
    let realm = net.add_gateway(Realm::PUBLIC, nat);
    let mut a = Puppet::within(realm, "[2001:db8::1]:5000".parse().expect("a literal"));
    net.place(realm, a.addr.ip());
    let mut v4 = Puppet::new(addr(1));
    let IpAddr::V4(ip) = v4.addr.ip() else { panic!("{} is not IPv4", v4.addr) };
    let name = SocketAddr::new(nat64_address(ip).into(), v4.addr.port());
    // 1,252 and 28 bytes of IPv4 and UDP are 1,280, and one more is too long.
    a.send(name, [0; 1_252]);
    a.send(name, [0; 1_253]);
    net.run(&mut [&mut a, &mut v4], SECOND);
    assert_eq!(v4.take_heard().len(), 1);
    assert_eq!(a.too_big, [(name, 1_300)]);
}

/// R2. A router with a new address is reached there at once; a constant address stays.
#[test]
fn a_router_with_another_address_is_reached_there() {
    for (rule, at) in [(SourceRule::Masquerade, 2), (SourceRule::Snat, 1)] {
        let mut net = Net::new(1);
        let realm =
            router(&mut net, Realm::PUBLIC, 1, LinuxConfig { rule, ..LinuxConfig::default() });
        let (mut a, mut peer) = (inside(&mut net, realm, 1), Puppet::new(addr(1)));
        a.send(peer.addr, "before");
        net.run(&mut [&mut a, &mut peer], SECOND);
        net.renumber_nat(realm, vec![external(2, 0).ip()]);
        a.send(peer.addr, "after");
        net.run(&mut [&mut a, &mut peer], SECOND);
        let seen: Vec<_> = peer.take_heard().into_iter().map(|(from, _)| from).collect();
        assert_eq!(seen, [external(1, 4242), external(at, 4242)], "{rule:?}");
        peer.send(seen[1], "back");
        net.run(&mut [&mut a, &mut peer], SECOND);
        assert_eq!(a.take_heard().len(), 1);
    }
}
