//! State of the overlay world: hosts with their machines, the network between them, virtual time.

use std::time::Duration;

use indexmap::IndexMap;
use nodenet_proto::api::{self, Command, EdgeInfo, KnownPeer, RequestId, SeedPeer};
use nodenet_proto::env::{Random, Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::transport::{ConnId, Conns, PathInfo};
use nodenet_proto::{NodeId, quic};

use super::host::HostState;
use super::machine::{Factory, Machine, Spawn, engines};
use super::net::{Look, Net, NetConfig, Port};
use crate::clock::{Epoch, Moment};
use crate::crypto::Signatures;
use crate::hash::TraceHash;
use crate::net::{AddressPlan, HostSlot, Nat};
use crate::world::Host;
use crate::world::meters::Meters;
use crate::world::{Journal, Step, StepKind};
use crate::world::{Probes, Settled, Tracked};

/// Wall time at the start of every world: 2026-01-01T00:00:00Z.
const WALL_AT_START: i64 = 1_767_225_600_000_000_000;
/// Request id of commands whose outcome is not tracked.
const UNTRACKED: RequestId = RequestId(u64::MAX);

/// Settings of a world.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// The seed of all random streams.
    pub seed: u64,
    /// Which signatures the nodes use.
    pub signatures: Signatures,
    /// Share of packets that are lost.
    pub loss: f64,
    /// Largest difference of a wall clock from the true time.
    pub clock_skew_max: Duration,
    /// Steps from one check of a machine to the next; the machine that took the step is checked.
    pub check_every: u64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            signatures: Signatures::StandIn,
            loss: 0.0,
            clock_skew_max: Duration::from_secs(2),
            check_every: 256,
        }
    }
}

/// Settings of a new host.
#[derive(Debug, Clone)]
pub struct Join {
    /// Its NAT.
    pub nat: Nat,
    /// The hosts through which it joins.
    pub bootstrap: Vec<Host>,
    /// Its settings.
    pub config: api::Config,
}

/// Violation of an invariant: the run ends with it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} at t={at}: {what}")]
pub struct Violation {
    /// When.
    pub at: Moment,
    /// Where.
    pub host: Host,
    /// What is wrong.
    pub what: String,
}

pub(super) struct Process {
    pub(super) machine: Option<Box<dyn Machine>>,
    pub(super) master: [u8; 32],
    pub(super) config: api::Config,
    pub(super) started_at: Moment,
    pub(super) joined_at: Option<Moment>,
    pub(super) stopped_at: Option<Moment>,
    /// The host that the same node became when it was started again.
    pub(super) successor: Option<Host>,
}

/// Hosts, the network between them, and the time.
pub struct OverlayWorld {
    pub(super) config: WorldConfig,
    pub(super) seed: Seed,
    pub(super) epoch: Epoch,
    pub(super) net: Net,
    pub(super) processes: Vec<Process>,
    pub(super) live: IndexMap<Host, ()>,
    pub(super) factory: Factory,
    pub(super) plan: AddressPlan,
    pub(super) skews: Random,
    pub(super) probes: Probes,
    pub(super) journal: Journal,
    pub(super) trace: TraceHash,
    pub(super) steps: u64,
    /// How often each kind of step was taken, by its discriminant.
    pub(super) tally: [u64; StepKind::ALL.len() + 1],
    /// Host and time of the last timer that fired, and its count at that time.
    pub(super) spin: ((Host, Moment), u32),
}

impl OverlayWorld {
    /// An empty world of whole engines.
    pub fn new(config: WorldConfig) -> Self {
        Self::with_machines(config, engines())
    }

    /// An empty world whose machines `factory` makes.
    pub fn with_machines(config: WorldConfig, factory: Factory) -> Self {
        let seed = Seed::from_u64(config.seed);
        let salt = seed.stream("fates").next_u64();
        let accepted_conns_max = quic::Config::default().accepted_conns_max as u32;
        Self {
            net: Net::new(NetConfig { salt, loss: config.loss, accepted_conns_max }),
            plan: AddressPlan::new(&seed),
            skews: seed.stream("clock skew"),
            epoch: Epoch::capture(),
            processes: Vec::new(),
            live: IndexMap::new(),
            factory,
            probes: Probes::default(),
            journal: Journal::default(),
            trace: TraceHash::default(),
            steps: 0,
            tally: [0; StepKind::ALL.len() + 1],
            spin: ((Host(0), Moment::START), 0),
            config,
            seed,
        }
    }

    /// Starts a new node on that side of a partition where one of its bootstrap hosts is. On the
    /// other side it could not join.
    pub fn join(&mut self, join: Join) -> Result<Host, Violation> {
        let number = self.processes.len();
        let master = self.seed.child("identity", number as u64).bytes("master seed");
        let slot = self.plan.next_slot();
        let way_in = join.bootstrap.get(number % join.bootstrap.len().max(1));
        let side = way_in.map_or(0, |&host| self.side(host));
        self.start(master, slot, side, join)
    }

    /// Starts a node that crashed or left again: same identity, same address, same side of a
    /// partition, empty memory. Every host that the node ever was names it.
    ///
    /// # Panics
    /// If the node is still up, be it as another host. A node is never up twice.
    pub fn restart(&mut self, host: Host, bootstrap: Vec<Host>) -> Result<Host, Violation> {
        let latest = self.latest(host);
        assert!(!self.is_up(latest), "{latest} is still up");
        let process = &self.processes[latest.index()];
        let state = self.net.host_state(latest);
        let slot = HostSlot { addr: state.addr, attachment: state.attachment };
        let (nat, side) = (state.nat, state.side);
        let join = Join { nat, bootstrap, config: process.config.clone() };
        let master = process.master;
        let again = self.start(master, slot, side, join)?;
        self.processes[latest.index()].successor = Some(again);
        Ok(again)
    }

    /// The last host that this node was.
    pub(crate) fn latest(&self, host: Host) -> Host {
        let all = core::iter::successors(Some(host), |&host| self.successor(host));
        all.last().unwrap_or(host)
    }

    fn start(
        &mut self,
        master: [u8; 32],
        slot: HostSlot,
        side: u8,
        join: Join,
    ) -> Result<Host, Violation> {
        let identity = Identity::from_master_seed(&master);
        let mut state = HostState::new(identity.id(), *identity.public_key(), slot, join.nat);
        state.side = side;
        let host = self.net.add(state);
        self.note(host, StepKind::Join, 0, 0, None);
        let span = self.config.clock_skew_max.as_nanos() as u64;
        let skew = self.skews.below(2 * span + 1) as i64 - span as i64;
        let true_wall = WALL_AT_START + self.net.now.as_nanos() as i64;
        let machine = (self.factory)(Spawn {
            host,
            identity,
            config: join.config.clone(),
            crypto: self.config.signatures.crypto(&self.seed),
            seed: self.seed.child("node", u64::from(host.0)),
            now: self.epoch.instant(self.net.now),
            wall: UnixNanos(true_wall + skew),
        });
        // A host that starts while no other is up is the network. Every other host has to join it.
        let founds = self.live.is_empty();
        self.processes.push(Process {
            machine: Some(machine),
            master,
            config: join.config,
            started_at: self.net.now,
            joined_at: founds.then_some(self.net.now),
            stopped_at: None,
            successor: None,
        });
        self.live.insert(host, ());
        let local = self.local_addr(host);
        let now = self.epoch.instant(self.net.now);
        if let Some(machine) = &mut self.processes[host.index()].machine {
            machine.handle_local_addrs(now, &[local]);
        }
        let seeds = join.bootstrap.iter().map(|&seed| {
            let state = self.net.host_state(seed);
            SeedPeer { id: state.id, addrs: vec![state.addr.into()] }
        });
        let seeds = Command::Bootstrap(seeds.collect());
        self.command(host, seeds)?;
        Ok(host)
    }

    /// What the host believes to be its address: behind an easy NAT the confirmed outside of the
    /// mapping, behind a hard one only that of its interface: the outside differs for every peer.
    fn local_addr(&self, host: Host) -> std::net::SocketAddr {
        let state = self.net.host_state(host);
        match state.nat {
            Nat::Public | Nat::Easy => state.addr.into(),
            Nat::Hard => std::net::SocketAddr::from(([192, 168, 1, 2], state.addr.port())),
        }
    }

    /// Stops a node at once: its peers are not told.
    pub fn crash(&mut self, host: Host) {
        self.note(host, StepKind::Crash, 0, 0, None);
        self.remove(host);
    }

    /// Asks a node to leave. It stops once it has.
    pub fn leave(&mut self, host: Host) -> Result<(), Violation> {
        self.command(host, Command::Leave { request: UNTRACKED })
    }

    /// Splits the network: hosts for which `side` differs can not reach each other. Those that are
    /// down have a side as well, for they may start again.
    pub fn partition(&mut self, mut side: impl FnMut(Host) -> u8) {
        for (index, state) in self.net.host_states.iter_mut().enumerate() {
            state.side = side(Host(index as u32));
        }
        self.net.partition();
        self.note(Host(0), StepKind::Partition, 0, 0, None);
    }

    /// Joins the network again.
    pub fn heal(&mut self) {
        self.net.heal();
        self.note(Host(0), StepKind::Heal, 0, 0, None);
    }

    /// Sends a tracked message; its outcome stands in [`Self::probes`].
    pub fn send(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        let direct =
            self.net.host_state(from).attachment.latency(&self.net.host_state(to).attachment);
        let (request, payload) = self.probes.register(Tracked {
            from,
            to,
            sent_at: self.net.now,
            direct,
            settled: Settled::Pending,
            arrival: None,
            duplicates: 0,
        });
        let target = self.net.host_state(to).id;
        self.command(from, Command::Send { request, target, payload })
    }

    /// Gives a node a command. Nothing happens if it is down.
    pub fn command(&mut self, host: Host, command: Command) -> Result<(), Violation> {
        self.note(host, StepKind::Command, 0, 0, None);
        let now = self.epoch.instant(self.net.now);
        let Some(machine) = &mut self.processes[host.index()].machine else { return Ok(()) };
        machine.handle_command(now, command, &mut Port { net: &mut self.net, host });
        self.drain(host)
    }

    /// Carries out all events that are due until `end`, and moves the clock there.
    pub fn run_until(&mut self, end: Moment) -> Result<(), Violation> {
        while self.net.queue.next_at().is_some_and(|at| at <= end) {
            let Some((at, scheduled)) = self.net.queue.pop() else { break };
            self.net.now = at;
            self.on_scheduled(scheduled)?;
        }
        self.net.now = self.net.now.max(end);
        Ok(())
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) -> Result<(), Violation> {
        self.run_until(self.net.now + span)
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.net.now
    }

    /// Every host of the run, up or not.
    pub fn hosts(&self) -> impl Iterator<Item = Host> + use<> {
        (0..self.processes.len() as u32).map(Host)
    }

    /// Hosts that are up, in an order that depends on the run alone.
    pub fn live(&self) -> impl ExactSizeIterator<Item = Host> {
        self.live.keys().copied()
    }

    /// The host that is up and stands at this place among [`Self::live`].
    ///
    /// # Panics
    /// If fewer hosts are up.
    pub fn live_at(&self, place: usize) -> Host {
        *self.live.get_index(place).expect("the caller counted them").0
    }

    /// Whether a host is up.
    pub fn is_up(&self, host: Host) -> bool {
        self.processes[host.index()].machine.is_some()
    }

    /// When a host started.
    pub fn started_at(&self, host: Host) -> Moment {
        self.processes[host.index()].started_at
    }

    /// When the first sibling answer reached a host, if one did. A host that started while no other
    /// was up counts as joined from its start.
    pub fn joined_at(&self, host: Host) -> Option<Moment> {
        self.processes[host.index()].joined_at
    }

    /// When a host stopped, if it did.
    pub fn stopped_at(&self, host: Host) -> Option<Moment> {
        self.processes[host.index()].stopped_at
    }

    /// The host that the same node became when it was started again, if it was. That one may have
    /// stopped and been succeeded, too.
    pub fn successor(&self, host: Host) -> Option<Host> {
        self.processes[host.index()].successor
    }

    /// The identifier of a host.
    pub fn id(&self, host: Host) -> NodeId {
        self.net.host_state(host).id
    }

    /// The address at which the network knows a host. Others see it there, unless its NAT is hard.
    pub fn addr(&self, host: Host) -> std::net::SocketAddr {
        self.net.host_state(host).addr.into()
    }

    /// The NAT of a host.
    pub fn nat(&self, host: Host) -> Nat {
        self.net.host_state(host).nat
    }

    /// The half of the last partition that a host was in.
    pub fn side(&self, host: Host) -> u8 {
        self.net.host_state(host).side
    }

    /// The live edges of a host, nearest to it first; none if it is down.
    pub fn edges(&self, host: Host) -> Vec<EdgeInfo> {
        let machine = self.processes[host.index()].machine.as_ref();
        machine.map_or_else(Vec::new, |machine| machine.edges(&Look { net: &self.net, host }))
    }

    /// Path of a conn, by the id that `host` has for it.
    pub fn path(&self, host: Host, conn: ConnId) -> Option<PathInfo> {
        Look { net: &self.net, host }.path(conn)
    }

    /// The peers that a host would remember across a restart; none if it is down.
    pub fn export_peers(&self, host: Host) -> Vec<KnownPeer> {
        let look = Look { net: &self.net, host };
        self.machine(host).map_or_else(Vec::new, |machine| machine.export_peers(&look))
    }

    /// The machine of a host, unless it is down.
    pub fn machine(&self, host: Host) -> Option<&dyn Machine> {
        self.processes[host.index()].machine.as_deref()
    }

    /// Tracked messages.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Traffic and wake-ups of every host.
    pub fn meters(&self) -> &Meters {
        &self.net.meters
    }

    /// Sets all meters to zero.
    pub fn clear_meters(&mut self) {
        self.net.settle_acks();
        self.net.meters.clear();
    }

    /// Counts acknowledgements that are overdue, so that [`Self::meters`] is complete.
    pub fn settle_meters(&mut self) {
        self.net.settle_acks();
    }

    /// How often each kind of step was taken so far.
    pub fn tally(&self) -> impl Iterator<Item = (StepKind, u64)> {
        StepKind::ALL.into_iter().map(|kind| (kind, self.tally[kind as usize]))
    }

    /// The last steps.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Hash of all steps so far.
    pub fn trace(&self) -> &TraceHash {
        &self.trace
    }

    /// Checks every machine.
    ///
    /// # Panics
    /// If an invariant of one does not hold.
    pub fn check_all(&self) {
        for process in &self.processes {
            if let Some(machine) = &process.machine {
                machine.check();
            }
        }
    }

    pub(super) fn remove(&mut self, host: Host) {
        let process = &mut self.processes[host.index()];
        process.machine = None;
        process.stopped_at = Some(self.net.now);
        self.live.swap_remove(&host);
        self.net.crash(host);
    }

    pub(super) fn note(
        &mut self,
        host: Host,
        kind: StepKind,
        tag: u8,
        bytes: usize,
        conn: Option<ConnId>,
    ) {
        let at = self.net.now;
        self.trace.event(at, host.0, kind as u8);
        self.tally[kind as usize] += 1;
        self.trace.number((bytes as u64) << 8 | u64::from(tag));
        let conn = conn.map(|conn| (conn.0 >> 32) as u32);
        self.journal.push(Step { at, host, kind, tag, bytes: bytes as u32, conn });
    }

    pub(super) fn violation(&self, host: Host, what: String) -> Result<(), Violation> {
        Err(Violation { at: self.net.now, host, what })
    }
}
