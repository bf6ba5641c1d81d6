//! Edge table: every live edge, in the order of the identifiers.
//!
//! Responsible for: one edge per peer, roles, counts, the connectivity phase, and which edges are
//! nearest to a target. Never: opens, closes or pings a conn, or decides which peer may become an
//! edge.

use std::cmp::Ordering;
use std::time::Instant;

use heapless::Vec as FixedVec;

use super::budgets::EdgeBudgets;
use super::edge::{Conn, Edge, PathKind};
use super::nearest::Search;
use super::{CONNS_PER_EDGE, SIBLINGS, TARGET_EDGES};
use crate::NodeId;
use crate::env::TokenBucket;
use crate::transport::ConnId;

/// Below this many outgoing edges the node needs more soon (PROTOCOL.md#edge-targets).
const LOW_WATER: usize = 8;
/// Below this many it needs more at once (PROTOCOL.md#edge-targets).
const HARD_FLOOR: usize = 3;
/// How far outgoing edges may fall below the target before more are sought
/// (PROTOCOL.md#edge-targets).
const FILL_HYSTERESIS: usize = 4;
/// Edges for which room is made at a time. Doubling would leave up to half of it unused (a guess).
const GROWTH: usize = 8;
/// How well connected this node is (PROTOCOL.md#edge-targets). Only edges that it opened count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// None.
    Bootstrap,
    /// 1 to 3.
    Critical,
    /// 4 to 8.
    Urgent,
    /// 9 to 63, or 9 to 59 coming from [`Phase::Normal`].
    NeedsFill,
    /// 64, or down to 60 once there.
    Normal,
}

/// What [`EdgeTable::attach`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// There was no edge to this peer; now there is.
    NewEdge,
    /// The edge has one more conn.
    AnotherConn,
    /// The edge has the new conn instead of this one, which was silent longest and is to be closed.
    Instead(ConnId),
}

/// What [`EdgeTable::detach`] did.
#[derive(Debug, Clone)]
pub enum Detached {
    /// The edge has other conns left.
    LivesOn,
    /// That was its last conn; this was the edge.
    EdgeGone(Box<Edge>),
    /// There is no such conn.
    Unknown,
}

/// Every live edge, in the order of the identifiers, so that the nearest to any target are found by
/// descending along its bits.
#[derive(Debug, Clone)]
pub struct EdgeTable {
    own: NodeId,
    /// The first 64 bits of each edge's identifier. Beside the edges so that a search touches eight
    /// cache lines at 64 edges.
    prefixes: Vec<u64>,
    edges: Vec<Edge>,
    outgoing: usize,
    phase: Phase,
    /// The bits that the farthest sibling shares with this node.
    sibling_bucket: Option<u16>,
}

impl EdgeTable {
    /// No edges yet.
    pub const fn new(own: NodeId) -> Self {
        Self {
            own,
            prefixes: Vec::new(),
            edges: Vec::new(),
            outgoing: 0,
            phase: Phase::Bootstrap,
            sibling_bucket: None,
        }
    }

    /// Adds a conn to the edge to `peer`, which begins with it if there was none.
    ///
    /// # Panics
    /// If `peer` is this node: admission comes first.
    pub fn attach(
        &mut self,
        now: Instant,
        peer: NodeId,
        key: [u8; 32],
        conn: ConnId,
        outgoing: bool,
        budgets: impl FnOnce() -> EdgeBudgets,
    ) -> Attached {
        assert!(peer != self.own, "admission refuses a node that is ourselves");
        let conn = Conn {
            id: conn,
            outgoing,
            heard: now,
            pinged: now,
            unanswered: false,
            pongs_due: 0,
            is_told: false,
            path: PathKind::Unset,
            retiring: None,
        };
        let attached = match self.search(&peer) {
            Ok(at) => {
                let edge = &mut self.edges[at];
                let was_outgoing = edge.is_outgoing();
                let replaced = edge.add(conn);
                edge.is_taken |= !outgoing;
                self.outgoing += usize::from(edge.is_outgoing());
                self.outgoing -= usize::from(was_outgoing);
                replaced.map_or(Attached::AnotherConn, Attached::Instead)
            }
            Err(at) => {
                let budgets = budgets();
                let edge = Edge {
                    peer,
                    key,
                    since: now,
                    budgets,
                    outbound: TokenBucket::new(now),
                    light: false,
                    is_taken: !outgoing,
                    subnet: None,
                    rtt_ms: 0,
                    send_conn: conn,
                    surplus: Vec::new(),
                    sibling: false,
                };
                if self.edges.len() == self.edges.capacity() {
                    self.edges.reserve_exact(GROWTH);
                }
                self.prefixes.insert(at, peer.prefix());
                self.edges.insert(at, edge);
                self.outgoing += usize::from(outgoing);
                self.reclassify(&peer);
                Attached::NewEdge
            }
        };
        self.phase = self.next_phase();
        attached
    }

    /// Takes a conn away from the edge to `peer`.
    pub fn detach(&mut self, peer: &NodeId, conn: ConnId) -> Detached {
        let Some(edge) = self.get_mut(peer) else { return Detached::Unknown };
        let was_outgoing = edge.is_outgoing();
        if edge.send_conn.id == conn {
            let Some(next) = edge.surplus.pop() else {
                return self
                    .remove(peer)
                    .map_or(Detached::Unknown, |e| Detached::EdgeGone(Box::new(e)));
            };
            edge.send_conn = next;
        } else {
            let Some(at) = edge.surplus.iter().position(|other| other.id == conn) else {
                return Detached::Unknown;
            };
            edge.surplus.remove(at);
        }
        self.outgoing -= usize::from(was_outgoing && !edge.is_outgoing());
        self.phase = self.next_phase();
        Detached::LivesOn
    }

    /// Removes the edge to `peer`, if there is one.
    pub fn remove(&mut self, peer: &NodeId) -> Option<Edge> {
        let at = self.search(peer).ok()?;
        self.prefixes.remove(at);
        let edge = self.edges.remove(at);
        self.outgoing -= usize::from(edge.is_outgoing());
        self.reclassify(peer);
        self.phase = self.next_phase();
        Some(edge)
    }

    /// The edge to `peer`.
    #[inline]
    pub fn get_mut(&mut self, peer: &NodeId) -> Option<&mut Edge> {
        let at = self.search(peer).ok()?;
        Some(&mut self.edges[at])
    }

    /// The edge to `peer`.
    #[inline]
    pub fn get(&self, peer: &NodeId) -> Option<&Edge> {
        let at = self.search(peer).ok()?;
        Some(&self.edges[at])
    }

    /// Every edge, in the order of the identifiers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Edge> {
        self.edges.iter()
    }

    /// Number of edges.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there is no edge.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Number of edges that this node opened.
    pub fn outgoing(&self) -> usize {
        self.outgoing
    }

    /// Number of edges that peers opened.
    pub fn inbound(&self) -> usize {
        self.edges.len() - self.outgoing
    }

    /// Number of conns that peers opened.
    pub fn accepted_conns(&self) -> usize {
        self.iter().map(Edge::accepted_conns).sum()
    }

    /// Of the peer that opened the most conns, two at least, the one silent longest: the edge does
    /// not need it.
    pub fn spare_conn(&self) -> Option<(NodeId, ConnId)> {
        let edge = self.iter().max_by_key(|edge| edge.accepted_conns())?;
        let accepted = edge.conns().find(|conn| !conn.outgoing)?;
        (edge.accepted_conns() > 1).then_some((edge.peer, accepted.id))
    }

    /// How well connected this node is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The bits that the farthest sibling shares with this node; nothing if there is no edge.
    pub fn sibling_bucket(&self) -> Option<u16> {
        self.sibling_bucket
    }

    /// This node's identifier.
    pub fn own(&self) -> &NodeId {
        &self.own
    }

    /// The edges nearest to `target`, nearest first: `N`, or all if there are fewer.
    pub fn closest<const N: usize>(&self, target: &NodeId) -> FixedVec<&Edge, N> {
        let search = self.near(target);
        let nearest = search.nearest::<N>(N);
        (0..nearest.len()).map(|rank| search.edge(&nearest, rank)).collect()
    }

    /// The edges whose peers' identifiers share at least the first `bits` bits, 64 at most, with
    /// `id`.
    pub fn sharing(&self, id: &NodeId, bits: u16) -> &[Edge] {
        let differing = u64::MAX.checked_shr(bits.into()).unwrap_or(0);
        let (first, last) = (id.prefix() & !differing, id.prefix() | differing);
        let start = self.prefixes.partition_point(|&short| short < first);
        let end = self.prefixes.partition_point(|&short| short <= last);
        &self.edges[start..end]
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub fn check(&self) {
        assert_eq!(self.prefixes.len(), self.edges.len());
        assert!(self.edges.is_sorted_by(|a, b| a.peer < b.peer));
        for (&short, edge) in self.prefixes.iter().zip(&self.edges) {
            assert_eq!(short, edge.peer.prefix());
            assert!(edge.peer != self.own);
            assert!(edge.conn_count() <= CONNS_PER_EDGE);
            assert!(edge.surplus.is_sorted_by_key(|conn| conn.heard));
        }
        assert_eq!(self.outgoing, self.iter().filter(|edge| edge.is_outgoing()).count());
        let siblings = self.closest::<SIBLINGS>(&self.own);
        assert!(siblings.iter().all(|edge| edge.sibling));
        assert_eq!(siblings.len(), self.iter().filter(|edge| edge.sibling).count());
        let bucket = siblings.last().map(|edge| self.own.common_prefix_len(&edge.peer));
        assert_eq!(self.sibling_bucket, bucket);
    }

    /// A search for the edges near `target`.
    pub(in crate::overlay) fn near<'e, 't>(&'e self, target: &'t NodeId) -> Search<'e, 't> {
        Search::new(target, &self.prefixes, &self.edges)
    }

    fn search(&self, peer: &NodeId) -> Result<usize, usize> {
        let wanted = peer.prefix();
        let mut at = self.prefixes.partition_point(|&short| short < wanted);
        while at < self.edges.len() && self.prefixes[at] == wanted {
            match self.edges[at].peer.cmp(peer) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(at),
                Ordering::Greater => break,
            }
        }
        Err(at)
    }

    /// Marks the siblings anew after `changed` was added or removed. Only the nearest seventeen can
    /// have changed.
    fn reclassify(&mut self, changed: &NodeId) {
        let search = Search::new(&self.own, &self.prefixes, &self.edges);
        let nearest = search.nearest::<{ SIBLINGS + 1 }>(SIBLINGS + 1);
        if let Some(edge) = self.get_mut(changed) {
            edge.sibling = false;
        }
        for (rank, &at) in nearest.places().iter().enumerate() {
            self.edges[usize::from(at)].sibling = rank < SIBLINGS;
        }
        let farthest = nearest.places().iter().take(SIBLINGS).next_back();
        let farthest = farthest.map(|&at| &self.edges[usize::from(at)].peer);
        self.sibling_bucket = farthest.map(|peer| self.own.common_prefix_len(peer));
    }

    fn next_phase(&self) -> Phase {
        match self.outgoing {
            0 => Phase::Bootstrap,
            1..=HARD_FLOOR => Phase::Critical,
            4..=LOW_WATER => Phase::Urgent,
            TARGET_EDGES.. => Phase::Normal,
            count if self.phase == Phase::Normal && count >= TARGET_EDGES - FILL_HYSTERESIS => {
                Phase::Normal
            }
            _ => Phase::NeedsFill,
        }
    }
}
