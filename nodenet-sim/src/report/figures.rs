//! Figures of a phase: delivery, hops, stretch, edges, joins, traffic.
//!
//! Responsible for: computing each from a world, its tracked messages and its meters.

use std::time::Duration;

use nodenet_proto::stats::DropReason;

use super::Lost;
use crate::clock::Moment;
use crate::scenario::Probe;
use crate::world::{Host, Meter, Settled, StepKind, Tracked, Traffic, World};

/// Lost messages that are listed.
const LOST_MAX: usize = 10;

/// Figures of one phase; `None` if not measured (SIMULATOR.md#what-is-counted).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// What was measured; a message below is then a rendezvous or a connect.
    pub probe: Probe,
    /// Live nodes at the end of the phase.
    pub nodes: u64,
    /// Messages sent to targets that were up until the message arrived or was lost.
    pub sent: u64,
    /// Messages of these that arrived.
    pub delivered: u64,
    /// Copies beyond the first that applications saw.
    pub duplicates: u64,
    /// Messages that do not count, because their target stopped before they arrived.
    pub targets_lost: u64,
    /// Messages that the sending node refused.
    pub refused: u64,
    /// Edges crossed by first copies.
    pub hops: Option<Distribution>,
    /// First copies by the number of edges that they crossed.
    pub hop_histogram: Vec<u64>,
    /// Path latency over direct latency of first copies.
    pub stretch: Option<Distribution>,
    /// Milliseconds from the command to the first copy, to the answer of a rendezvous, or to the
    /// edge of a connect.
    pub taken_ms: Option<Distribution>,
    /// Live edges of a node.
    pub edges: Option<Distribution>,
    /// Counted heap for each node, if the program counts and the network settled before a node
    /// stopped. A world keeps some state of nodes that stopped.
    pub state_bytes_per_node: Option<f64>,
    /// Bytes on the wire for each day that a node was up, if the network had settled or was in
    /// churn.
    pub idle_bytes_per_node_day: Option<f64>,
    /// Wake-ups for each hour that a node was up, in the same case.
    pub idle_wakeups_per_node_hour: Option<f64>,
    /// Milliseconds from start to first sibling answer.
    pub join_ms: Option<Distribution>,
    /// Nodes without a sibling answer.
    pub not_joined: u64,
    /// Bytes for each day that a node was up by kind of traffic.
    pub traffic: Vec<(&'static str, f64)>,
    /// Steps for each hour that a node was up, by kind; light nodes and routers together.
    pub steps: Vec<(&'static str, f64)>,
}

impl Figures {
    /// Share of messages that arrived, 0 to 1, if there were any.
    pub fn delivered_share(&self) -> Option<f64> {
        (self.sent > 0).then(|| self.delivered as f64 / self.sent as f64)
    }
}

/// Mean, median, 99th percentile and maximum of a distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distribution {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile, by nearest rank.
    pub p99: f64,
    /// The largest value.
    pub max: f64,
}

impl Distribution {
    /// The distribution of these values, if there are any.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Self { mean, p50: rank(50), p99: rank(99), max })
    }
}

/// Costs of nodes during some time.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    /// Hosts that were up, if not all the time.
    hosts: Vec<(Host, Meter)>,
    /// Of all hosts.
    steps: Vec<(&'static str, u64)>,
    during: core::ops::Range<Moment>,
}

impl Costs {
    /// Costs since `since`, when the meters were cleared and the steps of each kind were
    /// `steps_before`.
    pub(crate) fn read(world: &dyn World, since: Moment, steps_before: &[u64]) -> Self {
        let was_up =
            |host: &Host| world.stopped_at(*host).is_none_or(|stopped_at| stopped_at > since);
        let hosts: Vec<Host> = world.hosts().filter(was_up).collect();
        let cost = |host| (host, *world.meters().host(host));
        Self {
            hosts: hosts.into_iter().map(cost).collect(),
            steps: (StepKind::ALL.into_iter().zip(steps_before))
                .map(|(kind, before)| (kind.name(), world.tally(kind) - before))
                .collect(),
            during: since..world.now(),
        }
    }

    /// Time that a host was up in the interval.
    fn uptime(&self, world: &dyn World, host: Host) -> Duration {
        let end = world.stopped_at(host).map_or(self.during.end, |at| at.min(self.during.end));
        end.since(world.started_at(host).max(self.during.start))
    }
}

/// Evidence from which the figures of a phase are computed.
pub(crate) struct Evidence<'a> {
    pub(crate) probe: Probe,
    pub(crate) world: &'a dyn World,
    pub(crate) tracked: &'a [Tracked],
    pub(crate) costs: Option<&'a Costs>,
    /// Join times are those of nodes that started in this interval.
    pub(crate) started: core::ops::Range<Moment>,
}

impl Evidence<'_> {
    /// The figures of the hosts that `counts`.
    pub(crate) fn figures(&self, counts: impl Fn(Host) -> bool) -> Figures {
        let mut figures = Figures { probe: self.probe, ..Figures::default() };
        self.count_messages(&mut figures, &counts);
        self.count_nodes(&mut figures, &counts);
        self.count_costs(&mut figures, &counts);
        figures
    }

    /// The first messages that were lost.
    pub(crate) fn lost(&self) -> Vec<Lost> {
        let lost = self.tracked.iter().filter(|message| self.is_lost(message));
        let describe = |&Tracked { from, to, sent_at, .. }: &Tracked| {
            let edges = [from, to].map(|host| self.world.edges(host).len());
            Lost { from, to, sent_at, edges }
        };
        lost.take(LOST_MAX).map(describe).collect()
    }

    /// Whether a message did not arrive although its target was up long enough.
    fn is_lost(&self, message: &Tracked) -> bool {
        let judged_at = message.sent_at + message.within;
        let stopped_at = self.world.stopped_at(message.to);
        // A rendezvous ends with the node that asks; a message is settled when it is sent.
        let is_void = message.settled == Settled::Pending
            && self.world.stopped_at(message.from).is_some_and(|stopped_at| stopped_at < judged_at);
        message.arrival.is_none()
            && !is_void
            && stopped_at.is_none_or(|stopped_at| stopped_at >= judged_at)
    }

    fn count_messages(&self, figures: &mut Figures, counts: impl Fn(Host) -> bool) {
        let (mut hops, mut stretch, mut taken_ms) = (Vec::new(), Vec::new(), Vec::new());
        for message in self.tracked.iter().filter(|message| counts(message.to)) {
            figures.duplicates += u64::from(message.duplicates);
            let Some(arrival) = message.arrival else {
                if self.is_lost(message) {
                    figures.sent += 1;
                } else {
                    figures.targets_lost += 1;
                }
                let failed = matches!(message.settled, Settled::Failed(_));
                figures.refused += u64::from(failed);
                continue;
            };
            figures.sent += 1;
            figures.delivered += 1;
            let crossed = usize::from(arrival.hops);
            if figures.hop_histogram.len() <= crossed {
                figures.hop_histogram.resize(crossed + 1, 0);
            }
            figures.hop_histogram[crossed] += 1;
            hops.push(f64::from(arrival.hops));
            let taken = arrival.at.since(message.sent_at).as_nanos() as f64;
            stretch.push(taken / message.direct.as_nanos() as f64);
            taken_ms.push(taken / 1e6);
        }
        figures.taken_ms = Distribution::of(taken_ms);
        figures.hops = Distribution::of(hops);
        figures.stretch = Distribution::of(stretch);
    }

    fn count_nodes(&self, figures: &mut Figures, counts: impl Fn(Host) -> bool) {
        let edges = |host| self.world.edges(host).len() as f64;
        let live: Vec<_> = self.world.live().filter(|&host| counts(host)).collect();
        figures.nodes = live.len() as u64;
        figures.edges = Distribution::of(live.into_iter().map(edges).collect());
        let mut joins = Vec::new();
        for host in self.world.hosts().filter(|&host| counts(host)) {
            let started_at = self.world.started_at(host);
            let joined_at = self.world.joined_at(host);
            // A host that started while no other was up had no peer to join through.
            if !self.started.contains(&started_at) || joined_at == Some(started_at) {
                continue;
            }
            match joined_at {
                Some(at) => joins.push(at.since(started_at).as_nanos() as f64 / 1e6),
                None => figures.not_joined += u64::from(self.world.is_up(host)),
            }
        }
        figures.join_ms = Distribution::of(joins);
    }

    fn count_costs(&self, figures: &mut Figures, counts: impl Fn(Host) -> bool) {
        let Some(costs) = self.costs else { return };
        // Hosts that started or stopped in the interval count for the time that they were up.
        let days = |counts: &dyn Fn(Host) -> bool| {
            let counted = costs.hosts.iter().filter(|(host, _)| counts(*host));
            let uptimes = counted.map(|(host, _)| costs.uptime(self.world, *host));
            uptimes.sum::<Duration>().as_secs_f64() / 86_400.0
        };
        let node_days = days(&counts);
        if node_days == 0.0 {
            return;
        }
        let meters = costs.hosts.iter().filter(|(host, _)| counts(*host));
        let meters: Vec<&Meter> = meters.map(|(_, meter)| meter).collect();
        let per_day = |sum: u64| sum as f64 / node_days;
        let bytes = meters.iter().map(|meter| meter.bytes()).sum();
        figures.idle_bytes_per_node_day = Some(per_day(bytes));
        let wakeups = meters.iter().map(|meter| u64::from(meter.wakeups)).sum();
        figures.idle_wakeups_per_node_hour = Some(per_day(wakeups) / 24.0);
        let of_kind = |kind| {
            let bytes = meters.iter().flat_map(|meter| meter.kinds());
            let bytes = bytes.filter(|(other, _)| *other == kind).map(|(_, bytes)| bytes).sum();
            (kind.name(), per_day(bytes))
        };
        figures.traffic = Traffic::ALL.into_iter().map(of_kind).collect();
        let hours = 24.0 * days(&|_| true);
        let step = |&(name, count): &(_, u64)| (name, count as f64 / hours);
        figures.steps = costs.steps.iter().map(step).collect();
    }
}

/// Drops of live nodes by reason, most frequent first; reasons without drops are left out.
pub(crate) fn drops(world: &dyn World) -> Vec<(&'static str, u64)> {
    let stats: Vec<_> = world.live().filter_map(|host| world.stats(host)).collect();
    let sum = |reason| stats.iter().map(|stats| stats.drops(reason)).sum();
    let mut drops: Vec<(_, u64)> =
        DropReason::ALL.iter().map(|&reason| (reason.name(), sum(reason))).collect();
    drops.retain(|(_, count)| *count > 0);
    drops.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
    drops
}

#[cfg(test)]
mod tests {
    use super::Distribution;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let of = |count: u32| Distribution::of((1..=count).map(f64::from).collect());
        let hundred = of(100).unwrap();
        assert_eq!((hundred.p50, hundred.p99, hundred.max), (50.0, 99.0, 100.0));
        assert_eq!(hundred.mean, 50.5);
        assert_eq!(of(1), Some(Distribution { mean: 1.0, p50: 1.0, p99: 1.0, max: 1.0 }));
        assert_eq!(of(0), None);
    }
}
