//! Callers that wait for the outcome of a command.
//!
//! Each command has a caller-chosen number and is settled by exactly one event, so an entry leaves
//! when its event comes. A caller that gave up leaves its entry behind until then.

use std::collections::BTreeMap;

use nodenet_proto::NodeId;
use nodenet_proto::engine::{Event, RequestId};
use tokio::sync::oneshot;

use crate::error::{ConnectError, SendError};

/// Where an answer goes.
pub(crate) enum Waiter {
    /// A routed message.
    Send(oneshot::Sender<Result<u8, SendError>>),
    /// A direct message to this node.
    SendDirect(NodeId, oneshot::Sender<Result<u8, SendError>>),
    /// An edge.
    Connect(oneshot::Sender<Result<(), ConnectError>>),
    /// The end of an edge.
    CloseEdge(oneshot::Sender<bool>),
    /// The end of the node; nobody waits for this one here.
    Leave,
}

/// Everyone who waits.
#[derive(Default)]
pub(crate) struct Waiters {
    by_request: BTreeMap<RequestId, Waiter>,
    next: u64,
}

impl Waiters {
    /// Files a waiter under a number that was never used before.
    pub(crate) fn insert(&mut self, waiter: Waiter) -> RequestId {
        let request = RequestId(self.next);
        self.next += 1;
        self.by_request.insert(request, waiter);
        request
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.by_request.len()
    }

    /// Answers whoever waits for this event. Returns true once the node has left.
    pub(crate) fn settle(&mut self, event: Event) -> bool {
        let Some(request) = request_of(&event) else { return false };
        let waiter = self.by_request.remove(&request);
        debug_assert!(waiter.is_some(), "{event:?} settles a command that was settled before");
        // A failed answer means that the caller gave up; the outcome stands all the same.
        match (waiter, event) {
            (
                Some(Waiter::Send(reply) | Waiter::SendDirect(_, reply)),
                Event::Sent { copies, .. },
            ) => {
                let _ = reply.send(Ok(copies));
            }
            (Some(Waiter::Send(reply)), Event::SendFailed { error, .. }) => {
                let _ = reply.send(Err(SendError::routed(error)));
            }
            (Some(Waiter::SendDirect(target, reply)), Event::SendFailed { error, .. }) => {
                let _ = reply.send(Err(SendError::direct(error, target)));
            }
            (Some(Waiter::Connect(reply)), Event::Connected { .. }) => {
                let _ = reply.send(Ok(()));
            }
            (Some(Waiter::Connect(reply)), Event::ConnectFailed { error, .. }) => {
                let _ = reply.send(Err(error.into()));
            }
            (Some(Waiter::CloseEdge(reply)), Event::EdgeClosed { existed, .. }) => {
                let _ = reply.send(existed);
            }
            (_, Event::Left { .. }) => return true,
            (_, event) => debug_assert!(false, "{event:?} does not belong to its command"),
        }
        false
    }
}

fn request_of(event: &Event) -> Option<RequestId> {
    match event {
        Event::Sent { request, .. }
        | Event::SendFailed { request, .. }
        | Event::Connected { request, .. }
        | Event::ConnectFailed { request, .. }
        | Event::EdgeClosed { request, .. }
        | Event::Left { request } => Some(*request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use nodenet_proto::NodeId;
    use nodenet_proto::engine::{self, Event, SendFailure};
    use tokio::sync::oneshot;

    use super::{Waiter, Waiters};
    use crate::error::{ConnectError, SendError};

    #[test]
    fn each_event_answers_the_caller_with_its_number() {
        let mut waiters = Waiters::default();
        let target = NodeId::from_bytes([7; 32]);
        let (reply, mut routed) = oneshot::channel();
        let first = waiters.insert(Waiter::Send(reply));
        let (reply, mut direct) = oneshot::channel();
        let second = waiters.insert(Waiter::SendDirect(target, reply));
        let (reply, mut connect) = oneshot::channel();
        let third = waiters.insert(Waiter::Connect(reply));

        let error = SendFailure::Unroutable;
        assert!(!waiters.settle(Event::SendFailed { request: second, error }));
        assert_eq!(direct.try_recv().unwrap(), Err(SendError::NoEdge(target)));
        assert!(!waiters.settle(Event::Sent { request: first, copies: 3 }));
        assert_eq!(routed.try_recv().unwrap(), Ok(3));
        let error = engine::ConnectError::Refused;
        assert!(!waiters.settle(Event::ConnectFailed { request: third, error }));
        assert_eq!(connect.try_recv().unwrap(), Err(ConnectError::EdgeRefused));
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn a_caller_that_gave_up_leaves_no_entry_behind() {
        let mut waiters = Waiters::default();
        let (reply, gone) = oneshot::channel();
        drop(gone);
        let request = waiters.insert(Waiter::CloseEdge(reply));
        assert!(!waiters.settle(Event::EdgeClosed { request, existed: true }));
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn leaving_ends_the_node() {
        let mut waiters = Waiters::default();
        let request = waiters.insert(Waiter::Leave);
        assert!(waiters.settle(Event::Left { request }));
    }
}
