//! The matrix of hole punching that was measured in network namespaces, and what was found beside
//! it (docs/SIMULATOR.md#nat-matrix).

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::nat_box::{
    Behavior, BoxKind, Hairpinning, LinuxConfig, NatConfig, PortAllocation,
};

use super::{Attempt, Guess};
use crate::net::access::{Access, Families, Shared, Step};
use crate::net::oracle::{DirectPath, direct_path_between};

use Behavior::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

/// Each row and column of the measured matrix, with all rulesets that it stands for.
fn rows() -> [Vec<Access>; 5] {
    [
        vec![row("fullcone", easy(EndpointIndependent))],
        vec![row("addrrestricted", easy(AddressDependent))],
        vec![row("portrestricted", LinuxConfig::default()), row("translated", translated())],
        vec![
            row("symmetric", LinuxConfig { random: true, ..LinuxConfig::default() }),
            row("symseq", sequential()),
        ],
        vec![row("blocked", BoxKind::NoUdp)],
    ]
}

/// By row and column: whether simultaneous sending made a path between kernel routers.
const MEASURED: [[bool; 5]; 5] = [
    [true, true, true, true, false],
    [true, true, true, true, false],
    [true, true, true, false, false],
    [true, true, false, false, false],
    [false, false, false, false, false],
];

#[test]
fn the_twenty_five_measured_cells_hold_for_boxes_and_oracle_in_both_directions() {
    let rows = rows();
    for (row, measured) in rows.iter().zip(MEASURED) {
        for (column, is_path) in rows.iter().zip(measured) {
            for (a, b) in row.iter().flat_map(|a| column.iter().map(move |b| (a, b))) {
                for seed in 1..=3 {
                    assert_eq!(finds(seed, a, b), is_path, "{} and {}", a.name, b.name);
                }
                assert_eq!(expected(a, b) == DirectPath::Possible, is_path);
            }
        }
    }
}

#[test]
fn a_router_with_open_input_is_as_good_as_a_closed_one_if_what_is_early_dies_on_the_way() {
    let open = row("open-input", LinuxConfig::open());
    let closed = row("portrestricted", LinuxConfig::default());
    for (a, b) in [(&open, &open), (&open, &closed), (&closed, &open)] {
        assert!(finds(1, a, b), "{} and {}", a.name, b.name);
        assert_eq!(expected(a, b), DirectPath::Possible);
    }
}

#[test]
fn firewalls_let_each_other_in_and_fail_before_no_changing_port_that_they_see() {
    let firewall = |filtering| Access {
        boxes: vec![Step { is_translator: false, ..step(easy(filtering)) }],
        ..row("firewall", BoxKind::NoUdp)
    };
    let symmetric = row("symmetric", LinuxConfig { random: true, ..LinuxConfig::default() });
    let strict = firewall(AddressAndPortDependent);
    assert!(
        finds(1, &strict, &strict)
            && finds(1, &strict, &row("fullcone", easy(EndpointIndependent)))
    );
    for (filtering, is_path) in
        [(EndpointIndependent, true), (AddressDependent, true), (AddressAndPortDependent, false)]
    {
        let firewall = firewall(filtering);
        assert_eq!(finds(1, &firewall, &symmetric), is_path, "{filtering:?}");
        assert_eq!(expected(&symmetric, &firewall) == DirectPath::Possible, is_path);
    }
}

#[test]
fn a_chain_of_two_nats_is_as_hard_as_the_harder_of_both() {
    let chain = |carrier: BoxKind| Access {
        boxes: vec![step(LinuxConfig::default()), step(carrier)],
        ..row("carrier", BoxKind::NoUdp)
    };
    let range = LinuxConfig { ports: Some(40_000..=49_999), ..LinuxConfig::default() };
    let random = LinuxConfig { random: true, ..range.clone() };
    let plain = row("portrestricted", LinuxConfig::default());
    for (carrier, is_path) in
        [(range.into(), true), (easy(EndpointIndependent), true), (random.into(), false)]
    {
        let chain = chain(carrier);
        assert_eq!(finds(1, &chain, &plain), is_path, "{chain:?}");
        assert_eq!(expected(&plain, &chain) == DirectPath::Possible, is_path);
    }
}

#[test]
fn customers_of_one_carrier_nat_need_its_hairpinning() {
    for (hairpinning, is_path) in
        [(Hairpinning::ExternalSource, true), (Hairpinning::Unsupported, false)]
    {
        let carrier = NatConfig { hairpinning, ..NatConfig::default() };
        let access = Access {
            boxes: vec![step(LinuxConfig::default()), step(carrier)],
            shared: Shared::Carrier,
            ..row("one-carrier", BoxKind::NoUdp)
        };
        assert_eq!(finds(1, &access, &access), is_path, "{hairpinning:?}");
        assert_eq!(expected(&access, &access) == DirectPath::Possible, is_path);
    }
}

#[test]
fn a_nat64_joins_ipv6_alone_and_ipv4_alone() {
    let v6 = |kind: BoxKind, is_translator| Access {
        boxes: vec![Step { kind, is_translator }],
        families: Families::V6,
        ..row("v6", BoxKind::NoUdp)
    };
    let nat64 = v6(BoxKind::Nat64(NatConfig::default()), true);
    let firewall = v6(NatConfig::default().into(), false);
    let v4 = row("portrestricted", LinuxConfig::default());
    let random = row("symmetric", LinuxConfig { random: true, ..LinuxConfig::default() });
    for (a, b, is_path) in [
        (&nat64, &v4, true),
        (&nat64, &nat64, true),
        (&nat64, &firewall, true),
        (&nat64, &random, true),
        (&firewall, &v4, false),
    ] {
        for (a, b) in [(a, b), (b, a)] {
            assert_eq!(finds(1, a, b), is_path, "{a:?} and {b:?}");
            assert_eq!(expected(a, b) == DirectPath::Possible, is_path);
        }
    }
}

#[test]
fn ports_in_sequence_or_at_random_are_found_by_guesses() {
    let plain = row("portrestricted", LinuxConfig::default());
    for (hard, guess) in [
        (sequential(), Guess::Sequence),
        (hard(PortAllocation::Block { size: 64 }), Guess::PortsOf(1)),
        (hard(PortAllocation::Random), Guess::PortsOf(1)),
    ] {
        let hard = row("hard", hard);
        assert_eq!(expected(&plain, &hard), DirectPath::ByGuessing);
        let outcome = Attempt::new(&Seed::from_u64(1), &plain, &hard, guess).run();
        assert!(outcome.took.is_some(), "{hard:?}");
    }
}

fn finds(seed: u64, a: &Access, b: &Access) -> bool {
    Attempt::new(&Seed::from_u64(seed), a, b, Guess::Nothing).run().took.is_some()
}

fn expected(a: &Access, b: &Access) -> DirectPath {
    direct_path_between(a.reach(), b.reach(), a.relation(b)).0
}

fn row(name: &'static str, kind: impl Into<BoxKind>) -> Access {
    let (families, shared) = (Families::V4, Shared::Nothing);
    Access { name, about: "", boxes: vec![step(kind)], families, shared }
}

fn step(kind: impl Into<BoxKind>) -> Step {
    let kind = kind.into();
    let is_translator = kind != BoxKind::NoUdp;
    Step { kind, is_translator }
}

fn easy(filtering: Behavior) -> BoxKind {
    NatConfig { filtering, ..NatConfig::default() }.into()
}

fn translated() -> BoxKind {
    let filtering = AddressAndPortDependent;
    NatConfig { filtering, allocation: PortAllocation::Random, ..NatConfig::default() }.into()
}

fn hard(allocation: PortAllocation) -> BoxKind {
    let (mapping, filtering) = (AddressAndPortDependent, AddressAndPortDependent);
    let permissions_max = 8_192;
    NatConfig { mapping, filtering, allocation, permissions_max, ..NatConfig::default() }.into()
}

fn sequential() -> BoxKind {
    hard(PortAllocation::Sequential { step: 256 })
}
