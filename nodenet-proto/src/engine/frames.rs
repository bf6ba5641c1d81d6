//! Dispatch of frames and messages that the overlay does not serve, by type.

use super::{Engine, Life};
use crate::NodeId;
use crate::nat::Envelope;
use crate::overlay::{ServiceFrame, ServiceMessage};
use crate::rendezvous::Originator;
use crate::stats::DropReason;
use crate::transport::Conns;
use crate::wire::{FrameType, RoutedFrame};

impl Engine {
    /// A frame arrived on an edge. Every service has its types here.
    pub(super) fn serve_frame(&mut self, conns: &mut dyn Conns, frame: ServiceFrame) {
        let ServiceFrame { frame_type, conn, from, payload } = frame;
        let path = conns.path(conn);
        tracing::trace!(?frame_type, %from, ?path, len = payload.len(), "frame for a service");
        match frame_type {
            FrameType::Pong => {
                // A pong over a relay names a socket of the volunteer (THREATS.md#n1).
                if path.is_some_and(|path| self.relay.is_relayed(path.remote).is_some()) {
                    return self.env.stats_mut().count_drop(DropReason::ReportOfReporter);
                }
                let payload = payload.to_bytes();
                self.run_nat(conns, |nat, cx| nat.handle_pong(cx, from, conn, &payload));
            }
            FrameType::RelayRequest | FrameType::RelayGrant | FrameType::RelayBind
                if self.life == Life::Running =>
            {
                self.serve_relay(conns, frame_type, from, conn, &payload.to_bytes());
            }
            _ => self.not_served(),
        }
    }

    /// A routed message for this node arrived. Every service has its types here.
    pub(super) fn serve_message(&mut self, conns: &mut dyn Conns, message: ServiceMessage) {
        let ServiceMessage { from, message } = message;
        let frame_type = message.frame_type();
        let path = self.overlay.edges().get(&from).map(|edge| conns.path(edge.send_conn().id));
        tracing::trace!(?frame_type, %from, ?path, "message for a service");
        match frame_type {
            FrameType::Hello => self.serve_hello(conns, from, message),
            FrameType::Reply => {
                self.run_rendezvous(conns, |rendezvous, cx| rendezvous.handle_reply(cx, message));
            }
            FrameType::Connect | FrameType::ConnectAck => self.serve_nat(conns, from, message),
            _ => self.not_served(),
        }
    }

    /// A Hello for this node. The overlay verifies the envelope and charges the originator, as for
    /// all messages that make work.
    fn serve_hello(&mut self, conns: &mut dyn Conns, from: NodeId, message: RoutedFrame) {
        if !self.run_rendezvous(conns, |rendezvous, cx| rendezvous.may_answer(cx, &from)) {
            return;
        }
        let taken =
            self.run_overlay(conns, |overlay, cx, _| overlay.take_charged(cx, from, &message));
        let Some(id) = taken else { return };
        let has_edge = self.overlay.edges().get(&id).is_some();
        let originator = Originator { id, key: *message.key(), has_edge };
        let payload = message.into_payload();
        self.run_rendezvous(conns, |rendezvous, cx| {
            rendezvous.handle_hello(cx, from, originator, &payload);
        });
    }

    /// A Connect or its answer arrived.
    fn serve_nat(&mut self, conns: &mut dyn Conns, from: NodeId, message: RoutedFrame) {
        if self.life != Life::Running {
            return self.not_served();
        }
        let taken =
            self.run_overlay(conns, |overlay, cx, _| overlay.take_charged(cx, from, &message));
        let Some(originator) = taken else { return };
        let is_connect = message.frame_type() == FrameType::Connect;
        let envelope = Envelope { originator, sent: message.sent(), len: message.frame_len() };
        let payload = message.into_payload();
        if is_connect {
            self.choose_volunteers(conns);
        }
        self.run_nat(conns, |nat, cx| match is_connect {
            true => nat.handle_connect(cx, envelope, &payload),
            false => nat.handle_connect_ack(cx, envelope, &payload),
        });
    }

    pub(super) fn not_served(&mut self) {
        self.env.stats_mut().count_drop(DropReason::NotServed);
    }
}
