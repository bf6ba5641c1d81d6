//! Pending requests: callers that wait for the outcome of a command.
//!
//! Each command has its own number and is settled by exactly one event, which removes the entry.
//! The entry of a caller that gave up stays until then.
//!
//! A connect is settled when its dials are, and what asks another node when that answers. Both take
//! seconds. Other commands are settled in the next drain, so they accumulate only while the socket
//! is full. The two kinds have separate caps, so that dials do not delay other commands.

use std::collections::BTreeMap;

use nodenet_proto::api::{ConnectError, Event, FoundPeer, RendezvousError, RequestId, SendFailure};
use tokio::sync::oneshot;

/// Slow commands whose outcome is open, at most; further ones are refused (guess).
const SLOW_MAX: usize = 1_024;
/// Other commands whose outcome is open, at most; further requests wait in their channel (guess).
const COMMANDS_MAX: usize = 1_024;

/// The channel for an outcome.
pub(crate) enum Reply {
    /// A message, routed or direct.
    Send(oneshot::Sender<Result<u8, SendFailure>>),
    /// The answer of another node.
    Rendezvous(oneshot::Sender<Result<FoundPeer, RendezvousError>>),
    /// A sealed message, for which another node may have to answer first.
    SendSealed(oneshot::Sender<Result<u8, SendFailure>>),
    /// An edge.
    Connect(oneshot::Sender<Result<(), ConnectError>>),
    /// The end of an edge.
    CloseEdge(oneshot::Sender<bool>),
    /// The end of the node, which is reported elsewhere.
    Leave,
}

impl Reply {
    /// Whether other nodes decide when it comes.
    fn is_slow(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Rendezvous(_) | Self::SendSealed(_))
    }
}

/// All pending requests.
#[derive(Default)]
pub(crate) struct Pending {
    by_request: BTreeMap<RequestId, Reply>,
    /// Slow commands among them.
    slow: usize,
    next: u64,
}

impl Pending {
    /// Adds a request under a new number.
    pub(crate) fn insert(&mut self, reply: Reply) -> RequestId {
        let request = RequestId(self.next);
        self.next += 1;
        self.slow += usize::from(reply.is_slow());
        self.by_request.insert(request, reply);
        request
    }

    /// Whether no more requests may be taken now.
    pub(crate) fn is_full(&self) -> bool {
        self.by_request.len() - self.slow >= COMMANDS_MAX
    }

    /// Whether no more slow commands may be taken now.
    pub(crate) fn has_all_slow(&self) -> bool {
        self.slow >= SLOW_MAX
    }

    /// Answers the caller whose command this event settles. Returns true once the node has left.
    pub(crate) fn settle(&mut self, event: Event) -> bool {
        let Some(request) = event.request() else { return false };
        let reply = self.by_request.remove(&request);
        self.slow -= usize::from(reply.as_ref().is_some_and(Reply::is_slow));
        debug_assert!(reply.is_some(), "{event:?} settles a command that was settled before");
        // An answer that fails means that the caller gave up; the outcome stands all the same.
        match (reply, event) {
            (Some(Reply::Rendezvous(reply)), Event::Found { peer, .. }) => {
                let _ = reply.send(Ok(peer));
            }
            (Some(Reply::Rendezvous(reply)), Event::RendezvousFailed { error, .. }) => {
                let _ = reply.send(Err(error));
            }
            (Some(Reply::Send(reply) | Reply::SendSealed(reply)), Event::Sent { copies, .. }) => {
                let _ = reply.send(Ok(copies));
            }
            (
                Some(Reply::Send(reply) | Reply::SendSealed(reply)),
                Event::SendFailed { error, .. },
            ) => {
                let _ = reply.send(Err(error));
            }
            (Some(Reply::Connect(reply)), Event::Connected { .. }) => {
                let _ = reply.send(Ok(()));
            }
            (Some(Reply::Connect(reply)), Event::ConnectFailed { error, .. }) => {
                let _ = reply.send(Err(error));
            }
            (Some(Reply::CloseEdge(reply)), Event::EdgeClosed { existed, .. }) => {
                let _ = reply.send(existed);
            }
            (_, Event::Left { .. }) => return true,
            (_, event) => debug_assert!(false, "{event:?} does not belong to its command"),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use nodenet_proto::NodeId;
    use tokio::sync::oneshot;

    use super::{COMMANDS_MAX, ConnectError, Event, Pending, Reply, SLOW_MAX, SendFailure};

    #[test]
    fn each_event_answers_the_caller_with_its_number() {
        let mut pending = Pending::default();
        let (reply, mut routed) = oneshot::channel();
        let first = pending.insert(Reply::Send(reply));
        let (reply, mut direct) = oneshot::channel();
        let second = pending.insert(Reply::Send(reply));
        let (reply, mut connect) = oneshot::channel();
        let third = pending.insert(Reply::Connect(reply));

        let error = SendFailure::NoEdge;
        assert!(!pending.settle(Event::SendFailed { request: second, error }));
        assert_eq!(direct.try_recv().unwrap(), Err(error));
        assert!(!pending.settle(Event::Sent { request: first, copies: 3 }));
        assert_eq!(routed.try_recv().unwrap(), Ok(3));
        let error = ConnectError::Refused;
        assert!(!pending.settle(Event::ConnectFailed { request: third, error }));
        assert_eq!(connect.try_recv().unwrap(), Err(error));
        assert_eq!(pending.by_request.len(), 0);
    }

    #[test]
    fn a_caller_that_gave_up_leaves_no_entry_behind() {
        let mut pending = Pending::default();
        let (reply, gone) = oneshot::channel();
        drop(gone);
        let request = pending.insert(Reply::CloseEdge(reply));
        assert!(!pending.settle(Event::EdgeClosed { request, existed: true }));
        assert_eq!(pending.by_request.len(), 0);
    }

    #[test]
    fn connects_and_other_commands_have_separate_caps() {
        let mut pending = Pending::default();
        let connect = |_| Reply::Connect(oneshot::channel().0);
        let dials: Vec<_> = (0..SLOW_MAX).map(|n| pending.insert(connect(n))).collect();
        assert!(pending.has_all_slow() && !pending.is_full());
        let send = |_| Reply::Send(oneshot::channel().0);
        let sends: Vec<_> = (0..COMMANDS_MAX).map(|n| pending.insert(send(n))).collect();
        assert!(pending.has_all_slow() && pending.is_full());
        pending.settle(Event::Sent { request: sends[7], copies: 1 });
        assert!(pending.has_all_slow() && !pending.is_full());
        let peer = NodeId::from_bytes([7; 32]);
        pending.settle(Event::Connected { request: dials[7], peer });
        assert!(!pending.has_all_slow());
    }

    #[test]
    fn leaving_ends_the_node() {
        let mut pending = Pending::default();
        let request = pending.insert(Reply::Leave);
        assert!(pending.settle(Event::Left { request }));
    }
}
