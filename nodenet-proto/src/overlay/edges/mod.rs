//! Edges: the conns of this node, the edges that they form, and their liveness.
//!
//! Responsible for: which conn belongs to which edge, admission, pings, budgets, and what the end
//! of a conn changes for its edge. Never: dials, chooses peers, or routes.
//!
//! # Life of an edge
//! A conn that the peer opened is unproven until its first whole frame arrives. A conn that this
//! node dialed is part of an edge at once. Then:
//! 1. *Admission* (`admit`) checks proof of work, the application's policy and the places for
//!    inbound edges.
//! 2. The first conn to a peer makes an [`Edge`]; up to two more join it. Frames leave on the conn
//!    that most recently received one.
//! 3. The side that dialed sends the first ping. From then on `liveness` judges each conn by one
//!    timer, at the intervals that `keepalive` derives from how often edges die.
//! 4. An edge ends with its last conn, with a Leave of either side, or when it is one too many. Its
//!    budgets are retained until they are full again.
//!
//! Methods that end a conn or an edge return the outcome (`Loss`, `EndedEdge`); the exchange
//! passes it on to the other rooms.

mod admit;
pub mod budgets;
mod edge;
mod frames;
mod keepalive;
mod lifecycle;
mod liveness;
mod nearest;
mod table;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::time::{Duration, Instant};

use indexmap::IndexMap;

use self::budgets::RetainedBudgets;
use self::keepalive::Keepalive;
use crate::NodeId;
use crate::api::Config;
use crate::env::CounterHash;
use crate::stats::Gauges;
use crate::transport::ConnId;

pub use self::edge::{Conn, Edge, PathKind};
pub(crate) use self::frames::Sender;
pub(crate) use self::lifecycle::{AttachedConn, EdgeUp, EndedEdge, Loss, Peer, whole_ms};
pub(crate) use self::liveness::doubt_after;
pub use self::table::{Attached, Detached, EdgeTable, Phase};

/// An edge that lived this long shows that the peer's failures are over (PROTOCOL.md#proven-edges).
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(60);
/// Conns that one edge is made of, at most (PROTOCOL.md#conns-of-an-edge).
pub const CONNS_PER_EDGE: usize = 3;
/// Edges nearest to this node that count as its siblings (PROTOCOL.md#siblings).
pub const SIBLINGS: usize = 16;
/// Target number of outgoing edges (PROTOCOL.md#edge-targets).
pub const TARGET_EDGES: usize = 64;

/// What a conn belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// This peer opened it and has not sent a whole frame yet.
    Unproven(Box<Peer>),
    /// The edge to this peer.
    Edge(NodeId),
    /// It was closed here, and the transport has not reported its end yet.
    Closing,
}

impl Owner {
    fn is_unproven(&self) -> bool {
        matches!(self, Self::Unproven(_))
    }
}

/// The conns of this node and the edges that they form.
pub(crate) struct Edges {
    table: EdgeTable,
    conns: IndexMap<ConnId, Owner, CounterHash>,
    /// Number of conns without a whole frame.
    unproven: usize,
    retained_budgets: RetainedBudgets,
    keepalive: Keepalive,
}

impl Edges {
    /// No conns.
    pub(crate) fn new(own: NodeId, config: &Config, now: Instant) -> Self {
        Self {
            table: EdgeTable::new(own),
            conns: IndexMap::default(),
            unproven: 0,
            retained_budgets: RetainedBudgets::default(),
            keepalive: Keepalive::new(now, &own, config.profile),
        }
    }

    /// The live edges.
    pub(crate) fn table(&self) -> &EdgeTable {
        &self.table
    }

    /// The edge that `conn` belongs to.
    pub(crate) fn edge_of(&mut self, conn: ConnId) -> Option<&mut Edge> {
        let Some(Owner::Edge(peer)) = self.conns.get(&conn) else { return None };
        self.table.get_mut(peer)
    }

    /// The peer of the edge that `conn` belongs to.
    pub(crate) fn peer_of(&self, conn: ConnId) -> Option<NodeId> {
        match self.conns.get(&conn) {
            Some(&Owner::Edge(peer)) => Some(peer),
            _ => None,
        }
    }

    /// Whether a conn is left that the transport has not reported gone.
    pub(crate) fn has_conns(&self) -> bool {
        !self.conns.is_empty()
    }

    /// Notes whether `peer` is a light node, as it announced itself.
    pub(crate) fn set_light(&mut self, peer: &NodeId, is_light: bool) {
        if let Some(edge) = self.table.get_mut(peer) {
            edge.light = is_light;
        }
    }

    /// Whether the edge of this node's own budget for detours allows `pieces` more through `peer`.
    pub(crate) fn may_detour(&self, now: Instant, peer: &NodeId, pieces: u64) -> bool {
        self.table.get(peer).is_some_and(|edge| edge.budgets.may_detour(now, pieces))
    }

    /// Charges `pieces` of a detour to what `peer` is sure of; false if that is too little.
    pub(crate) fn charge_detour(&mut self, now: Instant, peer: &NodeId, pieces: u64) -> bool {
        let edge = self.table.get_mut(peer);
        edge.is_some_and(|edge| edge.budgets.charge_detour(now, pieces))
    }

    /// When a task that is planned for `at` is done: at the same time as liveness checks.
    pub(crate) fn align(&self, at: Instant, now: Instant) -> Instant {
        self.keepalive.align(at, now)
    }

    /// Sets how full the tables of this room are.
    pub(crate) fn fill_gauges(&self, gauges: &mut Gauges) {
        gauges.edges = self.table.len() as u64;
        gauges.edges_inbound = self.table.inbound() as u64;
        gauges.retained_budgets = self.retained_budgets.count() as u64;
    }

    /// Asserts the invariants, here and below (THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self, config: &Config) {
        self.table.check();
        self.retained_budgets.check();
        assert!(self.table.inbound() <= config.inbound_edges_max);
        assert!(self.unproven <= lifecycle::unproven_max(config.inbound_edges_max));
        let unproven = self.conns.values().filter(|owner| owner.is_unproven()).count();
        assert_eq!(self.unproven, unproven);
        let of_edges = self.table.iter().map(|edge| edge.conn_count()).sum::<usize>();
        let owned = |owner: &&Owner| matches!(owner, Owner::Edge(_));
        assert_eq!(of_edges, self.conns.values().filter(owned).count());
        for edge in self.table.iter() {
            assert!(edge.peer.leading_zeros() >= config.difficulty);
            for conn in edge.conns() {
                assert_eq!(self.conns.get(&conn.id), Some(&Owner::Edge(edge.peer)));
            }
        }
    }
}
