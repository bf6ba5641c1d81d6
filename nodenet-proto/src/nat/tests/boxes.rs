//! Own address, NAT behaviour and reachability behind every kind of box, with liars among the
//! neighbours.

mod kinds;

use std::net::Ipv6Addr;

use self::kinds::{Families, Kind, kinds};
use super::*;
use crate::addr::Tier;
use crate::env::{Random, Seed};
use crate::testkit::nat_box::{Header, NatBox, Side, nat64_address};
use crate::wire::nat::{Allocator, Mapping};

const SEEDS: u64 = 50;
const HONEST: u8 = 20;
/// A third of all neighbours.
const LIARS: u8 = 10;
/// The socket of the node, of the other host behind its boxes, and their external addresses.
const INSIDE: [&str; 2] = ["192.168.1.2:4242", "[fd00::2]:4242"];
const OTHER: [&str; 2] = ["192.168.1.3:4242", "[fd00::3]:4242"];
const OUTSIDE: [&str; 2] = ["203.0.113.7:4242", "[2a0f:1::7]:4242"];

/// A box, and the hosts behind it.
struct Boxes {
    families: Families,
    /// By family.
    own: [SocketAddr; 2],
    boxes: Vec<NatBox>,
}

impl Boxes {
    fn new(kind: &Kind, seed: &Seed) -> Self {
        let families = kind.families;
        let external = |place: usize| -> Vec<IpAddr> {
            let is_outermost = place + 1 == kind.boxes.len();
            match families {
                _ if !kind.is_translated => vec![],
                Families::V6 => vec![addr(OUTSIDE[1]).ip()],
                _ if is_outermost => vec![addr(OUTSIDE[0]).ip()],
                _ => vec![[100, 64, 0, 9].into()],
            }
        };
        let boxes = kind.boxes.iter().enumerate().map(|(place, config)| {
            NatBox::new(config.clone(), external(place), &seed.child("box", place as u64))
        });
        let v4 = if kind.is_translated { INSIDE[0] } else { OUTSIDE[0] };
        let has_own_v6 = !kind.is_translated || families != Families::V6;
        let v6 = if has_own_v6 { OUTSIDE[1] } else { INSIDE[1] };
        Self { families, own: [v4, v6].map(addr), boxes: boxes.collect() }
    }

    /// The addresses of the node's socket.
    fn local_addrs(&self) -> Vec<SocketAddr> {
        match self.families {
            Families::V4 => vec![self.own[0]],
            Families::Both => self.own.to_vec(),
            Families::V6 | Families::Nat64 | Families::Nat64AndV6 => vec![self.own[1]],
        }
    }

    /// The socket from which the node sends to this address.
    fn own_for(&self, remote: SocketAddr) -> SocketAddr {
        self.own[usize::from(remote.is_ipv6())]
    }

    /// The address of a neighbour as the node has to name it.
    fn named(&self, remote: SocketAddr) -> SocketAddr {
        match (self.families, remote.ip()) {
            (Families::Nat64 | Families::Nat64AndV6, IpAddr::V4(ip)) => {
                SocketAddr::new(nat64_address(ip).into(), remote.port())
            }
            _ => remote,
        }
    }

    /// Where `remote` sees a socket behind the boxes.
    fn seen_from(&mut self, now: Instant, own: SocketAddr, remote: SocketAddr) -> SocketAddr {
        let header = Header::new(own, self.named(remote));
        let passed = self.boxes.iter_mut().fold(header, |header, nat| {
            nat.forward(now, Side::Inside, header).expect("the box has room").1
        });
        passed.from
    }

    /// Where `remote` sees the node.
    fn seen_by(&mut self, now: Instant, remote: SocketAddr) -> SocketAddr {
        let own = self.own_for(self.named(remote));
        self.seen_from(now, own, remote)
    }

    /// From where a datagram to this address gets to the node, if it does.
    fn lets_in(&mut self, now: Instant, to: SocketAddr, from: SocketAddr) -> Option<SocketAddr> {
        let header = Header::new(from, to);
        let inside = self.boxes.iter_mut().rev().try_fold(header, |header, nat| {
            nat.forward(now, Side::Outside, header).ok().map(|(_, header)| header)
        })?;
        self.own.contains(&inside.to).then_some(inside.from)
    }
}

/// From the numbers of neighbours with IPv4 to those with IPv6, where there are both.
const V6_FROM: u8 = 40;

/// The numbers of all neighbours: for each family the honest ones and the liars.
fn neighbours(families: Families) -> Vec<u8> {
    let of_one = 0..HONEST + LIARS;
    match families {
        Families::V4 | Families::V6 | Families::Nat64 => of_one.collect(),
        Families::Both | Families::Nat64AndV6 => {
            of_one.clone().chain(of_one.map(|number| V6_FROM + number)).collect()
        }
    }
}

fn is_honest(number: u8) -> bool {
    number % V6_FROM < HONEST
}

/// Where each neighbour is. Honest ones share subnets, and four pairs of them a host; liars are in
/// two subnets of each family.
fn remote_of(families: Families, number: u8) -> SocketAddr {
    let is_v6 = families == Families::V6 || number >= V6_FROM;
    let index = number % V6_FROM;
    let host = if index < 8 { index / 2 } else { index };
    let is_honest = is_honest(number);
    let port = if is_honest { 4000 + u16::from(index) } else { 4242 };
    let (network, last) = if is_honest { (host / 2, 1 + host % 2) } else { (index % 2, index) };
    let ip: IpAddr = match (is_honest, is_v6) {
        (true, false) => [20, network, 0, last].into(),
        (false, false) => [66, 6, network, last].into(),
        (true, true) => {
            let network = 0x2400 + u16::from(network);
            Ipv6Addr::new(network, 1, 0, 0, 0, 0, 0, last.into()).into()
        }
        (false, true) => Ipv6Addr::new(0x2666, 6, 0, network.into(), 0, 0, 0, last.into()).into(),
    };
    SocketAddr::new(ip, port)
}

/// What a liar says: seven ways for the whole conspiracy, by the seed.
fn lie(seed: u64, rng: &mut Random, truth: SocketAddr) -> SocketAddr {
    match seed % 7 {
        0 if truth.is_ipv4() => addr("198.51.100.66:6666"),
        0 => addr("[2001:db8::66]:6666"),
        1 => SocketAddr::new(truth.ip(), 666),
        2 => SocketAddr::from(([198, 51, rng.below(250) as u8, 1], 1 + rng.below(65_000) as u16)),
        3 => SocketAddr::new(truth.ip(), 1 + rng.below(65_000) as u16),
        4 => SocketAddr::new(truth.ip(), truth.port().wrapping_add(1).max(1)),
        // Of another family, or on the node's own site.
        5 if truth.is_ipv4() => addr("[2001:db8::66]:6666"),
        5 => addr("198.51.100.66:6666"),
        _ if truth.is_ipv4() => addr("192.168.1.66:4242"),
        _ => addr("[fd00::66]:4242"),
    }
}

/// Forty reports of honest neighbours and twenty of liars, in an order of the seed. Another host
/// behind the same boxes has the same neighbours and talks to each of them before or after.
fn learn(kind: &Kind, seed: u64) -> (Bench, Boxes) {
    let seeds = Seed::from_u64(seed).child(&kind.name, 0);
    let mut rng = seeds.stream("neighbours");
    let mut boxes = Boxes::new(kind, &seeds);
    let mut bench = Bench::new(Config::default());
    bench.around.own.set_local_addrs(&boxes.local_addrs());
    let mut order = neighbours(kind.families);
    shuffle(&mut order, &mut rng);
    for round in 0..2 {
        for &number in &order {
            let (now, remote) = (bench.around.now, remote_of(kind.families, number));
            let is_other_first = rng.below(2) == 0;
            if kind.is_shared && is_other_first {
                boxes.seen_from(now, addr(OTHER[0]), remote);
            }
            if round == 0 {
                let named = boxes.named(remote);
                bench.around.paths.set(ConnId(number.into()), named, Duration::ZERO);
                bench.run(|nat, cx| {
                    nat.handle_sent(cx, named);
                    nat.handle_edge_up(cx, id(number), named, false);
                });
            }
            let truth = boxes.seen_by(now, remote);
            if kind.is_shared && !is_other_first {
                boxes.seen_from(now, addr(OTHER[0]), remote);
            }
            let said = if is_honest(number) { truth } else { lie(seed, &mut rng, truth) };
            bench.pong(number, &said.to_string());
            bench.around.pass(Duration::from_millis(300));
        }
        if kind.is_shared {
            // The other host is a neighbour as well, and sees what is inside.
            let remote = addr(OTHER[0]);
            bench.around.paths.set(ConnId(77), remote, Duration::ZERO);
            bench.run(|nat, cx| nat.handle_edge_up(cx, id(77), remote, true));
            bench.pong(77, INSIDE[0]);
        }
    }
    (bench, boxes)
}

/// A prober in a network of its own.
fn prober_of(families: Families, number: u8) -> Prober {
    let v6 = Ipv6Addr::new(0x2500 + u16::from(number), 1, 0, 0, 0, 0, 0, 1);
    let v4 = prober(number).addrs[0];
    let addrs = match families {
        Families::V4 | Families::Nat64 => vec![v4],
        Families::V6 => vec![(v6, 4242).into()],
        Families::Both | Families::Nat64AndV6 => vec![v4, (v6, 4242).into()],
    };
    Prober { id: id(number), addrs }
}

/// Runs the test of reachability: probers behind the boxes' outside punch at what they are told.
fn test_reachability(bench: &mut Bench, boxes: &mut Boxes) {
    let families = boxes.families;
    let probers: Vec<Prober> = (100..110).map(|number| prober_of(families, number)).collect();
    let end = bench.around.now + Duration::from_secs(300);
    while bench.nat.timer.is_some_and(|at| at <= end) {
        if !bench.timer().contains(&Action::FindProbers) {
            continue;
        }
        for action in bench.run(|nat, cx| nat.handle_probers(cx, &probers)) {
            let Action::Originate { target, payload, .. } = action else { continue };
            let (connect, _) = Connect::decode_with_signals(&payload).expect("just written");
            bench.ack(target.as_bytes()[0], connect.nonce);
            let named = connect.addrs.as_slice()[0].to_socket_addr().expect("a literal");
            let froms = prober_of(families, target.as_bytes()[0]).addrs;
            let from = froms.into_iter().find(|from| from.is_ipv4() == named.is_ipv4());
            let from = from.expect("only a prober of the family is asked");
            if let Some(source) = boxes.lets_in(bench.around.now, named, from) {
                bench.run(|nat, cx| nat.handle_punched(cx, source, false));
            }
        }
    }
}

/// The addresses at which a new destination of each family sees the node.
fn true_addrs(kind: &Kind, now: Instant, boxes: &mut Boxes) -> Vec<SocketAddr> {
    let v4 = (kind.mapping == Mapping::EndpointIndependent)
        .then(|| boxes.seen_by(now, addr("30.250.0.1:4242")));
    // IPv6 beside it is filtered alone.
    let v6 = || addr(OUTSIDE[1]);
    match kind.families {
        Families::V4 | Families::Nat64 => v4.into_iter().collect(),
        Families::V6 => (kind.mapping == Mapping::EndpointIndependent)
            .then(|| boxes.seen_by(now, addr("[2500::1]:4242")))
            .into_iter()
            .collect(),
        Families::Both | Families::Nat64AndV6 => v4.into_iter().chain([v6()]).collect(),
    }
}

/// Whether an allocator is named as the box has it. A block is seldom seen in full, and a lie may
/// be beside it.
fn is_right(expected: Option<Allocator>, named: Allocator) -> bool {
    match (expected, named) {
        (None, _) => named == Allocator::Unknown,
        (Some(Allocator::Block { span }), Allocator::Block { span: seen }) => {
            (span / 4..=span / 2 * 3).contains(&seen)
        }
        (Some(expected), named) => expected == named,
    }
}

/// What came out of all seeds of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    known: u64,
    mappings: u64,
    allocators: u64,
    reached: u64,
}

fn judge(kind: &Kind, seed: u64, tally: &mut Tally) {
    let (mut bench, mut boxes) = learn(kind, seed);
    let (now, report) = (bench.around.now, bench.nat.report().clone());
    let truth = true_addrs(kind, now, &mut boxes);
    for addr in &report.addrs {
        assert!(truth.contains(addr), "{}, seed {seed}: {addr}, not {truth:?}", kind.name);
    }
    let is_known = report.addrs == truth;
    // Of one that a clash moved, the port says no more than that of a NAT that changes it.
    let is_kept = truth.first().is_none_or(|addr| addr.port() == boxes.own[0].port());
    let is_moved = kind.allocator == Some(Allocator::Preserving) && !is_kept;
    let allocator = kind.allocator.filter(|_| !is_moved);
    let is_allocator_right = is_right(allocator, report.allocator);
    if !is_known || report.mapping != kind.mapping || !is_allocator_right {
        println!("{}, seed {seed}: {report:?}, not {truth:?}", kind.name);
    }
    tally.known += u64::from(is_known);
    tally.mappings += u64::from(report.mapping == kind.mapping);
    tally.allocators += u64::from(is_allocator_right);
    test_reachability(&mut bench, &mut boxes);
    let expected = match kind.is_reachable {
        true => Reachability::Reachable,
        false => Reachability::Unreachable,
    };
    tally.reached += u64::from(bench.reachability() == expected);
}

fn judge_all(kinds: impl Iterator<Item = Kind>) {
    let mut wrong = Vec::new();
    for kind in kinds {
        let mut tally = Tally::default();
        (0..SEEDS).for_each(|seed| judge(&kind, seed, &mut tally));
        println!("{}: {tally:?}", kind.name);
        let Tally { known, mappings, allocators, reached } = tally;
        let is_named = known.min(mappings).min(allocators) >= SEEDS - 1;
        if !is_named || reached < SEEDS {
            wrong.push((kind.name, tally));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// THREATS.md#e17
#[test]
fn behind_every_box_of_ipv4_liars_change_nothing_in_fifty_seeds() {
    judge_all(kinds().into_iter().filter(|kind| kind.families == Families::V4 && !kind.is_shared));
}

#[test]
fn behind_a_box_that_another_host_shares_liars_change_nothing_in_fifty_seeds() {
    judge_all(kinds().into_iter().filter(|kind| kind.is_shared));
}

#[test]
fn with_ipv6_behind_a_firewall_or_nat66_liars_change_nothing_in_fifty_seeds() {
    judge_all(kinds().into_iter().filter(|kind| kind.families == Families::V6));
}

#[test]
fn with_both_families_liars_change_nothing_in_fifty_seeds() {
    judge_all(kinds().into_iter().filter(|kind| kind.families == Families::Both));
}

#[test]
fn behind_a_nat64_liars_change_nothing_in_fifty_seeds() {
    let is_nat64 = |families| matches!(families, Families::Nat64 | Families::Nat64AndV6);
    judge_all(kinds().into_iter().filter(|kind| is_nat64(kind.families)));
}

/// Whether both mapping and allocator are named rightly after so many reports: of the neighbours
/// that the node asks in its own order, or of any.
fn is_named_after(kind: &Kind, seed: u64, reports: usize, is_asking: bool) -> bool {
    let seeds = Seed::from_u64(seed).child(&kind.name, 1);
    let mut rng = seeds.stream("neighbours");
    let mut boxes = Boxes::new(kind, &seeds);
    let mut bench = Bench::new(Config::default());
    bench.around.own.set_local_addrs(&boxes.local_addrs());
    let mut order = neighbours(kind.families);
    shuffle(&mut order, &mut rng);
    for &number in &order {
        let remote = remote_of(kind.families, number);
        boxes.seen_by(bench.around.now, remote);
        bench.around.paths.set(ConnId(number.into()), remote, Duration::ZERO);
        bench.run(|nat, cx| {
            nat.handle_sent(cx, remote);
            nat.handle_edge_up(cx, id(number), remote, false);
        });
    }
    shuffle(&mut order, &mut rng);
    for _ in 0..reports {
        let asked = if is_asking { next_asked(&mut bench) } else { order.pop() };
        // Nothing more is asked once all is named.
        let Some(number) = asked else { break };
        let truth = boxes.seen_by(bench.around.now, remote_of(kind.families, number));
        let said = if is_honest(number) { truth } else { lie(seed, &mut rng, truth) };
        bench.pong(number, &said.to_string());
    }
    let report = bench.nat.report();
    report.mapping == kind.mapping && is_right(kind.allocator, report.allocator)
}

fn shuffle(order: &mut [u8], rng: &mut Random) {
    for at in (1..order.len()).rev() {
        order.swap(at, rng.below(at as u64 + 1) as usize);
    }
}

/// Lets time pass until a neighbour is asked that has to answer before reports are old.
fn next_asked(bench: &mut Bench) -> Option<u8> {
    let end = bench.around.now + Duration::from_secs(60);
    while bench.nat.timer.is_some_and(|at| at <= end) {
        let asked = bench.timer().into_iter().find_map(|action| match action {
            Action::Ask(peer) => Some(peer.as_bytes()[0]),
            _ => None,
        });
        if asked.is_some() {
            return asked;
        }
    }
    None
}

#[test]
fn asking_in_order_names_a_hard_nat_after_fewer_reports() {
    let kinds: Vec<Kind> = kinds()
        .into_iter()
        .filter(|kind| {
            kind.families == Families::V4
                && !kind.is_shared
                && kind.mapping != Mapping::EndpointIndependent
                && kind.name.contains(" AddressAndPortDependent ")
        })
        .collect();
    let runs = kinds.len() as u64 * SEEDS;
    for reports in [8, 10, 12, 15, 20] {
        let [asked, as_they_come] = [true, false].map(|is_asking| {
            let named = kinds.iter().flat_map(|kind| {
                (0..SEEDS).filter(move |seed| is_named_after(kind, *seed, reports, is_asking))
            });
            named.count() as u64
        });
        println!("{reports} reports: {asked} asked, {as_they_come} as they come, of {runs}");
        // From then on the node asks no more.
        let is_asking = reports <= 16;
        assert!(!is_asking || asked > as_they_come, "{reports} reports: {asked}, {as_they_come}");
        assert!(asked >= runs * 4 / 5, "{reports} reports: {asked}");
    }
}

#[test]
fn the_liars_of_these_tests_are_in_two_subnets_and_a_third_of_all() {
    for families in [Families::V4, Families::V6] {
        let of = |numbers: core::ops::Range<u8>| {
            let subnets = numbers
                .map(|number| Tier::Link.domain(Subnet::of(remote_of(families, number).ip())));
            subnets.collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(of(HONEST..HONEST + LIARS), 2);
        assert!(of(0..HONEST) >= 8, "{}", of(0..HONEST));
    }
}
