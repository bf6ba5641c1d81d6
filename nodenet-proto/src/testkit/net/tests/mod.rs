//! The network without nodes: ways through realms, links, order, determinism.

mod early;
mod ttl;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Net, NetStats, Realm};
use crate::env::Seed;
use crate::testkit::nat_box::{Behavior, BoxKind, Hairpinning, NatBox, NatConfig};
use crate::testkit::{LinkProfile, Puppet, addr};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn datagrams_arrive_after_the_latency_in_the_order_in_which_they_were_sent() {
    let mut net = Net::new(1);
    let (mut a, mut b) = (Puppet::new(addr(1)), Puppet::new(addr(2)));
    let begin = net.now;
    for text in ["one", "two", "three"] {
        a.send(b.addr, text);
    }
    net.run(&mut [&mut a, &mut b], SECOND);
    let heard: Vec<_> = b.heard.iter().map(|(at, datagram)| (*at, &datagram.data[..])).collect();
    let at = begin + 10 * MS;
    assert_eq!(heard, [(at, &b"one"[..]), (at, &b"two"[..]), (at, &b"three"[..])]);
    assert!(b.heard.iter().all(|(_, datagram)| datagram.from == a.addr));
    assert_eq!(net.stats(), NetStats { sent: 3, arrived: 3, ..NetStats::default() });
}

#[test]
fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
    let run = |seed| {
        let mut net = Net::new(seed);
        net.link = LinkProfile { duplication: 0.1, reordering: 0.1, ..LinkProfile::LTE };
        let (mut a, mut b) = (Puppet::new(addr(1)), Puppet::new(addr(2)));
        for number in 0..500_u16 {
            a.send(b.addr, number.to_be_bytes());
            net.run(&mut [&mut a, &mut b], MS);
        }
        net.run(&mut [&mut a, &mut b], SECOND);
        b.heard.iter().map(|(at, heard)| (*at, heard.data.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn what_one_pair_sends_changes_nothing_for_another() {
    let run = |noise: bool| {
        let mut net = Net::new(1);
        net.set_loss_percent(30);
        let mut hosts = [1, 2, 3].map(|number| Puppet::new(addr(number)));
        for number in 0..200_u8 {
            let [a, b, c] = &mut hosts;
            if noise {
                c.send(b.addr, "noise");
            }
            a.send(b.addr, [number]);
            net.run(&mut [a, b, c], MS);
        }
        let [a, b, _] = hosts;
        let from_a = b.heard.iter().filter(|(_, heard)| heard.from == a.addr);
        from_a.map(|(at, heard)| (*at, heard.data.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_host_behind_a_nat_box_is_seen_at_its_external_endpoint_and_answered_there() {
    let mut net = Net::new(1);
    let realm = router(&mut net, Realm::PUBLIC, 1, NatConfig::default());
    let mut a = inside(&mut net, realm, 1);
    let (mut server, mut stranger) = (Puppet::new(addr(1)), Puppet::new(addr(2)));
    a.send(server.addr, "hello");
    net.run(&mut [&mut a, &mut server], SECOND);
    let seen = external(1, a.addr.port());
    assert_eq!(server.take_heard(), [(seen, b"hello".to_vec())]);

    server.send(seen, "answer");
    stranger.send(seen, "unasked");
    net.run(&mut [&mut a, &mut server, &mut stranger], SECOND);
    assert_eq!(a.take_heard(), [(server.addr, b"answer".to_vec())]);
    assert_eq!((net.stats().filtered, net.nat(realm).expect("a box").drops_total()), (1, 1));
}

#[test]
fn boxes_in_a_row_translate_one_after_the_other() {
    let mut net = Net::new(1);
    let carrier = router(&mut net, Realm::PUBLIC, 1, NatConfig::default());
    let wan: IpAddr = [100, 64, 0, 7].into();
    let nat = NatBox::new(NatConfig::default(), vec![wan], &Seed::from_u64(2));
    let realm = net.add_gateway(carrier, nat);
    let mut a = inside(&mut net, realm, 1);
    let mut neighbour = Puppet::within(carrier, SocketAddr::from(([100, 64, 0, 8], 4242)));
    net.place(carrier, neighbour.addr.ip());
    let mut server = Puppet::new(addr(1));
    a.send(server.addr, "out");
    a.send(neighbour.addr, "across");
    net.run(&mut [&mut a, &mut server, &mut neighbour], SECOND);
    assert_eq!(server.take_heard(), [(external(1, 4242), b"out".to_vec())]);
    let within = SocketAddr::new(wan, 4242);
    assert_eq!(neighbour.take_heard(), [(within, b"across".to_vec())]);
    server.send(external(1, 4242), "in");
    neighbour.send(within, "back");
    net.run(&mut [&mut a, &mut server, &mut neighbour], SECOND);
    let mut heard = a.take_heard();
    heard.sort();
    let expected = [(neighbour.addr, b"back".to_vec()), (server.addr, b"in".to_vec())];
    assert_eq!(heard, expected);
}

#[test]
fn equal_private_addresses_behind_two_boxes_are_different_hosts() {
    let mut net = Net::new(1);
    let [first, second] = [1, 2].map(|n| router(&mut net, Realm::PUBLIC, n, NatConfig::default()));
    let [mut a, mut b] = [first, second].map(|realm| inside(&mut net, realm, 1));
    let mut beside = inside(&mut net, first, 2);
    beside.send(a.addr, "neighbour");
    net.run(&mut [&mut a, &mut b, &mut beside], SECOND);
    assert_eq!((a.take_heard().len(), b.take_heard().len()), (1, 0));
}

#[test]
fn hairpinning_leads_back_inside_with_the_external_source() {
    for hairpinning in [Hairpinning::ExternalSource, Hairpinning::Unsupported] {
        let mut net = Net::new(1);
        let filtering = Behavior::EndpointIndependent;
        let config = NatConfig { hairpinning, filtering, ..NatConfig::default() };
        let realm = router(&mut net, Realm::PUBLIC, 1, config);
        let [mut a, mut b] = [1, 2].map(|host| inside(&mut net, realm, host));
        let mut server = Puppet::new(addr(1));
        a.send(server.addr, "a");
        net.run(&mut [&mut a, &mut b, &mut server], SECOND);
        b.send(server.addr, "b");
        net.run(&mut [&mut a, &mut b, &mut server], SECOND);
        let seen: Vec<_> = server.take_heard().into_iter().map(|(from, _)| from).collect();
        a.send(seen[1], "to b");
        net.run(&mut [&mut a, &mut b, &mut server], SECOND);
        let expected = match hairpinning {
            Hairpinning::Unsupported => vec![],
            _ => vec![(seen[0], b"to b".to_vec())],
        };
        assert_eq!(b.take_heard(), expected, "{hairpinning:?}");
    }
}

#[test]
fn a_host_behind_a_firewall_has_its_own_address_and_is_reached_by_those_it_asked() {
    let mut net = Net::new(1);
    let seed = Seed::from_u64(1);
    let realm =
        net.add_gateway(Realm::PUBLIC, NatBox::firewall(Behavior::AddressAndPortDependent, &seed));
    let mut a = Puppet::within(realm, addr(1));
    net.place(realm, a.addr.ip());
    let (mut b, mut c) = (Puppet::new(addr(2)), Puppet::new(addr(3)));
    b.send(a.addr, "too early");
    net.run(&mut [&mut a, &mut b, &mut c], SECOND);
    a.send(b.addr, "hello");
    net.run(&mut [&mut a, &mut b, &mut c], SECOND);
    b.send(a.addr, "answer");
    c.send(a.addr, "unasked");
    net.run(&mut [&mut a, &mut b, &mut c], SECOND);
    assert_eq!(b.take_heard(), [(a.addr, b"hello".to_vec())]);
    assert_eq!(a.take_heard(), [(b.addr, b"answer".to_vec())]);
    assert_eq!(net.stats().filtered, 2);
}

#[test]
fn a_rebooted_box_forgets_and_has_another_address() {
    let mut net = Net::new(1);
    let realm = router(&mut net, Realm::PUBLIC, 1, NatConfig::default());
    let mut a = inside(&mut net, realm, 1);
    let mut server = Puppet::new(addr(1));
    a.send(server.addr, "before");
    net.run(&mut [&mut a, &mut server], SECOND);
    net.restart_nat(realm, vec![external(2, 0).ip()]);
    server.send(external(1, 4242), "to the old address");
    server.send(external(2, 4242), "no mapping yet");
    net.run(&mut [&mut a, &mut server], SECOND);
    assert_eq!(a.take_heard(), []);
    a.send(server.addr, "after");
    net.run(&mut [&mut a, &mut server], SECOND);
    let sources: Vec<_> = server.take_heard().into_iter().map(|(from, _)| from).collect();
    assert_eq!(sources, [external(1, 4242), external(2, 4242)]);
}

#[test]
fn a_host_that_moved_is_at_its_new_place_alone() {
    let mut net = Net::new(1);
    let seed = Seed::from_u64(1);
    let firewall = NatBox::firewall(Behavior::EndpointIndependent, &seed);
    let realm = net.add_gateway(Realm::PUBLIC, firewall);
    let mut a = Puppet::within(realm, addr(1));
    net.place(realm, a.addr.ip());
    net.remove(realm, a.addr.ip());
    a.realm = Realm::PUBLIC;
    let mut b = Puppet::new(addr(2));
    b.send(a.addr, "hello");
    net.run(&mut [&mut a, &mut b], SECOND);
    assert_eq!(a.take_heard().len(), 1, "no firewall is asked");
}

#[test]
fn the_sender_of_what_is_too_long_is_told_where_the_path_reports_it() {
    for reports_too_big in [true, false] {
        let mut net = Net::new(1);
        net.link = LinkProfile { mtu: 1_280, reports_too_big, ..LinkProfile::REGION };
        let realm = router(&mut net, Realm::PUBLIC, 1, NatConfig::default());
        let mut a = inside(&mut net, realm, 1);
        let mut b = Puppet::new(addr(1));
        a.send(b.addr, [0; 1_252]);
        a.send(b.addr, [0; 1_253]);
        net.run(&mut [&mut a, &mut b], SECOND);
        assert_eq!((b.take_heard().len(), net.stats().too_long), (1, 1));
        let expected = if reports_too_big { vec![(b.addr, 1_280)] } else { vec![] };
        assert_eq!(a.too_big, expected);
    }
}

#[test]
fn a_partition_loses_what_is_under_way_and_healing_restores() {
    let mut net = Net::new(1);
    let mut hosts = [1, 2, 3].map(|number| Puppet::new(addr(number)));
    let [a, b, c] = &mut hosts;
    a.send(b.addr, "under way");
    net.run(&mut [a, b, c], MS);
    net.partition([a.addr.ip(), c.addr.ip()]);
    a.send(b.addr, "cut");
    a.send(c.addr, "together");
    net.run(&mut [a, b, c], SECOND);
    assert_eq!((b.take_heard().len(), c.take_heard().len(), net.stats().cut), (0, 1, 2));
    net.heal();
    a.send(b.addr, "healed");
    net.run(&mut [a, b, c], SECOND);
    assert_eq!(b.take_heard(), [(a.addr, b"healed".to_vec())]);
}

#[test]
fn a_stalled_path_delivers_everything_at_once() {
    let mut net = Net::new(1);
    let (mut a, mut b) = (Puppet::new(addr(1)), Puppet::new(addr(2)));
    let until = net.now + SECOND;
    net.stalled_until = Some(until);
    for text in ["one", "two"] {
        a.send(b.addr, text);
        net.run(&mut [&mut a, &mut b], 100 * MS);
    }
    net.run(&mut [&mut a, &mut b], 2 * SECOND);
    assert!(b.heard.iter().all(|(at, _)| *at == until));
    assert_eq!(b.heard.len(), 2);
}

#[test]
fn too_many_datagrams_under_way_lose_the_oldest() {
    let mut net = Net::new(1);
    net.flights_max = 2;
    let (mut a, mut b) = (Puppet::new(addr(1)), Puppet::new(addr(2)));
    for text in ["one", "two", "three"] {
        a.send(b.addr, text);
    }
    net.run(&mut [&mut a, &mut b], SECOND);
    let heard: Vec<_> = b.take_heard().into_iter().map(|(_, data)| data).collect();
    assert_eq!(heard, [b"two".to_vec(), b"three".to_vec()]);
    assert_eq!(net.stats().overflowed, 1);
}

#[test]
fn a_script_decides_what_arrives() {
    let mut net = Net::new(1);
    let (mut a, mut b) = (Puppet::new(addr(1)), Puppet::new(addr(2)));
    for text in ["one", "two", "three", "four"] {
        a.send(b.addr, text);
    }
    net.flush(&mut [&mut a, &mut b]);
    assert_eq!(net.under_way(), 4);
    net.lose(0);
    net.corrupt(0, 1, 0x20);
    net.duplicate(2);
    net.deliver(&mut [&mut a, &mut b], 1);
    net.deliver_all(&mut [&mut a, &mut b]);
    let heard: Vec<_> = b.take_heard().into_iter().map(|(_, data)| data).collect();
    assert_eq!(heard, [&b"three"[..], b"tWo", b"four", b"four"]);
    assert_eq!((net.under_way(), net.next_arrival()), (0, None));
}

fn router(net: &mut Net, outside: Realm, number: u8, kind: impl Into<BoxKind>) -> Realm {
    let nat = NatBox::new(kind, vec![external(number, 0).ip()], &Seed::from_u64(number.into()));
    net.add_gateway(outside, nat)
}

fn inside(net: &mut Net, realm: Realm, host: u8) -> Puppet {
    let addr = SocketAddr::from(([192, 168, 1, host], 4242));
    net.place(realm, addr.ip());
    Puppet::within(realm, addr)
}

fn external(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, number], port))
}

#[test]
fn a_link_is_the_path_through_the_accesses_of_both_ends() {
    let mut net = Net::new(1);
    let (mut a, mut b, mut c) = (Puppet::new(addr(1)), Puppet::new(addr(2)), Puppet::new(addr(3)));
    let begin = net.now;
    let access = |ms| LinkProfile { latency: ms * MS, ..LinkProfile::IDEAL };
    net.set_access(Realm::PUBLIC, a.addr.ip(), Some(access(30)));
    net.set_access(Realm::PUBLIC, b.addr.ip(), Some(access(40)));
    a.send(b.addr, "both");
    a.send(c.addr, "one");
    net.run(&mut [&mut a, &mut b, &mut c], SECOND);
    assert_eq!((b.heard[0].0 - begin, c.heard[0].0 - begin), (70 * MS, 30 * MS));
    net.set_access(Realm::PUBLIC, a.addr.ip(), None);
    net.set_profile(a.addr.ip(), c.addr.ip(), LinkProfile::WAN);
    let later = net.now;
    a.send(b.addr, "its own only");
    a.send(c.addr, "a profile of its own");
    net.run(&mut [&mut a, &mut b, &mut c], SECOND);
    assert_eq!(b.heard[1].0 - later, 40 * MS);
    assert!(c.heard[1].0 - later >= LinkProfile::WAN.latency);
}
