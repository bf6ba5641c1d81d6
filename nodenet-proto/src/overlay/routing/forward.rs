//! Routed messages: forwarded, or handled where they end (PROTOCOL.md#routing).

use heapless::Vec as FixedVec;

use super::decide::{CANDIDATES, Decision, Routing, decide, detours, is_second_best};
use crate::NodeId;
use crate::api::{DeliveryPath, Event};
use crate::context::Context;
use crate::env::Rate;
use crate::env::UnixNanos;
use crate::overlay::{Action, Overlay, Owner};
use crate::stats::DropReason;
use crate::transport::{Class, ConnId, Conns};
use crate::wire::envelope::{HOP_LIMIT_MAX, is_fresh};
use crate::wire::{Decode, FrameType, Lookup, RoutedFrame};

/// A detour is charged by pieces of its payload this long, because what it multiplies is bytes (a
/// guess: far more than anything but the largest messages of applications).
const DETOUR_PIECE: usize = 4096;

impl Overlay {
    /// A routed message arrived from a neighbour and was charged to it. In transit no signature is
    /// checked: the node where the message ends does that.
    #[inline]
    pub(crate) fn on_routed(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        from: NodeId,
        message: RoutedFrame,
    ) {
        let difficulty = self.config.difficulty;
        if difficulty > 0 && cx.crypto.node_id(message.key()).leading_zeros() < difficulty {
            return cx.discard(DropReason::OriginatorWorkUnmet);
        }
        if !self.is_fresh(cx, from, message.sent()) {
            return cx.discard(DropReason::Stale);
        }
        let routing = Routing {
            target: message.target(),
            hop_limit: message.hop_limit(),
            avoid: message.avoid(),
            from: Some(&from),
            on_detour: self.is_on_detour(&from, &message),
            second_best: is_second_best(message.target(), message.avoid()),
        };
        match decide(&self.edges, routing) {
            // A neighbour that sleeps is not woken for a question that can be answered here as
            // well.
            Decision::Forward { hops, .. }
                if message.frame_type() == FrameType::Lookup && self.is_light(hops[0]) =>
            {
                self.on_lookup(cx, conns, from, message);
            }
            Decision::Forward { hop_limit, hops } => {
                self.forward(cx, message, hop_limit, hops);
            }
            Decision::Deliver => self.deliver(cx, conns, from, message),
            // Where greedy progress stops is where a Lookup is answered.
            Decision::DeadEnd | Decision::HopLimitSpent
                if message.frame_type() == FrameType::Lookup =>
            {
                self.on_lookup(cx, conns, from, message);
            }
            Decision::DeadEnd if routing.on_detour || !may_take_detour(&message) => {
                cx.discard(DropReason::DeadEnd);
            }
            Decision::DeadEnd => {
                let known = &self.peers;
                let hops = detours(&self.edges, routing, |peer| known.is_anchor(peer));
                self.detour(cx, from, message, &hops);
            }
            Decision::HopLimitSpent => cx.discard(DropReason::HopLimitSpent),
        }
    }

    #[inline]
    fn is_on_detour(&self, from: &NodeId, message: &RoutedFrame) -> bool {
        // An identifier is the hash of its key, so the neighbour made what bears its key.
        message.target().compare_distance(from, self.edges.own()).is_lt()
            && self.edges.get(from).is_none_or(|edge| edge.key != *message.key())
    }

    /// Greedy routing ends here, where the message has not been before: it is handed to neighbours
    /// that may have an edge to the target. As that multiplies it, it is verified first and charged
    /// to its originator, like a Lookup that ends here, and to a budget for detours, because
    /// originators cost nothing to make. It is remembered once all that is done: of a copy that
    /// comes to nothing, which any forwarder can bring about, the others know nothing.
    fn detour(
        &mut self,
        cx: &mut Context<'_, Action>,
        from: NodeId,
        message: RoutedFrame,
        hops: &[ConnId],
    ) {
        let hop_limit = message.hop_limit().min(HOP_LIMIT_MAX) - 1;
        if hop_limit == 0 {
            // Whoever gets it next could pass it on to nobody.
            return cx.discard(DropReason::HopLimitSpent);
        }
        if hops.is_empty() {
            return cx.discard(DropReason::DeadEnd);
        }
        let pieces = message.payload_len().div_ceil(DETOUR_PIECE).max(1) as u64;
        // Asked first: a flood costs no public-key operation then, and no originator a token.
        if !self.may_detour(cx, &from, pieces) {
            return cx.discard(DropReason::DetourRateLimited);
        }
        if self.take_charged(cx, from, &message).is_none() {
            return;
        }
        self.charge_detour(cx, &from, pieces);
        let frame = message.into_forward(hop_limit, &mut self.heads);
        for hop in hops {
            let mut hops = FixedVec::new();
            let _ = hops.push(*hop);
            let frame = frame.clone();
            cx.act(Action::Offer { class: Class::Transit, frame, hops, request: None });
        }
    }

    fn may_detour(&self, cx: &Context<'_, Action>, from: &NodeId, pieces: u64) -> bool {
        let edge = self.edges.get(from);
        edge.is_some_and(|edge| edge.budgets.may_detour(cx.now, pieces))
            || self.detours.holds(cx.now, Rate::DETOUR_SHARED, pieces)
    }

    /// Charges a detour to what the neighbour is sure of, or else to what all share. Not to what it
    /// may forward: it can not know where a message will end.
    fn charge_detour(&mut self, cx: &Context<'_, Action>, from: &NodeId, pieces: u64) {
        let edge = self.edges.get_mut(from);
        if !edge.is_some_and(|edge| edge.budgets.charge_detour(cx.now, pieces)) {
            self.detours.take(cx.now, Rate::DETOUR_SHARED, pieces);
        }
    }

    fn is_light(&self, conn: ConnId) -> bool {
        let Some(Owner::Edge(peer)) = self.conns.get(&conn) else { return false };
        self.edges.get(peer).is_some_and(|edge| edge.light)
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
        cx.act(Action::Offer { class: Class::Transit, frame, hops, request: None });
    }

    /// The message is for this node.
    fn deliver(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        from: NodeId,
        message: RoutedFrame,
    ) {
        match message.frame_type() {
            FrameType::Route => self.on_route(cx, from, message),
            FrameType::Lookup => self.on_lookup(cx, conns, from, message),
            FrameType::Neighbors => self.on_neighbors(cx, conns, from, message),
            _ => cx.discard(DropReason::NotServed),
        }
    }

    fn on_route(&mut self, cx: &mut Context<'_, Action>, from: NodeId, message: RoutedFrame) {
        if let Some(originator) = self.take(cx, from, &message) {
            self.learn_originator(cx, originator, *message.key());
            let hops = 1 + HOP_LIMIT_MAX.saturating_sub(message.hop_limit());
            let (path, payload) = (DeliveryPath::Routed { hops }, message.into_payload());
            cx.act(Action::Deliver { originator, payload, path, request: None });
        }
    }

    fn on_lookup(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        from: NodeId,
        message: RoutedFrame,
    ) {
        let Some(originator) = self.take_charged(cx, from, &message) else { return };
        let target = *message.target();
        match Lookup::decode_exact(&message.into_payload()) {
            Ok(lookup) => self.answer_lookup(cx, conns, (originator, target), lookup),
            Err(_) => cx.discard(DropReason::MalformedMessage),
        }
    }

    /// Whether the message that came from this neighbour ends here for the first time and is what
    /// its originator signed. Returns the originator.
    fn take(
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
    fn take_charged(
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

    fn is_fresh(&mut self, cx: &mut Context<'_, Action>, from: NodeId, sent: UnixNanos) -> bool {
        let fresh = is_fresh(sent, cx.wall);
        if let Some(offset_s) = self.skew.observe(cx.wall, from, (sent, fresh), self.edges.len()) {
            cx.act(Action::Event(Event::ClockSkewSuspected { offset_s }));
        }
        fresh
    }
}

/// Whether a message that goes no farther may be handed around. An answer to a Lookup may not:
/// whoever asks in somebody else's name has it sent there, ten times as large as the question. Nor
/// may what avoids its own target, and so gets there on no way.
fn may_take_detour(message: &RoutedFrame) -> bool {
    message.frame_type() != FrameType::Neighbors && !message.avoid().contains(message.target())
}
