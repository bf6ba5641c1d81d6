//! The forwarding decision (PROTOCOL.md#forwarding-decision), and a way around dead ends.
//!
//! Greedy routing ends at the node nearest to the target that has no edge to it. Where NATs keep
//! neighbours apart that happens although the target is there: the two can not connect, but both
//! have edges to the same others. So a dead end hands a message once to the neighbours nearest to
//! the target though they are farther than itself: a detour. Whoever gets a message from a
//! neighbour that is nearer than itself, and did not make it, knows that it is on a detour and
//! passes it on to nobody but the target, so a detour is one edge long and has no branches.
//!
//! Three copies of a message leave over different edges, and all of them meet at the node nearest
//! to the target that has an edge to it. If that one has just died all three are lost: in churn
//! that was the fate of one message in a thousand. So one of the copies takes the second best way
//! at every hop.

use heapless::Vec as FixedVec;

use crate::NodeId;
pub use crate::overlay::actions::CANDIDATES;
use crate::overlay::edges::EdgeTable;
use crate::transport::ConnId;
use crate::wire::envelope::HOP_LIMIT_MAX;

/// Ways around a dead end that are tried at once. With 60 % of all nodes behind NATs, half of the
/// neighbours of a node behind an easy one can have no edge to a target behind a hard one: of six,
/// all are such in one case in sixty; of sixteen, in one in sixty thousand.
pub const DETOURS: usize = 16;
/// Edges among which those ways are chosen (a guess: the siblings of two nodes side by side).
const DETOURS_AMONG: usize = 2 * DETOURS;

/// What to do with a routed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is for this node.
    Deliver,
    /// It goes on, to the first of these conns that takes it.
    Forward {
        /// The hop limit it goes on with.
        hop_limit: u8,
        /// Nearest to the target first, but light nodes last; never empty.
        hops: FixedVec<ConnId, CANDIDATES>,
    },
    /// Nobody here is closer to the target than this node.
    DeadEnd,
    /// Somebody may be closer, but the message has crossed enough edges.
    HopLimitSpent,
}

/// What the decision depends on, beside the edges.
#[derive(Debug, Clone, Copy)]
pub struct DecisionInputs<'a> {
    /// For whom.
    pub target: &'a NodeId,
    /// Hop limit as received.
    pub hop_limit: u8,
    /// Whom the originator asks to leave out.
    pub avoid: &'a [NodeId],
    /// The neighbour it came from, which does not get it back (PROTOCOL.md#arrival-edge).
    pub from: Option<&'a NodeId>,
    /// It comes from a neighbour that is nearer to the target than this node and did not make it.
    pub on_detour: bool,
    /// It is the copy that takes the second best way.
    pub second_best: bool,
}

/// Whether a message that avoids these nodes is the copy that takes the second best way. Its
/// originator says so by naming the farther of two first; for one that does not know of this it is
/// as good as chance.
pub fn is_second_best(target: &NodeId, avoid: &[NodeId]) -> bool {
    matches!(avoid, [a, b, ..] if target.compare_distance(a, b).is_gt())
}

/// Decides what to do with a routed message. Looks at the [`CANDIDATES`] edges nearest to the
/// target and keeps those that are closer to it than this node and not to be avoided.
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
    // One more, because the neighbour it came from is most likely among them.
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
        // In order of distance: whoever follows is farther still.
        let is_over = candidates > candidates_max || !near.is_closer(&nearest, rank, edges.own());
        if is_over || (inputs.on_detour && peer.peer != *inputs.target) {
            break;
        }
        if inputs.avoid.contains(&peer.peer) {
            continue;
        }
        let is_target = peer.peer == *inputs.target;
        is_direct |= is_target;
        // Who sleeps is woken for what is its own, or if nobody else is closer.
        let _ =
            if peer.light && !is_target { &mut light } else { &mut hops }.push(peer.send_conn().id);
    }
    if inputs.second_best && !is_direct && hops.len() > 1 {
        hops.swap(0, 1);
    }
    hops.extend(light);
    if hops.is_empty() { Decision::DeadEnd } else { Decision::Forward { hop_limit, hops } }
}

/// Where a message goes from a dead end: to edges near the target, all of them farther from it than
/// this node. Those that anybody `can_dial` come first: a NAT does not keep them apart from the
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
