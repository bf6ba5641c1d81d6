//! Runner of packet scenarios: makes the world, carries out the steps, judges expectations.
//!
//! Responsible for: order of steps, panics of nodes, the report. Never: what a step does to a
//! datagram; see [`crate::world::packet`].

mod expect;
mod failure;
pub mod scale;
pub mod shrink;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nodenet_proto::api::Profile;
use nodenet_proto::node::Config;
use nodenet_proto::testkit::net::NetStats;

use super::panic_message;
use crate::clock::Moment;
use crate::scenario::packet::{
    EarlyName, HostEntry, LinkChange, NetworkEntry, PacketScenario, PacketStage,
};
use crate::world::packet::{
    Gateway, HostDrops, HostSpec, NetworkId, NetworkSpec, PORT, PacketConfig, PacketWorld,
};
use crate::world::{Host, Violation};

pub use failure::{FailureKind, MessageFate, PacketFailure};

/// Steps from one check of a node to the next (guess: a check costs as much as a few steps).
const CHECK_EVERY: u64 = 64;
/// Interval of progress, in virtual time.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Result of a run in which every expectation held.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PacketReport {
    /// The scenario.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Virtual seconds.
    pub simulated_s: f64,
    /// Tracked messages sent.
    pub sent: usize,
    /// Tracked messages that arrived.
    pub delivered: usize,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Datagrams lost on links, at partitions and in boxes.
    pub datagrams_lost: u64,
    /// Datagrams that reached no socket, or left none.
    pub datagrams_dropped: u64,
    /// Expectations that held.
    pub held: Vec<String>,
    /// Events of the world.
    pub events: u64,
    /// Hash of all of them.
    pub trace_hash: String,
}

/// The execution of a packet scenario.
pub struct PacketRun {
    scenario: PacketScenario,
    world: PacketWorld,
    networks: BTreeMap<String, NetworkId>,
    hosts: BTreeMap<String, Host>,
    held: Vec<String>,
    progress: Box<dyn FnMut(Duration, Duration)>,
}

/// Why a step could not be carried out, or an expectation does not hold.
struct Fault {
    kind: FailureKind,
    what: String,
}

impl PacketScenario {
    /// Carries out the scenario.
    ///
    /// # Errors
    /// If it is not consistent, or an expectation or an invariant does not hold. The failure
    /// contains the command that replays the run.
    pub fn run(&self) -> Result<PacketReport, Box<PacketFailure>> {
        PacketRun::new(self.clone())?.finish()
    }
}

impl PacketRun {
    /// A run that has not begun.
    ///
    /// # Errors
    /// If the scenario is not consistent.
    pub fn new(scenario: PacketScenario) -> Result<Self, Box<PacketFailure>> {
        if let Err(error) = scenario.check() {
            let what = error.to_string();
            return Err(Box::new(PacketFailure::before(scenario, FailureKind::Invalid, what)));
        }
        let config = PacketConfig { seed: scenario.seed, check_every: CHECK_EVERY };
        let mut run = Self {
            world: PacketWorld::new(config),
            networks: BTreeMap::new(),
            hosts: BTreeMap::new(),
            held: Vec::new(),
            progress: Box::new(|_, _| {}),
            scenario,
        };
        for entry in run.scenario.networks.clone() {
            let id = run.world.add_network(run.network_spec(&entry));
            run.networks.insert(entry.name, id);
        }
        for entry in run.scenario.hosts.clone() {
            let host = run.world.add_host(run.host_spec(&entry));
            run.hosts.insert(entry.name, host);
        }
        Ok(run)
    }

    /// Calls `progress` about once a simulated second, with the time that passed and that of the
    /// whole run.
    pub fn on_progress(mut self, progress: impl FnMut(Duration, Duration) + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// The current state of the world.
    pub fn world(&self) -> &PacketWorld {
        &self.world
    }

    /// The host of this name.
    pub fn host(&self, name: &str) -> Option<Host> {
        self.hosts.get(name).copied()
    }

    /// Carries out all steps.
    ///
    /// # Errors
    /// If an expectation or an invariant does not hold, or a node panics.
    pub fn finish(mut self) -> Result<PacketReport, Box<PacketFailure>> {
        let mut timeline: Vec<(u64, usize, u32)> = Vec::new();
        for (index, entry) in self.scenario.steps.iter().enumerate() {
            match entry.step {
                PacketStage::Send { messages, every_ms, .. } => timeline.extend(
                    (0..messages).map(|nth| (entry.at_ms + every_ms * u64::from(nth), index, nth)),
                ),
                _ => timeline.push((entry.at_ms, index, 0)),
            }
        }
        timeline.sort_unstable();
        for (at_ms, index, _) in timeline {
            let step = self.scenario.steps[index].step.clone();
            let at = Moment::START + Duration::from_millis(at_ms);
            // A panic of a node is a failure of the run, reported with the journal.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                self.pass_until(at)?;
                self.carry_out(&step)
            }));
            let fault = match outcome {
                Ok(Ok(())) => continue,
                Ok(Err(fault)) => fault,
                Err(panic) => {
                    let what = panic_message(&*panic);
                    Fault { kind: FailureKind::Panicked(without_numbers(&what)), what }
                }
            };
            return Err(self.fail(fault, Some(index + 1)));
        }
        Ok(self.into_report())
    }

    fn pass_until(&mut self, end: Moment) -> Result<(), Fault> {
        let total = Duration::from_millis(self.scenario.span_ms());
        while self.world.now() < end {
            let stop = end.min(self.world.now() + TELL_EVERY);
            self.world.run_until(stop).map_err(|violation| self.violated(violation))?;
            (self.progress)(self.world.now().since(Moment::START), total);
        }
        Ok(())
    }

    fn carry_out(&mut self, step: &PacketStage) -> Result<(), Fault> {
        if let Some(outcome) = self.judge(step) {
            self.held.push(outcome?);
            return Ok(());
        }
        self.act(step)?.map_err(|violation| self.violated(violation))
    }

    fn act(&mut self, step: &PacketStage) -> Result<Result<(), Violation>, Fault> {
        Ok(match step {
            PacketStage::Start { host, bootstrap } => {
                let bootstrap: Vec<Host> = bootstrap.iter().map(|name| self.hosts[name]).collect();
                // A node that leaves may still be at it.
                if self.world.is_up(self.hosts[host]) {
                    self.world.crash(self.hosts[host]);
                }
                self.world.start(self.hosts[host], &bootstrap)
            }
            PacketStage::Crash { host } => {
                self.world.crash(self.hosts[host]);
                Ok(())
            }
            PacketStage::Leave { host } => self.world.leave(self.hosts[host]),
            PacketStage::Connect { from, to } => {
                self.world.connect(self.hosts[from], self.hosts[to])
            }
            PacketStage::Send { from, to, over, direct, .. } => {
                self.has_path(from, over, to)?;
                let (from, to) = (self.hosts[from], self.hosts[to]);
                if *direct { self.world.send_direct(from, to) } else { self.world.send(from, to) }
            }
            PacketStage::Roam { host, networks } => {
                let networks: Vec<_> = networks.iter().map(|name| self.networks[name]).collect();
                self.world.roam(self.hosts[host], &networks)
            }
            PacketStage::Sleep { host, monotonic_stands } => {
                self.world.sleep(self.hosts[host], *monotonic_stands);
                Ok(())
            }
            PacketStage::Wake { host } => self.world.wake(self.hosts[host]),
            PacketStage::Block { host, for_ms } => {
                let until = self.world.now() + Duration::from_millis(*for_ms);
                self.world.block(self.hosts[host], until);
                Ok(())
            }
            PacketStage::SetClock { host, by_ms } => {
                self.world.step_wall(self.hosts[host], *by_ms);
                Ok(())
            }
            network => {
                self.change_network(network);
                Ok(())
            }
        })
    }

    fn change_network(&mut self, step: &PacketStage) {
        match step {
            PacketStage::Reboot { network, new_address, early } => {
                let network = self.networks[network];
                self.world.reboot(network, *new_address);
                match early {
                    Some(EarlyName::Unknown) => self.world.send_early(network, false),
                    Some(EarlyName::Peers) => self.world.send_early(network, true),
                    None => {}
                }
            }
            PacketStage::SetLink { from, to, both_ways, link } => {
                let (from, to) = (self.hosts[from], self.hosts[to]);
                self.set_link(from, to, link);
                if *both_ways {
                    self.set_link(to, from, link);
                }
            }
            PacketStage::Partition { hosts } => {
                let hosts: Vec<Host> = hosts.iter().map(|name| self.hosts[name]).collect();
                self.world.partition(&hosts);
            }
            PacketStage::Heal => self.world.heal(),
            _ => {}
        }
    }

    fn set_link(&mut self, from: Host, to: Host, change: &LinkChange) {
        if let Some(before) = self.world.link(from, to) {
            self.world.set_link(from, to, change.applied(before));
        }
    }

    fn network_spec(&self, entry: &NetworkEntry) -> NetworkSpec {
        NetworkSpec {
            name: entry.name.clone(),
            behind: entry.behind.as_ref().map(|name| self.networks[name]),
            gateway: match &entry.nat {
                None => Gateway::Open,
                Some(nat) if nat.translates() => Gateway::Nat(nat.kind()),
                Some(nat) => Gateway::Firewall(nat.kind()),
            },
            access: entry.access.profile(),
            inside: entry.inside.profile(),
            ipv4: entry.ipv4,
            ipv6: entry.ipv6,
            clat: entry.clat,
        }
    }

    fn host_spec(&self, entry: &HostEntry) -> HostSpec {
        let mut config = Config::default();
        config.engine.maintenance = entry.maintenance;
        config.engine.profile = if entry.light { Profile::Light } else { Profile::Router };
        HostSpec {
            name: entry.name.clone(),
            networks: entry.networks.iter().map(|name| self.networks[name]).collect(),
            starts_before: 0,
            port: PORT,
            config,
            wall_offset_ms: entry.clock_offset_ms,
            clock_rate_ppm: entry.clock_rate_ppm,
        }
    }

    fn violated(&self, Violation { host, what, .. }: Violation) -> Fault {
        let name = self.world.name(host).to_owned();
        let kind = FailureKind::Violated { host: name.clone(), what: without_numbers(&what) };
        Fault { kind, what: format!("{name}: {what}") }
    }

    fn fail(self, Fault { kind, what }: Fault, step: Option<usize>) -> Box<PacketFailure> {
        Box::new(PacketFailure {
            kind,
            what,
            step,
            at: self.world.now(),
            events: self.world.trace().events(),
            journal: self.world.journal().clone(),
            names: self.world.hosts().map(|host| self.world.name(host).to_owned()).collect(),
            scenario: self.scenario,
            file: None,
        })
    }

    fn into_report(self) -> PacketReport {
        let tracked = self.world.probes().tracked();
        let NetStats { sent, lost, overflowed, too_long, cut, filtered, expired, .. } =
            self.world.net().stats();
        let HostDrops { unreachable, stale_source, absent, asleep, closed, .. } =
            self.world.drops();
        PacketReport {
            simulated_s: self.world.now().since(Moment::START).as_secs_f64(),
            sent: tracked.len(),
            delivered: tracked.iter().filter(|message| message.arrival.is_some()).count(),
            datagrams: sent,
            datagrams_lost: lost + overflowed + too_long + cut + filtered + expired,
            datagrams_dropped: unreachable + stale_source + absent + asleep + closed,
            held: self.held,
            events: self.world.trace().events(),
            trace_hash: format!("{:016x}", self.world.trace().value()),
            name: self.scenario.name,
            seed: self.scenario.seed,
        }
    }
}

/// A text without its numbers, which differ between runs that fail in the same way.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}
