//! Snapshot of the live edges, as far as the choice needs them.

use std::cmp::Ordering;

use super::EdgeTargets;
use crate::NodeId;
use crate::addr::Subnet;

/// Edges that are sorted by their distance: twice the largest target of siblings.
const SORTED: usize = 2 * EdgeTargets::ROUTER.siblings;

/// A live edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveEdge {
    pub(crate) id: NodeId,
    pub(crate) outgoing: bool,
    pub(crate) subnet: Option<Subnet>,
    /// Round-trip time in milliseconds; 0 is not known.
    pub(crate) rtt_ms: u16,
    /// Old enough to be closed; a new peer is served first.
    pub(crate) settled: bool,
    /// Whether the peer prefers not to be an intermediate hop.
    pub(crate) light: bool,
    /// Whether the peer is one of the volunteers that are kept.
    pub(crate) kept: bool,
}

impl LiveEdge {
    /// Whether it may be closed as surplus.
    pub(crate) fn is_closable(&self) -> bool {
        self.settled && !self.kept
    }

    /// Latency of a finger over this edge, for comparison. A light peer is the slowest, and so is
    /// one that had the time to answer a ping and did not.
    pub(crate) fn slowness_ms(&self) -> u16 {
        let unanswered = self.settled && self.rtt_ms == 0;
        if self.light || unanswered { u16::MAX } else { self.rtt_ms }
    }
}

/// A dial in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// The peer that is dialed.
    pub(crate) id: NodeId,
    /// Its subnet.
    pub(crate) subnet: Option<Subnet>,
}

/// Every live edge. The nearest come first, in order: every query is about the nearest, and they
/// are sorted once for all queries.
#[derive(Debug, Clone)]
pub(crate) struct Live(Vec<LiveEdge>);

impl Live {
    /// The edges of the node `own`.
    pub(crate) fn new(own: &NodeId, edges: &[LiveEdge]) -> Self {
        // An edge is large: its distance and its index are sorted in its place.
        let distance = |edge: &LiveEdge| edge.id.prefix() ^ own.prefix();
        let mut order: Vec<(u64, usize)> =
            edges.iter().map(distance).enumerate().map(|(at, far)| (far, at)).collect();
        let by_distance = |a: &(u64, usize), b: &(u64, usize)| {
            let in_full = || own.compare_distance(&edges[a.1].id, &edges[b.1].id);
            a.0.cmp(&b.0).then_with(in_full)
        };
        if order.len() > SORTED {
            order.select_nth_unstable_by(SORTED, by_distance);
        }
        let sorted = order.len().min(SORTED);
        order[..sorted].sort_unstable_by(by_distance);
        Self(order.into_iter().map(|(_, at)| edges[at]).collect())
    }

    /// All of them, the nearest in front.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &LiveEdge> {
        self.0.iter()
    }

    /// Removes an edge that does not belong to the nearest.
    pub(crate) fn remove(&mut self, id: &NodeId) {
        self.0.retain(|edge| edge.id != *id);
    }

    /// The `count` nearest, nearest first.
    pub(crate) fn nearest(&self, count: usize) -> &[LiveEdge] {
        debug_assert!(count <= SORTED, "no more are in order");
        &self.0[..count.min(self.0.len())]
    }

    /// The distance of the last of the `count` nearest; nothing if there is no edge.
    pub(crate) fn boundary(&self, own: &NodeId, count: usize) -> Option<Boundary> {
        let far = self.nearest(count).last()?;
        Some(Boundary { own: *own, far: far.id })
    }
}

/// The distance of the last of the nearest peers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boundary {
    own: NodeId,
    far: NodeId,
}

impl Boundary {
    /// Whether a peer is one of them, or nearer.
    pub(crate) fn is_within(&self, id: &NodeId) -> bool {
        self.own.compare_distance(id, &self.far) != Ordering::Greater
    }
}

#[cfg(test)]
mod tests {
    use super::{Live, LiveEdge, SORTED};
    use crate::NodeId;
    use crate::env::Seed;

    #[test]
    fn the_nearest_come_first_in_order_at_any_number_of_edges() {
        let mut rng = Seed::from_u64(1).stream("test");
        for count in [0, 1, SORTED - 1, SORTED, SORTED + 1, 200] {
            let own = NodeId::from_bytes(rng.array());
            let mut ids: Vec<NodeId> =
                (0..count).map(|_| NodeId::from_bytes(rng.array())).collect();
            let edge = |id: &NodeId| LiveEdge {
                id: *id,
                outgoing: true,
                subnet: None,
                rtt_ms: 0,
                settled: true,
                light: false,
                kept: false,
            };
            let mut live = Live::new(&own, &ids.iter().map(edge).collect::<Vec<_>>());
            ids.sort_by(|a, b| own.compare_distance(a, b));
            for wanted in [1, 16, SORTED] {
                let nearest: Vec<NodeId> =
                    live.nearest(wanted).iter().map(|edge| edge.id).collect();
                assert_eq!(nearest, ids[..wanted.min(count)]);
                let boundary = live.boundary(&own, wanted);
                assert_eq!(boundary.is_some(), count > 0);
                let within = |boundary: super::Boundary| {
                    ids.iter().filter(|id| boundary.is_within(id)).count()
                };
                assert_eq!(boundary.map_or(0, within), wanted.min(count));
            }
            if let Some(last) = ids.get(SORTED) {
                live.remove(last);
                assert_eq!(live.iter().count(), count - 1);
            }
        }
    }
}
