//! What a frame that arrives does (PROTOCOL.md#charge-before-decoding), up to where routing begins.

use std::time::Duration;

use super::edges::lifecycle::{send, whole_ms};
use super::{Action, Overlay, Owner};
use crate::NodeId;
use crate::api::DeliveryPath;
use crate::buf::Frame;
use crate::context::Context;
use crate::stats::DropReason;
use crate::transport::{ConnId, Conns};
use crate::wire::{self, Addr, Capabilities, Decode, FrameHeader, FrameType, Message, RoutedFrame};

/// Where a frame came from and whom it may be answered over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) conn: ConnId,
    pub(crate) from: NodeId,
}

impl Overlay {
    /// A whole frame arrived. On the transit path this allocates nothing and touches no timer.
    pub(crate) fn handle_frame(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        conn: ConnId,
        frame: Frame,
    ) {
        let header = FrameHeader::of(&frame);
        let from = match self.conns.get(&conn) {
            Some(&Owner::Edge(peer)) => peer,
            Some(Owner::Unproven(peer)) => {
                let peer = **peer;
                if header.is_err() {
                    cx.discard(DropReason::MalformedFrame);
                    return self.reject_unproven(cx, conn);
                }
                if !self.prove(cx, conn, peer) {
                    return;
                }
                peer.id
            }
            Some(Owner::Closing) | None => return cx.discard(DropReason::UnknownConn),
        };
        // Survives on a live edge: it may be of a version to come.
        let Ok((header, payload_at)) = header else {
            return cx.discard(DropReason::MalformedFrame);
        };
        let arrival = Arrival { conn, from };
        let frame_type = header.frame_type();
        if frame_type.is_some_and(|frame_type| frame_type != FrameType::Leave) {
            self.dialer.on_heard(cx, &from);
        }
        if !self.charge(cx, arrival, frame_type) {
            return;
        }
        match frame_type {
            Some(FrameType::App) => self.on_app(cx, from, frame, payload_at),
            Some(frame_type) if frame_type.is_routed() => {
                match RoutedFrame::parse(frame, frame_type, payload_at) {
                    Ok(message) => self.on_routed(cx, conns, from, message),
                    Err(_) => cx.discard(DropReason::MalformedMessage),
                }
            }
            Some(frame_type) => {
                self.on_control(cx, conns, arrival, (frame_type, frame, payload_at));
            }
            None => cx.discard(DropReason::UnknownType),
        }
    }

    /// Notes that the peer lives and charges the frame to it, before anything is decoded
    /// (PROTOCOL.md#charge-before-decoding). A frame of no known type proves nothing
    /// (THREATS.md#e34). Free are a Leave, which comes once, and the Pong that is due.
    #[inline]
    fn charge(
        &mut self,
        cx: &mut Context<'_, Action>,
        at: Arrival,
        frame_type: Option<FrameType>,
    ) -> bool {
        let Some(edge) = self.edges.get_mut(&at.from) else { return false };
        if frame_type.is_some() {
            edge.observe_frame(at.conn, cx.now);
        }
        let is_forward =
            |frame_type: FrameType| frame_type.is_routed() || frame_type == FrameType::App;
        if frame_type.is_some_and(is_forward) {
            let allowed = edge.budgets.charge_forward(cx.now, 1);
            if !allowed {
                cx.discard(DropReason::ForwardRateLimited);
            }
            return allowed;
        }
        let is_free = match frame_type {
            Some(FrameType::Leave) => true,
            Some(FrameType::Pong) => edge.conn_mut(at.conn).is_some_and(|conn| conn.pong_due),
            _ => false,
        };
        let allowed = is_free || edge.budgets.charge_control(cx.now);
        if !allowed {
            cx.discard(DropReason::ControlRateLimited);
        }
        allowed
    }

    fn on_control(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        at: Arrival,
        (frame_type, mut frame, payload_at): (FrameType, Frame, usize),
    ) {
        match frame_type {
            FrameType::Ping => {
                // Where the peer is now, not where its conn began (PROTOCOL.md#pong-address).
                if let Some(path) = conns.path(at.conn) {
                    let pong = wire::Pong { observed: Addr::from_socket_addr(path.remote) };
                    cx.act(send(at.conn, pong.to_frame()));
                }
                frame.advance(payload_at);
                self.on_ping(at, &frame);
            }
            FrameType::Pong => {
                frame.advance(payload_at);
                self.on_pong(cx, conns, at, &frame);
                if self.config.maintenance {
                    self.check_liveness(cx, at.conn);
                }
            }
            FrameType::Siblings => {
                frame.advance(payload_at);
                match wire::Siblings::decode_exact(&frame.to_bytes()) {
                    Ok(siblings) => self.answer_siblings(cx, conns, at, siblings),
                    Err(_) => cx.discard(DropReason::MalformedMessage),
                }
            }
            FrameType::Leave => self.on_leave(cx, at.conn, at.from),
            _ => cx.discard(DropReason::NotServed),
        }
    }

    /// A node of our kind may say in its ping what it can do. Anything else there is ignored.
    fn on_ping(&mut self, at: Arrival, payload: &Frame) {
        let mut copy = [0; 5];
        let len = payload.copy_to(0, &mut copy);
        if let Ok(ping) = wire::CapablePing::decode_exact(&copy[..len])
            && let Some(edge) = self.edges.get_mut(&at.from)
        {
            edge.light = ping.capabilities.has(Capabilities::LIGHT);
            self.peers.learn_caps(&at.from, ping.capabilities.0);
        }
    }

    /// That anything came is noted already; what is left is whether it was asked for.
    fn on_pong(
        &mut self,
        cx: &mut Context<'_, Action>,
        conns: &dyn Conns,
        at: Arrival,
        payload: &Frame,
    ) {
        let edge = self.edges.get_mut(&at.from);
        let was_due = edge.is_some_and(|edge| {
            let rtt_ms = whole_ms(conns.path(at.conn).map_or(Duration::ZERO, |path| path.rtt));
            if rtt_ms.abs_diff(edge.rtt_ms) > edge.rtt_ms / 4 {
                edge.rtt_ms = rtt_ms;
                self.peers.measure_rtt(&at.from, rtt_ms);
            }
            edge.conn_mut(at.conn).is_some_and(|conn| core::mem::take(&mut conn.pong_due))
        });
        if !was_due {
            cx.discard(DropReason::Unsolicited);
        } else if wire::Pong::decode_exact(&payload.to_bytes()).is_err() {
            cx.discard(DropReason::MalformedMessage);
        }
    }

    /// The edge vouches for the sender; there is no signature.
    fn on_app(
        &mut self,
        cx: &mut Context<'_, Action>,
        originator: NodeId,
        mut frame: Frame,
        payload_at: usize,
    ) {
        frame.advance(payload_at);
        let (payload, path) = (frame.to_bytes(), DeliveryPath::Direct);
        cx.act(Action::Deliver { originator, payload, path, request: None });
    }
}
