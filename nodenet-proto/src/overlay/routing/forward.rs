//! Forwarding of routed messages, and their end at this node (PROTOCOL.md#routing).
//!
//! Responsible for: work, freshness, the decision, transit and detours, and the checks of a message
//! that ends here. Never: answers a question, or learns from one; it returns what arrived.

use heapless::Vec as FixedVec;

use super::Routing;
use super::decide::{Decision, DecisionInputs, decide, detours, is_second_best};
use crate::NodeId;
use crate::api::{DeliveryPath, Event};
use crate::context::Context;
use crate::env::{Rate, UnixNanos};
use crate::overlay::actions::{Action, CANDIDATES};
use crate::overlay::edges::Edges;
use crate::stats::DropReason;
use crate::transport::{Class, ConnId};
use crate::wire::envelope::{HOP_LIMIT_MAX, is_fresh};
use crate::wire::{Decode, FrameType, Lookup, RoutedFrame};

/// A detour is charged by pieces of its payload this long, because what it multiplies is bytes (a
/// guess: far more than anything but the largest messages of applications).
const DETOUR_PIECE: usize = 4096;

/// What a routed message that arrived turned out to be.
#[derive(Debug)]
pub(crate) enum Routed {
    /// It was forwarded, delivered to the application, or discarded.
    Done,
    /// It was delivered: its originator is alive.
    Delivered {
        /// The originator.
        originator: NodeId,
        /// Its key.
        key: [u8; 32],
    },
    /// A question that is answered here.
    Lookup {
        /// The originator.
        originator: NodeId,
        /// The identifier that it asks for.
        target: NodeId,
        /// The question.
        lookup: Lookup,
    },
    /// An answer for this node, not yet checked.
    Neighbors(RoutedFrame),
    /// A message for this node of a type that the overlay does not serve, not yet checked.
    Unserved(RoutedFrame),
}

impl Routing {
    /// A routed message arrived from a neighbour and was charged to it. In transit no signature is
    /// checked: the node where the message ends does that. `is_anchor` selects the peers that any
    /// node can dial.
    #[inline]
    pub(crate) fn route(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &mut Edges,
        is_anchor: impl Fn(&NodeId) -> bool,
        from: NodeId,
        message: RoutedFrame,
    ) -> Routed {
        let difficulty = cx.config.difficulty;
        if difficulty > 0 && cx.crypto.node_id(message.key()).leading_zeros() < difficulty {
            cx.discard(DropReason::OriginatorWorkUnmet);
            return Routed::Done;
        }
        if !self.is_fresh(cx, edges.table().len(), from, message.sent()) {
            cx.discard(DropReason::Stale);
            return Routed::Done;
        }
        let inputs = DecisionInputs {
            target: message.target(),
            hop_limit: message.hop_limit(),
            avoid: message.avoid(),
            from: Some(&from),
            on_detour: is_on_detour(edges, &from, &message),
            second_best: is_second_best(message.target(), message.avoid()),
        };
        let is_lookup = message.frame_type() == FrameType::Lookup;
        match decide(edges.table(), inputs) {
            // A light node is not woken for a question that can be answered here as well.
            Decision::Forward { hops, .. } if is_lookup && is_light(edges, hops[0]) => {
                self.take_lookup(cx, from, message)
            }
            Decision::Forward { hop_limit, hops } => {
                self.forward(cx, message, hop_limit, hops);
                Routed::Done
            }
            Decision::Deliver => self.deliver(cx, from, message),
            // A Lookup is answered where greedy progress stops.
            Decision::DeadEnd | Decision::HopLimitSpent if is_lookup => {
                self.take_lookup(cx, from, message)
            }
            Decision::DeadEnd if inputs.on_detour || !may_take_detour(&message) => {
                cx.discard(DropReason::DeadEnd);
                Routed::Done
            }
            Decision::DeadEnd => {
                let hops = detours(edges.table(), inputs, is_anchor);
                self.detour(cx, edges, from, message, &hops);
                Routed::Done
            }
            Decision::HopLimitSpent => {
                cx.discard(DropReason::HopLimitSpent);
                Routed::Done
            }
        }
    }

    /// Greedy routing ends here, where the message has not been before: it is sent to neighbours
    /// that may have an edge to the target. A detour multiplies the message, so it is verified
    /// first and charged to its originator, like a Lookup that ends here. It is charged to a budget
    /// for detours too, because originators cost nothing to make. It is remembered once all that is
    /// done. A copy that fails, which any forwarder can bring about, then leaves the others as they
    /// are.
    fn detour(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: &mut Edges,
        from: NodeId,
        message: RoutedFrame,
        hops: &[ConnId],
    ) {
        let hop_limit = message.hop_limit().min(HOP_LIMIT_MAX) - 1;
        if hop_limit == 0 {
            // The next node could not pass it on.
            return cx.discard(DropReason::HopLimitSpent);
        }
        if hops.is_empty() {
            return cx.discard(DropReason::DeadEnd);
        }
        let pieces = message.payload_len().div_ceil(DETOUR_PIECE).max(1) as u64;
        // Asked first: a flood costs no public-key operation then, and no originator a token.
        let may_detour = edges.may_detour(cx.now, &from, pieces)
            || self.detours.holds(cx.now, Rate::DETOUR_SHARED, pieces);
        if !may_detour {
            return cx.discard(DropReason::DetourRateLimited);
        }
        if self.take_charged(cx, from, &message).is_none() {
            return;
        }
        // Charged to what the neighbour is sure of, or else to what all share. Not to its forward
        // budget: it cannot know where a message ends.
        if !edges.charge_detour(cx.now, &from, pieces) {
            self.detours.take(cx.now, Rate::DETOUR_SHARED, pieces);
        }
        let frame = message.into_forward(hop_limit, &mut self.heads);
        for hop in hops {
            let mut hops = FixedVec::new();
            let _ = hops.push(*hop);
            let frame = frame.clone();
            cx.act(Action::Offer { class: Class::Transit, frame, hops });
        }
    }

    #[inline]
    fn forward(
        &mut self,
        cx: &mut Context<'_, Action>,
        message: RoutedFrame,
        hop_limit: u8,
        hops: FixedVec<ConnId, CANDIDATES>,
    ) {
        let frame = message.into_forward(hop_limit, &mut self.heads);
        cx.act(Action::Offer { class: Class::Transit, frame, hops });
    }

    /// The message is for this node.
    fn deliver(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        message: RoutedFrame,
    ) -> Routed {
        match message.frame_type() {
            FrameType::Route => {
                let Some(originator) = self.take(cx, from, &message) else { return Routed::Done };
                let key = *message.key();
                let hops = 1 + HOP_LIMIT_MAX.saturating_sub(message.hop_limit());
                let (path, payload) = (DeliveryPath::Routed { hops }, message.into_payload());
                cx.act(Action::Deliver { originator, payload, path });
                Routed::Delivered { originator, key }
            }
            FrameType::Lookup => self.take_lookup(cx, from, message),
            FrameType::Neighbors => Routed::Neighbors(message),
            _ => Routed::Unserved(message),
        }
    }

    fn take_lookup(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        message: RoutedFrame,
    ) -> Routed {
        let Some(originator) = self.take_charged(cx, from, &message) else { return Routed::Done };
        let target = *message.target();
        match Lookup::decode_exact(&message.into_payload()) {
            Ok(lookup) => Routed::Lookup { originator, target, lookup },
            Err(_) => {
                cx.discard(DropReason::MalformedMessage);
                Routed::Done
            }
        }
    }

    /// Whether the message that came from this neighbour ends here for the first time and is what
    /// its originator signed. Returns the originator.
    pub(crate) fn take(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        message: &RoutedFrame,
    ) -> Option<NodeId> {
        let (originator, digest) = self.verify(cx, &from, message)?;
        self.duplicates.insert(&digest, from, message.sent());
        Some(originator)
    }

    /// The same for a message that makes work for others, with which its originator is charged. One
    /// that is refused for that is not remembered: the next copy may find a token.
    pub(crate) fn take_charged(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        message: &RoutedFrame,
    ) -> Option<NodeId> {
        let (originator, digest) = self.verify(cx, &from, message)?;
        if !self.originators.charge(cx.now, originator) {
            cx.discard(DropReason::OriginatorRateLimited);
            return None;
        }
        self.duplicates.insert(&digest, from, message.sent());
        Some(originator)
    }

    /// The originator and what it signed, unless the message was taken before, could not be
    /// remembered, or is forged.
    fn verify(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: &NodeId,
        message: &RoutedFrame,
    ) -> Option<(NodeId, [u8; 32])> {
        let digest = message.signing_digest(cx.crypto);
        let refused = if self.duplicates.contains(&digest, message.sent()) {
            DropReason::Duplicate
        } else if !self.duplicates.has_room(cx.wall, from) {
            DropReason::DuplicatesFull
        } else if !message.is_signed(&digest, cx.crypto) {
            DropReason::BadSignature
        } else {
            return Some((cx.crypto.node_id(message.key()), digest));
        };
        cx.discard(refused);
        None
    }

    #[inline]
    fn is_fresh(
        &mut self,
        cx: &mut Context<'_, Action>,
        edges: usize,
        from: NodeId,
        sent: UnixNanos,
    ) -> bool {
        let fresh = is_fresh(sent, cx.wall);
        if let Some(offset_s) = self.skew.observe(cx.wall, from, sent, fresh, edges) {
            cx.act(Action::Event(Event::ClockSkewSuspected { offset_s }));
        }
        fresh
    }
}

/// Whether a message comes from a neighbour that is nearer to the target than this node and did not
/// make it. An identifier is the hash of its key, so a neighbour made what bears its key.
#[inline]
fn is_on_detour(edges: &Edges, from: &NodeId, message: &RoutedFrame) -> bool {
    let edges = edges.table();
    message.target().compare_distance(from, edges.own()).is_lt()
        && edges.get(from).is_none_or(|edge| edge.key != *message.key())
}

fn is_light(edges: &Edges, conn: ConnId) -> bool {
    let peer = edges.peer_of(conn);
    peer.and_then(|peer| edges.table().get(&peer)).is_some_and(|edge| edge.light)
}

/// Whether a message that goes no farther may be handed around. An answer to a Lookup may not: a
/// question in another node's name has it sent there, ten times as large as the question. Nor may
/// what avoids its own target, and so gets there on no way.
fn may_take_detour(message: &RoutedFrame) -> bool {
    message.frame_type() != FrameType::Neighbors && !message.avoid().contains(message.target())
}

#[cfg(test)]
mod tests;
