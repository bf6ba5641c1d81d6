//! Origination of messages: the copies of a routed message, and direct messages
//! (PROTOCOL.md#sending).
//!
//! Responsible for: signing, and which first hops a message takes. Never: sends; the engine offers
//! the copies to the transport and settles the request.

use bytes::Bytes;
use heapless::Vec as FixedVec;

use crate::NodeId;
use crate::addr::Subnet;
use crate::api::SendFailure;
use crate::buf::Frame;
use crate::context::Context;
use crate::overlay::actions::{Action, CANDIDATES};
use crate::overlay::edges::{CONNS_PER_EDGE, Edge, EdgeTable};
use crate::transport::ConnId;
use crate::wire::envelope::{AvoidSet, Envelope};
use crate::wire::frame::app_frame;
use crate::wire::{DIRECT_PAYLOAD_MAX, FrameType, SEND_PAYLOAD_MAX};

/// First hops of one message, whose copies take disjoint routes (PROTOCOL.md#first-hops).
pub(crate) const FIRST_HOPS: usize = 3;

/// The copy that takes the second-best hop everywhere.
const SECOND_BEST: usize = 1;

/// A routed message, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// What it is.
    pub(crate) frame_type: FrameType,
    /// The node that it is for.
    pub(crate) target: NodeId,
    /// What it says.
    pub(crate) payload: Bytes,
    /// First hops of earlier messages that brought no answer. Other edges are preferred, those in
    /// other subnets most. Empty for a first message.
    pub(crate) tried: Vec<Hop>,
}

/// An edge that a copy of a message left on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The peer.
    pub(crate) peer: NodeId,
    /// Its subnet; nothing on loopback.
    pub(crate) subnet: Option<Subnet>,
}

/// A message to be sent: one copy over each first hop, and edges that replace those that refuse
/// theirs.
#[derive(Debug)]
pub(crate) struct MultiPathSend {
    /// The envelope of every copy.
    pub(crate) envelope: Envelope,
    /// Nearest to the target first.
    pub(crate) copies: FixedVec<FirstHop, FIRST_HOPS>,
    /// The next nearest.
    pub(crate) spares: FixedVec<ConnId, { CANDIDATES - FIRST_HOPS }>,
}

/// A message for the other end of an edge.
#[derive(Debug)]
pub(crate) struct DirectSend {
    /// The frame.
    pub(crate) frame: Frame,
    /// The conns of the edge, best first.
    pub(crate) hops: FixedVec<ConnId, CONNS_PER_EDGE>,
}

/// The first hop of one copy, and the nodes that it avoids later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstHop {
    /// The conn that it leaves on.
    pub(crate) conn: ConnId,
    /// The other first hops. Never the target, which could then not be reached
    /// (PROTOCOL.md#avoid-never-the-target).
    pub(crate) avoid: AvoidSet,
}

/// Signs a message and chooses the first hops of its copies.
///
/// # Errors
/// [`SendFailure::TooLarge`], or [`SendFailure::Unroutable`] without an edge.
pub(crate) fn send(
    cx: &mut Context<'_, Action>,
    edges: &EdgeTable,
    message: Message,
) -> Result<MultiPathSend, SendFailure> {
    let Message { frame_type, target, payload, tried } = message;
    check_len(&payload, SEND_PAYLOAD_MAX)?;
    let (copies, spares) = first_hops(&candidates(edges, &target, &tried), &target);
    if copies.is_empty() {
        return Err(SendFailure::Unroutable);
    }
    let sent = cx.stamp();
    let envelope = Envelope::sign(cx.signer(), frame_type, target, sent, payload)
        .expect("the length was just compared with the limit");
    Ok(MultiPathSend { envelope, copies, spares })
}

/// Frames `payload` for the edge to `target`.
///
/// # Errors
/// [`SendFailure::TooLarge`], or [`SendFailure::NoEdge`] without an edge to that peer.
pub(crate) fn send_direct(
    edges: &EdgeTable,
    target: &NodeId,
    payload: Bytes,
) -> Result<DirectSend, SendFailure> {
    check_len(&payload, DIRECT_PAYLOAD_MAX)?;
    let edge = edges.get(target).ok_or(SendFailure::NoEdge)?;
    let frame = app_frame(payload).expect("the length was just compared with the limit");
    Ok(DirectSend { frame, hops: edge.conns().rev().map(|conn| conn.id).collect() })
}

/// Whether a payload fits into one message.
fn check_len(payload: &Bytes, max: usize) -> Result<(), SendFailure> {
    let len = payload.len();
    if len > max { Err(SendFailure::TooLarge { len, max }) } else { Ok(()) }
}

/// The edges nearest to `target`, whether or not they are closer to it than this node. Edges in
/// the subnet of one that was tried come after all others, and those that were tried last.
fn candidates<'a>(
    edges: &'a EdgeTable,
    target: &NodeId,
    tried: &[Hop],
) -> FixedVec<&'a Edge, CANDIDATES> {
    if tried.is_empty() {
        return edges.closest(target);
    }
    let rank = |edge: &Edge| {
        let is_tried = tried.iter().any(|hop| hop.peer == edge.peer);
        let shares_subnet = || tried.iter().any(|hop| hop.subnet == edge.subnet);
        (is_tried, edge.subnet.is_some() && shares_subnet())
    };
    let mut ranked: Vec<&Edge> = edges.iter().collect();
    ranked.sort_by(|a, b| {
        rank(a).cmp(&rank(b)).then_with(|| target.compare_distance(&a.peer, &b.peer))
    });
    ranked.into_iter().take(CANDIDATES).collect()
}

/// The first few edges get a copy each; the rest replace those that refuse.
fn first_hops(
    nearest: &[&Edge],
    target: &NodeId,
) -> (FixedVec<FirstHop, FIRST_HOPS>, FixedVec<ConnId, { CANDIDATES - FIRST_HOPS }>) {
    let (first, rest) = nearest.split_at(nearest.len().min(FIRST_HOPS));
    let copies = first.iter().zip(0..).map(|(edge, number)| {
        let others = first.iter().map(|other| other.peer);
        let others = others.filter(|other| *other != edge.peer && other != target);
        // The order marks the copy that takes the second-best hop: see `decide`.
        let avoid = match number {
            SECOND_BEST => others.rev().collect(),
            _ => others.collect(),
        };
        FirstHop { conn: edge.send_conn().id, avoid }
    });
    (copies.collect(), rest.iter().map(|edge| edge.send_conn().id).collect())
}

#[cfg(test)]
mod tests {
    use super::{AvoidSet, CANDIDATES, FIRST_HOPS, FirstHop, FixedVec, Hop, candidates};
    use crate::NodeId;
    use crate::addr::Subnet;
    use crate::env::test_base;
    use crate::overlay::edges::EdgeTable;
    use crate::overlay::edges::budgets::EdgeBudgets;
    use crate::overlay::routing::decide::is_second_best;
    use crate::transport::ConnId;

    fn id(first: u8) -> NodeId {
        let mut bytes = [0; 32];
        bytes[0] = first;
        NodeId::from_bytes(bytes)
    }

    /// Edges to these identifiers; the number of each conn is the first byte.
    fn edges(peers: &[u8]) -> EdgeTable {
        let mut edges = EdgeTable::new(id(0));
        for &peer in peers {
            let budgets = || EdgeBudgets::new(test_base());
            edges.attach(test_base(), id(peer), [0; 32], ConnId(peer.into()), true, budgets);
        }
        edges
    }

    fn first_hops(
        edges: &EdgeTable,
        target: &NodeId,
    ) -> (FixedVec<FirstHop, FIRST_HOPS>, FixedVec<ConnId, { CANDIDATES - FIRST_HOPS }>) {
        super::first_hops(&candidates(edges, target, &[]), target)
    }

    fn hop(conn: u64, avoid: &[u8]) -> FirstHop {
        let avoid: AvoidSet = avoid.iter().copied().map(id).collect();
        FirstHop { conn: ConnId(conn), avoid }
    }

    #[test]
    fn each_copy_avoids_the_other_first_hops() {
        let (copies, spares) = first_hops(&edges(&[1, 2, 4, 8, 16]), &id(0xff));
        assert_eq!(copies[..], [hop(16, &[8, 4]), hop(8, &[4, 16]), hop(4, &[16, 8])]);
        let target = id(0xff);
        let second_best = copies.iter().map(|copy| is_second_best(&target, &copy.avoid));
        assert_eq!(second_best.collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(spares[..], [ConnId(2), ConnId(1)]);
    }

    #[test]
    fn no_copy_avoids_the_target() {
        let (copies, _) = first_hops(&edges(&[1, 2, 4, 8, 16]), &id(16));
        assert_eq!(copies[..], [hop(16, &[1, 2]), hop(1, &[2]), hop(2, &[1])]);
    }

    #[test]
    fn there_are_no_more_copies_than_edges() {
        assert_eq!(first_hops(&edges(&[]), &id(1)).0[..], []);
        assert_eq!(first_hops(&edges(&[2]), &id(1)).0[..], [hop(2, &[])]);
        assert_eq!(first_hops(&edges(&[2, 3]), &id(1)).0[..], [hop(3, &[2]), hop(2, &[3])]);
    }

    /// The candidates for a target near to those with a high first byte, when these were tried.
    fn after(edges: &EdgeTable, tried: &[u8]) -> Vec<u64> {
        let hops = tried.iter().map(|&peer| edges.get(&id(peer)).expect("an edge"));
        let hops: Vec<Hop> =
            hops.map(|edge| Hop { peer: edge.peer, subnet: edge.subnet }).collect();
        let candidates = candidates(edges, &id(0xff), &hops);
        candidates.iter().map(|edge| edge.send_conn().id.0).collect()
    }

    #[test]
    fn edges_that_were_tried_come_last_and_behind_those_of_their_subnets() {
        let mut edges = edges(&[1, 2, 4, 8, 16]);
        let subnet = |last: u8| Subnet::counted([192, 0, last, 1].into());
        for (peer, last) in [(1, 1), (2, 2), (4, 3), (8, 4), (16, 2)] {
            edges.get_mut(&id(peer)).expect("an edge").subnet = subnet(last);
        }
        assert_eq!(after(&edges, &[]), [16, 8, 4, 2, 1]);
        assert_eq!(after(&edges, &[16]), [8, 4, 1, 2, 16], "2 is in the subnet of 16");
        assert_eq!(after(&edges, &[16, 8, 4, 2, 1]), [16, 8, 4, 2, 1], "they are all there is");
    }

    #[test]
    fn peers_without_a_subnet_share_none() {
        let edges = edges(&[1, 2, 4]);
        assert_eq!(after(&edges, &[4]), [2, 1, 4]);
    }
}
