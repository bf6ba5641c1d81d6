//! State of the packet world: hosts with whole nodes, the network between them, virtual time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::NodeId;
use nodenet_proto::api::{BootstrapPeer, Command, Event, RequestId};
use nodenet_proto::env::{Seed, UnixNanos};
use nodenet_proto::identity::Identity;
use nodenet_proto::io::TransmitBuf;
use nodenet_proto::node::{Config, Node};
use nodenet_proto::testkit::{Datagram, LinkProfile, Net, Realm, WALL};

use super::calendar::{Scheduled, WALL_EVERY};
use super::clock::HostClock;
use super::host::{HostDrops, HostState, Sockets};
use super::journal::{PacketJournal, PacketStep, PacketStepKind};
use super::networks::{NetworkId, NetworkSpec, Networks, crossing};
use crate::clock::{Epoch, EventQueue, Moment};
use crate::hash::TraceHash;
use crate::world::{CONNECT_TIME, Host, MESSAGE_TIME, Meters, Probes, Settled, Tracked, Violation};

/// UDP port of a host unless it has another.
pub const PORT: u16 = 4242;
/// Datagrams that one send of a driver carries (guess; Linux takes 64).
const SEGMENTS_MAX: usize = 8;
/// The first request of commands that are not tracked messages.
const UNTRACKED: u64 = 1 << 63;

/// Settings of a packet world.
#[derive(Debug, Clone, Copy)]
pub struct PacketConfig {
    /// The seed of all random streams.
    pub seed: u64,
    /// Steps from one check of a node to the next; the node that took the step is checked.
    pub check_every: u64,
}

/// Settings of a new host.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// Its name. Its identity, its addresses and its random numbers follow from it.
    pub name: String,
    /// The networks that its interfaces are in, the one of its default route first.
    pub networks: Vec<NetworkId>,
    /// How often a node of this name was started before, as another host.
    pub starts_before: u64,
    /// UDP port of its main socket.
    pub port: u16,
    /// Settings of its node.
    pub config: Config,
    /// Milliseconds by which its wall clock is ahead of the true time.
    pub wall_offset_ms: i64,
    /// Parts per million by which its clocks are fast, up to
    /// [`CLOCK_RATE_PPM_MAX`](super::CLOCK_RATE_PPM_MAX).
    pub clock_rate_ppm: i32,
}

impl HostSpec {
    /// A host with one interface, right clocks, and a node with these settings.
    pub fn new(name: &str, network: NetworkId, config: Config) -> Self {
        Self {
            name: name.to_owned(),
            networks: vec![network],
            starts_before: 0,
            port: PORT,
            config,
            wall_offset_ms: 0,
            clock_rate_ppm: 0,
        }
    }
}

/// An event of a node, as its application saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Moment,
    /// At which host.
    pub host: Host,
    /// What.
    pub event: Event,
}

/// Hosts, the network between them, and the time.
pub struct PacketWorld {
    pub(super) config: PacketConfig,
    pub(super) seed: Seed,
    pub(super) epoch: Epoch,
    pub(super) now: Moment,
    pub(super) net: Net,
    pub(super) networks: Networks,
    pub(super) calendar: EventQueue<Scheduled>,
    pub(super) hosts: Vec<HostState>,
    /// The host that has an address in a realm.
    pub(super) places: BTreeMap<(Realm, IpAddr), Host>,
    pub(super) buf: TransmitBuf,
    pub(super) events: Vec<Event>,
    /// Events that [`Self::take_seen`] has not taken; none are kept unless it is wanted.
    pub(super) seen: Option<Vec<Seen>>,
    pub(super) drops: HostDrops,
    pub(super) probes: Probes,
    pub(super) delivered_untracked: u64,
    pub(super) journal: PacketJournal,
    pub(super) trace: TraceHash,
    /// Number of steps of each kind, by its discriminant.
    pub(super) tally: [u64; PacketStepKind::LAST + 1],
    pub(super) meters: Meters,
    pub(super) steps: u64,
    /// Host and moment of the last timer that fired, and how often it fired then.
    pub(super) spin: ((Host, Moment), u32),
    requests: u64,
}

impl PacketWorld {
    /// An empty world.
    pub fn new(config: PacketConfig) -> Self {
        let seed = Seed::from_u64(config.seed).child("packet world", 0);
        let epoch = Epoch::capture();
        let mut net = Net::with_seed(seed.child("network", 0));
        net.now = epoch.instant(Moment::START);
        Self {
            config,
            seed,
            epoch,
            now: Moment::START,
            net,
            networks: Networks::default(),
            calendar: EventQueue::new(),
            hosts: Vec::new(),
            places: BTreeMap::new(),
            buf: TransmitBuf::new(SEGMENTS_MAX),
            events: Vec::new(),
            seen: None,
            drops: HostDrops::default(),
            probes: Probes::default(),
            delivered_untracked: 0,
            journal: PacketJournal::default(),
            trace: TraceHash::default(),
            tally: [0; PacketStepKind::LAST + 1],
            meters: Meters::default(),
            steps: 0,
            spin: ((Host(0), Moment::START), 0),
            requests: UNTRACKED,
        }
    }

    /// Adds a network.
    pub fn add_network(&mut self, spec: NetworkSpec) -> NetworkId {
        self.networks.add(spec, &mut self.net, &self.seed)
    }

    /// Adds a host whose node is down.
    pub fn add_host(&mut self, spec: HostSpec) -> Host {
        let host = Host(self.hosts.len() as u32);
        let master = self.seed.child(&format!("identity {}", spec.name), 0).bytes("master seed");
        let wall = UnixNanos(WALL.0.saturating_add(spec.wall_offset_ms.saturating_mul(1_000_000)));
        self.hosts.push(HostState {
            id: Identity::from_master_seed(&master).id(),
            name: spec.name,
            master,
            config: spec.config,
            node: None,
            starts: spec.starts_before,
            started_at: self.now,
            joined_at: None,
            stopped_at: None,
            sockets: Sockets::new(spec.port),
            clock: HostClock::new(self.epoch, wall, spec.clock_rate_ppm),
            is_asleep: false,
            deadline: None,
            wake_at: None,
        });
        self.meters.add_host(self.now);
        self.attach(host, &spec.networks);
        host
    }

    /// Changes the settings with which the node of a host starts next.
    pub fn configure(&mut self, host: Host, change: impl FnOnce(&mut Config)) {
        change(&mut self.hosts[host.index()].config);
    }

    /// Starts the node of a host that is down: same identity, same address, empty memory.
    ///
    /// # Errors
    /// If an invariant does not hold.
    ///
    /// # Panics
    /// If the node is up, or its identity lacks the proof of work that its settings ask for.
    pub fn start(&mut self, host: Host, bootstrap: &[Host]) -> Result<(), Violation> {
        self.note(PacketStepKind::Start, Some(host));
        let now = self.now;
        let state = &mut self.hosts[host.index()];
        assert!(state.node.is_none(), "{} is up", state.name);
        state.starts += 1;
        (state.started_at, state.joined_at, state.stopped_at) = (now, None, None);
        let identity = Identity::from_master_seed(&state.master);
        let seed = self.seed.child(&format!("node {}", state.name), state.starts);
        let (instant, wall) = (state.clock.instant(now), state.clock.wall(now));
        let node = Node::new(state.config.clone(), identity, seed, instant, wall);
        state.node = Some(Box::new(node.expect("the identity has the work that is asked for")));
        let generation = state.starts;
        self.calendar.push(now + WALL_EVERY, Scheduled::Wall { host, generation });
        let peers = bootstrap
            .iter()
            .map(|&peer| BootstrapPeer { id: self.id(peer), addrs: self.local_addrs(peer) });
        let peers = peers.collect();
        self.report_addrs(host)?;
        self.command(host, Command::Bootstrap(peers))
    }

    /// Stops a node at once, without notice to its peers.
    pub fn crash(&mut self, host: Host) {
        self.note(PacketStepKind::Crash, Some(host));
        self.stop(host);
    }

    /// Gives a node a command. A node that is down ignores it; one that sleeps gets it at once, and
    /// does nothing about it until it wakes.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn command(&mut self, host: Host, command: Command) -> Result<(), Violation> {
        self.note(PacketStepKind::Command, Some(host));
        self.input(host, nodenet_proto::node::Input::Command(command))
    }

    /// Asks a node to leave. It stops when it has left.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn leave(&mut self, host: Host) -> Result<(), Violation> {
        let request = self.next_request();
        self.command(host, Command::Leave { request })
    }

    /// Asks a node for an edge to another, at the addresses of its interfaces.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn connect(&mut self, host: Host, to: Host) -> Result<(), Violation> {
        let (request, target) = (self.next_request(), self.id(to));
        let addrs = self.local_addrs(to);
        self.command(host, Command::Connect { request, target, addrs })
    }

    /// Sends a tracked message by routing; [`Self::probes`] has its outcome.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn send(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        let (request, payload) = self.track(from, to, 1, MESSAGE_TIME);
        let target = self.id(to);
        self.command(from, Command::Send { request, target, payload })
    }

    /// Sends a tracked message over the edge to its target.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn send_direct(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        let (request, payload) = self.track(from, to, 1, MESSAGE_TIME);
        let target = self.id(to);
        self.command(from, Command::SendDirect { request, target, payload })
    }

    /// Lets a node ask another for its keys and addresses.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn ask(&mut self, from: Host, to: Host, within: Duration) -> Result<(), Violation> {
        let (request, _) = self.track(from, to, 2, within);
        let target = self.id(to);
        self.command(from, Command::Rendezvous { request, target, within })
    }

    /// Lets a node connect to another of which it knows the identifier alone; [`Self::probes`] has
    /// the outcome.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn connect_by_id(&mut self, from: Host, to: Host) -> Result<(), Violation> {
        let (request, _) = self.track(from, to, 2, CONNECT_TIME);
        let target = self.id(to);
        self.command(from, Command::Connect { request, target, addrs: Vec::new() })
    }

    /// Sends these bytes over an edge, and counts them where they arrive.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn send_bytes(
        &mut self,
        from: Host,
        target: NodeId,
        payload: Bytes,
    ) -> Result<(), Violation> {
        let request = self.next_request();
        self.command(from, Command::SendDirect { request, target, payload })
    }

    /// Moves a host to these networks; none disconnects it. Its node learns of it at once.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn roam(&mut self, host: Host, networks: &[NetworkId]) -> Result<(), Violation> {
        self.note(PacketStepKind::Roam, Some(host));
        for interface in std::mem::take(&mut self.hosts[host.index()].sockets.interfaces) {
            for ip in interface.ips() {
                self.places.remove(&(interface.realm, ip));
            }
            self.networks.detach(&interface, &mut self.net);
        }
        self.attach(host, networks);
        self.report_addrs(host)
    }

    /// Puts a host to sleep: it neither sends nor runs, and what arrives is lost. Its wall clock
    /// goes on; its monotonic one stands still if asked for, as that of Linux does.
    pub fn sleep(&mut self, host: Host, monotonic_stands: bool) {
        self.note(PacketStepKind::Sleep, Some(host));
        let state = &mut self.hosts[host.index()];
        state.is_asleep = true;
        state.clock.set_standing(self.now, monotonic_stands);
    }

    /// Wakes a host up. Its node gets the wall clock first, as the contract of the loop says.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn wake(&mut self, host: Host) -> Result<(), Violation> {
        self.note(PacketStepKind::Wake, Some(host));
        let state = &mut self.hosts[host.index()];
        state.is_asleep = false;
        state.clock.set_standing(self.now, false);
        self.report_wall(host)?;
        self.on_due(host)
    }

    /// Sets the wall clock of a host forward or back. Its driver looks at it once a minute.
    pub fn step_wall(&mut self, host: Host, by_ms: i64) {
        self.note(PacketStepKind::ClockSet, Some(host));
        self.hosts[host.index()].clock.step_wall(self.now, by_ms);
    }

    /// Lets the sockets of a host take nothing until then.
    pub fn block(&mut self, host: Host, until: Moment) {
        self.note(PacketStepKind::Block, Some(host));
        self.hosts[host.index()].sockets.blocked_until = Some(until);
        self.calendar.push(until, Scheduled::Writable(host));
    }

    /// Reboots the gateway of a network: its mappings are lost. Returns false if the network has
    /// none.
    pub fn reboot(&mut self, network: NetworkId, has_new_address: bool) -> bool {
        self.note(PacketStepKind::Reboot, None);
        self.networks.reboot(network, has_new_address, &mut self.net)
    }

    /// Other hosts behind the gateway of a network begin this many new flows a second on average.
    pub fn set_background(&mut self, network: NetworkId, flows_per_s: u32) {
        let seed = self.seed.child("background", u64::from(network.number()));
        let (now, realm) = (self.net.now, self.networks.realm(network));
        if let Some(nat) = self.net.nat_mut(realm) {
            nat.set_background(now, flows_per_s, &seed);
        }
    }

    /// Has datagrams under way to every host behind the gateway of a network, at the port of its
    /// main socket: from the peers of its edges, or from one unknown. A box that keeps ports and
    /// has just rebooted gets them before its hosts have sent.
    pub fn send_early(&mut self, network: NetworkId, from_peers: bool) {
        let outside = self.networks.outside(network);
        let unknown = SocketAddr::from(([198, 51, 100, 66], 6_666));
        for host in self.hosts() {
            let behind = self.seen(host).into_iter().flatten();
            let port = self.hosts[host.index()].sockets.port;
            let external: Vec<IpAddr> =
                behind.filter(|seen| seen.0 == outside).map(|(_, ip)| ip).collect();
            let external =
                external.into_iter().filter(|ip| self.networks.external(network).contains(ip));
            let external: Vec<IpAddr> = external.collect();
            let peers = self.edges(host).into_iter().map(|edge| edge.remote);
            let from = if from_peers { peers.collect() } else { vec![unknown] };
            for (from, ip) in from.iter().flat_map(|from| external.iter().map(move |ip| (from, ip)))
            {
                self.inject(*from, SocketAddr::new(*ip, port), b"early");
            }
        }
    }

    /// Gives the links between two hosts a profile, in one direction: those between the addresses
    /// that they have now, each at the outermost NAT that they do not share. Returns how many links
    /// that are, one for each pair of addresses of a family.
    pub fn set_link(&mut self, from: Host, to: Host, profile: LinkProfile) -> usize {
        self.note(PacketStepKind::LinkSet, Some(from));
        let crossings = self.crossings(from, to);
        for (_, source, destination) in &crossings {
            self.net.set_profile(*source, *destination, profile);
        }
        crossings.len()
    }

    /// The profile of the first link between two hosts, if there is one.
    pub fn link(&self, from: Host, to: Host) -> Option<LinkProfile> {
        let (realm, source, destination) = *self.crossings(from, to).first()?;
        Some(self.net.profile(realm, (source, destination)))
    }

    /// Splits these hosts, and all that share a NAT with one, from all others.
    pub fn partition(&mut self, hosts: &[Host]) {
        self.note(PacketStepKind::Partition, None);
        let seen = hosts.iter().flat_map(|&host| self.seen(host)).flatten();
        let ips: Vec<IpAddr> = seen.map(|(_, ip)| ip).collect();
        self.net.partition(ips);
    }

    /// Ends all partitions.
    pub fn heal(&mut self) {
        self.note(PacketStepKind::Heal, None);
        self.net.heal();
    }

    /// Puts a datagram on the internet that no node sent, from any source.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        self.note(PacketStepKind::Injected, None);
        let data = data.into();
        self.net.send(Realm::PUBLIC, Datagram { from, to, ecn: None, data });
    }

    /// Keeps the events of all nodes from now on, for [`Self::take_seen`].
    pub fn keep_events(&mut self) {
        self.seen.get_or_insert_default();
    }

    /// Takes the events that were kept.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        self.seen.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The next request id for a command that is no tracked message.
    pub fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// A message whose outcome needs this many paths between the two hosts.
    fn track(&mut self, from: Host, to: Host, paths: u32, within: Duration) -> (RequestId, Bytes) {
        let one_way = self.link(from, to).map(|link| link.latency).unwrap_or_default();
        let direct = one_way * paths;
        self.probes.register(Tracked {
            from,
            to,
            sent_at: self.now,
            direct,
            within,
            settled: Settled::Pending,
            arrival: None,
            duplicates: 0,
        })
    }

    fn attach(&mut self, host: Host, networks: &[NetworkId]) {
        let state = &mut self.hosts[host.index()];
        for network in networks {
            let interface = self.networks.attach(*network, &state.name, &mut self.net);
            for ip in interface.ips() {
                self.places.insert((interface.realm, ip), host);
            }
            state.sockets.interfaces.push(interface);
        }
    }

    pub(super) fn stop(&mut self, host: Host) {
        let state = &mut self.hosts[host.index()];
        (state.node, state.deadline, state.stopped_at) = (None, None, Some(self.now));
        state.sockets.close();
    }

    pub(super) fn note(&mut self, kind: PacketStepKind, host: Option<Host>) {
        self.note_bytes(kind, host, 0, None);
    }

    pub(super) fn note_bytes(
        &mut self,
        kind: PacketStepKind,
        host: Option<Host>,
        bytes: usize,
        ends: Option<(SocketAddr, SocketAddr)>,
    ) {
        self.trace.event(self.now, host.map_or(u32::MAX, |host| host.0), kind as u8);
        self.tally[kind as usize] += 1;
        self.trace.number(bytes as u64);
        self.journal.push(PacketStep { at: self.now, host, kind, bytes: bytes as u32, ends });
    }

    /// The addresses of a host as they are seen in each realm, one list for each address.
    fn seen(&self, host: Host) -> Vec<Vec<(Realm, IpAddr)>> {
        let interfaces = self.interfaces(host).iter();
        let ips = interfaces.flat_map(|own| own.ips().map(|ip| (own.network, ip)));
        let each = |(network, ip)| {
            [self.networks.seen(network, ip), self.networks.seen_as_ipv4(network, ip)]
        };
        ips.flat_map(each).filter(|seen| !seen.is_empty()).collect()
    }

    fn crossings(&self, from: Host, to: Host) -> Vec<(Realm, IpAddr, IpAddr)> {
        let (sources, destinations) = (self.seen(from), self.seen(to));
        let pairs = sources.iter().flat_map(|a| destinations.iter().map(move |b| (a, b)));
        pairs.filter_map(|(a, b)| crossing(a, b)).collect()
    }
}
