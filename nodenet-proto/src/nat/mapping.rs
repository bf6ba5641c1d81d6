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

/// Subnets whose word is left out where it contradicts others.
const LYING: usize = 2;
/// Subnets that must see addresses that no other sees before the NAT counts as dependent on the
/// destination (a guess: two that lie and three more).
const ALONE_MIN: usize = 5;
/// Reports of one subnet that count for the allocator.
const PER_SUBNET: usize = 2;
/// Reports that an allocator is named from, the newest destinations; each is compared with all
/// before it.
const PORTS_MAX: usize = 48;
/// Reports that an allocator is named from, at least.
const PORTS_MIN: usize = 6;
/// With so few reports, ports that lie this close together are no accident.
const BLOCK_FEW: u16 = 4_096;
/// Reports from which on a larger block is told from a random choice.
pub(super) const PORTS_MANY: usize = 16;
/// The largest block.
const BLOCK_MANY: u16 = 16_384;
/// A sequence that is above the first goes on below the second: where ranges of ports end and
/// begin, and a few thousand ports more.
const RANGE_END: u16 = 65_535 - 4_096;
const RANGE_START: u16 = 1_024 + 4_096;
/// Flows of other hosts between two of this node that a sequence may have, beside one for each of
/// this node (a guess: one host as busy as this one, and a few flows of more).
const OTHER_FLOWS: u16 = 8;

/// What is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) mapping: Mapping,
    pub(crate) allocator: Allocator,
    pub(crate) evidence: NatEvidence,
}

/// Names mapping and allocator from the reports of one group. `local_addrs` are those of the
/// socket.
pub(crate) fn classify(reports: &[Report], local_addrs: &[SocketAddr]) -> Behaviour {
    let is_dialed = |report: &&Report| report.dialed.is_some();
    let dialed: Vec<Report> = reports.iter().filter(is_dialed).copied().collect();
    let mut named: BTreeMap<SocketAddr, BTreeSet<Subnet>> = BTreeMap::new();
    let mut subnets = BTreeSet::new();
    for report in &dialed {
        let Some(subnet) = report.subnet else { continue };
        named.entry(report.addr).or_default().insert(subnet);
        subnets.insert(subnet);
    }
    let evidence = NatEvidence {
        reports: dialed.len() as u16,
        subnets: subnets.len() as u16,
        addrs: named.len() as u16,
    };
    let local_ports: BTreeSet<u16> = local_addrs.iter().map(SocketAddr::port).collect();
    let (mapping, allocator) = if let Some((addr, _)) = newest(&dialed, |report| report.addr) {
        let kept = local_ports.contains(&addr.port());
        // One mapping shows one port, which says no more than whether it was kept.
        let allocator = if kept { Allocator::Preserving } else { Allocator::Unknown };
        (Mapping::EndpointIndependent, allocator)
    } else if is_dependent(&named, subnets) {
        (dependence(&dialed), allocator(&dialed, &local_ports))
    } else {
        (Mapping::Unknown, Allocator::Unknown)
    };
    Behaviour { mapping, allocator, evidence }
}

/// Whether subnets see addresses that no other sees, without the few that may lie.
fn is_dependent(
    named: &BTreeMap<SocketAddr, BTreeSet<Subnet>>,
    mut subnets: BTreeSet<Subnet>,
) -> bool {
    let shared = |subnet: &Subnet, among: &BTreeSet<Subnet>| {
        let with = named.values().filter(|by| by.contains(subnet)).flatten();
        with.filter(|other| *other != subnet && among.contains(*other)).count()
    };
    for _ in 0..LYING {
        // Those who lie name what others see as well, or nothing that counts.
        let most = subnets.iter().map(|subnet| (shared(subnet, &subnets), *subnet)).max();
        if let Some((1.., subnet)) = most {
            subnets.remove(&subnet);
        }
    }
    let alone = subnets.iter().filter(|subnet| shared(subnet, &subnets) == 0).count();
    alone >= ALONE_MIN && alone * 2 > subnets.len()
}

/// Whether the port of a destination counts: neighbours that share an address tell. Each subnet
/// has one voice.
fn dependence(dialed: &[Report]) -> Mapping {
    let mut by_ip: BTreeMap<IpAddr, Vec<&Report>> = BTreeMap::new();
    for report in dialed {
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
fn allocator(dialed: &[Report], local_ports: &BTreeSet<u16>) -> Allocator {
    let mut sorted = dialed.to_vec();
    sorted.sort_by_key(|report| report.dialed);
    // The same address twice is one mapping.
    let mut addrs = BTreeSet::new();
    sorted.retain(|report| addrs.insert(report.addr));
    let mut of_subnet: BTreeMap<Option<Subnet>, usize> = BTreeMap::new();
    sorted.retain(|report| {
        let count = of_subnet.entry(report.subnet).or_default();
        *count += 1;
        *count <= PER_SUBNET
    });
    if sorted.len() < PORTS_MIN {
        return Allocator::Unknown;
    }
    let newest = sorted.len().saturating_sub(PORTS_MAX);
    let seen = |report: &Report| Seen {
        ordinal: report.dialed.unwrap_or(0),
        port: report.addr.port(),
        subnet: report.subnet,
    };
    let ports: Vec<Seen> = sorted[newest..].iter().map(seen).collect();
    let kept = ports.iter().filter(|seen| local_ports.contains(&seen.port)).count();
    if kept * 5 >= ports.len() * 3 {
        return Allocator::Preserving;
    }
    match step(&ports) {
        Some(step) => Allocator::Sequential { step },
        None => spread(&ports),
    }
}

/// A port that a destination saw.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Of the destination.
    ordinal: u32,
    port: u16,
    subnet: Option<Subnet>,
}

impl Seen {
    /// How many destinations came from this one to a later one, and how far the port went.
    fn apart(&self, later: &Self) -> (u16, u16) {
        let gap = later.ordinal.saturating_sub(self.ordinal).clamp(1, 1000) as u16;
        (gap, later.port.wrapping_sub(self.port))
    }

    /// Whether a later port follows by a step. Flows of other hosts and to silent destinations may
    /// lie between.
    fn leads_to(&self, later: &Self, step: u16) -> bool {
        if self.port >= RANGE_END && later.port < RANGE_START {
            return true;
        }
        let (gap, ports) = self.apart(later);
        ports % step == 0 && (1..=2 * gap + OTHER_FLOWS).contains(&(ports / step))
    }
}

/// The step that explains three fifths of the ports. Lies may lie between.
///
/// Another host whose flows alternate with those of this node makes most steps twice as long. One
/// that explains all, but for two subnets that may lie, is therefore better than one that is exact
/// more often; of several such, the longest.
fn step(ports: &[Seen]) -> Option<u16> {
    let pairs: Vec<(u16, u16)> = ports.windows(2).map(|pair| pair[0].apart(&pair[1])).collect();
    let whole = pairs.iter().filter(|(gap, ports)| ports % gap == 0);
    let steps: BTreeSet<u16> = whole
        .map(|(gap, ports)| ports / gap)
        .chain(pairs.iter().map(|(_, ports)| *ports))
        // Where flows of others are between, no two ports may be one step apart.
        .chain(pairs.windows(2).map(|two| common_divisor(two[0].1, two[1].1)))
        .filter(|step| *step > 0)
        .collect();
    let judged = steps.into_iter().filter_map(|step| {
        let explained = longest_chain(ports, step);
        let length = explained.iter().filter(|is_explained| **is_explained).count();
        let exact = pairs.iter().filter(|(gap, ports)| gap.checked_mul(step) == Some(*ports));
        let is_enough = length >= PORTS_MIN && length * 5 >= ports.len() * 3;
        // What a step explains, its divisors explain as well.
        let whole = if is_whole(ports, &explained) { step } else { 0 };
        is_enough.then(|| (whole, exact.count(), length, step))
    });
    judged.max().map(|(.., step)| step)
}

fn common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Which ports are in the longest sequence in which each follows the one before by this step.
fn longest_chain(ports: &[Seen], step: u16) -> Vec<bool> {
    // The length of the longest one that ends with each, and the place of the port before.
    let mut chains: Vec<(usize, Option<usize>)> = Vec::with_capacity(ports.len());
    for (at, to) in ports.iter().enumerate() {
        let before = (0..at).filter(|from| ports[*from].leads_to(to, step));
        let best = before.map(|from| (chains[from].0, from)).max();
        chains.push((best.map_or(1, |(length, _)| length + 1), best.map(|(_, from)| from)));
    }
    let mut explained = vec![false; ports.len()];
    let mut last = (0..ports.len()).max_by_key(|at| chains[*at].0);
    while let Some(at) = last {
        explained[at] = true;
        last = chains[at].1;
    }
    explained
}

/// Whether nearly all ports, one of twenty left out, are explained without the subnets that
/// contradict most.
fn is_whole(ports: &[Seen], explained: &[bool]) -> bool {
    let mut subnets: BTreeMap<Option<Subnet>, (usize, usize)> = BTreeMap::new();
    for (seen, is_explained) in ports.iter().zip(explained) {
        let (unexplained, count) = subnets.entry(seen.subnet).or_default();
        *unexplained += usize::from(!is_explained);
        *count += 1;
    }
    let mut subnets: Vec<(usize, usize)> = subnets.into_values().collect();
    subnets.sort_unstable_by(|a, b| b.cmp(a));
    let rest = subnets.iter().skip(LYING);
    let (unexplained, count) =
        rest.fold((0, 0), |(missing, all), (more, count)| (missing + more, all + count));
    unexplained * 20 <= count
}

/// Block or random, by the smallest window that holds three quarters of the ports.
fn spread(ports: &[Seen]) -> Allocator {
    let mut ports: Vec<u16> = ports.iter().map(|seen| seen.port).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    /// Neighbours in subnets of their own see these ports of one address.
    fn seen(ports: &[u16]) -> Vec<Report> {
        let reports = ports.iter().zip(0..).map(|(port, number)| {
            let remote = SocketAddr::from(([20, 0, number, 1], 1));
            Report {
                addr: SocketAddr::from(([203, 0, 113, 7], *port)),
                remote,
                subnet: Some(Subnet::of(remote.ip())),
                dialed: Some(number.into()),
                at: test_base(),
                since: test_base(),
            }
        });
        reports.collect()
    }

    fn named(ports: &[u16]) -> (Mapping, Allocator) {
        let local = [SocketAddr::from(([192, 168, 1, 2], 4242))];
        let behaviour = classify(&seen(ports), &local);
        (behaviour.mapping, behaviour.allocator)
    }

    #[test]
    fn few_reports_name_nothing() {
        assert_eq!(named(&[]), (Mapping::Unknown, Allocator::Unknown));
        assert_eq!(named(&[5, 6]), (Mapping::Unknown, Allocator::Unknown));
        assert_eq!(named(&[5, 6, 7, 8]), (Mapping::Unknown, Allocator::Unknown));
        assert_eq!(named(&[5, 6, 7, 8, 9]), (Mapping::Dependent, Allocator::Unknown));
    }

    #[test]
    fn one_port_for_all_is_endpoint_independent() {
        assert_eq!(named(&[4242; 3]), (Mapping::EndpointIndependent, Allocator::Preserving));
        assert_eq!(named(&[999; 3]), (Mapping::EndpointIndependent, Allocator::Unknown));
    }

    #[test]
    fn two_ports_of_one_honest_nat_are_not_called_dependent() {
        assert_eq!(named(&[5, 5, 6, 6]), (Mapping::Unknown, Allocator::Unknown));
        assert_eq!(named(&[5, 5, 6, 6, 900, 901]), (Mapping::Unknown, Allocator::Unknown));
    }

    #[test]
    fn a_step_is_found_between_flows_of_others() {
        let step = |step| (Mapping::Dependent, Allocator::Sequential { step });
        assert_eq!(named(&[100, 101, 102, 103, 104, 105, 106]), step(1));
        assert_eq!(named(&[100, 102, 104, 106, 108, 110, 112]), step(2));
        // Others had 102, then 108 and 110.
        assert_eq!(named(&[100, 104, 106, 112, 114, 116, 118]), step(2));
        // One that lies, and the end of the range.
        assert_eq!(named(&[65_523, 65_526, 65_529, 7, 65_532, 65_535, 2, 5]), step(3));
    }

    #[test]
    fn a_step_is_not_doubled_by_another_host_that_takes_turns() {
        let ports = [100, 102, 104, 107, 109, 111, 112, 114, 116, 119, 121];
        assert_eq!(named(&ports), (Mapping::Dependent, Allocator::Sequential { step: 1 }));
        // No two are one step apart.
        let ports = [100, 104, 110, 114, 120, 124, 130];
        assert_eq!(named(&ports), (Mapping::Dependent, Allocator::Sequential { step: 2 }));
    }

    #[test]
    fn a_block_is_told_from_a_random_choice() {
        let block = named(&[40_050, 40_012, 40_177, 40_090, 40_133, 40_001, 40_160, 40_064]);
        assert_eq!(block, (Mapping::Dependent, Allocator::Block { span: 177 }));
        let random = named(&[5_001, 60_012, 33_177, 20_090, 49_133, 1_201, 12_160, 55_064]);
        assert_eq!(random, (Mapping::Dependent, Allocator::Random));
    }

    #[test]
    fn neighbours_that_share_an_address_tell_whether_the_port_counts() {
        let mut reports = seen(&[10, 20, 30, 40, 50, 60, 70]);
        let host = reports[0].remote;
        reports[1].remote = SocketAddr::new(host.ip(), 2);
        reports[1].subnet = reports[0].subnet;
        let local = [SocketAddr::from(([192, 168, 1, 2], 4242))];
        assert_eq!(classify(&reports, &local).mapping, Mapping::AddressAndPortDependent);
        reports[1].addr = reports[0].addr;
        assert_eq!(classify(&reports, &local).mapping, Mapping::AddressDependent);
    }

    #[test]
    fn what_a_peer_dialed_says_nothing_of_the_nat() {
        let mut reports = seen(&[999; 5]);
        reports.iter_mut().for_each(|report| report.dialed = None);
        assert_eq!(classify(&reports, &[]), Behaviour::default());
    }
}
