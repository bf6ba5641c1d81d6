//! The NAT64 against RFC 6146.

use std::net::{Ipv4Addr, SocketAddr};

use super::{OUTSIDE, SECOND, SERVERS, now, v6};
use crate::env::Seed;
use crate::testkit::nat_box::{
    Behavior, BoxKind, Header, NatBox, NatConfig, NatDrop, Side, nat64_address, nat64_embedded,
};

const HOST: &str = "[2001:db8::1]:5000";

#[test]
fn an_address_of_the_prefix_holds_an_ipv4_address_in_its_last_bits() {
    let ip = Ipv4Addr::new(192, 0, 2, 33);
    // The example of RFC 6052 §2.4.
    assert_eq!(nat64_address(ip), v6("[64:ff9b::192.0.2.33]:1").ip());
    assert_eq!(nat64_embedded(nat64_address(ip).into()), Some(ip));
    assert_eq!(nat64_embedded(v6(HOST).ip()), None);
    assert_eq!(nat64_embedded(ip.into()), None);
}

#[test]
fn an_ipv6_host_is_an_ipv4_endpoint_outside_and_gets_answers_from_the_prefix() {
    let mut nat = nat64();
    let host = v6(HOST);
    let passed = nat.forward(now(), Side::Inside, Header::new(host, within(SERVERS[0])));
    let seen = SocketAddr::new(OUTSIDE.into(), 5_000);
    let expected = Header { ttl: 63, ..Header::new(seen, SERVERS[0]) };
    assert_eq!(passed, Ok((Side::Outside, expected)));
    let back = nat.forward(now(), Side::Outside, Header::new(SERVERS[0], seen));
    let expected = Header { ttl: 63, ..Header::new(within(SERVERS[0]), host) };
    assert_eq!(back, Ok((Side::Inside, expected)));
    assert_eq!(nat.inbound(now(), seen, SERVERS[2]), Err(NatDrop::Filtered));
    nat.check();
}

#[test]
fn bindings_of_a_nat64_do_not_depend_on_the_endpoint() {
    let mut nat = nat64();
    let seen = SERVERS.map(|server| nat.outbound(now(), v6(HOST), within(server)));
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}

#[test]
fn a_session_of_a_nat64_ends_after_its_lifetime() {
    let mut nat = nat64();
    let seen = nat.outbound(now(), v6(HOST), within(SERVERS[0])).expect("there is room");
    assert!(nat.inbound(now() + 300 * SECOND, seen, SERVERS[0]).is_ok());
    assert!(nat.inbound(now() + 301 * SECOND, seen, SERVERS[0]).is_err());
}

#[test]
fn other_ipv6_passes_a_nat64_untranslated_behind_its_firewall() {
    let mut nat = nat64();
    let (host, peer) = (v6(HOST), v6("[2001:db8:1::1]:7000"));
    assert_eq!(nat.inbound(now(), host, peer), Err(NatDrop::NoMapping));
    assert_eq!(nat.outbound(now(), host, peer), Ok(host));
    assert_eq!(nat.inbound(now(), host, peer), Ok(host));
    assert!(!nat.translates(host.ip()));
}

#[test]
fn the_prefix_does_not_lead_to_addresses_of_one_site() {
    let mut nat = nat64();
    for ip in [[10, 0, 0, 1], [192, 168, 1, 1], [127, 0, 0, 1], [169, 254, 0, 1]] {
        let to = within(SocketAddr::from((ip, 7_000)));
        assert_eq!(nat.outbound(now(), v6(HOST), to), Err(NatDrop::NotTranslatable));
    }
}

/// RFC 6146 §3.8.
#[test]
fn two_hosts_behind_a_nat64_reach_each_other_by_its_external_address() {
    let mut nat = nat64();
    let (a, b) = (v6(HOST), v6("[2001:db8::2]:6000"));
    let [of_a, of_b] = [a, b].map(|host| nat.outbound(now(), host, within(SERVERS[0])));
    let (of_a, of_b) = (of_a.expect("there is room"), of_b.expect("there is room"));
    nat.hairpin(now(), b, within(of_a)).expect_err("a sent nothing to b");
    assert_eq!(nat.hairpin(now(), a, within(of_b)), Ok((within(of_a), b)));
}

#[test]
fn a_firewall_without_udp_drops_both_directions() {
    let mut nat = NatBox::new(BoxKind::NoUdp, Vec::new(), &Seed::from_u64(1));
    assert_eq!(nat.outbound(now(), v6(HOST), within(SERVERS[0])), Err(NatDrop::NoUdp));
    assert_eq!(nat.inbound(now(), v6(HOST), within(SERVERS[0])), Err(NatDrop::NoUdp));
    assert_eq!(nat.drops(NatDrop::NoUdp), 2);
}

fn within(v4: SocketAddr) -> SocketAddr {
    let SocketAddr::V4(v4) = v4 else { panic!("{v4} is not IPv4") };
    SocketAddr::new(nat64_address(*v4.ip()).into(), v4.port())
}

fn nat64() -> NatBox {
    let config = NatConfig { filtering: Behavior::AddressDependent, ..NatConfig::default() };
    NatBox::new(BoxKind::Nat64(config), vec![OUTSIDE.into()], &Seed::from_u64(1))
}
