//! Extra pings, for what the reports at hand do not tell of the NAT (PROTOCOL.md#extra-probes).
//!
//! Responsible for: whether more reports are wanted, which neighbour is asked next, and when.
//! Never: opens an edge. A neighbour that this node dialed is the only destination whose mapping
//! tells anything, and a ping on its edge is answered by every implementation.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::mapping::{Behaviour, PORTS_MANY};
use super::reflexive::Report;
use super::{Action, Nat};
use crate::NodeId;
use crate::addr::Subnet;
use crate::api::{NatReport, Profile};
use crate::context::Context;
use crate::wire::nat::{Allocator, Mapping};

/// From one extra ping to the next (a guess: four a minute).
pub(super) const SPACING: Duration = Duration::from_secs(15);
/// Extra pings that may follow each other at once (a guess: one more than confirm an address).
const BURST: u32 = 4;
/// From a burst to the next of its pings.
const IN_BURST: Duration = Duration::from_millis(200);
/// A neighbour that was asked, by this or by the first ping of its edge, may answer for this long.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// A neighbour that did not answer is asked again after this long (a guess).
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// A report this old is asked for again: a mapping may be another one by then (RFC 4787 REQ-5).
const OLD: Duration = Duration::from_secs(300);
/// Reports from which on an allocator counts as known: with this many a large block is told from a
/// random choice.
const REPORTS_ENOUGH: u16 = PORTS_MANY as u16;
/// For how long a neighbour that changed its mind makes older reports doubtful (a guess).
const DOUBT: Duration = Duration::from_secs(60);

/// The pace of extra pings, and who is not to be asked yet.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// When the next one is due.
    at: Option<Instant>,
    /// The last ones, at most [`BURST`].
    sent: Vec<Instant>,
    /// Neighbours that are not asked before a time; never if there is none.
    waits: Vec<(NodeId, Option<Instant>)>,
    /// Since when older reports are doubtful.
    doubt: Option<Instant>,
}

impl Probes {
    /// An edge came up, whose first ping is under way.
    pub(super) fn handle_edge_up(&mut self, now: Instant, peer: NodeId) {
        self.wait(peer, Some(now + ANSWER_WAIT));
    }

    /// A neighbour answered, or is one no more.
    pub(super) fn settle(&mut self, peer: &NodeId) {
        self.waits.retain(|(waiting, _)| waiting != peer);
    }

    /// What the neighbour says is of no use: there is a relay between.
    pub(super) fn handle_useless(&mut self, peer: NodeId) {
        self.wait(peer, None);
    }

    /// A neighbour that named the confirmed address names another one of the same IP.
    pub(super) fn handle_change(&mut self, now: Instant) {
        self.doubt = Some(now);
    }

    /// When the next ping is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn stop(&mut self) {
        self.at = None;
        self.waits.clear();
    }

    fn wait(&mut self, peer: NodeId, until: Option<Instant>) {
        self.settle(&peer);
        self.waits.push((peer, until));
    }

    /// From when on a neighbour may be asked; nothing for one that never may.
    fn ready_at(&self, now: Instant, peer: &NodeId) -> Option<Instant> {
        match self.waits.iter().find(|(waiting, _)| waiting == peer) {
            Some((_, until)) => *until,
            None => Some(now),
        }
    }

    /// When the pace allows another ping.
    fn paced_at(&self, now: Instant) -> Instant {
        let first = self.sent.first().filter(|_| self.sent.len() >= BURST as usize);
        let by_rate = first.map_or(now, |first| *first + BURST * SPACING);
        let by_burst = self.sent.last().map_or(now, |last| *last + IN_BURST);
        by_rate.max(by_burst)
    }

    fn note_sent(&mut self, now: Instant, peer: NodeId) {
        if self.sent.len() >= BURST as usize {
            self.sent.remove(0);
        }
        self.sent.push(now);
        self.wait(peer, Some(now + ASK_AGAIN));
    }

    /// Forgets what is past.
    fn tidy(&mut self, now: Instant) {
        self.doubt = self.doubt.filter(|since| now < *since + DOUBT);
        self.waits.retain(|(_, until)| until.is_none_or(|until| until > now));
        if self.waits.is_empty() {
            self.waits = Vec::new();
        }
    }

    /// Whether more reports are wanted: they can tell more than is named, or some are doubtful.
    fn is_wanted(&self, named: &Behaviour) -> bool {
        !is_named(named) || self.doubt.is_some()
    }
}

/// Whether mapping and allocator have names that more reports would not change.
fn is_named(named: &Behaviour) -> bool {
    match named.mapping {
        Mapping::Unknown | Mapping::Dependent => false,
        // One port for all does not tell how others are chosen.
        Mapping::EndpointIndependent => true,
        _ => named.allocator != Allocator::Unknown && named.evidence.reports >= REPORTS_ENOUGH,
    }
}

/// How much a report of a neighbour would tell; the least is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is at the address of another that reported, at another port: it tells whether the port
    /// counts.
    OtherPort,
    /// No report is from its subnet.
    OtherSubnet,
    /// It has not reported.
    Other,
    /// Its report is of then.
    Old(Instant),
}

impl Nat {
    /// Plans the next extra ping, if one is wanted.
    pub(super) fn plan_probe(&mut self, cx: &Context<'_, Action>, named: &Behaviour) {
        self.probes.tidy(cx.now);
        let may_ask = cx.config.maintenance
            && cx.config.profile == Profile::Router
            && !self.is_stopped
            && self.probes.is_wanted(named);
        let next = if may_ask { self.next_probe(cx.now, named) } else { None };
        self.probes.at = next.map(|(_, ready)| ready.max(self.probes.paced_at(cx.now)));
    }

    /// Sends the extra ping that is due.
    pub(super) fn send_probe(&mut self, cx: &mut Context<'_, Action>) {
        if self.probes.at.is_none_or(|at| at > cx.now) {
            return;
        }
        self.probes.at = None;
        let NatReport { mapping, allocator, evidence, .. } = self.report;
        if let Some((peer, ready)) =
            self.next_probe(cx.now, &Behaviour { mapping, allocator, evidence })
            && ready <= cx.now
        {
            self.probes.note_sent(cx.now, peer);
            cx.act(Action::Ask(peer));
        }
    }

    /// The neighbour that is asked next, and from when on it may be.
    fn next_probe(&self, now: Instant, named: &Behaviour) -> Option<(NodeId, Instant)> {
        let mapping = named.mapping;
        let counts_doubt_alone = is_named(named);
        let reports: Vec<Report> = self.reports.all().filter(|one| one.dialed.is_some()).collect();
        let ips: BTreeSet<IpAddr> = reports.iter().map(|report| report.remote.ip()).collect();
        let subnets: BTreeSet<Option<Subnet>> = reports.iter().map(|one| one.subnet).collect();
        let rank = |remote: SocketAddr| match () {
            () if mapping == Mapping::Dependent && ips.contains(&remote.ip()) => Rank::OtherPort,
            () if !subnets.contains(&Subnet::counted(remote.ip())) => Rank::OtherSubnet,
            () => Rank::Other,
        };
        let candidates = self.neighbours.iter().filter_map(|(peer, remote)| {
            self.destinations.ordinal(remote)?;
            let ready = self.probes.ready_at(now, peer)?;
            let Some(known) = self.reports.get(peer) else {
                if counts_doubt_alone {
                    return None;
                }
                return Some((ready.max(now), rank(remote), *peer));
            };
            let is_doubtful = self.probes.doubt.is_some_and(|since| known.at < since);
            if counts_doubt_alone && !is_doubtful {
                return None;
            }
            let old = if is_doubtful { now } else { known.at + OLD };
            Some((old.max(ready).max(now), Rank::Old(known.at), *peer))
        });
        candidates.min().map(|(ready, _, peer)| (peer, ready))
    }
}
