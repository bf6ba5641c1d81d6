//! The oracle against the NAT boxes of the test kit, with bare UDP.

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::nat_box::{Behavior, Collision, NatConfig, PortAllocation};

use super::{DirectPath, NatKind, direct_path, direct_path_between, direct_path_possible};
use crate::net::access::{Access, Families, Shared, Step};
use crate::net::bare::{Attempt, Guess};

#[test]
fn the_boxes_agree_with_the_oracle_for_every_pair_of_behaviors() {
    let kinds = kinds();
    let mut counts = [0; 3];
    for (number, a) in kinds.iter().enumerate() {
        for b in &kinds {
            let (expected, _) = direct_path_between(a.reach(), b.reach(), a.relation(b));
            let seed = Seed::from_u64(1_000 + number as u64);
            let has_path = |guess| Attempt::new(&seed, a, b, guess).run().took.is_some();
            let [seen, sequence, first, second] = Guess::ALL.map(has_path);
            let found = match (seen, sequence || first || second) {
                (true, _) => DirectPath::Possible,
                (false, true) => DirectPath::ByGuessing,
                (false, false) => DirectPath::Impossible,
            };
            assert_eq!(found, expected, "{a:?} and {b:?}");
            assert!(sequence || !seen, "a guess never does harm: {a:?} and {b:?}");
            counts[expected as usize] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 50), "every outcome occurs: {counts:?}");
}

#[test]
fn the_order_of_two_hosts_does_not_matter() {
    let kinds: Vec<NatKind> = kinds().iter().filter_map(|access| access.reach().v4).collect();
    for a in &kinds {
        for b in &kinds {
            assert_eq!(direct_path(*a, *b), direct_path(*b, *a), "{a:?} and {b:?}");
        }
    }
}

/// The table that RFC 5128 and common usage have: full cone, restricted cone, port-restricted cone,
/// symmetric.
#[test]
fn the_classical_table_holds() {
    use Behavior::{
        AddressAndPortDependent as Both, AddressDependent as Address, EndpointIndependent as None,
    };
    let kind =
        |(mapping, filtering)| NatKind { mapping, filtering, allocation: PortAllocation::Random };
    let [full, restricted, port_restricted, symmetric] =
        [(None, None), (None, Address), (None, Both), (Both, Both)].map(kind);
    for cone in [full, restricted, port_restricted] {
        assert!(direct_path_possible(cone, NatKind::PUBLIC));
        for other in [full, restricted, port_restricted] {
            assert!(direct_path_possible(cone, other));
        }
    }
    assert!(direct_path_possible(symmetric, NatKind::PUBLIC));
    assert!(direct_path_possible(symmetric, full));
    assert!(direct_path_possible(symmetric, restricted));
    assert_eq!(direct_path(symmetric, port_restricted), DirectPath::ByGuessing);
    assert_eq!(direct_path(symmetric, symmetric), DirectPath::Impossible);
}

#[test]
fn of_two_boxes_in_a_row_the_stricter_counts() {
    let easy = NatKind { allocation: PortAllocation::Random, ..NatKind::PUBLIC };
    let mapping = Behavior::AddressAndPortDependent;
    let allocation = PortAllocation::Sequential { step: 1 };
    let hard = NatKind { mapping, filtering: mapping, allocation };
    assert_eq!(hard.behind(NatKind::PUBLIC), hard, "a port that is kept");
    assert_eq!(hard.behind(easy), NatKind { allocation: PortAllocation::Random, ..hard });
    assert_eq!(NatKind::PUBLIC.behind(hard), hard);
}

/// None, a firewall with each filtering, and each mapping with each filtering and three allocators.
fn kinds() -> Vec<Access> {
    let mut kinds = vec![access(None, true)];
    for filtering in Behavior::ALL {
        kinds.push(access(Some(NatConfig { filtering, ..NatConfig::default() }), false));
        for mapping in Behavior::ALL {
            for allocation in [
                PortAllocation::Preserving(Collision::Random),
                PortAllocation::Sequential { step: 4 },
                PortAllocation::Random,
            ] {
                // Few enough that all can be tried.
                let ports = 4_000..=4_399;
                let config =
                    NatConfig { mapping, filtering, allocation, ports, ..NatConfig::default() };
                kinds.push(access(Some(config), true));
            }
        }
    }
    kinds
}

fn access(config: Option<NatConfig>, is_translator: bool) -> Access {
    let boxes = config.map(|config| Step { kind: config.into(), is_translator });
    Access {
        name: "",
        about: "",
        boxes: boxes.into_iter().collect(),
        families: Families::V4,
        shared: Shared::Nothing,
    }
}
