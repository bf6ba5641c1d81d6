//! Requests whose peer has an edge and has not said a word over it.
//!
//! Responsible for: settling them. A handshake shows who the peer is, not that it takes the edge:
//! it may be full, or refuse this node, and closes the conn then. Every edge begins with a ping, so
//! one that is taken is heard of after a round trip.

use super::{Dialer, WANTED_MAX};
use crate::NodeId;
use crate::api::{ConnectError, EdgeDownReason, Event, RequestId};
use crate::context::Context;
use crate::overlay::Action;

impl Dialer {
    /// The application wants an edge to `peer`, and there is one.
    pub(crate) fn await_first_frame(
        &mut self,
        cx: &mut Context<'_, Action>,
        request: RequestId,
        (peer, is_taken): (NodeId, bool),
    ) {
        if is_taken {
            return cx.act(Action::Event(Event::Connected { request, peer }));
        }
        let requests = self.awaiting_first_frame.entry(peer).or_default();
        if requests.len() < WANTED_MAX {
            requests.push(request);
        } else {
            let error = ConnectError::Busy;
            cx.act(Action::Event(Event::ConnectFailed { request, error }));
        }
    }

    /// `peer` said something, or opened the edge itself: it has taken it.
    #[inline]
    pub(crate) fn on_heard(&mut self, cx: &mut Context<'_, Action>, peer: &NodeId) {
        if self.awaiting_first_frame.is_empty() {
            return;
        }
        for request in self.awaiting_first_frame.remove(peer).unwrap_or_default() {
            cx.act(Action::Event(Event::Connected { request, peer: *peer }));
        }
    }

    /// An edge to `peer` ended that it had taken. What fails from now on is news.
    pub(crate) fn on_taken_edge_down(&mut self, peer: &NodeId) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.told = None;
        }
    }

    /// The edge to `peer` ended before the peer said anything.
    pub(crate) fn on_not_taken(
        &mut self,
        cx: &mut Context<'_, Action>,
        peer: NodeId,
        reason: EdgeDownReason,
    ) {
        let error = ConnectError::NotTaken(reason);
        for request in self.awaiting_first_frame.remove(&peer).unwrap_or_default() {
            cx.act(Action::Event(Event::ConnectFailed { request, error }));
        }
        let target = self.targets.get_mut(&peer).filter(|target| target.seed);
        if let Some(target) = target.filter(|_| reason != EdgeDownReason::ClosedHere) {
            target.tell(cx, peer, error);
        }
    }
}
