//! Frames of the overlay: from an arriving frame to the room that it concerns
//! (PROTOCOL.md#charge-before-decoding).
//!
//! Responsible for: finding the sender, charging it, and decoding what is not routed. Never:
//! decides what follows from a frame.

use super::actions::{Action, ServiceFrame};
use super::edges::Sender;
use super::exchange::Overlay;
use crate::NodeId;
use crate::api::DeliveryPath;
use crate::buf::Frame;
use crate::context::Context;
use crate::stats::DropReason;
use crate::transport::ConnId;
use crate::wire::{self, Decode, FrameHeader, FrameType, RoutedFrame};

impl Overlay {
    /// A whole frame arrived. On the transit path this allocates nothing and touches no timer.
    pub(crate) fn handle_frame(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        frame: Frame,
    ) {
        let header = FrameHeader::of(&frame);
        let from = match self.edges.sender(conn) {
            Sender::Edge(peer) => peer,
            Sender::Unproven(_) if header.is_err() => {
                cx.discard(DropReason::MalformedFrame);
                return self.edges.reject_unproven(cx, conn);
            }
            Sender::Unproven(peer) => {
                if !self.on_first_frame(cx, conn, peer) {
                    return;
                }
                peer.id
            }
            Sender::Gone => return cx.discard(DropReason::UnknownConn),
        };
        // The edge stays: the frame may be of a later version.
        let Ok((header, payload_at)) = header else {
            return cx.discard(DropReason::MalformedFrame);
        };
        let frame_type = header.frame_type();
        if !self.edges.charge(cx, conn, &from, frame_type) {
            return;
        }
        match frame_type {
            Some(FrameType::App) => deliver(cx, from, frame, payload_at),
            Some(frame_type) if frame_type.is_routed() => {
                match RoutedFrame::parse(frame, frame_type, payload_at) {
                    Ok(message) => self.on_routed(cx, from, message),
                    Err(_) => cx.discard(DropReason::MalformedMessage),
                }
            }
            Some(frame_type) => self.on_control(cx, conn, from, frame_type, frame, payload_at),
            None => cx.discard(DropReason::UnknownType),
        }
    }

    fn on_control(
        &mut self,
        cx: &mut Context<'_, Action>,
        conn: ConnId,
        from: NodeId,
        frame_type: FrameType,
        mut frame: Frame,
        payload_at: usize,
    ) {
        frame.advance(payload_at);
        match frame_type {
            FrameType::Ping => self.on_ping(cx, conn, &from, own_capabilities(&frame)),
            FrameType::Pong => self.on_pong(cx, conn, &from, frame),
            FrameType::Siblings => match wire::Siblings::decode_exact(&frame.to_bytes()) {
                Ok(siblings) => self.on_siblings(cx, conn, &from, siblings),
                Err(_) => cx.discard(DropReason::MalformedMessage),
            },
            FrameType::Leave => self.on_leave(cx, conn, &from),
            _ => {
                cx.act(Action::Frame(ServiceFrame { frame_type, conn, from, payload: frame }));
            }
        }
    }
}

/// The capabilities that the sender of a ping announces. Any other payload is ignored.
fn own_capabilities(payload: &Frame) -> Option<wire::Capabilities> {
    let mut copy = [0; 5];
    let len = payload.copy_to(0, &mut copy);
    wire::CapablePing::decode_exact(&copy[..len]).ok().map(|ping| ping.capabilities)
}

/// An application frame. The edge authenticates its sender; there is no signature.
fn deliver(cx: &mut Context<'_, Action>, originator: NodeId, mut frame: Frame, payload_at: usize) {
    frame.advance(payload_at);
    let (payload, path) = (frame.to_bytes(), DeliveryPath::Direct);
    cx.act(Action::Deliver { originator, payload, path });
}
