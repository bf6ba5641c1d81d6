mod asked;
mod changes;
mod dials;
mod excess;
mod preferences;
mod volunteers;

use std::net::SocketAddr;

use super::*;
use crate::api::{AddressPolicy, EdgeDownReason, EdgePolicy};
use crate::connect::Candidate as Address;
use crate::context::testing::Surroundings;
use crate::env::Seed;
use crate::overlay::actions::Timer;
use crate::overlay::edges::{EdgeUp, Edges, EndedEdge, Peer};
use crate::overlay::peers::{Observation, Observed, OwnKey, Peers, Provenance};
use crate::transport::ConnId;
use crate::wire::Capabilities;

use Provenance::{Gossiped, Verified};

const OWN: NodeId = NodeId::from_bytes([0; 32]);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// When a fill follows that nothing hastens, at the earliest and at the latest.
const IDLE: [Duration; 2] = [Duration::from_secs(54), Duration::from_secs(66)];

/// The topology of a node, all that it reads, and what a context borrows. An identifier is its own
/// key here, so that contacts lie in the slots that a test wants.
struct Bench {
    topology: Topology,
    rooms: Rooms,
    around: Surroundings,
    conns: u64,
}

/// What the topology reads.
struct Rooms {
    edges: Edges,
    peers: Peers,
    connect: Connect,
    begun: Option<(NodeId, Option<SocketAddr>)>,
}

impl Rooms {
    fn view(&self) -> View<'_> {
        View {
            edges: self.edges.table(),
            contacts: self.peers.table(),
            dials: Dials { connect: &self.connect, begun: self.begun },
        }
    }

    fn table(&self) -> &EdgeTable {
        self.edges.table()
    }
}

/// The actions of a topology.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Connect(Want),
    Set(Timer, Instant),
    Stop(Timer),
}

fn did(action: Action) -> Did {
    match action {
        Action::Connect(want) => Did::Connect(want),
        Action::Set(timer, at) => Did::Set(timer, at),
        Action::Stop(timer) => Did::Stop(timer),
        other => panic!("{other:?}"),
    }
}

/// An identifier in this slot of this bucket, when buckets have four. The `tail` tells those of a
/// slot apart; of 1 and 2 the choice among equals prefers 2.
fn id(bucket: u16, part: u8, tail: u8) -> NodeId {
    let mut bytes = [0; 32];
    let prefix = (1 << (63 - bucket)) | (u64::from(part) << (61 - bucket));
    bytes[..8].copy_from_slice(&prefix.to_be_bytes());
    bytes[31] = tail;
    NodeId::from_bytes(bytes)
}

/// One of the sixteen peers nearest to a node that has joined; 0 is the farthest of them.
fn near(number: u16) -> NodeId {
    id(30 + number, 0, 0)
}

/// An address in a subnet of its own.
fn addr(number: u8) -> SocketAddr {
    SocketAddr::from(([30, number, 0, 1], 4242))
}

fn unverified(addr: SocketAddr) -> Address {
    Address { addr, source: Source::Unverified, is_open: false }
}

fn verified(addr: SocketAddr) -> Address {
    Address { addr, source: Source::Verified, is_open: false }
}

/// An address at which the peer proved its identifier just now.
fn recent(addr: SocketAddr) -> Address {
    Address { is_open: true, ..verified(addr) }
}

/// Settings whose policy refuses this peer.
fn refusing(refused: NodeId) -> Config {
    let policy = EdgePolicy::Ask(std::sync::Arc::new(move |peer| *peer != refused));
    Config { edge_policy: policy, ..Config::default() }
}

/// The action that wants a peer which gossip places at this address.
fn wants(peer: NodeId, addr: SocketAddr, purpose: Purpose) -> Did {
    Did::Connect(Want { peer, candidates: vec![unverified(addr)], purpose })
}

/// A contact that any node can dial, as others say, is probed at this address.
fn probes(peer: NodeId, addr: SocketAddr) -> Did {
    let candidates = vec![Address { is_open: true, ..unverified(addr) }];
    Did::Connect(Want { peer, candidates, purpose: Purpose::Probe })
}

impl Bench {
    fn new(config: Config) -> Self {
        let around = Surroundings::new(config);
        let (config, now) = (&around.config, around.now);
        let rooms = Rooms {
            edges: Edges::new(OWN, config, now),
            peers: Peers::new(OWN, config, now),
            connect: Connect::new(),
            begun: None,
        };
        Self { topology: Topology::new(config, now), rooms, around, conns: 0 }
    }

    /// A node with edges to its sixteen nearest peers, all of which it opened.
    fn joined(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.edges((0..16).map(near), true);
        bench
    }

    fn act<T>(
        &mut self,
        act: impl FnOnce(&mut Topology, &mut Context<'_, Action>, &Rooms) -> T,
    ) -> (T, Vec<Did>) {
        let Self { topology, rooms, around, .. } = self;
        let (result, actions) = around.run(|cx| act(topology, cx, rooms));
        self.topology.check();
        (result, actions.into_iter().map(did).collect())
    }

    /// There is an edge to `peer`.
    fn edge(&mut self, peer: NodeId, is_outgoing: bool, rtt_ms: u16) -> EdgeUp {
        self.conns += 1;
        let (conn, last) = (ConnId(self.conns), self.conns as u8);
        let remote = SocketAddr::from(([20, last, 0, 1], 4242));
        let peer = Peer { id: peer, key: *peer.as_bytes(), remote };
        self.edge_from(peer, conn, is_outgoing, rtt_ms)
    }

    /// There are edges to these peers.
    fn edges(&mut self, peers: impl IntoIterator<Item = NodeId>, is_outgoing: bool) {
        for peer in peers {
            self.edge(peer, is_outgoing, 20);
        }
    }

    fn edge_from(&mut self, peer: Peer, conn: ConnId, is_outgoing: bool, rtt_ms: u16) -> EdgeUp {
        let edges = &mut self.rooms.edges;
        let (attached, _) = self.around.run(|cx| edges.attach(cx, conn, peer, is_outgoing));
        self.rooms.edges.edge_of(conn).expect("it was attached").rtt_ms = rtt_ms;
        attached.up.expect("it was attached")
    }

    /// The edge to `peer` ends for this reason.
    fn ended(&mut self, peer: &NodeId, reason: EdgeDownReason) -> EndedEdge {
        let edges = &mut self.rooms.edges;
        let (ended, _) = self.around.run(|cx| edges.close_edge(cx, peer));
        EndedEdge { reason, ..*ended.expect("there is an edge") }
    }

    fn contacts(&mut self) -> &mut ContactTable {
        self.rooms.peers.table_mut()
    }

    fn observe(
        &mut self,
        id: NodeId,
        caps: Option<u32>,
        addr: Option<SocketAddr>,
        provenance: Provenance,
    ) {
        let addrs = addr.as_slice();
        let seen = Observation { id, key: *id.as_bytes(), caps, addrs, provenance };
        let now = self.around.now;
        self.contacts().observe(&seen, now, &OwnKey);
    }

    /// A peer is known by gossip.
    fn gossip(&mut self, peer: NodeId, addr: SocketAddr) {
        self.observe(peer, None, Some(addr), Gossiped);
    }

    /// Others say that any node can dial a contact at this address.
    fn gossip_open(&mut self, peer: NodeId, addr: SocketAddr) {
        self.observe(peer, Some(Capabilities::PUBLIC_ANCHOR.0), Some(addr), Gossiped);
    }

    /// A contact sends a sign of life.
    fn confirm(&mut self, peer: &NodeId) {
        let now = self.around.now;
        self.contacts().confirm(peer, now);
    }

    /// A contact is not dialed for this long.
    fn hold_off(&mut self, peer: &NodeId, span: Duration) {
        let now = self.around.now;
        self.contacts().hold_off(peer, now, span);
    }

    /// An attempt at a peer begins.
    fn dial(&mut self, peer: NodeId, candidates: Vec<Address>) {
        let (connect, want) =
            (&mut self.rooms.connect, Want { peer, candidates, purpose: Purpose::Edge });
        let (result, _) = self.around.run(|cx| connect.want(cx, want));
        result.expect("it can be dialed");
    }

    /// A fill that is due now.
    fn fill(&mut self) -> (Fill, Vec<Did>) {
        self.topology.schedule.fill = self.around.now;
        let (fill, actions) = self.act(|topology, cx, rooms| topology.fill(cx, rooms.view()));
        (fill.expect("it is due"), actions)
    }

    /// How long the next fill is away.
    fn until_fill(&self) -> Duration {
        self.topology.schedule.fill.duration_since(self.around.now)
    }

    /// Whether the next fill comes in its own time.
    fn is_idle(&self) -> bool {
        IDLE[0] <= self.until_fill() && self.until_fill() <= IDLE[1]
    }

    fn reseed(&mut self, seed: u64) {
        self.around.rng = Seed::from_u64(seed).stream("test");
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

fn light() -> Config {
    Config { profile: Profile::Light, ..Config::default() }
}
