//! One connect between two whole nodes behind given kinds of access.
//!
//! Responsible for: a small network of public nodes, two hosts behind their boxes, one connect from
//! the first to the second, and what came of it; the matrix of all kinds. Never: output.
//!
//! No node dials on its own. The two hosts have edges to all public nodes and none to each other,
//! as two nodes of a large network that never met.

use std::time::Duration;

#[cfg(test)]
use nodenet_proto::api::EdgeInfo;
use nodenet_proto::api::{
    BootstrapPeer, Command, ConnectOutcome, ConnectStepKind, Event, Explanation, Obstacle as Told,
    RelayPolicy,
};
use nodenet_proto::node::Config;
use nodenet_proto::testkit::nat_box::{BoxKind, NatDrop};
use nodenet_proto::testkit::{LinkProfile, LossBursts};

use crate::hash::{TraceHash, below, fate};
use crate::net::access::{Access, Shared};
use crate::net::matrix::{Matrix, Run};
use crate::net::oracle::{Obstacle, direct_path_between};
use crate::world::packet::{Gateway, HostSpec, NetworkId, NetworkSpec, PacketConfig, PacketWorld};
use crate::world::{Host, Violation};

/// Public nodes: enough that a NAT which gives each of them another port is told from one that
/// lies (PROTOCOL.md#nat-behaviour).
const PUBLIC_NODES: usize = 6;
/// Those of them that relay.
const VOLUNTEERS: usize = 2;
/// Public nodes to which neither host has an edge: a large network has many of them.
const UNCONNECTED: usize = 2;
/// Until every edge is up and every address is known.
const SETTLE: Duration = Duration::from_secs(20);
/// Routers on the way from a host to the middle of the internet (a guess).
const HOPS: u8 = 6;
/// Longer than a connect takes at most.
const END: Duration = Duration::from_secs(16);

/// A direct path is tried beside a relay until then (PROTOCOL.md#upgrades): two seconds, and an
/// attempt.
const UPGRADED: Duration = Duration::from_secs(14);

/// Losses between any two hosts, in each direction, from the connect on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Losses {
    /// None.
    None,
    /// This share of datagrams, each on its own.
    Independent(f64),
    /// This share of datagrams, in bursts of this many on average.
    Bursts(f64, f64),
}

impl Losses {
    fn apply(self, link: LinkProfile) -> LinkProfile {
        match self {
            Self::None => link,
            Self::Independent(loss) => LinkProfile { loss, ..link },
            Self::Bursts(share, mean) => {
                let end = 1.0 / mean;
                let begin = end * share / (1.0 - share);
                LinkProfile { bursts: Some(LossBursts { begin, end, loss: 1.0 }), ..link }
            }
        }
    }
}

/// What is around the two hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Losses on the way between them.
    pub losses: Losses,
    /// New flows a second that other hosts begin behind each of their outermost boxes.
    pub background: u32,
}

impl Conditions {
    /// No losses, and no other host.
    pub const IDEAL: Self = Self { losses: Losses::None, background: 0 };
}

/// What came of a connect.
#[derive(Debug, Clone)]
pub struct PairOutcome {
    /// From the command to the first byte of a message that the second host got over the edge.
    pub took: Option<Duration>,
    /// Whether the edge is relayed.
    pub is_relayed: bool,
    /// A round trip between the two hosts.
    pub round_trip: Duration,
    /// A rendezvous of the first host with the second, just before.
    pub rendezvous: Duration,
    /// Datagrams in the whole network from the command to the first byte.
    pub packets: u32,
    /// Datagrams that reached a router before a host behind it had sent, and that it took for
    /// itself.
    pub early: u64,
    /// What the first node says about it.
    pub explanation: Option<Explanation>,
}

/// Connects whole nodes of every ordered pair of kinds, with `seeds` seeds from `seed` on.
/// `progress` is called before each pair with its number and the number of all.
///
/// # Errors
/// As [`connect_pair`].
pub fn matrix(
    kinds: &[Access],
    seed: u64,
    seeds: u32,
    conditions: Conditions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Matrix, Violation> {
    Matrix::run_with(kinds, seed, seeds, progress, &mut |a, b, _, seed| {
        let PairOutcome { took, is_relayed, round_trip, packets, early, explanation, .. } =
            connect_pair(seed, a, b, conditions)?;
        let (_, truth) = direct_path_between(a.reach(), b.reach(), a.relation(b));
        let outcome = explanation.as_ref().and_then(|explanation| explanation.outcome);
        let is_connected =
            outcome.is_some_and(|outcome| !matches!(outcome, ConnectOutcome::Failed(_)));
        let told = explanation.and_then(|explanation| explanation.obstacle);
        let told = told.map(|told| (told.to_string(), is_true(told, truth)));
        Ok(Run { is_connected, is_relayed, took, round_trip, packets, early, told })
    })
}

/// Connects a host behind `a` to one behind `b`.
///
/// # Errors
/// If an invariant of a node does not hold, or the network around them does not come up.
pub fn connect_pair(
    seed: u64,
    a: &Access,
    b: &Access,
    conditions: Conditions,
) -> Result<PairOutcome, Violation> {
    let mut pair = Pair::new(seed, a, b);
    pair.background(conditions.background);
    pair.join()?;
    pair.lose(conditions.losses);
    pair.connect()
}

/// Whether a node that tells this tells the truth, as far as it can know it: it does not see why a
/// peer is silent.
fn is_true(told: Told, truth: Option<Obstacle>) -> bool {
    match truth {
        None => false,
        Some(Obstacle::NoUdp) => matches!(told, Told::NoRoute | Told::NoAnswer),
        Some(Obstacle::NoCommonFamily) => told == Told::NoCommonFamily,
        Some(Obstacle::NoHairpinning) => told == Told::NoHairpinning,
        Some(Obstacle::ChangingPort) => {
            matches!(told, Told::OwnChangingPort | Told::PeerChangingPort)
        }
        Some(Obstacle::ChangingPorts) => told == Told::ChangingPorts,
    }
}

struct Pair {
    world: PacketWorld,
    public: Vec<Host>,
    unconnected: Vec<Host>,
    hosts: [Host; 2],
    gateways: Vec<NetworkId>,
    round_trip: Duration,
    is_lossy: bool,
}

impl Pair {
    fn new(seed: u64, a: &Access, b: &Access) -> Self {
        let mut label = TraceHash::default();
        label.bytes(format!("{} {}", a.name, b.name).as_bytes());
        let seed = fate(seed, label.value(), 0);
        let mut world = PacketWorld::new(PacketConfig { seed, check_every: 1 << 12 });
        // From a few hosts in one country to two continents (a guess): half of it on each side.
        let latency = Duration::from_millis(3 + below(seed, 35));
        let access = LinkProfile { latency, hops: HOPS, ..LinkProfile::IDEAL };
        let mut public = Vec::new();
        for number in 0..PUBLIC_NODES {
            let name = format!("public {number}");
            let network = world.add_network(network(&name, None, Gateway::Open, access));
            let host = world.add_host(HostSpec::new(&name, network, quiet()));
            if number < VOLUNTEERS {
                let relay = RelayPolicy { volunteer: true, ..RelayPolicy::default() };
                let public_addrs = world.local_addrs(host);
                world.configure(host, |config| {
                    (config.engine.relay, config.engine.public_addrs) = (relay, public_addrs);
                });
            }
            public.push(host);
        }
        let first = Position::new(&mut world, "a", a, access, None);
        let second = Position::new(&mut world, "b", b, access, Some((a, &first)));
        let hosts = [(&first, "host a"), (&second, "host b")].map(|(position, name)| {
            world.add_host(HostSpec::new(name, position.innermost, quiet()))
        });
        let unconnected = |number| {
            let name = format!("unconnected {number}");
            let network = world.add_network(network(&name, None, Gateway::Open, access));
            world.add_host(HostSpec::new(&name, network, quiet()))
        };
        let unconnected = (0..UNCONNECTED).map(unconnected).collect();
        let gateways = first.networks.iter().chain(&second.networks).copied().collect();
        world.keep_events();
        let round_trip = 4 * latency;
        Self { world, public, unconnected, hosts, gateways, round_trip, is_lossy: false }
    }

    /// Every public node gets an edge to every other, and both hosts get edges to them.
    fn join(&mut self) -> Result<(), Violation> {
        let all: Vec<Host> = self.hosts.iter().chain(&self.public).copied().collect();
        for host in &all {
            self.world.start(*host, &[])?;
        }
        for (at, to) in self.public.iter().enumerate() {
            for from in self.hosts.iter().chain(&self.public[at + 1..]) {
                self.world.connect(*from, *to)?;
            }
        }
        self.world.run_for(SETTLE)?;
        self.introduce()?;
        self.world.take_seen();
        Ok(())
    }

    /// Other hosts are behind the boxes, too.
    fn background(&mut self, flows_per_s: u32) {
        for gateway in &self.gateways {
            self.world.set_background(*gateway, flows_per_s);
        }
    }

    /// Both hosts know the nodes without an edge, as nodes that an operator named.
    fn introduce(&mut self) -> Result<(), Violation> {
        for node in self.unconnected.clone() {
            self.world.start(node, &[])?;
            let (id, addrs) = (self.world.id(node), self.world.local_addrs(node));
            for host in self.hosts {
                let peers = vec![BootstrapPeer { id, addrs: addrs.clone() }];
                self.world.command(host, Command::Bootstrap(peers))?;
            }
        }
        Ok(())
    }

    fn lose(&mut self, losses: Losses) {
        if losses == Losses::None {
            return;
        }
        self.is_lossy = true;
        let all: Vec<Host> = self.hosts.iter().chain(&self.public).copied().collect();
        for from in &all {
            for to in all.iter().filter(|to| *to != from) {
                if let Some(link) = self.world.link(*from, *to) {
                    self.world.set_link(*from, *to, losses.apply(link));
                }
            }
        }
    }

    fn connect(&mut self) -> Result<PairOutcome, Violation> {
        let [a, b] = self.hosts;
        let rendezvous = self.rendezvous()?;
        let (begin, early, sent) = (self.world.now(), self.early(), self.sent());
        let (request, target) = (self.world.next_request(), self.world.id(b));
        self.world.command(a, Command::Connect { request, target, addrs: Vec::new() })?;
        let end = begin + END;
        // With the answer of the second host both have sent, and nothing comes too early any more.
        let is_answered = |world: &PacketWorld| {
            let explanation = world.explain(a, b);
            let mut steps = explanation.iter().flat_map(|explanation| &explanation.steps);
            steps.any(|step| {
                matches!(step.kind, ConnectStepKind::Answered(_) | ConnectStepKind::Ended(_))
            })
        };
        self.world.run_until_met(end, is_answered)?;
        let early = self.early() - early;
        let is_settled = |world: &PacketWorld| {
            world.explain(a, b).is_some_and(|explanation| explanation.outcome.is_some())
        };
        self.world.run_until_met(end, is_settled)?;
        let number = self.world.probes().tracked().len();
        self.world.send_direct(a, b)?;
        let has_arrived = |world: &PacketWorld| world.probes().tracked()[number].arrival.is_some();
        if self.world.has_edge(a, b) {
            self.world.run_until_met(end, has_arrived)?;
        }
        let arrival = self.world.probes().tracked()[number].arrival;
        if self.is_lossy && self.is_relayed() {
            let end = self.world.now() + UPGRADED;
            let peer = self.world.id(b);
            let is_direct = |world: &PacketWorld| {
                world.edges(a).iter().any(|edge| edge.peer == peer && edge.relayed_by.is_none())
            };
            self.world.run_until_met(end, is_direct)?;
        }
        let packets = (self.sent() - sent) as u32;
        let explanation = self.world.explain(a, b);
        let outcome = explanation.as_ref().and_then(|explanation| explanation.outcome);
        Ok(PairOutcome {
            took: arrival.map(|arrival| arrival.at.since(begin)),
            is_relayed: match outcome {
                Some(ConnectOutcome::Failed(_)) | None => false,
                Some(_) => self.is_relayed(),
            },
            round_trip: self.round_trip,
            rendezvous,
            packets,
            early,
            explanation,
        })
    }

    /// Whether the edge from the first host to the second is relayed.
    fn is_relayed(&self) -> bool {
        let peer = self.world.id(self.hosts[1]);
        let edges = self.world.edges(self.hosts[0]);
        edges.iter().any(|edge| edge.peer == peer && edge.relayed_by.is_some())
    }

    /// Both hosts connect to each other at once. Returns the edges of each to the other.
    #[cfg(test)]
    fn connect_both(&mut self) -> Result<[Vec<EdgeInfo>; 2], Violation> {
        let [a, b] = self.hosts;
        for (from, to) in [(a, b), (b, a)] {
            let (request, target) = (self.world.next_request(), self.world.id(to));
            self.world.command(from, Command::Connect { request, target, addrs: Vec::new() })?;
        }
        self.world.run_for(END)?;
        Ok([(a, b), (b, a)].map(|(from, to)| {
            let id = self.world.id(to);
            self.world.edges(from).into_iter().filter(|edge| edge.peer == id).collect()
        }))
    }

    /// Measures a rendezvous. Zero if there is none.
    fn rendezvous(&mut self) -> Result<Duration, Violation> {
        let [a, b] = self.hosts;
        let begin = self.world.now();
        self.world.ask(a, b, Duration::from_secs(5))?;
        self.world.run_for(Duration::from_secs(1))?;
        let found = self
            .world
            .take_seen()
            .into_iter()
            .find(|seen| seen.host == a && matches!(seen.event, Event::Found { .. }));
        Ok(found.map_or(Duration::ZERO, |seen| seen.at.since(begin)))
    }

    fn early(&self) -> u64 {
        let gateways = self.gateways.iter().filter_map(|network| self.world.gateway(*network));
        gateways.map(|gateway| gateway.drops(NatDrop::ToTheBox)).sum()
    }

    /// Datagrams of all hosts so far.
    fn sent(&self) -> u64 {
        self.world.net().stats().sent
    }
}

/// Where a host is.
struct Position {
    /// Its networks, from the outermost to its own.
    networks: Vec<NetworkId>,
    innermost: NetworkId,
}

impl Position {
    /// The networks of a kind, some of which may be there for the other host.
    fn new(
        world: &mut PacketWorld,
        name: &str,
        kind: &Access,
        access: LinkProfile,
        other: Option<(&Access, &Self)>,
    ) -> Self {
        let same = other.filter(|(other, _)| other.name == kind.name).map(|(_, place)| place);
        let shared = match (kind.shared, same) {
            (Shared::Lan, Some(place)) => place.networks.len(),
            (Shared::Carrier, Some(_)) => 1,
            _ => 0,
        };
        let mut networks: Vec<NetworkId> =
            same.map(|place| place.networks[..shared].to_vec()).unwrap_or_default();
        let latency = Duration::from_micros(200);
        let lan = LinkProfile { latency, hops: 0, ..LinkProfile::IDEAL };
        for (depth, step) in kind.boxes.iter().rev().enumerate().skip(shared) {
            let gateway = if step.is_translator {
                Gateway::Nat(step.kind.clone())
            } else {
                Gateway::Firewall(step.kind.clone())
            };
            let outside = networks.last().copied();
            let way = if depth == 0 { access } else { lan };
            let is_nat64 = matches!(step.kind, BoxKind::Nat64(_));
            let spec = NetworkSpec {
                ipv4: kind.families.has_v4(),
                ipv6: kind.families.has_v6(),
                clat: is_nat64,
                inside: lan,
                ..network(&format!("{name} {depth}"), outside, gateway, way)
            };
            networks.push(world.add_network(spec));
        }
        let innermost = networks.last().copied().unwrap_or_else(|| {
            let spec = NetworkSpec {
                ipv6: kind.families.has_v6(),
                ipv4: kind.families.has_v4(),
                ..network(&format!("{name} open"), None, Gateway::Open, access)
            };
            world.add_network(spec)
        });
        Self { networks, innermost }
    }
}

fn network(
    name: &str,
    behind: Option<NetworkId>,
    gateway: Gateway,
    access: LinkProfile,
) -> NetworkSpec {
    let inside = LinkProfile::LAN;
    let name = name.to_owned();
    NetworkSpec { name, behind, gateway, access, inside, ipv4: true, ipv6: true, clat: false }
}

fn quiet() -> Config {
    let mut config = Config::default();
    config.engine.maintenance = false;
    config
}

#[cfg(test)]
mod tests;
