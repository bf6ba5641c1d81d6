//! Packet world of many drawn hosts, behind the interface of [`World`].
//!
//! Responsible for: drawing networks and clocks of hosts that have no name of their own, so that
//! the scenarios of the overlay world run on whole nodes. Never: an event of its own.
//!
//! Each host has an access of its own, and a NAT box of its own if it is behind one. A node that
//! starts again is another host with the same name, so it has the same identity and addresses.

use std::time::Duration;

use indexmap::IndexMap;
use nodenet_proto::NodeId;
use nodenet_proto::api::EdgeInfo;
use nodenet_proto::env::{Random, Seed};
use nodenet_proto::node::Config;
use nodenet_proto::stats::Stats;
use nodenet_proto::testkit::{BoxKind, LinkProfile, NatConfig};

use super::journal::{PacketStep, PacketStepKind};
use super::networks::{Gateway, NetworkId, NetworkSpec};
use super::world::{HostSpec, PORT, PacketConfig, PacketWorld};
use crate::clock::Moment;
use crate::hash::TraceHash;
use crate::net::Nat;
use crate::world::{
    Host, Join, Journal, MESSAGE_TIME, Meters, Probes, Step, StepKind, Violation, World,
};

/// Access delay of a host: 2 to 80 ms one way, so that two hosts are 82 ms apart on average (guess:
/// as in the overlay world).
const ACCESS_MS: core::ops::RangeInclusive<u64> = 2..=80;
/// Jitter of an access (guess).
const JITTER: Duration = Duration::from_millis(2);
/// Life of a mapping without traffic (`nf_conntrack_udp_timeout_stream` of Linux).
const MAPPING_LIFETIME: Duration = Duration::from_secs(120);

/// Settings of a [`PacketSwarm`].
#[derive(Debug, Clone, Copy)]
pub struct SwarmConfig {
    /// The seed of all random streams.
    pub seed: u64,
    /// Share of datagrams that are lost.
    pub loss: f64,
    /// Largest difference of a wall clock from the true time.
    pub clock_skew_max: Duration,
    /// Steps from one check of a node to the next; the node that took the step is checked.
    pub check_every: u64,
}

/// One process of a node.
#[derive(Debug, Clone)]
struct Process {
    name: String,
    network: NetworkId,
    config: Config,
    starts: u64,
    nat: Nat,
    side: u8,
    /// Whether no other node was up when it started.
    founds: bool,
    successor: Option<Host>,
}

/// A packet world of hosts that are drawn.
pub struct PacketSwarm {
    world: PacketWorld,
    config: SwarmConfig,
    accesses: Random,
    skews: Random,
    processes: Vec<Process>,
    live: IndexMap<Host, ()>,
    leaving: Vec<Host>,
    is_split: bool,
}

impl PacketSwarm {
    /// An empty world.
    pub fn new(config: SwarmConfig) -> Self {
        let SwarmConfig { seed, check_every, .. } = config;
        let streams = Seed::from_u64(seed).child("packet swarm", 0);
        Self {
            world: PacketWorld::new(PacketConfig { seed, check_every }),
            config,
            accesses: streams.stream("accesses"),
            skews: streams.stream("clock skew"),
            processes: Vec::new(),
            live: IndexMap::new(),
            leaving: Vec::new(),
            is_split: false,
        }
    }

    /// The world below.
    pub fn world(&self) -> &PacketWorld {
        &self.world
    }

    fn network_of(&mut self, name: &str, nat: Nat) -> NetworkId {
        let span = ACCESS_MS.end() - ACCESS_MS.start();
        let latency = Duration::from_millis(ACCESS_MS.start() + self.accesses.below(span + 1));
        // Both accesses of a path together lose this share. A square root is exact everywhere
        // (IEEE 754).
        let loss = 1.0 - (1.0 - self.config.loss).sqrt();
        let kind = nat.kind();
        let translator = BoxKind::Translator(NatConfig {
            mapping: kind.mapping,
            filtering: kind.filtering,
            allocation: kind.allocation,
            lifetime: MAPPING_LIFETIME,
            inbound_refresh: true,
            ..NatConfig::default()
        });
        self.world.add_network(NetworkSpec {
            name: name.to_owned(),
            behind: None,
            gateway: if nat == Nat::Public { Gateway::Open } else { Gateway::Nat(translator) },
            access: LinkProfile { latency, jitter: JITTER, loss, ..LinkProfile::IDEAL },
            inside: LinkProfile::LAN,
            ipv4: true,
            ipv6: false,
            clat: false,
        })
    }

    fn start(&mut self, process: Process, bootstrap: &[Host]) -> Result<Host, Violation> {
        let span = self.config.clock_skew_max.as_millis() as u64;
        let wall_offset_ms = self.skews.below(2 * span + 1) as i64 - span as i64;
        let host = self.world.add_host(HostSpec {
            name: process.name.clone(),
            networks: vec![process.network],
            starts_before: process.starts,
            port: PORT,
            config: process.config.clone(),
            wall_offset_ms,
            clock_rate_ppm: 0,
        });
        let founds = self.live.is_empty();
        self.processes.push(Process { starts: process.starts + 1, founds, ..process });
        self.live.insert(host, ());
        self.split_again();
        self.world.start(host, bootstrap)?;
        Ok(host)
    }

    /// Gives hosts that started during a partition their side.
    fn split_again(&mut self) {
        if self.is_split {
            self.world.heal();
            let hosts = self.world.hosts();
            let one: Vec<Host> = hosts.filter(|host| self.side(*host) == 1).collect();
            self.world.partition(&one);
        }
    }

    fn remove_left(&mut self) {
        for host in std::mem::take(&mut self.leaving) {
            match self.world.is_up(host) {
                true => self.leaving.push(host),
                false => drop(self.live.swap_remove(&host)),
            }
        }
    }
}

impl World for PacketSwarm {
    fn join(&mut self, join: Join) -> Result<Host, Violation> {
        let number = self.processes.len();
        let name = format!("host {number}");
        let way_in = join.bootstrap.get(number % join.bootstrap.len().max(1));
        let side = way_in.map_or(0, |&host| self.side(host));
        let network = self.network_of(&name, join.nat);
        let process = Process {
            name,
            network,
            config: Config { engine: join.config, ..Config::default() },
            starts: 0,
            nat: join.nat,
            side,
            founds: false,
            successor: None,
        };
        self.start(process, &join.bootstrap)
    }

    fn restart(&mut self, host: Host, bootstrap: Vec<Host>) -> Result<Host, Violation> {
        let latest = self.latest(host);
        assert!(!self.is_up(latest), "{latest} is still up");
        let process = Process { successor: None, ..self.processes[latest.index()].clone() };
        let again = self.start(process, &bootstrap)?;
        self.processes[latest.index()].successor = Some(again);
        Ok(again)
    }

    fn crash(&mut self, host: Host) {
        self.world.crash(host);
        self.live.swap_remove(&host);
    }

    fn leave(&mut self, host: Host) -> Result<(), Violation> {
        self.leaving.push(host);
        self.world.leave(host)
    }

    fn send(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        self.world.send(from, to)
    }

    fn ask(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        self.world.ask(from, to, MESSAGE_TIME)
    }

    fn connect(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        self.world.connect_by_id(from, to)
    }

    fn silence(&mut self, host: Host) {
        panic!("the scenario was checked: {host} is a whole node, and drops nothing");
    }

    fn partition(&mut self, side: &mut dyn FnMut(Host) -> u8) {
        for (index, process) in self.processes.iter_mut().enumerate() {
            process.side = side(Host(index as u32));
        }
        self.is_split = true;
        self.split_again();
    }

    fn heal(&mut self) {
        self.is_split = false;
        self.world.heal();
    }

    fn run_until(&mut self, end: Moment) -> Result<(), Violation> {
        let outcome = self.world.run_until(end);
        self.remove_left();
        outcome
    }

    fn now(&self) -> Moment {
        self.world.now()
    }

    fn hosts_len(&self) -> u32 {
        self.processes.len() as u32
    }

    fn live_len(&self) -> usize {
        self.live.len()
    }

    fn live_at(&self, index: usize) -> Host {
        *self.live.get_index(index).expect("the caller counted them").0
    }

    fn is_up(&self, host: Host) -> bool {
        self.world.is_up(host)
    }

    fn started_at(&self, host: Host) -> Moment {
        self.world.started_at(host)
    }

    fn joined_at(&self, host: Host) -> Option<Moment> {
        match self.processes[host.index()].founds {
            true => Some(self.world.started_at(host)),
            false => self.world.joined_at(host),
        }
    }

    fn stopped_at(&self, host: Host) -> Option<Moment> {
        self.world.stopped_at(host)
    }

    fn successor(&self, host: Host) -> Option<Host> {
        self.processes[host.index()].successor
    }

    fn id(&self, host: Host) -> NodeId {
        self.world.id(host)
    }

    fn nat(&self, host: Host) -> Nat {
        self.processes[host.index()].nat
    }

    fn side(&self, host: Host) -> u8 {
        self.processes[host.index()].side
    }

    fn edges(&self, host: Host) -> Vec<EdgeInfo> {
        self.world.edges(host)
    }

    fn stats(&self, host: Host) -> Option<Stats> {
        self.world.node(host).map(|node| node.stats())
    }

    fn gauges(&self, host: Host) -> Vec<(&'static str, u64)> {
        self.stats(host).map_or_else(Vec::new, |stats| stats.gauges.named().collect())
    }

    fn probes(&self) -> &Probes {
        self.world.probes()
    }

    fn meters(&self) -> &Meters {
        self.world.meters()
    }

    fn clear_meters(&mut self) {
        self.world.clear_meters();
    }

    fn settle_meters(&mut self) {}

    fn tally(&self, kind: StepKind) -> u64 {
        let of = |own: &PacketStepKind| self.world.tally(*own);
        PacketStepKind::ALL.iter().filter(|own| kind_of(**own) == Some(kind)).map(of).sum()
    }

    fn journal(&self) -> Journal {
        let mut journal = Journal::default();
        for PacketStep { at, host, kind, bytes, .. } in self.world.journal().steps() {
            if let (Some(host), Some(kind)) = (*host, kind_of(*kind)) {
                journal.push(Step { at: *at, host, kind, tag: 0, bytes: *bytes, conn: None });
            }
        }
        journal
    }

    fn trace(&self) -> &TraceHash {
        self.world.trace()
    }

    fn check_all(&self) {
        self.world.check_all();
    }
}

/// The step of the overlay world that is like one of this world.
fn kind_of(kind: PacketStepKind) -> Option<StepKind> {
    Some(match kind {
        PacketStepKind::Start => StepKind::Join,
        PacketStepKind::Crash => StepKind::Crash,
        PacketStepKind::Left => StepKind::Left,
        PacketStepKind::Command => StepKind::Command,
        PacketStepKind::Timeout => StepKind::Timeout,
        PacketStepKind::Datagram => StepKind::Frame,
        PacketStepKind::Event => StepKind::Event,
        PacketStepKind::Writable => StepKind::Writable,
        PacketStepKind::Partition => StepKind::Partition,
        PacketStepKind::Heal => StepKind::Heal,
        PacketStepKind::Sent
        | PacketStepKind::Roam
        | PacketStepKind::Sleep
        | PacketStepKind::Wake
        | PacketStepKind::Block
        | PacketStepKind::ClockSet
        | PacketStepKind::Reboot
        | PacketStepKind::LinkSet
        | PacketStepKind::Injected => return None,
    })
}
