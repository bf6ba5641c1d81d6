//! Forwarding decision of greedy routing (PROTOCOL.md#forwarding-decision), and detours around dead
//! ends.
//!
//! Greedy routing may end at the node nearest to the target that has no edge to it. Where NATs keep
//! the two apart that happens although the target is alive: they cannot connect, but both have
//! edges to the same others. A dead end therefore sends a message once to the neighbours nearest to
//! the target, though they are farther than itself: a detour. A node that receives a message from a
//! neighbour that is nearer than itself, and not its originator, infers the detour. It forwards the
//! message to the target alone, so a detour is one edge long and has no branches.
//!
//! Three copies of a message leave over different edges. All of them meet at the node nearest to
//! the target that has an edge to it. If that node has just died, all three are lost: one message
//! in a thousand in churn. One of the copies therefore takes the second-best hop everywhere.

use heapless::Vec as FixedVec;

use crate::NodeId;
pub use crate::overlay::actions::CANDIDATES;
use crate::overlay::edges::EdgeTable;
use crate::transport::ConnId;
use crate::wire::envelope::HOP_LIMIT_MAX;

/// Detours around a dead end that are tried at once. With 60 % of all nodes behind NATs, take a
/// node behind an easy one and a target behind a hard one. Half of the neighbours of the node can
/// have no edge to the target. Of six neighbours all are such in one case in sixty; of sixteen, in
/// one in sixty thousand.
pub const DETOURS: usize = 16;
/// Edges among which the detours are chosen (a guess: the siblings of two adjacent nodes).
const DETOURS_AMONG: usize = 2 * DETOURS;

/// What follows for a routed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is for this node.
    Deliver,
    /// It is forwarded on the first of these conns that takes it.
    Forward {
        /// The hop limit that it is forwarded with.
        hop_limit: u8,
        /// Nearest to the target first, but light nodes last; never empty.
        hops: FixedVec<ConnId, CANDIDATES>,
    },
    /// No neighbour is closer to the target than this node.
    DeadEnd,
    /// A neighbour may be closer, but the message has crossed as many edges as it may.
    HopLimitSpent,
}

/// Inputs of the decision, beside the edges.
#[derive(Debug, Clone, Copy)]
pub struct DecisionInputs<'a> {
    /// The target.
    pub target: &'a NodeId,
    /// Hop limit as received.
    pub hop_limit: u8,
    /// The avoid set.
    pub avoid: &'a [NodeId],
    /// The neighbour that it came from, which does not get it back (PROTOCOL.md#arrival-edge).
    pub from: Option<&'a NodeId>,
    /// It comes from a neighbour that is nearer to the target than this node and is not its
    /// originator.
    pub on_detour: bool,
    /// It is the copy that takes the second-best hop.
    pub second_best: bool,
}

/// Whether a message that avoids these nodes is the copy that takes the second-best hop. Its
/// originator marks it by naming the farther of two first; the order of other implementations is
/// arbitrary.
pub fn is_second_best(target: &NodeId, avoid: &[NodeId]) -> bool {
    matches!(avoid, [a, b, ..] if target.compare_distance(a, b).is_gt())
}

/// Decides what follows for a routed message. Takes the [`CANDIDATES`] edges nearest to the target
/// and keeps those that are closer to it than this node and not in the avoid set.
pub fn decide(edges: &EdgeTable, inputs: DecisionInputs<'_>) -> Decision {
    decide_among(edges, inputs, CANDIDATES)
}

fn decide_among(edges: &EdgeTable, inputs: DecisionInputs<'_>, candidates_max: usize) -> Decision {
    if inputs.target == edges.own() {
        return Decision::Deliver;
    }
    let Some(hop_limit) = inputs.hop_limit.min(HOP_LIMIT_MAX).checked_sub(1) else {
        return Decision::HopLimitSpent;
    };
    let near = edges.near(inputs.target);
    // One more, because the neighbour that it came from is most likely among them.
    let nearest = near.nearest::<{ CANDIDATES + 1 }>(candidates_max + 1);
    let (mut hops, mut candidates) = (FixedVec::new(), 0);
    let mut light: FixedVec<ConnId, CANDIDATES> = FixedVec::new();
    let mut is_direct = false;
    for rank in 0..nearest.len() {
        let peer = near.edge(&nearest, rank);
        if Some(&peer.peer) == inputs.from {
            continue;
        }
        candidates += 1;
        // In order of distance: the ones that follow are farther still.
        let is_over = candidates > candidates_max || !near.is_closer(&nearest, rank, edges.own());
        if is_over || (inputs.on_detour && peer.peer != *inputs.target) {
            break;
        }
        if inputs.avoid.contains(&peer.peer) {
            continue;
        }
        let is_target = peer.peer == *inputs.target;
        is_direct |= is_target;
        // Light nodes come last unless they are the target.
        let _ =
            if peer.light && !is_target { &mut light } else { &mut hops }.push(peer.send_conn().id);
    }
    if inputs.second_best && !is_direct && hops.len() > 1 {
        hops.swap(0, 1);
    }
    hops.extend(light);
    if hops.is_empty() { Decision::DeadEnd } else { Decision::Forward { hop_limit, hops } }
}

/// The hops of a detour from a dead end: edges near the target, all of them farther from it than
/// this node. Those that any node `can_dial` come first: no NAT keeps them from an edge to the
/// target.
pub fn detours(
    edges: &EdgeTable,
    inputs: DecisionInputs<'_>,
    can_dial: impl Fn(&NodeId) -> bool,
) -> FixedVec<ConnId, DETOURS> {
    let nearest = edges.closest::<DETOURS_AMONG>(inputs.target);
    let is_out = |peer| Some(peer) == inputs.from || inputs.avoid.contains(peer);
    let ways = || nearest.iter().filter(|edge| !is_out(&edge.peer));
    let first = ways().filter(|edge| can_dial(&edge.peer));
    let others = ways().filter(|edge| !can_dial(&edge.peer));
    first.chain(others).take(DETOURS).map(|edge| edge.send_conn().id).collect()
}

#[cfg(test)]
mod tests;
