//! Open requests of the application: each is settled exactly once.
//!
//! Responsible for: which requests wait for an outcome, and turning outcomes into events. Never:
//! decides an outcome.
//!
//! Most requests are settled while their command is handled. A request for an edge waits for the
//! attempt and for the first frame of the peer, and a leave for the last conn; those are kept here.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::NodeId;
use crate::api::{ConnectError, DeliveryPath, Event, RequestId, SendFailure};

/// Requests for an edge to one peer, at most (a guess). If there are as many, the newest is
/// refused.
pub(super) const PER_PEER_MAX: usize = 64;

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A message to this node itself is delivered.
    Delivered(Bytes, DeliveryPath),
    /// A message to this node itself found the delivery queue full.
    Undelivered,
    /// A message left in this many copies, or is lost.
    Send(Result<u8, SendFailure>),
    /// There is an edge to this peer, or none can be had.
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
    connects: BTreeMap<NodeId, Vec<RequestId>>,
    leaves: Vec<RequestId>,
    /// Requests that came in and were not settled.
    open: usize,
    /// Whether a message was refused for lack of room, and the application has not been told since
    /// that it may try again.
    is_refused: bool,
}

impl Requests {
    /// No requests of the application on the node `own`.
    pub(super) const fn new(own: NodeId) -> Self {
        Self { own, connects: BTreeMap::new(), leaves: Vec::new(), open: 0, is_refused: false }
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
            Outcome::Delivered(payload, path) => {
                let (originator, request) = (self.own, Some(request));
                Event::Delivered { originator, payload, path, request }
            }
            Outcome::Undelivered => Event::SendFailed { request, error: SendFailure::Backpressure },
            Outcome::Send(Ok(copies)) => Event::Sent { request, copies },
            Outcome::Send(Err(error)) => {
                self.is_refused |= error == SendFailure::Backpressure;
                Event::SendFailed { request, error }
            }
            Outcome::Connect(peer, Ok(())) => Event::Connected { request, peer },
            Outcome::Connect(_, Err(error)) => Event::ConnectFailed { request, error },
            Outcome::EdgeClosed(existed) => Event::EdgeClosed { request, existed },
            Outcome::Left => Event::Left { request },
        });
    }

    /// A request waits for an edge to `peer`.
    pub(super) fn await_edge(&mut self, peer: NodeId, request: RequestId) {
        self.connects.entry(peer).or_default().push(request);
    }

    /// Whether one more request may wait for an edge to `peer`.
    pub(super) fn has_room(&self, peer: &NodeId) -> bool {
        self.connects.get(peer).is_none_or(|requests| requests.len() < PER_PEER_MAX)
    }

    /// Settles the requests that wait for an edge to `peer`.
    pub(super) fn settle_edge(
        &mut self,
        events: &mut VecDeque<Event>,
        peer: NodeId,
        result: Result<(), ConnectError>,
    ) {
        for request in self.connects.remove(&peer).unwrap_or_default() {
            self.settle(events, request, Outcome::Connect(peer, result));
        }
    }

    /// A request waits until the node has left.
    pub(super) fn await_left(&mut self, request: RequestId) {
        self.leaves.push(request);
    }

    /// Settles the requests that wait until the node has left.
    pub(super) fn settle_left(&mut self, events: &mut VecDeque<Event>) {
        for request in core::mem::take(&mut self.leaves) {
            self.settle(events, request, Outcome::Left);
        }
    }

    /// Whether a message was refused since this was last asked.
    pub(super) fn take_refused(&mut self) -> bool {
        core::mem::take(&mut self.is_refused)
    }

    /// Asserts the invariants: every request that is open waits, and `is_reached_for` says that its
    /// peer is being reached.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(super) fn check(&self, is_reached_for: impl Fn(&NodeId) -> bool) {
        let connects = self.connects.values().map(Vec::len).sum::<usize>();
        assert_eq!(self.open, connects + self.leaves.len(), "a request is settled exactly once");
        for (peer, requests) in &self.connects {
            assert!(!requests.is_empty() && requests.len() <= PER_PEER_MAX);
            assert!(is_reached_for(peer), "a request for {peer} would wait for ever");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId::from_bytes([1; 32]);

    #[test]
    fn every_request_for_an_edge_gets_the_one_outcome() {
        let (mut requests, mut events) =
            (Requests::new(NodeId::from_bytes([0; 32])), VecDeque::new());
        for number in 1..=2 {
            requests.open();
            requests.await_edge(PEER, RequestId(number));
        }
        requests.check(|peer| *peer == PEER);
        requests.settle_edge(&mut events, PEER, Err(ConnectError::Closed));
        requests.settle_edge(&mut events, PEER, Ok(()));
        let failed = |number| Event::ConnectFailed {
            request: RequestId(number),
            error: ConnectError::Closed,
        };
        assert_eq!(events, [failed(1), failed(2)]);
        requests.check(|_| false);
    }

    #[test]
    fn requests_for_one_peer_are_bounded() {
        let mut requests = Requests::new(NodeId::from_bytes([0; 32]));
        for number in 0..PER_PEER_MAX as u64 {
            assert!(requests.has_room(&PEER));
            requests.open();
            requests.await_edge(PEER, RequestId(number));
        }
        assert!(!requests.has_room(&PEER));
        assert!(requests.has_room(&NodeId::from_bytes([2; 32])));
    }

    #[test]
    fn only_a_message_without_room_asks_for_a_signal() {
        let (mut requests, mut events) =
            (Requests::new(NodeId::from_bytes([0; 32])), VecDeque::new());
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
        let mut requests = Requests::new(NodeId::from_bytes([0; 32]));
        requests.open();
        requests.check(|_| true);
    }
}
