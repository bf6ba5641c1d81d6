//! Frames that concern one edge: the sender of a frame, its charge, pings and pongs.

use core::time::Duration;

use super::lifecycle::{AttachedConn, Peer, whole_ms};
use super::{Edges, Owner, PathKind};
use crate::NodeId;
use crate::context::Context;
use crate::overlay::actions::Action;
use crate::stats::DropReason;
use crate::transport::{Class, ConnId};
use crate::wire::{self, Addr, FrameType, Message};

/// The sender of a frame.
pub(crate) enum Sender {
    /// The peer of an edge.
    Edge(NodeId),
    /// A peer whose conn is unproven up to this frame.
    Unproven(Peer),
    /// The conn is closing or unknown.
    Gone,
}

impl Edges {
    /// The sender of a frame that arrived on `conn`.
    #[inline]
    pub(crate) fn sender(&self, conn: ConnId) -> Sender {
        match self.conns.get(&conn) {
            Some(&Owner::Edge(peer)) => Sender::Edge(peer),
            Some(Owner::Unproven(peer)) => Sender::Unproven(**peer),
            Some(Owner::Closing) | None => Sender::Gone,
        }
    }

    /// Notes that the peer is alive and charges the frame to it, before anything is decoded
    /// (PROTOCOL.md#charge-before-decoding). A frame of no known type proves nothing
    /// (THREATS.md#e34). A Leave, which comes once, and the Pong that is due are free.
    #[inline]
    pub(crate) fn charge(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        peer: &NodeId,
        frame_type: Option<FrameType>,
    ) -> bool {
        let Some(edge) = self.table.get_mut(peer) else { return false };
        let mut is_switched = false;
        if let Some(frame_type) = frame_type {
            let is_liveness = matches!(frame_type, FrameType::Ping | FrameType::Pong);
            is_switched = edge.observe_frame(conn, cx.now, is_liveness);
            if !edge.is_taken && frame_type != FrameType::Leave {
                edge.is_taken = true;
                cx.act(Action::FirstFrame(*peer));
            }
        }
        let is_forward =
            |frame_type: FrameType| frame_type.is_routed() || frame_type == FrameType::App;
        if frame_type.is_some_and(is_forward) {
            let allowed = edge.budgets.charge_forward(cx.now, 1);
            if !allowed {
                cx.discard(DropReason::ForwardRateLimited);
            }
            if is_switched {
                self.retire_replaced(cx, peer);
            }
            return allowed;
        }
        let is_free = match frame_type {
            Some(FrameType::Leave) => true,
            Some(FrameType::Pong) => edge.conn_mut(conn).is_some_and(|conn| conn.pongs_due > 0),
            _ => false,
        };
        let allowed = is_free || edge.budgets.charge_control(cx.now);
        if !allowed {
            cx.discard(DropReason::ControlRateLimited);
        }
        if is_switched {
            self.retire_replaced(cx, peer);
        }
        allowed
    }

    /// Answers a ping with the address at which the peer is now, which is not always the one at
    /// which its conn began (PROTOCOL.md#pong-address).
    pub(crate) fn answer_ping(&self, cx: &mut Context<'_, Action>, conn: ConnId) {
        if let Some(path) = cx.paths.path(conn) {
            let edge = self.peer_of(conn).and_then(|peer| self.table.get(&peer));
            let mut conns = edge.into_iter().flat_map(super::Edge::conns);
            let is_relayed = conns.any(|known| known.id == conn && known.is_relayed());
            // Over a relay this node sees a socket of the volunteer (THREATS.md#n1).
            let observed = match is_relayed {
                true => Addr::default(),
                false => Addr::from_socket_addr(path.remote),
            };
            // The peer closes a relayed conn that a direct one replaced after this pong, which so
            // goes behind all that was sent before (PROTOCOL.md#upgrades).
            let is_last =
                is_relayed && edge.is_some_and(|edge| edge.send_conn().path == PathKind::Direct);
            let class = if is_last { Class::Leave } else { Class::Control };
            let frame = wire::Pong { observed }.to_frame();
            cx.act(Action::Offer { class, frame, hops: heapless::Vec::from_iter([conn]) });
        }
    }

    /// A pong arrived. [`Self::charge`] has noted the frame; what is left is whether a ping asked
    /// for it. Returns the round-trip time in milliseconds if it differs by more than a quarter
    /// from the one noted, and whether the pong was asked for.
    pub(crate) fn observe_pong(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        peer: &NodeId,
        is_valid: bool,
    ) -> (Option<u16>, bool) {
        let Some(edge) = self.table.get_mut(peer) else { return (None, false) };
        let rtt_ms = whole_ms(cx.paths.path(conn).map_or(Duration::ZERO, |path| path.rtt));
        let is_news = rtt_ms.abs_diff(edge.rtt_ms) > edge.rtt_ms / 4;
        if is_news {
            edge.rtt_ms = rtt_ms;
        }
        let was_due = edge.conn_mut(conn).is_some_and(|conn| {
            let was_due = conn.pongs_due > 0;
            conn.pongs_due = conn.pongs_due.saturating_sub(1);
            conn.is_told |= was_due && is_valid;
            if let Some(left) = conn.retiring.as_mut().filter(|_| was_due) {
                *left -= 1;
                conn.pongs_due = *left;
            }
            was_due
        });
        if !was_due {
            cx.discard(DropReason::Unsolicited);
        } else if !is_valid {
            cx.discard(DropReason::MalformedMessage);
        }
        (is_news.then_some(rtt_ms), was_due)
    }

    /// The first whole frame arrived on a conn that the peer opened. The conn joins an edge, or is
    /// closed and the frame is lost.
    pub(crate) fn prove(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        peer: Peer,
    ) -> Option<AttachedConn> {
        self.unproven -= 1;
        match self.admit(cx.config, &peer.id, false) {
            Ok(()) => Some(self.attach(cx, conn, peer, false)),
            Err(refusal) => {
                cx.discard(refusal.drop_reason());
                self.refuse(cx, conn);
                None
            }
        }
    }
}
