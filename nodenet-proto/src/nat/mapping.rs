//! Mapping behaviour and port allocator of the NAT in front of a node, from what its neighbours see
//! (RFC 4787 §4; PROTOCOL.md#nat-behaviour).
//!
//! Responsible for: naming both with the evidence. Never: confirms an address, and never sends.
//!
//! A subnet has one voice, so that a host with many identifiers in two subnets has two. Only
//! neighbours that this node dialed count: the others report the address that they dialed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::reflexive::{Report, newest};
use crate::addr::Subnet;
use crate::api::NatEvidence;
use crate::wire::nat::{Allocator, Mapping};

/// Subnets that must see different addresses before the NAT counts as dependent on the destination
/// (a guess: two that lie, and two more).
const SUBNETS_MIN: usize = 4;
/// Reports of one subnet that count for the allocator.
const PER_SUBNET: usize = 2;
/// Reports that an allocator is named from, at least.
const PORTS_MIN: usize = 6;
/// With so few reports, ports that lie this close together are no accident.
const BLOCK_FEW: u16 = 4_096;
/// Reports from which on a larger block is told from a random choice.
const PORTS_MANY: usize = 16;
/// The largest block.
const BLOCK_MANY: u16 = 16_384;
/// Flows of other hosts between two of this node that a sequence may have (a guess).
const OTHER_FLOWS: u16 = 8;

/// What is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) mapping: Mapping,
    pub(crate) allocator: Allocator,
    pub(crate) evidence: NatEvidence,
}

/// A report with the ordinal of its destination among all to which this node sent: a NAT may make a
/// mapping for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) report: Report,
    pub(crate) ordinal: u32,
}

/// Names mapping and allocator from the reports of one group. `local_addrs` are those of the socket.
pub(crate) fn classify(reports: &[Seen], local_addrs: &[SocketAddr]) -> Behaviour {
    let dialed: Vec<Seen> = reports.iter().filter(|seen| seen.report.is_dialed).copied().collect();
    let mut named: BTreeMap<SocketAddr, BTreeSet<Subnet>> = BTreeMap::new();
    let mut subnets = BTreeSet::new();
    for Seen { report, .. } in &dialed {
        let Some(subnet) = report.subnet else { continue };
        named.entry(report.addr).or_default().insert(subnet);
        subnets.insert(subnet);
    }
    let evidence = NatEvidence {
        reports: dialed.len() as u16,
        subnets: subnets.len() as u16,
        addrs: named.len() as u16,
    };
    let plain: Vec<Report> = dialed.iter().map(|seen| seen.report).collect();
    let local_ports: BTreeSet<u16> = local_addrs.iter().map(SocketAddr::port).collect();
    let (mapping, allocator) = if let Some((addr, _)) = newest(&plain, |report| report.addr) {
        let kept = local_ports.contains(&addr.port());
        // One mapping shows one port, which says no more than whether it was kept.
        let allocator = if kept { Allocator::Preserving } else { Allocator::Unknown };
        (Mapping::EndpointIndependent, allocator)
    } else if is_dependent(&named, subnets.len()) {
        (dependence(&dialed), allocator(&dialed, &local_ports))
    } else {
        (Mapping::Unknown, Allocator::Unknown)
    };
    Behaviour { mapping, allocator, evidence }
}

/// Whether most subnets see an address that no other sees.
fn is_dependent(named: &BTreeMap<SocketAddr, BTreeSet<Subnet>>, subnets: usize) -> bool {
    let shared: BTreeSet<&Subnet> = named.values().filter(|by| by.len() > 1).flatten().collect();
    let alone = subnets - shared.len();
    alone >= SUBNETS_MIN && alone * 2 > subnets
}

/// Whether the port of a destination counts: neighbours that share an address tell. Each subnet
/// has one voice.
fn dependence(dialed: &[Seen]) -> Mapping {
    let mut by_ip: BTreeMap<IpAddr, Vec<&Report>> = BTreeMap::new();
    for Seen { report, .. } in dialed {
        by_ip.entry(report.remote.ip()).or_default().push(report);
    }
    let mut voices: BTreeMap<Option<Subnet>, bool> = BTreeMap::new();
    for reports in by_ip.values() {
        let remotes: BTreeSet<u16> = reports.iter().map(|report| report.remote.port()).collect();
        let addrs: BTreeSet<SocketAddr> = reports.iter().map(|report| report.addr).collect();
        if remotes.len() > 1 {
            let voice = voices.entry(reports[0].subnet).or_insert(false);
            *voice |= addrs.len() > 1;
        }
    }
    let by_port = voices.values().filter(|by_port| **by_port).count();
    match (voices.len() - by_port).cmp(&by_port) {
        core::cmp::Ordering::Less => Mapping::AddressAndPortDependent,
        core::cmp::Ordering::Greater => Mapping::AddressDependent,
        core::cmp::Ordering::Equal => Mapping::Dependent,
    }
}

/// How the ports of a NAT are chosen that has a mapping for each destination.
fn allocator(dialed: &[Seen], local_ports: &BTreeSet<u16>) -> Allocator {
    let mut sorted = dialed.to_vec();
    sorted.sort_by_key(|seen| seen.ordinal);
    let mut of_subnet: BTreeMap<Option<Subnet>, usize> = BTreeMap::new();
    sorted.retain(|seen| {
        let count = of_subnet.entry(seen.report.subnet).or_default();
        *count += 1;
        *count <= PER_SUBNET
    });
    // The same address twice is one mapping.
    let mut addrs = BTreeSet::new();
    sorted.retain(|seen| addrs.insert(seen.report.addr));
    if sorted.len() < PORTS_MIN {
        return Allocator::Unknown;
    }
    let ports: Vec<(u32, u16)> =
        sorted.iter().map(|seen| (seen.ordinal, seen.report.addr.port())).collect();
    let kept = ports.iter().filter(|(_, port)| local_ports.contains(port)).count();
    if kept * 5 >= ports.len() * 3 {
        return Allocator::Preserving;
    }
    match step(&ports) {
        Some(step) => Allocator::Sequential { step },
        None => spread(&ports),
    }
}

/// The step that explains three fifths of the ports that follow each other. Flows of other hosts and
/// to silent destinations may lie between.
fn step(ports: &[(u32, u16)]) -> Option<u16> {
    let pairs: Vec<(u16, u16)> = ports
        .windows(2)
        .map(|pair| {
            let gap = pair[1].0.saturating_sub(pair[0].0).clamp(1, 1000);
            (gap as u16, pair[1].1.wrapping_sub(pair[0].1))
        })
        .collect();
    let whole = pairs.iter().filter(|(gap, apart)| apart % gap == 0);
    let steps: BTreeSet<u16> = whole
        .map(|(gap, apart)| apart / gap)
        .chain(pairs.iter().map(|(_, apart)| *apart))
        .filter(|step| *step > 0)
        .collect();
    let judged = steps.into_iter().filter_map(|step| {
        let exact = pairs.iter().filter(|(gap, apart)| gap.checked_mul(step) == Some(*apart));
        let explained = pairs.iter().filter(|(gap, apart)| {
            apart % step == 0 && (1..=gap + OTHER_FLOWS).contains(&(apart / step))
        });
        let (exact, explained) = (exact.count(), explained.count());
        (explained * 5 >= pairs.len() * 3).then_some((exact, explained, step))
    });
    judged.max().map(|(_, _, step)| step)
}

/// Block or random, by the smallest window that holds three quarters of the ports.
fn spread(ports: &[(u32, u16)]) -> Allocator {
    let mut ports: Vec<u16> = ports.iter().map(|(_, port)| *port).collect();
    ports.sort_unstable();
    let most = (ports.len() * 3).div_ceil(4);
    let narrowest = ports.windows(most).min_by_key(|window| window[most - 1] - window[0]);
    let Some(window) = narrowest else { return Allocator::Unknown };
    let width = window[most - 1] - window[0];
    if width < BLOCK_FEW || (ports.len() >= PORTS_MANY && width < BLOCK_MANY) {
        // Ports that are as near to the window as its own width belong to it.
        let low = window[0].saturating_sub(width);
        let high = window[most - 1].saturating_add(width);
        let inside: Vec<u16> = ports.iter().copied().filter(|p| (low..=high).contains(p)).collect();
        let span = inside[inside.len() - 1] - inside[0];
        Allocator::Block { span: span.saturating_add(1) }
    } else if width >= BLOCK_MANY {
        Allocator::Random
    } else {
        Allocator::Unknown
    }
}
