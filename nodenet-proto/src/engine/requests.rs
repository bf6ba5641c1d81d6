//! Open requests of the application: each is settled exactly once.
//!
//! Responsible for: which requests wait for an outcome, and turning outcomes into events. Never:
//! decides an outcome.
//!
//! Most requests are settled while their command is handled. The others wait here, each for one
//! thing ([`Wait`]).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::NodeId;
use crate::api::{
    ConnectError, DeliveryPath, Event, FoundPeer, RendezvousError, RequestId, SendFailure,
};
use crate::rendezvous::Ticket;

/// Requests that wait for the same, at most (a guess). If there are as many, the newest is refused;
/// requests to leave are kept all the same, because the node takes no other after the first.
pub(super) const WAITING_MAX: usize = 64;

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// The first frame over an edge to this peer.
    Edge(NodeId),
    /// A conn to this peer, over which a message leaves.
    Held(NodeId),
    /// What rendezvous does for it.
    Ticket(Ticket),
    /// The end of the last conn.
    Left,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A message to this node itself is delivered.
    Delivered {
        /// Its payload.
        payload: Bytes,
        /// Its path.
        path: DeliveryPath,
        /// Whether it was to be sealed.
        sealed: bool,
    },
    /// A message to this node itself found the delivery queue full.
    Undelivered,
    /// A message left in this many copies, or is lost.
    Send(Result<u8, SendFailure>),
    /// The target of a rendezvous answered, or it failed.
    Rendezvous(Result<FoundPeer, RendezvousError>),
    /// There is an edge to this peer, or the connect failed.
    Connect(NodeId, Result<(), ConnectError>),
    /// An edge was closed, if it existed.
    EdgeClosed(bool),
    /// The node has left.
    Left,
}

/// The requests of one application that have no outcome yet.
#[derive(Debug)]
pub(super) struct Requests {
    own: NodeId,
    waiting: BTreeMap<Wait, Vec<RequestId>>,
    /// Requests that came in and were not settled.
    open: usize,
    /// Whether a message was refused for lack of room, and no [`Event::SendReady`] was reported
    /// since.
    is_refused: bool,
}

impl Requests {
    /// No requests of the application on the node `own`.
    pub(super) const fn new(own: NodeId) -> Self {
        Self { own, waiting: BTreeMap::new(), open: 0, is_refused: false }
    }

    /// A request came in.
    pub(super) fn open(&mut self) {
        self.open += 1;
    }

    /// Settles a request. This is the only way to an event that carries one.
    pub(super) fn settle(
        &mut self,
        events: &mut VecDeque<Event>,
        request: RequestId,
        outcome: Outcome,
    ) {
        self.open -= 1;
        events.push_back(match outcome {
            Outcome::Delivered { payload, path, sealed } => {
                let (originator, request) = (self.own, Some(request));
                Event::Delivered { originator, payload, path, sealed, request }
            }
            Outcome::Undelivered => Event::SendFailed { request, error: SendFailure::Backpressure },
            Outcome::Send(Ok(copies)) => Event::Sent { request, copies },
            Outcome::Send(Err(error)) => {
                self.is_refused |= error == SendFailure::Backpressure;
                Event::SendFailed { request, error }
            }
            Outcome::Rendezvous(Ok(peer)) => Event::Found { request, peer },
            Outcome::Rendezvous(Err(error)) => Event::RendezvousFailed { request, error },
            Outcome::Connect(peer, Ok(())) => Event::Connected { request, peer },
            Outcome::Connect(_, Err(error)) => Event::ConnectFailed { request, error },
            Outcome::EdgeClosed(existed) => Event::EdgeClosed { request, existed },
            Outcome::Left => Event::Left { request },
        });
    }

    /// A request waits.
    pub(super) fn wait(&mut self, wait: Wait, request: RequestId) {
        self.waiting.entry(wait).or_default().push(request);
    }

    /// A request that began to wait last does not wait any more, because it has an outcome.
    pub(super) fn unwait(&mut self, wait: Wait, request: RequestId) {
        if let Some(requests) = self.waiting.get_mut(&wait) {
            requests.retain(|other| *other != request);
            if requests.is_empty() {
                self.waiting.remove(&wait);
            }
        }
    }

    /// Whether one more request may wait for the same.
    pub(super) fn has_room(&self, wait: Wait) -> bool {
        self.waiting.get(&wait).is_none_or(|requests| requests.len() < WAITING_MAX)
    }

    /// Settles all requests that wait for the same, in the order in which they came.
    pub(super) fn settle_all(
        &mut self,
        events: &mut VecDeque<Event>,
        wait: Wait,
        outcome: &Outcome,
    ) {
        for request in self.waiting.remove(&wait).unwrap_or_default() {
            self.settle(events, request, outcome.clone());
        }
    }

    /// Whether a message was refused since this was last asked.
    pub(super) fn take_refused(&mut self) -> bool {
        core::mem::take(&mut self.is_refused)
    }

    /// Asserts the invariants: every request that is open waits, and for something that `ends`.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(super) fn check(&self, ends: impl Fn(Wait) -> bool) {
        let waiting = self.waiting.values().map(Vec::len).sum::<usize>();
        assert_eq!(self.open, waiting, "a request is settled exactly once");
        for (wait, requests) in &self.waiting {
            assert!(!requests.is_empty());
            assert!(*wait == Wait::Left || requests.len() <= WAITING_MAX);
            assert!(ends(*wait), "requests would wait for {wait:?} for ever");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId::from_bytes([1; 32]);
    const EDGE: Wait = Wait::Edge(PEER);

    fn requests() -> Requests {
        Requests::new(NodeId::from_bytes([0; 32]))
    }

    #[test]
    fn all_requests_that_wait_for_the_same_get_the_one_outcome() {
        let (mut requests, mut events) = (requests(), VecDeque::new());
        for number in 1..=2 {
            requests.open();
            requests.wait(EDGE, RequestId(number));
        }
        requests.check(|wait| wait == EDGE);
        requests.settle_all(&mut events, Wait::Left, &Outcome::Left);
        let closed = Outcome::Connect(PEER, Err(ConnectError::Closed));
        requests.settle_all(&mut events, EDGE, &closed);
        requests.settle_all(&mut events, EDGE, &Outcome::Connect(PEER, Ok(())));
        let failed = |number| Event::ConnectFailed {
            request: RequestId(number),
            error: ConnectError::Closed,
        };
        assert_eq!(events, [failed(1), failed(2)]);
        requests.check(|_| false);
    }

    #[test]
    fn requests_for_one_peer_are_bounded() {
        let mut requests = requests();
        for number in 0..WAITING_MAX as u64 {
            assert!(requests.has_room(EDGE));
            requests.open();
            requests.wait(EDGE, RequestId(number));
        }
        assert!(!requests.has_room(EDGE));
        assert!(requests.has_room(Wait::Edge(NodeId::from_bytes([2; 32]))));
    }

    #[test]
    fn only_a_message_without_room_asks_for_a_signal() {
        let (mut requests, mut events) = (requests(), VecDeque::new());
        for error in [SendFailure::Unroutable, SendFailure::Backpressure] {
            requests.open();
            requests.settle(&mut events, RequestId(1), Outcome::Send(Err(error)));
            assert_eq!(requests.take_refused(), error == SendFailure::Backpressure);
        }
        assert!(!requests.take_refused());
    }

    #[test]
    #[should_panic(expected = "exactly once")]
    fn a_request_that_nothing_settles_is_found() {
        let mut requests = requests();
        requests.open();
        requests.check(|_| true);
    }
}
