//! Frames and messages that the overlay does not serve: which service each type is for.

use super::Engine;
use crate::overlay::{ServiceFrame, ServiceMessage};
use crate::stats::DropReason;
use crate::wire::FrameType;

impl Engine {
    /// A frame arrived on an edge. Every service has its types here.
    pub(super) fn serve_frame(&mut self, frame: ServiceFrame) {
        let ServiceFrame { frame_type, conn, from, payload } = frame;
        tracing::trace!(?frame_type, %conn, %from, len = payload.len(), "frame for a service");
        match frame_type {
            FrameType::Ping | FrameType::Pong => self.not_served(),
            _ => self.not_served(),
        }
    }

    /// A routed message for this node arrived. Every service has its types here.
    pub(super) fn serve_message(&mut self, message: ServiceMessage) {
        let ServiceMessage { from, message } = message;
        let frame_type = message.frame_type();
        tracing::trace!(?frame_type, %from, "message for a service");
        match frame_type {
            FrameType::Route => self.not_served(),
            _ => self.not_served(),
        }
    }

    fn not_served(&mut self) {
        self.env.stats_mut().count_drop(DropReason::NotServed);
    }
}
