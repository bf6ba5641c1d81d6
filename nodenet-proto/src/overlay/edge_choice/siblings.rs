//! Which of the nearest peers a node dials.
//!
//! The nearest sixteen are wanted, whoever opens the edge. If others opened nearly all of these, more
//! are dialed beyond them, however far: a node must not be left with neighbours of which every one
//! chose it, and not it them. That is how identifiers ground next to a victim would surround it.

use std::cmp::Ordering;

use super::{Candidate, Scene};
use crate::NodeId;

/// Of the nearest peers at least so many are dialed by this node (spec 20 R11 and spec 95 §5 ask that
/// siblings are never all inbound; the number is a guess).
const DIALED_MIN: usize = 4;

/// A peer that is one of the nearest, or would be.
#[derive(Debug, Clone, Copy)]
enum Standing<'a> {
    /// There is an edge, or a dial in flight, which counts as an edge that we opened.
    Edge { outgoing: bool },
    /// There is none.
    Unconnected(&'a Candidate),
}

/// The contacts that belong to the nearest peers and have no edge, nearest first.
pub(super) fn wanted_siblings<'a>(scene: &Scene<'a>) -> Vec<&'a Candidate> {
    let (own, appetite) = (scene.own, scene.appetite);
    let reach = reach(scene);
    let is_within = |id: &NodeId| reach.is_none_or(|far| own.compare_distance(id, &far).is_le());
    let edges = scene.live.iter().map(|edge| (edge.id, Standing::Edge { outgoing: edge.outgoing }));
    let dials = scene.in_flight.iter().map(|dial| (dial.id, Standing::Edge { outgoing: true }));
    let contacts = scene.candidates.iter().map(|c| (c.id, Standing::Unconnected(c)));
    let mut nearest: Vec<(NodeId, Standing<'_>)> =
        edges.chain(dials).chain(contacts).filter(|(id, _)| is_within(id)).collect();
    nearest.sort_unstable_by(|a, b| own.compare_distance(&a.0, &b.0));
    let (mut rank, mut dialed, mut wanted) = (0, 0, Vec::new());
    for (_, standing) in nearest {
        match standing {
            Standing::Edge { outgoing } => dialed += usize::from(outgoing),
            Standing::Unconnected(c) if c.light && rank >= appetite.light_siblings => continue,
            Standing::Unconnected(contact) => {
                if rank < appetite.siblings || dialed < dialed_min(scene) {
                    wanted.push(contact);
                    dialed += 1;
                }
            }
        }
        rank += 1;
    }
    wanted
}

/// How far the nearest peers reach: whoever is farther than this is none of them. Nothing if there is
/// no such limit yet.
pub(super) fn reach(scene: &Scene<'_>) -> Option<NodeId> {
    let in_order = scene.live.in_order();
    let last = in_order.last().map(|edge| edge.id);
    if in_order.len() == scene.live.len() {
        return last_needed(scene, in_order.iter().map(|edge| (edge.id, edge.outgoing)), None);
    }
    // The limit is nearly always among those that are in order already.
    last_needed(scene, in_order.iter().map(|edge| (edge.id, edge.outgoing)), last)
        .or_else(|| last_needed(scene, scene.live.iter().map(|e| (e.id, e.outgoing)), None))
}

/// The first of these peers and the dials in flight, up to `far`, that is not nearer than sixteen, of
/// which enough are dialed.
fn last_needed(
    scene: &Scene<'_>,
    live: impl Iterator<Item = (NodeId, bool)>,
    far: Option<NodeId>,
) -> Option<NodeId> {
    let by_distance = |a: &NodeId, b: &NodeId| -> Ordering { scene.own.compare_distance(a, b) };
    let is_within = |id: &NodeId| far.is_none_or(|far| by_distance(id, &far).is_le());
    let dials = scene.in_flight.iter().filter(|dial| is_within(&dial.id));
    let mut peers: Vec<(NodeId, bool)> = live.chain(dials.map(|dial| (dial.id, true))).collect();
    peers.sort_unstable_by(|a, b| by_distance(&a.0, &b.0));
    let mut dialed = 0;
    let is_last = |(place, (_, ours)): &(usize, (NodeId, bool))| {
        dialed += usize::from(*ours);
        place + 1 >= scene.appetite.siblings && dialed >= dialed_min(scene)
    };
    peers.into_iter().enumerate().find(is_last).map(|(_, (id, _))| id)
}

fn dialed_min(scene: &Scene<'_>) -> usize {
    DIALED_MIN.min(scene.appetite.siblings)
}
