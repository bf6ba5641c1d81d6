//! Kinds of boxes in front of a node, and what is true behind each.

use crate::testkit::nat_box::{
    Behavior, BoxKind, Collision, Hairpinning, LinuxConfig, NatConfig, PortAllocation,
};
use crate::wire::nat::{Allocator, Mapping};

/// Ports of a block.
const BLOCK: u16 = 200;

/// The families of a node and its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Both, with translation of IPv4 alone. Half of the neighbours are reached by each.
    Both,
    /// A node with IPv6 alone, whose neighbours have IPv4: a NAT64 is between.
    Nat64,
    /// The same; half of the neighbours have IPv6.
    Nat64AndV6,
}

/// What is in front of the node.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) name: String,
    /// Nearest to the node first.
    pub(super) boxes: Vec<BoxKind>,
    pub(super) families: Families,
    pub(super) is_translated: bool,
    /// Whether another host is behind the same boxes, with the same port and the same peers.
    pub(super) is_shared: bool,
    pub(super) mapping: Mapping,
    /// None of one port says how others are chosen.
    pub(super) allocator: Option<Allocator>,
    pub(super) is_reachable: bool,
}

fn kind(name: &str, config: NatConfig) -> Kind {
    let is_one = config.mapping == Behavior::EndpointIndependent;
    let is_kept = matches!(config.allocation, PortAllocation::Preserving(_));
    Kind {
        name: name.to_owned(),
        families: Families::V4,
        is_translated: true,
        is_shared: false,
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
        boxes: vec![config.into()],
        mapping,
        allocator,
        is_reachable: false,
        ..kind(name, NatConfig::default())
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

/// Every mapping with every filtering and every way to choose ports.
fn translators() -> Vec<Kind> {
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
    kinds
}

fn easy() -> NatConfig {
    NatConfig::default()
}

fn hard() -> NatConfig {
    NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Random,
        ..NatConfig::default()
    }
}

fn carriers() -> Vec<Kind> {
    let carrier = |name: &str, home: BoxKind, config: NatConfig| {
        let boxes = vec![home, config.clone().into()];
        Kind { boxes, is_reachable: false, ..kind(name, config) }
    };
    let home = || BoxKind::from(LinuxConfig::default());
    vec![
        carrier("carrier NAT over home NAT, easy", easy().into(), easy()),
        carrier("carrier NAT over home NAT, hard", easy().into(), hard()),
        carrier("carrier NAT over Linux, easy", home(), easy()),
        carrier("carrier NAT over Linux, hard", home(), hard()),
    ]
}

/// No translation.
fn filters(families: Families) -> Vec<Kind> {
    let open = Kind {
        is_translated: false,
        boxes: vec![],
        is_reachable: true,
        families,
        ..kind(&format!("open {families:?}"), easy())
    };
    let firewall = |(name, config): (String, BoxKind)| Kind {
        name: format!("firewall {name} {families:?}"),
        boxes: vec![config],
        is_reachable: false,
        ..open.clone()
    };
    let mut boxes = vec![("Linux".to_owned(), LinuxConfig::default().into())];
    for filtering in [Behavior::AddressDependent, Behavior::AddressAndPortDependent] {
        let config = NatConfig { filtering, ..NatConfig::default() };
        boxes.push((format!("{filtering:?}"), config.into()));
    }
    let mut kinds: Vec<Kind> = boxes.into_iter().map(firewall).collect();
    kinds.push(open);
    kinds
}

fn with_families(families: Families, kinds: impl IntoIterator<Item = Kind>) -> Vec<Kind> {
    let with = |one: Kind| {
        // Without an IPv4 address to name, the IPv6 one is tested, which the same box filters.
        let has_two = matches!(families, Families::Both | Families::Nat64AndV6);
        let lets_in_anyone = one.name.split(' ').nth(1) == Some("EndpointIndependent");
        let is_reachable = one.is_reachable || (has_two && lets_in_anyone);
        Kind { name: format!("{}, {families:?}", one.name), families, is_reachable, ..one }
    };
    kinds.into_iter().map(with).collect()
}

/// The box of every kind with another host behind it, with and without hairpinning.
fn shared() -> Vec<Kind> {
    let mut kinds = with_filtering("AddressAndPortDependent");
    kinds.extend(linux_kinds());
    kinds.extend(carriers());
    let mute = NatConfig { hairpinning: Hairpinning::Unsupported, ..NatConfig::default() };
    kinds.push(kind("without hairpinning", mute));
    let named = |one: Kind| Kind { name: format!("two hosts, {}", one.name), ..one };
    kinds.into_iter().map(|one| Kind { is_shared: true, ..named(one) }).collect()
}

/// A NAT64 (RFC 6146) with this translator.
fn nat64(one: Kind) -> Kind {
    let inner = one.boxes.into_iter().map(|config| match config {
        BoxKind::Translator(config) => BoxKind::Nat64(config),
        other => other,
    });
    Kind { boxes: inner.collect(), ..one }
}

/// Every kind of box that the test kit has and that lets UDP through.
pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = translators();
    kinds.extend(carriers());
    kinds.extend(linux_kinds());
    kinds.extend(filters(Families::V4));
    kinds.extend(filters(Families::V6));
    kinds.extend(shared());
    // NAT66, and an IPv6 firewall beside an IPv4 NAT. Filters count for reachability alone.
    let open = || with_filtering("EndpointIndependent");
    for families in [Families::V6, Families::Both] {
        kinds.extend(with_families(families, open()));
        kinds.extend(with_families(families, linux_kinds()));
    }
    // RFC 6146 has both.
    let filtered = with_filtering("AddressDependent");
    kinds.extend(with_families(Families::Nat64, open().into_iter().chain(filtered).map(nat64)));
    kinds.extend(with_families(Families::Nat64AndV6, open().into_iter().map(nat64)));
    kinds
}

/// The translators with this filtering.
fn with_filtering(filtering: &str) -> Vec<Kind> {
    let mut kinds = translators();
    kinds.retain(|one| one.name.split(' ').nth(1) == Some(filtering));
    kinds
}
