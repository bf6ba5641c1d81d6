//! Connects that were answered lately, by originator and nonce.
//!
//! Responsible for: whether a Connect is a copy of one that was just answered. Never: answers.
//!
//! Copies take different routes and arrive within moments. The initiator repeats a Connect with the
//! same nonce after 1 and 2 s, because an answer may get lost; that is answered again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::wire::nat::NAT_NONCE_LEN;

/// What arrives within this time of an answer is a copy (a guess: half of the time to the first
/// repetition).
pub(crate) const COPIES: Duration = Duration::from_millis(500);
/// Connects that are held; the oldest go first (a guess: eight times what one originator may send).
pub(crate) const ANSWERED_MAX: usize = 256;

/// The Connects of the last [`COPIES`].
#[derive(Debug, Default)]
pub(crate) struct Answered {
    recent: VecDeque<(Instant, NodeId, [u8; NAT_NONCE_LEN])>,
}

impl Answered {
    /// Whether this Connect is to be answered. If so it is taken down as answered now.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        originator: NodeId,
        nonce: [u8; NAT_NONCE_LEN],
    ) -> bool {
        while self.recent.front().is_some_and(|(at, ..)| *at + COPIES <= now) {
            self.recent.pop_front();
        }
        self.recent.shrink_to(2 * self.recent.len());
        if self.recent.iter().any(|(_, from, other)| (from, other) == (&originator, &nonce)) {
            return false;
        }
        if self.recent.len() >= ANSWERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, originator, nonce));
        true
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.recent.len() <= ANSWERED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    #[test]
    fn copies_are_known_for_half_a_second_and_repetitions_are_not_copies() {
        let mut answered = Answered::default();
        let mut insert = |ms, from: u8, nonce: u8| {
            let at = test_base() + Duration::from_millis(ms);
            answered.insert(at, NodeId::from_bytes([from; 32]), [nonce; 16])
        };
        assert_eq!([insert(0, 1, 1), insert(20, 1, 1), insert(499, 1, 1)], [true, false, false]);
        assert!(insert(20, 1, 2) && insert(20, 2, 1), "another nonce, another originator");
        assert!(insert(500, 1, 1) && !insert(999, 1, 1));
    }

    #[test]
    fn the_oldest_go_first() {
        let mut answered = Answered::default();
        let mut insert = |number: u16| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            answered.insert(test_base(), NodeId::from_bytes(id), [0; 16])
        };
        assert!((0..=ANSWERED_MAX as u16).all(&mut insert));
        assert!(!insert(1) && insert(0), "the first one is forgotten");
        answered.check();
    }
}
