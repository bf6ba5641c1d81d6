//! State of the overlay world: hosts with their machines, the network between them, virtual time.

use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use nodenet_proto::api::{self, BootstrapPeer, Command, EdgeInfo, KnownPeer, RequestId};
use nodenet_proto::env::{Random, Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::stats::Stats;
use nodenet_proto::transport::{ConnId, Conns, PathInfo};
use nodenet_proto::{NodeId, quic};

use super::host::HostState;
use super::host_conns::{HostConns, ReadOnlyConns};
use super::machine::{Factory, Machine, Spawn, engines};
use super::net::{Net, NetConfig};
use crate::clock::{Epoch, Moment};
use crate::crypto::Signatures;
use crate::hash::TraceHash;
use crate::net::{AddressPlan, HostSlot, Nat};
use crate::world::{
    CONNECT_TIME, Host, Join, Journal, MESSAGE_TIME, Meters, Probes, Settled, Step, StepKind,
    Tracked, Violation, World,
};

/// Wall time at the start of every world: 2026-01-01T00:00:00Z.
const WALL_AT_START: i64 = 1_767_225_600_000_000_000;
/// Request id of commands whose outcome is not tracked.
const UNTRACKED: RequestId = RequestId(u64::MAX);

/// Settings of a world.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// The seed of all random streams.
    pub seed: u64,
    /// Kind of signatures.
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

pub(super) struct Process {
    pub(super) machine: Option<Box<dyn Machine>>,
    pub(super) master: [u8; 32],
    pub(super) config: api::Config,
    pub(super) started_at: Moment,
    pub(super) joined_at: Option<Moment>,
    pub(super) stopped_at: Option<Moment>,
    /// The next host of the same node, if it was restarted.
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
    /// Number of steps of each kind, by its discriminant.
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

    fn start(
        &mut self,
        master: [u8; 32],
        slot: HostSlot,
        side: u8,
        mut join: Join,
    ) -> Result<Host, Violation> {
        if join.config.relay.volunteer {
            // Its operator says where it is reached, as `--relay` asks for.
            join.config.public_addrs = vec![slot.addr.into()];
        }
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
        // A host that starts while no other is up founds the network. Every other host has to join
        // it.
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
            BootstrapPeer { id: state.id, addrs: vec![state.addr.into()] }
        });
        let seeds = Command::Bootstrap(seeds.collect());
        self.command(host, seeds)?;
        Ok(host)
    }

    /// The address that the host advertises. Behind an easy NAT it is the confirmed external
    /// address of the mapping. Behind a hard NAT it is that of the interface, because the external
    /// address differs for every peer.
    fn local_addr(&self, host: Host) -> std::net::SocketAddr {
        let state = self.net.host_state(host);
        match state.nat {
            Nat::Public | Nat::Easy => state.addr.into(),
            Nat::Hard => std::net::SocketAddr::from(([192, 168, 1, 2], state.addr.port())),
        }
    }

    /// Gives a node a command. A node that is down ignores it.
    pub fn command(&mut self, host: Host, command: Command) -> Result<(), Violation> {
        self.note(host, StepKind::Command, 0, 0, None);
        let now = self.epoch.instant(self.net.now);
        let Some(machine) = &mut self.processes[host.index()].machine else { return Ok(()) };
        machine.handle_command(now, command, &mut HostConns { net: &mut self.net, host });
        self.drain(host)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) -> Result<(), Violation> {
        self.run_until(self.net.now + span)
    }

    /// The address of a host in the network. It is the reflexive address too, unless the NAT is
    /// hard.
    pub fn addr(&self, host: Host) -> std::net::SocketAddr {
        self.net.host_state(host).addr.into()
    }

    /// The NAT of a host forgets its mappings: peers of its conns see another port of it from the
    /// next packet on.
    pub fn rebind(&mut self, host: Host) {
        self.net.rebind(host);
    }

    /// The last punch in the network, if `host` sent it: where to, its bytes and its TTL.
    pub fn take_punch(&mut self, host: Host) -> Option<(std::net::SocketAddr, Bytes, Option<u8>)> {
        let (_, remote, bytes, ttl) = self.net.punch.take_if(|(from, ..)| *from == host)?;
        Some((remote, bytes, ttl))
    }

    /// Path of a conn, by the id that `host` has for it.
    pub fn path(&self, host: Host, conn: ConnId) -> Option<PathInfo> {
        ReadOnlyConns { net: &self.net, host }.path(conn)
    }

    /// The peers that a host would remember across a restart; none if it is down.
    pub fn export_peers(&self, host: Host) -> Vec<KnownPeer> {
        let look = ReadOnlyConns { net: &self.net, host };
        self.machine(host).map_or_else(Vec::new, |machine| machine.export_peers(&look))
    }

    /// The machine of a host, unless it is down.
    pub fn machine(&self, host: Host) -> Option<&dyn Machine> {
        self.processes[host.index()].machine.as_deref()
    }

    /// Registers a probe that takes this many ways between its ends.
    fn track(&mut self, from: Host, to: Host, ways: u32, within: Duration) -> (RequestId, Bytes) {
        let [here, there] = [from, to].map(|host| &self.net.host_state(host).attachment);
        let direct = here.latency(there) * ways;
        self.probes.register(Tracked {
            from,
            to,
            sent_at: self.net.now,
            direct,
            within,
            settled: Settled::Pending,
            arrival: None,
            duplicates: 0,
        })
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

impl World for OverlayWorld {
    fn join(&mut self, join: Join) -> Result<Host, Violation> {
        let number = self.processes.len();
        let master = self.seed.child("identity", number as u64).bytes("master seed");
        let slot = self.plan.next_slot();
        let way_in = join.bootstrap.get(number % join.bootstrap.len().max(1));
        let side = way_in.map_or(0, |&host| self.side(host));
        self.start(master, slot, side, join)
    }

    fn restart(&mut self, host: Host, bootstrap: Vec<Host>) -> Result<Host, Violation> {
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

    fn crash(&mut self, host: Host) {
        self.note(host, StepKind::Crash, 0, 0, None);
        self.remove(host);
    }

    fn leave(&mut self, host: Host) -> Result<(), Violation> {
        self.command(host, Command::Leave { request: UNTRACKED })
    }

    fn send(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        let (request, payload) = self.track(from, to, 1, MESSAGE_TIME);
        let target = self.net.host_state(to).id;
        self.command(from, Command::Send { request, target, payload })
    }

    fn ask(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        let (request, _) = self.track(from, to, 2, MESSAGE_TIME);
        let (target, within) = (self.net.host_state(to).id, MESSAGE_TIME);
        self.command(from, Command::Rendezvous { request, target, within })
    }

    fn connect(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        let (request, _) = self.track(from, to, 2, CONNECT_TIME);
        let target = self.net.host_state(to).id;
        self.command(from, Command::Connect { request, target, addrs: Vec::new() })
    }

    fn silence(&mut self, host: Host) {
        self.net.host_state_mut(host).silent = true;
    }

    fn partition(&mut self, side: &mut dyn FnMut(Host) -> u8) {
        for (index, state) in self.net.host_states.iter_mut().enumerate() {
            state.side = side(Host(index as u32));
        }
        self.net.partition();
        self.note(Host(0), StepKind::Partition, 0, 0, None);
    }

    fn heal(&mut self) {
        self.net.heal();
        self.note(Host(0), StepKind::Heal, 0, 0, None);
    }

    fn run_until(&mut self, end: Moment) -> Result<(), Violation> {
        while self.net.queue.next_at().is_some_and(|at| at <= end) {
            let Some((at, scheduled)) = self.net.queue.pop() else { break };
            self.net.now = at;
            self.on_scheduled(scheduled)?;
        }
        self.net.now = self.net.now.max(end);
        Ok(())
    }

    fn now(&self) -> Moment {
        self.net.now
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
        self.processes[host.index()].machine.is_some()
    }

    fn started_at(&self, host: Host) -> Moment {
        self.processes[host.index()].started_at
    }

    fn joined_at(&self, host: Host) -> Option<Moment> {
        self.processes[host.index()].joined_at
    }

    fn stopped_at(&self, host: Host) -> Option<Moment> {
        self.processes[host.index()].stopped_at
    }

    fn successor(&self, host: Host) -> Option<Host> {
        self.processes[host.index()].successor
    }

    fn id(&self, host: Host) -> NodeId {
        self.net.host_state(host).id
    }

    fn nat(&self, host: Host) -> Nat {
        self.net.host_state(host).nat
    }

    fn side(&self, host: Host) -> u8 {
        self.net.host_state(host).side
    }

    fn edges(&self, host: Host) -> Vec<EdgeInfo> {
        let machine = self.processes[host.index()].machine.as_ref();
        machine
            .map_or_else(Vec::new, |machine| machine.edges(&ReadOnlyConns { net: &self.net, host }))
    }

    fn stats(&self, host: Host) -> Option<Stats> {
        Some(self.machine(host)?.stats().clone())
    }

    fn gauges(&self, host: Host) -> Vec<(&'static str, u64)> {
        self.machine(host).map_or_else(Vec::new, Machine::gauges)
    }

    fn probes(&self) -> &Probes {
        &self.probes
    }

    fn meters(&self) -> &Meters {
        &self.net.meters
    }

    fn clear_meters(&mut self) {
        self.net.settle_acks();
        self.net.meters.clear();
    }

    fn settle_meters(&mut self) {
        self.net.settle_acks();
    }

    fn tally(&self, kind: StepKind) -> u64 {
        self.tally[kind as usize]
    }

    fn journal(&self) -> Journal {
        self.journal.clone()
    }

    fn trace(&self) -> &TraceHash {
        &self.trace
    }

    fn check_all(&self) {
        for process in &self.processes {
            if let Some(machine) = &process.machine {
                machine.check();
            }
        }
    }
}
