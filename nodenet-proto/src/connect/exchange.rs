//! Connect exchange: a routed Connect, its repetitions, and the peer's answer
//! (PROTOCOL.md#connect-exchange).
//!
//! Responsible for: when the message leaves again, over which first hops it left, and which answer
//! belongs to it. Never: lays it out, or sends; the engine does.

use std::time::{Duration, Instant};

use crate::NodeId;
use crate::api::Families;
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
/// A node that has no address to name yet looks again after this long (a guess: less than it takes
/// to the answer of the first ping).
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// It asks without one after this long (a guess: the first ping of an edge, lost once).
const NAME_WAIT: Duration = Duration::from_secs(2);
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
    /// When there may be an address to name at the latest.
    name_by: Instant,
    /// When the first message left.
    begun: Instant,
    sendings: usize,
    /// Where all of its messages name an address at which the peer may send to this node.
    named: Option<Families>,
    tried: Vec<NodeId>,
    state: State,
}

impl Exchange {
    /// An exchange whose first message leaves now.
    pub(super) fn new(now: Instant, nonce: Nonce) -> Self {
        let state = State::Asking(now + WAITS[0]);
        let (name_by, named, tried) = (now + NAME_WAIT, None, Vec::new());
        Self { nonce, name_by, begun: now, sendings: 1, named, tried, state }
    }

    /// Its nonce.
    pub(super) fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// The first hops of its messages.
    pub(super) fn tried(&self) -> &[NodeId] {
        &self.tried
    }

    /// Whether it may wait for an address to name.
    pub(super) fn may_wait(&self, now: Instant) -> bool {
        self.named.is_none() && now < self.name_by
    }

    /// There is no address to name yet: the first message leaves later.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.sendings = 0;
        self.state = State::Asking(self.name_by.min(now + LOOK_AGAIN));
    }

    /// Where the peer may have sent before its answer, as far as this node's messages say where.
    pub(super) fn named(&self) -> Families {
        self.named.unwrap_or_default()
    }

    /// A message left over these hops. It names addresses of these families.
    pub(super) fn handle_sent(&mut self, hops: &[NodeId], named: Families) {
        self.named = Some(self.named.map_or(named, |before| before.and(named)));
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
        if self.sendings == 0 {
            self.begun = now;
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
    fn a_connect_waits_two_seconds_for_an_address_to_name() {
        let mut exchange = Exchange::new(at(0), [1; 16]);
        let mut looks = 0;
        while exchange.may_wait(exchange.due().map_or(at(0), |due| due.min(at(2_000)))) {
            exchange.postpone(at(100 * looks));
            looks += 1;
            assert_eq!(exchange.due(), Some(at(100 * looks)));
        }
        assert_eq!(looks, 20);
        assert!(exchange.is_to_repeat(at(2_000)));
        exchange.handle_sent(&[], Families::default());
        assert!(!exchange.may_wait(at(2_000)));
        assert_eq!(exchange.due(), Some(at(3_000)), "the first repetition");
        let round_trip = exchange.handle_answer(at(2_080), &[1; 16]);
        assert_eq!(round_trip, Some(Duration::from_millis(80)), "since it left");
    }

    #[test]
    fn what_one_message_does_not_name_may_be_news_to_the_peer() {
        let (v4, v6) = (Families { v4: true, v6: false }, Families { v4: true, v6: true });
        let mut exchange = Exchange::new(at(0), [1; 16]);
        assert_eq!(exchange.named(), Families::default());
        exchange.handle_sent(&[], v6);
        assert_eq!(exchange.named(), v6);
        exchange.handle_sent(&[], v4);
        exchange.handle_sent(&[], v6);
        assert_eq!(exchange.named(), v4, "the answer may be one to the second");
    }

    #[test]
    fn first_hops_are_remembered_once_each_and_bounded() {
        let mut exchange = Exchange::new(at(0), [1; 16]);
        let id = |first: u8| NodeId::from_bytes([first; 32]);
        exchange.handle_sent(&[id(1), id(2), id(1)], Families::default());
        assert_eq!(exchange.tried(), [id(1), id(2)]);
        let many: Vec<NodeId> = (3..100).map(id).collect();
        exchange.handle_sent(&many, Families::default());
        assert_eq!(exchange.tried().len(), TRIED_MAX);
    }
}
