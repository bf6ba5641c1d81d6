//! `nodenet demo --nat`: nodes on an in-memory network, half of them behind NATs, which connect in
//! pairs.
//!
//! The network is a [`Hub`] in real time, so no privileges are needed. The nodes are ordinary ones;
//! only their sockets are not those of the system.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nodenet_tokio::testing::{Behavior, Hub, LinkProfile, LinuxConfig, NatConfig, PortAllocation};
use nodenet_tokio::{ConnectOutcome, Node, Reachability};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Joined, Network, Progress};
use crate::CommandError;
use crate::cascade::{self, Attempted};
use crate::clock::now;
use crate::output::Output;
use crate::output::json::connect::{attempted, ms};

/// Connects under way at once (guess: an attempt has a budget of dials to one host).
const UNDER_WAY_MAX: usize = 8;
/// Longest wait for the nodes to learn of their NATs (guess: a few questions and a test). In a
/// small network some never do.
const LEARN_BOUND: Duration = Duration::from_secs(8);
/// Nodes, at most: each pair connects (guess).
const NODES_MAX: u16 = 100;
/// Time between two looks at that (guess).
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Failed pairs in the text for people, at most (guess).
const FAILED_SHOWN: usize = 10;

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// No box in front of it.
    Open,
    /// The usual router of a household.
    Linux,
    /// One port for all destinations, and only known ones get in.
    Easy,
    /// A random port for each destination.
    Hard,
}

impl Place {
    const BEHIND: [Self; 3] = [Self::Linux, Self::Easy, Self::Hard];

    /// That of node `number`, from 1: every second one is behind a box.
    fn of(number: u32) -> Self {
        match number % 2 {
            1 => Self::Open,
            _ => Self::BEHIND[(number as usize / 2 - 1) % Self::BEHIND.len()],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Linux => "linux",
            Self::Easy => "easy",
            Self::Hard => "hard",
        }
    }

    fn build(self, hub: &Hub, number: u32) {
        let host = [hub.addr(number)];
        let filtering = Behavior::AddressAndPortDependent;
        match self {
            Self::Open => {}
            Self::Linux => drop(hub.add_nat(host, LinuxConfig::default())),
            Self::Easy => drop(hub.add_nat(host, NatConfig { filtering, ..NatConfig::default() })),
            Self::Hard => {
                let mapping = Behavior::AddressAndPortDependent;
                let allocation = PortAllocation::Random;
                let config = NatConfig { mapping, filtering, allocation, ..NatConfig::default() };
                drop(hub.add_nat(host, config));
            }
        }
    }
}

/// Starts the nodes. The first is open, known to all others, and relays.
pub(super) async fn start(count: u16, progress: &Progress) -> Result<Network, CommandError> {
    if count > NODES_MAX {
        let text = format!("--nat connects all pairs, so it takes --nodes {NODES_MAX} at most");
        return Err(CommandError::Other(text));
    }
    progress.phase("starting", u64::from(count));
    let hub = Hub::new(1);
    hub.set_links(LinkProfile::REGION);
    let mut network =
        Network { nodes: Vec::with_capacity(count.into()), started: now(), caps_lifted: false };
    for number in 1..=u32::from(count) {
        Place::of(number).build(&hub, number);
        let builder = hub.builder(number);
        let builder = match number {
            1 => builder.relay(true).advertise([hub.addr(1)]),
            _ => builder.bootstrap([hub.peer(1)]),
        };
        network.nodes.push(builder.start().await?);
        progress.step();
    }
    Ok(network)
}

/// A pair of nodes, by number, and what came of its connect.
struct Pair {
    from: u32,
    to: u32,
    /// Whether there was an edge before.
    had_edge: bool,
    attempted: Attempted,
}

impl Pair {
    /// The places, so that each pair of them has one line.
    fn places(&self) -> (Place, Place) {
        let (from, to) = (Place::of(self.from), Place::of(self.to));
        (from.min(to), from.max(to))
    }
}

/// What came of all connects.
pub(super) struct Connects {
    nodes: usize,
    joined: Joined,
    elapsed: Duration,
    pairs: Vec<Pair>,
}

/// Joins, waits until nodes know their NATs, and connects all pairs.
pub(super) async fn run(network: &Network, progress: &Progress) -> Connects {
    let joined = network.join(progress).await;
    progress.phase("learning", network.nodes.len() as u64);
    let _ = timeout(LEARN_BOUND, learn(&network.nodes)).await;
    let count = network.nodes.len() as u64;
    progress.phase("connecting", count * (count - 1) / 2);
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut connecting = JoinSet::new();
    for from in 0..network.nodes.len() {
        for to in from + 1..network.nodes.len() {
            // Each node begins about as often as it is asked.
            let (from, to) = if (from + to) % 2 == 0 { (from, to) } else { (to, from) };
            let (node, peer) = (network.nodes[from].clone(), network.nodes[to].id());
            let places = Arc::clone(&places);
            connecting.spawn(async move {
                let _place = places.acquire_owned().await;
                let had_edge = cascade::edge_to(&node, peer).await.is_some();
                let attempted = cascade::connect(&node, peer, Vec::new(), |_| {}).await;
                Pair { from: from as u32 + 1, to: to as u32 + 1, had_edge, attempted }
            });
        }
    }
    let mut pairs = Vec::new();
    while let Some(ended) = connecting.join_next().await {
        pairs.extend(ended.ok());
        progress.step();
    }
    pairs.sort_by_key(|pair| (pair.from, pair.to));
    let elapsed = now().saturating_duration_since(network.started);
    Connects { nodes: network.nodes.len(), joined, elapsed, pairs }
}

/// Waits until each node knows its address or its NAT, and whether it can be reached.
async fn learn(nodes: &[Node]) {
    for node in nodes {
        let begun: Instant = now();
        while now().saturating_duration_since(begun) < LEARN_BOUND {
            let report = node.nat_report().await.unwrap_or_default();
            if report.reachability != Reachability::Unknown {
                break;
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Outcomes of the pairs in one line of the table.
#[derive(Default)]
struct Line {
    pairs: usize,
    had_edge: usize,
    direct: usize,
    relayed: usize,
    failed: usize,
    times: Vec<Duration>,
}

impl Connects {
    /// Whether every node joined and every pair has an edge.
    pub(super) fn is_success(&self) -> bool {
        let has_edge = |pair: &Pair| !matches!(pair.attempted.outcome(), ConnectOutcome::Failed(_));
        self.joined.count == self.nodes && self.pairs.iter().all(has_edge)
    }

    fn lines(&self) -> BTreeMap<(Place, Place), Line> {
        let mut lines: BTreeMap<(Place, Place), Line> = BTreeMap::new();
        for pair in &self.pairs {
            let line = lines.entry(pair.places()).or_default();
            line.pairs += 1;
            line.had_edge += usize::from(pair.had_edge);
            match pair.attempted.outcome() {
                ConnectOutcome::Direct { .. } => line.direct += 1,
                ConnectOutcome::Relayed { .. } => line.relayed += 1,
                _ => line.failed += 1,
            }
            if !pair.had_edge {
                line.times.push(pair.attempted.took);
            }
        }
        lines.values_mut().for_each(|line| line.times.sort_unstable());
        lines
    }

    /// The table, or one JSON object.
    pub(super) fn result(&self, json: bool) -> String {
        if json {
            return format!("{}\n", self.object());
        }
        let mut text = String::new();
        let head = "pairs        pairs  direct  relayed  failed  edge before  median of others";
        let mut write = |line: String| writeln!(text, "{line}").expect("a string takes all text");
        write(format!("{} nodes, every second one behind a NAT; node 1 relays", self.nodes));
        write(head.to_owned());
        for ((a, b), line) in self.lines() {
            let name = format!("{}-{}", a.name(), b.name());
            let median = median(&line.times).map(|time| format!("{:.0} ms", ms(time)));
            let Line { pairs, had_edge, direct, relayed, failed, .. } = line;
            write(format!(
                "{name:12} {pairs:5}  {direct:6}  {relayed:7}  {failed:6}  {had_edge:11}  {}",
                median.unwrap_or_default()
            ));
        }
        write(format!("in all {:.1} s", self.elapsed.as_secs_f64()));
        text
    }

    fn object(&self) -> Value {
        let lines = self.lines();
        let places = lines.iter().map(|((a, b), line)| {
            json!({
                "a": a.name(),
                "b": b.name(),
                "pairs": line.pairs,
                "had_edge": line.had_edge,
                "direct": line.direct,
                "relayed": line.relayed,
                "failed": line.failed,
                "ms_p50": median(&line.times).map(ms),
            })
        });
        let connects = self.pairs.iter().map(|pair| {
            let mut fields = attempted(&pair.attempted);
            fields.remove("steps");
            fields.insert("from".to_owned(), pair.from.into());
            fields.insert("to".to_owned(), pair.to.into());
            fields.insert("had_edge".to_owned(), pair.had_edge.into());
            Value::Object(fields)
        });
        json!({
            "nodes": self.nodes,
            "joined": self.joined.count,
            "joined_ms": ms(self.joined.after),
            "places": places.collect::<Vec<_>>(),
            "connects": connects.collect::<Vec<_>>(),
            "elapsed_ms": ms(self.elapsed),
        })
    }

    /// Explains on standard error why pairs have no edge.
    pub(super) fn explain_failures(&self, err: &Output) {
        let failed = self.pairs.iter().filter_map(|pair| match pair.attempted.outcome() {
            ConnectOutcome::Failed(error) => Some((pair, error)),
            _ => None,
        });
        for (pair, error) in failed.take(FAILED_SHOWN) {
            let (from, to) = (pair.from, pair.to);
            match &pair.attempted.explanation {
                Some(why) => err.print(format_args!("node {from} to node {to}: {why}")),
                None => err.print(format_args!("node {from} to node {to}: {error}")),
            }
        }
    }
}

/// The middle one of these.
fn median(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_nodes_are_behind_boxes_of_each_kind_in_turn() {
        let places: Vec<Place> = (1..=8).map(Place::of).collect();
        use Place::{Easy, Hard, Linux, Open};
        assert_eq!(places, [Open, Linux, Open, Easy, Open, Hard, Open, Linux]);
    }
}
