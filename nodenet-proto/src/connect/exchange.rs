//! Connect exchange: a routed Connect, its repetitions, and the peer's answer
//! (PROTOCOL.md#connect-exchange).
//!
//! Responsible for: when the message leaves again, over which first hops it left, and which answer
//! belongs to it. Never: lays it out, or sends; the engine does.

use std::time::{Duration, Instant};

use crate::NodeId;
use crate::wire::nat::NAT_NONCE_LEN;

/// Names an exchange on the wire.
pub(crate) type Nonce = [u8; NAT_NONCE_LEN];

/// From one sending to the next; after the last one the exchange is given up. Copies of one message
/// take three routes, and a second of silence is longer than most routes there and back. (The
/// reference sends once.)
const WAITS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
];
/// First hops that are remembered, so that a repetition takes others: three for each sending.
pub(super) const TRIED_MAX: usize = 3 * WAITS.len();

/// Where an exchange stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A message is under way, the next one or the end is due at this time.
    Asking(Instant),
    /// The peer answered.
    Answered,
    /// There is no route, or no answer in time.
    Over,
}

/// An exchange with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    nonce: Nonce,
    begun: Instant,
    sendings: usize,
    tried: Vec<NodeId>,
    state: State,
}

impl Exchange {
    /// An exchange whose first message leaves now.
    pub(super) fn new(now: Instant, nonce: Nonce) -> Self {
        let state = State::Asking(now + WAITS[0]);
        Self { nonce, begun: now, sendings: 1, tried: Vec::new(), state }
    }

    /// Its nonce.
    pub(super) fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// The first hops of its messages.
    pub(super) fn tried(&self) -> &[NodeId] {
        &self.tried
    }

    /// A message left over these hops.
    pub(super) fn handle_sent(&mut self, hops: &[NodeId]) {
        for hop in hops {
            if self.tried.len() < TRIED_MAX && !self.tried.contains(hop) {
                self.tried.push(*hop);
            }
        }
    }

    /// Whether a message has to leave again. At the end of the last wait the exchange is over.
    pub(super) fn is_to_repeat(&mut self, now: Instant) -> bool {
        let State::Asking(due) = self.state else { return false };
        if due > now {
            return false;
        }
        let wait = WAITS.get(self.sendings).copied();
        self.state = wait.map_or(State::Over, |wait| State::Asking(now + wait));
        self.sendings += usize::from(wait.is_some());
        wait.is_some()
    }

    /// An answer with this nonce arrived. Returns the time since the first message, if the exchange
    /// waited for it.
    pub(super) fn handle_answer(&mut self, now: Instant, nonce: &Nonce) -> Option<Duration> {
        if !self.is_open() || self.nonce != *nonce {
            return None;
        }
        self.state = State::Answered;
        Some(now.saturating_duration_since(self.begun))
    }

    /// There is no route to ask over.
    pub(super) fn give_up(&mut self) {
        self.state = State::Over;
    }

    /// Whether an answer may still come.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Asking(_))
    }

    /// Whether the peer answered.
    pub(super) fn is_answered(&self) -> bool {
        self.state == State::Answered
    }

    /// When it has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Asking(due) => Some(due),
            State::Answered | State::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    fn at(ms: u64) -> Instant {
        test_base() + Duration::from_millis(ms)
    }

    #[test]
    fn a_connect_leaves_four_times_and_is_given_up_after_seven_seconds() {
        let mut exchange = Exchange::new(at(0), [1; 16]);
        let mut sent = vec![0];
        while let Some(due) = exchange.due() {
            let ms = (due - at(0)).as_millis();
            assert!(!exchange.is_to_repeat(due - Duration::from_millis(1)));
            if exchange.is_to_repeat(due) {
                sent.push(ms);
            } else {
                assert_eq!(ms, 7_000);
            }
        }
        assert_eq!(sent, [0, 1_000, 2_000, 4_000]);
        assert!(!exchange.is_open());
        assert_eq!(exchange.handle_answer(at(7_001), &[1; 16]), None, "it is over");
    }

    #[test]
    fn one_answer_with_its_nonce_ends_an_exchange() {
        let mut exchange = Exchange::new(at(0), [1; 16]);
        assert_eq!(exchange.handle_answer(at(10), &[2; 16]), None);
        assert_eq!(exchange.handle_answer(at(80), &[1; 16]), Some(Duration::from_millis(80)));
        assert!(!exchange.is_open());
        assert_eq!((exchange.due(), exchange.is_to_repeat(at(1_000))), (None, false));
        assert_eq!(exchange.handle_answer(at(90), &[1; 16]), None, "the second copy of the answer");
    }

    #[test]
    fn first_hops_are_remembered_once_each_and_bounded() {
        let mut exchange = Exchange::new(at(0), [1; 16]);
        let id = |first: u8| NodeId::from_bytes([first; 32]);
        exchange.handle_sent(&[id(1), id(2), id(1)]);
        assert_eq!(exchange.tried(), [id(1), id(2)]);
        exchange.handle_sent(&(3..100).map(id).collect::<Vec<_>>());
        assert_eq!(exchange.tried().len(), TRIED_MAX);
    }
}
