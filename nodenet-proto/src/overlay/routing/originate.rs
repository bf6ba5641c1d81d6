//! Origination of messages: the copies of a routed message, and direct messages
//! (PROTOCOL.md#sending).
//!
//! Responsible for: signing, and which first hops a message takes. Never: sends; the engine offers
//! the copies to the transport and settles the request.

use bytes::Bytes;
use heapless::Vec as FixedVec;

use crate::NodeId;
use crate::api::SendFailure;
use crate::buf::Frame;
use crate::context::Context;
use crate::overlay::actions::{Action, CANDIDATES};
use crate::overlay::edges::{CONNS_PER_EDGE, EdgeTable};
use crate::transport::ConnId;
use crate::wire::envelope::{AvoidSet, Envelope};
use crate::wire::frame::app_frame;
use crate::wire::{DIRECT_PAYLOAD_MAX, FrameType, SEND_PAYLOAD_MAX};

/// First hops of one message, whose copies take disjoint routes (PROTOCOL.md#first-hops).
const FIRST_HOPS: usize = 3;

/// The copy that takes the second-best hop everywhere.
const SECOND_BEST: usize = 1;

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

/// Signs `payload` for `target` and chooses the first hops of its copies.
///
/// # Errors
/// [`SendFailure::TooLarge`], or [`SendFailure::Unroutable`] without an edge.
pub(crate) fn send(
    cx: &mut Context<'_, Action>,
    edges: &EdgeTable,
    target: NodeId,
    payload: Bytes,
) -> Result<MultiPathSend, SendFailure> {
    check_len(&payload, SEND_PAYLOAD_MAX)?;
    let (copies, spares) = first_hops(edges, &target);
    if copies.is_empty() {
        return Err(SendFailure::Unroutable);
    }
    let sent = cx.stamp();
    let envelope = Envelope::sign(cx.signer(), FrameType::Route, target, sent, payload)
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

/// The edges nearest to `target`, whether or not they are closer to it than this node. The first
/// few get a copy each; the rest replace those that refuse.
fn first_hops(
    edges: &EdgeTable,
    target: &NodeId,
) -> (FixedVec<FirstHop, FIRST_HOPS>, FixedVec<ConnId, { CANDIDATES - FIRST_HOPS }>) {
    let nearest = edges.closest::<CANDIDATES>(target);
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
    use super::{AvoidSet, FirstHop, first_hops};
    use crate::NodeId;
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
}
