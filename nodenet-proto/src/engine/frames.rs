//! Dispatch of frames and messages that the overlay does not serve, by type.

use super::Engine;
use crate::overlay::{ServiceFrame, ServiceMessage};
use crate::stats::DropReason;
use crate::transport::Conns;
use crate::wire::FrameType;

impl Engine {
    /// A frame arrived on an edge. Every service has its types here.
    pub(super) fn serve_frame(&mut self, conns: &mut dyn Conns, frame: ServiceFrame) {
        let ServiceFrame { frame_type, conn, from, payload } = frame;
        let path = conns.path(conn);
        tracing::trace!(?frame_type, %from, ?path, len = payload.len(), "frame for a service");
        match frame_type {
            FrameType::Ping | FrameType::Pong => self.not_served(),
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
            FrameType::Route => self.not_served(),
            _ => self.not_served(),
        }
    }

    fn not_served(&mut self) {
        self.env.stats_mut().count_drop(DropReason::NotServed);
    }
}
