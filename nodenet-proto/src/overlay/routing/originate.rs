//! Messages that begin here (PROTOCOL.md#sending).

use bytes::Bytes;
use heapless::Vec as FixedVec;

use super::decide::CANDIDATES;
use crate::NodeId;
use crate::api::{DeliveryPath, Event, RequestId, SendFailure};
use crate::buf::Frame;
use crate::context::Context;
use crate::env::UnixNanos;
use crate::overlay::edges::Edges;
use crate::overlay::{Action, Overlay};
use crate::transport::{Class, ConnId};
use crate::wire::envelope::{AGE_MAX, AvoidSet, Envelope, Signer};
use crate::wire::frame::app_frame;
use crate::wire::{DIRECT_PAYLOAD_MAX, Encode, FrameType, Lookup, Nonce, SEND_PAYLOAD_MAX};

/// First hops of one message, which take disjoint ways (PROTOCOL.md#first-hops).
const FIRST_HOPS: usize = 3;

/// The copy that takes the second best way at every hop.
const SECOND_BEST: usize = 1;

/// A message on its way out: one copy over each first hop, and edges that stand in for those that
/// refuse theirs.
#[derive(Debug)]
pub(crate) struct MultiPathSend {
    /// Settled by the outcome.
    pub(crate) request: RequestId,
    /// What every copy says.
    pub(crate) envelope: Envelope,
    /// Nearest to the target first.
    pub(crate) copies: FixedVec<FirstHop, FIRST_HOPS>,
    /// The next nearest.
    pub(crate) spares: FixedVec<ConnId, { CANDIDATES - FIRST_HOPS }>,
}

/// Where one copy goes first, and through whom it shall not go later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstHop {
    /// Where it goes first.
    pub(crate) conn: ConnId,
    /// The other first hops. Never the target, which could then not be reached
    /// (PROTOCOL.md#avoid-never-the-target).
    pub(crate) avoid: AvoidSet,
}

/// Time stamps of our own messages: strictly increasing, because two equal payloads with equal
/// stamps would be one message (PROTOCOL.md#origination-time).
#[derive(Debug, Clone, Default)]
pub(crate) struct OriginationClock {
    last: Option<UnixNanos>,
}

impl OriginationClock {
    /// The stamp of a message made now. A clock that went back by more than the freshness window is
    /// followed: nobody remembers a message that far ahead, and nobody would take one.
    pub(crate) fn next(&mut self, wall: UnixNanos) -> UnixNanos {
        let window = AGE_MAX.as_nanos() as i64;
        let next = match self.last {
            Some(last) if last.0.saturating_sub(window) <= wall.0 => {
                wall.0.max(last.0.saturating_add(1))
            }
            _ => wall.0,
        };
        self.last = Some(UnixNanos(next));
        UnixNanos(next)
    }
}

impl Overlay {
    /// Sends `payload` to `target` by routing.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_, Action>,
        request: RequestId,
        (target, payload): (NodeId, Bytes),
    ) {
        let (len, max) = (payload.len(), SEND_PAYLOAD_MAX);
        if len > max {
            return cx.act(failed(request, SendFailure::TooLarge { len, max }));
        }
        let signer = Signer { identity: cx.identity, crypto: cx.crypto };
        let (copies, spares) = first_hops(&self.edges, &target);
        if target == *self.edges.own() {
            let path = DeliveryPath::Routed { hops: 0 };
            return cx.act(deliver_to_ourselves(target, payload, path, request));
        }
        if copies.is_empty() {
            return cx.act(failed(request, SendFailure::Unroutable));
        }
        let sent = self.origination_clock.next(cx.wall);
        let envelope = Envelope::sign(signer, FrameType::Route, target, sent, payload)
            .expect("the length was just compared with the limit");
        cx.act(Action::MultiPathSend(Box::new(MultiPathSend {
            request,
            envelope,
            copies,
            spares,
        })));
    }

    /// Sends `payload` over the edge to `target`.
    pub(crate) fn send_direct(
        &mut self,
        cx: &mut Context<'_, Action>,
        request: RequestId,
        (target, payload): (NodeId, Bytes),
    ) {
        let (len, max) = (payload.len(), DIRECT_PAYLOAD_MAX);
        if len > max {
            return cx.act(failed(request, SendFailure::TooLarge { len, max }));
        }
        if target == *self.edges.own() {
            return cx.act(deliver_to_ourselves(target, payload, DeliveryPath::Direct, request));
        }
        let Some(edge) = self.edges.get(&target) else {
            return cx.act(failed(request, SendFailure::Unroutable));
        };
        let frame = app_frame(payload).expect("the length was just compared with the limit");
        let hops = edge.conns().rev().map(|conn| conn.id).collect();
        cx.act(Action::Offer { class: Class::Own, frame, hops, request: Some(request) });
    }
}

/// A question about who is near `target`, for whoever gets it: its hops are spent already. It
/// avoids this node as every Lookup does (PROTOCOL.md#control-messages).
pub(crate) fn lookup_here(
    cx: &Context<'_, Action>,
    own: NodeId,
    target: NodeId,
    nonce: Nonce,
    sent: UnixNanos,
) -> Frame {
    let signer = Signer { identity: cx.identity, crypto: cx.crypto };
    let payload = Lookup { nonce }.to_bytes();
    let envelope = Envelope::sign(signer, FrameType::Lookup, target, sent, payload)
        .expect("a nonce is no large payload");
    let avoid = AvoidSet::from_iter([own]);
    Envelope { hop_limit: 0, avoid, ..envelope }.to_frame(FrameType::Lookup)
}

/// The edges nearest to `target`, whether or not they are closer to it than we are: the first few
/// get a copy each, the rest stand in for them.
fn first_hops(
    edges: &Edges,
    target: &NodeId,
) -> (FixedVec<FirstHop, FIRST_HOPS>, FixedVec<ConnId, { CANDIDATES - FIRST_HOPS }>) {
    let nearest = edges.closest::<CANDIDATES>(target);
    let (first, rest) = nearest.split_at(nearest.len().min(FIRST_HOPS));
    let copies = first.iter().zip(0..).map(|(edge, number)| {
        let others = first.iter().map(|other| other.peer);
        let others = others.filter(|other| *other != edge.peer && other != target);
        // The order tells which copy takes the second best way: see `decide`.
        let avoid = match number {
            SECOND_BEST => others.rev().collect(),
            _ => others.collect(),
        };
        FirstHop { conn: edge.send_conn().id, avoid }
    });
    (copies.collect(), rest.iter().map(|edge| edge.send_conn().id).collect())
}

fn failed(request: RequestId, error: SendFailure) -> Action {
    Action::Event(Event::SendFailed { request, error })
}

fn deliver_to_ourselves(
    own: NodeId,
    payload: Bytes,
    path: DeliveryPath,
    request: RequestId,
) -> Action {
    Action::Deliver { originator: own, payload, path, request: Some(request) }
}

#[cfg(test)]
mod tests {
    use super::{AvoidSet, FirstHop, OriginationClock, first_hops};
    use crate::NodeId;
    use crate::env::{UnixNanos, test_base};
    use crate::overlay::edges::Edges;
    use crate::overlay::edges::budgets::EdgeBudgets;
    use crate::overlay::routing::decide::is_second_best;
    use crate::transport::ConnId;

    const S: i64 = 1_000_000_000;

    fn id(first: u8) -> NodeId {
        let mut bytes = [0; 32];
        bytes[0] = first;
        NodeId::from_bytes(bytes)
    }

    /// Edges to these identifiers; the conn of each is named by its first byte.
    fn edges(peers: &[u8]) -> Edges {
        let mut edges = Edges::new(id(0));
        for &peer in peers {
            let budgets = || EdgeBudgets::new(test_base());
            let conn = (ConnId(peer.into()), true);
            edges.attach(test_base(), id(peer), [0; 32], conn, budgets);
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

    #[test]
    fn stamps_increase_even_if_the_clock_stands_still_or_slips_back() {
        let mut origination_clock = OriginationClock::default();
        let given: Vec<i64> = [100 * S, 100 * S, 99 * S, 101 * S]
            .map(|wall| origination_clock.next(UnixNanos(wall)).0)
            .into();
        assert_eq!(given, [100 * S, 100 * S + 1, 100 * S + 2, 101 * S]);
    }

    #[test]
    fn stamps_follow_a_clock_that_was_far_ahead() {
        let mut origination_clock = OriginationClock::default();
        origination_clock.next(UnixNanos(3600 * S));
        assert_eq!(origination_clock.next(UnixNanos(5 * S)), UnixNanos(5 * S));
    }
}
