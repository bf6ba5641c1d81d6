//! Reflexive addresses: what peers report to see of this node, and when it is believed
//! (PROTOCOL.md#own-address).
//!
//! Responsible for: one report for each reporter, their age, and the address that enough of them
//! name. Never: pings, and never names an address to others.
//!
//! Reports are judged apart for each family and scope: neighbours on a LAN see another address
//! than those on the internet, and that is no sign of a NAT that changes ports. Within a group:
//!
//! 1. An address is confirmed by three reporters in two subnets (reference).
//! 2. It must not be outvoted by subnets that name another one. A host in two subnets would
//!    otherwise choose the address of a node behind a NAT whose ports all differ.
//! 3. If three of the subnets that reported something new last agree, and are most of at most five,
//!    they decide. An honest NAT may move a port when a packet of the peer comes too early, and
//!    what old neighbours see stays as it was.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::neighbours::{Packed, SortedMap};
use crate::NodeId;
use crate::addr::{Scope, Subnet, canonical, scope};
use crate::api::Guess;

/// Reporters that must agree (reference).
pub(crate) const QUORUM: usize = 3;
/// Subnets that they must be in (reference).
const SUBNETS_MIN: usize = 2;
/// Reporters that are held (reference).
pub(crate) const REPORTERS_MAX: usize = 1024;
/// A report older than this counts no more (a guess: two pings of a busy edge).
pub(crate) const REPORT_AGE_MAX: Duration = Duration::from_secs(600);
/// Subnets with the newest reports that can decide alone, and how many of them must agree: more
/// than one holder of two subnets has.
const NEWEST: usize = 5;
const NEWEST_AGREE: usize = 3;

/// Family and scope of an address. Reports are compared within one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// Narrower scopes come first.
    pub(crate) scope: Scope,
    pub(crate) is_v4: bool,
}

impl Group {
    /// The group of an address; nothing if no host can have it.
    pub(crate) fn of(addr: SocketAddr) -> Option<Self> {
        scope(addr.ip()).map(|scope| Self { scope, is_v4: canonical(addr).is_ipv4() })
    }
}

/// What one neighbour said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// The address of this node, as the neighbour sees it.
    pub(crate) addr: SocketAddr,
    /// The address of the neighbour.
    pub(crate) remote: SocketAddr,
    /// The subnet of that; loopback has none.
    pub(crate) subnet: Option<Subnet>,
    /// The ordinal of the neighbour among all to which this node sent first. An address that the
    /// neighbour dialed is no news of how this NAT maps.
    pub(crate) dialed: Option<u32>,
    /// When it was said last.
    pub(crate) at: Instant,
    /// When it was said first without anything else in between.
    pub(crate) since: Instant,
}

/// What the reports of one group amount to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The confirmed address.
    pub(crate) addr: Option<SocketAddr>,
    /// Whether there is a quorum of reports and no address that a quorum names.
    pub(crate) is_symmetric: bool,
}

/// A report as it is held. The subnet follows from the address.
#[derive(Debug, Clone, Copy)]
struct Stored {
    at: Instant,
    since: Instant,
    /// Not dialed if this is [`NOT_DIALED`].
    dialed: u32,
    addr: Packed,
    remote: Packed,
}

/// An ordinal that no destination gets: it would be the last before they begin anew.
const NOT_DIALED: u32 = u32::MAX;

impl Stored {
    fn new(report: Report) -> Self {
        let Report { addr, remote, dialed, at, since, .. } = report;
        let dialed = dialed.unwrap_or(NOT_DIALED);
        Self { at, since, dialed, addr: Packed::new(addr), remote: Packed::new(remote) }
    }

    fn report(&self) -> Report {
        let remote = self.remote.addr();
        let dialed = Some(self.dialed).filter(|ordinal| *ordinal != NOT_DIALED);
        let subnet = Subnet::counted(remote.ip());
        let (at, since) = (self.at, self.since);
        Report { addr: self.addr.addr(), remote, subnet, dialed, at, since }
    }
}

/// The reports of all neighbours.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    by_reporter: SortedMap<Stored>,
}

impl Reports {
    /// Takes a report. Returns whether it says something new; nothing for a new reporter beyond the
    /// cap, whose report is not taken.
    pub(crate) fn record(&mut self, reporter: NodeId, mut report: Report) -> Option<bool> {
        let is_news = match self.get(&reporter) {
            None if self.by_reporter.len() >= REPORTERS_MAX => return None,
            Some(known) if known.addr == report.addr => {
                report.since = known.since;
                known.remote != report.remote
            }
            _ => true,
        };
        self.by_reporter.insert(reporter, Stored::new(report));
        Some(is_news)
    }

    /// What a neighbour said last.
    pub(crate) fn get(&self, reporter: &NodeId) -> Option<Report> {
        self.by_reporter.get(reporter).map(Stored::report)
    }

    /// All that is held, in the order of the reporters' identifiers.
    pub(crate) fn all(&self) -> impl Iterator<Item = Report> {
        self.by_reporter.iter().map(|(_, stored)| stored.report())
    }

    /// The edge to this reporter is gone.
    pub(crate) fn remove(&mut self, reporter: &NodeId) {
        self.by_reporter.remove(reporter);
    }

    /// Reporters that are held.
    pub(crate) fn len(&self) -> usize {
        self.by_reporter.len()
    }

    /// The groups with current reports, the widest scope first, IPv4 before IPv6.
    pub(crate) fn groups(&self, now: Instant) -> Vec<Group> {
        let current = self.all().filter(|report| is_current(now, report));
        let groups: BTreeSet<Group> = current.filter_map(|report| Group::of(report.addr)).collect();
        groups.into_iter().rev().collect()
    }

    /// The reports of a group that count: current ones, without those that a later change of the IP
    /// address made stale.
    pub(crate) fn current(&self, now: Instant, group: Group) -> Vec<Report> {
        let is_here =
            |report: &Report| is_current(now, report) && Group::of(report.addr) == Some(group);
        let mut reports: Vec<Report> = self.all().filter(is_here).collect();
        if let Some((ip, since)) = newest(&reports, |report| report.addr.ip()) {
            reports.retain(|report| report.addr.ip() == ip || report.since >= since);
        }
        reports
    }

    /// What the reports of a group amount to.
    pub(crate) fn view(&self, now: Instant, group: Group) -> View {
        let reports = self.current(now, group);
        let mut votes: BTreeMap<SocketAddr, Votes> = BTreeMap::new();
        for report in &reports {
            let votes = votes.entry(report.addr).or_default();
            votes.reporters += 1;
            votes.subnets.extend(report.subnet);
        }
        let has_quorum = |votes: &Votes| votes.reporters >= QUORUM;
        let is_symmetric = reports.len() >= QUORUM && !votes.values().any(has_quorum);
        let subnets: BTreeSet<Subnet> = reports.iter().filter_map(|report| report.subnet).collect();
        let is_confirmed = |votes: &Votes| {
            let own = votes.subnets.len();
            has_quorum(votes)
                && (own == 0 || own >= SUBNETS_MIN)
                && (own == 0 || subnets.len() - own <= own)
        };
        let newest = newest(&reports, |report| report.addr).map(|(addr, _)| addr);
        // Bytes of the text decide between equals, as in the reference.
        let confirmed = votes.iter().filter(|(_, votes)| is_confirmed(votes));
        let best =
            confirmed.min_by_key(|(addr, votes)| (usize::MAX - votes.reporters, addr.to_string()));
        View { addr: newest.or(best.map(|(addr, _)| *addr)), is_symmetric }
    }

    /// Where this node is seen in a group without a confirmed address: at the IP address that the
    /// newest reports agree on, or else that most subnets name, and there at the port of the newest
    /// destination.
    pub(crate) fn guess(&self, now: Instant, group: Group) -> Option<Guess> {
        let reports = self.current(now, group);
        let agreed = newest(&reports, |report| report.addr.ip()).map(|(ip, _)| ip);
        let mut subnets: BTreeMap<IpAddr, BTreeSet<Subnet>> = BTreeMap::new();
        for report in &reports {
            subnets.entry(report.addr.ip()).or_default().extend(report.subnet);
        }
        let most = || subnets.iter().max_by_key(|(_, by)| by.len()).map(|(ip, _)| *ip);
        let ip = agreed.or_else(most)?;
        let here = reports.iter().filter(|report| report.addr.ip() == ip);
        let newest = here.max_by_key(|report| report.dialed)?;
        Some(Guess { addr: newest.addr, is_ip_sure: agreed.is_some() })
    }

    /// Whether a report names another IP address than the one that counts in its group.
    pub(crate) fn is_elsewhere(&self, now: Instant, report: &Report) -> bool {
        let known = Group::of(report.addr).and_then(|group| self.view(now, group).addr);
        known.is_some_and(|addr| addr.ip() != report.addr.ip())
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.by_reporter.len() <= REPORTERS_MAX);
    }
}

#[derive(Debug, Default)]
struct Votes {
    reporters: usize,
    subnets: BTreeSet<Subnet>,
}

fn is_current(now: Instant, report: &Report) -> bool {
    now.saturating_duration_since(report.at) <= REPORT_AGE_MAX
}

/// What most of the subnets that reported something new last agree on, and since when they do.
/// Reports of one moment count together, so their order has no effect.
pub(crate) fn newest<T: Ord + Copy>(
    reports: &[Report],
    of: impl Fn(&Report) -> T,
) -> Option<(T, Instant)> {
    let mut by_since: BTreeMap<Reverse<Instant>, Vec<(Subnet, T)>> = BTreeMap::new();
    for report in reports {
        let Some(subnet) = report.subnet else { continue };
        by_since.entry(Reverse(report.since)).or_default().push((subnet, of(report)));
    }
    let mut subnets: BTreeSet<Subnet> = BTreeSet::new();
    let mut named: BTreeMap<T, BTreeSet<Subnet>> = BTreeMap::new();
    for (Reverse(since), said) in by_since {
        for (subnet, value) in said {
            subnets.insert(subnet);
            named.entry(value).or_default().insert(subnet);
        }
        let agreed =
            named.iter().find(|(_, by)| by.len() >= NEWEST_AGREE && by.len() * 2 > subnets.len());
        if let Some((value, _)) = agreed {
            return Some((*value, since));
        }
        if subnets.len() >= NEWEST {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests;
