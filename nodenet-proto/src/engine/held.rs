//! Direct messages that wait for an edge which the application asked for.
//!
//! Responsible for: their order and bounds. Never: sends them, or settles a request.
//!
//! They leave as soon as the conn is up, which for the dialer is with the last flight of the
//! handshake: nothing is lost by asking for the edge and sending at once.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::NodeId;
use crate::api::RequestId;

/// Messages that wait for one edge (a guess: what an edge takes at once, see `UNACKED_MAX`).
pub(super) const MESSAGES_MAX: usize = 32;
/// Bytes that wait for one edge (a guess: one message of the largest size).
pub(super) const BYTES_MAX: usize = 64 * 1024;

/// The messages by peer.
#[derive(Debug, Default)]
pub(super) struct HeldSends {
    by_peer: BTreeMap<NodeId, Vec<(RequestId, Bytes)>>,
}

impl HeldSends {
    /// Takes a message, if there is room.
    pub(super) fn push(&mut self, peer: NodeId, request: RequestId, payload: Bytes) -> bool {
        let held = self.by_peer.get(&peer).map_or(&[][..], Vec::as_slice);
        let bytes = held.iter().map(|(_, payload)| payload.len()).sum::<usize>();
        let has_room =
            held.len() < MESSAGES_MAX && (held.is_empty() || bytes + payload.len() <= BYTES_MAX);
        if has_room {
            self.by_peer.entry(peer).or_default().push((request, payload));
        }
        has_room
    }

    /// The messages for a peer, in order, which do not wait any more.
    pub(super) fn take(&mut self, peer: &NodeId) -> Vec<(RequestId, Bytes)> {
        if self.by_peer.is_empty() {
            return Vec::new();
        }
        self.by_peer.remove(peer).unwrap_or_default()
    }

    /// The peers for which messages wait.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.by_peer.keys().copied().collect()
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.by_peer.values().map(Vec::len).sum()
    }

    /// Asserts the invariants: messages wait only for peers for which `waits` holds.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(super) fn check(&self, waits: impl Fn(&NodeId) -> bool) {
        for (peer, held) in &self.by_peer {
            assert!(!held.is_empty() && held.len() <= MESSAGES_MAX);
            assert!(waits(peer), "messages would wait for {peer} for ever");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId::from_bytes([1; 32]);

    #[test]
    fn messages_for_one_edge_are_bounded_in_number_and_bytes() {
        let mut held = HeldSends::default();
        let push = |held: &mut HeldSends, peer, number: u64, len: usize| {
            held.push(peer, RequestId(number), Bytes::from(vec![0; len]))
        };
        for number in 0..MESSAGES_MAX as u64 {
            assert!(push(&mut held, PEER, number, 1));
        }
        assert!(!push(&mut held, PEER, 99, 1));
        let other = NodeId::from_bytes([2; 32]);
        assert!(push(&mut held, other, 100, BYTES_MAX) && !push(&mut held, other, 101, 1));
        held.check(|_| true);
        let order: Vec<u64> = held.take(&PEER).iter().map(|(request, _)| request.0).collect();
        assert_eq!(order, (0..MESSAGES_MAX as u64).collect::<Vec<_>>());
        assert_eq!((held.len(), held.peers()), (1, vec![other]));
    }
}
