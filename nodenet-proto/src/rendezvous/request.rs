//! Requester of rendezvous: questions to a target until it answers
//! (PROTOCOL.md#rendezvous-requests).
//!
//! Responsible for: the exchange with each target, its retries, and which Reply settles it. Never:
//! sends; the engine originates the messages and reports their first hops.
//!
//! # Life of an exchange
//! 1. The first ticket for a target begins it with a Hello; further tickets for the target share
//!    it.
//! 2. Without an answer a Hello with a fresh nonce leaves over other first hops, after growing
//!    waits. A Reply to any of its nonces ends the exchange.
//! 3. A ticket fails at its own deadline. The last ticket ends the exchange.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use heapless::Vec as FixedVec;

use super::neighbours::Neighbours;
use super::{Action, Nonce, Settled, Ticket, disclosed_addrs};
use crate::NodeId;
use crate::api::{RendezvousError, SendFailure};
use crate::context::Context;
use crate::overlay::{FIRST_HOPS, Hop, Message};
use crate::wire::rendezvous::Hello;
use crate::wire::{Encode, FrameType};

/// Exchanges at once (a guess).
const EXCHANGES_MAX: usize = 256;
/// Tickets of all exchanges (a guess).
const TICKETS_MAX: usize = 1_024;
/// Bytes of messages that wait for a key, at most (a guess).
const SEALED_BYTES_MAX: usize = 1 << 20;
/// Questions of one exchange, with up to three copies each (PROTOCOL.md#rendezvous-requests).
const ATTEMPTS_MAX: usize = 8;
/// Wait from the first question to the second: a route there and back takes a few hundred
/// milliseconds. Each further wait is half as long again (PROTOCOL.md#rendezvous-requests).
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Deviation of each wait (PROTOCOL.md#jitter has it for periods).
const WAIT_JITTER_PERCENT: u32 = 20;
/// A question younger than this when its exchange ends is not counted: its answer may be under way.
const UNANSWERED_AFTER: Duration = Duration::from_secs(1);
/// Shortest and longest time for an answer.
const WITHIN_MIN: Duration = Duration::from_millis(1);
const WITHIN_MAX: Duration = Duration::from_secs(300);
/// Nonces of exchanges that ended, kept to tell late copies of an answer from what was not asked.
const SETTLED_MAX: usize = 256;

/// The exchanges of this node.
#[derive(Debug, Default)]
pub(super) struct Requests {
    exchanges: BTreeMap<NodeId, Exchange>,
    /// The target that each open nonce is for.
    nonces: BTreeMap<Nonce, NodeId>,
    settled: VecDeque<Nonce>,
    tickets: usize,
    sealed_bytes: usize,
}

#[derive(Debug)]
struct Exchange {
    pending: Vec<Pending>,
    attempts: FixedVec<Attempt, ATTEMPTS_MAX>,
    /// When the next question is due, if there is another.
    next: Option<Instant>,
    /// The wait that led there, without its jitter.
    wait: Duration,
}

/// What one ticket waits for.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    deadline: Instant,
    /// The message that needs the key; none if the application asks for the peer itself.
    sealed: Option<Bytes>,
}

#[derive(Debug)]
struct Attempt {
    nonce: Nonce,
    at: Instant,
    hops: FixedVec<Hop, FIRST_HOPS>,
}

/// An answered exchange.
#[derive(Debug)]
pub(super) struct Answered {
    /// Tickets that ask for the peer.
    pub(super) asked: Vec<Ticket>,
    /// Messages that waited for its key.
    pub(super) sealed: Vec<(Ticket, Bytes)>,
}

/// What a nonce of a Reply belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NonceState {
    /// A question to this target.
    Open(NodeId),
    /// An exchange that ended.
    Settled,
    /// No question of this node.
    Unknown,
}

impl Requests {
    /// Asks `target` for its keys and addresses, unless it was asked already.
    pub(super) fn ask(
        &mut self,
        cx: &mut Context<'_, Action>,
        target: NodeId,
        ticket: Ticket,
        within: Duration,
        sealed: Option<Bytes>,
    ) {
        let len = sealed.as_ref().map_or(0, Bytes::len);
        let is_full = self.tickets >= TICKETS_MAX
            || self.sealed_bytes + len > SEALED_BYTES_MAX
            || (self.exchanges.len() >= EXCHANGES_MAX && !self.exchanges.contains_key(&target));
        let deadline = cx.now + within.clamp(WITHIN_MIN, WITHIN_MAX);
        let pending = Pending { ticket, deadline, sealed };
        if is_full {
            return pending.fail(cx, RendezvousError::Busy);
        }
        self.tickets += 1;
        self.sealed_bytes += len;
        let exchange = self.exchanges.entry(target).or_insert_with(|| Exchange {
            pending: Vec::new(),
            attempts: FixedVec::new(),
            next: None,
            wait: FIRST_WAIT,
        });
        exchange.pending.push(pending);
        let question =
            exchange.attempts.is_empty().then(|| exchange.attempt(cx, target, &mut self.nonces));
        // The timer first: the question may fail at once, which stops it.
        self.arm(cx);
        question.into_iter().for_each(|question| cx.act(question));
    }

    /// The first hops that took a question, or why none did.
    pub(super) fn handle_asked(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &mut Neighbours,
        nonce: &Nonce,
        taken: Result<FixedVec<Hop, FIRST_HOPS>, SendFailure>,
    ) {
        let Some(target) = self.nonces.get(nonce).copied() else { return };
        let Some(exchange) = self.exchanges.get_mut(&target) else { return };
        let is_first = exchange.attempts.len() == 1;
        match taken {
            Ok(hops) => {
                let of_nonce = |attempt: &&mut Attempt| attempt.nonce == *nonce;
                if let Some(attempt) = exchange.attempts.iter_mut().find(of_nonce) {
                    attempt.hops = hops;
                }
            }
            // Later there may be an edge again before the deadline.
            Err(SendFailure::Unroutable) if is_first => {
                let ended = self.remove(&target);
                ended.fail(cx, neighbours, RendezvousError::Unroutable);
                self.arm(cx);
            }
            Err(_) => {}
        }
    }

    /// What a nonce belongs to.
    pub(super) fn state_of(&self, nonce: &Nonce) -> NonceState {
        match self.nonces.get(nonce) {
            Some(target) => NonceState::Open(*target),
            None if self.settled.contains(nonce) => NonceState::Settled,
            None => NonceState::Unknown,
        }
    }

    /// The target answered the question with this nonce.
    pub(super) fn settle(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &mut Neighbours,
        target: &NodeId,
        nonce: &Nonce,
    ) -> Answered {
        let exchange = self.remove(target);
        let mut is_before = true;
        for attempt in &exchange.attempts {
            let is_answered = attempt.nonce == *nonce;
            is_before &= !is_answered;
            // Questions after the answered one may still be answered.
            if is_before || is_answered {
                attempt.hops.iter().for_each(|hop| neighbours.count(hop.peer, is_answered));
            }
        }
        let mut answered = Answered { asked: Vec::new(), sealed: Vec::new() };
        for Pending { ticket, sealed, .. } in exchange.pending {
            match sealed {
                Some(payload) => answered.sealed.push((ticket, payload)),
                None => answered.asked.push(ticket),
            }
        }
        self.arm(cx);
        answered
    }

    /// The timer fired: tickets whose deadline passed fail, and questions that are due are asked.
    pub(super) fn handle_timer(
        &mut self,
        cx: &mut Context<'_, Action>,
        neighbours: &mut Neighbours,
    ) {
        let targets: Vec<NodeId> = self.exchanges.keys().copied().collect();
        let mut questions = Vec::new();
        for target in targets {
            let Some(exchange) = self.exchanges.get_mut(&target) else { continue };
            let is_late = |pending: &mut Pending| pending.deadline <= cx.now;
            let late: Vec<Pending> = exchange.pending.extract_if(.., is_late).collect();
            let is_over = exchange.pending.is_empty();
            if !is_over && exchange.next.is_some_and(|next| next <= cx.now) {
                questions.push(exchange.attempt(cx, target, &mut self.nonces));
            }
            for pending in late {
                self.forget(&pending);
                pending.fail(cx, RendezvousError::Unanswered);
            }
            if is_over {
                self.remove(&target).count_unanswered(cx.now, neighbours);
            }
        }
        self.arm(cx);
        questions.into_iter().for_each(|question| cx.act(question));
    }

    /// Fails every ticket.
    pub(super) fn stop(&mut self, cx: &mut Context<'_, Action>, neighbours: &mut Neighbours) {
        while let Some(target) = self.exchanges.keys().next().copied() {
            self.remove(&target).fail(cx, neighbours, RendezvousError::Closed);
        }
        self.arm(cx);
    }

    /// Whether an exchange with this node is open.
    pub(super) fn is_asked(&self, target: &NodeId) -> bool {
        self.exchanges.contains_key(target)
    }

    /// Whether this ticket is open.
    pub(super) fn is_open(&self, ticket: Ticket) -> bool {
        self.exchanges.values().flat_map(|of| &of.pending).any(|pending| pending.ticket == ticket)
    }

    /// Number of exchanges.
    pub(super) fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// When the timer is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let deadlines = self.exchanges.values().flat_map(|of| &of.pending).map(|of| of.deadline);
        let questions = self.exchanges.values().filter_map(|exchange| exchange.next);
        deadlines.chain(questions).min()
    }

    /// Asserts the caps, and that the views agree.
    ///
    /// # Panics
    /// If they do not, which is a bug here.
    pub(super) fn check(&self) {
        assert!(self.exchanges.len() <= EXCHANGES_MAX && self.tickets <= TICKETS_MAX);
        assert!(self.sealed_bytes <= SEALED_BYTES_MAX && self.settled.len() <= SETTLED_MAX);
        let pending = || self.exchanges.values().flat_map(|exchange| &exchange.pending);
        assert_eq!(self.tickets, pending().count());
        let bytes = pending().filter_map(|pending| pending.sealed.as_ref()).map(Bytes::len);
        assert_eq!(self.sealed_bytes, bytes.sum::<usize>());
        let attempts = self.exchanges.values().map(|exchange| exchange.attempts.len());
        assert_eq!(self.nonces.len(), attempts.sum::<usize>());
        for exchange in self.exchanges.values() {
            assert!(!exchange.pending.is_empty() && !exchange.attempts.is_empty());
        }
    }

    fn arm(&self, cx: &mut Context<'_, Action>) {
        cx.act(match self.due() {
            // A driver may be late: something is due already, and is handled next.
            Some(at) => Action::Set(at.max(cx.now + Duration::from_nanos(1))),
            None => Action::Stop,
        });
    }

    /// Takes an exchange out, with all that counts it.
    fn remove(&mut self, target: &NodeId) -> Exchange {
        let exchange = self.exchanges.remove(target).expect("the caller found it");
        exchange.pending.iter().for_each(|pending| self.forget(pending));
        for attempt in &exchange.attempts {
            self.nonces.remove(&attempt.nonce);
            if self.settled.len() == SETTLED_MAX {
                self.settled.pop_front();
            }
            self.settled.push_back(attempt.nonce);
        }
        exchange
    }

    fn forget(&mut self, pending: &Pending) {
        self.tickets -= 1;
        self.sealed_bytes -= pending.sealed.as_ref().map_or(0, Bytes::len);
    }
}

impl Exchange {
    /// The next question, which avoids the first hops of those before it.
    fn attempt(
        &mut self,
        cx: &mut Context<'_, Action>,
        target: NodeId,
        nonces: &mut BTreeMap<Nonce, NodeId>,
    ) -> Action {
        let nonce: Nonce = cx.rng.array();
        let tried = self.attempts.iter().flat_map(|attempt| attempt.hops.iter().copied()).collect();
        let attempt = Attempt { nonce, at: cx.now, hops: FixedVec::new() };
        self.attempts.push(attempt).expect("a question is due only below the cap");
        nonces.insert(nonce, target);
        self.next = None;
        if !self.attempts.is_full() {
            self.next = Some(cx.now + cx.rng.jitter(self.wait, WAIT_JITTER_PERCENT));
            self.wait = self.wait * 3 / 2;
        }
        let addrs = disclosed_addrs(cx, true, &[]);
        let hello = Hello::sign(cx.crypto, cx.identity, &target, addrs, nonce);
        let (frame_type, payload) = (FrameType::Hello, hello.to_bytes());
        Action::Ask { nonce, message: Message { frame_type, target, payload, tried } }
    }

    fn fail(
        self,
        cx: &mut Context<'_, Action>,
        neighbours: &mut Neighbours,
        error: RendezvousError,
    ) {
        self.count_unanswered(cx.now, neighbours);
        self.pending.into_iter().for_each(|pending| pending.fail(cx, error));
    }

    fn count_unanswered(&self, now: Instant, neighbours: &mut Neighbours) {
        let is_old =
            |attempt: &&Attempt| now.saturating_duration_since(attempt.at) >= UNANSWERED_AFTER;
        let hops = self.attempts.iter().filter(is_old).flat_map(|attempt| &attempt.hops);
        hops.for_each(|hop| neighbours.count(hop.peer, false));
    }
}

impl Pending {
    fn fail(self, cx: &mut Context<'_, Action>, error: RendezvousError) {
        let outcome = match self.sealed {
            None => Settled::Failed(error),
            Some(_) => Settled::Unsent(match error {
                RendezvousError::Unroutable => SendFailure::Unroutable,
                RendezvousError::Busy => SendFailure::Backpressure,
                RendezvousError::Closed => SendFailure::Closed,
                RendezvousError::Unanswered => SendFailure::NoKey,
            }),
        };
        cx.act(Action::Settle(self.ticket, outcome));
    }
}

#[cfg(test)]
mod tests;
