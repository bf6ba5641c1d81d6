//! Questions to neighbours: whom do you know near this identifier? And the matching of answers to
//! them.
//!
//! Responsible for: correlation nonces, their lifetime, and who may answer. Never: encodes, sends,
//! or decides what to ask.
//!
//! A lookup is iterative, as in Kademlia: one neighbour is asked directly, what it names is dialed,
//! and whoever of these is nearer is asked next. On the wire a question is a Lookup whose hop limit
//! is spent, so that the neighbour itself answers (PROTOCOL.md#lookups). A routed one would end
//! nearer to the target, but its answer has to find the way back to a node that nobody there knows
//! yet, which is what a joining node is. Nothing is believed from anyone but the neighbour that was
//! asked (THREATS.md#e30), and it is asked by its edge.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::NodeId;
use crate::context::Context;
use crate::stats::DropReason;
use crate::wire::Nonce;

/// How long an answer is awaited (PROTOCOL.md#lookups).
const NONCE_LIFETIME: Duration = Duration::from_secs(30);
/// Questions open at once, at most; the oldest is forgotten first (a guess: two a second).
const OPEN_MAX: usize = 64;

/// What is asked of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Who is near me?
    Own,
    /// Who is near this identifier?
    Near {
        /// The identifier.
        target: NodeId,
        /// Whether there is neither an edge nor a contact in its slot.
        lacking: bool,
    },
    /// Who is near you?
    Vicinity,
}

#[derive(Debug, Clone)]
struct Open {
    nonce: Nonce,
    question: Question,
    peer: NodeId,
    expires: Instant,
}

impl Open {
    fn is_for(&self, nonce: &Nonce, responder: &NodeId) -> bool {
        self.nonce == *nonce && self.peer == *responder
    }
}

/// The questions that are open.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// In the order of their expiry.
    open: VecDeque<Open>,
}

impl Lookups {
    /// Notes that `peer` is asked. Returns what ties its answer to the question.
    pub(crate) fn ask<A>(
        &mut self,
        cx: &mut Context<'_, A>,
        question: Question,
        peer: NodeId,
    ) -> Nonce {
        self.expire(cx.now);
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        let nonce = cx.rng.array();
        self.open.push_back(Open { nonce, question, peer, expires: cx.now + NONCE_LIFETIME });
        nonce
    }

    /// Whether an answer with this nonce is awaited from `responder`.
    pub(crate) fn expects(&self, nonce: &Nonce, responder: &NodeId, now: Instant) -> bool {
        self.open.iter().any(|open| open.is_for(nonce, responder) && open.expires > now)
    }

    /// Takes the question that `responder` answers. An answer that nobody asked for, that comes too
    /// late or twice, or from another than the neighbour that was asked is discarded and counted.
    pub(crate) fn settle<A>(
        &mut self,
        cx: &mut Context<'_, A>,
        nonce: &Nonce,
        responder: &NodeId,
    ) -> Option<Question> {
        self.expire(cx.now);
        let Some(at) = self.open.iter().position(|open| open.is_for(nonce, responder)) else {
            cx.discard(DropReason::Unsolicited);
            return None;
        };
        self.open.remove(at).map(|open| open.question)
    }

    /// Number of questions that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        assert!(self.open.len() <= OPEN_MAX);
    }

    fn expire(&mut self, now: Instant) {
        while self.open.front().is_some_and(|open| open.expires <= now) {
            self.open.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
