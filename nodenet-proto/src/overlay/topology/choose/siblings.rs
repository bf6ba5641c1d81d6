//! Selection of siblings: which of the nearest peers a node dials (PROTOCOL.md#dialed-siblings).
//!
//! Edges to the nearest sixteen count in either direction. If peers opened nearly all of these,
//! more are dialed beyond them, at any distance. A node must not depend on neighbours that all
//! chose it: identifiers that an attacker searched for next to a victim would surround it.

use super::{Candidate, ChoiceInputs, Light, SIBLINGS};
use crate::NodeId;

/// Nearest peers that this node dials, at least, so that siblings are never all inbound (a guess;
/// PROTOCOL.md#dialed-siblings).
const DIALED_MIN: usize = 4;

/// A peer that is one of the nearest, or would be.
#[derive(Debug, Clone, Copy)]
enum Standing<'a> {
    /// There is an edge, or a dial in flight, which counts as an outgoing edge.
    Edge { outgoing: bool },
    /// There is no edge.
    Unconnected(&'a Candidate),
}

/// The contacts that belong to the nearest peers and have no edge, nearest first.
pub(crate) fn wanted_siblings<'a>(inputs: &ChoiceInputs<'a>) -> Vec<&'a Candidate> {
    let (own, edge_targets) = (inputs.own, inputs.edge_targets);
    let reach = reach(inputs);
    let is_within = |id: &NodeId| reach.is_none_or(|far| own.compare_distance(id, &far).is_le());
    let edges =
        inputs.live.iter().map(|edge| (edge.id, Standing::Edge { outgoing: edge.outgoing }));
    let dials = inputs.in_flight.iter().map(|dial| (dial.id, Standing::Edge { outgoing: true }));
    let contacts = inputs.candidates.iter().map(|c| (c.id, Standing::Unconnected(c)));
    let mut nearest: Vec<(NodeId, Standing<'_>)> =
        edges.chain(dials).chain(contacts).filter(|(id, _)| is_within(id)).collect();
    nearest.sort_unstable_by(|a, b| own.compare_distance(&a.0, &b.0));
    let (mut rank, mut dialed, mut wanted) = (0, 0, Vec::new());
    for (_, standing) in nearest {
        match standing {
            Standing::Edge { outgoing } => dialed += usize::from(outgoing),
            // A router that gossip calls light is as near, and dials itself.
            Standing::Unconnected(c)
                if c.light != Light::No && rank >= edge_targets.light_siblings =>
            {
                continue;
            }
            Standing::Unconnected(contact) => {
                if rank < edge_targets.siblings || dialed < dialed_min(inputs) {
                    wanted.push(contact);
                    dialed += 1;
                }
            }
        }
        rank += 1;
    }
    wanted
}

/// The distance of the last of the nearest peers; no contact beyond it is one. Nothing if there is
/// no such limit yet.
pub(crate) fn reach(inputs: &ChoiceInputs<'_>) -> Option<NodeId> {
    let live = || inputs.live.iter().map(|edge| (edge.id, edge.outgoing));
    let peers = || live().chain(inputs.in_flight.iter().map(|dial| (dial.id, true)));
    let dialed = peers().filter(|(_, is_ours)| *is_ours);
    let last = nth_nearest(inputs.own, peers().map(|(id, _)| id), inputs.edge_targets.siblings)?;
    let last_dialed = nth_nearest(inputs.own, dialed.map(|(id, _)| id), dialed_min(inputs))?;
    let is_farther = inputs.own.compare_distance(&last_dialed, &last).is_gt();
    Some(if is_farther { last_dialed } else { last })
}

/// The last of the `count` nearest of these peers; nothing if there are fewer. Fast if the nearest
/// come first, as those of [`Live`](super::Live) do.
fn nth_nearest(own: &NodeId, peers: impl Iterator<Item = NodeId>, count: usize) -> Option<NodeId> {
    let mut nearest: heapless::Vec<NodeId, { SIBLINGS + 1 }> = heapless::Vec::new();
    for id in peers {
        let is_nearer = |other: &NodeId| own.compare_distance(&id, other).is_lt();
        if nearest.len() < count || nearest.last().is_some_and(is_nearer) {
            let at = nearest.partition_point(|other| !is_nearer(other));
            nearest.insert(at, id).expect("one place more than is ever kept");
            nearest.truncate(count);
        }
    }
    nearest.last().copied().filter(|_| nearest.len() == count)
}

fn dialed_min(inputs: &ChoiceInputs<'_>) -> usize {
    DIALED_MIN.min(inputs.edge_targets.siblings)
}

#[cfg(test)]
mod tests {
    use super::super::{ChoiceInputs, EdgeTargets, InFlight, Live, LiveEdge};
    use super::{DIALED_MIN, reach};
    use crate::NodeId;
    use crate::env::Seed;

    /// Sixteen or more, four or more of them dialed, with any number of inbound edges.
    #[test]
    fn the_nearest_reach_as_far_as_sixteen_of_which_four_are_dialed() {
        let mut rng = Seed::from_u64(1).stream("test");
        for (edges, dials, dialed_in_hundred) in [
            (0, 0, 50),
            (15, 0, 100),
            (14, 3, 0),
            (20, 1, 0),
            (20, 0, 30),
            (200, 0, 3),
            (300, 8, 2),
        ] {
            let own = NodeId::from_bytes(rng.array());
            let edge = |id, outgoing| LiveEdge {
                id,
                outgoing,
                subnet: None,
                rtt_ms: 0,
                settled: true,
                light: false,
                kept: false,
            };
            let live: Vec<LiveEdge> = (0..edges)
                .map(|_| edge(NodeId::from_bytes(rng.array()), rng.below(100) < dialed_in_hundred))
                .collect();
            let in_flight: Vec<InFlight> = (0..dials)
                .map(|_| InFlight { id: NodeId::from_bytes(rng.array()), subnet: None })
                .collect();

            let mut peers: Vec<(NodeId, bool)> = live.iter().map(|e| (e.id, e.outgoing)).collect();
            peers.extend(in_flight.iter().map(|dial| (dial.id, true)));
            peers.sort_by(|a, b| own.compare_distance(&a.0, &b.0));
            let mut dialed = 0;
            let far = peers.iter().enumerate().find(|(place, (_, ours))| {
                dialed += usize::from(*ours);
                place + 1 >= 16 && dialed >= DIALED_MIN
            });

            let (edge_targets, live) = (EdgeTargets::ROUTER, &Live::new(&own, &live));
            let in_flight = &in_flight;
            let inputs = ChoiceInputs {
                own: &own,
                difficulty: 0,
                edge_targets,
                live,
                in_flight,
                candidates: &[],
            };
            assert_eq!(reach(&inputs), far.map(|(_, (id, _))| *id), "{edges} edges");
        }
    }
}
