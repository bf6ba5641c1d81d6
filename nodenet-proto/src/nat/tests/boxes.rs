//! Own address, NAT behaviour and reachability behind every kind of box, with liars among the
//! neighbours.

use super::*;
use crate::addr::Tier;
use crate::env::{Random, Seed};
use crate::testkit::nat_box::{
    Behavior, BoxKind, Collision, LinuxConfig, NatBox, NatConfig, PortAllocation,
};
use crate::wire::nat::{Allocator, Mapping};

const SEEDS: u64 = 50;
const HONEST: u8 = 20;
/// A third of all neighbours.
const LIARS: u8 = 10;
const INSIDE: &str = "192.168.1.2:4242";
const OUTSIDE: [u8; 4] = [203, 0, 113, 7];
const BLOCK: u16 = 200;

/// What is in front of the node.
#[derive(Debug, Clone)]
struct Kind {
    name: String,
    /// Nearest to the node first.
    boxes: Vec<BoxKind>,
    is_translated: bool,
    mapping: Mapping,
    /// None of one port says how others are chosen.
    allocator: Option<Allocator>,
    is_reachable: bool,
}

fn kind(name: &str, config: NatConfig) -> Kind {
    let is_one = config.mapping == Behavior::EndpointIndependent;
    let is_kept = matches!(config.allocation, PortAllocation::Preserving(_));
    Kind {
        name: name.to_owned(),
        is_translated: true,
        mapping: match config.mapping {
            Behavior::EndpointIndependent => Mapping::EndpointIndependent,
            Behavior::AddressDependent => Mapping::AddressDependent,
            Behavior::AddressAndPortDependent => Mapping::AddressAndPortDependent,
        },
        allocator: match config.allocation {
            _ if is_one => is_kept.then_some(Allocator::Preserving),
            PortAllocation::Sequential { step } => Some(Allocator::Sequential { step }),
            PortAllocation::Block { size } => Some(Allocator::Block { span: size }),
            _ if config.ports.len() == usize::from(BLOCK) => Some(Allocator::Block { span: BLOCK }),
            // The first mapping takes the internal port, and all others find it taken.
            _ => Some(Allocator::Random),
        },
        is_reachable: is_one && config.filtering == Behavior::EndpointIndependent,
        boxes: vec![config.into()],
    }
}

/// A Linux router, which lets nothing in that it did not send for.
fn linux(name: &str, config: LinuxConfig) -> Kind {
    // A router that keeps ports where it can. In a range of ports a random one is taken.
    let allocator = match &config.ports {
        _ if config.random => Some(Allocator::Random),
        Some(_) => None,
        None => Some(Allocator::Preserving),
    };
    let mapping = match config.random {
        true => Mapping::AddressAndPortDependent,
        false => Mapping::EndpointIndependent,
    };
    Kind {
        name: name.to_owned(),
        boxes: vec![config.into()],
        is_translated: true,
        mapping,
        allocator,
        is_reachable: false,
    }
}

fn linux_kinds() -> Vec<Kind> {
    let closed = LinuxConfig::default;
    let range = Some(40_000..=40_000 + BLOCK - 1);
    vec![
        linux("Linux, input closed", closed()),
        linux("Linux, input open", LinuxConfig::open()),
        linux("Linux, range of ports", LinuxConfig { ports: range, ..closed() }),
        linux("Linux, fully-random", LinuxConfig { random: true, ..closed() }),
    ]
}

/// Every kind of box that the test kit has and that lets UDP through to IPv4.
fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    let block = 40_000..=40_000 + BLOCK - 1;
    let allocations = [
        ("preserving", PortAllocation::Preserving(Collision::Random), NatConfig::PORTS),
        ("changed", PortAllocation::Random, NatConfig::PORTS),
        ("step 1", PortAllocation::Sequential { step: 1 }, 1024..=u16::MAX),
        ("step 2", PortAllocation::Sequential { step: 2 }, 1024..=u16::MAX),
        ("step 17", PortAllocation::Sequential { step: 17 }, 1024..=u16::MAX),
        ("block", PortAllocation::Random, block),
        ("block of the host", PortAllocation::Block { size: BLOCK }, 1024..=u16::MAX),
    ];
    for mapping in Behavior::ALL {
        for filtering in Behavior::ALL {
            for (name, allocation, ports) in allocations.clone() {
                let name = format!("{mapping:?} {filtering:?} {name}");
                let config =
                    NatConfig { mapping, filtering, allocation, ports, ..NatConfig::default() };
                kinds.push(kind(&name, config));
            }
        }
    }
    let easy = NatConfig::default();
    let hard = NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Random,
        ..NatConfig::default()
    };
    let carrier = |name: &str, home: BoxKind, config: &NatConfig| {
        let boxes = vec![home, config.clone().into()];
        Kind { boxes, is_reachable: false, ..kind(name, config.clone()) }
    };
    let home = || BoxKind::from(LinuxConfig::default());
    kinds.push(carrier("carrier NAT over home NAT, easy", easy.clone().into(), &easy));
    kinds.push(carrier("carrier NAT over home NAT, hard", easy.clone().into(), &hard));
    kinds.push(carrier("carrier NAT over Linux, easy", home(), &easy));
    kinds.push(carrier("carrier NAT over Linux, hard", home(), &hard));
    kinds.extend(linux_kinds());
    let open =
        Kind { is_translated: false, boxes: vec![], is_reachable: true, ..kind("open", easy) };
    for filtering in [Behavior::AddressDependent, Behavior::AddressAndPortDependent] {
        let config = NatConfig { filtering, ..NatConfig::default() };
        let (name, boxes) = (format!("firewall {filtering:?}"), vec![config.into()]);
        kinds.push(Kind { name, boxes, is_reachable: false, ..open.clone() });
    }
    kinds.push(open);
    kinds
}

/// The boxes in front of one node.
struct Boxes {
    own: SocketAddr,
    boxes: Vec<NatBox>,
}

impl Boxes {
    fn new(kind: &Kind, seed: &Seed) -> Self {
        let external = |place: usize| match kind.is_translated {
            false => vec![],
            true if place + 1 == kind.boxes.len() => vec![IpAddr::from(OUTSIDE)],
            true => vec![IpAddr::from([100, 64, 0, 9])],
        };
        let boxes = kind.boxes.iter().enumerate();
        let boxes = boxes.map(|(place, config)| {
            NatBox::new(config.clone(), external(place), &seed.child("box", place as u64))
        });
        let own = if kind.is_translated { addr(INSIDE) } else { (OUTSIDE, 4242).into() };
        Self { own, boxes: boxes.collect() }
    }

    /// Where `remote` sees the node.
    fn seen_by(&mut self, now: Instant, remote: SocketAddr) -> SocketAddr {
        self.boxes.iter_mut().fold(self.own, |source, nat| {
            nat.outbound(now, source, remote).expect("the box has room")
        })
    }

    /// Whether a datagram to this address gets to the node.
    fn lets_in(&mut self, now: Instant, to: SocketAddr, remote: SocketAddr) -> bool {
        let inside =
            self.boxes.iter_mut().rev().try_fold(to, |to, nat| nat.inbound(now, to, remote));
        inside == Ok(self.own)
    }
}

/// Where each neighbour is. Honest ones share subnets, and four pairs of them a host; liars are in
/// two subnets.
fn remote_of(number: u8) -> SocketAddr {
    if number < HONEST {
        let host = if number < 8 { number / 2 } else { number };
        SocketAddr::from(([20, host / 2, 0, 1 + host % 2], 4000 + u16::from(number)))
    } else {
        SocketAddr::from(([66, 6, number % 2, number], 4242))
    }
}

/// What a liar says: five ways for the whole conspiracy, by the seed.
fn lie(seed: u64, rng: &mut Random, truth: SocketAddr) -> SocketAddr {
    match seed % 5 {
        0 => addr("198.51.100.66:6666"),
        1 => SocketAddr::new(truth.ip(), 666),
        2 => SocketAddr::from(([198, 51, rng.below(250) as u8, 1], 1 + rng.below(65_000) as u16)),
        3 => SocketAddr::new(truth.ip(), 1 + rng.below(65_000) as u16),
        _ => SocketAddr::new(truth.ip(), truth.port().wrapping_add(1).max(1)),
    }
}

/// Forty reports of honest neighbours and twenty of liars, in an order of the seed.
fn learn(kind: &Kind, seed: u64) -> (Bench, Boxes) {
    let seeds = Seed::from_u64(seed).child(&kind.name, 0);
    let mut rng = seeds.stream("neighbours");
    let mut boxes = Boxes::new(kind, &seeds);
    let mut bench = Bench::new(Config::default());
    bench.around.own.set_local_addrs(&[boxes.own]);
    let mut order: Vec<u8> = (0..HONEST + LIARS).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, rng.below(at as u64 + 1) as usize);
    }
    for round in 0..2 {
        for &number in &order {
            let (now, remote) = (bench.around.now, remote_of(number));
            if round == 0 {
                bench.around.paths.set(ConnId(number.into()), remote, Duration::ZERO);
                bench.run(|nat, cx| {
                    nat.handle_sent(cx, remote);
                    nat.handle_edge_up(cx, id(number), remote, false);
                });
            }
            let truth = boxes.seen_by(now, remote);
            let said = if number < HONEST { truth } else { lie(seed, &mut rng, truth) };
            bench.pong(number, &said.to_string());
            bench.around.pass(Duration::from_millis(300));
        }
    }
    (bench, boxes)
}

/// Runs the test of reachability: probers behind the boxes' outside punch at what they are told.
fn test_reachability(bench: &mut Bench, boxes: &mut Boxes) {
    let probers: Vec<Prober> = (100..110).map(prober).collect();
    while let Some(at) = bench.nat.timer
        && at <= bench.around.now + Duration::from_secs(60)
    {
        if !bench.timer().contains(&Action::FindProbers) {
            continue;
        }
        for action in bench.run(|nat, cx| nat.handle_probers(cx, &probers)) {
            let Action::Originate { target, payload, .. } = action else { continue };
            let (connect, _) = Connect::decode_with_signals(&payload).expect("just written");
            let from = prober(target.as_bytes()[0]).addrs[0];
            bench.ack(target.as_bytes()[0], connect.nonce);
            let named = connect.addrs.as_slice()[0].to_socket_addr().expect("a literal");
            if boxes.lets_in(bench.around.now, named, from) {
                bench.run(|nat, cx| nat.handle_punched(cx, from, false));
            }
        }
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

/// THREATS.md#e17
#[test]
fn behind_every_box_liars_change_nothing_in_fifty_seeds() {
    for kind in kinds() {
        let (mut mappings, mut allocators, mut reached) = (0, 0, 0);
        for seed in 0..SEEDS {
            let (mut bench, mut boxes) = learn(&kind, seed);
            let (now, report) = (bench.around.now, bench.nat.report().clone());
            let is_one = kind.mapping == Mapping::EndpointIndependent;
            let true_addr = is_one.then(|| boxes.seen_by(now, remote_of(0)));
            assert_eq!(report.addrs, Vec::from_iter(true_addr), "{}, seed {seed}", kind.name);
            mappings += u64::from(report.mapping == kind.mapping);
            let is_allocator_right = is_right(kind.allocator, report.allocator);
            if !is_allocator_right {
                println!("{}, seed {seed}: {report:?}", kind.name);
            }
            allocators += u64::from(is_allocator_right);
            test_reachability(&mut bench, &mut boxes);
            let expected = match kind.is_reachable {
                true => Reachability::Reachable,
                false => Reachability::Unreachable,
            };
            reached += u64::from(bench.reachability() == expected);
        }
        println!("{}: {mappings} {allocators} {reached}", kind.name);
        assert!(mappings >= SEEDS - 1, "{}: {mappings} mappings", kind.name);
        assert!(allocators >= SEEDS - 1, "{}: {allocators} allocators", kind.name);
        assert_eq!(reached, SEEDS, "{}", kind.name);
    }
}

#[test]
fn the_liars_of_these_tests_are_in_two_subnets_and_a_third_of_all() {
    let of = |numbers: core::ops::Range<u8>| {
        let subnets = numbers.map(|number| Tier::Link.domain(Subnet::of(remote_of(number).ip())));
        subnets.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(of(HONEST..HONEST + LIARS), 2);
    assert!(of(0..HONEST) >= 8, "{}", of(0..HONEST));
}
